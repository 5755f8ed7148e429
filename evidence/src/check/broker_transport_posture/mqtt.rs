//! What MQTT itself tells of one listener, and the facts that follow.
//!
//! The observation holds the answers to throw-away clients with canary ids: each protocol level offered on its own, what MQTT 5
//! announced, and small trials (a large packet, a retained canary, a client id that is taken twice, a malformed CONNECT). The
//! facts say what that means, never whether it is good. Where MQTT 5 announces nothing, the standard's own default holds
//! (MQTT 5, section 3.2.2.3), and is the fact. A trial that was not made for want of something is a failed look with the reason;
//! one for which there was no question is absent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Connack;
use crate::check::Unknown;
use crate::look::{Failure, FailureKind, Look};

/// The largest packet there is: five bytes of fixed header and the longest remaining length (MQTT 5, section 1.5.5).
pub const LARGEST_PACKET: u64 = 268_435_460;

/// What MQTT told of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    /// As whom the trials were made.
    pub speaker: Speaker,
    /// TCP connections that they took.
    pub connections: u32,
    /// The most that they could have taken.
    pub connection_limit: u32,
    /// How long they took, in milliseconds.
    pub millis: u64,
    /// One per protocol level, oldest first, each offered on its own.
    pub levels: Vec<LevelOffer>,
    /// What MQTT 5 announced in its CONNACK; null when no CONNACK of MQTT 5 accepted.
    pub announced: Option<Announced>,
    /// PINGREQ and its answer.
    pub ping: Option<Look<Ping>>,
    /// A large packet; null when no client got in.
    pub large_packet: Option<Look<LargePacket>>,
    /// A retained canary; null when no client got in.
    pub retained: Option<Look<Retained>>,
    /// A second client with the client id and the identity of the first; null when no client got in.
    pub takeover: Option<Look<Takeover>>,
    /// A client without credentials, on this listener, with the client id of the configured client, wherever that one is; null
    /// when there is not both.
    pub takeover_without_credentials: Option<Look<Takeover>>,
    /// A client that fell silent; null when no client got in.
    pub silence: Option<Look<Silence>>,
    /// Openings that the standard tells a server to refuse.
    pub malformed: Vec<MalformedTrial>,
    /// A made-up user name and password over plaintext; null over TLS.
    pub made_up_credentials: Option<Look<Connack>>,
}

/// Codes of a CONNACK that speak of the level and not of the client: 1 before MQTT 5, 0x84 in it.
const OF_THE_LEVEL: [u8; 2] = [1, 0x84];

/// What a CONNACK says of who sent CONNECT: let in, refused for who it is (4 and 5 before MQTT 5; 0x86, 0x87, 0x8a and 0x8c in it:
/// user name or password, no right, banned, authentication), or nothing, as of the level, the client id, a server that is busy.
pub(in crate::check) fn let_in(connack: &Connack) -> Result<bool, Failure> {
    match connack.code {
        0 => Ok(true),
        4 | 5 | 0x86 | 0x87 | 0x8a | 0x8c => Ok(false),
        code => Err(Failure::new(FailureKind::Error, format_args!("CONNACK {code} is no word about the client"))),
    }
}

/// As whom trials were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaker {
    /// Without any credentials.
    Anonymous,
    /// As the configured client.
    Client,
}

/// One protocol level offered on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LevelOffer {
    /// The protocol level: 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.
    pub level: u8,
    /// The CONNACK: a return code for levels 3 and 4 (and for 5 from a server that does not know it), a reason code for 5.
    pub answer: Look<Connack>,
}

/// The properties of a CONNACK of MQTT 5 (section 3.2.2.3), as far as they were there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Announced {
    /// The session expiry that was asked for, in seconds.
    pub asked_session_expiry: u32,
    /// The keep alive that was asked for, in seconds; 0 for none.
    pub asked_keep_alive: u16,
    /// The server gave the client another id than it asked for (Assigned Client Identifier).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_id_assigned: bool,
    /// Session Expiry Interval, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_expiry: Option<u32>,
    /// Receive Maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_maximum: Option<u16>,
    /// Maximum QoS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_qos: Option<u8>,
    /// Retain Available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain_available: Option<bool>,
    /// Maximum Packet Size, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_packet_size: Option<u32>,
    /// Topic Alias Maximum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_alias_maximum: Option<u16>,
    /// Wildcard Subscription Available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wildcard_subscription_available: Option<bool>,
    /// Subscription Identifiers Available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_identifiers_available: Option<bool>,
    /// Shared Subscription Available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_subscription_available: Option<bool>,
    /// Server Keep Alive, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_keep_alive: Option<u16>,
}

