//! The clock: how far it is from what time servers say, and whether the machine keeps time without power.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::{Unknown, segment};
use crate::look::Look;

/// What was asked about time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Where the names of the servers come from: a file, or `configuration`.
    pub source: Option<String>,
    /// The servers, each asked once (RFC 5905); failed when what names them cannot be read.
    pub servers: Look<Vec<TimeServer>>,
    /// Clocks of sysfs that run on without power; empty when there is none.
    pub clocks: Look<Vec<String>>,
    /// It is a board that is described by a device tree: such boards have a clock only where one was fitted.
    pub board: Look<bool>,
}

/// A time server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeServer {
    /// Its name or address.
    pub address: String,
    /// What it answered.
    pub answer: Look<TimeAnswer>,
}

/// An answer of a time server (RFC 5905, section 7.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeAnswer {
    /// Leap indicator: 3 when it is not synchronised itself.
    pub leap: u8,
    /// Stratum: 1 for those with a clock of their own, 16 when not synchronised, 0 for a word instead of the time.
    pub stratum: u8,
    /// That word (RFC 5905, section 7.4), such as `RATE` or `DENY`; null with any other stratum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kiss: Option<String>,
    /// How far its clock is ahead of this one's, in microseconds.
    pub offset_micros: i64,
    /// Time on the way, there and back, in microseconds.
    pub delay_micros: u64,
}

/// Facts about a time server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeServerFacts {
    /// It answered.
    pub answers: bool,
    /// Its time may be used: it is synchronised, and did not send the asker away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable: Option<bool>,
    /// The word that it sent instead of the time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kiss: Option<String>,
    /// Its stratum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stratum: Option<u8>,
    /// How far this machine's clock is from its, at least: the offset less what the way may account for. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off_millis: Option<u64>,
}

/// Facts about the clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeFacts {
    /// By address: the servers that were asked.
    pub servers: BTreeMap<String, TimeServerFacts>,
    /// How far the clock is off, by most of the servers: the median of those that can be used. Milliseconds, without sign.
    pub off_millis: Option<u64>,
    /// How far apart the servers are among themselves, milliseconds; absent with fewer than two.
    pub spread_millis: Option<u64>,
    /// There is a clock that runs on without power.
    pub kept_without_power: Option<bool>,
    /// It is a board that may have none.
    pub board: Option<bool>,
}

impl TimeAnswer {
    /// Whether the time in it may be used (RFC 5905, section 7.3 and 7.4).
    fn usable(&self) -> bool {
        self.leap != 3 && (1..16).contains(&self.stratum)
    }
}

/// The facts.
pub(super) fn facts(time: Option<&Time>, unknown: &mut Unknown) -> TimeFacts {
    let mut facts = TimeFacts::default();
    let Some(time) = time else { return facts };
    match &time.clocks {
        Look::Seen(clocks) => facts.kept_without_power = Some(!clocks.is_empty()),
        Look::Failed(failure) => unknown.because("/clock_kept_without_power", failure),
    }
    match &time.board {
        Look::Seen(board) => facts.board = Some(*board),
        Look::Failed(failure) => unknown.because("/board", failure),
    }
    let servers = match &time.servers {
        Look::Seen(servers) => servers,
        Look::Failed(failure) => {
            for place in ["/time_servers", "/clock_off_millis", "/time_servers_apart_millis"] {
                unknown.because(place, failure);
            }
            return facts;
        }
    };
    facts.servers = servers.iter().map(|server| (server.address.clone(), of_server(server, unknown))).collect();
    let usable = servers.iter().filter_map(|server| server.answer.seen()).filter(|answer| answer.usable());
    let mut answers: Vec<&TimeAnswer> = usable.collect();
    answers.sort_by_key(|answer| answer.offset_micros);
    if let Some(middle) = answers.get(answers.len() / 2) {
        facts.off_millis = Some(off(middle));
    } else if !servers.is_empty() {
        let failure = servers.iter().find_map(|server| server.answer.failure());
        let reason = failure.map_or_else(|| "no server has a time that may be used".to_owned(), ToString::to_string);
        unknown.because("/clock_off_millis", &reason);
        unknown.because("/time_servers_apart_millis", &reason);
    }
    if let ([first, .., last], true) = (answers.as_slice(), answers.len() > 1) {
        let apart = last.offset_micros.abs_diff(first.offset_micros);
        let on_the_way = first.delay_micros / 2 + last.delay_micros / 2;
        facts.spread_millis = Some(apart.saturating_sub(on_the_way) / 1000);
    }
    facts
}

/// What the offset says for certain: the two halves of the way may be as different as the whole is long.
fn off(answer: &TimeAnswer) -> u64 {
    answer.offset_micros.unsigned_abs().saturating_sub(answer.delay_micros / 2) / 1000
}

fn of_server(server: &TimeServer, unknown: &mut Unknown) -> TimeServerFacts {
    match &server.answer {
        Look::Seen(answer) => TimeServerFacts {
            answers: true,
            usable: Some(answer.usable()),
            kiss: answer.kiss.clone(),
            stratum: Some(answer.stratum),
            off_millis: answer.usable().then(|| off(answer)),
        },
        Look::Failed(failure) => {
            unknown.because(format!("/time_servers/{}", segment(&server.address)), failure);
            TimeServerFacts { answers: false, usable: None, kiss: None, stratum: None, off_millis: None }
        }
    }
}
