//! What the pages and the API say of runs that are missing or came late: who accounts for them, and what happened.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Field, Sink, State};
use gatepost_evidence::run::SignedRun;
use gatepost_evidence::tombstone::Cause;
use gatepost_evidence::wire::Answer;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Changes the database while the sink is down.
fn behind_its_back(sink: &mut Sink, change: impl FnOnce(&Connection)) {
    sink.stop();
    let connection = Connection::open(sink.folder.path().join("sink.db")).unwrap();
    change(&connection);
    drop(connection);
    sink.open();
}

/// Runs that began so many hours ago.
fn hours_ago(field: &mut Field, hours: impl IntoIterator<Item = i64>) -> Vec<SignedRun> {
    let now = Timestamp::now();
    let mut made = |hours: i64| {
        let mut run = field.next(State::Hardened);
        run.started_at = now - SignedDuration::from_hours(hours);
        run.finished_at = run.started_at;
        field.sign(&run)
    };
    hours.into_iter().map(&mut made).collect()
}

fn bury(sink: &Sink, field: &Field, runs: &[SignedRun], from: u64, to: u64) {
    let stone = field.tombstone(runs, from, to, Cause::NoRoom).sign(&field.key).unwrap().to_json();
    let answers = sink.upload_lines(&[stone]).answers();
    assert!(matches!(answers[0], Answer::Accepted { .. }), "{answers:?}");
}

/// Text as a person reads it.
fn plain(page: &str) -> String {
    let mut text = String::new();
    for part in page.split('<').skip(1) {
        text.push_str(part.split_once('>').map_or("", |(_, text)| text));
    }
    text.replace("&#39;", "'").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_missing_stretch_is_signed_away_or_nobody_accounts_for_it() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = hours_ago(&mut field, (0..12).rev());
    sink.accept(&[runs[0].clone(), runs[5].clone(), runs[8].clone()]);
    bury(&sink, &field, &runs, 3, 4);
    // Behind the end: what is gone is gone, whatever is still on its way.
    bury(&sink, &field, &runs, 11, 12);

    let view = sink.get(&field.path("")).json();
    let gaps = json!([{"from": 2, "to": 2}, {"from": 5, "to": 5}, {"from": 7, "to": 8}]);
    assert_eq!((&view["chain_gaps"], &view["unaccounted_runs"]), (&gaps, &4.into()));
    let buried = view["buried"].as_array().unwrap();
    assert_eq!(buried.len(), 2, "{view}");
    assert_eq!((&buried[0]["from"], &buried[0]["to"], &buried[0]["runs"]), (&3.into(), &4.into(), &2.into()));
    assert_eq!((&buried[0]["cause"], &buried[0]["buried_at"]), (&"no_room".into(), &"2026-03-02T08:00:00Z".into()));
    let envelope = field.path(&format!("/tombstones/{}/envelope", buried[0]["tombstone"].as_str().unwrap()));
    assert_eq!(sink.get(&envelope).status, 200);

    sink.judged(&field.path("/runs/9"));
    let cookie = sink.sign_in();
    let page = plain(&sink.page(&format!("/gateways/{}", field.id()), &cookie).text());
    for said in [
        "4 runs unaccounted for",
        "4 runs are unaccounted for. Run 2, Run 5, Runs 7 to 8 never came, and no tombstone stands for them: an evidence gap.",
        "Runs 3 to 4 are gone (2 runs): the gateway's spool was full before they could be handed over. The gateway signed \
         this on 2 Mar 2026, 08:00:00 UTC",
        "Runs 7 to 8 (made between",
    ] {
        assert!(page.contains(said), "{said:?} is not in\n{page}");
    }
    let fleet = plain(&sink.page("/", &cookie).text());
    assert!(fleet.contains("4 runs unaccounted for") && fleet.contains("4 runs gone"), "{fleet}");

    // What comes after all is not missing any more.
    sink.accept(&[runs[1].clone(), runs[4].clone(), runs[6].clone(), runs[7].clone()]);
    let view = sink.get(&field.path("")).json();
    assert_eq!((&view["chain_gaps"], &view["unaccounted_runs"]), (&json!([]), &0.into()));
    let fleet = plain(&sink.page("/", &cookie).text());
    assert!(!fleet.contains("unaccounted"), "{fleet}");
    let report = sink.get(&field.path("/report"));
    assert!(report.status == 202 || plain(&report.text()).contains("gone, as the gateway signed"), "{}", report.text());
}