/// A PINGREQ that was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ping {
    /// Time from PINGREQ to PINGRESP, in microseconds.
    pub micros: u64,
}

/// An UNSUBSCRIBE from nothing, made large: it is told to nobody, and still has to be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LargePacket {
    /// Its length on the wire, in bytes.
    pub bytes: u32,
    /// What became of it.
    pub end: PacketEnd,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PacketEnd {
    /// It was answered.
    Acknowledged,
    /// The server ended the connection with this reason code of MQTT 5 (section 4.13).
    Disconnected(u8),
    /// The server closed the connection without a word.
    Closed,
}

/// A retained message on a canary topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retained {
    /// The reason code of the PUBACK; 0 before MQTT 5, which has none.
    pub publish: u8,
    /// The reason code of the SUBACK; null when publishing was refused.
    pub subscribe: Option<u8>,
    /// It came back, marked as retained.
    pub came_back: bool,
    /// After it was cleared, a new subscription did not bring it.
    pub cleared: bool,
}

/// A second client with a client id that is in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Takeover {
    /// The CONNACK of the second client.
    pub second: u8,
    /// What became of the first.
    pub first: FirstClient,
}

/// What became of the client whose id was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FirstClient {
    /// It goes on.
    Alive,
    /// The server ended its connection with this reason code of MQTT 5: 0x8E is "session taken over".
    Disconnected(u8),
    /// The server closed its connection without a word.
    Closed,
}

/// A client that said nothing for longer than one and a half times its keep alive (MQTT 3.1.1, section 3.1.2.10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Its keep alive, in seconds.
    pub keep_alive: u16,
    /// How long it was silent, in milliseconds: until the server ended the connection, or as long as was waited.
    pub millis: u64,
    /// The server ended the connection.
    pub ended: bool,
}

/// An opening that must be refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MalformedTrial {
    /// What was wrong with it.
    pub what: Malformed,
    /// The CONNACK that came all the same (a PINGRESP where nothing else was asked counts as code 0); a failure is how it was
    /// refused, or why that is not known.
    pub answer: Look<Connack>,
}

/// What is wrong with an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    /// The reserved bit of the flags is set (MQTT-3.1.2-3).
    ReservedFlag,
    /// The protocol has another name (MQTT-3.1.2-1).
    ProtocolName,
    /// The protocol level is one that does not exist (MQTT-3.1.2-2).
    ProtocolLevel,
    /// The first packet is another than CONNECT (MQTT-3.1.0-1).
    NoConnect,
}

impl Malformed {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::ReservedFlag, Self::ProtocolName, Self::ProtocolLevel, Self::NoConnect];

    /// Its name in facts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ReservedFlag => "reserved_flag",
            Self::ProtocolName => "protocol_name",
            Self::ProtocolLevel => "protocol_level",
            Self::NoConnect => "no_connect",
        }
    }
}

/// Facts about MQTT on one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MqttFacts {
    /// As whom the trials were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speaker: Option<Speaker>,
    /// MQTT 3.1 is spoken, whether or not the client was let in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt31: Option<bool>,
    /// MQTT 3.1.1 is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt311: Option<bool>,
    /// MQTT 5 is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt5: Option<bool>,
    /// The largest packet that the server announces to take, in bytes; the largest that there is when it announces none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_packet_size: Option<u64>,
    /// How many messages of QoS 1 and 2 the server takes before it has acknowledged the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_maximum: Option<u16>,
    /// The highest QoS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_qos: Option<u8>,
    /// How many topic aliases the server takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_alias_maximum: Option<u16>,
    /// The server announces to keep retained messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retain_available: Option<bool>,
    /// Subscriptions with wildcards are announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wildcard_subscriptions: Option<bool>,
    /// Shared subscriptions are announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_subscriptions: Option<bool>,
    /// Subscription identifiers are announced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_identifiers: Option<bool>,
    /// The keep alive that the server sets for a client that asks for none, in seconds; 0 when it sets none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_seconds: Option<u16>,
    /// How long the server keeps the session of a client that asks for a day, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_expiry_seconds: Option<u32>,
    /// The length of the large packet, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_packet_bytes: Option<u32>,
    /// The large packet was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_packet_accepted: Option<bool>,
    /// A retained canary came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retained_canary: Option<bool>,
    /// The retained canary was gone after it was cleared; known where one came back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retained_canary_cleared: Option<bool>,
    /// A second client with the same id and identity ends the first, as the standard says (MQTT-3.1.4-2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover: Option<bool>,
    /// The reason code that the first client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover_reason: Option<u8>,
    /// A client without credentials asked for the id of the configured client. Absent without a reason where no client without
    /// credentials gets in, or there is no configured client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover_tried: Option<bool>,
    /// That client ended the configured client. Absent without a reason where it was not tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover_without_credentials: Option<bool>,
    /// A silent client is ended after one and a half times its keep alive, and a few seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_client_ended: Option<bool>,
    /// Openings that the standard tells a server to refuse and this one accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed_accepted: Option<Vec<String>>,
    /// The server judges user names and passwords that come in plaintext, so that clients have to send them so. Absent
    /// without a reason over TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_in_plaintext: Option<bool>,
    /// Time from PINGREQ to PINGRESP, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ping_micros: Option<u64>,
}

