//! `link_posture`: the way from the gateway to the cloud.
//!
//! The first set: interfaces and default routes, resolvers, the clock's source, and connect times to the ingest edge and
//! the sink over a bounded number of tries.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// `operstate` of sysfs: `up`, `down`, `unknown` and others.
    pub state: String,
    /// Link speed in Mbit/s, where the driver knows it.
    pub speed_mbits: Option<u64>,
    /// Largest packet in bytes.
    pub mtu: Option<u64>,
    /// Frames received with errors, since the interface came up.
    pub receive_errors: u64,
    /// Frames not sent because of errors, since the interface came up.
    pub transmit_errors: u64,
    /// It is a radio (`wireless` or `phy80211` in sysfs).
    pub wireless: bool,
}

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The interface it leaves by.
    pub interface: String,
    /// The next hop, if it has one.
    pub gateway: Option<String>,
    /// Its metric; the lowest is used.
    pub metric: u32,
}

/// Tries to connect to one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Host and port.
    pub address: String,
    /// Each try: microseconds to connect, name resolution included.
    pub tries: Vec<Look<u64>>,
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
    /// Name servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolvers: Option<Vec<String>>,
    /// The clock is synchronised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_synchronised: Option<bool>,
    /// By name: peers in the cloud.
    pub peers: BTreeMap<String, PeerFacts>,
}

/// Facts about an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InterfaceFacts {
    /// Its state.
    pub state: String,
    /// It is a radio.
    pub wireless: bool,
    /// Largest packet in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u64>,
    /// Errors in both directions since it came up.
    pub errors: u64,
}

/// Facts about a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerFacts {
    /// Host and port.
    pub address: String,
    /// How many tries were made.
    pub tries: u64,
    /// How many of them failed.
    pub failures: u64,
    /// Median microseconds to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u64>,
    /// 95th percentile in microseconds, nearest rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_micros: Option<u64>,
}

impl Contract for Check {
    const CHECK: &'static str = "link_posture";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] =
        &["/interfaces/*/errors", "/peers/*/p50_micros", "/peers/*/p95_micros", "/peers/*/failures"];

    fn normalise(observation: &Observation, _: &Seen, unknown: &mut Unknown) -> Facts {
        if let Look::Failed(failure) = &observation.interfaces {
            unknown.because("/interfaces", failure);
        }
        if let Look::Failed(failure) = &observation.default_routes {
            unknown.because("/default_routes", failure);
            unknown.because("/uplink", failure);
        }
        if let Look::Failed(failure) = &observation.resolvers {
            unknown.because("/resolvers", failure);
        }
        if let Look::Failed(failure) = &observation.clock_synchronised {
            unknown.because("/clock_synchronised", failure);
        }
        let routes = observation.default_routes.seen();
        let uplink = routes.and_then(|routes| routes.iter().min_by_key(|route| route.metric));
        if routes.is_some() && uplink.is_none() {
            unknown.because("/uplink", "there is no default route");
        }
        let interface = |interface: &Interface| {
            let errors = interface.receive_errors.saturating_add(interface.transmit_errors);
            let facts = InterfaceFacts {
                state: interface.state.clone(),
                wireless: interface.wireless,
                mtu: interface.mtu,
                errors,
            };
            (interface.name.clone(), facts)
        };
        Facts {
            interfaces: observation.interfaces.seen().map(|all| all.iter().map(interface).collect()),
            default_routes: routes.map(|routes| {
                let interfaces: BTreeSet<_> = routes.iter().map(|route| route.interface.clone()).collect();
                interfaces.into_iter().collect()
            }),
            uplink: uplink.map(|route| route.interface.clone()),
            resolvers: observation.resolvers.seen().cloned(),
            clock_synchronised: observation.clock_synchronised.seen().copied(),
            peers: observation
                .peers
                .iter()
                .map(|(name, peer)| (name.clone(), peer_facts(name, peer, unknown)))
                .collect(),
        }
    }
}

fn peer_facts(name: &str, peer: &Peer, unknown: &mut Unknown) -> PeerFacts {
    let mut times: Vec<u64> = peer.tries.iter().filter_map(|look| look.seen().copied()).collect();
    times.sort_unstable();
    let rank = |percent: usize| {
        let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
        times.get(index).copied()
    };
    if let (true, Some(failure)) = (times.is_empty(), peer.tries.iter().find_map(Look::failure)) {
        for fact in ["p50_micros", "p95_micros"] {
            unknown.because(format!("/peers/{}/{fact}", segment(name)), failure);
        }
    }
    PeerFacts {
        address: peer.address.clone(),
        tries: peer.tries.len() as u64,
        failures: (peer.tries.len() - times.len()) as u64,
        p50_micros: rank(50),
        p95_micros: rank(95),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::{Failure, FailureKind};

    #[test]
    fn percentiles_are_of_the_nearest_rank_and_failures_are_counted() {
        let tries = (1..=20).map(Look::Seen).collect();
        let peer = Peer { address: "edge:443".into(), tries };
        let facts = peer_facts("ingest", &peer, &mut Unknown::default());
        assert_eq!((facts.p50_micros, facts.p95_micros, facts.failures), (Some(10), Some(19), 0));

        let failed = || Look::Failed(Failure::new(FailureKind::Unreachable, "no route"));
        let mut unknown = Unknown::default();
        let peer = Peer { address: "edge:443".into(), tries: vec![failed(), failed()] };
        let facts = peer_facts("ingest", &peer, &mut unknown);
        assert_eq!((facts.p50_micros, facts.failures), (None, 2));
        assert_eq!(unknown.reason("/peers/ingest/p50_micros"), Some("unreachable: no route"));
    }

    #[test]
    fn the_uplink_is_the_route_with_the_lowest_metric() {
        let route = |interface: &str, metric| Route { interface: interface.into(), gateway: None, metric };
        let empty = || Look::Failed(Failure::new(FailureKind::NotFound, "not there"));
        let observation = Observation {
            interfaces: empty(),
            default_routes: Look::Seen(vec![route("wwan0", 700), route("eth0", 100), route("eth0", 1024)]),
            resolvers: Look::Seen(vec![]),
            clock_synchronised: Look::Seen(true),
            peers: BTreeMap::new(),
        };
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        let facts = Check::normalise(&observation, &seen, &mut unknown);
        assert_eq!(facts.uplink.as_deref(), Some("eth0"));
        assert_eq!(facts.default_routes, Some(vec!["eth0".into(), "wwan0".into()]));
        assert_eq!(unknown.reason("/interfaces"), Some("not found: not there"));
    }
}
