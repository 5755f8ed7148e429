//! Uploads: `POST /v1/runs`, a zstd batch of signed runs and tombstones, each answered on its own.
//!
//! Order of work: bound the body, bound what it unpacks to, verify each line with the enrolled key that its envelope names
//! (never with a key from the payload), then one transaction for the batch, in which each accepted line also becomes a leaf of
//! the transparency log, and only after the commit a signed checkpoint and the answer. What is refused is kept in the
//! quarantine with its reason in that same transaction.

mod tombstone;

use std::io::Read as _;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use gatepost_evidence::chain::Link;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::verify::{VerifiedRun, VerifyError};
use gatepost_evidence::wire::{Answer, Answers, MAX_BATCH_BYTES, MAX_BATCH_ENVELOPES};
use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use crate::app::{App, Shared, now};
use crate::problem::Refusal;
use crate::store::log::Log;
use crate::store::quarantine::Refused;
use crate::store::{StoreError, gateways, quarantine, runs};
use crate::{enrol, log};

/// How long a client may take to send its body.
pub const BODY_TIME: Duration = Duration::from_secs(60);
/// zstd windows above 16 MiB are refused: nothing that fits a batch needs one.
const WINDOW_LOG_MAX: u32 = 24;
/// Batches that are unpacked and verified at the same time; each may hold [`MAX_BATCH_BYTES`].
static UNPACKING: Semaphore = Semaphore::const_new(16);

/// One line of a batch, before the database is asked about it.
#[derive(Debug)]
struct Line {
    bytes: Vec<u8>,
    outcome: Result<Signed, Rejection>,
}

/// What an enrolled gateway signed.
#[derive(Debug)]
enum Signed {
    Run(Box<VerifiedRun>),
    Tombstone(Box<tombstone::Verified>),
}

#[derive(Debug, Clone)]
struct Rejection {
    reason: &'static str,
    detail: String,
    gateway: Option<GatewayId>,
    vouched: bool,
}

/// Takes an upload.
///
/// # Errors
/// A [`Refusal`] when the batch as a whole cannot be read; single envelopes are refused in the answers.
pub async fn runs(State(app): State<Shared>, request: Request) -> Result<Json<Answers>, Refusal> {
    // The body is read before anything is said about it: an early answer could be lost in a reset connection.
    let encoding = request.headers().get(header::CONTENT_ENCODING).map(|value| value.as_bytes().to_owned());
    let seen = log::seen(request.headers());
    let body = body(request).await?;
    let seen = seen?;
    if encoding.as_deref() != Some(b"zstd") {
        let detail = "send the batch with Content-Encoding: zstd";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_encoding", detail));
    }
    let _turn = UNPACKING.acquire().await.map_err(Refusal::internal)?;
    let verified = {
        let app = app.clone();
        tokio::task::spawn_blocking(move || {
            log::not_rewound(&app, seen)?;
            verify(&app, &body)
        })
        .await
        .map_err(Refusal::internal)??
    };
    let batch = {
        let app = app.clone();
        app.clone().write(move |connection| keep(&app, connection, &verified)).await?
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

/// Unpacks a batch without ever holding more than a byte beyond the limit.
fn unpack(body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let bad = |error: std::io::Error| Refusal::bad("bad_zstd", format!("the body is not a zstd batch: {error}"));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(bad)?;
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(bad)?;
    let mut batch = Vec::new();
    decoder.take(MAX_BATCH_BYTES as u64 + 1).read_to_end(&mut batch).map_err(bad)?;
    if batch.len() > MAX_BATCH_BYTES {
        let detail = format!("the batch unpacks to more than {MAX_BATCH_BYTES} bytes; send fewer envelopes at once");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail));
    }
    Ok(batch)
}

