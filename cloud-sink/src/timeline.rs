//! When a gateway's runs were made, when they arrived, and what the difference says.
//!
//! Three things look alike from afar and are not: the uplink was down (runs were made in time and arrived late, together),
//! the gateway was down (no run was made), and runs are gone (made, and evicted before they arrived). Each becomes an
//! [`Event`] with a sentence. Pure: the sink's time is handed in.
//!
//! Runs say when they began by the gateway's clock, arrivals are by the sink's. What the two differ by anyway is taken off
//! before anything is called late, and a run that began before 2026 says nothing about time (docs/evidence-format.md).

use gatepost_evidence::id::GatewayId;
use gatepost_evidence::tombstone::Cause;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde::Serialize;

use crate::account::{Account, Buried};
use crate::store::StoreError;
use crate::store::runs::{self, ChainGap, Times};

/// How far back the timeline looks.
pub const WINDOW: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Runs that are looked at; with more in the window, the newest.
pub const MOST_RUNS: usize = 20_000;
/// Runs that say how often this gateway looks.
const RECENT: usize = 50;
/// Runs made in quicker succession than this are somebody's by hand, not a timetable's.
const SHORTEST_INTERVAL: SignedDuration = SignedDuration::from_mins(5);
/// Anything that arrives within this time is not late.
const PROMPT: SignedDuration = SignedDuration::from_mins(10);
/// What looking and handing over may take.
const MOMENT: SignedDuration = SignedDuration::from_mins(1);
/// What is taken for the interval when there are too few runs to say.
const USUAL_INTERVAL: SignedDuration = SignedDuration::from_hours(1);
/// No clock that is right says an earlier time.
const EPOCH: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// Something that the timeline shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Event {
    /// What happened.
    #[serde(flatten)]
    pub what: What,
    /// From when on, as far as that is known.
    pub from: Option<Timestamp>,
    /// Until when; null when it goes on, or when that is not known.
    pub to: Option<Timestamp>,
    /// In a sentence.
    pub text: String,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// Runs were made and could not be handed over; they arrived together. Times are by the sink's clock.
    Offline {
        /// How many arrived together.
        runs: u64,
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// No run was made, or, at the end, nothing was heard. Times are by the sink's clock.
    Silent,
    /// Runs were made, and the gateway signed that they are gone.
    Evicted {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
        /// How many, if that is known.
        runs: Option<u64>,
        /// Why.
        cause: Cause,
    },
    /// Runs are missing, and nobody says why.
    Unaccounted {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
}

/// That nothing was heard of a gateway for longer than three of its own intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// When something was heard last, by the sink's clock.
    pub since: Timestamp,
    /// For how many seconds nothing has been heard.
    pub seconds: i64,
    /// How many seconds lie between its runs otherwise.
    pub interval_seconds: i64,
}

/// The last days of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Timeline {
    /// Where it begins, by the sink's clock: a midnight, UTC.
    pub from: Timestamp,
    /// The sink's clock now.
    pub to: Timestamp,
    /// How many seconds lie between this gateway's runs; null when there are too few to say.
    pub interval_seconds: Option<i64>,
    /// Newest first.
    pub events: Vec<Event>,
    /// When each run in it was made and arrived, in the order of the chain; the gateway's clock as it is, but for what it
    /// is always off by.
    #[serde(skip)]
    pub runs: Vec<Times>,
}

/// The last days of a gateway at `now`.
///
/// # Errors
/// The database's.
pub fn of_gateway(
    connection: &Connection,
    gateway: GatewayId,
    account: &Account,
    now: Timestamp,
) -> Result<Timeline, StoreError> {
    let from = now.checked_sub(WINDOW).unwrap_or(now);
    let runs = runs::times(connection, gateway, Some(from), MOST_RUNS)?;
    let interval = interval(&runs::times(connection, gateway, None, RECENT)?);
    Ok(timeline(&runs, account, interval, now))
}

/// Whether a gateway whose newest runs are `recent`, in the order of the chain, is silent at `now`.
///
/// # Errors
/// The database's.
pub fn silence(connection: &Connection, gateway: GatewayId, now: Timestamp) -> Result<Option<Silence>, StoreError> {
    let recent = runs::times(connection, gateway, None, RECENT)?;
    Ok(silent(&recent, interval(&recent), now))
}

fn silent(recent: &[Times], interval: Option<SignedDuration>, now: Timestamp) -> Option<Silence> {
    let interval = interval?;
    let since = recent.iter().map(|run| run.received_at).max()?;
    let quiet = now.duration_since(since);
    (quiet > interval * 3).then(|| Silence { since, seconds: quiet.as_secs(), interval_seconds: interval.as_secs() })
}

