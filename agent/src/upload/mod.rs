//! Handing runs to the sink: oldest first, in compressed batches, each run answered on its own.
//!
//! A run counts as handed over only when the sink's signed receipt names it, and the sink proves that it is in its log and
//! that this log continues the one seen before ([`log`]). A run the sink refuses for good is quarantined with the reason;
//! anything else is tried again later. Blocking: call it off the async threads.

pub mod backoff;
mod batch;
pub mod dispute;
mod log;

use std::time::Duration;

use gatepost_evidence::batch::CONTENT_TYPE;
use gatepost_evidence::checkpoint::Checkpoint;
use gatepost_evidence::id::GatewayId;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::look::Failure;
use gatepost_evidence::note::MAX_NOTE_BYTES;
use gatepost_evidence::wire::{
    Answers, ENROL_PATH, ENROLMENT_TYPE, Enrolled, LOG_CHECKPOINT_PATH, LOG_REWOUND, LOG_SIZE_HEADER, Problem,
    RUNS_PATH, UNKNOWN_DICTIONARY,
};
use gatepost_evidence::{canonical, envelope::Envelope, wire};
use serde::de::DeserializeOwned;

use crate::config::{Config, Sink};
use crate::http;
use crate::secret::Secret;
use crate::spool::{Enrolment, Spool, SpoolError, Spooled};
use crate::upload::log::{Doubt, Verdict};

/// The most runs in one upload: small, so that a link that drops often still makes progress.
const BATCH_RUNS: usize = 64;
/// The most bytes of envelopes in one upload, before compression.
const BATCH_BYTES: usize = 1024 * 1024;
/// The most time one upload may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The most bytes that are read of an answer.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;

/// What to do about a certificate that is not trusted.
const ADVICE: &str = "; nothing was sent. `sink.ca_file` must hold the anchor of the sink's certificate, and `sink.url` must \
                      have a name that is in it";

/// Why runs were not handed over.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The sink could not be reached, or asked to wait.
    #[error("{detail}")]
    Later {
        /// What happened.
        detail: String,
        /// How long the sink asked to wait (`Retry-After`, RFC 9110, section 10.2.3).
        after: Option<Duration>,
    },
    /// The sink answered something that trying again will not change.
    #[error("the sink refused: {0}")]
    Refused(String),
    /// This gateway is not enrolled.
    #[error("this gateway is not enrolled with {0}; run `gatepost enroll --token-file FILE`")]
    NotEnrolled(String),
    /// The answer cannot be believed.
    #[error("the sink's answer cannot be believed: {0}")]
    NotBelieved(String),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl UploadError {
    /// Whether trying again without anybody doing anything can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Later { .. })
    }
}

impl From<Failure> for UploadError {
    fn from(failure: Failure) -> Self {
        Self::Later { detail: failure.to_string(), after: None }
    }
}

/// What became of the runs that were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// The sink has them, with a receipt.
    pub acknowledged: u64,
    /// The sink refused them, or they could not be read back; they are quarantined.
    pub quarantined: u64,
}

/// Makes this gateway known to the sink, with a one-time token.
///
/// # Errors
/// When the sink cannot be reached or refuses.
pub fn enroll(config: &Config, sink: &Sink, key: &SigningKey, token: &Secret) -> Result<Enrolled, UploadError> {
    let enrolment = wire::Enrolment {
        token: token.expose().to_owned(),
        public_key: key.public().clone(),
        name: config.gateway.name.clone(),
        labels: config.gateway.labels.clone(),
    };
    let payload = canonical::to_vec(&enrolment).map_err(|error| UploadError::Refused(error.to_string()))?;
    let body = Envelope::sign(ENROLMENT_TYPE, &payload, key).to_json();
    let headers = [("content-type", "application/json")];
    let enrolled: Enrolled = post(sink, ENROL_PATH, &headers, body.as_bytes())?.map_err(|why| why.refused())?;
    if enrolled.gateway != key.public().id() {
        return Err(UploadError::NotBelieved(format!("it enrolled gateway {}", enrolled.gateway)));
    }
    Ok(enrolled)
}

/// Hands every pending run to the sink.
///
/// # Errors
/// The first thing that stops it; what was handed over until then stays so.
pub fn drain(spool: &mut Spool, sink: &Sink, gateway: GatewayId) -> Result<Sent, UploadError> {
    let enrolment = spool
        .enrolment()?
        .filter(|enrolment| enrolment.url == sink.url)
        .ok_or_else(|| UploadError::NotEnrolled(sink.url.clone()))?;
    let mut sent = Sent::default();
    loop {
        let before = spool.unreadable();
        let batch = spool.pending(BATCH_RUNS, BATCH_BYTES)?;
        sent.quarantined += spool.unreadable() - before;
        if batch.is_empty() {
            return Ok(sent);
        }
        let known = log::known(spool, &enrolment)?;
        match send(spool, sink, &batch, known.as_ref().map_or(0, Checkpoint::size))? {
            Ok(answers) => take(spool, &enrolment, gateway, known.as_ref(), &batch, answers, &mut sent)?,
            Err(why) if known.is_some() && why.problem.reason == LOG_REWOUND => {
                let detail = format!("the sink says it lost part of its log: {}", words(&why.problem.detail));
                let claimed = newest_checkpoint(sink);
                let dispute = log::disputed(&enrolment, known.as_ref(), claimed, LOG_REWOUND, detail);
                return Err(log::report(spool, &dispute));
            }
            Err(why) => return Err(why.refused()),
        }
    }
}

