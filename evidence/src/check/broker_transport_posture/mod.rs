//! `broker_transport_posture`: what the live MQTT broker accepts, listener by listener.
//!
//! The observation holds, for each listener, what TCP, TLS and MQTT answered to a client without credentials and to the
//! configured client, what a survey by hand-made ClientHellos brought out of a TLS listener ([`survey`]), what MQTT itself told
//! ([`mqtt`]), tickets of TLS 1.3 ([`resumption`]), what HTTP told ([`web`]), which clients that must be turned away were
//! ([`battery`]), and what those that are let in may do ([`acl`]). The facts say what that means; whether it is good is for
//! the rules.
//!
//! Version 1 of the contract had no survey. Its observations are read as they were: the facts of a survey are absent without
//! a reason, so that rules about them do not apply.

pub mod acl;
pub mod battery;
pub mod code;
pub mod mqtt;
pub mod resumption;
pub mod survey;
pub mod web;

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown, segment};
use crate::look::{Failure, FailureKind, Look};
use acl::{Acl, Right};
use battery::{Battery, BatteryFacts};
use mqtt::{Mqtt, MqttFacts};
use resumption::{Resumption, ResumptionFacts};
use survey::{Survey, TlsFacts};
use web::{HttpApi, HttpApiFacts, WebSocket, WebSocketFacts};

/// The contract of this check.
pub struct Check;

/// What was seen of a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The name that was asked for in TLS (SNI) and that devices use.
    pub server_name: String,
    /// One per listener that was tried.
    pub listeners: Vec<Listener>,
    /// One per HTTP API of the broker that was tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub http_apis: Vec<HttpApi>,
}

/// What was seen of one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port that were dialled, such as `127.0.0.1:8883`.
    pub address: String,
    /// The address that the broker's configuration binds it to, or that it is seen to listen on, `*` for every interface; null when
    /// neither is known, and for what listens on loopback as it is dialled.
    pub bind: Option<String>,
    /// What was spoken to it.
    pub transport: Transport,
    /// Why it was tried.
    pub source: Source,
    /// The TCP connection.
    pub dial: Look<Dialled>,
    /// One per TLS version, each offered on its own; empty for a plaintext listener.
    pub versions: Vec<VersionOffer>,
    /// MQTT CONNECT without user name, password or client certificate; null when it was not tried.
    pub anonymous: Option<Look<Connack>>,
    /// MQTT CONNECT with the configured credentials; null when none are configured.
    pub authenticated: Option<Look<Connack>>,
    /// What hand-made ClientHellos brought out; null for a plaintext listener or one that was not reached, and absent in
    /// version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survey: Option<Look<Survey>>,
    /// What clients met that must be turned away; null for a listener that asks for no client certificate, and absent in
    /// older observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub battery: Option<Look<Battery>>,
    /// Declared and effective rights of the clients that are let in; null where none is, and absent in older observations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acl: Option<Look<Acl>>,
    /// What MQTT itself told; null when the listener was not reached, or demands a client certificate and the agent has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<Look<Mqtt>>,
    /// Tickets of TLS 1.3; null where no handshake of TLS 1.3 was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumption: Option<Look<Resumption>>,
    /// The upgrade to WebSocket; null for MQTT over TCP alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub websocket: Option<WebSocket>,
}

/// What was spoken to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// MQTT over TCP.
    Plaintext,
    /// MQTT over TLS.
    Tls,
}

/// Why a listener was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The agent's configuration names it.
    Configured,
    /// The broker's own configuration file names it.
    BrokerConfiguration,
    /// It is a registered port of MQTT (1883, 8883).
    WellKnown,
}

/// A TCP connection that was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dialled {
    /// Time to connect, in microseconds.
    pub micros: u64,
}

/// One TLS version offered on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionOffer {
    /// The version that was offered.
    pub version: TlsVersion,
    /// Whether the server asked for a client certificate (which it does only after it accepted the version).
    pub client_certificate_requested: bool,
    /// Distinguished names of the issuers it said it accepts.
    pub accepted_issuers: Vec<String>,
    /// The handshake.
    pub handshake: Look<Handshake>,
}

/// TLS versions, as IANA names them in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// SSL 3.0 (RFC 6101).
    #[serde(rename = "ssl3")]
    Ssl3,
    /// TLS 1.0 (RFC 2246).
    #[serde(rename = "tls1.0")]
    Tls10,
    /// TLS 1.1 (RFC 4346).
    #[serde(rename = "tls1.1")]
    Tls11,
    /// TLS 1.2 (RFC 5246).
    #[serde(rename = "tls1.2")]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    #[serde(rename = "tls1.3")]
    Tls13,
}

