//! The ingest edge's probe against edges in several postures, and against peers that are none.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Edge, Manner, Pki, closed_port, config, http_edge, peer, server_config};
use gatepost::config::{Config, Ingest};
use gatepost::probe::Missed;
use gatepost::probe::ingest_auth::{Limits, observe};
use gatepost_evidence::check::ingest_auth::questions::RateLimit;
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
        expired_token_file: Some(pki.write("expired", "the-old-token")),
        ..Ingest::default()
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
    observe(Arc::new(config), limits).await
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
    let posts = heard.iter().filter(|request| request.starts_with("POST "));
    assert!(posts.clone().all(|request| request.contains("gatepost.canary")), "{heard:?}");
    let questions = observation.questions.as_ref().unwrap().seen().unwrap();
    // Those that look at TLS alone end before there is a request.
    assert_eq!(heard.iter().filter(|request| !request.is_empty()).count(), questions.made as usize - 1);
    assert!(questions.made < questions.limit, "{}", questions.made);
    let http = facts.http.as_ref().unwrap();
    assert_eq!(http.expired_accepted, Some(false));
    for list in [&http.malformed_accepted, &http.altered_accepted, &http.methods_accepted, &http.paths_accepted] {
        assert_eq!(list.as_deref(), Some(&[][..]), "{http:?}");
    }
    assert_eq!((&http.headers_accepted, http.cached_accepted), (&Some(vec![]), Some(false)));
    let transport = facts.transport.as_ref().unwrap();
    assert_eq!(
        (transport.chain_trusted, transport.name_matches, transport.tls13),
        (Some(true), Some(true), Some(true))
    );
    let session = transport.resumption.as_ref().unwrap();
    assert_eq!((session.early_data, session.resumed), (Some(false), Some(true)));
    let answer = |index: usize| observation.requests[index].answer.seen().unwrap();
    assert_eq!(answer(0).headers["www-authenticate"], "Bearer");
    assert_eq!(answer(2).headers.keys().collect::<Vec<_>>(), ["server"]);
    let recorded = serde_json::to_string(&observation).unwrap();
    for secret in [TOKEN, "private", "the-old-token", "THE-RIGHT-TOKEN", &TOKEN[..TOKEN.len() / 2]] {
        assert!(!recorded.contains(secret), "{secret} in {recorded}");
    }
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
    assert_eq!(edge.heard().len(), 3, "an edge that takes everything is not asked how it could be brought to");
    assert!(edge.heard().iter().all(|request| !request.contains(TOKEN)));
}

#[tokio::test]
async fn an_edge_whose_certificate_does_not_verify_hears_no_credentials() {
    let pki = Pki::new();
    let edge = tls_edge(&pki).await;
    let mut config = ingest(&pki, format!("https://{}/events", edge.address), nowhere());
    let other = pki.write("other.pem", common::Authority::new("another").pem);
    config.ingest.as_mut().unwrap().ca_file = Some(other);
    let observation = look(config.clone()).await.unwrap();
    let right = observation.requests.iter().find(|request| request.credentials == Credentials::Right).unwrap();
    let failure = right.answer.failure().unwrap();
    assert!(failure.kind == FailureKind::Error && failure.detail.contains("UnknownIssuer"), "{failure}");
    let first = facts(&observation);
    assert_eq!((first.unauthenticated_accepted, first.right_credentials_accepted), (Some(false), None));
    assert_eq!(first.transport.unwrap().chain_trusted, Some(false));
    for part in [TOKEN, "THE-RIGHT-TOKEN", &TOKEN[..TOKEN.len() / 2], "the-old-token"] {
        assert!(edge.heard().iter().all(|request| !request.contains(part)), "{part}");
    }
    config.ingest.as_mut().unwrap().ca_file = Some(pki.path("missing"));
    let observation = look(config).await.unwrap();
    assert_eq!(observation.requests[2].answer.failure().unwrap().kind, FailureKind::NotFound);
}

#[tokio::test]
async fn a_query_goes_to_no_host_that_has_not_shown_its_certificate() {
    let pki = Pki::new();
    let edge = tls_edge(&pki).await;
    let mut config = ingest(&pki, format!("https://{}/events?key=private", edge.address), nowhere());
    let other = pki.write("other.pem", common::Authority::new("another").pem);
    config.ingest.as_mut().unwrap().ca_file = Some(other);
    look(config).await.unwrap();
    assert!(edge.heard().iter().all(|request| !request.contains("private")), "{:?}", edge.heard());
}

