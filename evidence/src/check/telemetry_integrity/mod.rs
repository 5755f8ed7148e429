//! `telemetry_integrity`: whether what is published arrives, once, in order, in time and at the quality it was asked for.
//!
//! The observation holds, message by message, when a canary was published, when the broker acknowledged it and when it
//! arrived, as often as it did. The facts count that, right to the message. Beside it stands what was counted of other
//! people's messages where the operator allowed it: topics and how often, never a payload.
//!
//! The paths: `live` to a client that is connected; `session` to a client that was away and came back; `bridge` to a
//! client of another broker; `ingest` to the cloud's ingest edge, by way of the gateway service.

mod count;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown};
use crate::look::Look;

/// The contract of this check.
pub struct Check;

/// What was seen of the canaries and, where it was allowed, of everybody's messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Where canaries were published, `mqtts://host:port` or `mqtt://host:port`.
    pub broker: String,
    /// The version of MQTT that was spoken; null when nothing was.
    pub protocol: Option<Protocol>,
    /// The longest wait for canaries after the last one was published, in microseconds.
    pub wait_micros: u64,
    /// One per path and QoS that was asked for.
    pub flows: Vec<Flow>,
    /// Whether the session of the client that came back is gone from the broker again; null when there was none.
    pub session_removed: Option<Look<bool>>,
    /// What was counted without payloads; null when that is not allowed.
    pub passive: Option<Look<Passive>>,
}

/// A version of MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
}

/// Canaries of one QoS on one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// The path.
    pub path: Path,
    /// The QoS they were published with.
    pub qos: u8,
    /// What became of them; failed when none could be published or listened for.
    pub journey: Look<Journey>,
}

/// Where a canary was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// At a client that was connected all the time.
    Live,
    /// At a client that was away while they were published, and came back to its session.
    Session,
    /// At a client of another broker, to which a bridge leads.
    Bridge,
    /// At the cloud's ingest edge.
    Ingest,
}

impl Path {
    /// Its name in topics and facts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Session => "session",
            Self::Bridge => "bridge",
            Self::Ingest => "ingest",
        }
    }
}

/// What became of the canaries of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Journey {
    /// The highest QoS that the broker takes from publishers (MQTT 5, section 3.2.2.3.4), where it is lower than the flow's:
    /// then none was published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub highest_qos: Option<u8>,
    /// How often a connection that the flow needs broke and was made again.
    pub interruptions: u32,
    /// How often the broker had forgotten the subscriber's session when it came back (CONNACK without session present).
    pub sessions_forgotten: u32,
    /// When the subscriber had come back, in microseconds from the start; only for the path `session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_at: Option<u64>,
    /// The listening was ended because many times more messages came than were published.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flooded: bool,
    /// The canaries, in the order they were published.
    pub messages: Vec<Message>,
}

/// One canary. Times are microseconds from the start of the look, by a clock that is not set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its number in the flow, from 1.
    pub number: u32,
    /// When it was handed to the connection.
    pub sent: u64,
    /// When the broker had taken it (PUBACK for QoS 1, PUBCOMP for QoS 2); null for QoS 0, or if that never came.
    pub acknowledged: Option<u64>,
    /// The reason with which the broker refused it (MQTT 5, section 3.4.2.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// When and how it arrived, each time; no more than the first eight.
    pub arrivals: Vec<Arrival>,
    /// How often it arrived beyond those.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub further: u32,
}

/// One arrival of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Arrival {
    /// When; on the path `ingest`, when it was first seen there.
    pub at: u64,
    /// Its place among all arrivals of the flow, from 0.
    pub place: u32,
    /// The QoS it came with; null on the path `ingest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<u8>,
    /// The broker marked it as sent again (DUP).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
}

