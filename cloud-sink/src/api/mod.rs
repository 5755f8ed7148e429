//! The JSON API under `/api/v1`: reading is all it does, but for promoting a baseline.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;
use gatepost_evidence::id::Digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::account;
use crate::app::{App, Shared, now};
use crate::judge;
use crate::problem::{Asked, Refusal};
use crate::store::baselines::{self, Baseline};
use crate::store::gateways;
use crate::store::quarantine::{self, Refusals};
use crate::store::runs::{self, RunMeta};
use crate::store::tombstones::{self, TombstoneMeta};
use crate::timeline::{self, Timeline};
use crate::view::{self, BacklogView, DeltaView, FleetLine, GatewayView, RunLine, RunView};

/// Runs in one answer.
const PAGE: usize = 100;

/// `GET /gateways`.
#[derive(Debug, Serialize)]
pub struct Fleet {
    gateways: Vec<FleetLine>,
    /// How often each reason for refusing an envelope was given, ever.
    refusals: Refusals,
    /// The sink's clock.
    time: Timestamp,
}

/// The fleet.
pub async fn gateways(State(app): State<Shared>) -> Result<Json<Fleet>, Refusal> {
    app.read(|app, connection| {
        let gateways = view::fleet(app, connection)?;
        Ok(Json(Fleet { gateways, refusals: quarantine::refusals(connection)?, time: now() }))
    })
    .await
}

/// One gateway.
pub async fn gateway(State(app): State<Shared>, Path(id): Path<String>) -> Result<Json<GatewayView>, Refusal> {
    app.read(move |app, connection| {
        let gateway = view::gateway(connection, &id)?;
        Ok(Json(view::gateway_view(app, connection, gateway)?))
    })
    .await
}

/// When the runs of the last days were made and arrived, and what that says.
pub async fn timeline(State(app): State<Shared>, Path(id): Path<String>) -> Result<Json<Timeline>, Refusal> {
    app.read(move |_, connection| {
        let gateway = view::gateway(connection, &id)?;
        let account = account::of_gateway(connection, gateway.id)?;
        Ok(Json(timeline::of_gateway(connection, gateway.id, &account, now())?))
    })
    .await
}

/// `GET /gateways/{id}/runs`.
#[derive(Debug, Serialize)]
pub struct Runs {
    /// Newest first.
    runs: Vec<RunLine>,
    /// Ask again with `?below=` this for older ones; null when there are none.
    next: Option<u64>,
}

/// Which runs to list.
#[derive(Debug, Deserialize)]
pub struct Below {
    below: Option<String>,
}

/// The runs of a gateway.
pub async fn runs(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Asked(Below { below }): Asked<Below>,
) -> Result<Json<Runs>, Refusal> {
    let below = below.as_deref().map(|text| number("below", text)).transpose()?;
    app.read(move |app, connection| {
        let gateway = view::gateway(connection, &id)?;
        let metas = runs::list(connection, gateway.id, below, PAGE + 1)?;
        let next = metas.get(PAGE).and_then(|_| metas.get(PAGE - 1)).map(|run| run.seq);
        let lines = metas.iter().take(PAGE).map(|run| view::run_line(app, connection, run));
        Ok(Json(Runs { runs: lines.collect::<Result<_, _>>()?, next }))
    })
    .await
}

/// One run and what it means.
pub async fn run(State(app): State<Shared>, Path((id, seq)): Path<(String, String)>) -> Result<Json<RunView>, Refusal> {
    let seq = number("seq", &seq)?;
    app.read(move |app, connection| {
        let gateway = view::gateway(connection, &id)?;
        let stored = judge::stored(connection, gateway.id, seq)?;
        let verified = judge::open(connection, &stored)?;
        Ok(Json(view::run_view(app, connection, &stored.meta, &verified.run().records)?))
    })
    .await
}

