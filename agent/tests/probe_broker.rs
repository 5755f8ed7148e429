//! The broker's probes against a real Mosquitto in several postures, and against peers that are no broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::{Manner, Mosquitto, Pki, closed_port, config, peer, server_config, short, tls_server};
use gatepost::config::Config;
use gatepost::probe::wire::Limits;
use gatepost::probe::{broker_certificate_identity, broker_transport_posture};
use gatepost_evidence::check::broker_transport_posture::{
    Check, ClientCertificate, Facts, Listener, ListenerFacts, Observation, Source, Transport,
};
use gatepost_evidence::check::{Contract, Seen, Unknown};
use gatepost_evidence::look::{FailureKind, Look};
use gatepost_evidence::run::Status;

async fn observe(config: Config, limits: Limits) -> Observation {
    broker_transport_posture::observe(Arc::new(config), limits).await.unwrap()
}

fn facts(observation: &Observation) -> Facts {
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    Check::normalise(observation, &seen, &mut Unknown::default())
}

fn only(observation: &Observation) -> (&Listener, ListenerFacts) {
    assert_eq!(observation.listeners.len(), 1, "{observation:#?}");
    (&observation.listeners[0], facts(observation).listeners.pop_first().unwrap().1)
}

/// A client with everything: its certificate, a user name and a password.
fn with_client(pki: &Pki, mut config: Config) -> Config {
    config.broker.ca_file = Some(pki.path("ca.pem"));
    config.broker.client_certificate = Some(pki.path("client.pem"));
    config.broker.client_key = Some(pki.path("client.key"));
    config.broker.username = Some("gateway".into());
    config.broker.password_file = Some(pki.write("password", "correct horse\n"));
    config
}

#[tokio::test]
async fn an_anonymous_plaintext_broker_is_seen_as_such() {
    let pki = Pki::new();
    let broker = Mosquitto::start(pki.folder.path(), "allow_anonymous true\n");
    let mut config = with_client(&pki, pki.config());
    config.broker.plaintext = vec![broker.address()];
    let observation = observe(config, Limits::default()).await;
    let (listener, facts) = only(&observation);
    assert_eq!(listener.source, Source::Configured);
    assert_eq!((facts.open, facts.anonymous_accepted), (Some(true), Some(true)));
    // Whatever is configured, credentials do not go over plaintext.
    assert_eq!(listener.authenticated, None);
    let micros = listener.anonymous.as_ref().unwrap().seen().unwrap().micros;
    assert!(micros < 30_000, "{micros} microseconds to CONNACK: acknowledgements are delayed");
}

#[tokio::test]
async fn a_broker_that_demands_a_password_refuses_the_anonymous_and_takes_the_configured_client() {
    let pki = Pki::new();
    let passwords = pki.path("passwords");
    let made = std::process::Command::new("mosquitto_passwd")
        .args(["-b", "-c", passwords.to_str().unwrap(), "gateway", "correct horse"])
        .status();
    assert!(made.unwrap().success());
    let lines = format!("{}allow_anonymous false\npassword_file {}\n", pki.tls_lines(), passwords.display());
    let broker = Mosquitto::start(pki.folder.path(), &lines);
    let mut config = with_client(&pki, pki.config());
    (config.broker.client_certificate, config.broker.client_key) = (None, None);
    config.broker.tls = vec![format!("localhost:{}", broker.port)];
    let observation = observe(config.clone(), Limits::default()).await;
    assert_eq!(observation.server_name, "localhost");
    let (listener, facts) = only(&observation);
    assert_eq!(listener.anonymous.as_ref().unwrap().seen().unwrap().code, 5);
    assert_eq!((facts.anonymous_accepted, facts.authenticated_accepted), (Some(false), Some(true)));
    assert_eq!((facts.tls12, facts.tls13), (Some(true), Some(true)));
    assert_eq!(facts.client_certificate, Some(ClientCertificate::NotRequested));
    let suites = facts.cipher_suites.unwrap();
    assert!(suites[0].starts_with("TLS_ECDHE_") && suites[1].starts_with("TLS_AES_"), "{suites:?}");
    assert_eq!(listener.versions[1].handshake.seen().unwrap().group.as_deref(), Some("x25519"));
    let micros = listener.anonymous.as_ref().unwrap().seen().unwrap().micros;
    assert!(micros < 30_000, "{micros} microseconds to CONNACK: acknowledgements are delayed");

    config.broker.password_file = Some(pki.write("password", "wrong"));
    let observation = observe(config, Limits::default()).await;
    let (_, facts) = only(&observation);
    assert_eq!(facts.authenticated_accepted, Some(false));
}

