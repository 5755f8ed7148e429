//! Looks at the way from the gateway to the cloud: interfaces, routes, name servers, the clock, and connect times.
//!
//! Peers are only connected to and let go again: [`TRIES`] TCP connections each, one after another, nothing sent. A try that
//! fails is recorded as such.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::link_posture::{Check, Observation, Peer};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use ureq::http::Uri;

pub use super::host::clock::clock_synchronised;
use super::host::network;
use super::host::root::Root;
use super::{Looking, Missed, Probe, blocking, observed};
use crate::config::Config;
use crate::http;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(30),
    touches: "reads sysfs, /proc/net, resolv.conf and /run; five TCP connections each to the ingest edge and the sink",
    needs: "nothing beyond what every program may read",
    targets: |_| vec![Target::new(TargetKind::Uplink, "uplink")],
    look,
};

/// How often each peer is connected to.
pub const TRIES: usize = 5;
/// The time one try may take, name resolution included.
pub const TRY_LIMIT: Duration = Duration::from_secs(2);

fn look(config: Arc<Config>, _: Target) -> Looking {
    Box::pin(async move { observed(&see(config).await?) })
}

async fn see(config: Arc<Config>) -> Result<Observation, Missed> {
    let peers = try_peers(&config).await;
    blocking(move || {
        let root = Root::new(&config.host.root);
        Ok(Observation {
            interfaces: network::interfaces(&root).into(),
            default_routes: network::default_routes(&root).into(),
            resolvers: network::resolvers(&root).into(),
            clock_synchronised: clock_synchronised(&config.host.root).0,
            peers,
        })
    })
    .await
}

async fn try_peers(config: &Config) -> BTreeMap<String, Peer> {
    let ingest = config.ingest.as_ref().map(|ingest| ("ingest", ingest.url.as_str()));
    // What is behind a proxy cannot be reached without it: the proxy is the next thing on the way.
    let sink = config.sink.as_ref().map(|sink| ("sink", sink.proxy.as_deref().unwrap_or(&sink.url)));
    let mut peers = BTreeMap::new();
    // One after another, so that they do not disturb each other's times.
    for (name, url) in ingest.into_iter().chain(sink) {
        peers.insert(name.to_owned(), try_peer(url).await);
    }
    peers
}

async fn try_peer(url: &str) -> Peer {
    let Some((host, port)) = host_and_port(url) else {
        let failure = Failure::new(FailureKind::Unparseable, "its URL in the configuration names no host");
        return Peer { address: "unknown".into(), tries: vec![Look::Failed(failure)] };
    };
    let address = format!("{host}:{port}");
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        tries.push(try_once(&address).await.into());
    }
    Peer { address, tries }
}

/// Microseconds to connect to `address`.
async fn try_once(address: &str) -> Result<u64, Failure> {
    let started = Instant::now();
    match timeout(TRY_LIMIT, connect(address)).await {
        Ok(result) => result?,
        Err(_) => {
            let detail = format!("{address} did not answer within {} s", TRY_LIMIT.as_secs());
            return Err(Failure::new(FailureKind::TimedOut, detail));
        }
    };
    Ok(u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX))
}

async fn connect(address: &str) -> Result<TcpStream, Failure> {
    let unresolved = |error: io::Error| Failure::new(FailureKind::Unreachable, format_args!("{address}: {error}"));
    let addresses = lookup_host(address).await.map_err(unresolved)?;
    let mut last = Failure::new(FailureKind::Unreachable, format_args!("{address}: the name has no address"));
    for resolved in addresses {
        match TcpStream::connect(resolved).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Failure::new(http::io_kind(&error), format_args!("{resolved}: {error}")),
        }
    }
    Err(last)
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
#[path = "link_posture_tests.rs"]
mod tests;
