//! Signs what an upload is answered with for the request that it answers ([`gatepost_evidence::bound`]), be it a success or a
//! refusal. Whoever gives its request no name, as a person with `curl`, gets the same answer without a signature.

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use gatepost_evidence::bound::RequestName;
use gatepost_evidence::wire::{ANSWER_HEADER, REQUEST_HEADER, RUNS_PATH};

use crate::app::Shared;
use crate::problem::Refusal;

/// The most bytes of an answer: 256 lines with the longest proofs there can be.
const LONGEST: usize = 16 * 1024 * 1024;

/// The layer that does it.
pub(crate) async fn to_its_request(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let name = request.headers().get(REQUEST_HEADER).and_then(|value| RequestName::parse(value.to_str().ok()?));
    let name = name.filter(|_| request.uri().path() == RUNS_PATH);
    let response = next.run(request).await;
    let Some(name) = name else { return response };
    let (mut head, body) = response.into_parts();
    let body = match to_bytes(body, LONGEST).await {
        Ok(body) => body,
        Err(error) => return Refusal::internal(error).into_response(),
    };
    let signature = name.sign(head.status.as_u16(), &body, &app.key);
    if let Ok(signature) = HeaderValue::try_from(signature) {
        head.headers.insert(ANSWER_HEADER, signature);
    }
    Response::from_parts(head, Body::from(body))
}
