//! One run: every finding with the facts and the raw record behind it, what is not known, and what vouches for all of it.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::run::{Record, Run};
use gatepost_rules::assess::{Outcome, Row};

use super::filters;
use super::words::{self, Words as _};
use super::{Page, render};
use crate::api;
use crate::app::Shared;
use crate::auth::Session;
use crate::judge;
use crate::store::gateways::Gateway;
use crate::store::runs::StoredRun;
use crate::view::{self, RunView};

/// Characters of a raw record that a page shows; the envelope has the rest.
const RAW: usize = 20_000;

#[derive(Template)]
#[template(path = "run.html")]
struct RunPage {
    form_token: String,
    gateway: Gateway,
    stored: StoredRun,
    run: Run,
    view: RunView,
    signature: String,
}

impl RunPage {
    /// The record behind a row, as indented JSON.
    fn record(&self, row: &Row) -> String {
        let check = row.key.split_once('.').map_or("", |(check, _)| check);
        let found = self.run.records.iter().find(|record| record.check == check && record.target.name == row.target);
        found.map_or_else(|| "no such record".to_owned(), raw)
    }
}

/// A record as indented JSON, cut where it gets too long for a page.
fn raw(record: &Record) -> String {
    let text = serde_json::to_string_pretty(record).unwrap_or_else(|error| error.to_string());
    if text.chars().count() <= RAW {
        return text;
    }
    text.chars().take(RAW).chain("\n... the envelope has the rest".chars()).collect()
}

/// `GET /gateways/{id}/runs/{seq}`.
pub async fn page(
    State(app): State<Shared>,
    Extension(session): Extension<Session>,
    Path((id, seq)): Path<(String, String)>,
) -> Page {
    let seq = api::number("seq", &seq)?;
    let page = app.read(move |app, connection| {
        let gateway = view::gateway(connection, &id)?;
        let stored = judge::stored(connection, gateway.id, seq)?;
        let run = judge::open(connection, &stored)?.into_run();
        let view = view::run_view(app, connection, &stored.meta, &run.records)?;
        let signature = Envelope::parse(stored.envelope.as_bytes()).ok();
        let signature = signature.and_then(|envelope| envelope.signatures.first().map(|it| it.sig.clone()));
        let signature = signature.unwrap_or_default();
        Ok(RunPage { form_token: session.form_token, gateway, stored, run, view, signature })
    });
    render(&page.await?)
}
