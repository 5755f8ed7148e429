//! Uploads: `POST /v1/runs`, a compressed batch of signed runs and tombstones, each answered on its own.
//!
//! Order of work: bound the body, find the run it is compressed against if it says so, bound what it unpacks to, verify each
//! envelope with the enrolled key that it names (never with a key from the payload), then one transaction for the batch, in
//! which each that is accepted also becomes a leaf of the transparency log, and only after the commit a signed checkpoint and
//! the answer. What is refused is kept in the quarantine with its reason in that same transaction.

pub(crate) mod rotation;
mod tombstone;

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use gatepost_evidence::batch::{self, BatchError, Coded};
use gatepost_evidence::chain::Link;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::parts::Parts;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::rotation::Keyring;
use gatepost_evidence::verify::{VerifiedRun, VerifyError};
use gatepost_evidence::wire::{Answer, Answers, UNKNOWN_DICTIONARY};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::app::{App, Shared, now};
use crate::problem::Refusal;
use crate::store::log::Log;
use crate::store::quarantine::Refused;
use crate::store::rotations::{self, Wrong};
use crate::store::{StoreError, gateways, quarantine, runs};
use crate::{enrol, log};

/// How long a client may take to send its body.
pub const BODY_TIME: Duration = Duration::from_secs(60);
/// Batches that are unpacked and verified at the same time; each may hold a few times
/// [`gatepost_evidence::wire::MAX_BATCH_BYTES`].
static UNPACKING: Semaphore = Semaphore::const_new(16);

/// A batch that was read, before the database is asked about its runs.
#[derive(Debug)]
struct Read {
    lines: Vec<Line>,
    /// Whose run it was compressed against.
    dictionary: Option<GatewayId>,
}

/// One envelope of a batch, before the database is asked about it.
#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    outcome: Result<Signed, Rejection>,
}

/// What an enrolled gateway signed.
#[derive(Debug)]
enum Signed {
    Rotation(Box<rotation::Signed>),
    /// With the SHA-256 of the key that signed it.
    Run(Box<VerifiedRun>, Digest),
    Tombstone(Box<tombstone::Verified>),
}

#[derive(Debug, Clone)]
pub(crate) struct Rejection {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
    gateway: Option<GatewayId>,
    vouched: bool,
}

impl Rejection {
    /// Puts what was refused into the quarantine.
    pub(crate) fn keep(&self, connection: &Connection, bytes: &[u8], time: Timestamp) -> Result<(), StoreError> {
        let Self { reason, detail, gateway, vouched } = self;
        let refused = Refused { bytes, reason, detail, gateway: *gateway, vouched: *vouched };
        quarantine::insert(connection, &refused, time)
    }

    /// Whether the sender may hear the detail, which can quote what came out of the dictionary: anybody who knows the digest
    /// of a run can compress against it, but its words are for the gateway that signed it.
    fn may_be_told(&self, dictionary: Option<GatewayId>) -> bool {
        dictionary.is_none() || (self.vouched && self.gateway == dictionary)
    }
}

/// What a key of a gateway signed for a place that is not its to sign: evidence, but nothing to believe.
fn wrong_key(gateway: GatewayId, wrong: Wrong) -> Rejection {
    let (reason, detail) = match wrong {
        Wrong::Unknown => ("unknown_key", "the rotation to the key that signed this was refused".to_owned()),
        Wrong::Place(wrong) => (wrong.reason(), wrong.to_string()),
    };
    Rejection { reason, detail, gateway: Some(gateway), vouched: true }
}

/// Takes an upload.
///
/// # Errors
/// A [`Refusal`] when the batch as a whole cannot be read; single envelopes are refused in the answers.
pub async fn runs(State(app): State<Shared>, request: Request) -> Result<Json<Answers>, Refusal> {
    // The body is read before anything is said about it: an early answer could be lost in a reset connection.
    let headers = request.headers();
    let said = |name| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default().to_owned();
    let (media_type, encoding) = (said(header::CONTENT_TYPE), said(header::CONTENT_ENCODING));
    let seen = log::seen(headers);
    let body = body(request).await?;
    let seen = seen?;
    if !media_type.eq_ignore_ascii_case(batch::CONTENT_TYPE.as_bytes()) {
        let detail = format!("send the batch as Content-Type: {}", batch::CONTENT_TYPE);
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", detail));
    }
    let _in_hand = app.uploads.take();
    let _turn = UNPACKING.acquire().await.map_err(Refusal::internal)?;
    let read = {
        let app = app.clone();
        tokio::task::spawn_blocking(move || {
            log::not_rewound(&app, seen)?;
            read(&app, &encoding, &body)
        })
        .await
        .map_err(Refusal::internal)??
    };
    let batch = {
        let app = app.clone();
        app.clone().write(move |connection| keep(&app, connection, &read)).await?
    };
    app.bell.ring();
    app.read(move |app, connection| Ok(Json(answer(app, connection, batch, seen)?))).await
}