/// How much time usually lies between two runs: the median of those that follow each other.
fn interval(recent: &[Times]) -> Option<SignedDuration> {
    let follows = |pair: &&[Times]| pair[1].seq == pair[0].seq + 1 && pair[0].started_at >= EPOCH;
    let between = recent.windows(2).filter(follows).map(|pair| pair[1].started_at.duration_since(pair[0].started_at));
    let mut between: Vec<_> = between.filter(|between| between.is_positive()).collect();
    between.sort_unstable();
    let median = between.get(between.len() / 2).copied()?;
    (between.len() >= 3).then(|| median.max(SHORTEST_INTERVAL))
}

/// The timeline of `runs`, which are in the order of the chain.
#[must_use]
pub fn timeline(runs: &[Times], account: &Account, interval: Option<SignedDuration>, now: Timestamp) -> Timeline {
    let runs = on_the_sinks_clock(runs);
    let day = |time: Timestamp| Timestamp::from_second(time.as_second().div_euclid(86_400) * 86_400).unwrap_or(time);
    let window = now.checked_sub(WINDOW).unwrap_or(now);
    let first = runs.first().map_or(now, |run| run.started_at.min(run.received_at));
    let from = day(first.max(window));
    let mut events = offline(&runs, account, interval.unwrap_or(USUAL_INTERVAL));
    events.extend(silences(&runs, interval, now));
    // What is missing before the first run that is looked at belongs to days that are not.
    let near = |last: u64| runs.first().is_some_and(|first| last >= first.seq.saturating_sub(1));
    events.extend(account.buried.iter().filter(|it| near(it.to)).map(|it| evicted(&runs, it)));
    events.extend(account.unaccounted.iter().filter(|it| near(it.to)).map(|it| unaccounted(&runs, it)));
    events.retain(|event| event.to.is_none_or(|to| to >= from));
    events.sort_by_key(|event| std::cmp::Reverse((event.from.or(event.to), event.to)));
    Timeline { from, to: now, interval_seconds: interval.map(|interval| interval.as_secs()), events, runs }
}

/// Takes off what the gateway's clock is always behind by.
fn on_the_sinks_clock(runs: &[Times]) -> Vec<Times> {
    let believed: Vec<_> = runs.iter().filter(|run| run.started_at >= EPOCH).copied().collect();
    let behind = behind(&believed);
    let shifted = believed.into_iter().map(|run| Times {
        started_at: run.started_at.checked_add(behind).unwrap_or(run.started_at).min(run.received_at),
        ..run
    });
    shifted.collect()
}

/// How far the gateway's clock is behind the sink's: the least that any run was late by, if runs that came at different
/// times were late by as much. A single old one may have waited.
fn behind(runs: &[Times]) -> SignedDuration {
    let delay = |run: &&Times| run.received_at.duration_since(run.started_at);
    let Some(least) = runs.iter().map(|run| delay(&run)).filter(|delay| !delay.is_negative()).min() else {
        return SignedDuration::ZERO;
    };
    let alike = runs.iter().filter(|run| (least..least + PROMPT).contains(&delay(run)));
    let (first, last) = alike.fold((Timestamp::MAX, Timestamp::MIN), |(first, last), run| {
        (first.min(run.received_at), last.max(run.received_at))
    });
    if first >= last || last.duration_since(first) <= PROMPT {
        return SignedDuration::ZERO;
    }
    // Looking and handing over take a moment too; only what is more than that is the clock's.
    least.checked_sub(MOMENT).unwrap_or_default().max(SignedDuration::ZERO)
}

/// Runs that arrived together though they were made one after another.
fn offline(runs: &[Times], account: &Account, interval: SignedDuration) -> Vec<Event> {
    let mut events = Vec::new();
    let mut begin = 0;
    for at in 1..=runs.len() {
        // It was made before the one before it had arrived: both waited.
        let waited = runs.get(at).is_some_and(|run| run.started_at < runs[at - 1].received_at);
        if waited {
            continue;
        }
        events.extend(burst(&runs[begin..at], begin.checked_sub(1).map(|before| &runs[before]), account, interval));
        begin = at;
    }
    events
}

fn burst(together: &[Times], before: Option<&Times>, account: &Account, interval: SignedDuration) -> Option<Event> {
    let (first, last) = (together.first()?, together.last()?);
    let waited = first.received_at.duration_since(first.started_at);
    if waited <= PROMPT || (together.len() == 1 && waited <= interval + interval / 2) {
        return None;
    }
    // The last word before: of the run before, unless that one is much older; then the uplink may have been up meanwhile.
    let due = first.started_at.checked_sub(interval).unwrap_or(first.started_at);
    let from = match before {
        Some(before) if account.buried.iter().any(|gone| gone.from == before.seq + 1) => before.received_at,
        Some(before) => before.received_at.max(due).min(first.started_at),
        None => first.started_at,
    };
    let to = first.received_at;
    let runs = together.len() as u64;
    let arrived = if runs == 1 { "1 run arrived".to_owned() } else { format!("{runs} runs arrived at once") };
    let text = format!(
        "Offline from {} to {}: {arrived} after {}.",
        minute(from),
        minute(to),
        length(to.duration_since(from))
    );
    let what = What::Offline { runs, first: first.seq, last: last.seq };
    Some(Event { what, from: Some(from), to: Some(to), text })
}

