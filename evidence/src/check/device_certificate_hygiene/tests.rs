//! Sources that agree and disagree, devices that are silent, challenges that hold and do not, and what a fleet shares.

use super::*;
use crate::look::FailureKind;

fn facts_of(sources: Vec<Source>) -> (DeviceFacts, Unknown) {
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let device = Device {
        id: "stm32-01".into(),
        sources,
        anchors: None,
        crls: None,
        earlier: Vec::new(),
        contact_every_hours: None,
    };
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
        not_looked_at: None,
        other_entries: None,
        private_keys: Vec::new(),
    };
    let facts = registry_facts(&registry);
    assert_eq!((facts.missing, facts.unexpected), (list(&["a"]), list(&["c"])));
}

mod challenges {
    use rcgen::SigningKey as _;

    use super::super::challenge::belongs;
    use super::*;
    use crate::challenge::Challenge as Question;
    use crate::id::GatewayId;

    const ID: &str = "stm32-01";
    const TOPIC: &str = "gatepost/device/stm32-01/answer";

    fn gateway(name: &str) -> GatewayId {
        GatewayId::new(Digest::of(name.as_bytes()))
    }

    /// What came back from a device with a key of its own, signed for `signed_for`.
    fn answered(signed_for: &str) -> Source {
        let key = rcgen::KeyPair::generate().unwrap();
        let der = rcgen::CertificateParams::new(vec![ID.into()]).unwrap().self_signed(&key).unwrap().der().to_vec();
        let question = Question { gateway: gateway("g"), nonce: [7; 32] };
        let signed = question.signed(Digest::of(&der), TOPIC, signed_for).unwrap();
        let challenge = Challenge {
            gateway: question.gateway,
            nonce: Bytes(question.nonce.to_vec()),
            topic: TOPIC.into(),
            asked: Look::Seen(Asked { subscribed: Some(true), micros: Some(900) }),
            signature: Some(Bytes(key.sign(&signed).unwrap())),
            stale: 0,
            malformed: 0,
            malformed_because: None,
        };
        Source {
            kind: SourceKind::Challenge,
            location: TOPIC.into(),
            chain: Look::Seen(vec![Bytes(der)]),
            possession: false,
            challenge: Some(challenge),
        }
    }

    fn outcome(source: Source) -> (Option<ChallengeOutcome>, bool, Unknown) {
        let (facts, unknown) = facts_of(vec![source]);
        (facts.challenge.unwrap().outcome, facts.possession_proven, unknown)
    }

    fn changed(change: impl FnOnce(&mut Challenge)) -> Source {
        let mut source = answered(ID);
        change(source.challenge.as_mut().unwrap());
        source
    }

    fn unanswered(change: impl FnOnce(&mut Challenge)) -> Source {
        let mut source = changed(change);
        source.chain = Look::Failed(Failure::new(FailureKind::TimedOut, "no answer came in time"));
        source.challenge.as_mut().unwrap().signature = None;
        source
    }

    #[test]
    fn a_signature_over_everything_that_was_asked_proves_the_key() {
        let (outcome, proven, _) = outcome(answered(ID));
        assert_eq!((outcome, proven), (Some(ChallengeOutcome::Proven), true));
        let (facts, _) = facts_of(vec![answered(ID)]);
        assert_eq!(facts.sources["challenge"].possession, Some(true));
    }

    #[test]
    fn every_part_of_it_counts() {
        let wrong = [
            answered("stm32-02"),
            changed(|challenge| challenge.nonce = Bytes(vec![8; 32])),
            changed(|challenge| challenge.nonce = Bytes(vec![7; 31])),
            changed(|challenge| challenge.gateway = gateway("h")),
            changed(|challenge| challenge.topic.push('x')),
            changed(|challenge| challenge.signature = None),
            changed(|challenge| challenge.signature.as_mut().unwrap().0.truncate(60)),
            Source { chain: answered(ID).chain, ..answered(ID) },
        ];
        for (number, source) in wrong.into_iter().enumerate() {
            let (outcome, proven, _) = outcome(source);
            assert_eq!((outcome, proven), (Some(ChallengeOutcome::WrongSignature), false), "{number}");
        }
    }

