//! Looks for `ingest_auth`: posts a canary event to the ingest edge without credentials, with made-up ones and with the
//! configured ones, and without TLS.
//!
//! At most four requests, one after the other. The configured token goes to an `https` URL whose certificate verifies and
//! nowhere else; it never reaches the record, and neither do user information and query of the URL. Redirects are not
//! followed and answers' bodies not read.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::ingest_auth::{Answer, Check, Credentials, Observation, Request};
use gatepost_evidence::look::{Failure, FailureKind};
use gatepost_evidence::run::{Target, TargetKind};
use ureq::http::Uri;

use super::broker_transport_posture::unreached;
use super::{Missed, Probe, blocking, canary, observed};
use crate::config::{Config, Ingest};
use crate::secret::Secret;
use crate::{files, http};

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "The ingest edge: at most four POST requests with an event of type gatepost.canary, one of them to the \
              plaintext URL.",
    needs: "url of [ingest]; token_file to try the configured credentials.",
    targets: |_| vec![Target::new(TargetKind::IngestEdge, "ingest")],
    look: |config, _| {
        Box::pin(async move {
            let limits = Limits::default();
            observed(&blocking(move || observe(&config, limits)).await?)
        })
    },
};

/// How long the requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One request, from name resolution to the end of the answer's head.
    pub request: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request: Duration::from_secs(4) }
    }
}

/// The headers of an answer that are recorded, and the most characters of each.
const HEADERS: [&str; 5] = ["www-authenticate", "location", "server", "strict-transport-security", "retry-after"];
const MAX_HEADER_CHARS: usize = 200;

/// Makes the requests. Blocking.
///
/// # Errors
/// When no ingest edge is configured, or nothing at all answers.
pub fn observe(config: &Arc<Config>, limits: Limits) -> Result<Observation, Missed> {
    let Some(ingest) = &config.ingest else {
        return Err(Missed::skipped("no ingest edge is configured; name it with url under [ingest]"));
    };
    let edge = Edge::new(ingest)?;
    let mut requests = Vec::new();
    let mut ask = |credentials, plaintext, answer: Result<Answer, Failure>| {
        requests.push(Request { credentials, plaintext, answer: answer.into() });
    };
    let client = http::client(ingest.ca_file.as_deref(), limits.request);
    let post = |url: &Uri, token: Option<&Secret>| match &client {
        Ok(client) => post(client, url, token),
        Err(failure) => Err(failure.clone()),
    };
    ask(Credentials::None, false, post(&edge.url, None));
    let made_up = Secret::new(canary::random::<16>()?);
    ask(Credentials::Wrong, false, post(&edge.url, Some(&made_up)));
    if let Some(path) = &ingest.token_file {
        ask(Credentials::Right, false, edge.token(path).and_then(|token| post(&edge.url, Some(&token))));
    }
    if let Some(url) = &edge.plaintext_url {
        // Without TLS there are no anchors to trust, so one that cannot be read does not matter.
        let answer = http::client(None, limits.request).and_then(|client| self::post(&client, url, None));
        ask(Credentials::None, true, answer);
    }
    let silent = |failure: &&Failure| {
        matches!(failure.kind, FailureKind::Refused | FailureKind::Unreachable | FailureKind::TimedOut)
    };
    let failures: Vec<&Failure> = requests.iter().filter_map(|request| request.answer.failure()).collect();
    if failures.len() == requests.len() && failures.iter().all(|failure| silent(failure) || not_sent(failure)) {
        return Err(unreached(&failures.into_iter().filter(silent).collect::<Vec<_>>()));
    }
    Ok(Observation { url: recorded(&edge.url), plaintext_url: edge.plaintext_url.as_ref().map(recorded), requests })
}

const NOT_SENT: &str = "the token is sent over https only, and the URL is not https";

fn not_sent(failure: &Failure) -> bool {
    failure.detail == NOT_SENT
}

/// Where the requests go.
struct Edge {
    url: Uri,
    plaintext_url: Option<Uri>,
}

