//! Sources that agree and disagree, devices that are silent, challenges that hold and do not, and what a fleet shares.

use super::*;
use crate::look::FailureKind;

fn facts_of(sources: Vec<Source>) -> (DeviceFacts, Unknown) {
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let device =
        Device { id: "stm32-01".into(), sources, anchors: None, earlier: Vec::new(), contact_every_hours: None };
    let observation = Observation { device: Some(device), registry: None };
    (Check::normalise(&observation, &seen, &mut unknown).device.unwrap(), unknown)
}

fn source(kind: SourceKind, chain: Look<Vec<Bytes>>) -> Source {
    Source { kind, location: "somewhere".into(), chain, possession: kind == SourceKind::TlsEndpoint, challenge: None }
}

fn certificate(name: &str) -> Look<Vec<Bytes>> {
    let der = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap().cert.der().to_vec();
    Look::Seen(vec![Bytes(der)])
}

#[test]
fn the_first_readable_source_is_the_certificate_and_the_others_must_agree() {
    let one = certificate("stm32-01");
    let (facts, _) =
        facts_of(vec![source(SourceKind::TlsEndpoint, one.clone()), source(SourceKind::Registry, one.clone())]);
    assert_eq!((facts.sources_agree, facts.identity_matches), (Some(true), Some(true)));
    assert!(facts.possession_proven);
    let (facts, _) =
        facts_of(vec![source(SourceKind::TlsEndpoint, one), source(SourceKind::Registry, certificate("stm32-02"))]);
    assert_eq!(facts.sources_agree, Some(false));
}

#[test]
fn a_device_that_does_not_answer_is_unknown_with_its_reason() {
    let silent = source(SourceKind::TlsEndpoint, Look::Failed(Failure::new(FailureKind::TimedOut, "5 s")));
    let (facts, unknown) = facts_of(vec![silent.clone()]);
    assert_eq!((facts.certificate, facts.possession_proven), (None, false));
    assert_eq!(unknown.reason("/device/certificate/expired"), Some("somewhere: timed out: 5 s"));
    let (facts, unknown) = facts_of(vec![silent, source(SourceKind::Registry, certificate("stm32-09"))]);
    assert_eq!((facts.sources_agree, facts.identity_matches), (None, Some(false)));
    assert!(unknown.reason("/device/sources_agree").is_some());
}

#[test]
fn the_registry_says_who_is_missing_and_who_is_not_expected() {
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let registry = Registry {
        path: "/registry".into(),
        expected: list(&["a", "b"]),
        found: list(&["b", "c"]),
        unreadable: BTreeMap::new(),
    };
    let facts = registry_facts(&registry);
    assert_eq!((facts.missing, facts.unexpected), (list(&["a"]), list(&["c"])));
}
