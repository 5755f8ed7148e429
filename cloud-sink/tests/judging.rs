//! What runs mean, what changed, and since when; and that no gateway's text becomes markup.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Field, Sink, State, started};
use serde_json::{Value, json};

fn keys(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

const FOUR: [&str; 4] = [
    "gateway_config_guardrails.auth_enforcement_disabled",
    "ingest_auth.insecure_transport",
    "ingest_auth.unauthenticated_ingest_allowed",
    "gateway_config_guardrails.unsafe_defaults_not_observable",
];

#[test]
fn an_exposed_path_has_four_findings_with_all_there_is_to_say() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let run = field.run(State::Exposed);
    sink.accept(std::slice::from_ref(&run));
    let view = sink.judged(&field.path("/runs/1"));
    assert_eq!(keys(&view["findings"]), FOUR);
    for finding in view["findings"].as_array().unwrap() {
        assert_eq!(finding["outcome"], "fail");
        for text in ["subject", "severity", "title", "why", "remediation", "verify"] {
            assert!(!finding[text].as_str().unwrap().is_empty(), "{text} of {finding}");
        }
        assert!(!finding["evidence"].as_object().unwrap().is_empty(), "{finding}");
    }
    assert_eq!(view["run"]["digest"], run.digest.to_string());
    assert_eq!(view["posture"]["state"], "exposed");
    assert_eq!(view["decision"], "fix_first");
    assert_eq!(view["gaps"], json!([]));
    assert_eq!(view["pack"]["name"], "gateway-baseline");
    assert_eq!(view["assessment_digest"].as_str().unwrap().len(), 64);
    assert!(view["rows"].as_array().unwrap().len() > 4);
    let backlog = sink.get(&field.path("/backlog")).json();
    assert_eq!(backlog["items"].as_array().unwrap().len(), 4);
    assert_eq!(backlog["items"][0]["rank"], 1);
}

#[test]
fn what_could_not_be_seen_is_a_gap_and_no_pass() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Blind]));
    let view = sink.judged(&field.path("/runs/1"));
    let gaps = view["gaps"].as_array().unwrap();
    assert!(gaps.iter().any(|row| row["key"] == "ingest_auth.unauthenticated_ingest_allowed"), "{gaps:?}");
    assert!(gaps.iter().all(|row| row["outcome"] == "unknown" && row["reason"].is_string()));
    assert_ne!(view["posture"]["state"], "hardened");
}

#[test]
fn four_improved_and_none_regressed() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Exposed, State::Hardened]));
    sink.judged(&field.path("/runs/2"));
    let early = sink.get(&field.path("/delta"));
    assert_eq!((early.status, early.reason().as_str()), (409, "no_baseline"));
    let promoted = sink.post(&field.path("/baseline"), &json!({"seq": 1}));
    assert_eq!((promoted.status, &promoted.json()["bundle"]), (200, &json!("audit-baseline")));

    let delta = sink.judged(&field.path("/delta"));
    let mut improved = keys(&delta["improved"]);
    improved.sort();
    let mut four = FOUR.to_vec();
    four.sort_unstable();
    assert_eq!(improved, four);
    assert_eq!(delta["regressed"], json!([]));
    assert_eq!(delta["summary"]["improved"], 4);
    assert_eq!(delta["summary"]["regressed"], 0);
    assert!(delta["summary"]["text"].as_str().unwrap().starts_with("4 improved, 0 regressed"));
    assert_eq!(delta["findings"], json!([]));
    assert_eq!((&delta["baseline"]["seq"], &delta["current"]["seq"]), (&json!(1), &json!(2)));
    let row = &delta["improved"][0];
    assert_eq!((&row["before"], &row["after"], &row["cause"]), (&json!("fail"), &json!("pass"), &json!("gateway")));
    assert_ne!(row["evidence_before"], row["evidence_after"]);
    assert!(delta["facts"].as_array().unwrap().iter().any(|fact| fact["pointer"] == "/unauthenticated_accepted"));
    assert_eq!(sink.get(&field.path("")).json()["regressions"], 0);
}

