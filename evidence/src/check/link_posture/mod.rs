//! `link_posture`: the way from the gateway to the cloud.
//!
//! What the gateway is connected by and what takes over ([`interfaces`]), Wi-Fi ([`radio`]), names ([`dns`]), the way to the
//! ingest edge and the sink ([`path`]), the clock ([`time`]), and when evidence had to wait ([`outage`]). Everything beyond
//! the first set is optional: evidence from before it was looked at has no facts about it, and no reason either.

pub mod dns;
pub mod interfaces;
pub mod outage;
pub mod path;
pub mod radio;
pub mod time;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::interfaces::{Address, AddressScope, Interface, Kind, Route, Routing, Settings};
use self::interfaces::{InterfaceFacts, WayFacts};
pub use self::path::{Peer, PeerFacts};
use super::{Contract, Seen, Unknown, segment};
use crate::look::Look;

/// The contract of this check.
pub struct Check;

/// What was seen of the uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Network interfaces except loopback.
    pub interfaces: Look<Vec<Interface>>,
    /// Default routes, IPv4 and IPv6.
    pub default_routes: Look<Vec<Route>>,
    /// Name servers of resolv.conf(5).
    pub resolvers: Look<Vec<String>>,
    /// Whether a time service says the clock is synchronised.
    pub clock_synchronised: Look<bool>,
    /// By name (`ingest`, `sink`, or in its place the proxy on the way to it): tries to connect.
    pub peers: BTreeMap<String, Peer>,
    /// Seconds since the machine started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_seconds: Option<Look<u64>>,
    /// Addresses of the interfaces, loopback's left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Look<Vec<Address>>>,
    /// What the kernel does with packets of every interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Look<Routing>>,
    /// Wi-Fi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireless: Option<radio::Wireless>,
    /// Tunnels that the operator expects, by interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected_tunnels: Vec<String>,
    /// What the resolvers say; failed when it is not known which to ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Look<dns::Dns>>,
    /// A question in plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal: Option<path::Portal>,
    /// What time servers say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<time::Time>,
    /// The agent's own record of contact with the sink; null when no sink is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Look<outage::Record>>,
}

/// Facts about the uplink.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// By name: interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interfaces: Option<BTreeMap<String, InterfaceFacts>>,
    /// The interfaces that default routes leave by, each once: IPv4 and IPv6 over one link are one way out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_routes: Option<Vec<String>>,
    /// The interface of the default route with the lowest metric.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink: Option<String>,
    /// The same interfaces by name, with what each is good for.
    pub ways: BTreeMap<String, WayFacts>,
    /// From where the uplink's own address can be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink_scope: Option<AddressScope>,
    /// Packets of IPv4 are passed on between interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwards_ipv4: Option<bool>,
    /// Packets of IPv6 are passed on between interfaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwards_ipv6: Option<bool>,
    /// By interface: tunnels that are there or expected.
    pub tunnels: BTreeMap<String, TunnelFacts>,
    /// By interface: radios that are connected.
    pub radios: BTreeMap<String, radio::RadioFacts>,
    /// By file and place: configured Wi-Fi networks.
    pub networks: BTreeMap<String, radio::NetworkFacts>,
    /// Name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolvers: Option<Vec<String>>,
    /// By address: name servers, as they answered.
    pub name_servers: BTreeMap<String, dns::NameServerFacts>,
    /// By name: names that they were asked for.
    pub names: BTreeMap<String, dns::NameFacts>,
    /// Somebody on the way answers plain HTTP in place of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captive_portal: Option<bool>,
    /// Where he sends the asker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub portal_location: Option<String>,
    /// The clock is synchronised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// How far the clock is off at least, by the median of the time servers, in milliseconds and without sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_off_millis: Option<u64>,
    /// By address: time servers.
    pub time_servers: BTreeMap<String, time::TimeServerFacts>,
    /// How far apart they are among themselves at least, in milliseconds; absent with fewer than two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_servers_apart_millis: Option<u64>,
    /// There is a clock that runs on without power.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_kept_without_power: Option<bool>,
    /// The machine is a board that has a clock only where one was fitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<bool>,
    /// By name: peers in the cloud.
    pub peers: BTreeMap<String, PeerFacts>,
    /// When evidence had to wait for the sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outages: Option<outage::OutageFacts>,
}

/// Facts about a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TunnelFacts {
    /// The operator expects it.
    pub expected: bool,
    /// It is there and not down. Absent when the interfaces are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
}