    #[test]
    fn what_did_not_come_has_its_own_word_and_a_broker_that_failed_has_none() {
        let said = |change: fn(&mut Challenge)| outcome(unanswered(change)).0;
        assert_eq!(said(|_| {}), Some(ChallengeOutcome::Silent));
        assert_eq!(said(|it| (it.stale, it.malformed) = (1, 1)), Some(ChallengeOutcome::Stale));
        assert_eq!(said(|it| it.malformed = 2), Some(ChallengeOutcome::Malformed));
        let nobody = Look::Seen(Asked { subscribed: Some(false), micros: None });
        assert_eq!(outcome(unanswered(|it| it.asked = nobody)).0, Some(ChallengeOutcome::NotSubscribed));
        let refused = Look::Failed(Failure::new(FailureKind::Refused, "127.0.0.1:8883"));
        let (outcome, _, unknown) = outcome(unanswered(|it| it.asked = refused));
        assert_eq!(outcome, None);
        assert!(unknown.reason("/device/challenge/outcome").unwrap().contains("refused"));
    }

    #[test]
    fn a_key_that_cannot_be_checked_is_unknown_and_garbage_is_no_proof() {
        let mut source = answered(ID);
        source.chain = Look::Seen(vec![Bytes(b"garbage".to_vec())]);
        let (outcome, proven, unknown) = outcome(source);
        assert_eq!((outcome, proven), (None, false));
        assert!(unknown.reason("/device/challenge/outcome").unwrap().contains("does not parse"));
    }

    #[test]
    fn the_answer_to_another_gateways_challenge_proves_nothing_here() {
        let device = Device {
            id: ID.into(),
            sources: vec![answered(ID)],
            anchors: None,
            crls: None,
            earlier: Vec::new(),
            contact_every_hours: None,
        };
        let (mut facts, _) = facts_of(device.sources.clone());
        belongs(&device, gateway("g"), &mut facts);
        assert!(facts.possession_proven);
        belongs(&device, gateway("h"), &mut facts);
        assert_eq!(facts.challenge.unwrap().outcome, Some(ChallengeOutcome::OtherGateway));
        assert!(!facts.possession_proven);
    }
}

mod shared {
    use rcgen::{CertificateParams, DnType, Issuer, KeyPair};

    use super::super::fleet::Fleet;
    use super::*;

    fn made(name: &str, serial: u64, key: &KeyPair, issuer: &Issuer<'static, KeyPair>) -> Look<Vec<Bytes>> {
        let mut params = CertificateParams::new(vec![name.into()]).unwrap();
        params.serial_number = Some(serial.into());
        Look::Seen(vec![Bytes(params.signed_by(key, issuer).unwrap().der().to_vec())])
    }

    fn issuer(name: &str) -> Issuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        Issuer::new(params, KeyPair::generate().unwrap())
    }

    /// The facts about each of these devices, beside the others.
    fn fleet(devices: &[(&str, Look<Vec<Bytes>>)]) -> Vec<DeviceFacts> {
        let mut fleet = Fleet::default();
        let observations: Vec<_> = devices
            .iter()
            .map(|(id, chain)| {
                let sources = vec![source(SourceKind::TlsEndpoint, chain.clone())];
                let device = Device {
                    id: (*id).into(),
                    sources,
                    anchors: None,
                    crls: None,
                    earlier: Vec::new(),
                    contact_every_hours: None,
                };
                let observation = Observation { device: Some(device), registry: None };
                fleet.add(id, &observation);
                observation
            })
            .collect();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        let facts = observations.iter().zip(devices).map(|(observation, (id, _))| {
            let mut unknown = Unknown::default();
            let mut facts = Check::normalise(observation, &seen, &mut unknown).device.unwrap();
            fleet.relate(id, &mut facts, &mut unknown);
            facts
        });
        facts.collect()
    }

    fn key() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    #[test]
    fn devices_that_share_nothing_are_told_to() {
        let ca = issuer("ca");
        let facts = fleet(&[("a", made("a", 1, &key(), &ca)), ("b", made("b", 2, &key(), &ca))]);
        for facts in facts {
            let nobody = Some(Vec::new());
            assert_eq!((&facts.same_certificate_as, &facts.same_key_as), (&nobody, &nobody));
            assert_eq!((&facts.same_serial_as, &facts.names_of_others), (&nobody, &nobody));
        }
    }

    #[test]
    fn each_thing_that_is_shared_is_told_of_once() {
        let (ca, shared) = (issuer("ca"), key());
        let certificate = made("a", 1, &shared, &ca);
        let with_b = Some(vec!["b".to_owned()]);
        let facts = fleet(&[("a", certificate.clone()), ("b", certificate)]);
        assert_eq!(facts[0].same_certificate_as, with_b);
        assert_eq!((&facts[0].same_key_as, &facts[0].same_serial_as), (&Some(Vec::new()), &Some(Vec::new())));
        assert_eq!(facts[1].names_of_others, Some(vec!["a".to_owned()]));
        let facts = fleet(&[("a", made("a", 1, &shared, &ca)), ("b", made("b", 2, &shared, &ca))]);
        assert_eq!((&facts[0].same_certificate_as, &facts[0].same_key_as), (&Some(Vec::new()), &with_b));
        let facts = fleet(&[("a", made("a", 1, &key(), &ca)), ("b", made("b", 1, &key(), &ca))]);
        assert_eq!((&facts[0].same_key_as, &facts[0].same_serial_as), (&Some(Vec::new()), &with_b));
        let facts = fleet(&[("a", made("a", 1, &key(), &ca)), ("b", made("b", 1, &key(), &issuer("other")))]);
        assert_eq!(facts[0].same_serial_as, Some(Vec::new()), "a serial number is its issuer's");
    }

    #[test]
    fn what_does_not_parse_shares_no_more_than_its_bytes() {
        let broken = Look::Seen(vec![Bytes(b"broken".to_vec())]);
        let facts = fleet(&[("a", broken.clone()), ("b", broken)]);
        assert_eq!((&facts[0].same_certificate_as, &facts[0].same_key_as), (&Some(vec!["b".to_owned()]), &None));
        let silent = Look::Failed(Failure::new(FailureKind::TimedOut, "5 s"));
        assert_eq!(fleet(&[("a", silent.clone()), ("b", silent)])[0].same_certificate_as, None);
    }
}

