//! Handing over to the sink: oldest first, in compressed batches, each line answered on its own.
//!
//! A run counts as handed over only when the sink's signed receipt names it, and the sink proves that it is in its log and
//! that this log continues the one seen before ([`log`]), in the answer to this very upload ([`post`]). A run the sink refuses for good is quarantined with the reason;
//! anything else is tried again later. How much, when, and what an answer means is decided in [`core`]; this file does it.
//! Blocking: call it off the async threads.

pub mod backoff;
pub mod core;
mod dictionary;
pub mod dispute;
mod lines;
mod log;
#[cfg(test)]
mod model;
mod post;

use std::time::Instant;

use gatepost_evidence::batch::{CONTENT_TYPE, Encoded, encode};
use gatepost_evidence::checkpoint::Checkpoint;
use gatepost_evidence::look::Failure;
use gatepost_evidence::rotation::Keyring;
use gatepost_evidence::wire::{Answers, ENROL_PATH, ENROLMENT_TYPE, Enrolled, LOG_SIZE_HEADER, RUNS_PATH};
use gatepost_evidence::{canonical, envelope::Envelope, wire};

use self::core::{Ask, Core, Heard, Next, Refused, Tally, Then};
use crate::config::{Config, Sink};
use crate::http::pin::Pin;
use crate::identity::Identity;
use crate::rotate::RotateError;
use crate::secret::Secret;
use crate::spool::{Enrolment, Spool, SpoolError};
use lines::Line;
use log::Doubt;
use post::{Connection, Refusal, Unanswered};

/// Why something was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The sink could not be reached, or asked to wait.
    #[error("{0}")]
    Later(String),
    /// The sink answered something that trying again will not change.
    #[error("the sink refused: {0}")]
    Refused(String),
    /// This gateway is not enrolled.
    #[error("this gateway is not enrolled with {0}; run `gatepost enroll --token-file FILE`")]
    NotEnrolled(String),
    /// The sink does not know this gateway, though it enrolled.
    #[error(
        "{0} does not know this gateway (any more); run `gatepost enroll --token-file FILE`. Until then every run stays \
         in the spool"
    )]
    Forgotten(String),
    /// The sink's log does not continue the one that was verified before. The evidence is kept, and everything that is still
    /// in the spool is pending again.
    #[error(
        "the sink's answer cannot be believed: {0}; everything that is in the spool is handed over again at the next try"
    )]
    StartedOver(String),
    /// The answer cannot be believed.
    #[error("the sink's answer cannot be believed: {0}")]
    NotBelieved(String),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The key, after somebody rotated it.
    #[error(transparent)]
    Key(#[from] RotateError),
}

impl UploadError {
    /// Whether trying again without anybody doing anything can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Later(_) | Self::StartedOver(_))
    }
}

impl From<Failure> for UploadError {
    fn from(failure: Failure) -> Self {
        Self::Later(failure.to_string())
    }
}

/// What became of what was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Runs that the sink has, with a receipt.
    pub acknowledged: u64,
    /// What the sink refused, or could not be read back; it is quarantined.
    pub quarantined: u64,
    /// Tombstones that the sink has, with a receipt.
    pub tombstones: u64,
}

impl std::ops::AddAssign for Sent {
    fn add_assign(&mut self, more: Self) {
        self.acknowledged += more.acknowledged;
        self.quarantined += more.quarantined;
        self.tombstones += more.tombstones;
    }
}

/// Makes this gateway known to the sink, with a one-time token; says also which key the sink's certificate has.
///
/// # Errors
/// When the sink cannot be reached or refuses.
pub fn enroll(
    config: &Config,
    sink: &Sink,
    identity: &Identity,
    token: &Secret,
) -> Result<(Enrolled, Option<Pin>), UploadError> {
    let enrolment = wire::Enrolment {
        token: token.expose().to_owned(),
        public_key: identity.ring().first().clone(),
        rotations: identity.rotations().to_vec(),
        name: config.gateway.name.clone(),
        labels: config.gateway.labels.clone(),
    };
    let payload = canonical::to_vec(&enrolment).map_err(|error| UploadError::Refused(error.to_string()))?;
    let body = Envelope::sign(ENROLMENT_TYPE, &payload, identity.key()).to_json();
    let headers = [("content-type", "application/json")];
    let connection = Connection::new(sink)?;
    let answer = connection.post(ENROL_PATH, &headers, body.as_bytes(), None);
    let enrolled: Enrolled = answer.map_err(|unanswered| unanswered.error(sink))?;
    if enrolled.gateway != identity.gateway() {
        return Err(UploadError::NotBelieved(format!("it enrolled gateway {}", enrolled.gateway)));
    }
    Ok((enrolled, connection.seen()))
}

