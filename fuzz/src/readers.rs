//! Readers of a host that are not those of `host_guardrails`: the agent's own files, over a [`Root`] in memory.

use std::path::Path;

use gatepost_evidence::look::Failure;
use serde_json::Value;

use crate::host::can_be_evidence;
use crate::host::root::Root;
use crate::service_yaml::yaml;

#[path = "../../agent/src/probe/gateway_config_guardrails/format.rs"]
#[allow(dead_code, reason = "its parsers of JSON and TOML are other people's")]
mod format;
#[path = "../../agent/src/probe/link_posture/network.rs"]
#[allow(dead_code, reason = "what asks the kernel itself is not attacked")]
mod network;
#[path = "../../agent/src/probe/link_posture/radio.rs"]
#[allow(dead_code, reason = "its keys are for whoever takes a snapshot")]
mod radio;
#[path = "../../agent/src/probe/mosquitto/running.rs"]
#[allow(dead_code, reason = "the agent uses the rest")]
mod running;
#[path = "../../agent/src/probe/link_posture/time_servers.rs"]
mod time_servers;

/// The network as `link_posture` reads it: interfaces, routes, name servers, settings.
///
/// # Panics
/// When what was read cannot be evidence.
pub fn network(root: &Root) {
    part(network::interfaces(root));
    part(network::routing(root));
    part(network::default_routes(root));
    part(network::resolvers(root));
    part(network::addresses(root));
    part(network::uptime_seconds(root));
}

/// Wi-Fi as `link_posture` reads it.
///
/// # Panics
/// When what was read cannot be evidence.
pub fn radio(root: &Root) {
    can_be_evidence(&radio::look(root));
}

/// The time servers and clocks that `link_posture` finds.
///
/// # Panics
/// When the same files come to something else, or what was read cannot be evidence.
pub fn time(root: &Root) {
    let found = time_servers::servers(root, &[]);
    assert_eq!(found, time_servers::servers(root, &[]));
    assert!(found.source.is_some() || found.names.as_ref().is_ok_and(Vec::is_empty) || found.names.is_err());
    part(found.names);
    part(time_servers::clocks(root));
    part(time_servers::board(root));
}

/// The broker's processes and release, as `gateway_config_guardrails` reads them.
///
/// # Panics
/// When what was read cannot be evidence.
pub fn broker(root: &Root) {
    part(running::processes(root));
    part(running::release(root));
}

/// A service's configuration of `KEY=value` lines.
///
/// # Panics
/// When the same text comes to something else, or a value is none of the text's words.
pub fn assignments(root: &Root) {
    let Ok(text) = root.read_text(Path::new(SERVICE)) else { return };
    let read = || format::parse(&text, Some(format::Format::Assignments), "it");
    let found = read();
    assert_eq!(found, read());
    let Ok(Value::Object(table)) = found else { return };
    assert!(table.len() <= text.lines().count(), "more values than lines");
    assert!(table.keys().all(|key| text.contains(key.as_str())));
}

/// Where [`assignments`] finds its text.
pub const SERVICE: &str = "/etc/gateway/gateway.env";

/// Whether what a reader returned can be evidence.
///
/// # Panics
/// When it cannot.
pub fn part<T>(seen: Result<T, Failure>)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    can_be_evidence(&gatepost_evidence::look::Look::from(seen));
}