/// What was counted of everybody's messages. Payloads are neither kept nor looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passive {
    /// How long it was listened, in microseconds.
    pub micros: u64,
    /// The topic filters that were subscribed to with QoS 0.
    pub filters: Vec<String>,
    /// Those of them that the broker refused.
    pub refused: Vec<String>,
    /// The devices that are expected, by id: one is heard when its id is a level of a topic.
    pub expected: Vec<String>,
    /// By topic.
    pub topics: BTreeMap<String, Counted>,
    /// Messages on topics beyond the first two hundred.
    pub beyond: u64,
    /// The listening was ended early because very many messages came.
    pub cut_short: bool,
    /// By client id: how often the broker's own log (`$SYS/broker/log/`) said that a second client took it over; failed
    /// when that log is not to be read.
    pub takeovers: Look<BTreeMap<String, u64>>,
}

/// What was counted on one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// Messages that were published while it was listened.
    pub live: u64,
    /// Retained messages; when they were published, MQTT does not say.
    pub retained: u64,
    /// When the first of either came, in microseconds from the start.
    pub first: u64,
    /// When the last of either came.
    pub last: u64,
}

/// Facts about the way of telemetry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// Where canaries were published.
    pub broker: String,
    /// The version of MQTT that was spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// By path and QoS, such as `live-qos1`.
    pub flows: BTreeMap<String, FlowFacts>,
    /// Nothing of the canaries is left at the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_removed: Option<bool>,
    /// Everybody's messages were counted.
    pub passive: bool,
    /// By topic; empty when nothing was counted.
    pub topics: BTreeMap<String, TopicFacts>,
    /// By id: expected devices; empty when nothing was counted.
    pub devices: BTreeMap<String, DeviceFacts>,
    /// By client id: clients that throw each other out, as far as the broker's log says.
    pub shared_client_ids: BTreeMap<String, SharedFacts>,
}

/// Facts about the canaries of one path and QoS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlowFacts {
    /// The path.
    pub path: Path,
    /// The QoS.
    pub qos: u8,
    /// The broker takes messages of this QoS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<bool>,
    /// Published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Acknowledged by the broker; absent for QoS 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<u64>,
    /// Neither acknowledged nor refused, at a QoS that asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unacknowledged: Option<u64>,
    /// Refused by the broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// Arrived at least once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrived: Option<u64>,
    /// Acknowledged (at QoS 0: published) and never arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Arrived more than once, other than by being sent again and marked so (MQTT 3.1.1, section 4.3.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicated: Option<u64>,
    /// Sent again by the broker, and marked so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_again: Option<u64>,
    /// Arrived first after one that was published later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reordered: Option<u64>,
    /// Arrived with a lower QoS than they were published with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downgraded: Option<u64>,
    /// How often a connection of ours broke meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interruptions: Option<u64>,
    /// The broker had forgotten the subscriber's session when it came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_forgotten: Option<bool>,
    /// Many times more messages came than were published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flooded: Option<bool>,
    /// Median microseconds from publishing (path `session`: from coming back) to the first arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u64>,
    /// 95th percentile of the same, nearest rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_micros: Option<u64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_micros: Option<u64>,
}

/// Facts about a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopicFacts {
    /// Messages while it was listened, retained ones aside.
    pub messages: u64,
    /// The same in an hour, rounded.
    pub per_hour: u64,
    /// A retained message was there.
    pub retained: bool,
    /// A retained message was there, and none came after it.
    pub retained_only: bool,
}

/// Facts about an expected device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceFacts {
    /// Messages on topics that have its id as a level, retained ones aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
}

/// Facts about a client id that more than one client uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SharedFacts {
    /// How often one threw out another while it was listened.
    pub takeovers: u64,
}

impl Contract for Check {
    const CHECK: &'static str = "telemetry_integrity";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[
        "/flows/*/p50_micros",
        "/flows/*/p95_micros",
        "/flows/*/max_micros",
        "/flows/*/sent_again",
        "/topics/*/messages",
        "/topics/*/per_hour",
        "/devices/*/messages",
        "/shared_client_ids/*/takeovers",
    ];

    fn normalise(observation: &Observation, _: &Seen, unknown: &mut Unknown) -> Facts {
        count::facts(observation, unknown)
    }
}

/// For serde, which hands it a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
