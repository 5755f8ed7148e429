//! Facts of links, from observations made up for them.

use jiff::{SignedDuration, Timestamp};

use super::outage::{Handed, Record};
use super::path::{Exchange, Large, Portal, PortalAnswer, Shown};
use super::radio::{Network, Radio, Security, Wireless};
use super::time::{Time, TimeAnswer, TimeServer};
use super::*;
use crate::look::{Bytes, Failure, FailureKind};

fn failed<T>(kind: FailureKind) -> Look<T> {
    Look::Failed(Failure::new(kind, "as told"))
}

fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

/// What an agent of the first set saw, and nothing beyond it.
fn old() -> Observation {
    Observation {
        interfaces: Look::Seen(Vec::new()),
        default_routes: Look::Seen(Vec::new()),
        resolvers: Look::Seen(Vec::new()),
        clock_synchronised: Look::Seen(true),
        peers: BTreeMap::new(),
        uptime_seconds: None,
        addresses: None,
        routing: None,
        wireless: None,
        expected_tunnels: Vec::new(),
        dns: None,
        portal: None,
        time: None,
        record: None,
    }
}

fn normalise(observation: &Observation) -> (Facts, Unknown) {
    let mut unknown = Unknown::default();
    let facts = Check::normalise(observation, &Seen { at: now(), distrust: None }, &mut unknown);
    (facts, unknown)
}

fn interface(name: &str) -> Interface {
    Interface { name: name.into(), state: "up".into(), ..Interface::default() }
}

fn route(interface: &str, metric: u32) -> Route {
    Route { interface: interface.into(), gateway: None, metric, ipv6: Some(false) }
}

fn peer(tries: Vec<Look<u64>>, exchange: Option<Exchange>) -> Observation {
    let peer = Peer { address: "edge:443".into(), tries, exchange };
    Observation { peers: BTreeMap::from([("ingest".into(), peer)]), ..old() }
}

#[test]
fn percentiles_are_of_the_nearest_rank_and_failures_are_counted() {
    let (facts, _) = normalise(&peer((1..=20).map(Look::Seen).collect(), None));
    let ingest = &facts.peers["ingest"];
    assert_eq!((ingest.p50_micros, ingest.p95_micros, ingest.failures), (Some(10), Some(19), 0));

    let (facts, unknown) =
        normalise(&peer(vec![failed(FailureKind::Unreachable), failed(FailureKind::Unreachable)], None));
    assert_eq!((facts.peers["ingest"].p50_micros, facts.peers["ingest"].failures), (None, 2));
    assert_eq!(unknown.reason("/peers/ingest/p50_micros"), Some("unreachable: as told"));
}

#[test]
fn the_uplink_is_the_route_with_the_lowest_metric() {
    let observation = Observation {
        interfaces: failed(FailureKind::NotFound),
        default_routes: Look::Seen(vec![route("wwan0", 700), route("eth0", 100), route("eth0", 1024)]),
        ..old()
    };
    let (facts, unknown) = normalise(&observation);
    assert_eq!(facts.uplink.as_deref(), Some("eth0"));
    assert_eq!(facts.default_routes, Some(vec!["eth0".into(), "wwan0".into()]));
    assert_eq!(unknown.reason("/interfaces"), Some("not found: as told"));
    assert_eq!(unknown.reason("/ways/eth0/up"), Some("not found: as told"));
    assert!(facts.ways["eth0"].preferred && !facts.ways["wwan0"].preferred);
    assert_eq!((facts.ways["eth0"].metric, facts.ways["eth0"].ambiguous), (100, Some(false)));
}

#[test]
fn evidence_of_the_first_set_reads_as_it_was_and_has_no_other_facts() {
    let text = r#"{"clock_synchronised":{"seen":true},"default_routes":{"seen":[{"gateway":null,"interface":"eth0","metric":1}]},"interfaces":{"seen":[{"mtu":1500,"name":"eth0","receive_errors":0,"speed_mbits":null,"state":"up","transmit_errors":0,"wireless":false}]},"peers":{"sink":{"address":"s:1","tries":[{"seen":5}]}},"resolvers":{"seen":[]}}"#;
    let observation: Observation = serde_json::from_str(text).unwrap();
    assert_eq!(crate::canonical::to_vec(&observation).unwrap(), text.as_bytes());
    let (facts, unknown) = normalise(&observation);
    assert_eq!(
        (facts.captive_portal, facts.outages, facts.clock_off_millis, facts.forwards_ipv4),
        (None, None, None, None)
    );
    assert!(facts.name_servers.is_empty() && facts.radios.is_empty() && facts.time_servers.is_empty());
    assert_eq!((facts.peers["sink"].requests, facts.ways["eth0"].ambiguous), (None, None));
    for place in ["/outages", "/captive_portal", "/peers/sink/black_hole", "/clock_off_millis", "/interfaces/eth0/kind"]
    {
        assert_eq!(unknown.reason(place), None, "{place}");
    }
}

