//! From what became of each canary to numbers.
//!
//! Pure. A message counts as lost only when the broker was answerable for it: acknowledged, or published with QoS 0. Where
//! not one canary of a broker's came back on any path, nothing is said of losses: that is how a broker behaves whose access
//! control lets the client write or read no canary, and silence about that is no loss.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    DeviceFacts, Facts, Flow, FlowFacts, Journey, Message, Observation, Passive, Path, SharedFacts, TopicFacts,
};
use crate::check::{Unknown, segment};
use crate::look::Look;

/// The largest number that canonical JSON holds.
const MOST: u64 = (1 << 53) - 1;
/// One hour in microseconds.
const HOUR: u128 = 3_600_000_000;

pub(super) fn facts(observation: &Observation, unknown: &mut Unknown) -> Facts {
    let silent = silent(observation);
    let flows = observation.flows.iter().map(|seen| {
        let name = format!("{}-qos{}", seen.path.name(), seen.qos);
        let pointer = format!("/flows/{}", segment(&name));
        (name, flow(seen, silent.as_deref(), &pointer, unknown))
    });
    let flows = flows.collect();
    let session_removed = observation.session_removed.as_ref().and_then(|look| match look {
        Look::Seen(removed) => Some(*removed),
        Look::Failed(failure) => {
            unknown.because("/session_removed", failure);
            None
        }
    });
    let mut facts = Facts {
        broker: observation.broker.clone(),
        protocol: observation.protocol,
        flows,
        session_removed,
        passive: matches!(observation.passive, Some(Look::Seen(_))),
        topics: BTreeMap::new(),
        devices: BTreeMap::new(),
        shared_client_ids: BTreeMap::new(),
    };
    match &observation.passive {
        Some(Look::Seen(passive)) => counted(passive, &mut facts, unknown),
        Some(Look::Failed(failure)) => {
            for map in ["/topics", "/devices", "/shared_client_ids"] {
                unknown.because(map, failure);
            }
        }
        None => {}
    }
    facts
}

/// Why nothing can be said of the broker's own paths, if canaries were published and not one came back on them.
fn silent(observation: &Observation) -> Option<String> {
    let own = |flow: &&Flow| matches!(flow.path, Path::Live | Path::Session);
    let journeys: Vec<&Journey> = observation.flows.iter().filter(own).filter_map(|flow| flow.journey.seen()).collect();
    let messages = || journeys.iter().flat_map(|journey| &journey.messages);
    if messages().next().is_none() || messages().any(|message| !message.arrivals.is_empty()) {
        return None;
    }
    Some(match messages().find_map(|message| message.refused.as_ref()) {
        Some(reason) => format!("the broker refuses canaries ({reason}); {RIGHTS}"),
        None => format!("not one canary came back; {RIGHTS}"),
    })
}

const RIGHTS: &str = "where the broker has access control, let this client read and write gatepost/canary/#";