#[tokio::test]
async fn four_requests_are_all_where_it_should_not_be_thorough() {
    let pki = Pki::new();
    let edge = tls_edge(&pki).await;
    let mut config = ingest(&pki, format!("https://{}/events", edge.address), nowhere());
    config.ingest.as_mut().unwrap().thorough = false;
    let observation = look(config).await.unwrap();
    assert!(observation.questions.is_none());
    assert_eq!(edge.heard().iter().filter(|request| !request.is_empty()).count(), 3);
    assert_eq!(facts(&observation).http, None);
}

#[tokio::test]
async fn an_edge_that_asks_to_slow_down_is_left_alone() {
    let pki = Pki::new();
    let config = server_config(&pki.authority.server(), None, rustls::ALL_VERSIONS);
    let slow = |request: &str| match request.starts_with("GET ") {
        true => "HTTP/1.1 429 Too Many Requests\r\nretry-after: 60\r\ncontent-length: 0\r\n\r\n".into(),
        false => hardened(request),
    };
    let edge = http_edge(Some(config), slow).await;
    let observation = look(ingest(&pki, format!("https://{}/events", edge.address), nowhere())).await.unwrap();
    // Two first, a path that nobody has, GET there; then only the right ones and what follows from them.
    assert_eq!(edge.heard().iter().filter(|request| !request.is_empty()).count(), 5);
    let facts = facts(&observation);
    let http = facts.http.unwrap();
    assert_eq!(http.rate_limit, Some(RateLimit::Enforced));
    assert_eq!((http.paths_accepted, facts.right_credentials_accepted), (None, Some(true)));
    let session = observation.transport.unwrap().resumption.unwrap();
    assert!(session.failure().unwrap().detail.contains("left alone"), "{session:?}");
}

#[tokio::test]
async fn an_edge_that_lets_nobody_in_gives_its_tickets_to_the_configured_client() {
    let pki = Pki::new();
    let mut server = server_config(&pki.authority.server(), Some(&pki.authority), rustls::ALL_VERSIONS);
    server.max_early_data_size = 1024;
    let edge = http_edge(Some(server), hardened).await;
    let mut ours = ingest(&pki, format!("https://{}/events", edge.address), nowhere());
    if let Some(ingest) = &mut ours.ingest {
        ingest.client_certificate = Some(pki.path("client.pem"));
        ingest.client_key = Some(pki.path("client.key"));
    }
    let told = |observation| facts(&observation).transport.unwrap().resumption;
    let session = told(look(ours.clone()).await.unwrap()).unwrap();
    assert_eq!((session.early_data, session.resumed), (Some(true), Some(true)));
    // Without the key's file, what is wrong with it is told, not what the edge makes of nobody.
    if let Some(ingest) = &mut ours.ingest {
        ingest.client_key = Some(pki.path("gone.key"));
    }
    let observation = look(ours).await.unwrap();
    let failure = observation.transport.unwrap().resumption.unwrap();
    assert!(failure.failure().unwrap().detail.contains("gone.key"), "{failure:?}");
}

#[tokio::test]
async fn redirects_in_circles_are_not_followed_and_no_other_host_hears_anything() {
    let pki = Pki::new();
    let config = server_config(&pki.authority.server(), None, rustls::ALL_VERSIONS);
    let elsewhere = http_edge(None, exposed).await;
    let circle = |request: &str| {
        let line = request.lines().next().unwrap_or_default();
        let path = line.split(' ').nth(1).unwrap_or("/");
        format!("HTTP/1.1 307 Temporary Redirect\r\nlocation: {path}\r\ncontent-length: 0\r\n\r\n")
    };
    let edge = http_edge(Some(config), circle).await;
    let urls = (format!("https://{}/events", edge.address), format!("http://{}/events", elsewhere.address));
    let observation = look(ingest(&pki, urls.0, urls.1)).await.unwrap();
    let questions = observation.questions.as_ref().unwrap().seen().unwrap();
    assert!(edge.heard().len() < questions.limit as usize);
    assert_eq!(facts(&observation).right_credentials_accepted, Some(false));
    assert_eq!(elsewhere.heard().len(), 1);
    for part in [TOKEN, "THE-RIGHT-TOKEN", &TOKEN[..TOKEN.len() / 2], "the-old-token"] {
        assert!(elsewhere.heard().iter().all(|request| !request.contains(part)), "{part}");
    }
}