#[test]
fn the_timeline_tells_runs_that_waited_from_runs_that_were_not_made() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = hours_ago(&mut field, (0..30).rev().chain([0]).filter(|hours| !(18..24).contains(hours)));
    sink.accept(&runs);
    let timeline = sink.get(&field.path("/timeline")).json();
    assert_eq!(timeline["interval_seconds"], 3600);
    let kinds: Vec<_> = timeline["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["silent", "offline"], "{timeline:#}");
    let offline = &timeline["events"][1];
    assert_eq!((&offline["runs"], &offline["first"], &offline["last"]), (&25.into(), &1.into(), &25.into()));
    let said = offline["text"].as_str().unwrap();
    assert!(said.contains("25 runs arrived at once after 1 d 5 h"), "{said}");

    let page = sink.page(&format!("/gateways/{}", field.id()), &sink.sign_in()).text();
    for event in timeline["events"].as_array().unwrap() {
        assert!(plain(&page).contains(event["text"].as_str().unwrap()), "{page}");
    }
    assert!(page.contains("<path class=\"offline\"") && page.contains("<path class=\"silent\""), "each has its shape");
    assert!(page.contains("role=\"img\"") && page.contains("aria-describedby=\"events\""), "and its words");
    assert!(!page.contains("<script") && !page.contains("style=\""), "the policy would not let them through");
    assert_eq!(page.matches("<svg class=\"times\"").count(), 1);
}

#[test]
fn a_gateway_that_is_not_heard_of_stands_out_in_the_fleet() {
    let mut sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&hours_ago(&mut field, (0..6).rev()));
    assert_eq!(sink.get(&field.path("")).json()["silence"], Value::Null, "it was heard of just now");
    let cookie = sink.sign_in();
    assert!(!plain(&sink.page("/", &cookie).text()).contains("silent"));
    let then = Timestamp::now() - SignedDuration::from_hours(5);
    behind_its_back(&mut sink, |connection| {
        connection.execute("UPDATE runs SET received_at = ?1", [then.to_string()]).unwrap();
    });
    let silence = sink.get(&field.path("")).json()["silence"].clone();
    assert_eq!((&silence["since"], &silence["interval_seconds"]), (&then.to_string().into(), &3600.into()));
    let cookie = sink.sign_in();
    assert!(plain(&sink.page("/", &cookie).text()).contains("silent for 5 h"));
    let page = plain(&sink.page(&format!("/gateways/{}", field.id()), &cookie).text());
    assert!(page.contains("nothing was heard for 5 h, and a run is due every 1 h"), "{page}");
}

#[test]
fn a_gateway_that_cannot_be_read_does_not_hide_the_others() {
    let mut sink = Sink::start();
    let [mut good, mut worse] = [1, 2].map(|seed| Field::enrolled(seed, &sink));
    let bad = Field::enrolled(3, &sink);
    sink.accept(&good.runs(&[State::Hardened; 2]));
    sink.accept(&worse.runs(&[State::Hardened; 2]));
    let (key_of, run_of) = (bad.id().to_string(), worse.id().to_string());
    behind_its_back(&mut sink, |connection| {
        connection.execute("UPDATE gateways SET public_key = x'00' WHERE id = ?1", [&key_of]).unwrap();
        connection.execute("UPDATE runs SET started_at = 'no time' WHERE gateway = ?1", [&run_of]).unwrap();
    });
    let fleet = sink.get("/api/v1/gateways");
    assert_eq!(fleet.status, 200, "{}", fleet.text());
    let fleet = fleet.json();
    let of = |field: &Field| {
        let id = field.id().to_string();
        fleet["gateways"].as_array().unwrap().iter().find(|gateway| gateway["id"] == *id).unwrap().clone()
    };
    assert_eq!(of(&good)["runs"], 2);
    for (field, why) in [(&bad, "public_key"), (&worse, "started_at")] {
        let said = of(field)["cannot_be_read"].as_str().unwrap().to_owned();
        assert!(said.contains(why) && said.contains("Restore it from a backup"), "{said}");
    }
    let page = sink.page("/", &sink.sign_in());
    let text = plain(&page.text());
    assert_eq!(page.status, 200);
    assert!(text.contains("2 cannot be read") && text.contains("cannot be read: the database holds"), "{text}");
    // Its own page says the same, and no more than that.
    for (field, why) in [(&bad, "public_key"), (&worse, "started_at")] {
        let page = sink.page(&format!("/gateways/{}", field.id()), &sink.sign_in());
        let text = plain(&page.text());
        assert_eq!(page.status, 500);
        assert!(text.contains("Something of this gateway is damaged") && text.contains(why), "{text}");
        let anonymous = sink.get_with(&format!("/gateways/{}", field.id()), &[]);
        assert!(!anonymous.text().contains(why), "only who is signed in is told");
    }
}