#[test]
fn rates_are_of_enough_packets_and_a_flapping_carrier_is_counted_by_the_day() {
    let noisy = Interface {
        received: Some(15_000),
        sent: Some(5_000),
        receive_errors: 30,
        transmit_errors: 10,
        receive_dropped: Some(400),
        transmit_dropped: Some(0),
        carrier_losses: Some(12),
        duplex: Some("half".into()),
        ..interface("eth0")
    };
    let quiet = Interface { received: Some(9), sent: Some(9), receive_errors: 9, ..interface("eth1") };
    let observation =
        Observation { interfaces: Look::Seen(vec![noisy, quiet]), uptime_seconds: Some(Look::Seen(43_200)), ..old() };
    let interfaces = normalise(&observation).0.interfaces.unwrap();
    let eth0 = &interfaces["eth0"];
    assert_eq!((eth0.errors_per_million, eth0.drops_per_million), (Some(2_000), Some(20_000)));
    assert_eq!((eth0.carrier_losses_per_day, eth0.half_duplex), (Some(24), Some(true)));
    assert_eq!((interfaces["eth1"].errors_per_million, interfaces["eth1"].half_duplex), (None, None));
}

#[test]
fn two_ways_of_one_metric_are_left_to_chance() {
    let observation = Observation {
        interfaces: Look::Seen(vec![interface("eth0"), Interface { state: "down".into(), ..interface("wwan0") }]),
        default_routes: Look::Seen(vec![route("eth0", 100), route("wwan0", 100)]),
        ..old()
    };
    let (facts, _) = normalise(&observation);
    assert_eq!((facts.ways["eth0"].ambiguous, facts.ways["eth0"].up), (Some(true), Some(true)));
    assert_eq!((facts.ways["wwan0"].preferred, facts.ways["wwan0"].up), (true, Some(false)));
    // The two families over one link are one way out.
    let ipv6 = Route { ipv6: Some(true), ..route("wwan0", 100) };
    let both = Observation { default_routes: Look::Seen(vec![route("eth0", 100), ipv6]), ..observation };
    assert_eq!(normalise(&both).0.ways["eth0"].ambiguous, Some(false));
}

#[test]
fn the_widest_scope_of_the_uplinks_addresses_counts() {
    let address = |address: &str| Address { interface: "eth0".into(), address: address.into(), prefix: 24 };
    let observation = |addresses: &[&str]| Observation {
        interfaces: Look::Seen(vec![interface("eth0")]),
        default_routes: Look::Seen(vec![route("eth0", 1)]),
        addresses: Some(Look::Seen(addresses.iter().map(|text| address(text)).collect())),
        ..old()
    };
    for (addresses, expected) in [
        (&["192.168.1.7", "fe80::1", "2001:db8::1"][..], Some(AddressScope::Private)),
        (&["169.254.3.3"], Some(AddressScope::LinkLocal)),
        (&["100.64.0.9"], Some(AddressScope::Shared)),
        (&["192.0.2.1", "10.0.0.1"], Some(AddressScope::Global)),
        (&["fe80::1", "fd00::1"], Some(AddressScope::Private)),
        (&["127.0.0.1", "nonsense"], None),
    ] {
        assert_eq!(normalise(&observation(addresses)).0.uplink_scope, expected, "{addresses:?}");
    }
}

#[test]
fn a_router_believes_routers_only_when_it_is_told_twice() {
    let with = |accept_ra, forwarding, disable_ipv6| {
        let settings = Settings {
            accept_ra: Some(accept_ra),
            forwarding: Some(forwarding),
            disable_ipv6: Some(disable_ipv6),
            rp_filter: Some(0),
        };
        let observation = Observation {
            interfaces: Look::Seen(vec![Interface { settings: Some(Look::Seen(settings)), ..interface("eth0") }]),
            routing: Some(Look::Seen(Routing { rp_filter: Some(2), ..Routing::default() })),
            ..old()
        };
        let interfaces = normalise(&observation).0.interfaces.unwrap();
        assert_eq!(interfaces["eth0"].senders_checked, Some(true));
        interfaces["eth0"].router_advertisements
    };
    assert_eq!(
        [with(1, 0, 0), with(1, 1, 0), with(2, 1, 0), with(0, 0, 0), with(1, 0, 1)].map(Option::unwrap),
        [true, false, true, false, false]
    );
}

