//! The table of changes, row by row, on whole runs under the built-in pack.

use gatepost_evidence::check::broker_transport_posture::Listener;
use gatepost_evidence::look::FailureKind;
use gatepost_evidence::run::{BundleRef, TargetKind};
use serde_json::json;

use super::*;
use crate::samples::{
    broker, broker_file, certificate, delta, failed, ingest, path, plain_listener, record, run, service, tls_listener,
    unobserved,
};

const ANONYMOUS: &str = "broker_transport_posture.anonymous_access";
const OPEN_INGEST: &str = "ingest_auth.unauthenticated_ingest_allowed";
const PLAIN: &str = "127.0.0.1:1883";

fn find<'a>(delta: &'a Delta, key: &str, subject: &str) -> &'a DeltaRow {
    let found = delta.rows.iter().find(|row| (row.key.as_str(), row.subject.as_str()) == (key, subject));
    found.unwrap_or_else(|| panic!("no row {key}[{subject}] in {:#?}", delta.rows))
}

/// What becomes of anonymous access at the plaintext listener, given the listeners of both sides.
fn anonymous(before: Vec<Listener>, after: Vec<Listener>) -> Option<(Change, Option<Cause>)> {
    let delta = delta(&run(vec![broker(before)]), &run(vec![broker(after)]));
    let subject = format!("broker/{PLAIN}");
    let row = delta.rows.iter().find(|row| row.key == ANONYMOUS && row.subject == subject);
    row.map(|row| (row.change, row.cause))
}

fn silent() -> Listener {
    Listener { dial: failed(FailureKind::TimedOut), ..plain_listener(PLAIN, None) }
}

#[test]
fn hardening_improves_four_rows_and_regresses_none() {
    let delta = delta(&path(true), &path(false));
    let summary = delta.summary();
    assert_eq!((summary.improved, summary.regressed, summary.still_failing), (4, 0, 0));
    assert_eq!((summary.visibility_lost, summary.visibility_gained, summary.still_unknown), (0, 0, 0));
    assert!(delta.having(Change::Improved).all(|row| row.cause == Some(Cause::Gateway)));
    assert!(delta.having(Change::Holding).all(|row| row.cause.is_none()));
    assert_eq!(delta.decision, Decision::Continue);
    assert_eq!(delta.current.bundle.name, "audit-baseline");
}

#[test]
fn each_change_of_a_row_has_its_name() {
    let at = |code| vec![plain_listener(PLAIN, code)];
    let (open, guarded, closed) = (at(Some(0)), at(Some(5)), at(None));
    let gateway = Some(Cause::Gateway);
    for (before, after, expected) in [
        (&open, &guarded, Some((Change::Improved, gateway))),
        (&open, &closed, Some((Change::Improved, gateway))),
        (&guarded, &open, Some((Change::Regressed, gateway))),
        (&closed, &open, Some((Change::Regressed, gateway))),
        (&open, &open, Some((Change::StillFailing, None))),
        (&guarded, &guarded, Some((Change::Holding, None))),
        (&guarded, &closed, Some((Change::Holding, None))),
        (&closed, &guarded, Some((Change::Holding, None))),
        (&closed, &closed, None),
        (&open, &vec![silent()], Some((Change::VisibilityLost, gateway))),
        (&guarded, &vec![silent()], Some((Change::VisibilityLost, gateway))),
        (&closed, &vec![silent()], Some((Change::VisibilityLost, gateway))),
        (&vec![silent()], &guarded, Some((Change::VisibilityGained, gateway))),
        (&vec![silent()], &open, Some((Change::VisibilityGained, gateway))),
        (&vec![silent()], &vec![silent()], Some((Change::StillUnknown, None))),
        // Subjects that come and go.
        (&vec![], &open, Some((Change::Regressed, gateway))),
        (&vec![], &guarded, Some((Change::Appeared, gateway))),
        (&vec![], &closed, None),
        (&vec![], &vec![silent()], Some((Change::Appeared, gateway))),
        (&open, &vec![], Some((Change::Disappeared, gateway))),
        (&guarded, &vec![], Some((Change::Disappeared, gateway))),
        (&vec![silent()], &vec![], Some((Change::Disappeared, gateway))),
        (&closed, &vec![], None),
    ] {
        assert_eq!(anonymous(before.clone(), after.clone()), expected, "{before:?} {after:?}");
    }
}

#[test]
fn what_became_visible_and_fails_says_so() {
    let delta = delta(&run(vec![unobserved(&ingest(true))]), &run(vec![ingest(true)]));
    let row = find(&delta, OPEN_INGEST, "ingest");
    assert_eq!(
        (row.change, row.before, row.after),
        (Change::VisibilityGained, Some(Outcome::Unknown), Some(Outcome::Fail))
    );
    assert_eq!(row.reason.as_deref(), Some("timed out: 5 s"));
}

