//! What a survey of TLS says as facts, and what it leaves unknown: a failed look is never a refusal.

use super::*;
use TlsVersion::{Ssl3, Tls10, Tls11, Tls12, Tls13};

const REFUSED: Look<Answer> = Look::Seen(Answer::Alert { level: 2, description: 40 });

fn failed<T>(kind: FailureKind) -> Look<T> {
    Look::Failed(Failure::new(kind, "as told"))
}

fn version(version: TlsVersion, suites: &[u16]) -> VersionSurvey {
    VersionSurvey {
        version,
        suites: suites.iter().copied().map(Code).collect(),
        end: REFUSED,
        order: None,
        groups: Vec::new(),
        groups_end: None,
        dh: Vec::new(),
        extensions: BTreeSet::new(),
        compression: BTreeSet::from([0]),
        session_id: false,
        downgrade_mark: false,
    }
}

fn survey(accepted: &[(TlsVersion, &[u16])]) -> Survey {
    let of = |tls| accepted.iter().find(|(known, _)| *known == tls).map_or(&[][..], |(_, suites)| suites);
    let versions = TlsVersion::ALL.into_iter().map(|tls| version(tls, of(tls))).collect();
    Survey { connections: 9, connection_limit: 240, millis: 5, versions, fallback: None, alpn: None }
}

fn at(survey: &mut Survey, version: TlsVersion) -> &mut VersionSurvey {
    survey.versions.iter_mut().find(|survey| survey.version == version).unwrap()
}

fn read(survey: &Survey) -> (TlsFacts, Unknown) {
    let mut unknown = Unknown::default();
    (facts(survey, "/t", &mut unknown), unknown)
}

const MODERN: (TlsVersion, &[u16]) = (Tls13, &[0x1302, 0x1301]);

