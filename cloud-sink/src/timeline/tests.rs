//! An outage of the uplink, a silent gateway and evicted runs are told apart, whatever the clocks say.

use gatepost_evidence::id::Digest;

use super::*;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// So many hours and seconds after noon of the first of March.
fn at(hours: i64, seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    noon + HOUR * i32::try_from(hours).unwrap() + SignedDuration::from_secs(seconds)
}

/// A run that was made in this hour, and arrived in that one.
fn run(seq: u64, made: i64, arrived: i64) -> Times {
    Times { seq, started_at: at(made, 0), received_at: at(arrived, 5) }
}

fn hourly(places: std::ops::RangeInclusive<u64>) -> Vec<Times> {
    places.map(|seq| run(seq, seq as i64, seq as i64)).collect()
}

fn texts(runs: &[Times], account: &Account, now: Timestamp) -> Vec<String> {
    timeline(runs, account, interval(runs), now).events.into_iter().map(|event| event.text).collect()
}

fn buried(from: u64, to: u64) -> Buried {
    Buried {
        from,
        to,
        runs: Some(to - from + 1),
        cause: Cause::NoRoom,
        buried_at: at(70, 0),
        received_at: at(78, 0),
        tombstone: Digest::of(b"tombstone"),
    }
}

#[test]
fn a_gateway_that_reports_in_time_has_nothing_to_tell() {
    let runs = hourly(1..=30);
    let timeline = timeline(&runs, &Account::default(), interval(&runs), at(31, 0));
    assert_eq!((timeline.interval_seconds, timeline.events), (Some(3600), Vec::new()));
    assert_eq!(timeline.from, "2026-03-01T00:00:00Z".parse().unwrap(), "a midnight");
}

#[test]
fn an_outage_of_the_uplink_is_told_by_runs_that_arrive_together() {
    let mut runs = hourly(1..=6);
    // Three batches, a few seconds apart.
    runs.extend((7..=78).map(|seq| Times { received_at: at(78, 5 + seq as i64 / 30), ..run(seq, seq as i64, 78) }));
    let told = texts(&runs, &Account::default(), at(78, 60));
    assert_eq!(
        told,
        ["Offline from 1 Mar 2026, 18:00 UTC to 4 Mar 2026, 18:00 UTC: 72 runs arrived at once after 3 d."]
    );
    let event = &timeline(&runs, &Account::default(), interval(&runs), at(78, 60)).events[0];
    assert_eq!(event.what, What::Offline { runs: 72, first: 7, last: 78 });
    // A clock that is always two hours behind changes nothing of that.
    let behind: Vec<_> = runs.iter().map(|run| Times { started_at: run.started_at - HOUR * 2, ..*run }).collect();
    assert_eq!(texts(&behind, &Account::default(), at(78, 60)), told);
}

#[test]
fn what_arrives_old_after_an_outage_is_not_taken_for_a_slow_clock() {
    // The first contact after a day, three hours after the last look.
    let runs: Vec<_> = (1..=24).map(|seq| run(seq, seq as i64, 27)).collect();
    let told = texts(&runs, &Account::default(), at(27, 60));
    assert_eq!(
        told,
        ["Offline from 1 Mar 2026, 13:00 UTC to 2 Mar 2026, 15:00 UTC: 24 runs arrived at once after 1 d 2 h."]
    );
}

#[test]
fn one_late_run_is_an_outage_when_it_is_late_enough() {
    let mut runs = hourly(1..=6);
    runs.push(Times { received_at: at(7, 1800), ..run(7, 7, 7) });
    assert_eq!(texts(&runs, &Account::default(), at(8, 0)), [""; 0]);
    runs[6].received_at = at(9, 0);
    let told = texts(&runs, &Account::default(), at(9, 0));
    assert_eq!(told, ["Offline from 1 Mar 2026, 18:00 UTC to 1 Mar 2026, 21:00 UTC: 1 run arrived after 3 h."]);
}

