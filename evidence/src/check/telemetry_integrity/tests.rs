//! Counting to the message, from observations made by hand.

use super::*;
use crate::check::Seen;
use crate::look::{Failure, FailureKind};

fn message(number: u32, acknowledged: bool, arrivals: Vec<Arrival>) -> Message {
    let sent = u64::from(number) * 10;
    let acknowledged = acknowledged.then_some(sent + 5);
    Message { number, sent, acknowledged, refused: None, arrivals, further: 0 }
}

fn arrival(at: u64, place: u32, qos: u8) -> Arrival {
    Arrival { at, place, qos: Some(qos), again: false }
}

fn journey(messages: Vec<Message>) -> Journey {
    Journey { highest_qos: None, interruptions: 0, sessions_forgotten: 0, back_at: None, flooded: false, messages }
}

fn flow(path: Path, qos: u8, journey: Journey) -> Flow {
    Flow { path, qos, journey: Look::Seen(journey) }
}

fn facts(flows: Vec<Flow>, passive: Option<Look<Passive>>) -> (Facts, Unknown) {
    let observation = Observation {
        broker: "mqtt://127.0.0.1:1883".into(),
        protocol: Some(Protocol::V5),
        wait_micros: 5_000_000,
        flows,
        session_removed: None,
        passive,
    };
    // What is signed is read back, so what cannot be would be lost.
    let text = serde_json::to_string(&observation).unwrap();
    assert_eq!(serde_json::from_str::<Observation>(&text).unwrap(), observation);
    let seen = Seen { at: "2026-11-22T08:00:00Z".parse().unwrap(), distrust: None };
    let mut unknown = Unknown::default();
    let facts = Check::normalise(&observation, &seen, &mut unknown);
    (facts, unknown)
}

#[test]
fn each_fate_is_counted_once() {
    let messages = vec![
        message(1, true, vec![arrival(30, 0, 1)]),
        message(2, true, vec![]),
        message(3, false, vec![]),
        message(4, false, vec![arrival(90, 3, 1)]),
        message(5, true, vec![arrival(60, 1, 1), arrival(70, 2, 1)]),
        message(6, true, vec![arrival(95, 4, 0)]),
        Message { refused: Some("QuotaExceeded".into()), ..message(7, false, vec![]) },
    ];
    let (facts, _) = facts(vec![flow(Path::Live, 1, journey(messages))], None);
    let flow = &facts.flows["live-qos1"];
    let expected = FlowFacts {
        path: Path::Live,
        qos: 1,
        taken: Some(true),
        sent: Some(7),
        acknowledged: Some(4),
        unacknowledged: Some(2),
        refused: Some(1),
        arrived: Some(4),
        lost: Some(1),
        duplicated: Some(1),
        sent_again: Some(0),
        reordered: Some(1),
        downgraded: Some(1),
        interruptions: Some(0),
        session_forgotten: Some(false),
        flooded: Some(false),
        // Of 20, 50, 10 and 35 microseconds.
        p50_micros: Some(20),
        p95_micros: Some(50),
        max_micros: Some(50),
    };
    assert_eq!(*flow, expected);
}

#[test]
fn what_the_broker_marks_as_sent_again_is_no_copy() {
    let again = Arrival { again: true, ..arrival(50, 1, 1) };
    let sent_again = message(1, true, vec![arrival(30, 0, 1), again.clone()]);
    // The first that was heard may itself be marked: what came before was cut off with the connection.
    let only = message(2, true, vec![Arrival { place: 2, ..again }]);
    let (facts, _) = facts(vec![flow(Path::Live, 1, journey(vec![sent_again, only]))], None);
    let flow = &facts.flows["live-qos1"];
    assert_eq!((flow.duplicated, flow.sent_again, flow.lost), (Some(0), Some(2), Some(0)));
}

#[test]
fn delays_of_who_was_away_count_from_the_return() {
    let back = Journey { back_at: Some(1_000), ..journey(vec![message(1, true, vec![arrival(1_200, 0, 1)])]) };
    let (facts, _) = facts(vec![flow(Path::Session, 1, back)], None);
    assert_eq!(facts.flows["session-qos1"].max_micros, Some(200));
}