#[tokio::test]
async fn floods_and_endless_answers_are_cut_off_with_a_reason() {
    let pki = Pki::new();
    type Respond = fn(&str) -> String;
    let cases: [(Respond, &str); 4] = [
        (|_| "HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000), "interim answers"),
        (|_| format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "a".repeat(100_000)), "more than 32768 bytes"),
        (|_| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(1_000)), "more than 128 fields"),
        (|_| "\u{1}\u{2}\u{3}\u{0}".repeat(50_000), "not HTTP/1"),
    ];
    for (respond, words) in cases {
        let config = server_config(&pki.authority.server(), None, rustls::ALL_VERSIONS);
        let edge = http_edge(Some(config), respond).await;
        let observation = look(ingest(&pki, format!("https://{}/events", edge.address), nowhere())).await.unwrap();
        for request in observation.requests.iter().filter(|request| !request.plaintext) {
            let failure = request.answer.failure().unwrap();
            assert!(failure.detail.contains(words), "{words}: {failure}");
        }
        assert!(observation.questions.unwrap().failure().unwrap().detail.contains(words));
        assert!(edge.heard().len() < 200);
    }
    let endless = |_: &str| format!("HTTP/1.1 401 Unauthorized\r\n\r\n{}", "a".repeat(100_000));
    let config = server_config(&pki.authority.server(), None, rustls::ALL_VERSIONS);
    let edge = http_edge(Some(config), endless).await;
    let observation = look(ingest(&pki, format!("https://{}/events", edge.address), nowhere())).await.unwrap();
    let answer = observation.requests[0].answer.seen().unwrap();
    assert_eq!((answer.status, answer.body.as_ref().unwrap().kind), (401, FailureKind::TooLarge));
}

/// A server that sends a head one byte at a time, for ever.
async fn dripping() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                use tokio::io::AsyncWriteExt as _;
                let mut drops = tokio::time::interval(Duration::from_millis(5));
                let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nx: ").await;
                while stream.write_all(b"a").await.is_ok() {
                    drops.tick().await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_slow_drip_is_given_up_in_time() {
    let pki = Pki::new();
    let mut config = ingest(&pki, format!("http://{}/events", dripping().await), String::new());
    config.ingest.as_mut().unwrap().plaintext_url = None;
    let begin = Instant::now();
    let limits = Limits { request: Duration::from_millis(200), ..Limits::default() };
    let missed = look_within(config, limits).await.unwrap_err();
    assert_eq!(missed.status, Status::TimedOut, "{missed}");
    assert!(begin.elapsed() < Duration::from_secs(120));
}

#[tokio::test]
async fn peers_that_lie_within_http_are_told_and_bounded() {
    let pki = Pki::new();
    for (answer, words) in [
        ("HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nabc", None),
        ("HTTP/1.1 202 Accepted\r\ncontent-le", Some("within the head")),
        ("HTTP/1.1 20", Some("within the head")),
        ("SSH-2.0-OpenSSH\r\n", Some("not HTTP")),
    ] {
        let plain = peer(Manner::Say(answer.as_bytes())).await;
        let mut config = ingest(&pki, format!("http://{plain}/events"), String::new());
        config.ingest.as_mut().unwrap().plaintext_url = None;
        let limits = Limits { request: Duration::from_millis(300), ..Limits::default() };
        let result = look_within(config, limits).await;
        match (result, words) {
            (Ok(observation), None) => {
                let answer = observation.requests[0].answer.seen().unwrap();
                assert_eq!((answer.status, answer.body.as_ref().unwrap().kind), (202, FailureKind::TimedOut));
            }
            (Ok(observation), Some(words)) => {
                let failure = observation.requests[0].answer.failure().unwrap();
                assert!(failure.detail.contains(words), "{failure}");
            }
            (Err(missed), _) => assert_eq!(missed.status, Status::TimedOut, "{answer}: {missed}"),
        }
    }
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
    // The second asks whether a header takes the redirect away.
    assert_eq!(plain.heard().len(), 2);
    assert!(plain.heard()[1].contains("x-forwarded-proto: https"));
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
    let limits = Limits { request: Duration::from_millis(200), ..Limits::default() };
    let missed = look_within(ingest(&pki, urls.0, urls.1), limits).await.unwrap_err();
    assert_eq!(missed.status, Status::TimedOut, "{missed}");
    assert!(begin.elapsed() < Duration::from_secs(120));

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
