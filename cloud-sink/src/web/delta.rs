//! What changed between two runs, why, and since when.

use askama::Template;
use axum::Extension;
use axum::extract::{Path, Query, State};

use super::filters;
use super::words::{self, Words as _};
use super::{Page, render};
use crate::api::{self, Between};
use crate::app::Shared;
use crate::auth::Session;
use crate::store::gateways::Gateway;
use crate::view::{ChangeRow, DeltaView};

#[derive(Template)]
#[template(path = "delta.html")]
struct DeltaPage {
    form_token: String,
    gateway: Gateway,
    delta: DeltaView,
}

impl DeltaPage {
    /// The changes that are neither better nor worse, each with its heading and explanation.
    fn others(&self) -> Vec<(&'static str, &'static str, &[ChangeRow])> {
        let delta = &self.delta;
        vec![
            ("Out of sight now", "There was evidence; there is none now. That is not a pass.", &delta.visibility_lost),
            ("In sight now", "There was no evidence; there is some now.", &delta.visibility_gained),
            ("Still failing", "Failed before and fails now.", &delta.still_failing),
            ("Still unknown", "There was no evidence and there still is none.", &delta.still_unknown),
            ("New subjects", "Were not there before, and are as they should be.", &delta.appeared),
            ("Gone subjects", "Were there before and are not any more.", &delta.disappeared),
        ]
    }
}

/// `GET /gateways/{id}/delta`.
pub async fn page(
    State(app): State<Shared>,
    Extension(session): Extension<Session>,
    Path(id): Path<String>,
    Query(between): Query<Between>,
) -> Page {
    let form_token = session.form_token;
    let (gateway, delta) = app.read(move |app, connection| api::delta_between(app, connection, &id, &between)).await?;
    render(&DeltaPage { form_token, gateway, delta })
}
