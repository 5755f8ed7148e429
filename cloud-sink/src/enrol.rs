//! Enrolment: `POST /v1/enrol`, a one-time token and a proof that the sender has the key it names.
//!
//! The key comes from inside the envelope, so the signature proves possession and nothing else; the token is what lets a
//! gateway in. Token and gateway change in one transaction. A key that is enrolled already may enrol again with a fresh
//! token, which renews its name and labels.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::wire::{ENROLMENT_TYPE, Enrolled, Enrolment};

use crate::app::{Shared, now};
use crate::ingest;
use crate::problem::Refusal;
use crate::store::gateways::{self, Gateway};
use crate::store::tokens;

/// The largest body of an enrolment.
pub const MAX_BYTES: usize = 32 * 1024;
/// The longest name or label, in characters.
const MAX_TEXT: usize = 200;
/// The most labels.
const MAX_LABELS: usize = 64;

/// Enrols a gateway.
///
/// # Errors
/// A [`Refusal`] that says which part of the request was wrong.
pub async fn enrol(State(app): State<Shared>, request: Request) -> Result<Json<Enrolled>, Refusal> {
    let body = ingest::body(request).await?;
    let enrolment = open(&body)?;
    let id = enrolment.public_key.id();
    let token = Digest::of(enrolment.token.as_bytes());
    let time = now();
    let gateway = Gateway {
        id,
        public_key: enrolment.public_key,
        name: enrolment.name,
        labels: enrolment.labels,
        enrolled_at: time,
    };
    let outcome = app.write(move |connection| {
        if let Err(refusal) = tokens::check(connection, token, time)? {
            return Ok(Err(refusal));
        }
        gateways::upsert(connection, &gateway)?;
        tokens::consume(connection, token, id, time)?;
        Ok(Ok(()))
    });
    outcome.await?.map_err(|refusal| Refusal::new(StatusCode::FORBIDDEN, refusal.reason(), refusal.to_string()))?;
    tracing::info!(gateway = %id, "a gateway enrolled");
    Ok(Json(Enrolled { gateway: id, sink_key: app.key.public().clone(), time }))
}

/// Reads an enrolment and checks that whoever sent it has the key it names.
fn open(body: &[u8]) -> Result<Enrolment, Refusal> {
    let envelope = Envelope::parse(body).map_err(|error| Refusal::bad(error.reason(), error.to_string()))?;
    // The claim is read only to find the key that the claim itself is then checked with.
    let claim = STANDARD.decode(&envelope.payload).ok();
    let claim = claim.and_then(|payload| serde_json::from_slice::<Enrolment>(&payload).ok());
    let Some(claim) = claim else {
        // serde's words could quote the token.
        return Err(Refusal::bad("malformed", "the envelope does not hold an enrolment"));
    };
    envelope
        .open(ENROLMENT_TYPE, &claim.public_key)
        .map_err(|error| Refusal::new(StatusCode::FORBIDDEN, error.reason(), error.to_string()))?;
    check_names(&claim.name, &claim.labels).map_err(|why| Refusal::bad("malformed", why))?;
    Ok(claim)
}

/// Whether a gateway may be called this on the pages, which show the names and labels of the whole fleet.
///
/// # Errors
/// What is too much or missing.
pub(crate) fn check_names(name: &str, labels: &BTreeMap<String, String>) -> Result<(), String> {
    if name.trim().is_empty() || labels.len() > MAX_LABELS {
        return Err(format!("a gateway needs a name, and at most {MAX_LABELS} labels"));
    }
    let mut texts = labels.iter().flat_map(|(key, value)| [key.as_str(), value]).chain([name]);
    if texts.any(|text| text.chars().count() > MAX_TEXT) {
        return Err(format!("names and labels have at most {MAX_TEXT} characters"));
    }
    Ok(())
}
