//! Interfaces, addresses and default routes: what the gateway is connected by, and what takes over when that fails.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Observation;
use crate::check::{Unknown, segment};
use crate::look::Look;

/// What kind of interface it is, as far as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Ethernet, or something that looks like it to the kernel.
    Wired,
    /// A radio of IEEE 802.11.
    Wireless,
    /// A modem, or a point-to-point link as modems have it.
    Modem,
    /// A tunnel: WireGuard, TUN or TAP, IP in IP, GRE.
    Tunnel,
    /// A bridge of other interfaces.
    Bridge,
    /// A VLAN of another interface.
    Vlan,
}

/// What the kernel was told to do with packets of an interface. Null where the kernel has no such setting, as without IPv6.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `net.ipv4.conf.<interface>.rp_filter`.
    pub rp_filter: Option<i64>,
    /// `net.ipv6.conf.<interface>.accept_ra`.
    pub accept_ra: Option<i64>,
    /// `net.ipv6.conf.<interface>.forwarding`.
    pub forwarding: Option<i64>,
    /// `net.ipv6.conf.<interface>.disable_ipv6`.
    pub disable_ipv6: Option<i64>,
}

/// The same for all interfaces together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// `net.ipv4.ip_forward`.
    pub ipv4_forward: Option<i64>,
    /// `net.ipv6.conf.all.forwarding`.
    pub ipv6_forward: Option<i64>,
    /// `net.ipv4.conf.all.rp_filter`; the higher one of this and the interface's counts.
    pub rp_filter: Option<i64>,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: String,
    /// Bits of the network's part.
    pub prefix: u8,
}

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AddressScope {
    /// The link alone (RFC 3927, RFC 4291 section 2.5.6).
    LinkLocal,
    /// The site (RFC 1918, RFC 4193).
    Private,
    /// The provider's network, behind its own translation (RFC 6598).
    Shared,
    /// Everywhere.
    Global,
}

impl AddressScope {
    /// Of `address`; none for loopback, and for what is no address of a host.
    #[must_use]
    pub fn of(address: &str) -> Option<Self> {
        match address.parse::<IpAddr>().ok()?.to_canonical() {
            address if address.is_loopback() || address.is_unspecified() || address.is_multicast() => None,
            IpAddr::V4(address) if address.is_link_local() => Some(Self::LinkLocal),
            IpAddr::V4(address) if address.is_private() => Some(Self::Private),
            IpAddr::V4(address) if matches!(address.octets(), [100, 64..=127, ..]) => Some(Self::Shared),
            IpAddr::V6(address) if address.is_unicast_link_local() => Some(Self::LinkLocal),
            IpAddr::V6(address) if address.is_unique_local() => Some(Self::Private),
            _ => Some(Self::Global),
        }
    }
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// What kind it is, where the kernel tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// `full`, `half` or `unknown`, where the driver knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duplex: Option<String>,
    /// How often its carrier was lost since the machine started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier_losses: Option<u64>,
    /// Packets received.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received: Option<u64>,
    /// Packets sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<u64>,
    /// Packets that came and had no room, or no taker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receive_dropped: Option<u64>,
    /// Packets that were not sent for lack of room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transmit_dropped: Option<u64>,
    /// What the kernel does with its packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Look<Settings>>,
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
    /// It is one of IPv6; null in evidence that does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
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
    /// A default route leaves by it. Absent when the routes are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub way_out: Option<bool>,
    /// What kind it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// Its speed in Mbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed_mbits: Option<u64>,
    /// Only one side speaks at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_duplex: Option<bool>,
    /// How often its carrier was lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier_losses: Option<u64>,
    /// The same in a day, rounded down; absent until the machine has run for an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carrier_losses_per_day: Option<u64>,
    /// Errors in a million packets; absent below ten thousand packets, which say nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub errors_per_million: Option<u64>,
    /// Dropped packets in a million; absent below ten thousand packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drops_per_million: Option<u64>,
    /// The scopes of its addresses, IPv4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4_scopes: Option<BTreeSet<AddressScope>>,
    /// The scopes of its addresses, IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_scopes: Option<BTreeSet<AddressScope>>,
    /// The kernel takes routes and addresses from whoever advertises them there (RFC 4861).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router_advertisements: Option<bool>,
    /// The kernel holds senders' addresses against its routes there (RFC 3704).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub senders_checked: Option<bool>,
}

/// Facts about an interface that default routes leave by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WayFacts {
    /// The lowest metric of its routes.
    pub metric: u64,
    /// It is the uplink: no default route has a lower metric.
    pub preferred: bool,
    /// It has a carrier. Absent when that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up: Option<bool>,
    /// Another interface has a default route of the same family with the same metric, so that chance says which is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambiguous: Option<bool>,
}

/// Fewer packets than these say nothing about a rate.
const ENOUGH: u64 = 10_000;

/// The interfaces' facts.
pub(super) fn facts(
    observation: &Observation,
    uptime: Option<u64>,
    unknown: &mut Unknown,
) -> Option<BTreeMap<String, InterfaceFacts>> {
    let interfaces = match &observation.interfaces {
        Look::Seen(interfaces) => interfaces,
        Look::Failed(failure) => {
            unknown.because("/interfaces", failure);
            return None;
        }
    };
    let facts = interfaces.iter().map(|one| (one.name.clone(), one_of(one, observation, uptime, unknown)));
    Some(facts.collect())
}