impl TlsVersion {
    /// Every version, oldest first.
    pub const ALL: [Self; 5] = [Self::Ssl3, Self::Tls10, Self::Tls11, Self::Tls12, Self::Tls13];

    /// Its name in observations and facts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ssl3 => "ssl3",
            Self::Tls10 => "tls1.0",
            Self::Tls11 => "tls1.1",
            Self::Tls12 => "tls1.2",
            Self::Tls13 => "tls1.3",
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub fn wire(self) -> u16 {
        match self {
            Self::Ssl3 => 0x0300,
            Self::Tls10 => 0x0301,
            Self::Tls11 => 0x0302,
            Self::Tls12 => 0x0303,
            Self::Tls13 => 0x0304,
        }
    }
}

/// A TLS handshake that completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Handshake {
    /// IANA name of the cipher suite.
    pub cipher_suite: String,
    /// IANA name of the key exchange group, if there was one.
    pub group: Option<String>,
    /// Time from ClientHello to Finished, in microseconds.
    pub micros: u64,
}

/// An MQTT CONNACK (MQTT 3.1.1 and MQTT 5, section 3.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Connack {
    /// The return code: 0 accepted, 4 bad user name or password, 5 not authorized; in MQTT 5 the reason code, from 0x80 on for
    /// a refusal.
    pub code: u8,
    /// Time from CONNECT to CONNACK, in microseconds.
    pub micros: u64,
}

/// Facts about a broker's transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// One per listener, by address.
    pub listeners: BTreeMap<String, ListenerFacts>,
    /// Declared against effective rights: one row per listener, client, action and topic, in these words. Empty where no
    /// client is let in or nothing was tried.
    #[serde(default)]
    pub acl: BTreeMap<String, Right>,
    /// One per HTTP API that was tried, by address.
    #[serde(default)]
    pub http_apis: BTreeMap<String, HttpApiFacts>,
}

/// Facts about one listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerFacts {
    /// What was spoken to it.
    pub transport: Transport,
    /// From where it can be reached, by the address it is bound to, or else the one that was dialled.
    pub scope: Scope,
    /// Someone listens there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
    /// A client without any credentials was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_accepted: Option<bool>,
    /// The configured client was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authenticated_accepted: Option<bool>,
    /// Whether the agent has credentials for this listener.
    pub credentials_configured: bool,
    /// TLS 1.2 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls12: Option<bool>,
    /// TLS 1.3 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls13: Option<bool>,
    /// The cipher suites that were negotiated, one per version that completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cipher_suites: Option<Vec<String>>,
    /// What the broker does about client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// What the survey brought out; absent without a reason where there was none to make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
    /// What the negative battery met; absent without a reason where no client certificate is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub battery: Option<BatteryFacts>,
    /// The configured client's certificate was tried under another user name; absent where there is none to try.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_user_tried: Option<bool>,
    /// A certificate keeps its own rights under another user name, or is refused under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_bound: Option<bool>,
    /// A configuration of the broker is known, and whether it declares an access control list. Absent without a reason
    /// where none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl_declared: Option<bool>,
    /// Entries of the declared access control list that grant everything, with their lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl_bare_wildcards: Option<Vec<String>>,
    /// The declared access control list grants by client id, which clients choose themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl_by_client_id: Option<bool>,
    /// What MQTT itself told; absent without a reason in evidence of before it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttFacts>,
    /// Tickets of TLS 1.3; absent without a reason where there was no session to have them from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumption: Option<ResumptionFacts>,
    /// What a WebSocket listener does; absent for MQTT over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub websocket: Option<WebSocketFacts>,
    /// TCP connect time in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_micros: Option<u64>,
    /// TLS handshake time in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_micros: Option<u64>,
    /// Time from CONNECT to CONNACK in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connack_micros: Option<u64>,
}

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This machine only.
    Loopback,
    /// A private, link-local or unique-local network (RFC 1918, RFC 3927, RFC 4193).
    Lan,
    /// Anywhere, or every interface.
    Public,
    /// A name, which may be anywhere.
    Name,
}

impl Scope {
    /// The scope of a host part, with or without brackets; `*` is every interface.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) if address.is_loopback() => Self::Loopback,
            Ok(IpAddr::V4(address)) if address.is_private() || address.is_link_local() => Self::Lan,
            Ok(IpAddr::V6(address)) if address.is_unique_local() || address.is_unicast_link_local() => Self::Lan,
            Ok(_) => Self::Public,
            Err(_) if host == "localhost" => Self::Loopback,
            Err(_) if host == "*" => Self::Public,
            Err(_) => Self::Name,
        }
    }
}

