//! Signing in and out.

use askama::Template;
use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _};
use serde::Deserialize;

use super::{Page, see_other};
use crate::app::{Shared, now};
use crate::auth::{self, Session};
use crate::problem::Refusal;
use crate::random;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage<'a> {
    form_token: &'a str,
    next: &'a str,
    wrong: bool,
}

/// Where to go afterwards.
#[derive(Debug, Deserialize)]
pub struct Next {
    #[serde(default)]
    next: String,
}

/// `GET /sign-in`.
pub async fn form(Query(Next { next }): Query<Next>) -> Page {
    page(&next, false)
}

fn page(next: &str, wrong: bool) -> Page {
    let html = SignInPage { form_token: "", next: within(next), wrong }.render().map_err(Refusal::internal)?;
    let status = if wrong { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    Ok((status, Html(html)).into_response())
}

/// The form.
#[derive(Deserialize)]
pub struct SignIn {
    token: String,
    #[serde(default)]
    next: String,
}

/// `POST /sign-in`.
pub async fn sign_in(State(app): State<Shared>, Form(SignIn { token, next }): Form<SignIn>) -> Page {
    if !random::matches(token.trim(), &app.operator) {
        return page(&next, true);
    }
    let id = app.sessions.begin(now()).map_err(Refusal::internal)?;
    let location = HeaderValue::from_str(within(&next)).map_err(Refusal::internal)?;
    let headers = [(header::LOCATION, location), (header::SET_COOKIE, auth::cookie(&app, &id)?)];
    Ok((StatusCode::SEE_OTHER, headers).into_response())
}

/// The form of every page's head.
#[derive(Debug, Deserialize)]
pub struct SignOut {
    form_token: String,
}

/// `POST /sign-out`.
pub async fn sign_out(
    State(app): State<Shared>,
    Extension(session): Extension<Session>,
    headers: HeaderMap,
    Form(SignOut { form_token }): Form<SignOut>,
) -> Page {
    auth::check_form(&session, &form_token)?;
    if let Some(id) = auth::session_id(&app, &headers) {
        app.sessions.end(id);
    }
    let mut response = see_other("/sign-in")?;
    response.headers_mut().insert(header::SET_COOKIE, auth::cookie(&app, "")?);
    Ok(response)
}

/// `path` if it is one of this sink's, else the fleet: nobody is sent elsewhere after signing in.
fn within(path: &str) -> &str {
    let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~%".contains(&byte));
    if path.starts_with('/') && !path.starts_with("//") && plain { path } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn nobody_is_sent_elsewhere() {
        assert_eq!(within("/gateways/abc/runs/3"), "/gateways/abc/runs/3");
        for elsewhere in ["", "//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nb", "evil", "/?x=é"]
        {
            assert_eq!(within(elsewhere), "/", "{elsewhere}");
        }
    }
}
