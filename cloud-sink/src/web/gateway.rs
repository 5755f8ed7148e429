//! One gateway: how it stands, its runs, its baseline, its backlog, and whether its chain is whole.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Path, Query, State};
use gatepost_rules::backlog::BacklogItem;
use serde::Deserialize;

use super::chart::{Chart, chart};
use super::filters;
use super::timeline::{Drawing, draw};
use super::words::{self, Words as _};
use super::{Page, render, see_other};
use crate::account;
use crate::api;
use crate::app::{Shared, now};
use crate::auth::{self, Session};
use crate::judge;
use crate::problem::Refusal;
use crate::store::runs;
use crate::timeline::{self, Timeline};
use crate::view::{self, GatewayView, RunLine};

/// Runs on one page.
const RUNS: usize = 50;

#[derive(Template)]
#[template(path = "gateway.html")]
struct GatewayPage {
    form_token: String,
    gateway: GatewayView,
    key: String,
    runs: Vec<RunLine>,
    older: Option<u64>,
    chart: Chart,
    backlog: Vec<BacklogItem>,
    timeline: Timeline,
    drawing: Drawing,
}

impl GatewayPage {
    fn is_baseline(&self, seq: &u64) -> bool {
        self.gateway.baseline.as_ref().is_some_and(|baseline| baseline.seq == *seq)
    }
}

/// Which runs to show.
#[derive(Debug, Deserialize)]
pub struct Older {
    below: Option<String>,
}

/// `GET /gateways/{id}`.
pub async fn page(
    State(app): State<Shared>,
    Extension(session): Extension<Session>,
    Path(id): Path<String>,
    Query(Older { below }): Query<Older>,
) -> Page {
    let below = below.as_deref().map(|text| api::number("below", text)).transpose()?;
    let page = app.read(move |app, connection| {
        let gateway = view::gateway(connection, &id)?;
        // What is damaged is said here as it is in the fleet.
        let metas = runs::list(connection, gateway.id, below, RUNS + 1).map_err(Refusal::damage)?;
        let older = metas.get(RUNS).and_then(|_| metas.get(RUNS - 1)).map(|run| run.seq);
        let lines = metas.iter().take(RUNS).map(|run| view::run_line(app, connection, run));
        let runs = lines.collect::<Result<Vec<_>, _>>().map_err(Refusal::damage)?;
        let newest = runs::list(connection, gateway.id, None, 1).map_err(Refusal::damage)?.pop();
        let assessment = newest.and_then(|newest| judge::assessment(app, connection, &newest).ok());
        let key = gateway.public_key.to_pem();
        let account = account::of_gateway(connection, gateway.id).map_err(Refusal::damage)?;
        let timeline = timeline::of_gateway(connection, gateway.id, &account, now()).map_err(Refusal::damage)?;
        let gateway = view::gateway_view(app, connection, gateway).map_err(Refusal::damage)?;
        Ok(GatewayPage {
            drawing: draw(&timeline),
            timeline,
            form_token: session.form_token,
            chart: chart(&runs, gateway.baseline.as_ref().map(|baseline| baseline.seq)),
            backlog: assessment.map(|it| view::backlog_view(it, &app.pack).items).unwrap_or_default(),
            gateway,
            key,
            runs,
            older,
        })
    });
    render(&page.await?)
}

/// The form beside a run.
#[derive(Debug, Deserialize)]
pub struct Promote {
    form_token: String,
    seq: u64,
}

/// `POST /gateways/{id}/baseline`.
pub async fn promote(
    State(app): State<Shared>,
    Extension(session): Extension<Session>,
    Path(id): Path<String>,
    form: Result<Form<Promote>, axum::extract::rejection::FormRejection>,
) -> Page {
    let Form(Promote { form_token, seq }) = form.map_err(|error| Refusal::bad("form", error.body_text()))?;
    auth::check_form(&session, &form_token)?;
    api::promote_run(&app, id.clone(), seq).await?;
    // The id is one that was found: eight or more hexadecimal digits.
    see_other(&format!("/gateways/{id}"))
}
