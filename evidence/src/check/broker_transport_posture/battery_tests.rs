//! What the answers to the battery say, and what they do not.

use super::super::{Dialled, Source, Transport};
use super::*;

fn connack(code: u8) -> Look<Connack> {
    Look::Seen(Connack { code, micros: 1 })
}

fn failed(kind: FailureKind, detail: &str) -> Look<Connack> {
    Look::Failed(Failure::new(kind, detail))
}

fn alert(detail: &str) -> Look<Connack> {
    failed(FailureKind::TlsAlert, detail)
}

fn listener(authenticated: Option<Look<Connack>>) -> Listener {
    Listener {
        address: "127.0.0.1:8883".into(),
        bind: None,
        transport: Transport::Tls,
        source: Source::Configured,
        dial: Look::Seen(Dialled { micros: 1 }),
        versions: Vec::new(),
        anonymous: None,
        authenticated,
        survey: None,
        mqtt: None,
        resumption: None,
        websocket: None,
        battery: None,
        acl: None,
    }
}

fn trial(member: Member, answer: Look<Connack>) -> Trial {
    Trial { member, made: Made::OnTheSpot, certificate: None, copied: None, shown: true, answer }
}

fn read(trials: Vec<Trial>, listener: &Listener, seen: &Seen) -> (serde_json::Value, Unknown) {
    let battery = Battery { connections: 1, connection_limit: 8, trials };
    let mut unknown = Unknown::default();
    let facts = facts(&battery, listener, seen, "/b", &mut unknown);
    (serde_json::to_value(facts).unwrap(), unknown)
}

fn seen() -> Seen {
    Seen { at: "2026-06-01T12:00:00Z".parse().unwrap(), distrust: None }
}

/// `let_in` of one member, or why it is not known.
fn one(trial: Trial, authenticated: Option<Look<Connack>>) -> Result<bool, String> {
    let member = trial.member;
    let (facts, unknown) = read(vec![trial], &listener(authenticated), &seen());
    match facts[member.name()]["let_in"].as_bool() {
        Some(let_in) => Ok(let_in),
        None => Err(unknown.reason(&format!("/b/{member}")).unwrap().to_owned()),
    }
}

#[test]
fn only_connack_0_lets_in_and_only_what_speaks_of_the_client_refuses() {
    let good = || Some(connack(0));
    for (answer, expected) in [
        (connack(0), Ok(true)),
        (connack(5), Err("for want of a user name")),
        (connack(2), Err("for want of a user name")),
        (connack(1), Err("no word about the client")),
        (connack(3), Err("no word about the client")),
        (alert("unknown_ca (48)"), Ok(false)),
        (alert("internal_error (80)"), Ok(false)),
        (failed(FailureKind::Closed, "closed"), Ok(false)),
        (failed(FailureKind::TimedOut, "3 s"), Err("3 s")),
        (failed(FailureKind::Protocol, "garbage"), Err("garbage")),
        (failed(FailureKind::Refused, "nobody"), Err("nobody")),
        (failed(FailureKind::NotFound, "needs this"), Err("needs this")),
    ] {
        match (one(trial(Member::WrongCa, answer.clone()), good()), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{answer:?}"),
            (Err(words), Err(expected)) => assert!(words.contains(expected), "{words}"),
            (found, expected) => panic!("{answer:?}: {found:?} instead of {expected:?}"),
        }
    }
}

/// A broker that turns everybody away has not been seen to look at dates.
#[test]
fn without_a_sound_client_a_refusal_has_to_name_its_reason() {
    assert_eq!(one(trial(Member::WrongCa, alert("unknown_ca (48)")), None), Ok(false));
    for answer in [alert("internal_error (80)"), alert("handshake_failure (40)"), failed(FailureKind::Closed, "closed")]
    {
        assert!(one(trial(Member::WrongCa, answer), None).unwrap_err().contains("no sound client"));
    }
    assert!(one(trial(Member::Expired, alert("certificate_expired (45)")), Some(connack(5))).is_err());
    assert_eq!(one(trial(Member::Expired, alert("certificate_expired (45)")), Some(connack(0))), Ok(false));
    // The battery's own sound client serves as well as the configured one.
    let both = vec![trial(Member::Expired, alert("certificate_expired (45)")), trial(Member::Canary, connack(0))];
    let (facts, _) = read(both, &listener(None), &seen());
    assert_eq!(facts["expired"]["answer"], "certificate_expired (45)");
    assert_eq!((&facts["expired"]["let_in"], &facts["canary"]["let_in"]), (&false.into(), &true.into()));
}