#[tokio::test]
async fn a_broker_that_demands_a_certificate_says_so_in_both_versions() {
    let pki = Pki::new();
    let lines = format!("{}require_certificate true\nuse_identity_as_username true\n", pki.tls_lines());
    let broker = Mosquitto::start(pki.folder.path(), &lines);
    let mut config = with_client(&pki, pki.config());
    (config.broker.username, config.broker.password_file) = (None, None);
    config.broker.tls = vec![broker.address()];
    let observation = observe(config, Limits::default()).await;
    let (listener, facts) = only(&observation);
    assert_eq!(facts.client_certificate, Some(ClientCertificate::Required));
    assert_eq!((facts.anonymous_accepted, facts.authenticated_accepted), (Some(false), Some(true)));
    assert_eq!((facts.tls12, facts.tls13), (Some(true), Some(true)));
    // Mosquitto 2.0 keeps the names of its authorities to itself.
    assert!(listener.versions.iter().all(|offer| offer.accepted_issuers.is_empty()));
    // TLS 1.2 refuses within the handshake, TLS 1.3 after it.
    assert_eq!(listener.versions[0].handshake.failure().unwrap().kind, FailureKind::TlsAlert);
    assert!(listener.versions[1].handshake.seen().is_some());
    let refusal = listener.anonymous.as_ref().unwrap().failure().unwrap();
    assert_eq!((refusal.kind, refusal.detail.as_str()), (FailureKind::TlsAlert, "certificate_required (116)"));
}

#[tokio::test]
async fn a_broker_of_tls_13_alone_refuses_12() {
    let pki = Pki::new();
    let lines = format!("{}tls_version tlsv1.3\nallow_anonymous true\n", pki.tls_lines());
    let broker = Mosquitto::start(pki.folder.path(), &lines);
    let mut config = pki.config();
    config.broker.tls = vec![broker.address()];
    let observation = observe(config, Limits::default()).await;
    let (listener, facts) = only(&observation);
    assert_eq!((facts.tls12, facts.tls13), (Some(false), Some(true)));
    assert_eq!(listener.versions[0].handshake.failure().unwrap().detail, "protocol_version (70)");
    assert_eq!((facts.anonymous_accepted, facts.credentials_configured), (Some(true), false));
}

#[tokio::test]
async fn credentials_are_not_sent_to_a_broker_whose_certificate_does_not_verify() {
    let pki = Pki::new();
    let lines = format!("{}allow_anonymous true\n", pki.tls_lines());
    let broker = Mosquitto::start(pki.folder.path(), &lines);
    let mut config = with_client(&pki, pki.config());
    config.broker.tls = vec![broker.address()];
    let authenticated = |observation: &Observation| observation.listeners[0].authenticated.clone().unwrap();

    let mut other_name = config.clone();
    other_name.broker.server_name = Some("another.example".into());
    let mut other_anchor = config.clone();
    other_anchor.broker.ca_file = Some(pki.write("other.pem", common::Authority::new("another").pem));
    for config in [other_name, other_anchor] {
        let look = authenticated(&observe(config, Limits::default()).await);
        let failure = look.failure().unwrap();
        assert_eq!(failure.kind, FailureKind::Error);
        assert!(failure.detail.contains("does not verify"), "{failure}");
    }
    let mut no_anchor = config.clone();
    no_anchor.broker.ca_file = None;
    let look = authenticated(&observe(no_anchor, Limits::default()).await);
    assert!(look.failure().unwrap().detail.contains("ca_file"), "{look:?}");
    config.broker.password_file = Some(pki.path("missing"));
    let look = authenticated(&observe(config, Limits::default()).await);
    assert_eq!(look.failure().unwrap().kind, FailureKind::NotFound);
}

