//! The probe on this very machine and on snapshots of others.

use std::path::Path;

use gatepost_evidence::check::link_posture::Facts;
use gatepost_evidence::check::{Seen, Unknown};

use super::*;
use crate::config::{Ingest, Sink};
use crate::probe::host::tests::{config, fixture};

async fn look_at(config: Config) -> (Observation, Facts, Unknown) {
    let value = look(Arc::new(config), Target::new(TargetKind::Uplink, "uplink")).await.unwrap();
    let observation: Observation = serde_json::from_value(value).unwrap();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let mut unknown = Unknown::default();
    let facts = Check::normalise(&observation, &seen, &mut unknown);
    (observation, facts, unknown)
}

fn ingest(url: &str) -> Option<Ingest> {
    Some(Ingest { url: url.into(), ..Ingest::default() })
}

#[tokio::test]
async fn this_machine_is_seen_as_it_is() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = listener.local_addr().unwrap();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 404 \r\n\r\n").await.unwrap();
        }
    });
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut config = config(Path::new("/"));
    config.ingest = ingest(&format!("http://{open}/v1/events"));
    config.sink = Some(Sink { url: format!("http://{closed}"), ..Sink::default() });
    let (observation, facts, unknown) = look_at(config).await;

    let ingest = &facts.peers["ingest"];
    assert_eq!((ingest.address.as_str(), ingest.tries, ingest.failures), (open.to_string().as_str(), 5, 0));
    assert!(ingest.p50_micros <= ingest.p95_micros && ingest.p95_micros.is_some());
    assert_eq!((ingest.requests, ingest.answer_failures, ingest.black_hole), (Some(5), Some(0), Some(false)));
    assert_eq!(facts.peers["sink"].failures, 5);
    assert!(unknown.reason("/peers/sink/black_hole").unwrap().starts_with("refused: "));
    // No spool is where the configuration says that one is.
    assert!(unknown.reason("/outages").unwrap().starts_with("not found: /nowhere"));
    assert!(unknown.reason("/peers/sink/p50_micros").unwrap().starts_with("refused: "));

    let mut truth: Vec<_> = std::fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lo" && name != "bonding_masters")
        .collect();
    truth.sort();
    let names: Vec<_> = observation.interfaces.seen().unwrap().iter().map(|interface| interface.name.clone()).collect();
    assert_eq!(names, truth);
    assert!(observation.default_routes.seen().is_some(), "{:?}", observation.default_routes);
    assert!(observation.addresses.unwrap().seen().is_some() && observation.routing.unwrap().seen().is_some());
    let dns = observation.dns.unwrap();
    let dns = dns.seen().unwrap();
    assert!(dns.made_up.ends_with(".invalid") && dns.servers.len() <= 4, "{dns:?}");
}

#[tokio::test]
async fn peers_that_are_not_there_are_data() {
    let root = tempfile::tempdir().unwrap();
    let mut config = config(root.path());
    assert!(look_at(config.clone()).await.0.peers.is_empty());
    config.ingest = ingest("https://gatepost.invalid/");
    config.sink = Some(Sink { url: "no url".into(), ..Sink::default() });
    let (observation, ..) = look_at(config).await;
    let ingest = &observation.peers["ingest"];
    assert_eq!((ingest.address.as_str(), ingest.tries.len()), ("gatepost.invalid:443", TRIES));
    // Which of the two depends on whether there is a name server.
    let kinds = [FailureKind::Unreachable, FailureKind::TimedOut];
    assert!(ingest.tries.iter().all(|look| kinds.contains(&look.failure().unwrap().kind)), "{ingest:?}");
    assert_eq!(observation.peers["sink"].tries[0].failure().unwrap().kind, FailureKind::Unparseable);
}

#[test]
fn the_port_follows_from_the_scheme() {
    assert_eq!(host_and_port("https://edge/v1"), Some(("edge".into(), 443)));
    assert_eq!(host_and_port("http://user:pw@edge"), Some(("edge".into(), 80)));
    assert_eq!(host_and_port("https://[::1]:8443/"), Some(("[::1]".into(), 8443)));
    assert_eq!(host_and_port("edge"), None);
}

#[tokio::test]
async fn a_raspberry_pi_is_seen_as_it_was() {
    let (observation, facts, _) = look_at(config(&fixture("raspberry-pi-5"))).await;
    assert_eq!(facts.uplink.as_deref(), Some("eth0"));
    assert_eq!(facts.default_routes, Some(vec!["eth0".into(), "wlan0".into()]));
    assert_eq!(facts.clock_synchronised, Some(true));
    assert_eq!(facts.resolvers.unwrap(), ["192.168.1.1", "fd00::1"]);
    let interfaces = facts.interfaces.unwrap();
    assert_eq!((interfaces["eth0"].errors, interfaces["eth0"].wireless), (2, false));
    assert!(interfaces["wlan0"].wireless);
    assert!(facts.ways["eth0"].preferred && facts.ways["eth0"].up == Some(true));
    assert_eq!(observation.interfaces.seen().unwrap()[0].speed_mbits, Some(1000));
}

#[tokio::test]
async fn a_hostile_host_gives_reasons_and_no_facts() {
    let (_, facts, unknown) = look_at(config(&fixture("hostile"))).await;
    assert_eq!((facts.interfaces, facts.default_routes, facts.uplink), (None, None, None));
    assert_eq!(
        unknown.reason("/interfaces"),
        Some("unparseable: /sys/class/net/eth0/statistics/rx_errors is not a number")
    );
    assert_eq!(unknown.reason("/default_routes"), Some("unparseable: /proc/net/route: line 2 is no route"));
    assert_eq!(unknown.reason("/clock_synchronised"), Some("not found: no time service was found"));
}
