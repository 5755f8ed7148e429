//! The fleet: every gateway, which of them wants attention, and who shares keys with whom.

use std::sync::Arc;

use askama::Template;
use axum::Extension;
use axum::extract::State;
use gatepost_rules::decision::Decision;

use super::filters;
use super::words::{self, Words as _};
use super::{Page, render};
use crate::app::Shared;
use crate::auth::Session;
use crate::shared_keys;
use crate::store::quarantine::{self, Refusals};
use crate::view::{self, FleetLine, GatewayView};

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    form_token: String,
    gateways: Vec<GatewayView>,
    unreadable: Vec<Unreadable>,
    refusals: Refusals,
    shared: Arc<shared_keys::Shared>,
    fix_first: usize,
    regressed: usize,
    pause: usize,
}

/// A gateway of which something is damaged.
struct Unreadable {
    id: String,
    name: String,
    why: String,
}

/// `GET /`.
pub async fn page(State(app): State<Shared>, Extension(session): Extension<Session>) -> Page {
    let read = app.read(|app, connection| {
        let shared = app.shared_keys.of_fleet(connection)?;
        Ok((view::fleet(app, connection)?, quarantine::refusals(connection)?, shared))
    });
    let (lines, refusals, shared) = read.await?;
    let (mut gateways, mut unreadable) = (Vec::new(), Vec::new());
    for line in lines {
        match line {
            FleetLine::Gateway(view) => gateways.push(*view),
            FleetLine::Unreadable { id, name, cannot_be_read: why } => unreadable.push(Unreadable { id, name, why }),
        }
    }
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
        unreadable,
        refusals,
        shared,
    })
}
