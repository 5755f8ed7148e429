//! The report of one gateway: one HTML file that needs nothing else, for people who decide, and for print.
//!
//! From the first audit to now, in plain words and numbers; what was fixed, with the facts before and after; what regressed
//! and since when; what is open; and how to check all of it without this sink.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_rules::assess::Row;
use gatepost_rules::backlog::BacklogItem;
use gatepost_rules::decision::Posture;
use jiff::Timestamp;
use rusqlite::Connection;
use sha2::Digest as _;

use super::filters;
use super::words::{self, Words as _};
use super::{Page, STYLE, render};
use crate::app::{App, Shared, now};
use crate::judge::{self, RowId, Since};
use crate::problem::Refusal;
use crate::shared_keys;
use crate::store::gateways::Gateway;
use crate::store::runs::{self, RunMeta};
use crate::view::{self, DeltaView, GatewayView, RunLine};
use gatepost_rules::report::Finding;

/// Runs in the report's table.
const RUNS: usize = 60;

#[derive(Template)]
#[template(path = "report.html")]
struct Report {
    style: &'static str,
    generated_at: Timestamp,
    gateway: GatewayView,
    gateway_key: String,
    sink_key: String,
    first: RunMeta,
    first_posture: Posture,
    first_findings: Vec<Finding>,
    current: RunMeta,
    view: DeltaView,
    since: BTreeMap<RowId, Since>,
    gaps: Vec<Row>,
    assessment: String,
    backlog: Vec<BacklogItem>,
    runs: Vec<RunLine>,
    shared: shared_keys::Shared,
}

impl Report {
    fn since(&self, row: &Row) -> Option<&Since> {
        self.since.get(&(row.key.clone(), row.subject.clone()))
    }

    /// Findings of now that some run saw in order before.
    fn regressed(&self) -> Vec<(&Finding, &Since)> {
        let dated = self.view.findings.iter().filter_map(|finding| Some((finding, self.since(&finding.row)?)));
        dated.filter(|(_, since)| since.last_good.is_some()).collect()
    }

    fn regressed_count(&self) -> u64 {
        self.regressed().len() as u64
    }
}

/// `GET /gateways/{id}/report`, as a page and in the API.
pub async fn page(State(app): State<Shared>, Path(id): Path<String>) -> Page {
    let report = app.read(move |app, connection| {
        let gateway = view::gateway(connection, &id)?;
        report(app, connection, gateway)
    });
    let mut response = render(&report.await?)?;
    // The only style allowed is the one that was written into the file.
    let hash = STANDARD.encode(sha2::Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; frame-ancestors 'none'; base-uri 'none'; \
         form-action 'none'"
    );
    let policy = HeaderValue::from_str(&policy).map_err(Refusal::internal)?;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    Ok(response)
}

fn report(app: &App, connection: &Connection, gateway: Gateway) -> Result<Report, Refusal> {
    let none = || Refusal::not_found("this gateway has no runs yet, so there is nothing to report");
    let first = runs::first(connection, gateway.id)?.ok_or_else(none)?;
    let metas = runs::list(connection, gateway.id, None, RUNS)?;
    let current = metas.first().cloned().ok_or_else(none)?;
    let first_assessment = judge::assessment(app, connection, &first)?;
    let changes = judge::changes(app, connection, &first, &current)?;
    let lines = metas.iter().map(|run| view::run_line(app, connection, run));
    Ok(Report {
        style: STYLE,
        generated_at: now(),
        gateway_key: gateway.public_key.to_pem(),
        sink_key: app.key.public().to_pem(),
        first_findings: Finding::all(&first_assessment, &app.pack),
        first_posture: first_assessment.posture,
        view: view::delta_view(gateway.id, &changes, &app.pack),
        since: judge::since(app, connection, &current, changes.current.findings())?,
        gaps: changes.current.gaps().into_iter().cloned().collect(),
        assessment: changes.current.digest().to_string(),
        runs: lines.collect::<Result<_, _>>()?,
        shared: app.shared_keys.of_fleet(connection)?.about(gateway.id),
        gateway: view::gateway_view(app, connection, gateway)?,
        backlog: view::backlog_view(changes.current, &app.pack).items,
        first,
        current,
    })
}
