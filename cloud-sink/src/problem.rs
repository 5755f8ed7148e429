//! Refusals: the one shape of every answer that is not a success.
//!
//! The body is a [`Problem`] with a stable reason for programs and words for people. What went wrong inside the sink is
//! logged, and the client learns only that it did.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gatepost_evidence::batch;
use gatepost_evidence::wire::Problem;
use serde::de::DeserializeOwned;

use crate::store::StoreError;

/// Reason of a refusal because something in the database is damaged.
pub const DAMAGED: &str = "damaged";

/// Why a request was not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable word for programs.
    pub reason: &'static str,
    /// What happened and what to do, for people.
    pub detail: String,
}

impl Refusal {
    /// A refusal with this status.
    pub fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { status, reason, detail: detail.into() }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 400.
    pub fn bad(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, detail)
    }

    /// 409.
    pub fn conflict(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, reason, detail)
    }

    /// 500. The words of `error` go to the log only.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed inside the sink");
        let detail = "the sink could not do this; its log says why. Nothing was changed";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// 500, with what is damaged, for operators: they are who can restore it.
    pub fn damage(error: StoreError) -> Self {
        let damaged = matches!(error, StoreError::Damaged(_)).then(|| error.to_string());
        let refusal = Self::from(error);
        match damaged {
            Some(detail) => Self { reason: DAMAGED, detail, ..refusal },
            None => refusal,
        }
    }

    /// 202: the run is kept, and the worker has not come to it.
    #[must_use]
    pub fn not_judged_yet(seq: u64) -> Self {
        let detail = format!("run {seq} is kept and not judged yet; ask again in a second");
        Self::new(StatusCode::ACCEPTED, "not_judged_yet", detail)
    }

    /// 500: the rules could not judge this run; that is no verdict on the gateway.
    #[must_use]
    pub fn judging_failed(seq: u64, why: &str) -> Self {
        let detail = format!("run {seq} is kept but could not be judged: {why}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "judging_failed", detail)
    }

    /// The same as 503, for whoever asks whether the sink is well.
    #[must_use]
    pub fn unavailable(self) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, reason: "unavailable", ..self }
    }
}

/// A query string whose mistakes are answered like every other: with a [`Problem`].
#[derive(Debug)]
pub struct Asked<T>(pub T);

impl<T, S> FromRequestParts<S> for Asked<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let asked = Query::from_request_parts(parts, state).await;
        asked.map(|Query(value)| Self(value)).map_err(|error| Refusal::bad("bad_query", error.body_text()))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response =
            (self.status, Json(Problem { reason: self.reason.to_owned(), detail: self.detail })).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            // RFC 9110, section 15.5.16: a coding that is always taken.
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(batch::ZSTD));
        }
        if matches!(self.status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            // The rest of the body was not read: this connection serves nothing more.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if matches!(self.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::ACCEPTED) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