/// A run's envelope exactly as it came.
pub async fn envelope(
    State(app): State<Shared>,
    Path((id, seq)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    let (meta, stored) = stored(&app, id, &seq).await?;
    Ok(attachment(&meta, "envelope", stored.envelope))
}

/// The receipt that was given for a run.
pub async fn receipt(
    State(app): State<Shared>,
    Path((id, seq)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    let (meta, stored) = stored(&app, id, &seq).await?;
    Ok(attachment(&meta, "receipt", stored.receipt))
}

async fn stored(app: &Shared, id: String, seq: &str) -> Result<(RunMeta, runs::StoredRun), Refusal> {
    let seq = number("seq", seq)?;
    app.read(move |_, connection| {
        let stored = judge::stored(connection, view::gateway(connection, &id)?.id, seq)?;
        Ok((stored.meta.clone(), stored))
    })
    .await
}

fn attachment(run: &RunMeta, what: &str, content: String) -> impl IntoResponse + use<> {
    let name = format!("inline; filename=\"{}-{}-{what}.json\"", run.gateway.short(), run.seq);
    ([(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)], content)
}

/// `GET /gateways/{id}/tombstones`.
#[derive(Debug, Serialize)]
pub struct Tombstones {
    /// In the order of their places.
    tombstones: Vec<TombstoneMeta>,
}

/// The tombstones of a gateway.
pub async fn tombstones(State(app): State<Shared>, Path(id): Path<String>) -> Result<Json<Tombstones>, Refusal> {
    app.read(move |_, connection| {
        let gateway = view::gateway(connection, &id)?;
        Ok(Json(Tombstones { tombstones: tombstones::list(connection, gateway.id)? }))
    })
    .await
}

/// A tombstone's envelope exactly as it came.
pub async fn tombstone_envelope(
    State(app): State<Shared>,
    Path((id, digest)): Path<(String, String)>,
) -> Result<impl IntoResponse, Refusal> {
    let digest: Digest = digest.parse().map_err(|error| Refusal::bad("bad_digest", format!("digest: {error}")))?;
    app.read(move |_, connection| {
        let gateway = view::gateway(connection, &id)?;
        let stored = tombstones::get(connection, gateway.id, digest)?;
        let absent = || Refusal::not_found(format!("gateway {} has no such tombstone here", gateway.id.short()));
        let stored = stored.ok_or_else(absent)?;
        Ok(([(header::CONTENT_TYPE, "application/json")], stored.envelope))
    })
    .await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Promotion {
    seq: u64,
}

/// Makes a run the baseline of its gateway.
pub async fn promote(
    State(app): State<Shared>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Baseline>, Refusal> {
    let promotion: Promotion = serde_json::from_slice(&body)
        .map_err(|error| Refusal::bad("malformed", format!("the body must be {{\"seq\": N}}: {error}")))?;
    Ok(Json(promote_run(&app, id, promotion.seq).await?))
}

/// Makes run `seq` the baseline of the gateway that `id` names.
///
/// # Errors
/// 404 when there is no such gateway or run.
pub async fn promote_run(app: &Shared, id: String, seq: u64) -> Result<Baseline, Refusal> {
    let gateway = app.read(move |_, connection| view::gateway(connection, &id)).await?.id;
    let pack = app.pack.reference().digest;
    let promoted = app.write(move |connection| baselines::promote(connection, gateway, seq, pack, now())).await?;
    promoted.ok_or_else(|| Refusal::not_found(format!("gateway {} has no run {seq} here", gateway.short())))
}

/// Which runs to compare.
#[derive(Debug, Deserialize)]
pub struct Between {
    /// The earlier run; the baseline if it is not given.
    pub from: Option<String>,
    /// The later run; the newest if it is not given.
    pub to: Option<String>,
}

/// What changed between two runs.
pub async fn delta(
    State(app): State<Shared>,
    Path(id): Path<String>,
    Asked(between): Asked<Between>,
) -> Result<Json<DeltaView>, Refusal> {
    let delta = app.read(move |app, connection| delta_between(app, connection, &id, &between)).await?;
    Ok(Json(delta.1))
}

/// The gateway that `id` names, and what changed between two of its runs.
///
/// # Errors
/// Those of [`view::gateway`], [`view::two_runs`] and [`judge::changes`].
pub fn delta_between(
    app: &App,
    connection: &rusqlite::Connection,
    id: &str,
    between: &Between,
) -> Result<(gateways::Gateway, DeltaView), Refusal> {
    let from = between.from.as_deref().filter(|text| !text.is_empty()).map(|text| number("from", text)).transpose()?;
    let to = between.to.as_deref().filter(|text| !text.is_empty()).map(|text| number("to", text)).transpose()?;
    let gateway = view::gateway(connection, id)?;
    let (from, to) = view::two_runs(connection, gateway.id, from, to)?;
    let changes = judge::changes(app, connection, &from, &to)?;
    let delta = view::delta_view(gateway.id, &changes, &app.pack);
    Ok((gateway, delta))
}

/// What to fix first, by the newest run.
pub async fn backlog(State(app): State<Shared>, Path(id): Path<String>) -> Result<Json<BacklogView>, Refusal> {
    app.read(move |app, connection| {
        let gateway = view::gateway(connection, &id)?;
        let newest = runs::list(connection, gateway.id, None, 1)?.pop();
        let newest = newest.ok_or_else(|| Refusal::not_found("this gateway has no runs yet"))?;
        let assessment = judge::assessment(app, connection, &newest)?;
        Ok(Json(view::backlog_view(assessment, &app.pack)))
    })
    .await
}

/// A whole number in an address.
///
/// # Errors
/// 400.
pub fn number(name: &'static str, text: &str) -> Result<u64, Refusal> {
    text.parse().map_err(|_| Refusal::bad("bad_number", format!("{name} must be a whole number")))
}
