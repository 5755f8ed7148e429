//! What an upload leaves in a spool, without a sink.

use gatepost::spool::{Spool, SpoolError};
use gatepost_evidence::checkpoint::{Checkpoint, LogProof};
use gatepost_evidence::id::Digest;
use gatepost_evidence::log::{self, LogError, LogHash, NodeId};
use gatepost_evidence::receipt::{Acknowledgement, Receipt};

use super::chain::key;

/// What an upload leaves in the spool when the sink's log has a million leaves of many gateways: receipt, inclusion proof,
/// checkpoint, and the proof that it continues the one before. The proofs have the hashes that real ones would have, but for
/// their values.
pub fn hand_over(spool: &mut Spool, salt: u64) -> Result<(), SpoolError> {
    let sink = key();
    let node = |id: NodeId| Ok::<_, LogError>(LogHash::new(*Digest::of(&id.number().to_be_bytes()).as_bytes()));
    let size = |salt: u64| 1_000_000 + 137 * salt;
    let checkpoint = |salt: u64| Checkpoint::sign(log::root(size(salt), node).unwrap(), &sink);
    let head = spool.head().unwrap().unwrap();
    let at = jiff::Timestamp::from_second(1_772_000_000 + i64::try_from(salt).unwrap()).unwrap();
    let receipt = Receipt { gateway: sink.public().id(), seq: head.seq, digest: head.digest, accepted_at: at };
    let (before, next) = (checkpoint(salt - 1), checkpoint(salt));
    let proof = LogProof {
        index: size(salt) - 20,
        inclusion: log::prove_inclusion(size(salt), size(salt) - 20, node).unwrap(),
        checkpoint: next.note().to_owned(),
    };
    let word = Acknowledgement { receipt: receipt.sign(&sink).unwrap(), log: Some(proof) };
    let consistency = log::prove_consistency(before.size(), next.size(), node).unwrap();
    spool.at_once(|spool| {
        spool.set_checkpoint(next.note())?;
        spool.keep_proof(Some(before.note()), next.note(), &consistency)?;
        spool.heard_from_sink(at)?;
        spool.acknowledge(head.digest, &word)
    })
}
