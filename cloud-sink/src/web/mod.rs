//! The pages: rendered here, plain HTML and one stylesheet, no scripts.
//!
//! Everything a gateway says is untrusted text; askama escapes whatever a template prints, and no template switches that
//! off. Colour never says anything that words do not say too.

pub mod chart;
pub mod delta;
mod filters;
pub mod fleet;
pub mod gateway;
pub mod report;
pub mod run;
pub mod sign_in;
pub mod timeline;
pub mod words;

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use crate::problem::{DAMAGED, Refusal};

/// What pages may load: the stylesheet of this sink and nothing else.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
                                           form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
/// The stylesheet of the pages and, written into it, of the report.
const STYLE: &str = include_str!("../../templates/style.css");

/// `GET /style.css`.
pub async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")], STYLE)
}

/// A page, or the page that says why there is none.
pub type Page = Result<Response, PageError>;

/// A refusal as a page for people.
#[derive(Debug)]
pub struct PageError(Refusal);

impl From<Refusal> for PageError {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage<'a> {
    form_token: &'a str,
    title: &'static str,
    detail: &'a str,
    waiting: bool,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Refusal { status, detail, reason } = self.0;
        let title = match status {
            StatusCode::ACCEPTED => "Not judged yet",
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::CONFLICT => "Not possible yet",
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => "Not allowed",
            _ if reason == DAMAGED => "Something of this gateway is damaged",
            _ if status.is_client_error() => "Not understood",
            _ => "The sink could not do this",
        };
        let page = RefusalPage { form_token: "", title, detail: &detail, waiting: status == StatusCode::ACCEPTED };
        match page.render() {
            Ok(html) => (status, Html(html)).into_response(),
            Err(error) => Refusal::internal(error).into_response(),
        }
    }
}

/// Renders a page.
///
/// # Errors
/// When the template cannot be rendered.
fn render(page: &impl Template) -> Page {
    let html = page.render().map_err(Refusal::internal)?;
    Ok(Html(html).into_response())
}

/// The way to another page after a form was sent.
fn see_other(path: &str) -> Page {
    let location = HeaderValue::from_str(path).map_err(Refusal::internal)?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response())
}