/// Sends a batch, compressed against a run that the sink should have; at once without, if it does not have it.
fn send(spool: &Spool, sink: &Sink, runs: &[Spooled], seen: u64) -> Result<Result<Answers, Refused>, UploadError> {
    let dictionary = batch::dictionary(spool, runs);
    let seen = seen.to_string();
    let post = |dictionary: Option<&[u8]>| {
        let encoded = batch::encode(runs, dictionary).map_err(|error| UploadError::Refused(error.to_string()))?;
        let headers =
            [("content-type", CONTENT_TYPE), ("content-encoding", encoded.encoding), (LOG_SIZE_HEADER, seen.as_str())];
        post(sink, RUNS_PATH, &headers, &encoded.body)
    };
    match post(dictionary.as_deref())? {
        Err(why) if dictionary.is_some() && why.problem.reason == UNKNOWN_DICTIONARY => post(None),
        answered => Ok(answered),
    }
}

/// The sink's own word on its log, to be kept beside a dispute; none if it does not say.
fn newest_checkpoint(sink: &Sink) -> Option<String> {
    let url = format!("{}{LOG_CHECKPOINT_PATH}", sink.url);
    let mut response = http::client(sink.ca_file.as_deref(), LIMIT).ok()?.get(&url).call().ok()?;
    let text = response.body_mut().with_config().limit(MAX_NOTE_BYTES as u64).read_to_string().ok()?;
    (response.status().as_u16() == 200).then_some(text)
}

/// Moves each run of `batch` as its answer says, if the answers as a whole can be believed.
fn take(
    spool: &mut Spool,
    enrolment: &Enrolment,
    gateway: GatewayId,
    known: Option<&Checkpoint>,
    batch: &[Spooled],
    answers: Answers,
    sent: &mut Sent,
) -> Result<(), UploadError> {
    let time = answers.time;
    let (checkpoint, verdicts) = match log::judge(enrolment, gateway, known, batch, answers) {
        Ok(judged) => judged,
        Err(Doubt::Worthless(detail)) => return Err(UploadError::NotBelieved(detail)),
        Err(Doubt::Dispute(dispute)) => return Err(log::report(spool, &dispute)),
    };
    // What the sink committed itself to and what it said of the runs belong together; cut short before all of it is on disk,
    // the runs are sent again and are duplicates.
    let taken = spool.at_once(|spool| {
        let mut taken = Sent::default();
        spool.set_checkpoint(checkpoint.note())?;
        // Only now: a clock that is not the sink's would cast doubt on every later run's own.
        spool.heard_from_sink(time)?;
        for (run, verdict) in batch.iter().zip(verdicts) {
            match verdict {
                Verdict::Acknowledge(word) => {
                    spool.acknowledge(run.digest, &word)?;
                    taken.acknowledged += 1;
                }
                Verdict::Quarantine(reason) => {
                    spool.quarantine(run.digest, &reason)?;
                    taken.quarantined += 1;
                }
            }
        }
        Ok::<_, SpoolError>(taken)
    })?;
    sent.acknowledged += taken.acknowledged;
    sent.quarantined += taken.quarantined;
    Ok(())
}

/// What the sink said, short and without control characters: it is printed on terminals and written to logs.
fn words(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

fn post<T: DeserializeOwned>(
    sink: &Sink,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Result<T, Refused>, UploadError> {
    let later = |detail: String| UploadError::Later { detail, after: None };
    let url = format!("{}{path}", sink.url);
    let client = http::client(sink.ca_file.as_deref(), LIMIT)?;
    let mut request = client.post(&url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.send(body).map_err(|error| {
        let advice = if distrusted(&error) { ADVICE } else { "" };
        later(format!("{}: {}{advice}", sink.url, http::failure(&error)))
    })?;
    let status = response.status().as_u16();
    let after = response
        .headers()
        .get("retry-after")
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let text = response
        .body_mut()
        .with_config()
        .limit(MAX_ANSWER_BYTES)
        .read_to_string()
        .map_err(|error| later(format!("{}: the answer broke off: {error}", sink.url)))?;
    if status == 200 {
        let answer = serde_json::from_str(&text);
        return answer.map(Ok).map_err(|error| later(format!("{}: not a sink's answer: {error}", sink.url)));
    }
    let nothing_said = |_| Problem { reason: "unknown".into(), detail: "nothing was said about it".into() };
    let refused = Refused { status, problem: serde_json::from_str(&text).unwrap_or_else(nothing_said) };
    match status {
        408 | 425 | 429 | 500.. => Err(UploadError::Later { detail: format!("{}: {refused}", sink.url), after }),
        _ => Ok(Err(refused)),
    }
}

/// An answer that trying again will not change.
struct Refused {
    status: u16,
    problem: Problem,
}

impl Refused {
    fn refused(&self) -> UploadError {
        UploadError::Refused(self.to_string())
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&words(&format!("{} ({}, status {})", self.problem.detail, self.problem.reason, self.status)))
    }
}

/// Whether the other side's certificate is what kept us from talking to it.
fn distrusted(error: &ureq::Error) -> bool {
    use rustls::Error::InvalidCertificate;
    match error {
        ureq::Error::Rustls(InvalidCertificate(_)) => true,
        ureq::Error::Io(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            matches!(inner, Some(InvalidCertificate(_)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