/// What a server does about client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// It does not ask.
    NotRequested,
    /// It asks, and goes on without.
    Requested,
    /// It asks, and refuses without.
    Required,
}

impl Contract for Check {
    const CHECK: &'static str = "broker_transport_posture";
    const VERSION: u32 = 2;
    const OLDEST: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[
        "/listeners/*/connect_micros",
        "/listeners/*/handshake_micros",
        "/listeners/*/connack_micros",
        "/listeners/*/mqtt/ping_micros",
    ];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        let apis = observation.http_apis.iter().map(|api| (api.address.clone(), web::http_api(api, unknown)));
        let mut facts = Facts { listeners: BTreeMap::new(), acl: BTreeMap::new(), http_apis: apis.collect() };
        for listener in &observation.listeners {
            let found = listener_facts(listener, seen, unknown);
            acl::rows(listener, found.scope, &mut facts.acl, unknown);
            facts.listeners.insert(listener.address.clone(), found);
        }
        facts
    }
}

fn listener_facts(listener: &Listener, seen: &Seen, unknown: &mut Unknown) -> ListenerFacts {
    let place = format!("/listeners/{}", segment(&listener.address));
    let host = listener.address.rsplit_once(':').map_or(listener.address.as_str(), |(host, _)| host);
    let mut facts = ListenerFacts {
        transport: listener.transport,
        scope: listener.bind.as_deref().map_or(Scope::of(host), Scope::of),
        open: None,
        anonymous_accepted: None,
        authenticated_accepted: None,
        credentials_configured: listener.authenticated.is_some(),
        tls12: None,
        tls13: None,
        cipher_suites: None,
        client_certificate: None,
        tls: None,
        battery: None,
        other_user_tried: None,
        identity_bound: None,
        acl_declared: None,
        acl_bare_wildcards: None,
        acl_by_client_id: None,
        mqtt: None,
        resumption: None,
        websocket: None,
        connect_micros: None,
        handshake_micros: None,
        connack_micros: None,
    };
    facts.open = opened(&listener.dial, &place, unknown);
    facts.connect_micros = listener.dial.seen().map(|dialled| dialled.micros);
    if facts.open != Some(true) {
        return facts;
    }
    facts.websocket =
        listener.websocket.as_ref().map(|seen| web::websocket(seen, &format!("{place}/websocket"), unknown));
    // A failed look hides each fact, but not that it was asked for: absence is for what nobody asked.
    facts.mqtt = listener.mqtt.as_ref().map(|look| mqtt::facts(look, &format!("{place}/mqtt"), unknown));
    facts.resumption =
        listener.resumption.as_ref().map(|look| resumption::facts(look, &format!("{place}/resumption"), unknown));
    let mut accepted = |look: &Option<Look<Connack>>, fact: &str| {
        accepted(look.as_ref(), listener, &format!("{place}/{fact}"), unknown)
    };
    facts.anonymous_accepted =
        accepted(&listener.anonymous, "anonymous_accepted").or_else(|| word_of_a_level(listener));
    facts.authenticated_accepted = accepted(&listener.authenticated, "authenticated_accepted");
    let connacks = [&listener.authenticated, &listener.anonymous];
    facts.connack_micros = connacks.into_iter().flatten().find_map(|look| look.seen().map(|connack| connack.micros));
    if listener.transport == Transport::Tls {
        facts.tls12 = version_accepted(listener, TlsVersion::Tls12, &format!("{place}/tls12"), unknown);
        facts.tls13 = version_accepted(listener, TlsVersion::Tls13, &format!("{place}/tls13"), unknown);
        let handshakes = || listener.versions.iter().filter_map(|offer| offer.handshake.seen());
        facts.cipher_suites = Some(handshakes().map(|handshake| handshake.cipher_suite.clone()).collect());
        facts.handshake_micros = handshakes().map(|handshake| handshake.micros).min();
        facts.client_certificate = client_certificate(listener, &format!("{place}/client_certificate"), unknown);
        let below = format!("{place}/tls");
        match &listener.survey {
            Some(Look::Seen(survey)) => facts.tls = Some(survey::facts(survey, &below, unknown)),
            Some(Look::Failed(failure)) => unknown.because(below, failure),
            None => {}
        }
        let below = format!("{place}/battery");
        match &listener.battery {
            Some(Look::Seen(battery)) => {
                facts.battery = Some(battery::facts(battery, listener, seen, &below, unknown));
            }
            Some(Look::Failed(failure)) => unknown.because(below, failure),
            None => {}
        }
    }
    match &listener.acl {
        Some(Look::Seen(acl)) => {
            let found = acl::identities(acl, &place, unknown);
            facts.other_user_tried = found.other_user_tried;
            facts.identity_bound = found.identity_bound;
            facts.acl_declared = found.declared;
            facts.acl_bare_wildcards = found.bare_wildcards;
            facts.acl_by_client_id = found.rights_by_client_id;
        }
        Some(Look::Failed(failure)) => {
            for fact in ["identity_bound", "acl_bare_wildcards", "acl_by_client_id"] {
                unknown.because(format!("{place}/{fact}"), failure);
            }
        }
        None => {}
    }
    facts
}

