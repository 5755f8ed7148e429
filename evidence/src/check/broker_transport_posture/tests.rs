//! Facts of listeners from what was seen of them, and old observations that stay readable.

use super::*;

fn seen() -> Seen {
    Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None }
}

fn failed<T>(kind: FailureKind) -> Look<T> {
    Look::Failed(Failure::new(kind, "as told"))
}

fn listener(transport: Transport) -> Listener {
    Listener {
        address: "127.0.0.1:8883".into(),
        bind: None,
        transport,
        source: Source::Configured,
        dial: Look::Seen(Dialled { micros: 40 }),
        versions: Vec::new(),
        anonymous: Some(Look::Seen(Connack { code: 5, micros: 900 })),
        authenticated: None,
        survey: None,
        mqtt: None,
        resumption: None,
        websocket: None,
    }
}

fn facts(listener: Listener) -> (ListenerFacts, Unknown) {
    let mut unknown = Unknown::default();
    let observation = Observation { server_name: "broker".into(), listeners: vec![listener], http_apis: Vec::new() };
    let mut facts = Check::normalise(&observation, &seen(), &mut unknown);
    (facts.listeners.pop_first().unwrap().1, unknown)
}

#[test]
fn a_refused_listener_is_closed_and_the_rest_is_unknown() {
    let (facts, unknown) = facts(Listener { dial: failed(FailureKind::Refused), ..listener(Transport::Plaintext) });
    assert_eq!((facts.open, facts.anonymous_accepted), (Some(false), None));
    assert_eq!(unknown.reason("/listeners/127.0.0.1:8883/anonymous_accepted"), Some("refused: as told"));
}

#[test]
fn a_listener_bound_to_every_interface_is_public_though_it_was_dialled_on_loopback() {
    let (facts, _) = facts(Listener { bind: Some("*".into()), ..listener(Transport::Plaintext) });
    assert_eq!(facts.scope, Scope::Public);
}

#[test]
fn a_silent_listener_is_neither_open_nor_closed() {
    let (facts, unknown) = facts(Listener { dial: failed(FailureKind::TimedOut), ..listener(Transport::Plaintext) });
    assert_eq!(facts.open, None);
    assert!(unknown.reason("/listeners/127.0.0.1:8883/open").is_some());
}

#[test]
fn only_code_0_is_acceptance_and_garbage_is_no_answer() {
    for (look, expected) in [
        (Look::Seen(Connack { code: 0, micros: 1 }), Some(true)),
        (Look::Seen(Connack { code: 4, micros: 1 }), Some(false)),
        (failed(FailureKind::TlsAlert), Some(false)),
        (failed(FailureKind::Closed), None),
        (failed(FailureKind::Protocol), None),
        (failed(FailureKind::TimedOut), None),
    ] {
        let (facts, unknown) = facts(Listener { anonymous: Some(look), ..listener(Transport::Plaintext) });
        assert_eq!(facts.anonymous_accepted, expected);
        let reason = unknown.reason("/listeners/127.0.0.1:8883/anonymous_accepted");
        assert_eq!(reason.is_some(), expected.is_none());
    }
}

fn offer(version: TlsVersion, requested: bool, handshake: Look<Handshake>) -> VersionOffer {
    VersionOffer { version, client_certificate_requested: requested, accepted_issuers: Vec::new(), handshake }
}

#[test]
fn a_peer_that_closes_every_connection_was_not_seen_to_refuse_anything() {
    let closed = |tls12| Listener {
        versions: vec![
            offer(TlsVersion::Tls12, false, tls12),
            offer(TlsVersion::Tls13, false, failed(FailureKind::Closed)),
        ],
        anonymous: Some(failed(FailureKind::Closed)),
        ..listener(Transport::Tls)
    };
    let (silent, unknown) = facts(closed(failed(FailureKind::Closed)));
    assert_eq!((silent.tls12, silent.tls13, silent.anonymous_accepted), (None, None, None));
    assert!(unknown.reason("/listeners/127.0.0.1:8883/tls13").is_some());
    let (older, _) = facts(closed(Look::Seen(Handshake { cipher_suite: "A".into(), group: None, micros: 1 })));
    assert_eq!((older.tls12, older.tls13, older.anonymous_accepted), (Some(true), Some(false), None));
}

