//! The ingest edge's probe against edges in several postures, and against peers that are none.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Edge, Manner, Pki, closed_port, config, http_edge, peer, server_config};
use gatepost::config::{Config, Ingest};
use gatepost::probe::Missed;
use gatepost::probe::ingest_auth::{Limits, observe};
use gatepost_evidence::check::ingest_auth::{Check, Credentials, Facts, Observation, Plaintext};
use gatepost_evidence::check::{Contract, Seen, Unknown};
use gatepost_evidence::look::FailureKind;
use gatepost_evidence::run::Status;

const TOKEN: &str = "the-right-token";

/// An edge that wants the token.
fn hardened(request: &str) -> String {
    match request.contains(&format!("authorization: Bearer {TOKEN}\r\n")) {
        true => "HTTP/1.1 202 Accepted\r\nserver: edge\r\nset-cookie: private\r\ncontent-length: 0\r\n\r\n".into(),
        false => "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-length: 0\r\n\r\n".into(),
    }
}

/// An edge that takes everything.
fn exposed(_: &str) -> String {
    "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".into()
}

async fn tls_edge(pki: &Pki) -> Edge {
    let config = server_config(&pki.authority.server(), None, rustls::ALL_VERSIONS);
    http_edge(Some(config), hardened).await
}

fn ingest(pki: &Pki, url: String, plaintext: String) -> Config {
    let mut config = config(pki.folder.path());
    config.ingest = Some(Ingest {
        url,
        plaintext_url: Some(plaintext),
        ca_file: Some(pki.path("ca.pem")),
        token_file: Some(pki.write("token", TOKEN)),
    });
    config
}

fn nowhere() -> String {
    format!("http://127.0.0.1:{}/events", closed_port())
}

async fn look(config: Config) -> Result<Observation, Missed> {
    look_within(config, Limits::default()).await
}

async fn look_within(config: Config, limits: Limits) -> Result<Observation, Missed> {
    tokio::task::spawn_blocking(move || observe(&Arc::new(config), limits)).await.unwrap()
}

fn facts(observation: &Observation) -> Facts {
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    Check::normalise(observation, &seen, &mut Unknown::default())
}

#[tokio::test]
async fn a_hardened_edge_takes_the_configured_token_and_nothing_else() {
    let pki = Pki::new();
    let edge = tls_edge(&pki).await;
    let url = format!("https://{}/events?key=private", edge.address);
    let observation = look(ingest(&pki, url, nowhere())).await.unwrap();
    let facts = facts(&observation);
    assert_eq!((facts.unauthenticated_accepted, facts.wrong_credentials_accepted), (Some(false), Some(false)));
    assert_eq!((facts.right_credentials_accepted, facts.plaintext), (Some(true), Some(Plaintext::Closed)));
    assert_eq!((facts.unauthenticated_status, facts.right_credentials_status), (Some(401), Some(202)));
    let heard = edge.heard();
    assert_eq!(heard.len(), 3);
    assert!(heard.iter().all(|request| request.contains("gatepost.canary")), "{heard:?}");
    assert_eq!(heard.iter().filter(|request| request.contains("authorization: Bearer ")).count(), 2);
    let answer = |index: usize| observation.requests[index].answer.seen().unwrap();
    assert_eq!(answer(0).headers["www-authenticate"], "Bearer");
    assert_eq!(answer(2).headers.keys().collect::<Vec<_>>(), ["server"]);
    let recorded = serde_json::to_string(&observation).unwrap();
    assert!(!recorded.contains(TOKEN) && !recorded.contains("private"), "{recorded}");
}

#[tokio::test]
async fn an_edge_without_tls_never_hears_the_token() {
    let pki = Pki::new();
    let edge = http_edge(None, exposed).await;
    let mut config = ingest(&pki, format!("http://{}/events", edge.address), String::new());
    config.ingest.as_mut().unwrap().plaintext_url = None;
    let observation = look(config).await.unwrap();
    let facts = facts(&observation);
    assert_eq!((facts.url_is_https, facts.plaintext_tried), (false, false));
    assert_eq!((facts.unauthenticated_accepted, facts.wrong_credentials_accepted), (Some(true), Some(true)));
    assert_eq!((facts.credentials_configured, facts.right_credentials_accepted), (true, None));
    let right = observation.requests.iter().find(|request| request.credentials == Credentials::Right).unwrap();
    assert!(right.answer.failure().unwrap().detail.contains("https only"));
    assert_eq!(edge.heard().len(), 2);
    assert!(edge.heard().iter().all(|request| !request.contains(TOKEN)));
}