/// The facts that follow from `look`; reasons for what is missing go to `place` and below.
pub(super) fn facts(look: &Look<Mqtt>, place: &str, unknown: &mut Unknown) -> MqttFacts {
    let mqtt = match look {
        Look::Seen(mqtt) => mqtt,
        Look::Failed(failure) => {
            unknown.because(place, failure);
            return MqttFacts::default();
        }
    };
    let mut reading = Reading { mqtt, place, unknown };
    let mut facts = MqttFacts {
        speaker: Some(mqtt.speaker),
        mqtt31: reading.level(3, "mqtt31"),
        mqtt311: reading.level(4, "mqtt311"),
        mqtt5: reading.level(5, "mqtt5"),
        takeover_tried: mqtt.takeover_without_credentials.as_ref().map(|_| true),
        malformed_accepted: reading.malformed(),
        ..MqttFacts::default()
    };
    reading.announced(&mut facts);
    reading.trials(&mut facts);
    facts
}

struct Reading<'a> {
    mqtt: &'a Mqtt,
    place: &'a str,
    unknown: &'a mut Unknown,
}

impl<'a> Reading<'a> {
    fn because<T>(&mut self, fact: &str, reason: impl std::fmt::Display) -> Option<T> {
        self.unknown.because(format!("{}/{fact}", self.place), reason);
        None
    }

    /// A CONNACK speaks the level unless it names the level as its reason: 1 before MQTT 5, 0x84 in it. A closed connection
    /// refuses the level where another one was answered; where none was, nothing was seen to speak MQTT at all.
    fn level(&mut self, level: u8, fact: &str) -> Option<bool> {
        let answered = self.mqtt.levels.iter().any(|offer| offer.answer.seen().is_some());
        let Some(offer) = self.mqtt.levels.iter().find(|offer| offer.level == level) else {
            return self.because(fact, "this level was not offered");
        };
        match &offer.answer {
            Look::Seen(connack) => Some(!OF_THE_LEVEL.contains(&connack.code)),
            Look::Failed(Failure { kind: FailureKind::Closed, .. }) if answered => Some(false),
            Look::Failed(failure) => self.because(fact, failure),
        }
    }

    fn announced(&mut self, facts: &mut MqttFacts) {
        let names = [
            "maximum_packet_size",
            "receive_maximum",
            "maximum_qos",
            "topic_alias_maximum",
            "retain_available",
            "wildcard_subscriptions",
            "shared_subscriptions",
            "subscription_identifiers",
            "keep_alive_seconds",
            "session_expiry_seconds",
        ];
        let Some(announced) = &self.mqtt.announced else {
            let reason = match facts.mqtt5 {
                Some(false) => "MQTT 5, which would announce it, is not spoken",
                _ => "no client was let in by MQTT 5, which would announce it",
            };
            for name in names {
                self.because::<()>(name, reason);
            }
            return;
        };
        facts.maximum_packet_size = Some(announced.maximum_packet_size.map_or(LARGEST_PACKET, u64::from));
        facts.receive_maximum = Some(announced.receive_maximum.unwrap_or(u16::MAX));
        facts.maximum_qos = Some(announced.maximum_qos.unwrap_or(2));
        facts.topic_alias_maximum = Some(announced.topic_alias_maximum.unwrap_or(0));
        facts.retain_available = Some(announced.retain_available.unwrap_or(true));
        facts.wildcard_subscriptions = Some(announced.wildcard_subscription_available.unwrap_or(true));
        facts.shared_subscriptions = Some(announced.shared_subscription_available.unwrap_or(true));
        facts.subscription_identifiers = Some(announced.subscription_identifiers_available.unwrap_or(true));
        // What was not asked for is not answered: a server that closes at such questions is asked without them.
        facts.keep_alive_seconds = match (announced.server_keep_alive, announced.asked_keep_alive) {
            (Some(seconds), _) => Some(seconds),
            (None, 0) => Some(0),
            (None, asked) => {
                let words = format_args!(
                    "the server closes at a client without keep alive, and leaves {asked} s to one with it"
                );
                self.because("keep_alive_seconds", words)
            }
        };
        facts.session_expiry_seconds = match (announced.session_expiry, announced.asked_session_expiry) {
            (Some(seconds), _) => Some(seconds),
            (None, 0) => self.because("session_expiry_seconds", "no session that stays was asked for"),
            (None, asked) => Some(asked),
        };
    }