/// Times in which no run was made though one was due, and the time since the last word.
fn silences(runs: &[Times], interval: Option<SignedDuration>, now: Timestamp) -> Vec<Event> {
    let Some(interval) = interval else { return Vec::new() };
    let follows = |pair: &&[Times]| pair[1].seq == pair[0].seq + 1;
    let long = |pair: &&[Times]| pair[1].started_at.duration_since(pair[0].started_at) > interval * 3;
    let mut events: Vec<_> = runs
        .windows(2)
        .filter(follows)
        .filter(long)
        .map(|pair| {
            let (from, to) = (pair[0].started_at, pair[1].started_at);
            let text = format!(
                "Silent from {} to {}: no run was made for {}.",
                minute(from),
                minute(to),
                length(to.duration_since(from))
            );
            Event { what: What::Silent, from: Some(from), to: Some(to), text }
        })
        .collect();
    if let Some(Silence { since, .. }) = silent(runs, Some(interval), now) {
        let text = format!(
            "Silent since {}: nothing was heard for {}, and a run is due every {}. Whether the gateway or its uplink is \
             down shows when it comes back.",
            minute(since),
            length(now.duration_since(since)),
            length(interval)
        );
        events.push(Event { what: What::Silent, from: Some(since), to: None, text });
    }
    events
}

/// When the missing runs at `first` to `last` were made: after the run before, and before the run after.
fn between(runs: &[Times], first: u64, last: u64) -> (Option<Timestamp>, Option<Timestamp>) {
    let before = runs.iter().rev().find(|run| run.seq < first);
    let after = runs.iter().find(|run| run.seq > last);
    (before.map(|run| run.started_at), after.map(|run| run.started_at))
}

fn made(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("made between {} and {}", minute(from), minute(to)),
        (Some(from), None) => format!("made after {}", minute(from)),
        (None, Some(to)) => format!("made before {}", minute(to)),
        (None, None) => "made at a time that is not known".to_owned(),
    }
}

fn evicted(runs: &[Times], buried: &Buried) -> Event {
    let (from, to) = between(runs, buried.from, buried.to);
    let (first, last) = (buried.from, buried.to);
    let count = match buried.runs {
        None => "an unknown number of runs".to_owned(),
        Some(1) => "1 run".to_owned(),
        Some(count) => format!("{count} runs"),
    };
    let at = minute(buried.buried_at);
    let text = format!(
        "{} gone ({count}, {}): {}. The gateway signed this on {at}.",
        if first == last { format!("Run {first} is") } else { format!("Runs {first} to {last} are") },
        made(from, to),
        why(buried.cause)
    );
    Event { what: What::Evicted { first, last, runs: buried.runs, cause: buried.cause }, from, to, text }
}

/// Why runs are gone, in plain words.
#[must_use]
pub fn why(cause: Cause) -> &'static str {
    match cause {
        Cause::AcknowledgedExpired => {
            "the gateway let them go because it held a receipt for them, so this sink once had them: was an older copy of \
             its database restored?"
        }
        Cause::QuarantinedExpired => "they had been refused for good, and the gateway made room",
        Cause::TooOld => "they waited longer than the gateway keeps runs",
        Cause::NoRoom => "the gateway's spool was full before they could be handed over",
        Cause::Damaged => "the gateway could not read them back from its disk",
    }
}

fn unaccounted(runs: &[Times], gap: &ChainGap) -> Event {
    let ChainGap { from: first, to: last } = *gap;
    let (from, to) = between(runs, first, last);
    let made = made(from, to);
    let text = if first == last {
        format!("Run {first} ({made}) is unaccounted for: it never came, and no tombstone stands for it.")
    } else {
        format!(
            "Runs {first} to {last} ({made}) are unaccounted for: they never came, and no tombstone stands for them."
        )
    };
    Event { what: What::Unaccounted { first, last }, from, to, text }
}

/// `1 Mar 2026, 10:00 UTC`.
#[must_use]
pub fn minute(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%-d %b %Y, %H:%M UTC").to_string()
}

/// How long, in the two largest units, rounded to the smaller: `3 d`, `2 d 5 h`, `1 h 20 min`, `4 min`.
#[must_use]
pub fn length(duration: SignedDuration) -> String {
    let minutes = (duration.as_secs().max(0) + 30) / 60;
    // Beyond a day nobody counts minutes.
    let minutes = if minutes >= 24 * 60 { (minutes + 30) / 60 * 60 } else { minutes };
    let parts = [(minutes / (24 * 60), "d"), (minutes / 60 % 24, "h"), (minutes % 60, "min")];
    let words: Vec<_> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count} {unit}")).collect();
    if words.is_empty() { "less than a minute".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests;