/// The body of `request`, bounded in size (by the route's limit) and time.
///
/// # Errors
/// 413 or 408.
pub async fn body(request: Request) -> Result<Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIME, Bytes::from_request(request, &())).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than what is read here"))
        }
        Ok(Err(rejection)) => Err(Refusal::bad("body", format!("the body could not be read: {rejection}"))),
        Err(_) => Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_timeout",
            format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
        )),
    }
}

/// Unpacks a batch and verifies what is in it.
fn read(app: &App, encoding: &[u8], body: &[u8]) -> Result<Read, Refusal> {
    let coded = Coded::parse(encoding, body).map_err(unreadable)?;
    let dictionary = coded.dictionary().map(|digest| dictionary(app, digest)).transpose()?;
    let texts = coded.decode(dictionary.as_ref().map(|(_, payload)| payload.as_slice())).map_err(unreadable)?;
    let mut rings = Vec::new();
    let lines = app.store.read(|connection| {
        let verified = texts.into_iter().map(|bytes| {
            let outcome = verify_line(connection, &mut rings, &bytes)?;
            Ok(Line { bytes, outcome })
        });
        verified.collect::<Result<_, StoreError>>()
    })?;
    Ok(Read { lines, dictionary: dictionary.map(|(gateway, _)| gateway) })
}

fn unreadable(error: BatchError) -> Refusal {
    let status = match error {
        BatchError::Encoding | BatchError::WrongDictionary => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        BatchError::TooLarge | BatchError::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
        BatchError::Dcz(_) | BatchError::Zstd(_) | BatchError::Malformed(_) => StatusCode::BAD_REQUEST,
    };
    Refusal::new(status, error.reason(), error.to_string())
}

/// The payload of an accepted run, and whose it is.
fn dictionary(app: &App, digest: Digest) -> Result<(GatewayId, Vec<u8>), Refusal> {
    let run = app.store.read(|connection| runs::by_digest(connection, digest))?;
    // One that is not written as usual is none, for whoever asks: the same upload without it is as good.
    run.and_then(|run| Some((run.meta.gateway, Parts::of(&run.envelope)?.payload))).ok_or_else(|| {
        let detail = format!("the run {digest} that the body is compressed against is not here; send it without");
        Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, UNKNOWN_DICTIONARY, detail)
    })
}

/// Verifies one line with the ring of its gateway. `rings` are those that were needed before in this batch, with the rotations
/// in it.
fn verify_line(
    connection: &Connection,
    rings: &mut Vec<Keyring>,
    line: &[u8],
) -> Result<Result<Signed, Rejection>, StoreError> {
    let rejected = |reason, detail, gateway, vouched| Ok(Err(Rejection { reason, detail, gateway, vouched }));
    let envelope = match Envelope::parse(line) {
        Ok(envelope) => envelope,
        Err(error) => return rejected(error.reason(), error.to_string(), None, false),
    };
    let Some(signer) = envelope.claimed_signer() else {
        return rejected("unknown_key", "the keyid is not a SHA-256 of a public key".into(), None, false);
    };
    let Some(ring) = ring_of(connection, rings, signer.digest())? else {
        let detail = format!("no gateway {signer} is enrolled here; enrol it with `gatepost enroll`");
        return rejected("unknown_key", detail, Some(signer), false);
    };
    let gateway = Some(ring.gateway());
    if envelope.payload_type == rotation::PAYLOAD_TYPE {
        return Ok(rotation::verify(envelope, ring).map(|signed| Signed::Rotation(Box::new(signed))));
    }
    if envelope.payload_type == tombstone::PAYLOAD_TYPE {
        return Ok(tombstone::verify(&envelope, ring).map(|stone| Signed::Tombstone(Box::new(stone))));
    }
    match VerifiedRun::open(&envelope, &*ring) {
        Ok(run) if i64::try_from(run.run().seq).is_err() => {
            rejected("not_a_run", format!("seq {} is beyond what is kept", run.run().seq), gateway, true)
        }
        Ok(run) => Ok(Ok(Signed::Run(Box::new(run), signer.digest()))),
        Err(error) => {
            let vouched = !matches!(error, VerifyError::Envelope(_));
            rejected(error.reason(), error.to_string(), gateway, vouched)
        }
    }
}

/// The ring that has the key with this digest, if one is known.
fn ring_of<'a>(
    connection: &Connection,
    rings: &'a mut Vec<Keyring>,
    key: Digest,
) -> Result<Option<&'a mut Keyring>, StoreError> {
    let found = match rings.iter().position(|ring| ring.key(key).is_some()) {
        Some(found) => found,
        None => {
            let Some(owner) = rotations::owner(connection, key)? else { return Ok(None) };
            let Some(ring) = rotations::ring(connection, owner)? else { return Ok(None) };
            rings.push(ring);
            rings.len() - 1
        }
    };
    Ok(rings.get_mut(found))
}