#[test]
fn a_network_is_as_secure_as_the_weakest_way_that_it_allows() {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let psk = |protocols: &str, ciphers: &str| Network {
        key_management: words("WPA-PSK"),
        protocols: words(protocols),
        ciphers: words(ciphers),
        secret: true,
        ..Network::default()
    };
    let keys = |keys: &str| Network { key_management: words(keys), ..Network::default() };
    let networks = vec![
        (keys("NONE"), Some(Security::Open)),
        (Network { wep: true, ..keys("NONE") }, Some(Security::Wep)),
        (psk("", "CCMP"), Some(Security::Wpa2)),
        (psk("WPA RSN", "CCMP TKIP"), Some(Security::Wpa)),
        (keys("SAE"), Some(Security::Wpa3)),
        (keys("SAE WPA-PSK"), Some(Security::Wpa2)),
        (keys("WPA-EAP"), Some(Security::Enterprise)),
        (keys("OWE"), Some(Security::Owe)),
        (Network { secret: true, ..keys("") }, Some(Security::Wpa2)),
        (keys(""), Some(Security::Open)),
        (keys("SOMETHING-NEW"), None),
    ];
    for (network, expected) in networks {
        let wireless = Wireless {
            radios: Look::Seen(vec![Radio { interface: "wlan0".into(), signal_dbm: None }]),
            files: BTreeMap::from([
                ("/etc/w".into(), Look::Seen(vec![Network { place: 1, ..network.clone() }])),
                ("/etc/x".into(), failed(FailureKind::Denied)),
            ]),
        };
        let (facts, unknown) = normalise(&Observation { wireless: Some(wireless), ..old() });
        assert_eq!(facts.networks["/etc/w 1"].security, expected, "{network:?}");
        assert!(expected.is_some() || unknown.reason("/networks/~1etc~1w 1/security").unwrap().contains("SOMETHING"));
        assert!(unknown.reason("/networks").unwrap().starts_with("denied"));
        assert!(unknown.reason("/radios/wlan0/signal_dbm").is_some());
    }
}

fn asked(answers: &[(&str, &str, Look<dns::Answer>)]) -> Observation {
    let mut servers: BTreeMap<&str, Vec<dns::Question>> = BTreeMap::new();
    for (server, name, answer) in answers {
        servers.entry(server).or_default().push(dns::Question { name: (*name).into(), answer: answer.clone() });
    }
    let servers = servers
        .into_iter()
        .map(|(address, questions)| dns::NameServer { address: address.into(), questions })
        .collect();
    Observation { dns: Some(Look::Seen(dns::Dns { made_up: "x.invalid".into(), servers, not_asked: 0 })), ..old() }
}

fn answer(code: u8, addresses: &[&str]) -> Look<dns::Answer> {
    let addresses = addresses.iter().map(|&address| address.to_owned()).collect();
    Look::Seen(dns::Answer { code, addresses, micros: 5, tcp: false, strays: 0 })
}

#[test]
fn resolvers_that_lie_or_contradict_each_other_are_told() {
    let (facts, unknown) = normalise(&asked(&[
        ("a", "x.invalid", answer(3, &[])),
        ("b", "x.invalid", answer(0, &["10.0.0.1"])),
        ("c", "x.invalid", answer(2, &[])),
        ("d", "x.invalid", failed(FailureKind::TimedOut)),
        ("a", "edge", answer(0, &["192.0.2.1", "192.0.2.2"])),
        ("b", "edge", answer(0, &["192.0.2.2"])),
        ("c", "edge", answer(2, &[])),
        ("a", "sink", answer(0, &["192.0.2.3"])),
        ("b", "sink", answer(3, &[])),
        ("a", "apart", answer(0, &["192.0.2.1"])),
        ("b", "apart", answer(0, &["192.0.2.9"])),
        ("a", "alone", answer(0, &["192.0.2.1"])),
        ("c", "alone", failed(FailureKind::TimedOut)),
    ]));
    let rewrites = |server: &str| facts.name_servers[server].rewrites;
    assert_eq!([rewrites("a"), rewrites("b"), rewrites("c"), rewrites("d")], [Some(false), Some(true), None, None]);
    assert!(unknown.reason("/name_servers/c/rewrites").unwrap().contains("error 2"));
    assert!(unknown.reason("/name_servers/d/rewrites").unwrap().starts_with("timed out"));
    assert_eq!((facts.name_servers["d"].answers, facts.name_servers["c"].failures), (false, 1));
    let names = |name: &str| (facts.names[name].existence_differs, facts.names[name].addresses_differ);
    assert_eq!(names("edge"), (Some(false), Some(false)));
    assert_eq!(names("sink"), (Some(true), Some(false)));
    assert_eq!(names("apart"), (Some(false), Some(true)));
    assert_eq!(names("alone"), (None, None));
    assert!(unknown.reason("/names/alone/addresses_differ").is_some());
    assert!(!facts.names.contains_key("x.invalid"));
}

