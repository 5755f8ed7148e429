//! Judging whole runs by the built-in pack.

use gatepost_evidence::look::FailureKind;
use gatepost_evidence::run::{Record, TargetKind};
use serde_json::json;

use super::*;
use crate::decision::PostureState;
use crate::samples::{
    AT, broker, certificate, failed, ingest, judge, path, plain_listener, record, run, service, tls_listener,
    unobserved,
};

fn findings(assessment: &Assessment) -> Vec<&str> {
    assessment.findings().into_iter().map(|row| row.key.as_str()).collect()
}

fn row<'a>(assessment: &'a Assessment, key: &str) -> &'a Row {
    assessment.rows.iter().find(|row| row.key == key).unwrap_or_else(|| panic!("{key} has no row"))
}

#[test]
fn the_exposed_path_has_exactly_four_findings_and_the_hardened_one_none() {
    let exposed = judge(&path(true));
    assert_eq!(
        findings(&exposed),
        [
            "gateway_config_guardrails.auth_enforcement_disabled",
            "ingest_auth.insecure_transport",
            "ingest_auth.unauthenticated_ingest_allowed",
            "gateway_config_guardrails.unsafe_defaults_not_observable",
        ]
    );
    assert_eq!(exposed.gaps(), Vec::<&Row>::new());
    assert_eq!((exposed.posture.state, exposed.decision), (PostureState::Exposed, Decision::FixFirst));
    assert_eq!(exposed.posture.failing, BTreeMap::from([(Severity::High, 3), (Severity::Medium, 1)]));
    let hardened = judge(&path(false));
    assert_eq!(findings(&hardened), Vec::<&str>::new());
    assert_eq!((hardened.posture.state, hardened.decision), (PostureState::Hardened, Decision::Continue));
    assert_eq!(hardened.posture.evidence_percent, 100);
}

#[test]
fn a_finding_carries_the_facts_that_its_control_names() {
    let assessment = judge(&run(vec![broker(vec![tls_listener(), plain_listener("127.0.0.1:1883", Some(0))])]));
    let [finding] = assessment.findings()[..] else { panic!("{:?}", assessment.findings()) };
    assert_eq!(finding.id(), "broker_transport_posture.anonymous_access[broker/127.0.0.1:1883]");
    let expected = [("anonymous_accepted", json!(true)), ("open", json!(true)), ("scope", json!("loopback"))];
    let expected = expected.map(|(fact, value)| (format!("/listeners/127.0.0.1:1883/{fact}"), value));
    assert_eq!(finding.evidence, BTreeMap::from(expected));
    assert_eq!(finding.target, "broker");
}

#[test]
fn a_record_without_observation_is_unknown_for_every_control_and_subject() {
    let looked = broker(vec![tls_listener()]);
    let assessment = judge(&run(vec![unobserved(&looked)]));
    let controls = Pack::builtin().controls().iter().filter(|one| one.check == looked.check).count();
    assert_eq!(assessment.rows.len(), controls);
    for row in &assessment.rows {
        assert_eq!((row.outcome, row.subject.as_str()), (Outcome::Unknown, "broker"));
        assert_eq!(row.reason.as_deref(), Some("timed out: 5 s"));
    }
    assert_eq!((assessment.posture.state, assessment.decision), (PostureState::Unproven, Decision::Pause));
}

#[test]
fn a_contract_of_another_version_is_unknown_and_not_guessed_at() {
    let newer = Record { contract: 99, ..ingest(true) };
    let assessment = judge(&run(vec![newer]));
    assert!(assessment.rows.iter().all(|row| row.outcome == Outcome::Unknown));
    assert!(assessment.rows[0].reason.as_ref().unwrap().contains("version 99 is not known"));
    let foreign = record("another_check", TargetKind::Host, "host", &json!({}));
    assert_eq!(judge(&run(vec![foreign])).rows, []);
}

#[test]
fn a_silent_listener_is_unknown_with_the_reason_of_the_look() {
    let silent = plain_listener("192.168.1.9:1883", None);
    let silent =
        gatepost_evidence::check::broker_transport_posture::Listener { dial: failed(FailureKind::TimedOut), ..silent };
    let assessment = judge(&run(vec![broker(vec![silent])]));
    let row = row(&assessment, "broker_transport_posture.plaintext_listener_exposed");
    assert_eq!((row.outcome, row.reason.as_deref()), (Outcome::Unknown, Some("timed out: as told")));
    assert_eq!(row.subject, "broker/192.168.1.9:1883");
}