#[tokio::test]
async fn listeners_are_found_in_the_brokers_own_configuration() {
    let pki = Pki::new();
    let broker = Mosquitto::start(pki.folder.path(), "allow_anonymous true\n");
    let text = std::fs::read_to_string(&broker.configuration).unwrap();
    let closed = closed_port();
    let mut config = pki.config();
    config.host.root = "/".into();
    config.broker.configuration_file = Some(pki.write("m.conf", format!("{text}listener {closed} 127.0.0.1\n")));
    config.broker.plaintext = vec![format!("localhost:{}", broker.port)];
    let observation = observe(config, Limits::default()).await;
    let found: Vec<_> = observation.listeners.iter().map(|l| (l.address.clone(), l.source)).collect();
    assert_eq!(
        found,
        [
            (format!("localhost:{}", broker.port), Source::Configured),
            (format!("127.0.0.1:{closed}"), Source::BrokerConfiguration),
        ]
    );
    assert_eq!(observation.listeners[1].dial.failure().unwrap().kind, FailureKind::Refused);
}

#[tokio::test]
async fn a_configuration_that_names_no_listener_is_missed_with_its_reason() {
    let pki = Pki::new();
    let mut config = pki.config();
    config.host.root = "/".into();
    config.broker.configuration_file = Some(pki.path("missing.conf"));
    let missed = broker_transport_posture::observe(Arc::new(config.clone()), short()).await.unwrap_err();
    assert!(missed.status == Status::Error && missed.detail.contains("missing.conf"), "{missed}");
    config.broker.configuration_file = Some(pki.write("m.conf", "listener 1885\nprotocol mqtt-sn\n"));
    let missed = broker_transport_posture::observe(Arc::new(config), short()).await.unwrap_err();
    assert_eq!(missed.status, Status::Skipped);
}

#[tokio::test]
async fn a_broker_that_is_down_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    let (one, other) = (closed_port(), closed_port());
    config.broker.tls = vec![format!("127.0.0.1:{one}")];
    config.broker.plaintext = vec![format!("127.0.0.1:{other}")];
    let config = Arc::new(config);
    let missed = broker_transport_posture::observe(config.clone(), Limits::default()).await.unwrap_err();
    assert_eq!(missed.status, Status::Unreachable);
    assert!(missed.detail.contains(&one.to_string()) && missed.detail.contains(&other.to_string()), "{missed}");
    let missed = broker_certificate_identity::observe(config, Limits::default()).await.unwrap_err();
    assert_eq!(missed.status, Status::Unreachable);
}

#[tokio::test]
async fn peers_that_hang_babble_or_close_are_told_apart_in_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    let http = Manner::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    for (manner, kinds) in [
        (Manner::Hang, [FailureKind::TimedOut, FailureKind::TimedOut]),
        (http, [FailureKind::Protocol, FailureKind::Protocol]),
        (Manner::Say(b"\x20\x02\x00"), [FailureKind::TimedOut, FailureKind::Protocol]),
        // A TLS server that closes has not said anything about clients without credentials.
        (Manner::Close, [FailureKind::Closed, FailureKind::Error]),
    ] {
        let begin = Instant::now();
        let mut config = config(folder.path());
        config.broker.plaintext = vec![peer(manner).await];
        config.broker.tls = vec![peer(manner).await];
        let limits = match manner {
            Manner::Hang => short(),
            // The last bytes of a CONNACK never come.
            Manner::Say(b"\x20\x02\x00") => Limits { answer: short().answer, ..Limits::default() },
            _ => Limits::default(),
        };
        let observation = observe(config.clone(), limits).await;
        for (listener, expected) in observation.listeners.iter().rev().zip(kinds) {
            assert!(listener.dial.seen().is_some());
            let failure = listener.anonymous.as_ref().unwrap().failure().unwrap();
            assert_eq!(failure.kind, expected, "{:?}: {failure}", listener.transport);
            if failure.kind == FailureKind::Protocol {
                assert!(failure.detail.contains("begins with"), "{failure}");
            }
        }
        let missed = broker_certificate_identity::observe(Arc::new(config), limits).await.unwrap_err();
        assert_ne!(missed.status, Status::Observed);
        assert!(begin.elapsed().as_secs() < 120);
    }
}

