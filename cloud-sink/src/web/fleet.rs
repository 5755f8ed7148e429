//! The fleet: every gateway, and which of them wants attention.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use gatepost_rules::decision::Decision;

use super::filters;
use super::words::{self, Words as _};
use super::{Page, render};
use crate::app::Shared;
use crate::auth::Session;
use crate::store::gateways;
use crate::store::quarantine::{self, Refusals};
use crate::view::{self, GatewayView};

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    form_token: String,
    gateways: Vec<GatewayView>,
    refusals: Refusals,
    fix_first: usize,
    regressed: usize,
    pause: usize,
}

/// `GET /`.
pub async fn page(State(app): State<Shared>, Extension(session): Extension<Session>) -> Page {
    let (mut gateways, refusals) = app
        .read(|app, connection| {
            let all = gateways::list(connection)?.into_iter();
            let views =
                all.map(|gateway| view::gateway_view(app, connection, gateway)).collect::<Result<Vec<_>, _>>()?;
            Ok((views, quarantine::refusals(connection)?))
        })
        .await?;
    // What wants attention stands first; by name among equals.
    gateways.sort_by_key(|gateway| match gateway.decision {
        Some(Decision::FixFirst) => 0,
        Some(Decision::Pause) => 1,
        None => 2,
        Some(Decision::Continue) => 3,
    });
    let deciding = |decision| gateways.iter().filter(|gateway| gateway.decision == Some(decision)).count();
    render(&FleetPage {
        form_token: session.form_token,
        fix_first: deciding(Decision::FixFirst),
        pause: deciding(Decision::Pause),
        regressed: gateways.iter().filter(|gateway| gateway.regressions.is_some_and(|count| count > 0)).count(),
        gateways,
        refusals,
    })
}