#[test]
fn a_modern_server_has_nothing_weak_and_all_of_it_is_known() {
    let (facts, unknown) = read(&survey(&[(Tls12, &[0xc02c, 0xcca9, 0xc02b, 0xc024]), MODERN]));
    assert_eq!((facts.ssl3, facts.tls10, facts.tls11), (Some(false), Some(false), Some(false)));
    assert_eq!((facts.before_tls13, facts.downgradable), (Some(true), Some(false)));
    for suites in [
        &facts.null_suites,
        &facts.anonymous_suites,
        &facts.export_suites,
        &facts.rc4_suites,
        &facts.small_block_suites,
        &facts.static_key_suites,
    ] {
        assert_eq!(suites.as_deref(), Some(&[][..]));
    }
    assert_eq!(facts.cbc_suites.unwrap(), ["TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384"]);
    assert_eq!((facts.tls12_aead, facts.weak_beside_strong, facts.dhe), (Some(true), Some(false), Some(false)));
    assert_eq!(facts.suites["tls1.3"], ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"]);
    assert_eq!(unknown.reason("/t/dh_bits"), Some("no finite field group was seen"));
}

#[test]
fn each_weakness_is_told_by_the_name_of_its_suite() {
    type Named = fn(TlsFacts) -> Option<Vec<String>>;
    let cases: [(u16, Named); 6] = [
        (0x0002, |facts| facts.null_suites),
        (0x00a6, |facts| facts.anonymous_suites),
        (0x0003, |facts| facts.export_suites),
        (0x0005, |facts| facts.rc4_suites),
        (0x000a, |facts| facts.small_block_suites),
        (0x009c, |facts| facts.static_key_suites),
    ];
    for (suite, of) in cases {
        let (facts, _) = read(&survey(&[(Tls12, &[0xc02f, suite])]));
        let weak = suite != 0x009c;
        assert_eq!(facts.weak_beside_strong, Some(weak), "{suite:04x}");
        assert_eq!(of(facts).unwrap(), [suite_name(Code(suite))]);
    }
    let (facts, _) = read(&survey(&[(Tls12, &[0xc024]), MODERN]));
    assert_eq!(facts.tls12_aead, Some(false));
}

#[test]
fn a_list_that_was_cut_off_shows_what_it_has_and_hides_what_it_lacks() {
    for kind in [FailureKind::TimedOut, FailureKind::Protocol, FailureKind::Error] {
        let mut cut = survey(&[(Tls12, &[0xc02f, 0x0005])]);
        at(&mut cut, Tls12).end = failed(kind);
        let (facts, unknown) = read(&cut);
        assert_eq!(facts.rc4_suites.unwrap(), ["TLS_RSA_WITH_RC4_128_SHA"]);
        assert_eq!((facts.null_suites, facts.dhe), (None, None));
        assert!(unknown.reason("/t/null_suites").unwrap().ends_with("as told"));
        assert_eq!(facts.tls12_aead, Some(true));
    }
    let (facts, unknown) = read(&survey(&[(Tls12, &[0xc02f, 0xdada])]));
    assert_eq!(facts.null_suites, None);
    assert!(unknown.reason("/t/null_suites").unwrap().contains("0xdada"));
}

#[test]
fn only_a_refusal_refuses_a_version() {
    let ended = |end: Look<Answer>, accepted: &[(TlsVersion, &[u16])]| {
        let mut survey = survey(accepted);
        at(&mut survey, Tls10).end = end;
        survey.accepted(Tls10).ok()
    };
    let alert = |level, description| Look::Seen(Answer::Alert { level, description });
    let other = Look::Seen(Answer::Hello { version: Code(0x0303), suite: Code(0xc02f) });
    for (end, expected) in [
        (alert(2, 70), Some(false)),
        (alert(2, 40), Some(false)),
        (alert(2, 80), Some(false)),
        (alert(2, 0), None),
        (alert(2, 90), None),
        (alert(1, 40), None),
        (other, Some(false)),
        (failed(FailureKind::Closed), Some(false)),
        (failed(FailureKind::TimedOut), None),
        (failed(FailureKind::Protocol), None),
        (failed(FailureKind::Refused), None),
        (failed(FailureKind::TooLarge), None),
    ] {
        assert_eq!(ended(end.clone(), &[MODERN]), expected, "{end:?}");
    }
    // Nothing was seen to speak TLS: closing and stumbling say nothing.
    assert_eq!(ended(failed(FailureKind::Closed), &[]), None);
    assert_eq!(ended(alert(2, 80), &[]), None);
    let mut short = survey(&[MODERN]);
    short.versions.remove(0);
    assert!(short.accepted(Ssl3).unwrap_err().detail.contains("not offered"));
}

#[test]
fn an_old_version_matters_as_a_downgrade_where_a_newer_one_is_there() {
    let (alone, _) = read(&survey(&[(Tls10, &[0xc014])]));
    assert_eq!((alone.tls10, alone.before_tls13, alone.downgradable), (Some(true), Some(true), Some(false)));
    let mut both = survey(&[(Tls11, &[0xc014]), MODERN]);
    both.fallback = Some(Look::Seen(Answer::Hello { version: Code(0x0302), suite: Code(0xc014) }));
    let (facts, _) = read(&both);
    assert_eq!((facts.downgradable, facts.fallback_scsv), (Some(true), Some(false)));
    both.fallback = Some(Look::Seen(Answer::Alert { level: 2, description: 86 }));
    assert_eq!(read(&both).0.fallback_scsv, Some(true));
    both.fallback = Some(REFUSED);
    let (facts, unknown) = read(&both);
    assert_eq!(facts.fallback_scsv, None);
    assert!(unknown.reason("/t/fallback_scsv").unwrap().contains("alert 40"));
    // Accepted beside one that is hidden: whether it is newer and there is not known.
    let mut hidden = survey(&[(Tls10, &[0xc014])]);
    at(&mut hidden, Tls12).end = failed(FailureKind::TimedOut);
    assert_eq!(read(&hidden).0.downgradable, None);
}

#[test]
fn groups_and_extensions_are_told() {
    let mut seen = survey(&[(Tls12, &[0xc02f, 0x009e]), MODERN]);
    let tls12 = at(&mut seen, Tls12);
    tls12.groups = vec![Code(23), Code(19)];
    tls12.groups_end = Some(REFUSED);
    tls12.extensions = [5, 15, 22, 23, 35, 0xff01].map(Code).into();
    tls12.compression = [0, 1].into();
    (tls12.session_id, tls12.downgrade_mark) = (true, true);
    tls12.dh = [2048, 1024].map(|bits| DhGroup { bits, prime_sha256: "0".repeat(64) }).into();
    let before = Code(0xc02f);
    let chose = |suite| Look::Seen(Answer::Hello { version: Code(0x0303), suite: Code(suite) });
    tls12.order = Some(OrderTrial { offered: vec![Code(0x009e), before], before, answer: chose(0xc02f) });
    let tls13 = at(&mut seen, Tls13);
    tls13.groups = vec![Code(0x11ec), Code(29)];
    tls13.groups_end = Some(REFUSED);
    let (facts, _) = read(&seen);
    assert_eq!(facts.groups["tls1.2"], ["secp256r1", "secp192r1"]);
    assert_eq!(
        (facts.weak_groups.unwrap().as_slice(), facts.post_quantum),
        (&["secp192r1".to_owned()][..], Some(true))
    );
    assert_eq!((facts.dh_bits, facts.server_order, facts.compression), (Some(1024), Some(true), Some(true)));
    assert_eq!((facts.heartbeat, facts.ocsp_stapling, facts.session_ids), (Some(true), Some(true), Some(true)));
    assert_eq!((facts.secure_renegotiation, facts.extended_master_secret), (Some(true), Some(true)));
    assert_eq!((facts.session_tickets, facts.downgrade_mark), (Some(true), Some(true)));
    at(&mut seen, Tls12).order.as_mut().unwrap().answer = chose(0x009e);
    at(&mut seen, Tls13).groups = vec![Code(29)];
    at(&mut seen, Tls13).groups_end = Some(failed(FailureKind::TimedOut));
    let (facts, unknown) = read(&seen);
    assert_eq!((facts.server_order, facts.post_quantum), (Some(false), None));
    assert!(unknown.reason("/t/post_quantum").is_some());
}

/// Every fact that a survey leaves out has its reason.
#[test]
fn what_is_missing_has_a_reason() {
    let surveys =
        [survey(&[]), survey(&[MODERN]), survey(&[(Ssl3, &[0x0005])]), survey(&[(Tls12, &[0x009c]), MODERN]), {
            let mut hidden = survey(&[]);
            hidden.versions.iter_mut().for_each(|version| version.end = failed(FailureKind::TimedOut));
            hidden
        }];
    let schema = serde_json::to_value(schemars::schema_for!(TlsFacts)).unwrap();
    for survey in surveys {
        let (facts, unknown) = read(&survey);
        let facts = serde_json::to_value(facts).unwrap();
        for name in schema["properties"].as_object().unwrap().keys() {
            let told = facts.get(name).is_some() || unknown.reason(&format!("/t/{name}")).is_some();
            assert!(told, "{name} is missing without a reason in {survey:#?}");
        }
    }
}
