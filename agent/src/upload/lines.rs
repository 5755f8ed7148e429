//! The lines of an upload: what waits in the spool, rotations before tombstones before runs, and what becomes of each there.

use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::log::ConsistencyProof;
use jiff::Timestamp;

use super::core::{Ask, Fate, Kind, Tally};
use super::log::Verdict;
use super::{Sent, UploadError};
use crate::spool::{Spool, SpoolError};

/// One line: an envelope, and what its receipt has to name.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) kind: Kind,
    /// The place of the run, the last that the tombstone stands for, or the first that the rotation's key signs.
    pub(super) seq: u64,
    /// SHA-256 of the payload.
    pub(super) digest: Digest,
    pub(super) envelope: String,
}

impl Line {
    /// The gateway whose key it says it is signed with, if it can be read at all.
    pub(super) fn signer(&self) -> Option<GatewayId> {
        Envelope::parse(self.envelope.as_bytes()).ok()?.claimed_signer()
    }
}

/// What waits, oldest first, as much of it as `ask` wants. Rotations come first and alone, then tombstones: they explain what
/// the runs lack.
pub(super) fn waiting(spool: &Spool, ask: Ask) -> Result<Vec<Line>, SpoolError> {
    let (mut lines, mut bytes) = (Vec::new(), 0);
    // The sink knows by them whose the rest is, so nothing goes with them that it might have to refuse.
    for turned in spool.pending_rotations()?.into_iter().take(ask.lines) {
        let (seq, digest) = (turned.seq, turned.digest);
        lines.push(Line { kind: Kind::Rotation, seq, digest, envelope: turned.envelope });
    }
    if !lines.is_empty() {
        return Ok(lines);
    }
    let tombstones = if ask.tombstones { spool.pending_tombstones()? } else { Vec::new() };
    for buried in tombstones {
        bytes += buried.envelope.len() + 1;
        if lines.len() == ask.lines || (bytes > ask.bytes && !lines.is_empty()) {
            return Ok(lines);
        }
        let (seq, digest) = (buried.to_seq, buried.digest);
        lines.push(Line { kind: Kind::Tombstone, seq, digest, envelope: buried.envelope });
    }
    if lines.len() < ask.lines && (bytes < ask.bytes || lines.is_empty()) {
        for run in spool.pending(ask.lines - lines.len(), ask.bytes - bytes.min(ask.bytes))? {
            bytes += run.envelope.len() + 1;
            if bytes > ask.bytes && !lines.is_empty() {
                break;
            }
            lines.push(Line { kind: Kind::Run, seq: run.seq, digest: run.digest, envelope: run.envelope });
        }
    }
    Ok(lines)
}

/// Writes what the sink said of each line, with the checkpoint it committed itself to, in one transaction: cut short before
/// all of it is on disk, the lines are sent again and are duplicates. The answers must have been held to `known`.
pub(super) fn take(
    spool: &mut Spool,
    known: Option<&str>,
    lines: &[Line],
    (checkpoint, consistency, time, verdicts): (&str, &ConsistencyProof, Timestamp, Vec<Verdict>),
) -> Result<(Sent, Tally), UploadError> {
    spool.at_once(|spool| {
        if spool.checkpoint()?.as_deref() != known {
            // These answers were held to a past that is no longer this one's.
            let detail = "another upload of this gateway was at work; this one's answers are not used";
            return Err(UploadError::Later(detail.to_owned()));
        }
        spool.set_checkpoint(checkpoint)?;
        spool.keep_proof(known, checkpoint, consistency)?;
        // Only now: a clock that is not the sink's would cast doubt on every later run's own.
        spool.heard_from_sink(time)?;
        let (mut sent, mut tally) = (Sent::default(), Tally::default());
        for (line, verdict) in lines.iter().zip(verdicts) {
            match (line.kind, verdict) {
                (Kind::Run, Verdict::Acknowledge(word)) => {
                    spool.acknowledge(line.digest, &word)?;
                    sent.acknowledged += 1;
                }
                (Kind::Rotation, Verdict::Acknowledge(word)) => spool.acknowledge_rotation(line.digest, &word)?,
                (Kind::Tombstone, Verdict::Acknowledge(_)) => {
                    spool.acknowledge_tombstone(line.digest)?;
                    sent.tombstones += 1;
                }
                (_, Verdict::Refuse(Fate::KeepUnknown, _)) => tally.unknown = true,
                (_, Verdict::Refuse(Fate::KeepUnread, _)) => tally.no_tombstones = true,
                (_, Verdict::Refuse(Fate::Quarantine, reason)) => {
                    quarantine(spool, line, &reason)?;
                    sent.quarantined += 1;
                }
            }
        }
        Ok((sent, tally))
    })
}

/// Sets a line aside that the sink refuses for good.
pub(super) fn quarantine(spool: &mut Spool, line: &Line, reason: &str) -> Result<(), SpoolError> {
    match line.kind {
        Kind::Run => spool.quarantine(line.digest, reason),
        Kind::Rotation => spool.refuse_rotation(line.digest, reason),
        Kind::Tombstone => {
            tracing::error!(to_seq = line.seq, "the sink refuses a tombstone, which stays here: {reason}");
            spool.refuse_tombstone(line.digest)
        }
    }
}
