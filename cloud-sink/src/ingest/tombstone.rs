//! Tombstones in an upload: verified with the enrolled key, kept as they came, and never allowed to contradict the chain.
//!
//! They are answered like runs, with a receipt whose `seq` is the last place they stand for, and each is a leaf of the log.

use gatepost_evidence::envelope::{Envelope, EnvelopeError};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::tombstone::Tombstone;
use jiff::Timestamp;
use rusqlite::Connection;

pub(super) use gatepost_evidence::tombstone::PAYLOAD_TYPE;

use super::{Kept, Rejection};
use crate::app::App;
use crate::store::log::Log;
use crate::store::{StoreError, tombstones};

/// A tombstone that its enrolled gateway signed.
#[derive(Debug)]
pub(super) struct Verified {
    stone: Tombstone,
    digest: Digest,
}

/// Opens a tombstone with the key of the gateway that its envelope names.
pub(super) fn verify(envelope: &Envelope, key: &PublicKey) -> Result<Verified, Rejection> {
    let rejected = |reason, detail, vouched| Rejection { reason, detail, gateway: Some(key.id()), vouched };
    let unsigned = |error: EnvelopeError| rejected(error.reason(), error.to_string(), false);
    let digest = Digest::of(&envelope.open(PAYLOAD_TYPE, key).map_err(unsigned)?);
    let wrong = |error: EnvelopeError| rejected(error.reason(), error.to_string(), true);
    let stone = Tombstone::open(envelope, key).map_err(wrong)?;
    if i64::try_from(stone.to_seq).is_err() {
        let detail = format!("place {} is beyond what is kept", stone.to_seq);
        return Err(rejected("malformed", detail, true));
    }
    Ok(Verified { stone, digest })
}

impl Verified {
    /// Keeps the tombstone, unless it is kept already or contradicts what is.
    pub(super) fn keep(
        &self,
        app: &App,
        connection: &Connection,
        log: &mut Log<'_>,
        line: &[u8],
        time: Timestamp,
    ) -> Result<Result<Kept, Rejection>, StoreError> {
        let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged(error.to_string());
        let Self { stone, digest } = self;
        if let Some((receipt, index)) = tombstones::receipt(connection, *digest)? {
            let receipt = serde_json::from_str(&receipt).map_err(|error| damaged(&error))?;
            return Ok(Ok(Kept { digest: *digest, receipt, index, again: true }));
        }
        if tombstones::contradicts(connection, stone)? {
            let detail = format!(
                "the tombstone of runs {} to {} of gateway {} names other runs than the chain that is known here: two \
                 machines may share one key, or an older state came back. It is kept as evidence",
                stone.from_seq,
                stone.to_seq,
                stone.gateway.short()
            );
            return Ok(Err(Rejection { reason: "fork", detail, gateway: Some(stone.gateway), vouched: true }));
        }
        let receipt = Receipt { gateway: stone.gateway, seq: stone.to_seq, digest: *digest, accepted_at: time };
        let receipt = receipt.sign(&app.key).map_err(|error| damaged(&error))?;
        let envelope = std::str::from_utf8(line).map_err(|error| damaged(&error))?;
        let index = log.append(*digest)?;
        tombstones::insert(connection, stone, *digest, time, envelope, &receipt.to_json(), index)?;
        Ok(Ok(Kept { digest: *digest, receipt, index, again: false }))
    }
}
