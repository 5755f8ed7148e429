//! The spool: every run this gateway ever reported as done, in SQLite, until the sink has it and after.
//!
//! Guarantees: a run is on disk (`synchronous=FULL`) before [`Spool::append`] returns; its `seq` and `prev` are given out in
//! the transaction that stores it, so two agents cannot fork the chain; states only move from `pending` to `acknowledged`
//! or `quarantined`, and back only when everything starts over with a sink (`again.rs`). Envelopes come back as the very
//! bytes that were signed. What is let go to stay within bounds, and what
//! damage took, leaves a signed tombstone; a damaged database is moved aside and never written to.

mod again;
mod bounds;
mod connect;
mod error;
mod history;
mod log;
mod mend;
mod model;
mod pack;
mod place;
mod rotations;
mod rows;
mod schema;
mod sink;
mod tombstones;
mod wal;

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gatepost_evidence::envelope::{Envelope, MAX_ENVELOPE_BYTES};
use gatepost_evidence::id::Digest;
use gatepost_evidence::rotation::Signers;
use gatepost_evidence::run::SignedRun;
use gatepost_evidence::tombstone::{Cause, Tombstone};
use gatepost_evidence::verify::{VerifiedRun, VerifyError};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::clock;
use crate::identity::Identity;
use connect::{CHECK_EVERY, Check, check, connect, forget, mend_now};
use place::Place;
use rows::Found;

pub use again::StartedOver;
pub use bounds::Bounds;
pub use error::SpoolError;
pub use log::Seen;
pub use mend::Mended;
pub use model::{Counts, Enrolment, Head, Refused, Spooled, State};
pub use rotations::Turned;
pub use tombstones::Buried;

/// The spool's file in the state folder.
pub const FILE: &str = "spool.db";

/// What the spool needs to keep itself in order: a key to sign tombstones with, and how much to keep.
#[derive(Debug)]
pub struct Keeping {
    /// The gateway with the key that signs.
    pub identity: Arc<Identity>,
    /// How much is kept.
    pub bounds: Bounds,
}

impl Keeping {
    /// Whether the key is the one that signs what is stored next.
    fn may_sign(&self, connection: &Connection, at: impl Fn(rusqlite::Error) -> SpoolError) -> Result<(), SpoolError> {
        if rotations::signs(connection, &self.identity).map_err(at)? { Ok(()) } else { Err(SpoolError::KeyRotated) }
    }
}

/// The spool of one gateway.
pub struct Spool {
    path: PathBuf,
    connection: Connection,
    place: Place,
    keeping: Option<Keeping>,
    mended: Option<Mended>,
    /// Whether `connection` leads nowhere, because a damaged database could not be replaced yet.
    stranded: bool,
    /// No run below this place is pending, unless the spool started over since.
    settled: Cell<u64>,
    /// How often the spool had started over when `settled` was found out.
    times_over: Cell<u64>,
    /// How many runs could not be read back and were quarantined for it.
    unreadable: Cell<u64>,
    /// When the database was last found sound.
    checked: Option<Timestamp>,
    /// Whether something could not be read since.
    suspected: Cell<bool>,
}