#[test]
fn an_empty_map_has_no_rows_unless_there_is_a_reason_for_it() {
    let rows = |record| {
        let assessment = judge(&run(vec![record]));
        assessment.rows.into_iter().map(|row| (row.key, row.outcome)).collect::<Vec<_>>()
    };
    assert_eq!(rows(broker(Vec::new())), []);
    let mut out_of_sight = crate::samples::broker_file();
    let failure = json!({"/etc/mosquitto/conf.d": {"kind": "denied", "detail": "permission denied"}});
    out_of_sight.observation.as_mut().unwrap()["broker"]["unreadable"] = failure;
    let rows = rows(out_of_sight);
    assert!(rows.iter().all(|(_, outcome)| *outcome == Outcome::Unknown));
    assert!(rows.iter().any(|(key, _)| key == "gateway_config_guardrails.broker_plaintext_listener_exposed"));
}

#[test]
fn certificates_are_told_apart_by_what_is_left_of_them() {
    for (end, key) in [
        ((2026, 2, 1), Some("broker_certificate_identity.expired")),
        ((2026, 3, 20), Some("broker_certificate_identity.expiring_30d")),
        ((2026, 4, 10), Some("broker_certificate_identity.expiring_60d")),
        ((2026, 8, 1), None),
    ] {
        let assessment = judge(&run(vec![certificate(end)]));
        assert_eq!(findings(&assessment), key.into_iter().collect::<Vec<_>>(), "{end:?}");
    }
    let mut doubtful = run(vec![certificate((2026, 2, 1))]);
    doubtful.clock.synchronised = Some(false);
    let assessment = judge(&doubtful);
    assert_eq!(findings(&assessment), Vec::<&str>::new());
    let expired = row(&assessment, "broker_certificate_identity.expired");
    assert_eq!((expired.outcome, expired.reason.as_ref().unwrap().starts_with("clock:")), (Outcome::Unknown, true));
}

#[test]
fn what_the_operator_did_not_declare_does_not_apply() {
    let mut bare = service(true);
    let observation = bare.observation.as_mut().unwrap();
    observation["service"] = json!({"configuration": null, "metrics": null, "health": null});
    let assessment = judge(&run(vec![bare]));
    assert!(assessment.rows.iter().all(|row| row.outcome == Outcome::NotApplicable), "{:#?}", assessment.rows);
}

#[test]
fn an_assessment_is_the_same_bytes_every_time_and_in_every_order_of_records() {
    let run = path(true);
    let bytes = |run: &Run| gatepost_evidence::canonical::to_vec(&judge(run)).unwrap();
    let mut turned = run.clone();
    turned.records.reverse();
    assert_eq!(bytes(&run), bytes(&turned));
    assert_eq!(judge(&run).digest(), Digest::of(&bytes(&run)));
    let places: Vec<_> = judge(&run).rows.into_iter().map(|row| (row.key, row.subject)).collect();
    assert!(places.is_sorted());
    let back: Assessment = serde_json::from_slice(&bytes(&run)).unwrap();
    assert_eq!(back, judge(&run));
    assert_eq!(back.run.started_at, AT.parse().unwrap());
}

#[test]
fn a_look_that_failed_inside_an_observation_is_unknown_for_what_it_decides() {
    let mut half = ingest(false);
    half.observation.as_mut().unwrap()["requests"][0]["answer"] =
        serde_json::to_value(failed::<u8>(FailureKind::Unreachable)).unwrap();
    let assessment = judge(&run(vec![half]));
    let gaps: Vec<_> = assessment.gaps().iter().map(|row| (row.key.as_str(), row.reason.as_deref())).collect();
    assert_eq!(
        gaps,
        [
            ("ingest_auth.unauthenticated_ingest_allowed", Some("unreachable: as told")),
            ("ingest_auth.wrong_credentials_accepted", Some("unreachable: as told")),
        ]
    );
}

#[test]
fn a_number_that_json_would_round_keeps_the_assessment_canonical() {
    let mut huge = service(false);
    let file = &mut huge.observation.as_mut().unwrap()["service"]["configuration"]["seen"]["pointers"];
    file["retry_limit"] = json!({"pointer": "/retries", "value": "9223372036854775807"});
    let assessment = judge(&run(vec![huge]));
    let row = row(&assessment, "gateway_config_guardrails.retry_unbounded");
    assert_eq!((row.outcome, &row.evidence["/service/retry_limit"]), (Outcome::Fail, &json!("9223372036854775807")));
    let bytes = gatepost_evidence::canonical::to_vec(&assessment).unwrap();
    assert_eq!(assessment.digest(), Digest::of(&bytes));
}