#[test]
fn a_regression_is_dated_by_the_run_that_saw_it_and_not_by_the_upload() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    // 1 exposed, 2 and 3 in order, then an outage: 4 in order, 5 sees it, 6 cannot look, 7 sees it still.
    sink.accept(&field.runs(&[State::Exposed, State::Hardened, State::Hardened]));
    sink.post(&field.path("/baseline"), &json!({"seq": 2}));
    sink.accept(&field.runs(&[State::Hardened, State::IngestOpen, State::Blind, State::IngestOpen]));
    sink.judged(&field.path("/runs/7"));
    let delta = sink.judged(&field.path("/delta"));
    assert_eq!(keys(&delta["regressed"]), ["ingest_auth.unauthenticated_ingest_allowed"]);
    let seen = &delta["regressed"][0]["first_seen"];
    assert_eq!(seen["seq"], 5);
    assert_eq!(seen["started_at"], started(5).to_string());
    assert_eq!(seen["received_at"], sink.get(&field.path("/runs/5")).json()["received_at"]);
    assert_eq!(delta["regressed"][0]["last_good"]["seq"], 4, "run 1 failed too, but that series was broken");
    assert_eq!(sink.get(&field.path("")).json()["regressions"], 1);

    let between = sink.judged(&field.path("/delta?from=1&to=3"));
    assert_eq!((between["summary"]["improved"].clone(), between["summary"]["regressed"].clone()), (json!(4), json!(0)));
}

#[test]
fn a_long_series_is_followed_to_its_beginning() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let mut states = vec![State::Hardened; 3];
    states.extend([State::IngestOpen; 80]);
    sink.accept(&field.runs(&states));
    sink.judged(&field.path("/runs/83"));
    let delta = sink.judged(&field.path("/delta?from=1"));
    assert_eq!(delta["regressed"][0]["first_seen"]["seq"], 4);
    let page = sink.get(&field.path("/runs")).json();
    assert_eq!((page["runs"].as_array().unwrap().len(), &page["next"]), (83, &Value::Null));
    let older = sink.get(&field.path("/runs?below=3")).json();
    assert_eq!(older["runs"].as_array().unwrap().len(), 2);
    let beyond = sink.get(&field.path(&format!("/runs?below={}", u64::MAX))).json();
    assert_eq!(beyond["runs"].as_array().unwrap().len(), 83, "from beyond the end is from the end");
}

#[test]
fn an_observation_of_another_shape_is_unknown_and_stops_nobody() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let mut bad = field.next(State::Hardened);
    bad.records[0].observation = Some(json!({"url": 7}));
    let mut odd = bad.records[1].clone();
    odd.check = "of_tomorrow".into();
    bad.records.push(odd);
    let bad = field.sign(&bad);
    let good = field.run(State::Hardened);
    sink.accept(&[bad, good]);
    let view = sink.judged(&field.path("/runs/1"));
    assert!(view["gaps"].as_array().unwrap().iter().any(|row| row["key"] == "ingest_auth.insecure_transport"));
    assert_eq!(sink.judged(&field.path("/runs/2"))["findings"], json!([]));
}

#[test]
fn a_run_that_is_damaged_on_disk_stops_nobody() {
    let mut sink = Sink::start();
    let (mut first, mut second) = (Field::enrolled(1, &sink), Field::enrolled(2, &sink));
    sink.accept(&first.runs(&[State::Hardened]));
    sink.accept(&second.runs(&[State::Hardened]));
    sink.stop();
    let database = rusqlite::Connection::open(sink.folder.path().join("sink.db")).unwrap();
    database.execute("DELETE FROM assessments", []).unwrap();
    let damage = "UPDATE runs SET started_at = 'never' WHERE gateway = ?1";
    assert_eq!(database.execute(damage, [first.id().to_string()]).unwrap(), 1);
    drop(database);
    sink.open();
    assert_eq!(sink.judged(&second.path("/runs/1"))["findings"], json!([]));
}

