//! The transparency log over HTTP: what an upload is answered with, and three addresses for anyone who watches the sink.
//!
//! A checkpoint is signed only after the transaction whose leaves it covers was committed, and always over the whole log as
//! one snapshot shows it, so no two checkpoints of this sink contradict each other unless its database was changed behind
//! its back or replaced by an older copy.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use gatepost_evidence::checkpoint::{Checkpoint, LogProof};
use gatepost_evidence::id::Digest;
use gatepost_evidence::log::ConsistencyProof;
use gatepost_evidence::wire::{LOG_REWOUND, LOG_SIZE_HEADER, LogConsistency};
use rusqlite::Connection;
use serde::Deserialize;

use crate::api::number;
use crate::app::{App, Shared};
use crate::problem::{Asked, Refusal};
use crate::store::log::Log;
use crate::store::{StoreError, rotations, runs, tombstones};

/// The size of the last checkpoint that the sender of an upload saw.
///
/// # Errors
/// 400 when the header is not a number.
pub(crate) fn seen(headers: &HeaderMap) -> Result<u64, Refusal> {
    let Some(value) = headers.get(LOG_SIZE_HEADER) else { return Ok(0) };
    let size = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    size.ok_or_else(|| Refusal::bad("bad_log_size", format!("the header {LOG_SIZE_HEADER} must be a whole number")))
}

/// Refuses whoever saw a larger log than there is.
///
/// # Errors
/// 409 with both sizes.
pub(crate) fn not_rewound(app: &App, seen: u64) -> Result<(), Refusal> {
    not_beyond(app.store.read(|connection| Ok(Log::open(connection)?.size()))?, seen)
}

fn not_beyond(size: u64, seen: u64) -> Result<(), Refusal> {
    if seen <= size {
        return Ok(());
    }
    tracing::error!(
        seen,
        size,
        "a gateway or auditor saw a larger log than this: was an older backup restored? Gateways hand over again what they still have"
    );
    let detail = format!(
        "you saw this sink's log with {seen} leaves and it has {size}: an older copy of its database is in use. \
         Nothing was taken from this upload; hand over again what you still have"
    );
    Err(Refusal::conflict(LOG_REWOUND, detail))
}

/// The whole log, signed, and that it continues the one of `seen` leaves.
///
/// # Errors
/// SQLite's, or when the log is damaged or smaller.
pub(crate) fn checkpoint_since(
    app: &App,
    log: &mut Log<'_>,
    seen: u64,
) -> Result<(String, ConsistencyProof), StoreError> {
    let consistency = log.prove_consistency(seen, log.size())?;
    Ok((signed(app, log)?, consistency))
}

fn signed(app: &App, log: &mut Log<'_>) -> Result<String, StoreError> {
    Ok(Checkpoint::sign(log.root()?, &app.key).note().to_owned())
}

/// `GET /v1/log/checkpoint`: the newest checkpoint.
pub async fn checkpoint(State(app): State<Shared>) -> Result<impl IntoResponse, Refusal> {
    let note = app.read(|app, connection| Ok(signed(app, &mut Log::open(connection)?)?)).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], note))
}

/// Between which sizes consistency is to be proved.
#[derive(Debug, Deserialize)]
pub struct Sizes {
    from: Option<String>,
    to: Option<String>,
}

/// `GET /v1/log/consistency?from=&to=`: that the log of `to` leaves (all of them, if it is not given) continues the one of
/// `from`.
pub async fn consistency(
    State(app): State<Shared>,
    Asked(sizes): Asked<Sizes>,
) -> Result<Json<LogConsistency>, Refusal> {
    let from = number("from", sizes.from.as_deref().unwrap_or_default())?;
    let to = sizes.to.as_deref().map(|text| number("to", text)).transpose()?;
    app.read(move |_, connection| {
        let mut log = Log::open(connection)?;
        let to = to.unwrap_or(log.size());
        not_beyond(log.size(), to.max(from))?;
        if from > to {
            return Err(Refusal::bad("bad_number", "from must not be larger than to"));
        }
        Ok(Json(LogConsistency { from, to, consistency: log.prove_consistency(from, to)? }))
    })
    .await
}

/// Whose inclusion is to be proved.
#[derive(Debug, Deserialize)]
pub struct Whose {
    digest: Option<String>,
}

/// `GET /v1/log/inclusion?digest=`: that the run, tombstone or rotation whose payload has this digest is in the log.
pub async fn inclusion(State(app): State<Shared>, Asked(whose): Asked<Whose>) -> Result<Json<LogProof>, Refusal> {
    let digest = whose.digest.unwrap_or_default();
    let digest: Digest = digest.parse().map_err(|error| Refusal::bad("bad_digest", format!("digest: {error}")))?;
    app.read(move |app, connection| Ok(Json(proof(app, connection, digest)?))).await
}

fn proof(app: &App, connection: &Connection, digest: Digest) -> Result<LogProof, Refusal> {
    let absent = || Refusal::not_found("nothing with this digest is in the log");
    let found = match runs::receipt(connection, digest)? {
        Some(found) => Some(found),
        None => match tombstones::receipt(connection, digest)? {
            Some(found) => Some(found),
            None => rotations::receipt(connection, digest)?,
        },
    };
    let (_, index) = found.ok_or_else(absent)?;
    let mut log = Log::open(connection)?;
    Ok(LogProof { index, inclusion: log.prove_inclusion(index)?, checkpoint: signed(app, &mut log)? })
}
