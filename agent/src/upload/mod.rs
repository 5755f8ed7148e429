//! Handing runs to the sink: oldest first, in zstd batches, each run answered on its own.
//!
//! A run counts as handed over only when the sink's signed receipt names it. A run the sink refuses for good is
//! quarantined with the reason; anything else is tried again later. Blocking: call it off the async threads.

pub mod backoff;

use std::time::Duration;

use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::key::{PublicKey, SigningKey};
use gatepost_evidence::look::Failure;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::wire::{Answer, Answers, ENROL_PATH, ENROLMENT_TYPE, Enrolled, Problem, RUNS_PATH};
use gatepost_evidence::{canonical, envelope::Envelope, wire};
use serde::de::DeserializeOwned;

use crate::config::{Config, Sink};
use crate::http;
use crate::secret::Secret;
use crate::spool::{Enrolment, Spool, SpoolError, Spooled};

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
    let enrolled: Enrolled = post(sink, ENROL_PATH, "application/json", None, body.as_bytes())?;
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
        let batch = match spool.pending(BATCH_RUNS, BATCH_BYTES) {
            // One damaged run must not keep back all that follow.
            Err(SpoolError::Unreadable { seq, detail, .. }) => {
                spool.quarantine_unreadable(seq, &detail)?;
                sent.quarantined += 1;
                continue;
            }
            batch => batch?,
        };
        if batch.is_empty() {
            return Ok(sent);
        }
        let answers = send(sink, &batch)?;
        let time = answers.time;
        take(spool, &enrolment, gateway, &batch, answers, &mut sent)?;
        // Only now: a clock that is not the sink's would cast doubt on every later run's own.
        spool.heard_from_sink(time)?;
    }
}

fn send(sink: &Sink, batch: &[Spooled]) -> Result<Answers, UploadError> {
    let mut lines = String::new();
    for run in batch {
        lines.push_str(&line(&run.envelope));
        lines.push('\n');
    }
    let body = zstd::bulk::compress(lines.as_bytes(), 3).map_err(|error| UploadError::Refused(error.to_string()))?;
    post(sink, RUNS_PATH, "application/x-ndjson", Some("zstd"), &body)
}

/// One line, never an empty one, so that every run gets its own answer whatever became of it in the spool. A line break in
/// JSON can only stand between values, where a space means the same.
fn line(envelope: &str) -> String {
    let line = envelope.replace(['\n', '\r'], " ");
    if line.is_empty() { " ".to_owned() } else { line }
}

/// Moves each run of `batch` as its answer says, and stops at the first answer that cannot be believed.
fn take(
    spool: &mut Spool,
    enrolment: &Enrolment,
    gateway: GatewayId,
    batch: &[Spooled],
    answers: Answers,
    sent: &mut Sent,
) -> Result<(), UploadError> {
    if answers.answers.len() != batch.len() {
        let detail = format!("{} answers to {} runs", answers.answers.len(), batch.len());
        return Err(UploadError::NotBelieved(detail));
    }
    for (run, answer) in batch.iter().zip(answers.answers) {
        match answer {
            Answer::Accepted { receipt, .. } | Answer::Duplicate { receipt, .. } => {
                // A spool that outlived its key holds runs of the gateway this one was before.
                let signer = Envelope::parse(run.envelope.as_bytes()).ok().and_then(|run| run.claimed_signer());
                check(&receipt, &enrolment.sink_key, signer.unwrap_or(gateway), run.seq, run.digest)?;
                spool.acknowledge(run.digest, &receipt)?;
                sent.acknowledged += 1;
            }
            Answer::Rejected { reason, detail } => {
                spool.quarantine(run.digest, &words(&format!("{reason}: {detail}")))?;
                sent.quarantined += 1;
            }
        }
    }
    Ok(())
}

fn check(receipt: &Envelope, key: &PublicKey, gateway: GatewayId, seq: u64, digest: Digest) -> Result<(), UploadError> {
    let not_believed = |detail: String| UploadError::NotBelieved(format!("receipt for run {seq}: {detail}"));
    let receipt = Receipt::open(receipt, key).map_err(|error| not_believed(error.to_string()))?;
    if (receipt.gateway, receipt.seq, receipt.digest) == (gateway, seq, digest) {
        Ok(())
    } else {
        Err(not_believed(format!("it names run {} of gateway {}", receipt.seq, receipt.gateway.short())))
    }
}

/// What the sink said, short and without control characters: it is printed on terminals and written to logs.
fn words(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

fn post<T: DeserializeOwned>(
    sink: &Sink,
    path: &str,
    content_type: &str,
    encoding: Option<&str>,
    body: &[u8],
) -> Result<T, UploadError> {
    let later = |detail: String| UploadError::Later { detail, after: None };
    let url = format!("{}{path}", sink.url);
    let client = http::client(sink.ca_file.as_deref(), LIMIT)?;
    let mut request = client.post(&url).header("content-type", content_type);
    if let Some(encoding) = encoding {
        request = request.header("content-encoding", encoding);
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
        return serde_json::from_str(&text)
            .map_err(|error| later(format!("{}: not a sink's answer: {error}", sink.url)));
    }
    let problem = serde_json::from_str::<Problem>(&text).map_or_else(
        |_| format!("status {status}"),
        |problem| words(&format!("{} ({}, status {status})", problem.detail, problem.reason)),
    );
    match status {
        408 | 425 | 429 | 500.. => Err(UploadError::Later { detail: format!("{}: {problem}", sink.url), after }),
        _ => Err(UploadError::Refused(problem)),
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