#[test]
fn a_portal_is_who_sends_the_asker_elsewhere() {
    let ask = |expected, answer| {
        let portal = Portal { url: "http://edge.example/".into(), expected, answer };
        normalise(&Observation { portal: Some(portal), ..old() }).0.captive_portal
    };
    let seen =
        |status, location: Option<&str>| Look::Seen(PortalAnswer { status, location: location.map(str::to_owned) });
    assert_eq!(ask(None, seen(302, Some("http://login.hotel/"))), Some(true));
    assert_eq!(ask(None, seen(301, Some("https://EDGE.example/x"))), Some(false));
    assert_eq!(ask(None, seen(302, Some("/x"))), Some(false));
    assert_eq!(ask(None, seen(511, None)), Some(true));
    assert_eq!(ask(None, seen(404, None)), Some(false));
    assert_eq!(ask(Some(204), seen(204, None)), Some(false));
    assert_eq!(ask(Some(204), seen(200, None)), Some(true));
    assert_eq!(ask(Some(204), seen(302, Some("/x"))), Some(true));
    assert_eq!(ask(None, failed(FailureKind::Refused)), Some(false));
    assert_eq!(ask(Some(204), failed(FailureKind::Refused)), None);
    assert_eq!(ask(None, failed(FailureKind::TimedOut)), None);
}

#[test]
fn a_clock_is_off_by_no_more_than_the_way_cannot_explain() {
    let answer = |leap, stratum, offset_micros, delay_micros| {
        Look::Seen(TimeAnswer { leap, stratum, kiss: None, offset_micros, delay_micros })
    };
    let of = |answers: Vec<Look<TimeAnswer>>| {
        let servers = answers.into_iter().enumerate().map(|(n, answer)| TimeServer { address: n.to_string(), answer });
        let time = Time {
            source: None,
            servers: Look::Seen(servers.collect()),
            clocks: Look::Seen(vec![]),
            board: Look::Seen(true),
        };
        normalise(&Observation { time: Some(time), ..old() })
    };
    let (facts, _) = of(vec![answer(0, 2, -5_000_000, 2_000_000)]);
    assert_eq!((facts.clock_off_millis, facts.time_servers_apart_millis), (Some(4_000), None));
    assert_eq!((facts.clock_kept_without_power, facts.board), (Some(false), Some(true)));
    // The one that lies is not the median of three.
    let (facts, _) = of(vec![answer(0, 2, 1_000, 0), answer(0, 1, 3_600_000_000, 0), answer(0, 3, 2_000, 0)]);
    assert_eq!((facts.clock_off_millis, facts.time_servers_apart_millis), (Some(2), Some(3_599_999)));
    let (facts, unknown) = of(vec![answer(3, 2, 0, 0), answer(0, 16, 0, 0), answer(0, 0, 0, 0)]);
    assert!(facts.time_servers.values().all(|server| server.usable == Some(false)));
    assert!(unknown.reason("/clock_off_millis").unwrap().contains("may be used"));
    let (_, unknown) = of(vec![failed(FailureKind::TimedOut)]);
    assert!(unknown.reason("/clock_off_millis").unwrap().starts_with("timed out"));
}

#[test]
fn small_requests_that_pass_where_large_ones_vanish_are_a_black_hole() {
    let exchange = |answers: Vec<Look<u64>>, large: Option<Look<u64>>| Exchange {
        handshakes: Vec::new(),
        answers,
        large: large.map(|answer| Large { bytes: 4_000, answer, path_mtu: Some(1_500) }),
        shown: None,
    };
    let of = |exchange| normalise(&peer(vec![Look::Seen(1)], Some(exchange)));
    let (facts, _) = of(exchange(vec![Look::Seen(9)], Some(failed(FailureKind::TimedOut))));
    assert_eq!((facts.peers["ingest"].black_hole, facts.peers["ingest"].path_mtu), (Some(true), Some(1_500)));
    assert_eq!(facts.peers["ingest"].handshakes, None);
    let (facts, _) = of(exchange(vec![Look::Seen(9)], Some(Look::Seen(11))));
    assert_eq!(facts.peers["ingest"].black_hole, Some(false));
    let (facts, unknown) = of(exchange(vec![failed(FailureKind::Closed)], None));
    assert_eq!((facts.peers["ingest"].black_hole, facts.peers["ingest"].answer_failures), (None, Some(1)));
    assert!(unknown.reason("/peers/ingest/black_hole").unwrap().starts_with("closed"));
}