#[tokio::test]
async fn tls_and_plaintext_mixed_up_are_not_the_protocol() {
    let pki = Pki::new();
    let plain = Mosquitto::start(pki.folder.path(), "allow_anonymous true\n");
    let tls = tls_server(server_config(&pki.authority.server(), None, rustls::ALL_VERSIONS)).await;
    let mut config = pki.config();
    config.broker.tls = vec![plain.address()];
    config.broker.plaintext = vec![tls];
    let observation = observe(config, Limits::default()).await;
    let kind = |index: usize| observation.listeners[index].anonymous.as_ref().unwrap().failure().unwrap().kind;
    assert_eq!(observation.listeners[1].transport, Transport::Plaintext);
    assert_eq!(kind(1), FailureKind::Protocol);
    // Mosquitto closes on a ClientHello; that is no word about clients without credentials.
    assert_eq!(kind(0), FailureKind::Error);
}

#[tokio::test]
async fn everything_ends_when_the_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    for _ in 0..6 {
        config.broker.tls.push(peer(Manner::Hang).await);
    }
    let begin = Instant::now();
    let stage = std::time::Duration::from_millis(400);
    let limits = Limits { handshake: stage, total: stage, at_once: 2, ..short() };
    let observation = observe(config, limits).await;
    assert!(begin.elapsed().as_secs() < 120, "{:?}", begin.elapsed());
    assert_eq!(observation.listeners.len(), 6);
    for listener in &observation.listeners {
        let anonymous = listener.anonymous.as_ref().map(|look| look.failure().unwrap().kind);
        let kind = anonymous.or(listener.dial.failure().map(|failure| failure.kind));
        assert_eq!(kind, Some(FailureKind::TimedOut));
    }
}

#[tokio::test]
async fn the_served_certificate_is_seen_even_where_a_client_certificate_is_demanded() {
    let pki = Pki::new();
    let lines = format!("{}require_certificate true\ntls_version tlsv1.2\n", pki.tls_lines());
    let broker = Mosquitto::start(pki.folder.path(), &lines);
    let mut config = pki.config();
    config.host.root = "/".into();
    config.broker.tls = vec![broker.address()];
    config.broker.ca_file = Some(pki.path("ca.pem"));
    config.broker.configuration_file = Some(broker.configuration.clone());
    let observation = broker_certificate_identity::observe(Arc::new(config), Limits::default()).await.unwrap();
    assert_eq!(observation.server_name, "127.0.0.1");
    let file = observation.file.as_ref().unwrap().seen().unwrap();
    assert_eq!(file.chain[0], observation.chain[0]);
    assert!(matches!(&observation.anchors, Some(Look::Seen(anchors)) if anchors.len() == 1));
    let key = observation.key_file.as_ref().unwrap().seen().unwrap();
    assert_eq!((key.mode.len(), key.path.ends_with("server.key")), (4, true));
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let facts = gatepost_evidence::check::broker_certificate_identity::Check::normalise(
        &observation,
        &seen,
        &mut Unknown::default(),
    );
    assert_eq!((facts.chain_trusted, facts.name_matches, facts.served_is_file), (Some(true), Some(true), Some(true)));
}

#[tokio::test]
async fn without_a_tls_listener_the_certificate_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.broker.plaintext = vec!["127.0.0.1:1883".into()];
    let missed = broker_certificate_identity::observe(Arc::new(config), short()).await.unwrap_err();
    assert_eq!(missed.status, Status::Skipped);
    assert!(missed.detail.contains("no TLS listener"), "{missed}");
}

#[tokio::test]
async fn the_issuers_a_server_names_are_recorded_in_both_versions() {
    let pki = Pki::new();
    let config = server_config(&pki.authority.server(), Some(&pki.authority), rustls::ALL_VERSIONS);
    let mut agent = pki.config();
    agent.broker.tls = vec![tls_server(config).await];
    let observation = observe(agent, Limits::default()).await;
    let (listener, facts) = only(&observation);
    for offer in &listener.versions {
        assert_eq!(offer.accepted_issuers, [format!("CN={}", pki.authority.name)], "{:?}", offer.version);
    }
    assert_eq!(facts.client_certificate, Some(ClientCertificate::Required));
}