#[tokio::test]
async fn an_edge_whose_certificate_does_not_verify_hears_nothing() {
    let pki = Pki::new();
    let edge = tls_edge(&pki).await;
    let mut config = ingest(&pki, format!("https://{}/events", edge.address), nowhere());
    let other = pki.write("other.pem", common::Authority::new("another").pem);
    config.ingest.as_mut().unwrap().ca_file = Some(other);
    let observation = look(config.clone()).await.unwrap();
    for request in observation.requests.iter().filter(|request| !request.plaintext) {
        let failure = request.answer.failure().unwrap();
        assert!(failure.kind == FailureKind::Error && failure.detail.contains("UnknownIssuer"), "{failure}");
    }
    assert!(edge.heard().is_empty());
    config.ingest.as_mut().unwrap().ca_file = Some(pki.path("missing"));
    let observation = look(config).await.unwrap();
    assert_eq!(observation.requests[0].answer.failure().unwrap().kind, FailureKind::NotFound);
}

#[tokio::test]
async fn redirects_are_seen_and_not_followed() {
    let pki = Pki::new();
    let edge = tls_edge(&pki).await;
    let redirect = |_: &str| {
        "HTTP/1.1 308 Permanent Redirect\r\nlocation: https://edge/events?key=private\r\ncontent-length: 0\r\n\r\n"
            .to_owned()
    };
    let plain = http_edge(None, redirect).await;
    let urls = (format!("https://{}/events", edge.address), format!("http://{}/events", plain.address));
    let observation = look(ingest(&pki, urls.0, urls.1)).await.unwrap();
    assert_eq!(facts(&observation).plaintext, Some(Plaintext::Redirects));
    let answer = observation.requests[3].answer.seen().unwrap();
    assert_eq!((answer.status, answer.headers["location"].as_str()), (308, "https://edge/events"));
    assert_eq!(plain.heard().len(), 1);
}

#[tokio::test]
async fn an_edge_that_is_down_or_hangs_is_missed_with_its_reason() {
    let pki = Pki::new();
    let missed = look(ingest(&pki, nowhere().replace("http:", "https:"), nowhere())).await.unwrap_err();
    assert_eq!(missed.status, Status::Unreachable);
    assert!(missed.detail.contains("refused"), "{missed}");

    let begin = Instant::now();
    let hanging = peer(Manner::Hang).await;
    let urls = (format!("https://{hanging}/events"), format!("http://{hanging}/events"));
    let limits = Limits { request: Duration::from_millis(200) };
    let missed = look_within(ingest(&pki, urls.0, urls.1), limits).await.unwrap_err();
    assert_eq!(missed.status, Status::TimedOut, "{missed}");
    assert!(begin.elapsed() < Duration::from_secs(4));

    let missed = look(config(pki.folder.path())).await.unwrap_err();
    assert_eq!(missed.status, Status::Skipped);
    assert!(missed.detail.contains("[ingest]"), "{missed}");
}

#[tokio::test]
async fn peers_that_babble_or_mix_up_tls_and_plaintext_are_told() {
    let pki = Pki::new();
    let babbling = peer(Manner::Say(b"\x05\xffno protocol at all\r\n\r\n")).await;
    let tls = tls_edge(&pki).await;
    for address in [&babbling, &tls.address] {
        let urls = (format!("https://{babbling}/events"), format!("http://{address}/events"));
        let observation = look(ingest(&pki, urls.0, urls.1)).await.unwrap();
        let kinds: Vec<_> = observation.requests.iter().map(|r| r.answer.failure().unwrap().kind).collect();
        assert_eq!(kinds[..3], [FailureKind::Protocol; 3], "{observation:#?}");
        assert_eq!(kinds[3], FailureKind::Protocol, "{observation:#?}");
        assert_eq!(facts(&observation).plaintext, Some(Plaintext::Refuses));
    }
    let closing = peer(Manner::Close).await;
    let urls = (format!("https://{closing}/events"), format!("http://{closing}/events"));
    let observation = look(ingest(&pki, urls.0, urls.1)).await.unwrap();
    for request in &observation.requests {
        assert_eq!(request.answer.failure().unwrap().kind, FailureKind::Closed, "{request:?}");
    }
}