#[test]
fn items_of_a_target_out_of_sight_are_lost_and_not_gone() {
    let seen = broker(vec![plain_listener(PLAIN, Some(0)), tls_listener()]);
    let (seen_run, blind_run) = (run(vec![seen.clone()]), run(vec![unobserved(&seen)]));
    let lost = delta(&seen_run, &blind_run);
    let item = find(&lost, ANONYMOUS, &format!("broker/{PLAIN}"));
    assert_eq!(
        (item.change, item.after, item.reason.as_deref()),
        (Change::VisibilityLost, None, Some("timed out: 5 s"))
    );
    assert_eq!(find(&lost, ANONYMOUS, "broker").change, Change::VisibilityLost);
    assert_eq!((lost.summary().disappeared, lost.summary().improved), (0, 0));

    let gained = delta(&blind_run, &seen_run);
    let item = find(&gained, ANONYMOUS, &format!("broker/{PLAIN}"));
    assert_eq!((item.change, item.after), (Change::VisibilityGained, Some(Outcome::Fail)));
    assert_eq!(find(&gained, ANONYMOUS, "broker").change, Change::VisibilityGained);
    assert_eq!((gained.summary().appeared, gained.summary().regressed), (0, 0));

    let blind = delta(&blind_run, &blind_run);
    assert!(blind.rows.iter().all(|row| row.change == Change::StillUnknown));
}

#[test]
fn a_check_that_is_not_in_one_of_the_bundles_is_out_of_sight_because_of_the_agent() {
    let whole = run(vec![ingest(true), certificate((2027, 1, 1))]);
    let mut part = run(vec![ingest(true)]);
    part.bundle = BundleRef { name: "hardening-verification".into(), version: "1.0.0".into() };
    let lost = delta(&whole, &part);
    let row = find(&lost, "broker_certificate_identity.expired", "broker");
    assert_eq!((row.change, row.cause), (Change::VisibilityLost, Some(Cause::Agent)));
    assert!(row.reason.as_ref().unwrap().contains("hardening-verification 1.0.0"), "{row:?}");
    assert_eq!(find(&lost, OPEN_INGEST, "ingest").change, Change::StillFailing);
    let gained = delta(&part, &whole);
    let row = find(&gained, "broker_certificate_identity.expired", "broker");
    assert_eq!((row.change, row.cause), (Change::VisibilityGained, Some(Cause::Agent)));
}

#[test]
fn a_device_that_is_gone_disappears_and_a_new_one_that_fails_regresses() {
    let device = |name: &str, garbage: bool| {
        let chain = if garbage {
            json!({"seen": ["Z2FyYmFnZQ=="]})
        } else {
            json!({"failed": {"kind": "refused", "detail": "x"}})
        };
        let source = json!({"kind": "registry", "location": "/r", "chain": chain, "possession": false});
        let observation = json!({"device": {"id": name, "sources": [source], "anchors": null}});
        record("device_certificate_hygiene", TargetKind::Device, name, &observation)
    };
    let key = "device_certificate_hygiene.unparseable";
    let one = run(vec![device("a", true)]);
    let two = run(vec![device("a", true), device("b", true), device("c", false)]);
    let more = delta(&one, &two);
    assert_eq!(find(&more, key, "a").change, Change::StillFailing);
    assert_eq!(find(&more, key, "b").change, Change::Regressed);
    assert_eq!(find(&more, key, "c").change, Change::Appeared);
    let less = delta(&two, &one);
    assert_eq!(find(&less, key, "b").change, Change::Disappeared);
    assert_eq!(find(&less, key, "c").change, Change::Disappeared);
}

#[test]
fn the_clock_is_named_when_it_hides_dates() {
    let believed = run(vec![certificate((2027, 1, 1))]);
    let mut doubtful = believed.clone();
    doubtful.clock.synchronised = Some(false);
    let key = "broker_certificate_identity.expired";
    let lost = delta(&believed, &doubtful);
    assert_eq!(find(&lost, key, "broker").cause, Some(Cause::Clock));
    assert_eq!(find(&lost, key, "broker").change, Change::VisibilityLost);
    assert_eq!(find(&delta(&doubtful, &believed), key, "broker").cause, Some(Cause::Clock));
    assert_eq!(find(&lost, "broker_certificate_identity.weak_key", "broker").change, Change::Holding);
}

#[test]
fn a_contract_that_this_build_does_not_read_is_the_agents_doing() {
    let before = run(vec![ingest(false)]);
    let mut after = before.clone();
    after.records[0].contract = 99;
    let row = find(&delta(&before, &after), OPEN_INGEST, "ingest").clone();
    assert_eq!((row.change, row.cause), (Change::VisibilityLost, Some(Cause::Agent)));
}