impl Spool {
    /// Opens the spool in `folder`, or makes it. Opened so, it grows without bounds and damage is an error.
    ///
    /// # Errors
    /// When it cannot be opened, was written by a later agent, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        Self::open_with(folder, None)
    }

    /// Opens the spool in `folder`, or makes it, and keeps it in order: within bounds, and, once a day and after every start
    /// of the machine, looked through for damage. A damaged database is moved aside and what can be read of it saved; then
    /// [`Spool::mended`] says so.
    ///
    /// # Errors
    /// When it cannot be opened, was written by a later agent, or is damaged and cannot be replaced.
    pub fn open_keeping(folder: &Path, keeping: Keeping) -> Result<Self, SpoolError> {
        Self::open_with(folder, Some(keeping))
    }

    fn open_with(folder: &Path, keeping: Option<Keeping>) -> Result<Self, SpoolError> {
        let place = Place::lock(folder)?;
        place.prepare()?;
        let path = place.file();
        let check = if keeping.is_some() { Check::IfDue } else { Check::No };
        let mut mended = None;
        // Before SQLite sees the log: it would write over what it does not read. With others here, it has seen it.
        if place.is_alone()
            && let Some(cut) = wal::look(&path)?
        {
            let keeping = keeping.as_ref().ok_or_else(|| SpoolError::damaged(&path, cut.to_string()))?;
            mended = mend_now(&place, keeping)?;
        }
        place.share()?;
        let (connection, checked) = match (connect(&path, check), &keeping) {
            (Err(error), Some(keeping)) if error.damage().is_some() => {
                mended = mend_now(&place, keeping)?;
                connect(&path, Check::IfDue)?
            }
            (result, _) => result?,
        };
        Ok(Self {
            path,
            connection,
            place,
            keeping,
            mended,
            stranded: false,
            settled: Cell::new(0),
            times_over: Cell::new(0),
            unreadable: Cell::new(0),
            checked,
            suspected: Cell::new(false),
        })
    }

    fn at(&self) -> impl Fn(rusqlite::Error) -> SpoolError + use<> {
        let path = self.path.clone();
        move |source| SpoolError::Database { path: path.clone(), source }
    }

    /// Stores the next run of the chain. `sign` gets the head of the chain and makes the run that follows it. What has to go
    /// to make room goes in the same transaction.
    ///
    /// # Errors
    /// When it cannot be signed or stored; then the chain is as it was. If the database turned out to be damaged, it was
    /// mended before this returns, and the next run can be stored.
    pub fn append<E: std::fmt::Display>(
        &mut self,
        sign: impl FnOnce(Option<Head>) -> Result<SignedRun, E>,
    ) -> Result<(Head, SignedRun), SpoolError> {
        self.append_at(clock::now(), sign)
    }

    fn append_at<E: std::fmt::Display>(
        &mut self,
        now: Timestamp,
        sign: impl FnOnce(Option<Head>) -> Result<SignedRun, E>,
    ) -> Result<(Head, SignedRun), SpoolError> {
        self.look_through(now)?;
        let once = self.append_once(now, sign);
        let result = self.suspecting(once);
        if result.as_ref().is_err_and(|error| error.damage().is_some()) && self.keeping.is_some() {
            self.mend()?;
        }
        result
    }

    fn append_once<E: std::fmt::Display>(
        &mut self,
        now: Timestamp,
        sign: impl FnOnce(Option<Head>) -> Result<SignedRun, E>,
    ) -> Result<(Head, SignedRun), SpoolError> {
        let at = self.at();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&at)?;
        if let Some(keeping) = &self.keeping {
            keeping.may_sign(&transaction, &at)?;
        }
        let head = rows::head(&transaction).map_err(&at)?;
        let signed = sign(head).map_err(|error| SpoolError::Unsigned(error.to_string()))?;
        if signed.envelope.len() > MAX_ENVELOPE_BYTES {
            return Err(SpoolError::TooLarge(signed.envelope.len()));
        }
        let next = Head { seq: head.map_or(1, |head| head.seq + 1), digest: signed.digest };
        let packed = rows::pack_run(&transaction, next.seq, &signed.envelope).map_err(&at)?;
        let mark = bounds::next_age_mark(&transaction, now).map_err(&at)?;
        if let Some(keeping) = &self.keeping {
            bounds::enforce(&transaction, keeping, mark, packed.bytes(), now).map_err(|error| error.at(&at))?;
        }
        rows::insert(&transaction, (next.seq, next.digest), (now, mark), &packed).map_err(&at)?;
        transaction.commit().map_err(&at)?;
        Ok((next, signed))
    }

    /// Looks for damage if something could not be read, or a day has passed, and mends it. [`Spool::append`] does so, too;
    /// this is for whoever cannot come as far as that.
    ///
    /// # Errors
    /// When it is damaged and cannot be mended now, as while somebody else has it open.
    pub fn look_after(&mut self) -> Result<(), SpoolError> {
        self.look_through(clock::now())
    }

    /// Looks for damage once a day, and tries again to mend what could not be mended.
    fn look_through(&mut self, now: Timestamp) -> Result<(), SpoolError> {
        if self.stranded {
            return self.mend();
        }
        let due = self.suspected.take()
            || self.checked.is_none_or(|checked| now.duration_since(checked).abs() >= CHECK_EVERY);
        if self.keeping.is_some() && due {
            match check(&self.connection, &self.path, Check::Now) {
                Err(error) if error.damage().is_some() => self.mend()?,
                result => self.checked = result?,
            }
        }
        Ok(())
    }

    /// Replaces the database if it is damaged.
    fn mend(&mut self) -> Result<(), SpoolError> {
        let Some(keeping) = &self.keeping else { return Ok(()) };
        // Nobody may have the damaged file open while it is moved, this one included.
        let nowhere = Connection::open_in_memory().map_err(self.at())?;
        forget(std::mem::replace(&mut self.connection, nowhere));
        self.stranded = true;
        self.mended = mend_now(&self.place, keeping)?.or(self.mended.take());
        (self.connection, self.checked) = connect(&self.path, Check::IfDue)?;
        self.stranded = false;
        self.suspected.set(false);
        self.settled.set(0);
        Ok(())
    }

    /// What was done about damage since the spool was opened, opening included.
    #[must_use]
    pub fn mended(&self) -> Option<&Mended> {
        self.mended.as_ref()
    }

    /// What was last done about damage, ever.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_mended(&self) -> Result<Option<Mended>, SpoolError> {
        Ok(self.setting("mended")?.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// The last place of the chain; its run may be gone, see [`Spool::tombstone_of`].
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn head(&self) -> Result<Option<Head>, SpoolError> {
        self.suspecting(rows::head(&self.connection).map_err(self.at()))
    }

    /// The run at `seq`.
    ///
    /// # Errors
    /// When the database or the run cannot be read.
    pub fn get(&self, seq: u64) -> Result<Option<Spooled>, SpoolError> {
        self.select("WHERE r.seq = ?1", params![seq])?.pop().map(|found| self.readable(found)).transpose()
    }

    /// The runs that are not handed over yet, oldest first: at most `count`, and no more than `bytes` of envelopes unless
    /// a single one is larger. A run that cannot be read back is quarantined, and a tombstone stands for it from then on.
    ///
    /// # Errors
    /// When the database cannot be read; also when a run cannot, if the spool was opened without a key for tombstones.
    pub fn pending(&self, count: usize, bytes: usize) -> Result<Vec<Spooled>, SpoolError> {
        self.note_start_over()?;
        let clause = "WHERE r.seq >= ?1 AND a.seq IS NULL ORDER BY r.seq LIMIT ?2";
        let found = self.select(clause, params![self.settled.get(), count as u64])?;
        if let Some(first) = found.first() {
            self.settled.set(first.seq);
        }
        let (mut runs, mut total) = (Vec::new(), 0);
        let none_fits = found.is_empty();
        for found in found {
            if let Err(detail) = &found.envelope
                && let Some(keeping) = &self.keeping
            {
                self.bury_unreadable(keeping, found.seq, found.digest, detail)?;
                continue;
            }
            match self.readable(found) {
                Ok(run) => {
                    total += run.envelope.len() + 1;
                    if total > bytes && !runs.is_empty() {
                        break;
                    }
                    runs.push(run);
                }
                // What comes before one that cannot be read is given out; then it is the first, and told.
                Err(_) if !runs.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        if runs.is_empty() && !none_fits {
            return self.pending(count, bytes);
        }
        Ok(runs)
    }

    /// The latest runs, newest first.
    ///
    /// # Errors
    /// When the database or a run cannot be read.
    pub fn latest(&self, count: u32) -> Result<Vec<Spooled>, SpoolError> {
        let found = self.select("ORDER BY r.seq DESC LIMIT ?1", params![count])?;
        found.into_iter().map(|found| self.readable(found)).collect()
    }

    /// The places of the latest runs that the sink has, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn acknowledged(&self, count: u32) -> Result<Vec<u64>, SpoolError> {
        self.suspecting(rows::acknowledged(&self.connection, count).map_err(self.at()))
    }

    /// How many runs [`Spool::pending`] found unreadable, and quarantined, since the spool was opened.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable.get()
    }

    /// The runs that are quarantined, oldest first, with the reason. Their envelopes are not read: that one cannot be read
    /// may be why it is here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn quarantined(&self) -> Result<Vec<Refused>, SpoolError> {
        self.suspecting(rows::quarantined(&self.connection).map_err(self.at()))
    }

    fn select(&self, clause: &str, values: impl rusqlite::Params) -> Result<Vec<Found>, SpoolError> {
        self.suspecting(rows::select(&self.connection, clause, values).map_err(self.at()))
    }

    /// `read`; if it failed for damage, whoever opens the spool next, or appends to it, looks through it and mends it.
    fn suspecting<T>(&self, read: Result<T, SpoolError>) -> Result<T, SpoolError> {
        if read.as_ref().is_err_and(|error| error.damage().is_some()) {
            self.suspected.set(true);
            if let Err(error) = self.connection.execute("DELETE FROM settings WHERE key = 'checked'", []) {
                tracing::debug!("the suspicion is not noted: {error}");
            }
        }
        read
    }

    fn readable(&self, found: Found) -> Result<Spooled, SpoolError> {
        let (seq, digest) = (found.seq, found.digest);
        match found.envelope {
            Ok(envelope) => Ok(Spooled {
                seq,
                digest,
                state: found.state,
                reason: found.reason,
                stored_at: found.stored_at.to_string(),
                envelope,
            }),
            Err(detail) => Err(SpoolError::Unreadable { path: self.path.clone(), seq, detail }),
        }
    }

    /// A run that cannot be read back must not stop those behind it. Its bytes stay where they are.
    fn bury_unreadable(&self, keeping: &Keeping, seq: u64, digest: Digest, detail: &str) -> Result<(), SpoolError> {
        tracing::error!("{}: run {seq} cannot be read back: {detail}; it is quarantined", self.path.display());
        let at = self.at();
        let transaction = self.connection.unchecked_transaction().map_err(&at)?;
        keeping.may_sign(&transaction, &at)?;
        let gone = tombstones::Gone { seq, digest, cause: Cause::Damaged };
        tombstones::bury(&transaction, &keeping.identity, vec![gone], clock::now()).map_err(|error| error.at(&at))?;
        let reason = format!("unreadable: {detail}");
        rows::answer(&transaction, seq, State::Quarantined, Some(&reason), None).map_err(&at)?;
        transaction.commit().map_err(&at)?;
        self.unreadable.set(self.unreadable.get() + 1);
        Ok(())
    }

    /// Makes every change that `change` makes in one transaction, or none. Not for changes that have one of their own, as
    /// [`Spool::append`] and [`Spool::pending`] have.
    ///
    /// # Errors
    /// What `change` came to, or that the database cannot be written.
    pub fn at_once<T, E: From<SpoolError>>(&mut self, change: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let run = |spool: &Self, sql: &str| spool.connection.execute_batch(sql).map_err(spool.at());
        run(self, "BEGIN IMMEDIATE")?;
        let result = change(self).and_then(|done| run(self, "COMMIT").map(|()| done).map_err(E::from));
        if result.is_err() && !self.connection.is_autocommit() {
            run(self, "ROLLBACK")?;
        }
        result
    }

    /// How many runs are in which state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn counts(&self) -> Result<Counts, SpoolError> {
        let sql = "SELECT count(*), count(*) FILTER (WHERE a.state = ?1), count(*) FILTER (WHERE a.state = ?2)
                   FROM runs r LEFT JOIN answers a ON a.seq = r.seq";
        let counts = self
            .connection
            .query_row(sql, params![rows::ACKNOWLEDGED, rows::QUARANTINED], |row| {
                let (all, acknowledged, quarantined): (u64, u64, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
                Ok(Counts { pending: all - acknowledged - quarantined, acknowledged, quarantined })
            })
            .map_err(self.at());
        self.suspecting(counts)
    }

    /// Bytes of the database file that hold something.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn used_bytes(&self) -> Result<u64, SpoolError> {
        bounds::used(&self.connection).map_err(self.at())
    }

    /// All tombstones, in the order of their places.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn tombstones(&self) -> Result<Vec<Buried>, SpoolError> {
        self.suspecting(tombstones::all(&self.connection, false).map_err(self.at()))
    }

    /// The tombstone that stands for the run at `seq`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn tombstone_of(&self, seq: u64) -> Result<Option<Buried>, SpoolError> {
        self.suspecting(tombstones::covering(&self.connection, seq).map_err(self.at()))
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), SpoolError> {
        set(&self.connection, key, value).map_err(self.at())
    }

    fn setting(&self, key: &str) -> Result<Option<String>, SpoolError> {
        let sql = "SELECT value FROM settings WHERE key = ?1";
        self.suspecting(self.connection.query_row(sql, [key], |row| row.get(0)).optional().map_err(self.at()))
    }
}

/// Whether there is a spool in `folder`, which [`Spool::open`] would not have to make.
///
/// # Errors
/// When the folder cannot be looked into.
pub fn is_there(folder: &Path) -> std::io::Result<bool> {
    Ok(folder.join(FILE).try_exists()? || place::replacement(folder)?.is_some())
}

/// Opens a spooled run with the gateway's own keys: what the spool says is believed no more than anyone's word.
///
/// # Errors
/// When the envelope does not verify.
pub fn verify(run: &Spooled, signers: &impl Signers) -> Result<VerifiedRun, VerifyError> {
    let envelope = Envelope::parse(run.envelope.as_bytes())?;
    VerifiedRun::open(&envelope, signers)
}

/// Opens a tombstone of the spool with the gateway's own keys.
///
/// # Errors
/// When the envelope does not verify.
pub fn open_tombstone(buried: &Buried, signers: &impl Signers) -> Result<Tombstone, VerifyError> {
    Tombstone::open(&Envelope::parse(buried.envelope.as_bytes())?, signers)
}

fn set(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    let sql = "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
    connection.execute(sql, params![key, value]).map(|_| ())
}

#[cfg(test)]
mod tests;
