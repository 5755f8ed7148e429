//! What follows from looks at a served certificate that were made by hand.

use super::*;
use crate::look::{Failure, FailureKind};

fn observation() -> Observation {
    Observation {
        address: "127.0.0.1:8883".into(),
        server_name: "broker.local".into(),
        chain: vec![Bytes(b"garbage".to_vec())],
        anchors: None,
        file: None,
        key_file: None,
        refusal: None,
        possession: None,
        staple: None,
        crls: None,
        file_mode: None,
        key_fingerprint: None,
    }
}

fn normalise(observation: &Observation, distrust: Option<&'static str>) -> (Facts, Unknown) {
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust };
    (Check::normalise(observation, &seen, &mut unknown), unknown)
}

fn good() -> Vec<u8> {
    rcgen::generate_simple_self_signed(vec!["broker.local".into()]).unwrap().cert.der().to_vec()
}

#[test]
fn garbage_is_a_fact_and_the_rest_is_unknown_in_the_parsers_words() {
    let (facts, unknown) = normalise(&observation(), None);
    assert!(!facts.certificate.unwrap().parses);
    assert!(unknown.reason("/certificate/expired").unwrap().contains("does not parse"));
    assert_eq!(facts.name_matches, None);
}

#[test]
fn a_clock_that_is_not_believed_hides_the_dates_and_nothing_else() {
    let observation = Observation { chain: vec![Bytes(good())], ..observation() };
    let (facts, unknown) = normalise(&observation, Some("clock: wrong"));
    assert_eq!(facts.certificate.unwrap().expired, None);
    assert_eq!(unknown.reason("/certificate/expired"), Some("clock: wrong"));
    assert_eq!(facts.name_matches, Some(true));
}

#[test]
fn the_served_leaf_is_compared_with_the_file_on_disk() {
    let leaf = good();
    let file =
        |der: Vec<u8>| Some(Look::Seen(CertificateFile { path: "/etc/broker.pem".into(), chain: vec![Bytes(der)] }));
    let served = Observation { chain: vec![Bytes(leaf.clone())], file: file(leaf), ..observation() };
    assert_eq!(normalise(&served, None).0.served_is_file, Some(true));
    let renewed = Observation { file: file(good()), ..served.clone() };
    assert_eq!(normalise(&renewed, None).0.served_is_file, Some(false));
    let hidden = Observation { file: Some(Look::Failed(Failure::new(FailureKind::Denied, "no"))), ..served };
    let (facts, unknown) = normalise(&hidden, None);
    assert_eq!((facts.served_is_file, facts.file_configured), (None, true));
    assert_eq!(unknown.reason("/served_is_file"), Some("denied: no"));
}

#[test]
fn modes_are_read_as_octal() {
    let file = |mode: &str| FileMode { path: "/k".into(), mode: mode.into(), uid: 0, gid: 0 };
    assert_eq!(file("0640").open_to_others(), Some(false));
    assert_eq!(file("0644").open_to_others(), Some(true));
    assert_eq!(file("0602").open_to_others(), Some(true));
    assert_eq!(file("rw").open_to_others(), None);
}

#[test]
fn a_listener_that_shows_nothing_is_one_fact_and_hides_the_others() {
    let refusal = Some(Failure::new(FailureKind::TlsAlert, "handshake_failure (40)"));
    let (facts, unknown) = normalise(&Observation { chain: vec![], refusal, ..observation() }, None);
    assert_eq!((facts.certificate_shown, facts.certificate), (false, None));
    let reason = unknown.reason("/certificate/expired").unwrap();
    assert!(reason.contains("handshake_failure"), "{reason}");
    assert_eq!(unknown.reason("/served_is_file"), Some(reason));
}

#[test]
fn what_lies_on_disk_is_held_against_itself() {
    let made = rcgen::generate_simple_self_signed(vec!["broker.local".into()]).unwrap();
    let leaf = made.cert.der().to_vec();
    let file =
        |der: Vec<u8>| Some(Look::Seen(CertificateFile { path: "/etc/broker.pem".into(), chain: vec![Bytes(der)] }));
    let fits = Observation {
        file: file(leaf.clone()),
        key_fingerprint: Some(Look::Seen(public_key(&leaf).unwrap())),
        ..observation()
    };
    let (facts, _) = normalise(&fits, None);
    assert_eq!((facts.file_loads, facts.key_loads, facts.key_fits_file), (Some(true), Some(true), Some(true)));
    let (facts, _) = normalise(&Observation { file: file(good()), ..fits.clone() }, None);
    assert_eq!(facts.key_fits_file, Some(false));
    for (kind, loads) in [
        (FailureKind::NotFound, Some(false)),
        (FailureKind::Unparseable, Some(false)),
        (FailureKind::Denied, None),
        (FailureKind::TooLarge, None),
    ] {
        let failed = Observation {
            file: Some(Look::Failed(Failure::new(kind, "x"))),
            key_fingerprint: Some(Look::Failed(Failure::new(kind, "x"))),
            ..observation()
        };
        let (facts, unknown) = normalise(&failed, None);
        assert_eq!((facts.file_loads, facts.key_loads, facts.key_fits_file), (loads, loads, None), "{kind}");
        assert!(unknown.reason("/key_fits_file").is_some());
    }
}

#[test]
fn evidence_from_before_is_written_as_it_was() {
    let old = serde_json::json!({
        "address": "127.0.0.1:8883", "server_name": "broker.local", "chain": ["Z2FyYmFnZQ=="],
        "anchors": null, "file": null, "key_file": null,
    });
    let read: Observation = serde_json::from_value(old.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), old);
    assert_eq!(read, observation());
}