#[test]
fn another_agent_that_reports_the_same_facts_is_the_cause_and_one_that_reports_others_is_not() {
    // The unauthenticated answer is lost, which hides whether wrong credentials are accepted; nothing else differs.
    let before = run(vec![ingest(true)]);
    let mut after = run(vec![ingest(false)]);
    after.agent.version = "0.2.0".into();
    assert_eq!(find(&delta(&before, &after), OPEN_INGEST, "ingest").cause, Some(Cause::Gateway));
    let pair_cause = |evidence: serde_json::Value| {
        let rows = |fact: &serde_json::Value, outcome| {
            let mut row = crate::samples::judge(&before).rows.remove(0);
            row.evidence = [("/x".to_owned(), fact.clone())].into();
            row.outcome = outcome;
            row
        };
        let side = |run| Judged::new(Side { run, digest: Digest::of(b"") }, &Pack::builtin());
        let (old, new) = (side(&before), side(&after));
        let pair = Pair { before: &old, after: &new, former: None };
        pair.row(Some(&rows(&json!(1), Outcome::Pass)), Some(&rows(&evidence, Outcome::Fail))).unwrap().cause
    };
    assert_eq!(pair_cause(json!(1)), Some(Cause::Agent));
    assert_eq!(pair_cause(json!(2)), Some(Cause::Gateway));
}

#[test]
fn what_only_the_rules_changed_is_marked_as_theirs() {
    let control = |fail: &str, vectors: [&str; 2]| {
        let [failing, passing] = vectors;
        format!(
            "name = 'p'\nversion = '1.0.0'\n[[control]]\nkey = 'ingest_auth.status'\ntitle = 't'\nseverity = 'low'\n\
             domain = 'd'\ntarget = 'ingest_edge'\nfail = '{fail}'\nwhy = 'w'\nremediation = 'r'\nverify = 'v'\n\
             vector = [{{ name = 'f', expect = 'fail', facts = {{ unauthenticated_status = {failing} }} }},\
             {{ name = 'p', expect = 'pass', facts = {{ unauthenticated_status = {passing} }} }}]\n"
        )
    };
    let strict = Pack::parse(&control("facts.unauthenticated_status != 403", ["401", "403"])).unwrap();
    let lenient = Pack::parse(&control("facts.unauthenticated_status < 300", ["202", "401"])).unwrap();
    let run = run(vec![ingest(false)]);
    let side = Side { run: &run, digest: Digest::of(b"") };
    let cause = |pack, former| {
        let delta = compare(side, side, pack, former);
        (delta.rows[0].change, delta.rows[0].cause)
    };
    assert_eq!(cause(&strict, None), (Change::StillFailing, None));
    assert_eq!(cause(&strict, Some(&strict)), (Change::StillFailing, None));
    assert_eq!(cause(&strict, Some(&lenient)), (Change::StillFailing, Some(Cause::Rules)));
    assert_eq!(cause(&lenient, Some(&strict)), (Change::Holding, Some(Cause::Rules)));
}

#[test]
fn facts_that_differ_are_told_and_volatile_ones_are_not() {
    let mut slower = tls_listener();
    slower.authenticated = slower.authenticated.map(|_| {
        gatepost_evidence::look::Look::Seen(gatepost_evidence::check::broker_transport_posture::Connack {
            code: 5,
            micros: 99_999,
        })
    });
    let before = run(vec![broker(vec![tls_listener()]), ingest(true)]);
    let after = run(vec![broker(vec![slower]), unobserved(&ingest(true))]);
    let delta = delta(&before, &after);
    assert_eq!(
        delta.facts,
        [FactChange {
            check: "broker_transport_posture".into(),
            target: "broker".into(),
            pointer: "/listeners/127.0.0.1:8883/authenticated_accepted".into(),
            before: Some(json!(true)),
            after: Some(json!(false)),
        }]
    );
}

#[test]
fn a_run_compared_with_itself_changes_nothing() {
    let mut doubtful = path(true);
    doubtful.clock.synchronised = Some(false);
    for run in [
        path(true),
        path(false),
        doubtful,
        run(Vec::new()),
        run(vec![unobserved(&ingest(true)), service(true)]),
        run(vec![broker(vec![plain_listener(PLAIN, Some(0)), silent()]), broker_file()]),
        run(vec![certificate((2026, 2, 1))]),
    ] {
        let delta = delta(&run, &run);
        let same = [Change::StillFailing, Change::Holding, Change::StillUnknown];
        assert!(delta.rows.iter().all(|row| same.contains(&row.change) && row.cause.is_none()), "{:#?}", delta.rows);
        assert!(delta.rows.iter().all(|row| row.before == row.after));
        assert_eq!(delta.facts, []);
        let text = serde_json::to_string(&delta).unwrap();
        assert_eq!(serde_json::from_str::<Delta>(&text).unwrap(), delta);
    }
}