/// A run, a tombstone or a rotation that is on disk.
#[derive(Debug)]
pub(crate) struct Kept {
    digest: Digest,
    receipt: Envelope,
    index: u64,
    again: bool,
}

/// What became of a batch.
#[derive(Debug)]
struct Batch {
    outcomes: Vec<Result<Kept, Rejection>>,
    dictionary: Option<GatewayId>,
    time: Timestamp,
}

/// Everything that happens to a batch inside its transaction.
fn keep(app: &App, connection: &Connection, read: &Read) -> Result<Batch, StoreError> {
    let time = now();
    let mut log = Log::open(connection)?;
    let outcomes = read.lines.iter().map(|line| {
        let outcome = match &line.outcome {
            Ok(Signed::Rotation(rotation)) => rotation.keep(app, connection, &mut log, &line.bytes, time)?,
            Ok(Signed::Run(run, signer)) => keep_run(app, connection, &mut log, (run, *signer), &line.bytes, time)?,
            Ok(Signed::Tombstone(stone)) => stone.keep(app, connection, &mut log, &line.bytes, time)?,
            Err(rejection) => Err(rejection.clone()),
        };
        if let Err(rejection) = &outcome {
            rejection.keep(connection, &line.bytes, time)?;
        }
        Ok(outcome)
    });
    let outcomes = outcomes.collect::<Result<_, StoreError>>()?;
    Ok(Batch { outcomes, dictionary: read.dictionary, time })
}

fn keep_run(
    app: &App,
    connection: &Connection,
    log: &mut Log<'_>,
    (verified, signer): (&VerifiedRun, Digest),
    line: &[u8],
    time: Timestamp,
) -> Result<Result<Kept, Rejection>, StoreError> {
    let (run, digest) = (verified.run(), verified.digest());
    let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged(error.to_string());
    if let Some(wrong) = rotations::wrong_key(connection, run.gateway.id, signer, run.seq, true)? {
        return Ok(Err(wrong_key(run.gateway.id, wrong)));
    }
    let link = runs::link(connection, run, digest)?;
    match link {
        Link::Duplicate => {
            let kept = runs::receipt(connection, digest)?;
            let (receipt, index) = kept.ok_or_else(|| damaged(&"a run without a receipt"))?;
            let receipt = serde_json::from_str(&receipt).map_err(|error| damaged(&error))?;
            Ok(Ok(Kept { digest, receipt, index, again: true }))
        }
        Link::Fork => {
            let detail = format!(
                "run {} of gateway {} contradicts the chain that is known here: two machines may share one key, or an \
                 older state came back. Both runs are kept as evidence",
                run.seq,
                run.gateway.id.short()
            );
            Ok(Err(Rejection { reason: "fork", detail, gateway: Some(run.gateway.id), vouched: true }))
        }
        Link::Continues | Link::Gap | Link::Late => {
            let receipt = Receipt { gateway: run.gateway.id, seq: run.seq, digest, accepted_at: time };
            let receipt = receipt.sign(&app.key).map_err(|error| damaged(&error))?;
            let envelope = std::str::from_utf8(line).map_err(|error| damaged(&error))?;
            let index = log.append(digest)?;
            runs::insert(connection, run, digest, link, time, envelope, &receipt.to_json(), index)?;
            // A run may call its gateway what it likes; the fleet goes on under what it could have enrolled with.
            if link != Link::Late && enrol::check_names(&run.gateway.name, &run.gateway.labels).is_ok() {
                gateways::rename(connection, run.gateway.id, &run.gateway.name, &run.gateway.labels)?;
            }
            Ok(Ok(Kept { digest, receipt, index, again: false }))
        }
    }
}

/// The answer to a batch that was committed, with everyone's place in the log as it is now.
fn answer(app: &App, connection: &Connection, batch: Batch, seen: u64) -> Result<Answers, StoreError> {
    let mut log = Log::open(connection)?;
    let answers = batch.outcomes.into_iter().map(|outcome| {
        Ok(match outcome {
            Ok(Kept { digest, receipt, index, again }) => {
                let inclusion = log.prove_inclusion(index)?;
                match again {
                    false => Answer::Accepted { digest, receipt, index, inclusion },
                    true => Answer::Duplicate { digest, receipt, index, inclusion },
                }
            }
            Err(rejection) => {
                let reason = rejection.reason.to_owned();
                let detail = match rejection.may_be_told(batch.dictionary) {
                    true => rejection.detail,
                    false => "nothing is said about it because of the dictionary; send it without".to_owned(),
                };
                Answer::Rejected { reason, detail }
            }
        })
    });
    let answers = answers.collect::<Result<_, StoreError>>()?;
    let (checkpoint, consistency) = log::checkpoint_since(app, &mut log, seen)?;
    Ok(Answers { answers, time: batch.time, checkpoint, consistency })
}
