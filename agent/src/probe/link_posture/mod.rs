//! Looks at the way from the gateway to the cloud: interfaces, routes, Wi-Fi, name servers, the clock, what lies between the
//! gateway and its peers, and when evidence had to wait for the sink.
//!
//! What is read of the machine is read below the host's root; what is asked of others is asked only by a running gateway, since a
//! snapshot has no network. Everything that is asked, how often and of whom, is in `docs/decisions/0021-questions-about-the-link.md`.

pub mod packet;
pub mod radio;

mod dns;
mod network;
mod peers;
mod record;
mod time;
mod time_servers;

use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::link_posture::dns::Dns;
use gatepost_evidence::check::link_posture::path::Portal;
use gatepost_evidence::check::link_posture::radio::Wireless;
use gatepost_evidence::check::link_posture::{Address, Check, Interface, Observation, Route, Routing};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};
use ureq::http::Uri;

pub use self::peers::{TRIES, TRY_LIMIT};
pub use super::host::clock::clock_synchronised;
use super::host::clock::synchronised;
use super::host::root::Root;
use super::{Looking, Missed, Probe, blocking, observed};
use crate::config::Config;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(30),
    touches: "reads sysfs, /proc/net, /proc/sys/net, resolv.conf, configurations of Wi-Fi and of time services, /run and the \
              agent's own spool; six connections each to the ingest edge and the sink (TLS, `HEAD /`), the last one with a \
              request of 4 kB; one plain request to port 80 of one of them; to each of at most four resolvers their names and \
              one that is made up; one packet each to at most three time servers",
    needs: "nothing beyond what every program may read; Wi-Fi configurations belong to root, and are unknown without it",
    targets: |_| vec![Target::new(TargetKind::Uplink, "uplink")],
    look,
};

fn look(config: Arc<Config>, _: Target) -> Looking {
    Box::pin(async move { observed(&see(config).await?) })
}

/// What is read of the machine itself.
pub struct Machine {
    interfaces: Look<Vec<Interface>>,
    default_routes: Look<Vec<Route>>,
    resolvers: Look<Vec<String>>,
    clock_synchronised: Look<bool>,
    uptime_seconds: Look<u64>,
    addresses: Look<Vec<Address>>,
    routing: Look<Routing>,
    wireless: Option<Wireless>,
    servers: time_servers::Servers,
    clocks: Result<Vec<String>, Failure>,
    board: Result<bool, Failure>,
}

/// Reads what is read of the machine below `root`.
#[must_use]
pub fn see_at(root: &Root, config: &Config) -> Machine {
    let interfaces = network::interfaces(root);
    // Without a radio it does not matter what is configured for one, and that it belongs to root.
    let radio = !matches!(&interfaces, Ok(all) if !all.iter().any(|interface| interface.wireless));
    Machine {
        interfaces: interfaces.into(),
        default_routes: network::default_routes(root).into(),
        resolvers: network::resolvers(root).into(),
        clock_synchronised: synchronised(root).0,
        uptime_seconds: network::uptime_seconds(root).into(),
        addresses: network::addresses(root).into(),
        routing: network::routing(root).into(),
        wireless: radio.then(|| radio::look(root)),
        servers: time_servers::servers(root, &config.link.time_servers),
        clocks: time_servers::clocks(root),
        board: time_servers::board(root),
    }
}

async fn see(config: Arc<Config>) -> Result<Observation, Missed> {
    let root = Root::new(&config.host.root);
    let live = root.is_live();
    let (machine, own, issuers) = {
        let config = Arc::clone(&config);
        blocking(move || {
            let folder = &config.state.directory;
            let own = config.sink.is_some().then(|| record::of(folder));
            Ok((see_at(&root, &config), own, record::issuers(folder)))
        })
        .await?
    };
    let Machine { servers, clocks, board, .. } = machine;
    let servers =
        if live { servers } else { time_servers::Servers { names: servers.names.and(Err(no_network())), ..servers } };
    let resolvers = machine.resolvers.clone();
    let (peers, portal, dns, time) = tokio::join!(
        peers::try_all(&config, &issuers),
        portal(&config, live),
        names(&config, live, &resolvers),
        time::ask(servers, clocks, board)
    );
    Ok(Observation {
        interfaces: machine.interfaces,
        default_routes: machine.default_routes,
        resolvers: machine.resolvers,
        clock_synchronised: machine.clock_synchronised,
        peers,
        uptime_seconds: Some(machine.uptime_seconds),
        addresses: Some(machine.addresses),
        routing: Some(machine.routing),
        wireless: machine.wireless,
        expected_tunnels: config.link.tunnels.clone(),
        dns: Some(dns),
        portal,
        time: Some(time),
        record: own.map(Look::from),
    })
}

fn no_network() -> Failure {
    Failure::new(FailureKind::Error, "a snapshot has no network: this is asked by a running gateway only")
}

async fn portal(config: &Config, live: bool) -> Option<Portal> {
    if live { peers::portal(config).await } else { None }
}

async fn names(config: &Config, live: bool, resolvers: &Look<Vec<String>>) -> Look<Dns> {
    match resolvers {
        Look::Seen(resolvers) if live => Look::Seen(dns::ask(config, resolvers).await),
        Look::Seen(_) => Look::Failed(no_network()),
        Look::Failed(failure) => Look::Failed(failure.clone()),
    }
}

/// Host (IPv6 in brackets) and port of `url`; the port follows from the scheme if it is not named.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let port = match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("https")) => 443,
        (None, Some("http")) => 80,
        _ => return None,
    };
    Some((uri.host().filter(|host| !host.is_empty())?.to_owned(), port))
}

#[cfg(test)]
mod tests;
