//! Outages: when evidence had to wait for the sink, from the agent's own record of runs and receipts.
//!
//! A run waits from the moment it was stored until the sink had it, by its receipt. Runs that waited no longer than
//! [`GRACE`] were handed over in the ordinary course; what waited longer, together, is an outage. It began at the latest when
//! its first run was stored, and ended when the sink took the first of its runs; the backlog was gone when it had the last.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Seen, Unknown};
use crate::look::Look;

/// What a run may wait before it counts as an outage: an upload that follows the run, with a retry or two.
pub const GRACE: SignedDuration = SignedDuration::from_mins(5);
/// The most outages that are recorded: the latest.
pub const MAX_OUTAGES: usize = 64;

/// What the agent's own record says about contact with the sink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// When the oldest run on record was stored; null when there is none.
    pub since: Option<Timestamp>,
    /// Times in which runs waited longer than five minutes; the latest, oldest first.
    pub outages: Vec<Outage>,
    /// The most runs that ever waited at once.
    pub most_waiting: u64,
    /// Runs that wait now.
    pub waiting: u64,
}

/// A time in which runs waited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// When the first of them was stored.
    pub from: Timestamp,
    /// When the sink had the first of them; null while it has none.
    pub until: Option<Timestamp>,
    /// When it had the last of them; null while some still wait.
    pub drained: Option<Timestamp>,
    /// How many waited.
    pub runs: u64,
}

/// A run as the spool knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handed {
    /// When it was stored.
    pub stored: Timestamp,
    /// When the sink had it, by its receipt; none while it waits.
    pub taken: Option<Timestamp>,
}

impl Record {
    /// What follows from `runs`, in the order of their places, at `now`.
    #[must_use]
    pub fn of(runs: &[Handed], now: Timestamp) -> Self {
        let mut outages: Vec<Outage> = Vec::new();
        for run in runs {
            let end = run.taken.unwrap_or(now);
            if end.duration_since(run.stored) <= GRACE {
                continue;
            }
            match outages.last_mut() {
                // Stored while others still waited: the same outage.
                Some(last) if last.drained.is_none_or(|drained| run.stored <= drained) => {
                    last.runs += 1;
                    last.until = [last.until, run.taken].into_iter().flatten().min();
                    last.drained = last.drained.zip(run.taken).map(|(one, other)| one.max(other));
                }
                _ => {
                    outages.push(Outage { from: run.stored, until: run.taken, drained: run.taken, runs: 1 });
                }
            }
        }
        let first = outages.len().saturating_sub(MAX_OUTAGES);
        outages.drain(..first);
        Self {
            since: runs.first().map(|run| run.stored),
            outages,
            most_waiting: most_waiting(runs, now),
            waiting: runs.iter().filter(|run| run.taken.is_none()).count() as u64,
        }
    }
}

/// The most runs that waited at one moment.
fn most_waiting(runs: &[Handed], now: Timestamp) -> u64 {
    let mut events: Vec<(Timestamp, i64)> = Vec::with_capacity(runs.len() * 2);
    for run in runs {
        let taken = run.taken.unwrap_or(now).max(run.stored);
        // One that came and one that went at the same moment did not wait together.
        events.extend([(taken, -1), (run.stored, 1)]);
    }
    // A run that went at once must have come before.
    events.sort_by_key(|(at, change)| (*at, -*change));
    let mut waiting = 0_i64;
    let most = events.iter().map(|(_, change)| {
        waiting += change;
        waiting
    });
    u64::try_from(most.max().unwrap_or(0)).unwrap_or(0)
}

/// Facts about contact with the sink.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutageFacts {
    /// Hours from the oldest run on record.
    pub record_hours: u64,
    /// Thousandths of the last 24 hours without an outage; absent while the record is shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_day_permille: Option<u64>,
    /// The same of the last 30 days, or of what the record has of them; absent while that is less than a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_month_permille: Option<u64>,
    /// Outages in the last 30 days.
    pub outages: u64,
    /// The longest of them, seconds.
    pub longest_seconds: u64,
    /// How long the present one lasts, seconds; 0 when there is none.
    pub present_seconds: u64,
    /// The most runs that ever waited at once.
    pub backlog_high_water: u64,
    /// Runs that wait now.
    pub backlog: u64,
    /// From the end of the last outage until its backlog was gone, seconds; absent when there was none, or it is not gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<u64>,
}

const DAY: SignedDuration = SignedDuration::from_hours(24);
const MONTH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The facts, as of when it was looked.
pub(super) fn facts(record: Option<&Look<Record>>, seen: &Seen, unknown: &mut Unknown) -> Option<OutageFacts> {
    let record = match record? {
        Look::Seen(record) => record,
        Look::Failed(failure) => {
            unknown.because("/outages", failure);
            return None;
        }
    };
    if let Some(reason) = seen.distrust {
        unknown.because("/outages", reason);
        return None;
    }
    let now = seen.at;
    let age = record.since.map_or(SignedDuration::ZERO, |since| now.duration_since(since));
    let seconds = |duration: SignedDuration| u64::try_from(duration.as_secs()).unwrap_or(0);
    let end = |outage: &Outage| outage.until.unwrap_or(now);
    let available = |window: SignedDuration| {
        let from = now - window.min(age);
        let without: u64 = record
            .outages
            .iter()
            .map(|outage| seconds(end(outage).min(now).duration_since(outage.from.max(from))))
            .sum();
        let whole = seconds(window.min(age)).max(1);
        whole.saturating_sub(without) * 1000 / whole
    };
    let recent: Vec<&Outage> = record.outages.iter().filter(|outage| end(outage) >= now - MONTH).collect();
    if age < DAY {
        let reason = "the record is not a day old yet";
        unknown.because("/outages/available_day_permille", reason);
        unknown.because("/outages/available_month_permille", reason);
    }
    let last = recent.last();
    Some(OutageFacts {
        record_hours: seconds(age) / 3600,
        available_day_permille: (age >= DAY).then(|| available(DAY)),
        available_month_permille: (age >= DAY).then(|| available(MONTH)),
        outages: recent.len() as u64,
        longest_seconds: recent
            .iter()
            .map(|outage| seconds(end(outage).duration_since(outage.from)))
            .max()
            .unwrap_or(0),
        present_seconds: last
            .filter(|last| last.until.is_none())
            .map_or(0, |last| seconds(now.duration_since(last.from))),
        backlog_high_water: record.most_waiting,
        backlog: record.waiting,
        drain_seconds: last
            .and_then(|last| last.until.zip(last.drained))
            .map(|(until, drained)| seconds(drained.duration_since(until))),
    })
}
