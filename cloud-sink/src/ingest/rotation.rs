//! Key rotations in an upload or an enrolment: verified with the ring of the gateway, kept as they came, and never allowed
//! to contradict the chain or to take a key from another gateway.
//!
//! They are answered like runs, with a receipt whose `seq` is the first place of the new key, and each is a leaf of the log.
//! A second rotation from one key is refused as a fork and kept as evidence.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::chain::Piece;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::rotation::{Keyring, RotationError, Signers as _};
use jiff::Timestamp;
use rusqlite::Connection;

pub(super) use gatepost_evidence::rotation::PAYLOAD_TYPE;

use super::{Kept, Rejection};
use crate::app::App;
use crate::store::log::Log;
use crate::store::{StoreError, rotations, tombstones};

/// A rotation that a key of an enrolled gateway signed. Whether the ring takes it is for the transaction to say.
#[derive(Debug)]
pub(crate) struct Signed {
    envelope: Envelope,
    digest: Digest,
}

/// Opens a rotation with the key of the ring that its envelope names, and adds it to the ring if it follows: the lines behind
/// it may be signed by the new key.
pub(crate) fn verify(envelope: Envelope, ring: &mut Keyring) -> Result<Signed, Rejection> {
    let payload = envelope.open(PAYLOAD_TYPE, ring.signer(&envelope)).map_err(|error| refused(ring, &error.into()))?;
    let digest = Digest::of(&payload);
    if !ring.rotations().iter().any(|added| added.digest() == digest) {
        // What is wrong with it is found again where it counts.
        if let Err(error) = ring.add(&envelope) {
            tracing::debug!(gateway = %ring.gateway(), "a rotation that does not follow: {error}");
        }
    }
    Ok(Signed { envelope, digest })
}

fn refused(ring: &Keyring, error: &RotationError) -> Rejection {
    let (reason, vouched) = (error.reason(), error.is_signed());
    let detail = match error {
        RotationError::Fork(_) => format!("{error}, or an older state came back. This one is kept as evidence"),
        _ => error.to_string(),
    };
    Rejection { reason, detail, gateway: Some(ring.gateway()), vouched }
}

/// Takes the rotations of a gateway that enrols, in order.
///
/// # Errors
/// The database's; inside, the first one that is refused, with the reason.
pub(crate) fn take<'a>(
    app: &App,
    connection: &Connection,
    rotations: &'a [Envelope],
    time: Timestamp,
) -> Result<Result<(), (Rejection, &'a Envelope)>, StoreError> {
    let mut log = Log::open(connection)?;
    for envelope in rotations {
        // Its signature was verified with the ring that came with it, and is again with the one that is known.
        let payload = STANDARD.decode(&envelope.payload).unwrap_or_default();
        let signed = Signed { envelope: envelope.clone(), digest: Digest::of(&payload) };
        if let Err(rejection) = signed.keep(app, connection, &mut log, envelope.to_json().as_bytes(), time)? {
            return Ok(Err((rejection, envelope)));
        }
    }
    Ok(Ok(()))
}

impl Signed {
    /// Keeps the rotation, unless it is kept already, does not follow, or contradicts what is kept.
    pub(crate) fn keep(
        &self,
        app: &App,
        connection: &Connection,
        log: &mut Log<'_>,
        line: &[u8],
        time: Timestamp,
    ) -> Result<Result<Kept, Rejection>, StoreError> {
        let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged(error.to_string());
        let Self { envelope, digest } = self;
        if let Some((receipt, index)) = rotations::receipt(connection, *digest)? {
            let receipt = serde_json::from_str(&receipt).map_err(|error| damaged(&error))?;
            return Ok(Ok(Kept { digest: *digest, receipt, index, again: true }));
        }
        let signer = envelope.claimed_signer();
        let owner = signer.map(|signer| rotations::owner(connection, signer.digest())).transpose()?.flatten();
        let ring = owner.map(|owner| rotations::ring(connection, owner)).transpose()?.flatten();
        let Some(mut ring) = ring else {
            let detail = "the rotation to the key that signed this was refused".to_owned();
            return Ok(Err(Rejection { reason: "unknown_key", detail, gateway: signer, vouched: false }));
        };
        let verified = match ring.add(envelope) {
            Ok(verified) => verified.clone(),
            Err(error) => return Ok(Err(refused(&ring, &error))),
        };
        let (gateway, rotation) = (ring.gateway(), verified.rotation());
        let rejected = |reason, detail| Ok(Err(Rejection { reason, detail, gateway: Some(gateway), vouched: true }));
        let new_key = rotation.new_key.digest();
        if let Some(other) = rotations::owner(connection, new_key)? {
            return rejected("key_in_use", format!("key {new_key} is one of gateway {}", other.short()));
        }
        if i64::try_from(rotation.seq).is_err() {
            return rejected("not_a_rotation", format!("place {} is beyond what is kept", rotation.seq));
        }
        let seq = rotation.seq;
        let clashes = tombstones::clashes(connection, gateway, Piece::rotation(rotation))?;
        if clashes || rotations::reaches(connection, gateway, seq)? {
            let detail = format!(
                "the rotation for place {seq} of gateway {} contradicts the chain that is known here: the old key signed for \
                 that place or another run before it, so two machines may share that key, or an older state came back. It is \
                 kept as evidence",
                gateway.short()
            );
            return rejected("fork", detail);
        }
        let receipt = Receipt { gateway, seq, digest: *digest, accepted_at: time };
        let receipt = receipt.sign(&app.key).map_err(|error| damaged(&error))?;
        let text = std::str::from_utf8(line).map_err(|error| damaged(&error))?;
        let index = log.append(*digest)?;
        rotations::insert(connection, &verified, time, text, &receipt.to_json(), index)?;
        tracing::info!(%gateway, key = %new_key, seq, "a gateway rotated its key");
        Ok(Ok(Kept { digest: *digest, receipt, index, again: false }))
    }
}
