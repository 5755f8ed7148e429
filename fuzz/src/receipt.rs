//! What a gateway keeps of the sink for a run: receipt, checkpoint and proof, without the sink's key.

use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::{Acknowledgement, Receipt};

use crate::Seeds;
use crate::golden::{BUNDLES, BY_SINK, ENVELOPES, GATEWAY, SINK};

/// An acknowledgement is what it is written as; its receipt is the sink's; its proof is for one run only.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let Ok(word) = Acknowledgement::parse(data) else { return };
    assert_eq!(Acknowledgement::parse(word.to_json().as_bytes()).as_ref(), Ok(&word), "written again it is another");
    assert!(Receipt::open(&word.receipt, GATEWAY.public()).is_err(), "a gateway gave itself a receipt");
    let Ok(receipt) = Receipt::open(&word.receipt, SINK.public()) else { return };
    assert!(BY_SINK.signatures.contains(&word.receipt.signatures[0].sig), "accepted without the key");
    let Some(log) = &word.log else { return };
    let Ok(checkpoint) = log.verify(receipt.digest, SINK.public()) else { return };
    assert_eq!(checkpoint.note(), log.checkpoint);
    assert!(log.index < checkpoint.size());
    assert!(log.verify(Digest::of(b"another run"), SINK.public()).is_err(), "a proof that proves anything");
    assert!(log.verify(receipt.digest, GATEWAY.public()).is_err(), "a checkpoint of any key");
}

/// Those of the golden bundles, and a bare receipt.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = vec![("bare".to_owned(), ENVELOPES["receipt.json"].clone())];
    for bundle in ["agent", "sink", "receipt-forged", "inclusion-wrong", "checkpoint-forged", "checkpoint-forked"] {
        let receipts = BUNDLES[bundle].iter().filter(|(name, _)| name.starts_with("receipts/"));
        seeds.extend(receipts.map(|(name, content)| (format!("{bundle}-{}", name.replace('/', "-")), content.clone())));
    }
    seeds
}
