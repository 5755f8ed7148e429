//! Who may see and do what: the operator by bearer token (API) or session cookie (pages).
//!
//! Fails closed: every route of the API and every page goes through one of the two gates here. The token is compared by
//! digest in constant time. A session is a random id in an `HttpOnly`, `SameSite=Strict` cookie, known here by its SHA-256
//! and only in memory: a restart signs everybody out. What changes something needs the bearer token, or the session and
//! its form token (against requests forged by other sites).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use gatepost_evidence::id::Digest;
use jiff::{SignedDuration, Timestamp};

use crate::app::{App, Shared, now};
use crate::problem::Refusal;
use crate::random;

/// How long a session lasts, however much it is used.
const SESSION: SignedDuration = SignedDuration::from_hours(12);
/// Sessions at the same time; the oldest makes room.
const MAX_SESSIONS: usize = 256;
/// The cookie's name over TLS; the prefix makes browsers insist on `Secure` and on this very host.
const SECURE_COOKIE: &str = "__Host-gatepost";
/// The cookie's name in plaintext on loopback.
const PLAIN_COOKIE: &str = "gatepost";

/// A signed-in operator.
#[derive(Debug, Clone)]
pub struct Session {
    /// What every form of this session carries.
    pub form_token: String,
    expires_at: Timestamp,
}

/// The operators who are signed in.
#[derive(Debug, Default)]
pub struct Sessions(Mutex<HashMap<Digest, Session>>);

impl Sessions {
    /// A new session; what comes back is the cookie's secret.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn begin(&self, now: Timestamp) -> Result<String, getrandom::Error> {
        let id = random::secret("")?;
        let session = Session { form_token: random::secret("")?, expires_at: now + SESSION };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| session.expires_at > now);
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.expires_at).map(|(id, _)| *id);
            oldest.and_then(|id| sessions.remove(&id));
        }
        sessions.insert(Digest::of(id.as_bytes()), session);
        Ok(id)
    }

    /// The session with this secret, if it lasts.
    #[must_use]
    pub fn find(&self, id: &str, now: Timestamp) -> Option<Session> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&Digest::of(id.as_bytes())).filter(|session| session.expires_at > now).cloned()
    }

    /// Ends the session with this secret.
    pub fn end(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&Digest::of(id.as_bytes()));
    }
}

/// The gate of the API: the bearer token; to read, a session will do.
pub async fn api(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if bears_token(&app, request.headers()) || (reads && session(&app, request.headers()).is_some()) {
        return next.run(request).await;
    }
    let detail = "send `Authorization: Bearer TOKEN`; `gatepost-sink operator-token` prints the token";
    Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", detail).into_response()
}

/// The gate of the pages: a session, or else the way to sign in.
pub async fn page(State(app): State<Shared>, mut request: Request, next: Next) -> Response {
    if let Some(session) = session(&app, request.headers()) {
        request.extensions_mut().insert(session);
        return next.run(request).await;
    }
    let wanted = if *request.method() == Method::GET { request.uri().path() } else { "/" };
    let wanted: String = form_encode(wanted);
    Redirect::to(&format!("/sign-in?next={wanted}")).into_response()
}

fn bears_token(app: &App, headers: &HeaderMap) -> bool {
    let offered = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let offered = offered.and_then(|value| value.split_once(' '));
    offered.is_some_and(|(scheme, token)| {
        scheme.eq_ignore_ascii_case("bearer") && random::matches(token.trim(), &app.operator)
    })
}

fn cookie_name(app: &App) -> &'static str {
    if app.secure { SECURE_COOKIE } else { PLAIN_COOKIE }
}

/// The session secret that `headers` carry.
#[must_use]
pub fn session_id<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == cookie_name(app)).map(|(_, id)| id)
}

/// The session that `headers` belong to.
#[must_use]
pub fn session(app: &App, headers: &HeaderMap) -> Option<Session> {
    app.sessions.find(session_id(app, headers)?, now())
}

/// The header that gives a browser its session; an empty `id` takes it away.
///
/// # Errors
/// Never in practice: ids are plain ASCII.
pub fn cookie(app: &App, id: &str) -> Result<HeaderValue, Refusal> {
    let (name, secure) = (cookie_name(app), if app.secure { "; Secure" } else { "" });
    let age = if id.is_empty() { 0 } else { SESSION.as_secs() };
    let text = format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
    HeaderValue::from_str(&text).map_err(Refusal::internal)
}

/// Whether a form of `session` carries its token.
///
/// # Errors
/// 403 when it does not.
pub fn check_form(session: &Session, offered: &str) -> Result<(), Refusal> {
    if random::matches(offered, &Digest::of(session.form_token.as_bytes())) {
        return Ok(());
    }
    let detail = "the form is not one of this session's; go back, reload the page and send it again";
    Err(Refusal::new(StatusCode::FORBIDDEN, "form_token", detail))
}

/// Percent-encodes everything in a path but letters, digits and `/-._~`.
fn form_encode(path: &str) -> String {
    let mut encoded = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_by_time_and_by_signing_out() {
        let sessions = Sessions::default();
        let start: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let id = sessions.begin(start).unwrap();
        assert!(sessions.find(&id, start + SignedDuration::from_hours(11)).is_some());
        assert!(sessions.find(&id, start + SignedDuration::from_hours(12)).is_none());
        assert!(sessions.find("", start).is_none());
        sessions.end(&id);
        assert!(sessions.find(&id, start).is_none());
    }

    #[test]
    fn the_oldest_session_makes_room() {
        let sessions = Sessions::default();
        let start: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let first = sessions.begin(start).unwrap();
        for second in 1..=256 {
            sessions.begin(start + SignedDuration::from_secs(second)).unwrap();
        }
        assert!(sessions.find(&first, start).is_none());
        assert_eq!(sessions.0.lock().unwrap().len(), MAX_SESSIONS);
    }

    #[test]
    fn form_tokens_are_compared() {
        let session = Session { form_token: "right".into(), expires_at: Timestamp::MAX };
        assert!(check_form(&session, "right").is_ok());
        assert!(check_form(&session, "wrong").is_err());
        assert!(check_form(&session, "").is_err());
    }
}