    /// What a trial brought; the reason why nothing goes to each of `names`.
    fn trial<T>(&mut self, look: Option<&'a Look<T>>, names: &[&str]) -> Option<&'a T> {
        let reason = match look {
            Some(Look::Seen(seen)) => return Some(seen),
            Some(Look::Failed(failure)) => failure.to_string(),
            None => "no client was let in to try it".to_owned(),
        };
        for name in names {
            self.because::<()>(name, &reason);
        }
        None
    }

    fn trials(&mut self, facts: &mut MqttFacts) {
        let mqtt = self.mqtt;
        facts.ping_micros = self.trial(mqtt.ping.as_ref(), &["ping_micros"]).map(|ping| ping.micros);
        let names = ["large_packet_bytes", "large_packet_accepted"];
        if let Some(packet) = self.trial(mqtt.large_packet.as_ref(), &names) {
            facts.large_packet_bytes = Some(packet.bytes);
            facts.large_packet_accepted = Some(packet.end == PacketEnd::Acknowledged);
        }
        let names = ["retained_canary", "retained_canary_cleared"];
        if let Some(retained) = self.trial(mqtt.retained.as_ref(), &names) {
            // Before MQTT 5 a server that does not permit a message says so to nobody.
            facts.retained_canary = match (retained.publish, retained.subscribe) {
                (0..=0x7f, Some(0..=0x7f)) => Some(retained.came_back),
                (0..=0x7f, code) => self.because(
                    "retained_canary",
                    format_args!("the client may not read its canary topic (SUBACK {code:?})"),
                ),
                (code, _) => self.because(
                    "retained_canary",
                    format_args!("the client may not write to its canary topic (PUBACK 0x{code:02x})"),
                ),
            };
            facts.retained_canary_cleared = match facts.retained_canary {
                Some(true) => Some(retained.cleared),
                _ => self.because("retained_canary_cleared", "no retained canary was seen"),
            };
        }
        if let Some(takeover) = self.trial(mqtt.takeover.as_ref(), &["takeover", "takeover_reason"]) {
            facts.takeover = Some(takeover.second == 0 && takeover.first != FirstClient::Alive);
            facts.takeover_reason = match takeover.first {
                FirstClient::Disconnected(reason) => Some(reason),
                FirstClient::Closed => {
                    self.because("takeover_reason", "the server closed the connection without a word")
                }
                FirstClient::Alive => self.because("takeover_reason", "the first client goes on"),
            };
        }
        if let Some(look) = &mqtt.takeover_without_credentials {
            let taken = self.trial(Some(look), &["takeover_without_credentials"]);
            facts.takeover_without_credentials = taken.map(|takeover| takeover.first != FirstClient::Alive);
        }
        let silence = self.trial(mqtt.silence.as_ref(), &["silent_client_ended"]);
        facts.silent_client_ended = silence.map(|silence| silence.ended);
        facts.password_in_plaintext = match &mqtt.made_up_credentials {
            // Bad user name or password, not authorized: in MQTT 3 and in MQTT 5.
            Some(Look::Seen(Connack { code: 4 | 5 | 0x86 | 0x87, .. })) => Some(true),
            Some(Look::Seen(Connack { code: 0, .. })) => Some(false),
            Some(Look::Seen(Connack { code, .. })) => self.because(
                "password_in_plaintext",
                format_args!("code 0x{code:02x} says nothing of the user name and the password"),
            ),
            Some(Look::Failed(failure)) => self.because("password_in_plaintext", failure),
            None => None,
        };
    }

    /// A closed connection is the refusal that the standard names; a CONNACK with a code is one too.
    fn malformed(&mut self) -> Option<Vec<String>> {
        let mut accepted = Vec::new();
        let mut hidden = None;
        for trial in &self.mqtt.malformed {
            match &trial.answer {
                Look::Seen(connack) if connack.code == 0 => accepted.push(trial.what.name().to_owned()),
                Look::Seen(_) => {}
                Look::Failed(Failure { kind: FailureKind::Closed, .. }) => {}
                Look::Failed(failure) => hidden = Some(failure),
            }
        }
        match hidden {
            Some(failure) if accepted.is_empty() => self.because("malformed_accepted", failure),
            _ if self.mqtt.malformed.is_empty() => self.because("malformed_accepted", "none was tried"),
            _ => Some(accepted),
        }
    }
}

#[cfg(test)]
#[path = "mqtt_tests.rs"]
mod tests;
