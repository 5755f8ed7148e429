//! What the agent sees of a link that fails and comes back, in a network of its own: two uplinks, an authority that changes, pins, and
//! an outage that the agent remembers.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::time::Duration;

use gatepost_tests::clock::Clock;
use gatepost_tests::namespace::site::{EDGE, HONEST, SINK, Site};
use gatepost_tests::process::{LIMIT, installed};
use serde_json::Value;

const HOUR: Duration = Duration::from_secs(3600);

fn findings(report: &Value) -> BTreeSet<String> {
    let rows = report["findings"].as_array().into_iter().flatten();
    let id = |row: &Value| {
        let key = row["key"].as_str()?.strip_prefix("link_posture.")?;
        let subject = row["subject"].as_str().and_then(|subject| subject.strip_prefix("uplink/"));
        Some(subject.map_or_else(|| key.to_owned(), |subject| format!("{key}[{subject}]")))
    };
    // The clock is that of the machine on which this runs.
    rows.filter_map(id).filter(|id| !id.starts_with("clock_not_") && !id.starts_with("clock_stops_")).collect()
}

fn set(expected: &[&str]) -> BTreeSet<String> {
    expected.iter().map(|&key| key.to_owned()).collect()
}

#[test]
fn with_two_uplinks_the_second_one_carries_what_the_first_one_cannot() {
    let mut site = Site::make().unwrap();
    site.serve().unwrap();
    let text = site.configuration("failover", "");
    // Now the cloud is reached by the default routes alone.
    site.gateway.ip(&["route", "del", "10.99.0.0/24"]).unwrap();
    assert_eq!(findings(&site.look(&text).unwrap()), set(&[]));
    site.road.ip(&["link", "set", "down0", "down"]).unwrap();
    site.gateway.wait_until_up("up0", false).unwrap();
    let dark = findings(&site.look(&text).unwrap());
    for key in ["uplink_without_carrier[up0]", "peer_unreachable[ingest]", "resolver_silent[10.99.0.53]"] {
        assert!(dark.contains(key), "{key}: {dark:?}");
    }
    // A network manager takes the dead route away; the kernel does when it is told to.
    site.gateway.sysctl("net.ipv4.conf.all.ignore_routes_with_linkdown", "1").unwrap();
    assert_eq!(findings(&site.look(&text).unwrap()), set(&["uplink_without_carrier[up0]"]));
    site.road.ip(&["link", "set", "down0", "up"]).unwrap();
    site.gateway.wait_until_up("up0", true).unwrap();
    site.road.wait_until_up("down0", true).unwrap();
    for server in ["10.99.0.53/53", "10.99.0.54/53"] {
        site.gateway.wait_until_answered(server).unwrap();
    }
    assert_eq!(findings(&site.look(&text).unwrap()), set(&[]));
    let observation = site.observation(&text).unwrap();
    let losses = observation["interfaces"]["seen"].as_array().unwrap().iter();
    let up0 = losses.clone().find(|interface| interface["name"] == "up0").unwrap();
    assert!(up0["carrier_losses"].as_u64().unwrap() >= 1, "{up0}");
}

#[test]
fn another_authority_than_the_last_time_is_told_once_and_another_key_than_the_pinned_one_always() {
    let mut site = Site::make().unwrap();
    site.serve().unwrap();
    let foreign = site.foreign_certificate("renewed", "edge.test").unwrap();
    // Both authorities are trusted, as on a machine that was taught to trust a proxy.
    let both = site.folder().join("both.pem");
    let ca = std::fs::read_to_string(&site.pki.ca).unwrap();
    std::fs::write(&both, ca + &std::fs::read_to_string(&foreign.certificate).unwrap()).unwrap();
    let text = site.configuration("issuer", "").replace(&format!("{:?}", site.pki.ca), &format!("{both:?}"));
    assert_eq!(findings(&site.look(&text).unwrap()), set(&[]));
    site.edge(&foreign).unwrap();
    let changed = findings(&site.look(&text).unwrap());
    assert!(changed.contains("issuer_changed[ingest]"), "{changed:?}");
    let again = findings(&site.look(&text).unwrap());
    assert!(!again.contains("issuer_changed[ingest]"), "{again:?}");

    site.start_sink().unwrap();
    let pinned = |pin: &str| {
        let sink = format!("{}pin_sha256 = [\"{pin}\"]\n", site.sink_configuration());
        findings(&site.look(&site.configuration("pin", &sink)).unwrap())
    };
    let observed = {
        let text = site.configuration("unpinned", &site.sink_configuration());
        let report = site.look(&text).unwrap();
        assert!(!findings(&report).contains("tls_intercepted[sink]"), "{report:#}");
        site.observation(&text).unwrap()
    };
    let chain: Vec<gatepost_evidence::look::Bytes> =
        serde_json::from_value(observed["peers"]["sink"]["exchange"]["shown"]["chain"]["seen"].clone()).unwrap();
    let key = gatepost_evidence::certificate::public_key(&chain[0].0).unwrap();
    let base64 = |bytes: &[u8]| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    assert!(!pinned(&base64(key.as_bytes())).contains("tls_intercepted[sink]"));
    assert!(pinned(&base64(&[7; 32])).contains("tls_intercepted[sink]"));
}