/// A broker that wants a password beside the certificate answers each member alike, whatever it thinks of certificates.
#[test]
fn a_connack_refuses_a_certificate_only_beside_one_that_is_let_in() {
    for code in [2, 4, 5] {
        for (canary, expected) in [(0, Some(false)), (code, None)] {
            let both = vec![trial(Member::Revoked, connack(code)), trial(Member::Canary, connack(canary))];
            let (facts, unknown) = read(both, &listener(Some(connack(0))), &seen());
            assert_eq!(facts["revoked"]["let_in"].as_bool(), expected, "{code}");
            assert_eq!(unknown.reason("/b/revoked").is_some(), expected.is_none());
            assert_eq!(facts["canary"]["let_in"], canary == 0);
        }
    }
}

#[test]
fn a_certificate_of_the_wrong_ca_says_nothing_about_dates() {
    let words = one(trial(Member::Expired, alert("unknown_ca (48)")), Some(connack(0))).unwrap_err();
    assert!(words.contains("refused for its issuer"), "{words}");
    assert_eq!(one(trial(Member::WrongCa, alert("unknown_ca (48)")), Some(connack(0))), Ok(false));
}

#[test]
fn a_certificate_that_was_not_shown_proves_nothing() {
    for answer in [connack(0), connack(5), alert("certificate_required (116)")] {
        let unseen = Trial { shown: false, ..trial(Member::SelfSigned, answer) };
        assert!(one(unseen, Some(connack(0))).unwrap_err().contains("did not ask"));
    }
}

fn supplied(member: Member, from: i32, to: i32, usages: &[rcgen::ExtendedKeyUsagePurpose]) -> Trial {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.not_before = rcgen::date_time_ymd(from, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(to, 1, 1);
    parameters.extended_key_usages = usages.to_vec();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let der = parameters.self_signed(&key).unwrap().der().to_vec();
    Trial { certificate: Some(Bytes(der)), made: Made::Supplied, ..trial(member, connack(0)) }
}

#[test]
fn a_certificate_that_is_not_what_it_is_called_accuses_nobody() {
    use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
    for (trial, words) in [
        (supplied(Member::Expired, 2020, 2025, &[ClientAuth]), None),
        (supplied(Member::Expired, 2020, 2027, &[ClientAuth]), Some("make the battery anew")),
        (supplied(Member::NotYetValid, 2099, 2100, &[ClientAuth]), None),
        (supplied(Member::NotYetValid, 2020, 2100, &[ClientAuth]), Some("make the battery anew")),
        (supplied(Member::Revoked, 2020, 2100, &[ClientAuth]), None),
        (supplied(Member::Revoked, 2020, 2025, &[ClientAuth]), Some("make the battery anew")),
        (supplied(Member::ServerOnly, 2020, 2100, &[ServerAuth]), None),
        (supplied(Member::ServerOnly, 2020, 2100, &[]), Some("for TLS clients too")),
        (supplied(Member::Revoked, 2020, 2100, &[ServerAuth]), Some("not for TLS clients")),
        (supplied(Member::Canary, 2020, 2100, &[]), None),
        (Trial { certificate: Some(Bytes(vec![0x30, 0])), ..supplied(Member::Canary, 2020, 2100, &[]) }, Some("is no")),
    ] {
        match (one(trial.clone(), Some(connack(0))), words) {
            (Ok(true), None) => {}
            (Err(found), Some(words)) => assert!(found.contains(words), "{found}"),
            (found, _) => panic!("{} {found:?}", trial.member),
        }
    }
    let unset = Seen { distrust: Some("clock: it was never set"), ..seen() };
    let trials = vec![supplied(Member::Expired, 2020, 2025, &[ClientAuth])];
    let (facts, unknown) = read(trials, &listener(Some(connack(0))), &unset);
    assert!(facts.get("expired").is_none());
    assert!(unknown.reason("/b/expired").unwrap().starts_with("clock: it was never set"));
}

#[test]
fn what_was_not_asked_is_not_a_fact_and_what_was_is_told() {
    let needs = failed(FailureKind::NotFound, "needs `revoked` of [broker.battery]");
    let (facts, unknown) = read(vec![trial(Member::Revoked, needs)], &listener(None), &seen());
    assert_eq!(facts, serde_json::json!({ "asked": ["revoked"] }));
    assert!(unknown.reason("/b/revoked").unwrap().contains("needs `revoked`"));
    assert_eq!(unknown.reason("/b/expired"), None);
}