/// Hands over everything that waits, with the pauses between connections that the sink is owed.
///
/// # Errors
/// The first thing that stops it; what was handed over until then stays so.
pub fn drain(spool: &mut Spool, sink: &Sink, ring: &Keyring) -> Result<Sent, UploadError> {
    let mut uploader = Uploader::default();
    let mut sent = Sent::default();
    loop {
        match uploader.due() {
            Next::Send(_) => sent += uploader.connect(spool, sink, ring)?,
            Next::Rest(pause) => {
                tracing::info!(?pause, "leaving the sink to others for a moment");
                std::thread::sleep(pause);
            }
            Next::Idle => return Ok(sent),
        }
    }
}

/// The uploader of one gateway: the [`Core`] with a clock and a connection.
#[derive(Debug)]
pub struct Uploader {
    core: Core,
    since: Instant,
}

impl Default for Uploader {
    fn default() -> Self {
        Self { core: Core::default(), since: Instant::now() }
    }
}

impl Uploader {
    /// What is to be done now.
    #[must_use]
    pub fn due(&mut self) -> Next {
        self.core.next(self.since.elapsed())
    }

    /// There is something new in the spool.
    pub fn news(&mut self) {
        self.core.news();
    }

    /// There is no spool to hand over from; as after every failure, it is tried again later.
    pub fn failed(&mut self) {
        self.heard(Heard::Failed);
    }

    /// Opens a connection and hands over what one may, if it is time to.
    ///
    /// # Errors
    /// What ended the connection before it was its time; what was handed over until then stays so.
    pub fn connect(&mut self, spool: &mut Spool, sink: &Sink, ring: &Keyring) -> Result<Sent, UploadError> {
        let mut connection = None;
        let mut sent = Sent::default();
        while let Next::Send(ask) = self.due() {
            let mut upload = Upload { spool: &mut *spool, sink, ring, lines: Vec::new(), dictionary: false };
            let unreadable = upload.spool.unreadable();
            let came = upload.exchange(ask, &mut connection).unwrap_or_else(Came::Failed);
            sent.quarantined += upload.spool.unreadable() - unreadable;
            let then = self.heard(came.heard(upload.lines.len(), upload.dictionary));
            match upload.settle(came, then) {
                Ok(settled) => sent += settled,
                Err(error) => {
                    connection = None;
                    // A smaller batch may go at once. That the log broke is told, however soon everything may be handed over again.
                    if then == Then::StartOver || !matches!(self.due(), Next::Send(_)) {
                        return Err(error);
                    }
                    tracing::debug!("{error}");
                }
            }
        }
        Ok(sent)
    }

    fn heard(&mut self, heard: Heard<'_>) -> Then {
        self.core.heard(self.since.elapsed(), random(), heard)
    }
}

/// One batch on its way.
struct Upload<'s, 'a> {
    spool: &'s mut Spool,
    sink: &'a Sink,
    ring: &'a Keyring,
    lines: Vec<Line>,
    /// Whether they were compressed against a dictionary.
    dictionary: bool,
}

/// What came of it.
enum Came {
    NothingWaits,
    Failed(UploadError),
    Unanswered(Unanswered),
    Doubted(Doubt),
    Answered(Sent, Tally),
}

impl Came {
    fn heard(&self, lines: usize, dictionary: bool) -> Heard<'_> {
        match self {
            Self::NothingWaits => Heard::NothingWaits,
            Self::Failed(_) => Heard::Failed,
            Self::Unanswered(Unanswered::TimedOut(_)) => Heard::TimedOut(lines),
            Self::Unanswered(Unanswered::NoAnswer(_) | Unanswered::Unbound(_)) => Heard::NoAnswer,
            Self::Unanswered(Unanswered::Refused(refusal)) => {
                let Refusal { status, after, .. } = *refusal;
                Heard::Refused(Refused { status, reason: refusal.reason(), after, lines, dictionary })
            }
            Self::Doubted(doubt) => Heard::Doubted(doubt.reason()),
            Self::Answered(_, tally) => Heard::Answered(*tally),
        }
    }
}