/// Whether someone listens; why that is not known, or nothing more is, goes to `place`.
fn opened(dial: &Look<Dialled>, place: &str, unknown: &mut Unknown) -> Option<bool> {
    match dial {
        Look::Seen(_) => Some(true),
        Look::Failed(failure) => {
            unknown.because(place, failure);
            (failure.kind == FailureKind::Refused).then_some(false)
        }
    }
}

/// A CONNACK of 0 is acceptance; one that refuses the client or a TLS alert is refusal, and so is a closed connection where a
/// client certificate was asked for. Anything else says nothing: a broker that is full or broken closes connections too.
fn accepted(look: Option<&Look<Connack>>, listener: &Listener, place: &str, unknown: &mut Unknown) -> Option<bool> {
    let asked = listener.versions.iter().any(|offer| offer.client_certificate_requested);
    match look? {
        Look::Seen(connack) => mqtt::let_in(connack).map_err(|failure| unknown.because(place, &failure)).ok(),
        Look::Failed(Failure { kind: FailureKind::TlsAlert, .. }) => Some(false),
        Look::Failed(Failure { kind: FailureKind::Closed, .. }) if asked => Some(false),
        Look::Failed(failure) => {
            unknown.because(place, failure);
            None
        }
    }
}

/// CONNECT without credentials is of MQTT 3.1.1, which a listener of another level alone refuses or closes: what that one says of
/// nobody counts, too.
fn word_of_a_level(listener: &Listener) -> Option<bool> {
    let mqtt = listener.mqtt.as_ref()?.seen().filter(|mqtt| mqtt.speaker == mqtt::Speaker::Anonymous)?;
    let words = || mqtt.levels.iter().filter_map(|offer| mqtt::let_in(offer.answer.seen()?).ok());
    (words().count() > 0).then(|| words().any(|let_in| let_in))
}

/// A closed connection refuses a version only where another one got through: else nothing was seen to speak TLS at all.
/// A survey knows better than one handshake, which fails too where there is no common suite.
fn version_accepted(listener: &Listener, version: TlsVersion, place: &str, unknown: &mut Unknown) -> Option<bool> {
    let surveyed = listener.survey.as_ref().and_then(Look::seen).and_then(|survey| survey.accepted(version).ok());
    if let Some(accepted) = surveyed {
        let shaken = listener.versions.iter().any(|offer| offer.version == version && offer.handshake.seen().is_some());
        return Some(accepted || shaken);
    }
    let speaks_tls = listener.versions.iter().any(|offer| {
        offer.client_certificate_requested
            || offer.handshake.failure().is_none_or(|failure| failure.kind == FailureKind::TlsAlert)
    });
    let Some(offer) = listener.versions.iter().find(|offer| offer.version == version) else {
        unknown.because(place, "this version was not offered");
        return None;
    };
    match &offer.handshake {
        Look::Seen(_) => Some(true),
        Look::Failed(_) if offer.client_certificate_requested => Some(true),
        Look::Failed(Failure { kind: FailureKind::TlsAlert, .. }) => Some(false),
        Look::Failed(Failure { kind: FailureKind::Closed, .. }) if speaks_tls => Some(false),
        Look::Failed(failure) => {
            unknown.because(place, failure);
            None
        }
    }
}

fn client_certificate(listener: &Listener, place: &str, unknown: &mut Unknown) -> Option<ClientCertificate> {
    let answered =
        listener.versions.iter().any(|offer| offer.client_certificate_requested || offer.handshake.seen().is_some());
    if !answered {
        unknown.because(place, "no TLS handshake got as far as the server's request for a certificate");
        return None;
    }
    if !listener.versions.iter().any(|offer| offer.client_certificate_requested) {
        return Some(ClientCertificate::NotRequested);
    }
    match &listener.anonymous {
        Some(Look::Seen(_)) => Some(ClientCertificate::Requested),
        Some(Look::Failed(Failure { kind: FailureKind::TlsAlert | FailureKind::Closed, .. })) => {
            Some(ClientCertificate::Required)
        }
        Some(Look::Failed(failure)) => {
            unknown.because(place, failure);
            None
        }
        None => {
            unknown.because(place, "no client without a certificate was tried");
            None
        }
    }
}

#[cfg(test)]
mod tests;