/// The record is made of what waited and when the sink took it, so a partition has to be lived through: hours go by on a clock that
/// the test turns, for the agent, the sink and the time servers alike.
#[test]
fn an_outage_is_remembered_and_measured() {
    let mut site = Site::make().unwrap();
    let mut clock = Clock::start(site.folder()).unwrap();
    site.turn_by(&clock);
    site.serve().unwrap();
    site.start_sink().unwrap();
    let text = site.configuration("outage", &site.sink_configuration());
    let token = site.folder().join("token");
    std::fs::write(&token, site.enrolment_token().unwrap()).unwrap();
    site.agent(&text, &["enroll", "--token-file", token.to_str().unwrap()]).unwrap().expect_code(0).unwrap();
    let upload = |site: &Site| site.agent(&text, &["upload"]).unwrap().code;
    assert_eq!(findings(&site.look(&text).unwrap()), set(&[]));
    assert_eq!(upload(&site), Some(0));

    // The way to the sink is closed for eight hours; the agent looks and tries, and keeps what it saw.
    let rules = format!("chain closed {{ type filter hook forward priority 0; ip daddr {SINK} reject; }}");
    site.road.nft(&format!("table ip weak {{ {rules}\n}}\n")).unwrap();
    clock.forward(HOUR).unwrap();
    assert_eq!(findings(&site.look(&text).unwrap()), set(&["peer_unreachable[sink]"]));
    assert_ne!(upload(&site), Some(0));
    clock.forward(HOUR * 7).unwrap();
    site.road.nft("delete table ip weak\n").unwrap();
    let report = site.look(&text).unwrap();
    assert_eq!(findings(&report), set(&["handed_over_nothing"]), "{:#}", report["findings"]);

    // It heals, and everything is taken.
    assert_eq!(upload(&site), Some(0));
    clock.forward(HOUR * 17).unwrap();
    let report = site.look(&text).unwrap();
    assert_eq!(upload(&site), Some(0));
    assert_eq!(findings(&report), set(&["often_unavailable", "unavailable_today"]), "{:#}", report["findings"]);
    let record = &site.observation(&text).unwrap()["record"]["seen"];
    assert_eq!((&record["most_waiting"], &record["waiting"]), (&2.into(), &0.into()), "{record:#}");
    let outage = &record["outages"][0];
    assert_eq!((record["outages"].as_array().unwrap().len(), &outage["runs"]), (1, &1.into()), "{record:#}");
    let at = |name: &str| outage[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let lasted = at("until").duration_since(at("from")).as_secs();
    assert!((7 * 3600..7 * 3600 + 600).contains(&lasted), "{outage}");
    assert!(at("drained").duration_since(at("until")).as_secs() < 600, "{outage}");

    // A day later only the month remembers it; then comes a longer one.
    clock.forward(HOUR * 25).unwrap();
    assert_eq!(findings(&site.look(&text).unwrap()), set(&["often_unavailable"]));
    clock.forward(HOUR * 25).unwrap();
    let report = site.look(&text).unwrap();
    assert!(findings(&report).contains("outage_of_a_day"), "{:#}", report["findings"]);
}

/// As many routers at home announce themselves.
#[test]
fn a_name_server_of_the_link_itself_is_asked() {
    let mut site = Site::make().unwrap();
    site.serve().unwrap();
    site.road.ip(&["addr", "add", "fe80::53/64", "dev", "down2", "nodad"]).unwrap();
    let options =
        ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces", "--user=root"];
    let more = ["--pid-file=", "--log-facility=-", "--interface=down2", "--except-interface=lo"];
    let dnsmasq = installed("dnsmasq", "dnsmasq-base").unwrap();
    let mut server = site.road.start(&dnsmasq, &[&options[..], &more, &HONEST].concat()).unwrap();
    server.wait_until("it serves", LIMIT, |lines| lines.iter().any(|line| line.contains("started, version"))).unwrap();
    site.gateway.resolvers(&["fe80::53%site0"]).unwrap();
    let text = site.configuration("link-local", "");
    site.look(&text).unwrap();
    let seen = site.observation(&text).unwrap();
    let asked = &seen["dns"]["seen"]["servers"][0];
    assert_eq!(asked["address"], "fe80::53%site0", "{seen:#}");
    let edge = asked["questions"].as_array().unwrap().iter().find(|it| it["name"] == "edge.test").unwrap();
    assert_eq!(edge["answer"]["seen"]["addresses"], serde_json::json!([EDGE]), "{asked:#}");
}
