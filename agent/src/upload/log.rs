//! Holding the sink to its log: each answer must continue the last checkpoint that was verified, and prove that every run it
//! takes is in.
//!
//! An answer is believed as a whole or not at all. What contradicts the log is kept as a [`Dispute`]; pure otherwise.

use gatepost_evidence::checkpoint::{Checkpoint, CheckpointError, LogProof};
use gatepost_evidence::log::{ConsistencyProof, LogRoot};
use gatepost_evidence::receipt::{Acknowledgement, Receipt};
use gatepost_evidence::rotation::Keyring;
use gatepost_evidence::wire::{Answer, Answers, LOG_REWOUND};
use jiff::Timestamp;

use super::UploadError;
use super::core::{self, Fate};
use super::dispute::{Dispute, DisputedRun};
use super::lines::Line;
use super::post::words;
use crate::spool::{Enrolment, Spool};

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

/// What the sink said of a line.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It has it.
    Acknowledge(Box<Acknowledgement>),
    /// It refused it: what that means, and why.
    Refuse(Fate, String),
}

/// Why an answer is not believed.
#[derive(Debug)]
pub(super) enum Doubt {
    /// It makes no sense, or is not the sink's word: nothing that could be held against the sink.
    Worthless(String),
    /// It contradicts the log.
    Dispute(Box<Dispute>),
}

impl Doubt {
    /// A word for it.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Worthless(_) => "worthless",
            Self::Dispute(dispute) => &dispute.reason,
        }
    }
}

/// What `answers` mean for the lines of `batch`, and the checkpoint that the next answer must continue.
pub(super) fn judge(
    enrolment: &Enrolment,
    ring: &Keyring,
    known: Option<&Checkpoint>,
    batch: &[Line],
    answers: Answers,
) -> Result<(Checkpoint, Vec<Verdict>), Doubt> {
    if answers.answers.len() != batch.len() {
        return Err(Doubt::Worthless(format!("{} answers to {} lines", answers.answers.len(), batch.len())));
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
    let verdicts = batch.iter().zip(answers).map(|(line, answer)| {
        let signer = line.signer();
        let own = signer.is_some_and(|signer| ring.key(signer.digest()).is_some());
        let (receipt, index, inclusion) = match answer {
            Answer::Rejected { reason, detail } => {
                let fate = core::refused(line.kind, own, &reason);
                return Ok(Verdict::Refuse(fate, words(&format!("{reason}: {detail}"))));
            }
            Answer::Accepted { receipt, index, inclusion, .. }
            | Answer::Duplicate { receipt, index, inclusion, .. } => (receipt, index, inclusion),
        };
        let worthless = |detail: String| Doubt::Worthless(format!("receipt for run {}: {detail}", line.seq));
        let named = Receipt::open(&receipt, &enrolment.sink_key).map_err(|error| worthless(error.to_string()))?;
        // A spool that outlived its key holds runs of the gateway this one was before.
        let other = signer.filter(|_| !own);
        if (named.gateway, named.seq, named.digest) != (other.unwrap_or(ring.gateway()), line.seq, line.digest) {
            let detail = format!("it names run {} of gateway {}", named.seq, named.gateway.short());
            return Err(worthless(detail));
        }
        let checked = inclusion.verify(&checkpoint.root(), index, line.digest);
        let log = LogProof { index, inclusion, checkpoint: note.clone() };
        if let Err(error) = checked {
            let detail = format!("run {} is not where the sink says it is: {error}", line.seq);
            let run = DisputedRun { seq: line.seq, digest: line.digest, receipt, log };
            return Err(dispute(error.reason(), detail, Some(run)));
        }
        Ok(Verdict::Acknowledge(Box::new(Acknowledgement { receipt, log: Some(log) })))
    });
    let verdicts = verdicts.collect::<Result<_, Doubt>>()?;
    Ok((checkpoint, verdicts))
}

/// What it means that the sink said that its log is smaller than the one of `known`, and shows `claimed` as its newest
/// checkpoint. What it said is no evidence, so it is a dispute only if it signed that it has less, or something else.
pub(super) fn rewound(enrolment: &Enrolment, known: &Checkpoint, claimed: Option<String>, said: &str) -> Doubt {
    let unproved = |why: String| {
        Doubt::Worthless(format!(
            "the sink says that it lost part of its log, and shows no checkpoint that says so: {why}. Nothing is given \
             up for that; it said: {said}"
        ))
    };
    let Some(note) = claimed else { return unproved("it shows none".to_owned()) };
    let checkpoint = match Checkpoint::open(&note, &enrolment.sink_key) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return unproved(words(&format!("what it shows is not its own: {error}"))),
    };
    if checkpoint.size() > known.size() || checkpoint.root() == known.root() {
        return unproved(format!("{} leaves are known, and it shows {}", known.size(), checkpoint.size()));
    }
    let detail = format!("the sink says that it lost part of its log: {said}");
    Doubt::Dispute(Box::new(disputed(enrolment, Some(known), Some(note), LOG_REWOUND, detail)))
}

/// A dispute over what the sink claims beside what is known.
fn disputed(
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

/// Keeps the evidence, and says so in the log. With `over`, the gateway starts over, so that a sink that lost its past gets it
/// back. Gives the error that it all comes to.
pub(super) fn report(spool: &mut Spool, dispute: &Dispute, over: bool) -> UploadError {
    let kept = match dispute.keep(spool.folder()) {
        Ok(Some(path)) => Ok(format!("the evidence is in {}", path.display())),
        Ok(None) => Ok("earlier evidence is kept and this is not: there is enough of it".to_owned()),
        Err(error) => Err(format!("the evidence could not be kept: {error}")),
    };
    let (Ok(said) | Err(said)) = &kept;
    tracing::error!(reason = dispute.reason, "the sink broke its log: {}; {said}", dispute.detail);
    let detail = format!("{}; {said}", dispute.detail);
    // Without the evidence the checkpoint that it rests on is not let go.
    if kept.is_err() || !over {
        return UploadError::NotBelieved(detail);
    }
    match spool.hand_over_again(&dispute.reason) {
        Ok(_) => UploadError::StartedOver(detail),
        Err(error) => error.into(),
    }
}