#[test]
fn where_a_certificate_is_asked_for_closing_is_refusing() {
    let (facts, _) = facts(Listener {
        versions: vec![offer(TlsVersion::Tls13, true, failed(FailureKind::Closed))],
        anonymous: Some(failed(FailureKind::Closed)),
        ..listener(Transport::Tls)
    });
    assert_eq!((facts.anonymous_accepted, facts.tls13), (Some(false), Some(true)));
}

#[test]
fn a_version_counts_as_accepted_once_the_server_asks_for_a_certificate() {
    let (facts, _) = facts(Listener {
        versions: vec![
            offer(TlsVersion::Tls12, true, failed(FailureKind::TlsAlert)),
            offer(TlsVersion::Tls13, false, failed(FailureKind::TlsAlert)),
        ],
        anonymous: Some(failed(FailureKind::TlsAlert)),
        ..listener(Transport::Tls)
    });
    assert_eq!((facts.tls12, facts.tls13), (Some(true), Some(false)));
    assert_eq!(facts.client_certificate, Some(ClientCertificate::Required));
}

/// What version 1 recorded: no survey, and no facts of one, not even a reason.
#[test]
fn an_observation_of_version_1_is_read_as_it_was() {
    let with_survey = Listener { survey: None, ..listener(Transport::Tls) };
    let written = serde_json::to_value(&with_survey).unwrap();
    assert!(written.get("survey").is_none());
    let (facts, unknown) = facts(serde_json::from_value(written).unwrap());
    assert_eq!(facts.tls, None);
    assert_eq!(unknown.reason("/listeners/127.0.0.1:8883/tls/ssl3"), None);
    let check = crate::check::find(Check::CHECK).unwrap();
    assert_eq!((check.oldest, check.version), (1, 2));
}

#[test]
fn a_survey_that_failed_hides_its_facts_and_one_that_did_not_knows_better_than_a_handshake() {
    let versions = vec![offer(TlsVersion::Tls12, false, failed(FailureKind::TlsAlert))];
    let silent = Listener {
        versions: versions.clone(),
        survey: Some(failed(FailureKind::TimedOut)),
        ..listener(Transport::Tls)
    };
    let (hidden, unknown) = facts(silent);
    assert_eq!((hidden.tls, hidden.tls12), (None, Some(false)));
    assert_eq!(unknown.reason("/listeners/127.0.0.1:8883/tls/ssl3"), Some("timed out: as told"));
    let survey: Survey = serde_json::from_value(serde_json::json!({
        "connections": 1, "connection_limit": 240, "millis": 1, "fallback": null, "alpn": null,
        "versions": [{
            "version": "tls1.2", "suites": ["003c"], "end": {"seen": {"alert": {"level": 2, "description": 40}}},
            "order": null, "groups": [], "groups_end": null, "dh": [], "extensions": ["ff01"], "compression": [0],
            "session_id": true, "downgrade_mark": false
        }]
    }))
    .unwrap();
    let (facts, _) = facts(Listener { versions, survey: Some(Look::Seen(survey)), ..listener(Transport::Tls) });
    // A handshake with modern suites alone was refused, and the version is accepted all the same.
    assert_eq!(facts.tls12, Some(true));
    assert_eq!(facts.tls.unwrap().tls12_aead, Some(false));
}

#[test]
fn scopes_follow_the_address_registries() {
    for (host, scope) in [
        ("127.0.0.1", Scope::Loopback),
        ("[::1]", Scope::Loopback),
        ("::ffff:127.0.0.1", Scope::Loopback),
        ("192.168.1.2", Scope::Lan),
        ("169.254.0.1", Scope::Lan),
        ("fd00::1", Scope::Lan),
        ("fe80::1", Scope::Lan),
        ("0.0.0.0", Scope::Public),
        ("::", Scope::Public),
        ("8.8.8.8", Scope::Public),
        ("localhost", Scope::Loopback),
        ("*", Scope::Public),
        ("broker.example", Scope::Name),
    ] {
        assert_eq!(Scope::of(host), scope, "{host}");
    }
}