impl Contract for Check {
    const CHECK: &'static str = "link_posture";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[
        "/interfaces/*/errors",
        "/interfaces/*/errors_per_million",
        "/interfaces/*/drops_per_million",
        "/interfaces/*/carrier_losses",
        "/interfaces/*/carrier_losses_per_day",
        "/radios/*/signal_dbm",
        "/name_servers/*/failures",
        "/name_servers/*/p50_micros",
        "/name_servers/*/max_micros",
        "/name_servers/*/strays",
        "/names/*/answers",
        "/clock_off_millis",
        "/time_servers/*/off_millis",
        "/time_servers_apart_millis",
        "/peers/*/p50_micros",
        "/peers/*/p95_micros",
        "/peers/*/failures",
        "/peers/*/handshakes",
        "/peers/*/handshake_failures",
        "/peers/*/handshake_p50_micros",
        "/peers/*/handshake_p95_micros",
        "/peers/*/requests",
        "/peers/*/answer_failures",
        "/peers/*/answer_p50_micros",
        "/peers/*/answer_p95_micros",
        "/outages/record_hours",
        "/outages/available_day_permille",
        "/outages/available_month_permille",
        "/outages/present_seconds",
        "/outages/backlog",
    ];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        if let Look::Failed(failure) = &observation.default_routes {
            unknown.because("/default_routes", failure);
            unknown.because("/uplink", failure);
            unknown.because("/uplink_scope", failure);
        }
        if let Look::Failed(failure) = &observation.resolvers {
            unknown.because("/resolvers", failure);
        }
        if let Look::Failed(failure) = &observation.clock_synchronised {
            unknown.because("/clock_synchronised", failure);
        }
        let uptime = observation.uptime_seconds.as_ref().and_then(|uptime| uptime.seen().copied());
        let interfaces = interfaces::facts(observation, uptime, unknown);
        let routes = observation.default_routes.seen();
        let uplink = routes.and_then(|routes| routes.iter().min_by_key(|route| route.metric));
        let uplink = uplink.map(|route| route.interface.clone());
        if routes.is_some() && uplink.is_none() {
            unknown.because("/uplink", "there is no default route");
            unknown.because("/uplink_scope", "there is no default route");
        }
        let of_uplink = uplink.as_ref().zip(interfaces.as_ref()).and_then(|(uplink, all)| all.get(uplink));
        let uplink_scope = interfaces::uplink_scope(of_uplink);
        if let Some(Look::Failed(failure)) = &observation.addresses {
            unknown.because("/uplink_scope", failure);
        }
        let (radios, networks) = radio::facts(observation.wireless.as_ref(), unknown);
        let (name_servers, names) = dns::facts(observation.dns.as_ref(), unknown);
        let time = time::facts(observation.time.as_ref(), unknown);
        let routing = match &observation.routing {
            Some(Look::Failed(failure)) => {
                unknown.because("/forwards_ipv4", failure);
                unknown.because("/forwards_ipv6", failure);
                None
            }
            other => other.as_ref().and_then(Look::seen),
        };
        let portal = observation.portal.as_ref().and_then(|portal| portal.answer.seen());
        Facts {
            tunnels: tunnels(observation, interfaces.as_ref(), unknown),
            interfaces,
            default_routes: routes.map(|routes| {
                let interfaces: BTreeSet<_> = routes.iter().map(|route| route.interface.clone()).collect();
                interfaces.into_iter().collect()
            }),
            uplink,
            ways: interfaces::ways(observation, unknown),
            uplink_scope,
            forwards_ipv4: routing.and_then(|routing| routing.ipv4_forward).map(|value| value != 0),
            forwards_ipv6: routing.and_then(|routing| routing.ipv6_forward).map(|value| value != 0),
            radios,
            networks,
            resolvers: observation.resolvers.seen().cloned(),
            name_servers,
            names,
            captive_portal: path::captive(observation.portal.as_ref(), unknown),
            portal_location: portal.and_then(|answer| answer.location.clone()),
            clock_synchronised: observation.clock_synchronised.seen().copied(),
            clock_off_millis: time.off_millis,
            time_servers: time.servers,
            time_servers_apart_millis: time.spread_millis,
            clock_kept_without_power: time.kept_without_power,
            board: time.board,
            peers: observation
                .peers
                .iter()
                .map(|(name, peer)| (name.clone(), path::facts(name, peer, seen, unknown)))
                .collect(),
            outages: outage::facts(observation.record.as_ref(), seen, unknown),
        }
    }
}

/// Tunnels that are there, and those that should be.
fn tunnels(
    observation: &Observation,
    interfaces: Option<&BTreeMap<String, InterfaceFacts>>,
    unknown: &mut Unknown,
) -> BTreeMap<String, TunnelFacts> {
    let there = interfaces.into_iter().flatten();
    let there = there.filter(|(_, interface)| interface.kind == Some(Kind::Tunnel)).map(|(name, _)| name);
    let expected = &observation.expected_tunnels;
    let names: BTreeSet<&String> = there.chain(expected).collect();
    let tunnel = |name: &String| {
        let up = interfaces.map(|all| all.get(name).is_some_and(|one| one.state != "down"));
        if let (None, Look::Failed(failure)) = (up, &observation.interfaces) {
            unknown.because(format!("/tunnels/{}/up", segment(name)), failure);
        }
        (name.clone(), TunnelFacts { expected: expected.contains(name), up })
    };
    names.into_iter().map(tunnel).collect()
}

/// The `percent`th percentile of ascending `times`, nearest rank.
fn percentile(times: &[u64], percent: usize) -> Option<u64> {
    let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(index).copied()
}

#[cfg(test)]
mod tests;