#[test]
fn a_renewal_that_keeps_the_key_is_seen() {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = |key: &rcgen::KeyPair, serial: u64| {
        let mut params = rcgen::CertificateParams::new(vec!["stm32-01".into()]).unwrap();
        params.serial_number = Some(serial.into());
        Look::Seen(vec![Bytes(params.self_signed(key).unwrap().der().to_vec())])
    };
    let facts = |earlier: Look<Vec<Bytes>>| {
        let mut unknown = Unknown::default();
        let device = Device {
            id: "stm32-01".into(),
            sources: vec![source(SourceKind::Registry, made(&key, 1))],
            anchors: None,
            crls: None,
            earlier: vec![Earlier { location: "stm32-01.old.pem".into(), chain: earlier }],
            contact_every_hours: None,
        };
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        let observation = Observation { device: Some(device), registry: None };
        (Check::normalise(&observation, &seen, &mut unknown).device.unwrap(), unknown)
    };
    let (kept, _) = facts(made(&key, 2));
    assert_eq!((kept.certificates_known, kept.key_reused, kept.sources_agree), (Some(2), Some(true), None));
    let (renewed, _) = facts(made(&rcgen::KeyPair::generate().unwrap(), 2));
    assert_eq!((renewed.certificates_known, renewed.key_reused), (Some(2), Some(false)));
    let (hidden, unknown) = facts(Look::Failed(Failure::new(FailureKind::Denied, "mode 0600")));
    assert_eq!((hidden.certificates_known, hidden.key_reused), (Some(1), None));
    assert!(unknown.reason("/device/key_reused").unwrap().contains("stm32-01.old.pem"));
}

#[test]
fn a_certificate_that_ends_before_the_next_contact_is_seen() {
    let mut params = rcgen::CertificateParams::new(vec!["stm32-01".into()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 30);
    params.not_after = rcgen::date_time_ymd(2026, 3, 11);
    let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
    let facts = |hours: Option<u64>, distrust: Option<&'static str>| {
        let mut unknown = Unknown::default();
        let device = Device {
            id: "stm32-01".into(),
            sources: vec![source(SourceKind::Registry, Look::Seen(vec![Bytes(der.clone())]))],
            anchors: None,
            crls: None,
            earlier: Vec::new(),
            contact_every_hours: hours,
        };
        let seen = Seen { at: "2026-03-01T00:00:00Z".parse().unwrap(), distrust };
        let observation = Observation { device: Some(device), registry: None };
        (Check::normalise(&observation, &seen, &mut unknown).device.unwrap(), unknown)
    };
    assert_eq!(facts(Some(240), None).0.expires_before_contact, Some(false));
    assert_eq!(facts(Some(241), None).0.expires_before_contact, Some(true));
    assert_eq!(facts(Some(u64::MAX), None).0.expires_before_contact, Some(true));
    assert_eq!((facts(None, None).0.contact_declared, facts(None, None).0.expires_before_contact), (Some(false), None));
    assert_eq!(facts(None, None).0.certificate_age_days, Some(30));
    let (facts, unknown) = facts(Some(1), Some("clock: unset"));
    assert_eq!((facts.expires_before_contact, facts.certificate_age_days), (None, None));
    assert_eq!(unknown.reason("/device/expires_before_contact"), Some("clock: unset"));
}
