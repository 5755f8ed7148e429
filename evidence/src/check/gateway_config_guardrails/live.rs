//! What the broker's files declare, held against what the same run saw of the running broker.
//!
//! A row says what is declared and what is seen, and whether the one contradicts the other. What is stricter than declared is
//! no contradiction. There are no rows about listeners that nobody looked at: that is the other check's own gap.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::broker::{BrokerFacts, DeclaredListener};
use crate::check::broker_transport_posture::{self as posture, ClientCertificate, Scope, Transport};
use crate::check::host_guardrails;
use crate::check::{Unknown, segment};

/// What the same run saw of the running broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Facts of `broker_transport_posture`, by the address that was dialled.
    pub listeners: BTreeMap<String, posture::ListenerFacts>,
    /// Addresses and ports of TCP on which the host listens; none where that was not looked at.
    pub sockets: Option<Vec<(String, u16)>>,
}

impl Live {
    /// Adds what a record of `broker_transport_posture` came to.
    pub fn add_listeners(&mut self, facts: posture::Facts) {
        self.listeners.extend(facts.listeners);
    }

    /// Adds the host's sockets.
    pub fn add_sockets(&mut self, sockets: &[host_guardrails::Socket]) {
        let tcp = sockets.iter().filter(|socket| socket.protocol == "tcp");
        self.sockets = Some(tcp.map(|socket| (socket.address.clone(), socket.port)).collect());
    }
}

/// What is declared of a listener, and what is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InEffect {
    /// By the files.
    pub declared: String,
    /// By the running broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// The running broker is laxer than declared, or another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contradicted: Option<bool>,
}

/// One row per declared listener and what can be held against it.
pub(super) fn rows(facts: &BrokerFacts, live: &Live, unknown: &mut Unknown) -> BTreeMap<String, InEffect> {
    let mut rows = BTreeMap::new();
    for (name, declared) in facts.listeners.iter().filter(|(_, declared)| declared.port > 0) {
        bind(name, declared, facts, live, &mut rows);
        let Some(seen) = find(name, declared, facts, live) else { continue };
        let mut row = |what: &str, declared: String, seen: Option<String>, contradicted: Option<bool>| {
            let key = format!("{name} {what}");
            if contradicted.is_none() {
                let why = "the look at the running broker could not tell; broker_transport_posture says why";
                unknown.because(format!("/broker/in_effect/{}/contradicted", segment(&key)), why);
            }
            rows.insert(key, InEffect { declared, seen, contradicted });
        };
        let yes = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
        row("open", yes(true), seen.open.map(yes), seen.open.map(|open| !open));
        if seen.open != Some(true) {
            continue;
        }
        if let Some(speaks) = speaks_tls(seen) {
            let words = |tls: bool| if tls { "TLS" } else { "plaintext" }.to_owned();
            row("transport", words(declared.tls), Some(words(speaks)), Some(speaks != declared.tls));
            if speaks != declared.tls {
                continue;
            }
        }
        if declared.protocol == "http_api" {
            continue;
        }
        let anonymous = seen.anonymous_accepted;
        row(
            "anonymous",
            yes(declared.admits_anybody),
            anonymous.map(yes),
            anonymous.map(|seen| seen && !declared.admits_anybody),
        );
        if let Some(floor) = &declared.tls_floor {
            let oldest = oldest(seen);
            let laxer = oldest.map(|oldest| oldest < floor.as_str());
            row("oldest TLS", floor.clone(), oldest.map(str::to_owned), laxer);
            let words = |required: bool| if required { "required" } else { "not required" }.to_owned();
            let required = seen.client_certificate.map(|asked| asked == ClientCertificate::Required);
            // With a pre-shared key there is no handshake to look at.
            if !declared.pre_shared_key {
                let laxer = required.map(|required| declared.client_certificate_required && !required);
                row("client certificate", words(declared.client_certificate_required), required.map(words), laxer);
            }
        }
        let announced = seen.mqtt.as_ref().and_then(|mqtt| mqtt.maximum_packet_size);
        if let (Some(limit), Some(announced)) = (facts.max_packet_size.filter(|limit| *limit > 0), announced) {
            let laxer = i64::try_from(announced).is_ok_and(|announced| announced > limit);
            row("largest packet", limit.to_string(), Some(announced.to_string()), Some(laxer));
        }
    }
    rows
}

/// Whether TLS is spoken there; none where neither could be told.
fn speaks_tls(seen: &posture::ListenerFacts) -> Option<bool> {
    match seen.transport {
        Transport::Tls if seen.tls12 == Some(true) || seen.tls13 == Some(true) => Some(true),
        Transport::Plaintext if seen.anonymous_accepted.is_some() => Some(false),
        _ => None,
    }
}

/// The oldest version that was accepted, where all that are older are known not to be.
fn oldest(seen: &posture::ListenerFacts) -> Option<&'static str> {
    let survey = seen.tls.as_ref();
    let tried = [
        ("tls1.0", survey.and_then(|survey| survey.tls10)),
        ("tls1.1", survey.and_then(|survey| survey.tls11)),
        ("tls1.2", seen.tls12),
        ("tls1.3", seen.tls13),
    ];
    tried.into_iter().find(|(_, accepted)| *accepted == Some(true)).map(|(name, _)| name)
}

/// The listener among those that were looked at: the same port, and where several have it the same host.
fn find<'a>(
    name: &str,
    declared: &DeclaredListener,
    facts: &BrokerFacts,
    live: &'a Live,
) -> Option<&'a posture::ListenerFacts> {
    let port = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let mut there = live.listeners.iter().filter(|(address, _)| port(address) == Some(declared.port));
    if facts.listeners.values().filter(|other| other.port == declared.port).count() == 1 {
        return there.next().map(|(_, seen)| seen);
    }
    let host = name.split_once('@')?.1;
    there
        .find(|(address, _)| address.rsplit_once(':').is_some_and(|(at, _)| at.trim_matches(['[', ']']) == host))
        .map(|(_, it)| it)
}

/// A listener of this machine only, and the sockets that the host has open.
fn bind(
    name: &str,
    declared: &DeclaredListener,
    facts: &BrokerFacts,
    live: &Live,
    rows: &mut BTreeMap<String, InEffect>,
) {
    let Some(sockets) = &live.sockets else { return };
    let only = facts.listeners.values().filter(|other| other.port == declared.port).count() == 1;
    let there: Vec<_> = sockets.iter().filter(|(_, port)| *port == declared.port).collect();
    if declared.scope != Scope::Loopback || !only || there.is_empty() {
        return;
    }
    let beyond: Vec<_> =
        there.iter().map(|(address, _)| address.as_str()).filter(|it| Scope::of(it) != Scope::Loopback).collect();
    let (seen, contradicted) = match beyond.first() {
        Some(address) => ((*address).to_owned(), true),
        None => ("this machine only".to_owned(), false),
    };
    let declared = "this machine only".to_owned();
    rows.insert(format!("{name} reach"), InEffect { declared, seen: Some(seen), contradicted: Some(contradicted) });
}