fn one_of(
    interface: &Interface,
    observation: &Observation,
    uptime: Option<u64>,
    unknown: &mut Unknown,
) -> InterfaceFacts {
    let place = format!("/interfaces/{}", segment(&interface.name));
    let errors = interface.receive_errors.saturating_add(interface.transmit_errors);
    let packets = interface.received.zip(interface.sent).map(|(received, sent)| received.saturating_add(sent));
    let rate = |count: u64| {
        let packets = packets.filter(|packets| *packets >= ENOUGH)?;
        Some(u64::try_from(u128::from(count) * 1_000_000 / u128::from(packets)).unwrap_or(u64::MAX))
    };
    let dropped = interface.receive_dropped.zip(interface.transmit_dropped);
    let dropped = dropped.map(|(received, sent)| received.saturating_add(sent));
    let scopes = |ipv6: bool| {
        let addresses = observation.addresses.as_ref()?.seen()?;
        let mine = addresses.iter().filter(|one| one.interface == interface.name && one.address.contains(':') == ipv6);
        Some(mine.filter_map(|one| AddressScope::of(&one.address)).collect())
    };
    if let Some(Look::Failed(failure)) = &observation.addresses {
        unknown.because(format!("{place}/ipv4_scopes"), failure);
        unknown.because(format!("{place}/ipv6_scopes"), failure);
    }
    if let Some(Look::Failed(failure)) = &observation.uptime_seconds {
        unknown.because(format!("{place}/carrier_losses_per_day"), failure);
    }
    if let Look::Failed(failure) = &observation.default_routes {
        unknown.because(format!("{place}/way_out"), failure);
    }
    let settings = match &interface.settings {
        Some(Look::Seen(settings)) => Some(settings),
        Some(Look::Failed(failure)) => {
            unknown.because(format!("{place}/router_advertisements"), failure);
            unknown.because(format!("{place}/senders_checked"), failure);
            None
        }
        None => None,
    };
    let routing = match &observation.routing {
        Some(Look::Seen(routing)) => Some(routing),
        Some(Look::Failed(failure)) => {
            unknown.because(format!("{place}/senders_checked"), failure);
            None
        }
        None => None,
    };
    let per_day = |losses: u64| uptime.filter(|seconds| *seconds >= 3_600).map(|seconds| losses * 86_400 / seconds);
    InterfaceFacts {
        state: interface.state.clone(),
        wireless: interface.wireless,
        mtu: interface.mtu,
        errors,
        way_out: observation
            .default_routes
            .seen()
            .map(|routes| routes.iter().any(|route| route.interface == interface.name)),
        kind: interface.kind,
        speed_mbits: interface.speed_mbits,
        half_duplex: interface.duplex.as_deref().filter(|duplex| *duplex != "unknown").map(|duplex| duplex == "half"),
        carrier_losses: interface.carrier_losses,
        carrier_losses_per_day: interface.carrier_losses.and_then(per_day),
        errors_per_million: rate(errors),
        drops_per_million: dropped.and_then(rate),
        ipv4_scopes: scopes(false),
        ipv6_scopes: scopes(true),
        router_advertisements: settings.map(advertisements),
        senders_checked: settings
            .zip(routing)
            .and_then(|(settings, routing)| Some(settings.rp_filter?.max(routing.rp_filter?) > 0)),
    }
}

/// A host believes routers with 1, a router with 2 (ip-sysctl of the kernel).
fn advertisements(settings: &Settings) -> bool {
    settings.disable_ipv6 == Some(0)
        && match settings.accept_ra {
            Some(1) => settings.forwarding == Some(0),
            Some(2) => true,
            _ => false,
        }
}

/// The ways out, by interface.
pub(super) fn ways(observation: &Observation, unknown: &mut Unknown) -> BTreeMap<String, WayFacts> {
    let routes = match &observation.default_routes {
        Look::Seen(routes) => routes,
        Look::Failed(failure) => {
            unknown.because("/ways", failure);
            return BTreeMap::new();
        }
    };
    let lowest = routes.iter().map(|route| route.metric).min();
    let mut ways = BTreeMap::new();
    for route in routes {
        let way = ways.entry(route.interface.clone()).or_insert_with(|| WayFacts {
            metric: u64::from(route.metric),
            up: up(observation, &route.interface, unknown),
            ..WayFacts::default()
        });
        way.metric = way.metric.min(u64::from(route.metric));
        way.preferred |= Some(route.metric) == lowest;
        // Two routes of one metric over one link are the two families, or a change that is under way.
        let twin = |other: &Route| {
            other.interface != route.interface && other.metric == route.metric && other.ipv6 == route.ipv6
        };
        if route.ipv6.is_some() {
            way.ambiguous = Some(way.ambiguous == Some(true) || routes.iter().any(twin));
        }
    }
    ways
}

/// Whether the interface called `name` has a carrier: drivers that do not know it say `unknown`, and carry.
fn up(observation: &Observation, name: &str, unknown: &mut Unknown) -> Option<bool> {
    let place = format!("/ways/{}/up", segment(name));
    match &observation.interfaces {
        Look::Seen(interfaces) => match interfaces.iter().find(|interface| interface.name == name) {
            Some(interface) => Some(matches!(interface.state.as_str(), "up" | "unknown")),
            None => {
                unknown.because(place, "the interface of the route was not found");
                None
            }
        },
        Look::Failed(failure) => {
            unknown.because(place, failure);
            None
        }
    }
}

/// The scope of the addresses that the uplink goes out with: the widest of IPv4, or of IPv6 where it has no IPv4.
pub(super) fn uplink_scope(uplink: Option<&InterfaceFacts>) -> Option<AddressScope> {
    let uplink = uplink?;
    let widest = |scopes: &Option<BTreeSet<AddressScope>>| scopes.as_ref().and_then(|scopes| scopes.last().copied());
    widest(&uplink.ipv4_scopes).or_else(|| widest(&uplink.ipv6_scopes))
}