#[test]
fn an_outage_of_the_gateway_is_told_by_the_runs_that_were_not_made() {
    let mut runs = hourly(1..=6);
    runs.extend((7..=9).map(|seq| run(seq, seq as i64 + 48, seq as i64 + 48)));
    let told = texts(&runs, &Account::default(), at(58, 0));
    assert_eq!(told, ["Silent from 1 Mar 2026, 18:00 UTC to 3 Mar 2026, 19:00 UTC: no run was made for 2 d 1 h."]);
    // Three intervals are not longer than three intervals.
    let runs: Vec<_> = [1, 2, 3, 4, 7].into_iter().zip(1..).map(|(hour, seq)| run(seq, hour, hour)).collect();
    assert_eq!(texts(&runs, &Account::default(), at(8, 0)), [""; 0]);
}

#[test]
fn a_gateway_that_is_not_heard_of_is_silent_and_nobody_knows_why() {
    let runs = hourly(1..=6);
    assert_eq!(silent(&runs, interval(&runs), at(9, 5)), None);
    let silence = silent(&runs, interval(&runs), at(9, 6)).unwrap();
    assert_eq!(silence, Silence { since: at(6, 5), seconds: 3 * 3600 + 1, interval_seconds: 3600 });
    let told = texts(&runs, &Account::default(), at(11, 5));
    assert!(
        told[0]
            .starts_with("Silent since 1 Mar 2026, 18:00 UTC: nothing was heard for 5 h, and a run is due every 1 h")
    );
    // Without a timetable nothing is due.
    assert_eq!(silent(&hourly(1..=3), interval(&hourly(1..=3)), at(99, 0)), None);
    assert_eq!(silent(&[], None, at(99, 0)), None);
}

#[test]
fn runs_that_are_gone_are_no_silence_and_the_outage_began_before_them() {
    let mut runs = hourly(1..=6);
    runs.extend((51..=78).map(|seq| run(seq, seq as i64, 78)));
    let account = Account { buried: vec![buried(7, 50)], unaccounted: Vec::new() };
    let told = texts(&runs, &account, at(78, 60));
    assert_eq!(
        told,
        [
            "Offline from 1 Mar 2026, 18:00 UTC to 4 Mar 2026, 18:00 UTC: 28 runs arrived at once after 3 d.",
            "Runs 7 to 50 are gone (44 runs, made between 1 Mar 2026, 18:00 UTC and 3 Mar 2026, 15:00 UTC): the gateway's \
             spool was full before they could be handed over. The gateway signed this on 4 Mar 2026, 10:00 UTC.",
        ]
    );
    let nobody = Account { buried: Vec::new(), unaccounted: vec![ChainGap { from: 7, to: 50 }] };
    let told = texts(&runs, &nobody, at(78, 60));
    assert!(told.iter().any(|text| text.contains("Runs 7 to 50") && text.contains("are unaccounted for")), "{told:?}");
    let one = Account { buried: Vec::new(), unaccounted: vec![ChainGap { from: 79, to: 79 }] };
    let told = texts(&runs, &one, at(78, 60));
    assert!(told.iter().any(|text| text.starts_with("Run 79 (made after 4 Mar 2026, 18:00 UTC) is unaccounted for")));
}

#[test]
fn a_clock_that_cannot_be_right_says_nothing() {
    let mut runs = hourly(1..=6);
    runs.push(Times { started_at: Timestamp::UNIX_EPOCH, ..run(7, 7, 7) });
    runs.push(run(8, 8, 8));
    assert_eq!(texts(&runs, &Account::default(), at(9, 0)), [""; 0]);
    // One that is ahead is not early.
    runs[3].started_at = at(30, 0);
    assert!(texts(&runs, &Account::default(), at(9, 0)).iter().all(|text| !text.contains("Offline")));
    assert_eq!(timeline(&[], &Account::default(), None, at(9, 0)).events, Vec::new());
}

#[test]
fn lengths_are_said_in_two_units_at_most() {
    let said = |seconds: i64| length(SignedDuration::from_secs(seconds));
    assert_eq!(
        [
            said(0),
            said(29),
            said(60),
            said(3600),
            said(4800),
            said(86_399),
            said(86_400 + 1_900),
            said(3 * 86_400 - 40)
        ],
        ["less than a minute", "less than a minute", "1 min", "1 h", "1 h 20 min", "1 d", "1 d 1 h", "3 d"]
    );
}
