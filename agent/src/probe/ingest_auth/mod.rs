//! Looks for `ingest_auth`: posts canary events to the ingest edge without credentials, with malformed, made-up, altered,
//! expired and configured ones, by other methods, paths and headers, twice, and without TLS; looks at its TLS and its
//! certificate; and asks an edge that takes events by MQTT the same by CONNECT.
//!
//! At most [`MAX_REQUESTS`] requests, one after the other, each over a connection of its own. The configured credentials go
//! to an `https` URL whose certificate verifies and nowhere else ([`client`]); they never reach the record, and neither do
//! user information and query of the URL, or what an answer's body says. Redirects are not followed. An edge that asks to
//! slow down (429), or that twice does not answer in time, is left alone. `docs/ingest-probe.md` lists every question.

pub mod answer;
mod ask;
mod client;
pub mod marks;
mod mqtt;
mod session;
mod talk;
pub(in crate::probe) mod transport;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::ingest_auth::{Check, Observation};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};
use ureq::http::Uri;

use super::broker_transport_posture::unreached;
use super::certificates::{self, MAX_EDGE_LIST_BYTES};
use super::tls::Identity;
use super::wire::{self, Budget};
use super::{Missed, Probe, blocking, observed};
use crate::config::{Config, Ingest};
use crate::secret::Secret;
use crate::{files, http};
use client::Files;
use talk::{Talk, Talked};

/// The most requests to an edge that speaks HTTP.
pub const MAX_REQUESTS: u32 = 60;
/// The name of the target that speaks HTTP.
const HTTP: &str = "ingest";
/// The name of the target that speaks MQTT.
const MQTT: &str = "ingest-mqtt";

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(45),
    touches: "The ingest edge: at most 60 requests, one after the other, with events of type gatepost.canary, most of them \
              without credentials, one or two to the plaintext URL; an edge that takes events without credentials gets at \
              most nine. Beside them three TLS handshakes and ClientHellos that are never finished, at most 120 in 12 s. An \
              edge that speaks MQTT: at most eight CONNECTs under canary client ids instead; nothing is published. With \
              `thorough = false` four requests instead of the sixty.",
    needs: "url of [ingest], or address of [ingest.mqtt]; token_file, or client_certificate and client_key, to try the \
            configured credentials; expired_token_file to try one that has expired; crl_file to know of revocation.",
    targets,
    look: |config, target| {
        Box::pin(async move {
            let limits = Limits::default();
            match &config.ingest_mqtt {
                Some(edge) if target.name == MQTT => observed(&mqtt::observe(edge, limits).await?),
                _ => observed(&observe(config, limits).await?),
            }
        })
    },
};

fn targets(config: &Config) -> Vec<Target> {
    let mut names = Vec::new();
    if config.ingest.is_some() || config.ingest_mqtt.is_none() {
        names.push(HTTP);
    }
    if config.ingest_mqtt.is_some() {
        names.push(MQTT);
    }
    names.into_iter().map(|name| Target::new(TargetKind::IngestEdge, name)).collect()
}

/// How long the requests may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One request, from name resolution to the end of the answer's head.
    pub request: Duration,
    /// Everything; shorter than the probe's own limit.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request: Duration::from_secs(4), total: Duration::from_secs(40) }
    }
}

impl Limits {
    fn start(self) -> Budget {
        let Self { request, total } = self;
        wire::Limits { dial: request, handshake: request, answer: request, total, at_once: 1 }.start()
    }
}

/// Looks at an edge that speaks HTTP.
///
/// # Errors
/// When no ingest edge is configured, or nothing at all answers.
pub async fn observe(config: Arc<Config>, limits: Limits) -> Result<Observation, Missed> {
    let Some(ingest) = config.ingest.clone() else {
        return Err(Missed::skipped("no ingest edge is configured; name it with url under [ingest]"));
    };
    let edge = Edge::new(&ingest)?;
    let secure = edge.url.scheme_str() == Some("https");
    let settings = ingest.clone();
    let (files, secrets) = blocking(move || Ok((Files::of(&settings), Secrets::read(&settings, secure)))).await?;
    let budget = limits.start();
    let talk = Talk { edge: &edge, ingest: &ingest, files: &files, secrets: &secrets, budget: &budget, limits };
    let address = client::address(&edge.url);
    let name = client::host(&edge.url);
    let transport = async {
        match secure {
            true => Some(transport::look(&address, &name, &files, &budget).await),
            false => None,
        }
    };
    let (mut transport, talked) = tokio::join!(transport, talk.all());
    let Talked { requests, questions, resumption } = talked?;
    if let Some(transport) = &mut transport {
        transport.resumption = resumption;
        transport.served_without_certificate = requests.first().and_then(|request| match &request.answer {
            Look::Seen(_) => Some(true),
            Look::Failed(Failure { kind: FailureKind::TlsAlert, .. }) => Some(false),
            Look::Failed(_) => None,
        });
    }
    let failures: Vec<&Failure> = requests.iter().filter_map(|request| request.answer.failure()).collect();
    if failures.len() == requests.len()
        && let Some(missed) = silence(&failures)
    {
        return Err(missed);
    }
    Ok(Observation {
        url: recorded(&edge.url),
        plaintext_url: edge.plaintext_url.as_ref().map(recorded),
        requests,
        questions,
        transport,
        mqtt: Vec::new(),
    })
}

