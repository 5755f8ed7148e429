//! What HTTP tells of a broker's listeners: MQTT over WebSocket (RFC 6455), and Mosquitto's HTTP API.
//!
//! The observation holds the answers to upgrades with and without a foreign origin, and to GET requests without credentials;
//! never a body. Whether a browser's origin matters is a fact, and so is what the API shows to anybody.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Dialled, Scope, Source, Transport};
use crate::check::{Unknown, segment};
use crate::look::{FailureKind, Look};

/// What was seen of a WebSocket listener beside what MQTT tells over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebSocket {
    /// The path that was asked for.
    pub path: String,
    /// The answer to an upgrade with the subprotocol `mqtt` and no origin, as a program asks.
    pub upgrade: Look<Upgrade>,
    /// The answer to the same with the origin of a site that does not exist, as a browser asks for a page from there.
    pub foreign_origin: Look<Upgrade>,
}

/// The answer to a request to upgrade (RFC 6455, section 4.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upgrade {
    /// The status of HTTP; 101 when the protocol is switched.
    pub status: u16,
    /// The subprotocol that the server chose.
    pub subprotocol: Option<String>,
    /// `Sec-WebSocket-Accept` is what follows from the key.
    pub proven: bool,
}

impl Upgrade {
    /// Whether MQTT may go on from here.
    #[must_use]
    pub fn switched(&self) -> bool {
        self.status == 101 && self.proven
    }
}

/// Facts about a WebSocket listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebSocketFacts {
    /// The path that was asked for.
    pub path: String,
    /// The protocol is switched for a client without an origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upgraded: Option<bool>,
    /// The server chose the subprotocol `mqtt` (MQTT-6.0.0-4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subprotocol_mqtt: Option<bool>,
    /// The protocol is switched for a page of any origin. Known where it is switched without an origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub foreign_origin_accepted: Option<bool>,
}

/// An HTTP API of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpApi {
    /// Address and port that were dialled.
    pub address: String,
    /// The address that the broker's configuration binds it to, or that it is seen to listen on, `*` for every interface; null when
    /// neither is known, and for what listens on loopback as it is dialled.
    pub bind: Option<String>,
    /// HTTP over TCP, or over TLS.
    pub transport: Transport,
    /// Why it was tried.
    pub source: Source,
    /// The TCP connection.
    pub dial: Look<Dialled>,
    /// The answers to GET without credentials, by path; empty when nobody listens.
    pub answers: BTreeMap<String, Look<HttpAnswer>>,
}

/// An answer of HTTP; the body is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Pages of any origin may read it: `Access-Control-Allow-Origin: *`.
    pub any_origin: bool,
}

/// Facts about an HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpApiFacts {
    /// HTTP over TCP, or over TLS.
    pub transport: Transport,
    /// From where it can be reached.
    pub scope: Scope,
    /// Someone listens there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
    /// Paths that were answered with 200 without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown_to_anybody: Option<Vec<String>>,
    /// One of them may be read by pages of any origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readable_by_any_page: Option<bool>,
}

/// The facts that follow from `seen`; reasons for what is missing go below `place`.
pub(super) fn websocket(seen: &WebSocket, place: &str, unknown: &mut Unknown) -> WebSocketFacts {
    let mut facts = WebSocketFacts {
        path: seen.path.clone(),
        upgraded: None,
        subprotocol_mqtt: None,
        foreign_origin_accepted: None,
    };
    match &seen.upgrade {
        Look::Seen(upgrade) => {
            facts.upgraded = Some(upgrade.switched());
            facts.subprotocol_mqtt = Some(upgrade.subprotocol.as_deref() == Some("mqtt"));
        }
        Look::Failed(failure) => {
            unknown.because(place, failure);
            return facts;
        }
    }
    let name = format!("{place}/foreign_origin_accepted");
    match (&seen.foreign_origin, facts.upgraded) {
        (Look::Seen(upgrade), Some(true)) => facts.foreign_origin_accepted = Some(upgrade.switched()),
        // Mosquitto 2.1 hangs up on an origin that it does not take. The probe calls it so only where the next upgrade without
        // an origin is answered again.
        (Look::Failed(failure), Some(true)) if failure.kind == FailureKind::Closed => {
            facts.foreign_origin_accepted = Some(false);
        }
        (Look::Failed(failure), _) => unknown.because(name, failure),
        (Look::Seen(_), _) => unknown.because(name, "the protocol is not switched without an origin, either"),
    }
    facts
}

/// The facts that follow from `seen`; reasons for what is missing go below `/http_apis`.
pub(super) fn http_api(seen: &HttpApi, unknown: &mut Unknown) -> HttpApiFacts {
    let place = format!("/http_apis/{}", segment(&seen.address));
    let host = seen.address.rsplit_once(':').map_or(seen.address.as_str(), |(host, _)| host);
    let mut facts = HttpApiFacts {
        transport: seen.transport,
        scope: seen.bind.as_deref().map_or(Scope::of(host), Scope::of),
        open: None,
        shown_to_anybody: None,
        readable_by_any_page: None,
    };
    facts.open = super::opened(&seen.dial, &place, unknown);
    if facts.open != Some(true) {
        return facts;
    }
    let shown =
        || seen.answers.iter().filter_map(|(path, look)| Some((path, look.seen().filter(|it| it.status == 200)?)));
    let paths: Vec<String> = shown().map(|(path, _)| path.clone()).collect();
    let hidden = seen.answers.values().find_map(Look::failure);
    match hidden {
        Some(failure) if paths.is_empty() => {
            unknown.because(format!("{place}/shown_to_anybody"), failure);
            unknown.because(format!("{place}/readable_by_any_page"), failure);
        }
        _ => {
            facts.readable_by_any_page = Some(shown().any(|(_, answer)| answer.any_origin));
            facts.shown_to_anybody = Some(paths);
        }
    }
    facts
}