impl Edge {
    fn new(ingest: &Ingest) -> Result<Self, Missed> {
        let parse =
            |text: &str| without_user(text).ok_or_else(|| Missed::error("a URL of [ingest] is not an http URL"));
        let url = parse(&ingest.url)?;
        let plaintext_url = match &ingest.plaintext_url {
            Some(text) => Some(parse(text)?),
            None if url.scheme_str() == Some("https") => plaintext_of(&url),
            None => None,
        };
        if plaintext_url.as_ref().is_some_and(|url| url.scheme_str() != Some("http")) {
            return Err(Missed::error("plaintext_url of [ingest] must begin with http://"));
        }
        Ok(Self { url, plaintext_url })
    }

    /// The configured token, if it may be sent at all.
    fn token(&self, path: &Path) -> Result<Secret, Failure> {
        if self.url.scheme_str() != Some("https") {
            return Err(Failure::new(FailureKind::Error, NOT_SENT));
        }
        files::read_secret(path)
    }
}

/// `text` as a URL of HTTP, without user information, which would be credentials.
fn without_user(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let scheme = url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let authority = url.authority()?.as_str();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let rest = url.path_and_query().map_or("/", |rest| rest.as_str());
    format!("{scheme}://{host}{rest}").parse().ok()
}

/// The same host and path on port 80. Not the query, in which credentials may stand.
fn plaintext_of(url: &Uri) -> Option<Uri> {
    format!("http://{}{}", url.host()?, url.path()).parse().ok()
}

/// The URL as it is recorded: without query.
fn recorded(url: &Uri) -> String {
    format!(
        "{}://{}{}",
        url.scheme_str().unwrap_or_default(),
        url.authority().map_or("", |authority| authority.as_str()),
        url.path()
    )
}

fn post(client: &ureq::Agent, url: &Uri, token: Option<&Secret>) -> Result<Answer, Failure> {
    let event = serde_json::json!({"type": "gatepost.canary", "id": canary::name()?});
    // One connection per request, so that none rides on what an earlier one set up.
    let mut request = client.post(url).header("connection", "close").header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.expose()));
    }
    let begin = Instant::now();
    let response = request.send(event.to_string()).map_err(|error| http::failure(&error))?;
    let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = if name == "location" { text.split('?').next().unwrap_or_default() } else { &text };
        Some((name.to_owned(), text.chars().take(MAX_HEADER_CHARS).collect()))
    };
    let headers: BTreeMap<String, String> = HEADERS.iter().filter_map(|name| header(name)).collect();
    Ok(Answer { status: response.status().as_u16(), headers, micros })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ingest(url: &str, plaintext_url: Option<&str>) -> Ingest {
        Ingest { url: url.into(), plaintext_url: plaintext_url.map(Into::into), ca_file: None, token_file: None }
    }

    #[test]
    fn user_information_and_query_are_not_recorded() {
        let edge = Edge::new(&ingest("https://me:secret@edge.example:8443/v1/events?key=secret", None)).unwrap();
        assert_eq!(edge.url, "https://edge.example:8443/v1/events?key=secret");
        assert_eq!(recorded(&edge.url), "https://edge.example:8443/v1/events");
        assert_eq!(edge.plaintext_url.unwrap(), "http://edge.example/v1/events");
    }

    #[test]
    fn a_plaintext_edge_has_no_other_plaintext_url_unless_it_is_named() {
        assert!(Edge::new(&ingest("http://edge.example/v1", None)).unwrap().plaintext_url.is_none());
        let edge = Edge::new(&ingest("https://edge.example/v1", Some("http://edge.example:8080/v1"))).unwrap();
        assert_eq!(edge.plaintext_url.unwrap(), "http://edge.example:8080/v1");
        assert!(Edge::new(&ingest("https://edge.example/v1", Some("https://edge.example/v1"))).is_err());
        assert!(Edge::new(&ingest("ftp://edge.example/v1", None)).is_err());
    }

    #[test]
    fn the_token_is_not_read_for_a_plaintext_edge() {
        let edge = Edge::new(&ingest("http://edge.example/v1", None)).unwrap();
        let failure = edge.token(Path::new("/nowhere")).unwrap_err();
        assert!(not_sent(&failure), "{failure}");
    }
}