impl<'a> Upload<'_, 'a> {
    /// Sends the next batch and writes what the answer says of each line.
    fn exchange(&mut self, ask: Ask, connection: &mut Option<Connection<'a>>) -> Result<Came, UploadError> {
        let enrolment = self.spool.enrolment()?.filter(|enrolment| enrolment.url == self.sink.url);
        let enrolment = enrolment.ok_or_else(|| UploadError::NotEnrolled(self.sink.url.clone()))?;
        self.lines = lines::waiting(self.spool, ask)?;
        if self.lines.is_empty() {
            return Ok(Came::NothingWaits);
        }
        let checkpoint = log::known(self.spool, &enrolment)?;
        let connection = match connection {
            Some(connection) => connection,
            none => none.insert(Connection::new(self.sink)?),
        };
        let seen = checkpoint.as_ref().map_or(0, Checkpoint::size);
        let dictionary = if ask.dictionary { dictionary::choose(self.spool, &self.lines) } else { None };
        self.dictionary = dictionary.is_some();
        let unanswered = match send(connection, &enrolment, &self.lines, seen, dictionary.as_deref())? {
            Ok(answers) => return self.take(&enrolment, checkpoint.as_ref(), answers),
            Err(unanswered) => unanswered,
        };
        match (&unanswered, checkpoint) {
            (Unanswered::Refused(refusal), Some(known)) if refusal.says_rewound() => {
                let claimed = connection.newest_checkpoint();
                Ok(Came::Doubted(log::rewound(&enrolment, &known, claimed, &refusal.to_string())))
            }
            _ => Ok(Came::Unanswered(unanswered)),
        }
    }

    /// Holds the answers to the log, and writes what they say.
    fn take(
        &mut self,
        enrolment: &Enrolment,
        known: Option<&Checkpoint>,
        answers: Answers,
    ) -> Result<Came, UploadError> {
        let (time, consistency) = (answers.time, answers.consistency.clone());
        let (next, verdicts) = match log::judge(enrolment, self.ring, known, &self.lines, answers) {
            Ok(judged) => judged,
            Err(doubt) => return Ok(Came::Doubted(doubt)),
        };
        let known = known.map(Checkpoint::note);
        let (sent, tally) = lines::take(self.spool, known, &self.lines, (next.note(), &consistency, time, verdicts))?;
        Ok(Came::Answered(sent, tally))
    }

    /// Does what the core makes of it to the spool; gives what was taken, or why nothing was.
    fn settle(&mut self, came: Came, then: Then) -> Result<Sent, UploadError> {
        match (came, then) {
            (Came::NothingWaits, _) => Ok(Sent::default()),
            (Came::Failed(error), _) => Err(error),
            (Came::Answered(_, tally), _) if tally.unknown => Err(UploadError::Forgotten(self.sink.url.clone())),
            (Came::Answered(sent, _), _) => Ok(sent),
            (Came::Doubted(Doubt::Worthless(detail)), _) => Err(UploadError::NotBelieved(detail)),
            (Came::Doubted(Doubt::Dispute(dispute)), then) => {
                Err(log::report(self.spool, &dispute, then == Then::StartOver))
            }
            (Came::Unanswered(Unanswered::Refused(refusal)), Then::Quarantine) => {
                let reason = format!("too_large: {refusal}");
                self.lines.iter().try_for_each(|line| lines::quarantine(self.spool, line, &reason))?;
                Ok(Sent { quarantined: self.lines.len() as u64, ..Sent::default() })
            }
            (Came::Unanswered(unanswered), _) => Err(unanswered.error(self.sink)),
        }
    }
}

/// Sends a batch, compressed against `dictionary` if there is one.
fn send(
    connection: &Connection<'_>,
    enrolment: &Enrolment,
    lines: &[Line],
    seen: u64,
    dictionary: Option<&[u8]>,
) -> Result<Result<Answers, Unanswered>, UploadError> {
    let encoded = encode(lines.iter().map(|line| line.envelope.as_str()), dictionary);
    let Encoded { encoding, body } =
        encoded.map_err(|error| UploadError::Later(format!("the batch cannot be put together: {error}")))?;
    let seen = seen.to_string();
    let headers = [("content-type", CONTENT_TYPE), ("content-encoding", encoding), (LOG_SIZE_HEADER, seen.as_str())];
    Ok(connection.post(RUNS_PATH, &headers, &body, Some(&enrolment.sink_key)))
}

/// Without randomness there is no jitter, which is no reason to stop.
pub(crate) fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

#[cfg(test)]
mod tests;