#[test]
fn what_is_asked_wrongly_is_answered_with_a_reason() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Hardened]));
    sink.judged(&field.path("/runs/1"));
    let id = field.id().to_string();
    for (path, status, reason) in [
        ("/api/v1/gateways/0123456".to_owned(), 400, "bad_id"),
        (format!("/api/v1/gateways/{}", id.to_uppercase()), 400, "bad_id"),
        ("/api/v1/gateways/00000000".to_owned(), 404, "not_found"),
        (field.path("/runs/2"), 404, "not_found"),
        (field.path("/runs/18446744073709551615"), 404, "not_found"),
        (field.path("/runs/x"), 400, "bad_number"),
        (field.path("/delta?from=9"), 404, "not_found"),
        (field.path("/delta?from=x"), 400, "bad_number"),
        (field.path("/delta?from=1&from=1"), 400, "bad_query"),
        ("/v1/log/consistency?from=1&from=1".to_owned(), 400, "bad_query"),
        ("/api/v1/nothing".to_owned(), 404, "not_found"),
    ] {
        let reply = sink.get(&path);
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason), "{path}");
    }
    assert_eq!(sink.get(&format!("/api/v1/gateways/{}", &id[..8])).json()["id"], id, "a prefix will do");
    assert_eq!(sink.post(&field.path("/baseline"), &json!({"seq": 9})).status, 404);
    assert_eq!(sink.post(&field.path("/baseline"), &json!({"seq": "1"})).status, 400);
    let wrong = sink.post_with("/api/v1/gateways", &[], b"");
    assert_eq!((wrong.status, wrong.reason().as_str()), (405, "method_not_allowed"));
}

#[test]
fn text_of_a_gateway_never_becomes_markup() {
    let sink = Sink::start();
    let mut field = Field::new(1);
    let evil = "<script>alert('x')</script><img src=x onerror=y>\"'";
    field.name = evil.into();
    field.labels.insert(evil.into(), evil.into());
    field.enrol(&sink);
    let mut first = field.next(State::Exposed);
    first.bundle.name = evil.into();
    first.host.os = Some(evil.into());
    first.records[0].target.name = evil.into();
    first.records[0].observation.as_mut().unwrap()["url"] = json!(format!("http://{evil}"));
    let first = field.sign(&first);
    let mut second = field.next(State::IngestOpen);
    second.records[0].target.name = evil.into();
    let second = field.sign(&second);
    sink.accept(&[first, second]);
    // A fork with such a name is quoted on the gateway's page too.
    let mut fork = field.next(State::Exposed);
    (fork.seq, fork.prev, fork.stage) = (1, None, gatepost_evidence::run::Stage::Retainer);
    sink.upload(&[fork.sign(&field.key).unwrap()]);
    sink.judged(&field.path("/runs/2"));
    sink.post(&field.path("/baseline"), &json!({"seq": 1}));
    let (cookie, id) = (sink.sign_in(), field.id());
    for page in [
        "/".to_owned(),
        format!("/gateways/{id}"),
        format!("/gateways/{id}/runs/1"),
        format!("/gateways/{id}/delta"),
        format!("/gateways/{id}/report"),
    ] {
        let reply = sink.page(&page, &cookie);
        assert_eq!(reply.status, 200, "{page}");
        let html = reply.text();
        assert!(html.contains("&#60;script&#62;") || html.contains("&lt;script&gt;"), "{page} shows the text");
        assert!(!html.contains("<script") && !html.contains("<img"), "{page}");
    }
}

#[test]
fn pages_tell_the_story() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Exposed, State::Hardened]));
    sink.post(&field.path("/baseline"), &json!({"seq": 2}));
    sink.accept(&field.runs(&[State::Hardened, State::IngestOpen, State::IngestOpen]));
    sink.judged(&field.path("/runs/5"));
    let (cookie, id) = (sink.sign_in(), field.id());
    let page = |path: &str| {
        let reply = sink.page(&format!("/gateways/{id}{path}"), &cookie);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.text()
    };
    assert!(sink.page("/", &cookie).text().contains("1 regressed"));
    assert!(page("").contains("Make run 4 the baseline") && page("").contains("<svg class=\"chart\""));
    let run = page("/runs/1");
    for text in
        ["ingest_auth.unauthenticated_ingest_allowed", "/unauthenticated_accepted", "plaintext_url", "Why", "Verify"]
    {
        assert!(run.contains(text), "{text}");
    }
    let delta = page("/delta");
    assert!(delta.contains("First seen by run 4, 1 Mar 2026, 13:00:00 UTC"), "{delta}");
    let report = page("/report");
    for text in [
        "4 things</strong> failed (3 high, 1 medium)",
        "1 thing fails",
        "In order until run 3",
        "Fixed",
        "BEGIN PUBLIC KEY",
    ] {
        assert!(report.contains(text), "{text}");
    }
    assert_eq!(sink.get(&field.path("/report")).text().len(), report.len(), "the API gives the same report");
}