#[test]
fn silence_on_the_brokers_own_paths_is_unknown_and_beyond_a_bridge_it_is_loss() {
    let nothing = || journey(vec![message(1, true, vec![])]);
    let flows = vec![flow(Path::Live, 1, nothing()), flow(Path::Bridge, 1, nothing())];
    let (facts, unknown) = facts(flows, None);
    assert_eq!((facts.flows["live-qos1"].lost, facts.flows["bridge-qos1"].lost), (None, Some(1)));
    assert!(unknown.reason("/flows/live-qos1/lost").unwrap().contains("gatepost/canary/#"));
}

#[test]
fn one_canary_that_came_back_makes_every_other_one_count() {
    let flows = vec![
        flow(Path::Live, 0, journey(vec![message(1, false, vec![arrival(20, 0, 0)])])),
        flow(Path::Live, 1, journey(vec![message(1, true, vec![])])),
    ];
    let (facts, _) = facts(flows, None);
    assert_eq!((facts.flows["live-qos0"].lost, facts.flows["live-qos1"].lost), (Some(0), Some(1)));
    assert_eq!((facts.flows["live-qos0"].acknowledged, facts.flows["live-qos0"].unacknowledged), (None, None));
}

#[test]
fn a_flow_that_could_not_be_seen_has_its_reason_and_no_numbers() {
    let failure = Failure::new(FailureKind::TimedOut, "no time");
    let not_taken = Journey { highest_qos: Some(1), ..journey(vec![]) };
    let flows = vec![Flow { path: Path::Live, qos: 1, journey: Look::Failed(failure) }, flow(Path::Live, 2, not_taken)];
    let (facts, unknown) = facts(flows, None);
    assert_eq!((facts.flows["live-qos1"].taken, facts.flows["live-qos1"].sent), (None, None));
    assert_eq!(unknown.reason("/flows/live-qos1/lost"), Some("timed out: no time"));
    assert_eq!((facts.flows["live-qos2"].taken, facts.flows["live-qos2"].sent), (Some(false), None));
    assert!(unknown.reason("/flows/live-qos2/lost").unwrap().contains("up to QoS 1"));
}

#[test]
fn a_storm_says_nothing_of_losses() {
    let storm = Journey { flooded: true, ..journey(vec![message(1, true, vec![arrival(30, 0, 1)])]) };
    let (facts, unknown) = facts(vec![flow(Path::Live, 1, storm)], None);
    assert_eq!((facts.flows["live-qos1"].lost, facts.flows["live-qos1"].flooded), (None, Some(true)));
    assert!(unknown.reason("/flows/live-qos1/lost").is_some());
}

#[test]
fn topics_devices_and_client_ids_are_counted() {
    let counted = |live, retained| Counted { live, retained, first: 1, last: 2 };
    let passive = Passive {
        micros: 1_800_000_000,
        filters: vec!["telemetry/#".into()],
        refused: vec![],
        expected: vec!["stm32-01".into(), "stm32-02".into()],
        topics: BTreeMap::from([
            ("telemetry/stm32-01/t".into(), counted(3, 1)),
            ("telemetry/stm32-021".into(), counted(0, 1)),
        ]),
        beyond: 0,
        cut_short: false,
        takeovers: Look::Seen(BTreeMap::from([("stm32-01".into(), 2)])),
    };
    let (all, _) = facts(vec![], Some(Look::Seen(passive.clone())));
    assert_eq!(
        (all.topics["telemetry/stm32-01/t"].per_hour, all.topics["telemetry/stm32-01/t"].retained_only),
        (6, false)
    );
    assert!(all.topics["telemetry/stm32-021"].retained_only);
    assert_eq!((all.devices["stm32-01"].messages, all.devices["stm32-02"].messages), (Some(3), Some(0)));
    assert_eq!(all.shared_client_ids["stm32-01"].takeovers, 2);

    let failure = Failure::new(FailureKind::Denied, "the log is not to be read");
    let partly = Passive { cut_short: true, takeovers: Look::Failed(failure.clone()), ..passive };
    let (part, unknown) = facts(vec![], Some(Look::Seen(partly)));
    assert_eq!((part.devices["stm32-01"].messages, part.devices["stm32-02"].messages), (Some(3), None));
    assert!(unknown.reason("/devices/stm32-02/messages").is_some() && unknown.reason("/shared_client_ids").is_some());

    let (none, unknown) = facts(vec![], Some(Look::Failed(failure)));
    assert!(none.devices.is_empty() && unknown.reason("/devices").is_some() && unknown.reason("/topics").is_some());
    let (unasked, unknown) = facts(vec![], None);
    assert!(unasked.devices.is_empty() && unknown.reason("/devices").is_none() && !unasked.passive);
}