fn verify(app: &App, body: &[u8]) -> Result<Vec<Line>, Refusal> {
    let batch = unpack(body)?;
    let batch = batch.strip_suffix(b"\n").unwrap_or(&batch);
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let lines: Vec<&[u8]> = batch.split(|byte| *byte == b'\n').take(MAX_BATCH_ENVELOPES + 1).collect();
    if lines.len() > MAX_BATCH_ENVELOPES {
        let detail = format!("the batch has more than {MAX_BATCH_ENVELOPES} envelopes; send fewer at once");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many", detail));
    }
    let verified = app.store.read(|connection| {
        lines.iter().map(|line| Ok(Line { bytes: line.to_vec(), outcome: verify_line(connection, line)? })).collect()
    });
    Ok(verified?)
}

fn verify_line(connection: &Connection, line: &[u8]) -> Result<Result<Signed, Rejection>, StoreError> {
    let rejected = |reason, detail, gateway, vouched| Ok(Err(Rejection { reason, detail, gateway, vouched }));
    let envelope = match Envelope::parse(line) {
        Ok(envelope) => envelope,
        Err(error) => return rejected(error.reason(), error.to_string(), None, false),
    };
    let Some(signer) = envelope.claimed_signer() else {
        return rejected("unknown_key", "the keyid is not a SHA-256 of a public key".into(), None, false);
    };
    let Some(key) = gateways::key(connection, signer)? else {
        let detail = format!("no gateway {signer} is enrolled here; enrol it with `gatepost enroll`");
        return rejected("unknown_key", detail, Some(signer), false);
    };
    if envelope.payload_type == tombstone::PAYLOAD_TYPE {
        return Ok(tombstone::verify(&envelope, &key).map(|stone| Signed::Tombstone(Box::new(stone))));
    }
    match VerifiedRun::open(&envelope, &key) {
        Ok(run) if i64::try_from(run.run().seq).is_err() => {
            rejected("not_a_run", format!("seq {} is beyond what is kept", run.run().seq), Some(signer), true)
        }
        Ok(run) => Ok(Ok(Signed::Run(Box::new(run)))),
        Err(error) => {
            let vouched = !matches!(error, VerifyError::Envelope(_));
            rejected(error.reason(), error.to_string(), Some(signer), vouched)
        }
    }
}

/// A run or a tombstone that is on disk.
#[derive(Debug)]
struct Kept {
    digest: Digest,
    receipt: Envelope,
    index: u64,
    again: bool,
}

/// What became of a batch.
#[derive(Debug)]
struct Batch {
    outcomes: Vec<Result<Kept, Rejection>>,
    time: Timestamp,
}

/// Everything that happens to a batch inside its transaction.
fn keep(app: &App, connection: &Connection, lines: &[Line]) -> Result<Batch, StoreError> {
    let time = now();
    let mut log = Log::open(connection)?;
    let outcomes = lines.iter().map(|line| {
        let outcome = match &line.outcome {
            Ok(Signed::Run(run)) => keep_run(app, connection, &mut log, run, &line.bytes, time)?,
            Ok(Signed::Tombstone(stone)) => stone.keep(app, connection, &mut log, &line.bytes, time)?,
            Err(rejection) => Err(rejection.clone()),
        };
        if let Err(rejection) = &outcome {
            let refused = Refused {
                bytes: &line.bytes,
                reason: rejection.reason,
                detail: &rejection.detail,
                gateway: rejection.gateway,
                vouched: rejection.vouched,
            };
            quarantine::insert(connection, &refused, time)?;
        }
        Ok(outcome)
    });
    Ok(Batch { outcomes: outcomes.collect::<Result<_, StoreError>>()?, time })
}

fn keep_run(
    app: &App,
    connection: &Connection,
    log: &mut Log<'_>,
    verified: &VerifiedRun,
    line: &[u8],
    time: Timestamp,
) -> Result<Result<Kept, Rejection>, StoreError> {
    let (run, digest) = (verified.run(), verified.digest());
    let damaged = |error: &dyn std::fmt::Display| StoreError::Damaged(error.to_string());
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
            Err(Rejection { reason, detail, .. }) => Answer::Rejected { reason: reason.to_owned(), detail },
        })
    });
    let answers = answers.collect::<Result<_, StoreError>>()?;
    let (checkpoint, consistency) = log::checkpoint_since(app, &mut log, seen)?;
    Ok(Answers { answers, time: batch.time, checkpoint, consistency })
}
