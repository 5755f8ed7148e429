//! Every route there is, in one table: method, path, who may call it, and what answers.
//!
//! The gate follows from the table, so a route cannot be without one by accident; a test walks the table.

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use gatepost_evidence::wire::{
    ENROL_PATH, LOG_CHECKPOINT_PATH, LOG_CONSISTENCY_PATH, LOG_INCLUSION_PATH, MAX_BATCH_BYTES, RUNS_PATH,
};

use crate::app::Shared;
use crate::problem::Refusal;
use crate::{api, auth, bound, enrol, ingest, log, web};

/// Bodies of the routes that take only a few fields.
const SMALL_BODY: usize = 64 * 1024;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: health, the way to sign in, what gateways authenticate by their signatures, and the log,
    /// which holds the sink to its word before those who do not trust it.
    Open,
    /// The operator's bearer token, or a session to read.
    Api,
    /// A session.
    Page,
}

/// One route.
#[derive(Debug)]
pub struct Route {
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with what is in braces to be filled in.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    handler: MethodRouter<Shared>,
}

/// Every route.
#[must_use]
pub fn table() -> Vec<Route> {
    use Access::{Api, Open, Page};
    let read = |path, access, handler| Route { method: "GET", path, access, handler };
    let change = |path, access, handler| Route { method: "POST", path, access, handler };
    vec![
        // gateways
        change(ENROL_PATH, Open, post(enrol::enrol).layer(DefaultBodyLimit::max(enrol::MAX_BYTES))),
        change(RUNS_PATH, Open, post(ingest::runs).layer(DefaultBodyLimit::max(MAX_BATCH_BYTES))),
        // whoever watches the sink
        read(LOG_CHECKPOINT_PATH, Open, get(log::checkpoint)),
        read(LOG_CONSISTENCY_PATH, Open, get(log::consistency)),
        read(LOG_INCLUSION_PATH, Open, get(log::inclusion)),
        // programs
        read("/healthz", Open, get(health)),
        read("/api/v1/gateways", Api, get(api::gateways)),
        read("/api/v1/gateways/{id}", Api, get(api::gateway)),
        read("/api/v1/gateways/{id}/runs", Api, get(api::runs)),
        read("/api/v1/gateways/{id}/runs/{seq}", Api, get(api::run)),
        read("/api/v1/gateways/{id}/runs/{seq}/envelope", Api, get(api::envelope)),
        read("/api/v1/gateways/{id}/runs/{seq}/receipt", Api, get(api::receipt)),
        read("/api/v1/gateways/{id}/timeline", Api, get(api::timeline)),
        read("/api/v1/gateways/{id}/tombstones", Api, get(api::tombstones)),
        read("/api/v1/gateways/{id}/tombstones/{digest}/envelope", Api, get(api::tombstone_envelope)),
        change("/api/v1/gateways/{id}/baseline", Api, post(api::promote)),
        read("/api/v1/gateways/{id}/delta", Api, get(api::delta)),
        read("/api/v1/gateways/{id}/backlog", Api, get(api::backlog)),
        read("/api/v1/gateways/{id}/report", Api, get(web::report::page)),
        // people
        read("/style.css", Open, get(web::style)),
        read("/sign-in", Open, get(web::sign_in::form)),
        change("/sign-in", Open, post(web::sign_in::sign_in)),
        change("/sign-out", Page, post(web::sign_in::sign_out)),
        read("/", Page, get(web::fleet::page)),
        read("/gateways/{id}", Page, get(web::gateway::page)),
        change("/gateways/{id}/baseline", Page, post(web::gateway::promote)),
        read("/gateways/{id}/runs/{seq}", Page, get(web::run::page)),
        read("/gateways/{id}/delta", Page, get(web::delta::page)),
        read("/gateways/{id}/report", Page, get(web::report::page)),
    ]
}

/// The table as a service.
pub fn router(app: Shared) -> Router {
    let mut router = Router::new();
    for Route { path, access, handler, .. } in table() {
        let gated = match access {
            Access::Open => handler,
            Access::Api => handler.route_layer(middleware::from_fn_with_state(app.clone(), auth::api)),
            Access::Page => handler.route_layer(middleware::from_fn_with_state(app.clone(), auth::page)),
        };
        router = router.route(path, gated);
    }
    router
        .fallback(async || Refusal::not_found("there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address has no such method")
        })
        .layer(middleware::from_fn(take_in))
        .layer(middleware::from_fn_with_state(app.clone(), bound::to_its_request))
        .layer(middleware::from_fn_with_state(app.clone(), harden))
        .with_state(app)
}

/// The store answers; anything else is not health.
async fn health(State(app): State<Shared>) -> Result<impl IntoResponse, Refusal> {
    app.read(|_, connection| {
        let one: Result<i64, _> = connection.query_row("SELECT 1 FROM gateways UNION SELECT 1", [], |row| row.get(0));
        one.map_err(|error| Refusal::internal(error).unavailable())
    })
    .await?;
    Ok("ok\n")
}

/// Takes in the body before anybody answers, but for uploads, which do so themselves.
///
/// An answer that comes while the client still sends ends in a reset connection, and the client may never read it.
async fn take_in(request: Request, next: Next) -> Response {
    if *request.method() != Method::POST || request.uri().path() == RUNS_PATH {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let mut whole = Request::new(body);
    let limit = if head.uri.path() == ENROL_PATH { enrol::MAX_BYTES } else { SMALL_BODY };
    DefaultBodyLimit::max(limit).apply(&mut whole);
    match ingest::body(whole).await {
        Ok(bytes) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// Headers that every answer carries; a handler's own word on a header stands.
async fn harden(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let transport = app.secure.then_some((header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"));
    let all = [
        (header::CONTENT_SECURITY_POLICY, web::CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in all.into_iter().chain(transport) {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