/// Why there is nothing to observe, if all that came back is silence.
fn silence(failures: &[&Failure]) -> Option<Missed> {
    let silent = |failure: &Failure| {
        matches!(failure.kind, FailureKind::Refused | FailureKind::Unreachable | FailureKind::TimedOut)
    };
    let all = failures.iter().all(|failure| silent(failure) || not_sent(failure));
    let heard: Vec<&Failure> = failures.iter().copied().filter(|failure| silent(failure)).collect();
    (all && !heard.is_empty()).then(|| unreached(&heard))
}

const NOT_SENT: &str = "the configured credentials are sent over https only, and the URL is not https";

fn not_sent(failure: &Failure) -> bool {
    failure.detail == NOT_SENT
}

impl Files {
    fn of(ingest: &Ingest) -> Self {
        read_files(
            ingest.ca_file.as_deref(),
            ingest.crl_file.as_deref(),
            ingest.client_certificate.as_deref(),
            ingest.client_key.as_deref(),
        )
    }
}

/// Reads anchors (the system's where no file is named), revocation lists, and the client's certificate and key. Blocking.
fn read_files(
    ca_file: Option<&Path>,
    crl_file: Option<&Path>,
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Files {
    let anchors = files::read_certificates(ca_file.unwrap_or(Path::new(http::SYSTEM_ANCHORS)));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let read =
                || Ok(Identity { chain: files::read_certificates(certificate)?, key: files::read_private_key(key)? });
            Some(read())
        }
        _ => None,
    };
    let lists = crl_file.map(|path| certificates::read_lists(path, MAX_EDGE_LIST_BYTES).into());
    Files { anchors, identity, lists }
}

/// The secrets of the configuration.
struct Secrets {
    token: Option<Result<Secret, Failure>>,
    expired: Option<Result<Secret, Failure>>,
}

impl Secrets {
    /// Reads them, if they may be sent at all. Blocking.
    fn read(ingest: &Ingest, secure: bool) -> Self {
        let read = |path: &Path| match secure {
            true => files::read_secret(path),
            false => Err(Failure::new(FailureKind::Error, NOT_SENT)),
        };
        Self { token: ingest.token_file.as_deref().map(read), expired: ingest.expired_token_file.as_deref().map(read) }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn ingest(url: &str, plaintext_url: Option<&str>) -> Ingest {
        Ingest { url: url.into(), plaintext_url: plaintext_url.map(Into::into), ..Ingest::default() }
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
    fn no_secret_is_read_for_a_plaintext_edge() {
        let ingest = Ingest { token_file: Some("/nowhere".into()), ..ingest("http://edge.example/v1", None) };
        let failure = Secrets::read(&ingest, false).token.unwrap().unwrap_err();
        assert!(not_sent(&failure), "{failure}");
        assert!(!not_sent(&Secrets::read(&ingest, true).token.unwrap().unwrap_err()));
    }

    #[test]
    fn there_is_one_target_for_each_edge_and_one_where_there_is_none() {
        let names = |config: &Config| targets(config).into_iter().map(|target| target.name).collect::<Vec<_>>();
        let mut config = Config::default();
        assert_eq!(names(&config), ["ingest"]);
        config.ingest_mqtt = Some(crate::config::IngestMqtt { address: "a:1".into(), ..Default::default() });
        assert_eq!(names(&config), ["ingest-mqtt"]);
        config.ingest = Some(ingest("https://edge.example/v1", None));
        assert_eq!(names(&config), ["ingest", "ingest-mqtt"]);
    }
}
