//! Enrolment: `POST /v1/enrol`, a one-time token and a proof that the sender has the key it names.
//!
//! The key comes from inside the envelope, so the signature proves possession and nothing else; the token is what lets a
//! gateway in. Token and gateway change in one transaction. A key that is enrolled already may enrol again with a fresh
//! token, which renews its name and labels; one that was rotated enrols with
//! its first key and every rotation since, and signs with its current one.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::rotation::Keyring;
use gatepost_evidence::wire::{ENROLMENT_TYPE, Enrolled, Enrolment};

use crate::app::{Shared, now};
use crate::ingest::{self, rotation};
use crate::problem::Refusal;
use crate::store::gateways::{self, Gateway};
use crate::store::{rotations, tokens};

/// The largest body of an enrolment.
pub const MAX_BYTES: usize = 512 * 1024;
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
    let (enrolment, signer) = open(&body)?;
    let id = enrolment.public_key.id();
    let rotations = enrolment.rotations;
    let token = Digest::of(enrolment.token.as_bytes());
    let time = now();
    let gateway = Gateway {
        id,
        public_key: enrolment.public_key,
        name: enrolment.name,
        labels: enrolment.labels,
        enrolled_at: time,
    };
    let sink = app.clone();
    let outcome = app.write(move |connection| {
        let forbidden = |reason, detail: String| Ok(Err(Refusal::new(StatusCode::FORBIDDEN, reason, detail)));
        if let Err(refusal) = tokens::check(connection, token, time)? {
            return forbidden(refusal.reason(), refusal.to_string());
        }
        if rotations::owner(connection, id.digest())?.is_some_and(|owner| owner != id) {
            let detail =
                "this is a later key of another gateway; a gateway enrols with its first key and all rotations";
            return forbidden("key_in_use", detail.to_owned());
        }
        connection.execute_batch("SAVEPOINT enrolment")?;
        gateways::upsert(connection, &gateway)?;
        if let Err(rejection) = rotation::take(&sink, connection, &rotations, time)? {
            connection.execute_batch("ROLLBACK TO enrolment; RELEASE enrolment")?;
            rejection.0.keep(connection, rejection.1.to_json().as_bytes(), time)?;
            return forbidden(rejection.0.reason, rejection.0.detail);
        }
        let ring = rotations::ring(connection, id)?;
        if ring.is_none_or(|ring| ring.current().digest() != signer) {
            connection.execute_batch("ROLLBACK TO enrolment; RELEASE enrolment")?;
            let detail = format!("key {signer} was given up by gateway {}: an older copy of it asks", id.short());
            return forbidden("retired_key", detail);
        }
        connection.execute_batch("RELEASE enrolment")?;
        tokens::consume(connection, token, id, time)?;
        Ok(Ok(()))
    });
    outcome.await??;
    tracing::info!(gateway = %id, "a gateway enrolled");
    Ok(Json(Enrolled { gateway: id, sink_key: app.key.public().clone(), time }))
}

/// Reads an enrolment and checks that whoever sent it has the key that the one it names was rotated to, which comes with it.
fn open(body: &[u8]) -> Result<(Enrolment, Digest), Refusal> {
    let envelope = Envelope::parse(body).map_err(|error| Refusal::bad(error.reason(), error.to_string()))?;
    // The claim is read only to find the key that the claim itself is then checked with.
    let claim = STANDARD.decode(&envelope.payload).ok();
    let claim = claim.and_then(|payload| serde_json::from_slice::<Enrolment>(&payload).ok());
    let Some(claim) = claim else {
        // serde's words could quote the token.
        return Err(Refusal::bad("malformed", "the envelope does not hold an enrolment"));
    };
    let ring = Keyring::of(claim.public_key.clone(), &claim.rotations)
        .map_err(|error| Refusal::new(StatusCode::FORBIDDEN, error.reason(), error.to_string()))?;
    envelope
        .open(ENROLMENT_TYPE, ring.current())
        .map_err(|error| Refusal::new(StatusCode::FORBIDDEN, error.reason(), error.to_string()))?;
    check_names(&claim.name, &claim.labels).map_err(|why| Refusal::bad("malformed", why))?;
    let signer = ring.current().digest();
    Ok((claim, signer))
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