#[test]
fn whose_certificate_it_is_follows_from_pins_or_authorities() {
    let make = || rcgen::generate_simple_self_signed(vec!["edge".to_owned()]).unwrap().cert.der().to_vec();
    let (ours, other) = (make(), make());
    let of = |pins: Vec<crate::id::Digest>, anchors: Option<Look<Vec<Bytes>>>, issuer_before: Option<&str>| {
        let shown = Shown {
            server_name: "edge".into(),
            chain: Look::Seen(vec![Bytes(ours.clone())]),
            pins,
            anchors,
            issuer_before: issuer_before.map(str::to_owned),
        };
        let exchange = Exchange { handshakes: vec![], answers: vec![], large: None, shown: Some(shown) };
        let (facts, unknown) = normalise(&peer(vec![Look::Seen(1)], Some(exchange)));
        (facts.peers["ingest"].clone(), unknown.reason("/peers/ingest/intercepted").map(str::to_owned))
    };
    let pin = |der: &[u8]| crate::certificate::public_key(der).unwrap();
    assert_eq!(of(vec![pin(&ours)], None, None).0.intercepted, Some(false));
    assert_eq!(of(vec![pin(&other)], Some(Look::Seen(vec![Bytes(ours.clone())])), None).0.intercepted, Some(true));
    assert_eq!(of(vec![], Some(Look::Seen(vec![Bytes(other.clone())])), None).0.intercepted, Some(true));
    let (facts, reason) = of(vec![], Some(failed(FailureKind::NotFound)), Some("CN=somebody"));
    assert_eq!((facts.intercepted, facts.issuer_changed), (None, Some(true)));
    assert!(reason.unwrap().starts_with("not found"));
}

fn at(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

fn run(stored: i64, taken: Option<i64>) -> Handed {
    Handed { stored: at(stored), taken: taken.map(at) }
}

#[test]
fn an_outage_begins_with_its_first_run_and_ends_with_the_first_that_is_taken() {
    // Hourly runs for two days; ten to five hours ago nothing was taken, and the backlog took an hour more.
    let runs: Vec<Handed> = (0..=48)
        .rev()
        .map(|hour| match hour {
            7..=10 => run(hour, Some(6)),
            6 => run(6, Some(5)),
            _ => run(hour, Some(hour)),
        })
        .collect();
    let record = Record::of(&runs, now());
    assert_eq!(record.outages.len(), 1);
    let outage = &record.outages[0];
    assert_eq!((outage.from, outage.until, outage.drained, outage.runs), (at(10), Some(at(6)), Some(at(5)), 5));
    assert_eq!((record.most_waiting, record.waiting), (5, 0));
    let facts = normalise(&Observation { record: Some(Look::Seen(record)), ..old() }).0.outages.unwrap();
    assert_eq!((facts.record_hours, facts.outages, facts.longest_seconds), (48, 1, 4 * 3600));
    assert_eq!((facts.available_day_permille, facts.available_month_permille), (Some(833), Some(916)));
    assert_eq!((facts.present_seconds, facts.drain_seconds, facts.backlog), (0, Some(3600), 0));
}

#[test]
fn an_outage_that_lasts_has_no_end_and_a_short_record_no_availability() {
    let record = Record::of(&[run(3, Some(3)), run(2, None), run(1, None)], now());
    let (facts, unknown) = normalise(&Observation { record: Some(Look::Seen(record.clone())), ..old() });
    let facts = facts.outages.unwrap();
    assert_eq!((facts.present_seconds, facts.longest_seconds, facts.backlog), (7200, 7200, 2));
    assert_eq!((facts.available_day_permille, facts.drain_seconds, facts.backlog_high_water), (None, None, 2));
    assert!(unknown.reason("/outages/available_day_permille").unwrap().contains("a day old"));
    let mut unknown = Unknown::default();
    let seen = Seen { at: now(), distrust: Some("clock: as told") };
    let observation = Observation { record: Some(Look::Seen(record)), ..old() };
    assert_eq!(Check::normalise(&observation, &seen, &mut unknown).outages, None);
    assert_eq!(unknown.reason("/outages"), Some("clock: as told"));
    assert_eq!(Record::of(&[], now()).since, None);
}