fn flow(flow: &Flow, silent: Option<&str>, pointer: &str, unknown: &mut Unknown) -> FlowFacts {
    let mut facts = FlowFacts {
        path: flow.path,
        qos: flow.qos,
        taken: None,
        sent: None,
        acknowledged: None,
        unacknowledged: None,
        refused: None,
        arrived: None,
        lost: None,
        duplicated: None,
        sent_again: None,
        reordered: None,
        downgraded: None,
        interruptions: None,
        session_forgotten: None,
        flooded: None,
        p50_micros: None,
        p95_micros: None,
        max_micros: None,
    };
    let journey = match &flow.journey {
        Look::Seen(journey) => journey,
        Look::Failed(failure) => {
            unknown.because(pointer, failure);
            return facts;
        }
    };
    if let Some(highest) = journey.highest_qos {
        facts.taken = Some(false);
        unknown.because(pointer, format_args!("the broker takes messages up to QoS {highest} only"));
        return facts;
    }
    facts.taken = Some(true);
    let messages = &journey.messages;
    let count = |of: &dyn Fn(&Message) -> bool| Some(messages.iter().filter(|message| of(message)).count() as u64);
    let arrived = |message: &Message| !message.arrivals.is_empty();
    facts.sent = Some(messages.len() as u64);
    facts.interruptions = Some(u64::from(journey.interruptions));
    facts.session_forgotten = Some(journey.sessions_forgotten > 0);
    facts.flooded = Some(journey.flooded);
    facts.refused = count(&|message| message.refused.is_some());
    if flow.qos > 0 {
        facts.acknowledged = count(&|message| message.acknowledged.is_some());
        facts.unacknowledged = count(&|message| message.acknowledged.is_none() && message.refused.is_none());
    }
    facts.arrived = count(&arrived);
    // A way that the operator named has to lead somewhere; the broker's own may be closed to this client.
    if let (Some(silent), Path::Live | Path::Session) = (silent, flow.path) {
        unknown.because(pointer, silent);
        return facts;
    }
    facts.duplicated = count(&|message| copies(message) > 1);
    if journey.flooded {
        for fact in ["lost", "reordered"] {
            unknown.because(format!("{pointer}/{fact}"), "the listening was ended, since far too many messages came");
        }
    } else {
        facts.lost = count(&|message| {
            let answerable = message.refused.is_none() && (flow.qos == 0 || message.acknowledged.is_some());
            answerable && !arrived(message)
        });
        facts.reordered = Some(reordered(messages));
    }
    facts.sent_again = count(&|message| message.arrivals.iter().any(|arrival| arrival.again));
    facts.downgraded =
        count(&|message| message.arrivals.iter().any(|arrival| arrival.qos.is_some_and(|qos| qos < flow.qos)));
    let mut delays: Vec<u64> = messages
        .iter()
        .filter_map(|message| {
            let from = message.sent.max(journey.back_at.unwrap_or(0));
            Some(message.arrivals.first()?.at.saturating_sub(from))
        })
        .collect();
    delays.sort_unstable();
    let percentile = |percent: usize| {
        let rank = (delays.len() * percent).div_ceil(100);
        delays.get(rank.checked_sub(1)?).copied()
    };
    facts.p50_micros = percentile(50);
    facts.p95_micros = percentile(95);
    facts.max_micros = percentile(100);
    if delays.is_empty() {
        for fact in ["p50_micros", "p95_micros", "max_micros"] {
            unknown.because(format!("{pointer}/{fact}"), "no canary arrived");
        }
    }
    facts
}

/// How often a message came, those aside that the broker marked as sent again.
fn copies(message: &Message) -> usize {
    let again = message.arrivals.iter().skip(1).filter(|arrival| arrival.again).count();
    message.arrivals.len() - again + message.further as usize
}

/// How many messages came first after one with a higher number.
fn reordered(messages: &[Message]) -> u64 {
    let mut first: Vec<(u32, u32)> = messages
        .iter()
        .filter_map(|message| Some((message.arrivals.iter().map(|arrival| arrival.place).min()?, message.number)))
        .collect();
    first.sort_unstable();
    let mut highest = 0;
    let mut late = 0;
    for (_, number) in first {
        if number < highest {
            late += 1;
        }
        highest = highest.max(number);
    }
    late
}

fn counted(passive: &Passive, facts: &mut Facts, unknown: &mut Unknown) {
    for (topic, counted) in &passive.topics {
        let in_an_hour = u128::from(counted.live) * HOUR / u128::from(passive.micros.max(1));
        facts.topics.insert(
            topic.clone(),
            TopicFacts {
                messages: counted.live,
                per_hour: u64::try_from(in_an_hour).unwrap_or(u64::MAX).min(MOST),
                retained: counted.retained > 0,
                retained_only: counted.retained > 0 && counted.live == 0,
            },
        );
    }
    let heard_all = passive.refused.is_empty() && passive.beyond == 0 && !passive.cut_short;
    let expected: BTreeSet<&String> = passive.expected.iter().collect();
    for id in expected {
        let of_it = |(topic, counted): (&String, &super::Counted)| {
            topic.split('/').any(|level| level == id).then_some(counted.live)
        };
        let messages = passive.topics.iter().filter_map(of_it).fold(0, u64::saturating_add).min(MOST);
        let known = messages > 0 || heard_all;
        if !known {
            // It may have been among what was not listened to.
            let pointer = format!("/devices/{}", segment(id));
            unknown.because(pointer, "not everything that was asked for was listened to");
        }
        facts.devices.insert(id.clone(), DeviceFacts { messages: known.then_some(messages) });
    }
    match &passive.takeovers {
        Look::Seen(takeovers) => {
            let shared = takeovers.iter().map(|(id, &takeovers)| (id.clone(), SharedFacts { takeovers }));
            facts.shared_client_ids = shared.collect();
        }
        Look::Failed(failure) => unknown.because("/shared_client_ids", failure),
    }
}
