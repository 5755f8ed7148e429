//! Holding the sink to its log: each answer must continue the last checkpoint that was verified, and prove that every run it
//! takes is in.
//!
//! An answer is believed as a whole or not at all. What contradicts the log is kept as a [`Dispute`]; pure otherwise.

use gatepost_evidence::checkpoint::{Checkpoint, CheckpointError, LogProof};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::GatewayId;
use gatepost_evidence::log::{ConsistencyProof, LogRoot};
use gatepost_evidence::receipt::{Acknowledgement, Receipt};
use gatepost_evidence::wire::{Answer, Answers, LOG_REWOUND, UNKNOWN_KEY};
use jiff::Timestamp;

use super::dispute::{Dispute, DisputedRun};
use super::{UploadError, words};
use crate::spool::{Enrolment, Spool, Spooled};

/// The newest checkpoint that was verified.
///
/// # Errors
/// When the spool cannot be read, or what it says is not the sink's word.
pub(super) fn known(spool: &Spool, enrolment: &Enrolment) -> Result<Option<Checkpoint>, UploadError> {
    // The spool is believed no more than the sink: without a past to hold the sink to, nothing is acknowledged.
    let unreadable = |error: CheckpointError| {
        UploadError::NotBelieved(format!(
            "the spool's own copy of its last checkpoint is damaged: {error}; enrol again to start over with the sink"
        ))
    };
    spool.checkpoint()?.map(|note| Checkpoint::open(&note, &enrolment.sink_key).map_err(unreadable)).transpose()
}

/// Reasons of disputes that say: this log is not the one that was verified before.
const STARTS_OVER: [&str; 3] = [LOG_REWOUND, "log_shrunk", "not_consistent"];

/// What is to be done with a run.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The sink has it.
    Acknowledge(Box<Acknowledgement>),
    /// The sink refused it for good, and why.
    Quarantine(String),
    /// The sink does not know this gateway; that says nothing about the run.
    Keep,
}

/// Why an answer is not believed.
#[derive(Debug)]
pub(super) enum Doubt {
    /// It makes no sense, or is not the sink's word: nothing that could be held against the sink.
    Worthless(String),
    /// It contradicts the log.
    Dispute(Box<Dispute>),
}

/// What `answers` mean for the runs of `batch`, and the checkpoint that the next answer must continue.
pub(super) fn judge(
    enrolment: &Enrolment,
    gateway: GatewayId,
    known: Option<&Checkpoint>,
    batch: &[Spooled],
    answers: Answers,
) -> Result<(Checkpoint, Vec<Verdict>), Doubt> {
    if answers.answers.len() != batch.len() {
        return Err(Doubt::Worthless(format!("{} answers to {} runs", answers.answers.len(), batch.len())));
    }
    let Answers { answers, checkpoint: note, consistency, .. } = answers;
    let dispute = |reason: &str, detail: String, run: Option<DisputedRun>| {
        let claimed = Some(note.clone());
        let consistency = Some(consistency.clone());
        Doubt::Dispute(Box::new(Dispute { consistency, run, ..disputed(enrolment, known, claimed, reason, detail) }))
    };
    let checkpoint = Checkpoint::open(&note, &enrolment.sink_key)
        .map_err(|error| dispute("bad_checkpoint", format!("the checkpoint is not the sink's: {error}"), None))?;
    let before = known.map_or_else(LogRoot::empty, Checkpoint::root);
    if let Err(error) = consistency.verify(&before, &checkpoint.root()) {
        return Err(dispute(error.reason(), error.to_string(), None));
    }
    let verdicts = batch.iter().zip(answers).map(|(run, answer)| {
        // A spool that outlived its key holds runs of the gateway this one was before.
        let signer = Envelope::parse(run.envelope.as_bytes()).ok().and_then(|run| run.claimed_signer());
        let (receipt, index, inclusion) = match answer {
            Answer::Rejected { reason, .. } if reason == UNKNOWN_KEY && signer == Some(gateway) => {
                return Ok(Verdict::Keep);
            }
            Answer::Rejected { reason, detail } => {
                return Ok(Verdict::Quarantine(words(&format!("{reason}: {detail}"))));
            }
            Answer::Accepted { receipt, index, inclusion, .. }
            | Answer::Duplicate { receipt, index, inclusion, .. } => (receipt, index, inclusion),
        };
        let worthless = |detail: String| Doubt::Worthless(format!("receipt for run {}: {detail}", run.seq));
        let named = Receipt::open(&receipt, &enrolment.sink_key).map_err(|error| worthless(error.to_string()))?;
        if (named.gateway, named.seq, named.digest) != (signer.unwrap_or(gateway), run.seq, run.digest) {
            let detail = format!("it names run {} of gateway {}", named.seq, named.gateway.short());
            return Err(worthless(detail));
        }
        let checked = inclusion.verify(&checkpoint.root(), index, run.digest);
        let log = LogProof { index, inclusion, checkpoint: note.clone() };
        if let Err(error) = checked {
            let detail = format!("run {} is not where the sink says it is: {error}", run.seq);
            let run = DisputedRun { seq: run.seq, digest: run.digest, receipt, log };
            return Err(dispute(error.reason(), detail, Some(run)));
        }
        Ok(Verdict::Acknowledge(Box::new(Acknowledgement { receipt, log: Some(log) })))
    });
    let verdicts = verdicts.collect::<Result<_, Doubt>>()?;
    Ok((checkpoint, verdicts))
}

/// A dispute over what the sink claims beside what is known.
pub(super) fn disputed(
    enrolment: &Enrolment,
    known: Option<&Checkpoint>,
    claimed: Option<String>,
    reason: &str,
    detail: String,
) -> Dispute {
    Dispute {
        time: Timestamp::now(),
        sink: enrolment.url.clone(),
        sink_key: enrolment.sink_key.clone(),
        reason: reason.to_owned(),
        detail,
        known: known.map(|checkpoint| checkpoint.note().to_owned()),
        claimed,
        consistency: None::<ConsistencyProof>,
        run: None,
    }
}

/// Keeps the evidence, says so in the log, and makes the error of it. With a log that does not continue the known one the
/// gateway starts over, so that a sink that lost its past gets it back.
pub(super) fn report(spool: &mut Spool, dispute: &Dispute) -> UploadError {
    let kept = match dispute.keep(spool.folder()) {
        Ok(Some(path)) => Ok(format!("the evidence is in {}", path.display())),
        Ok(None) => Ok("earlier evidence is kept and this is not: there is enough of it".to_owned()),
        Err(error) => Err(format!("the evidence could not be kept: {error}")),
    };
    let (Ok(said) | Err(said)) = &kept;
    tracing::error!(reason = dispute.reason, "the sink broke its log: {}; {said}", dispute.detail);
    let detail = format!("{}; {said}", dispute.detail);
    // Without the evidence the checkpoint that it rests on is not let go.
    if kept.is_err() || !STARTS_OVER.contains(&dispute.reason.as_str()) {
        return UploadError::NotBelieved(detail);
    }
    match spool.hand_over_again(&dispute.reason) {
        Ok(_) => UploadError::StartedOver(detail),
        Err(error) => error.into(),
    }
}
