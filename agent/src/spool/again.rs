//! Starting over with the sink: what was acknowledged is handed over once more.
//!
//! A sink that came back from an older backup lacks what it took since; the gateway still has it, and gives it again. This is
//! the one way back from `acknowledged` to `pending`, always for everything at once and together with forgetting the sink's
//! last checkpoint, so that nothing counts as kept by a log that is no longer there. What the sink still has is a duplicate
//! to it. Runs that were let go meanwhile stay covered by their tombstones, which are handed over again as well, and so
//! are the key rotations.

use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::rotation::Keyring;
use gatepost_evidence::wire::UNKNOWN_KEY;
use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::{Enrolment, Spool, SpoolError, rotations, rows, tombstones};
use crate::clock;

const KEY: &str = "started_over";

/// That the spool started over with its sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedOver {
    /// How often, ever.
    pub times: u64,
    /// When last, by this agent's clock.
    pub at: Timestamp,
    /// Why last: a word for programs, such as `log_rewound`.
    pub why: String,
    /// How many runs it was that the sink had, or had refused for want of an enrolment.
    pub runs: u64,
}

impl std::fmt::Display for StartedOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} runs to be handed over again ({})", self.at, self.runs, self.why)
    }
}

impl Spool {
    /// Forgets the sink's last checkpoint, and makes everything that the sink has acknowledged and that is still here
    /// pending again, all in one transaction.
    ///
    /// # Errors
    /// When the database cannot be written; then nothing has changed.
    pub fn hand_over_again(&mut self, why: &str) -> Result<StartedOver, SpoolError> {
        self.at_once(|spool| spool.start_over(why, 0))
    }

    /// Remembers the sink that the gateway of `ring` enrolled with at the sink's `time`, and starts over with it: runs that were
    /// refused because the sink did not know this gateway become pending again, too.
    ///
    /// # Errors
    /// When the database cannot be read or written; then nothing has changed.
    pub fn enrolled(
        &mut self,
        ring: &Keyring,
        enrolment: &Enrolment,
        time: Timestamp,
    ) -> Result<StartedOver, SpoolError> {
        self.at_once(|spool| {
            spool.set_enrolment(enrolment)?;
            spool.heard_from_sink(time)?;
            let released = spool.release_unknown(ring)?;
            spool.start_over("enrolled", released)
        })
    }

    /// When and why this spool last started over with its sink.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn started_over(&self) -> Result<Option<StartedOver>, SpoolError> {
        Ok(self.setting(KEY)?.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// Whoever else has the spool open may have started over: then pending runs are looked for from the first place again.
    pub(super) fn note_start_over(&self) -> Result<(), SpoolError> {
        let times = self.started_over()?.map_or(0, |last| last.times);
        if self.times_over.replace(times) != times {
            self.settled.set(0);
        }
        Ok(())
    }

    fn start_over(&mut self, why: &str, released: u64) -> Result<StartedOver, SpoolError> {
        let at = self.at();
        let known = self.checkpoint()?.is_some();
        let runs = rows::unacknowledge(&self.connection).map_err(&at)? + released;
        let told = tombstones::unacknowledge(&self.connection).map_err(&at)?;
        let told = told + rotations::unacknowledge(&self.connection).map_err(&at)?;
        let times = self.started_over()?.map_or(0, |last| last.times) + 1;
        let over = StartedOver { times, at: clock::now(), why: why.to_owned(), runs };
        if !known && runs == 0 && told == 0 {
            // A first enrolment: nothing to start over from.
            return Ok(over);
        }
        self.forget_checkpoint()?;
        self.set(KEY, &serde_json::to_string(&over).unwrap_or_default())?;
        self.settled.set(0);
        Ok(over)
    }

    /// Makes those pending again that were refused as `unknown_key` although a key of `ring` signed them.
    fn release_unknown(&mut self, ring: &Keyring) -> Result<u64, SpoolError> {
        let clause = "WHERE a.state = ?1 AND a.reason LIKE ?2";
        let found = self.select(clause, params![rows::QUARANTINED, format!("{UNKNOWN_KEY}:%")])?;
        let mut released = 0;
        for run in found {
            let envelope = run.envelope.ok().and_then(|text| Envelope::parse(text.as_bytes()).ok());
            let signer = envelope.and_then(|envelope| envelope.claimed_signer());
            if signer.is_some_and(|signer| ring.key(signer.digest()).is_some()) {
                rows::unanswer(&self.connection, run.seq).map_err(self.at())?;
                released += 1;
            }
        }
        Ok(released)
    }
}
