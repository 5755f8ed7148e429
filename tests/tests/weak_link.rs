//! A gateway whose way to the cloud is sound gives no finding of `link_posture`; each single weakness gives exactly its own.
//!
//! The real agent runs in a network of its own (`gatepost_tests::namespace`), with real name servers, a real web server and a real
//! firewall beside it. A weakness that was not undone would show beside the next one, and at the end nothing is wrong again. What no
//! namespace can have (radios, worn cables, boards) is read from a recorded gateway, by the same binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::agent::Agent;
use gatepost_tests::namespace::site::{EDGE, HONEST, RESOLVERS, Site, TIME};
use serde_json::Value;

/// What is done to the site, or undone.
type Change = fn(&mut Site) -> Result<()>;

/// A control, what makes it fail, and what mends it again.
type Weakness = (&'static str, Change, Change);

fn road_rules(rules: &str) -> String {
    format!("table ip weak {{ {rules}\n}}\n")
}

fn forward(site: &Site, rule: &str) -> Result<()> {
    site.road.nft(&road_rules(&format!("chain passing {{ type filter hook forward priority 0; {rule}; }}")))
}

fn lift(site: &mut Site) -> Result<()> {
    site.road.nft("delete table ip weak\n")
}

fn default_route(site: &Site, what: &str, by: &str, metric: &str) -> Result<()> {
    site.gateway.ip(&["route", what, "default", "via", by, "metric", metric])
}

fn address(site: &Site, old: &str, new: &str) -> Result<()> {
    site.gateway.ip(&["addr", "del", old, "dev", "up0"])?;
    site.gateway.ip(&["addr", "add", new, "dev", "up0"])?;
    site.gateway.ip(&["route", "replace", "default", "via", "10.77.0.1", "dev", "up0", "onlink", "metric", "100"])
}

/// Links of the road: what the gateway's own end then sees is a carrier that is lost.
fn link(site: &Site, name: &str, ours: &str, state: &str) -> Result<()> {
    site.road.ip(&["link", "set", name, state])?;
    site.gateway.wait_until_up(ours, state == "up")
}

const WEAKNESSES: &[Weakness] = &[
    (
        "link_posture.no_default_route",
        |site| {
            default_route(site, "del", "10.77.0.1", "100")?;
            default_route(site, "del", "10.78.0.1", "200")
        },
        |site| {
            default_route(site, "add", "10.77.0.1", "100")?;
            default_route(site, "add", "10.78.0.1", "200")
        },
    ),
    (
        "link_posture.no_failover",
        |site| default_route(site, "del", "10.78.0.1", "200"),
        |site| default_route(site, "add", "10.78.0.1", "200"),
    ),
    (
        "link_posture.uplink_without_carrier",
        |site| link(site, "down0", "up0", "down"),
        |site| link(site, "down0", "up0", "up"),
    ),
    (
        "link_posture.failover_without_carrier",
        |site| link(site, "down1", "up1", "down"),
        |site| link(site, "down1", "up1", "up"),
    ),
    (
        "link_posture.failover_left_to_chance",
        |site| {
            default_route(site, "del", "10.78.0.1", "200")?;
            // Behind the other one, as a second DHCP client would add it.
            site.gateway.ip(&["route", "append", "default", "via", "10.78.0.1", "metric", "100"])
        },
        |site| {
            default_route(site, "del", "10.78.0.1", "100")?;
            default_route(site, "add", "10.78.0.1", "200")
        },
    ),
    (
        "link_posture.uplink_address_made_up",
        |site| address(site, "10.77.0.2/24", "169.254.7.7/16"),
        |site| address(site, "169.254.7.7/16", "10.77.0.2/24"),
    ),
    (
        "link_posture.uplink_address_public",
        |site| address(site, "10.77.0.2/24", "198.51.100.7/24"),
        |site| address(site, "198.51.100.7/24", "10.77.0.2/24"),
    ),
    (
        "link_posture.uplink_mtu_small",
        |site| site.gateway.ip(&["link", "set", "up0", "mtu", "1279"]),
        |site| site.gateway.ip(&["link", "set", "up0", "mtu", "1500"]),
    ),
    (
        "link_posture.router_advertisements_inside",
        |site| site.gateway.sysctl("net.ipv6.conf.site0.accept_ra", "2"),
        |site| site.gateway.sysctl("net.ipv6.conf.site0.accept_ra", "0"),
    ),
    (
        "link_posture.senders_unchecked",
        |site| site.gateway.sysctl("net.ipv4.conf.site0.rp_filter", "0"),
        |site| site.gateway.sysctl("net.ipv4.conf.site0.rp_filter", "2"),
    ),
    ("link_posture.tunnel_missing", |site| rename(site, "wg0", "wg9"), |site| rename(site, "wg9", "wg0")),
    ("link_posture.resolver_silent", |site| forward(site, "ip daddr 10.99.0.54 drop"), lift),
    (
        "link_posture.resolver_slow",
        |site| {
            // The first packet from each port is lost, so that the second one a second later is answered.
            site.road.nft(&road_rules(
                "set heard { type inet_service; flags dynamic; timeout 1m; }\nchain passing { type filter hook forward priority 0; \
                 ip daddr 10.99.0.54 udp sport @heard accept\nip daddr 10.99.0.54 udp dport 53 add @heard { udp sport } drop\n }",
            ))
        },
        lift,
    ),
    (
        "link_posture.absent_names_answered",
        |site| site.name_server(RESOLVERS[1], &["--address=/edge.test/10.99.0.1", "--address=/invalid/10.66.6.6"]),
        |site| site.name_server(RESOLVERS[1], &HONEST),
    ),
    (
        "link_posture.resolvers_contradict",
        |site| site.name_server(RESOLVERS[1], &["--local=/test/", "--local=/invalid/"]),
        |site| site.name_server(RESOLVERS[1], &HONEST),
    ),
    (
        "link_posture.resolvers_differ",
        |site| site.name_server(RESOLVERS[1], &["--address=/edge.test/10.66.6.6", "--local=/invalid/"]),
        |site| site.name_server(RESOLVERS[1], &HONEST),
    ),
    (
        "link_posture.captive_portal",
        |site| {
            site.nginx("portal", true, "server { listen 10.79.0.1:8080; return 302 http://login.hotel.test/?mac=1; }")?;
            site.road.nft(&road_rules(
                "chain caught { type nat hook prerouting priority dstnat; ip daddr 10.99.0.1 tcp dport 80 dnat to 10.79.0.1:8080; }",
            ))
        },
        |site| {
            site.end("portal");
            lift(site)
        },
    ),
    (
        "link_posture.clock_wrong",
        |site| TIME.iter().try_for_each(|server| site.time_server(server, &["3600", "2", "0"])),
        |site| TIME.iter().try_for_each(|server| site.time_server(server, &["0", "2", "0"])),
    ),
    (
        "link_posture.time_servers_disagree",
        |site| site.time_server(TIME[2], &["3600", "2", "0"]),
        |site| site.time_server(TIME[2], &["0", "2", "0"]),
    ),
    (
        "link_posture.time_server_unusable",
        |site| site.time_server(TIME[2], &["0", "0", "3", "RATE"]),
        |site| site.time_server(TIME[2], &["0", "2", "0"]),
    ),
    ("link_posture.time_server_silent", |site| forward(site, "ip daddr 10.99.0.125 drop"), lift),
    (
        "link_posture.peer_unreachable",
        |site| forward(site, "ip daddr 10.99.0.1 tcp dport 443 reject with tcp reset"),
        lift,
    ),
    (
        "link_posture.peer_lossy",
        |site| {
            forward(site, "ip daddr 10.99.0.1 tcp dport 443 tcp flags syn numgen inc mod 3 == 1 reject with tcp reset")
        },
        lift,
    ),
    (
        "link_posture.tls_intercepted",
        |site| {
            let foreign = site.foreign_certificate("interceptor", "edge.test")?;
            intercept(
                site,
                &format!(
                    "ssl; ssl_certificate {}; ssl_certificate_key {}; return 404; }}",
                    foreign.certificate.display(),
                    foreign.key.display()
                ),
            )
        },
        release,
    ),
    ("link_posture.tls_fails", |site| intercept(site, "; return 404; }"), release),
    (
        "link_posture.large_packets_vanish",
        |site| {
            // Less fits behind the road than both ends believe, and the road may not say so.
            site.road.nft(&road_rules(
                "chain saying { type filter hook output priority 0; icmp type destination-unreachable drop; }",
            ))?;
            site.road.ip(&["link", "set", "far0", "mtu", "1300"])
        },
        |site| {
            site.road.ip(&["link", "set", "far0", "mtu", "1500"])?;
            lift(site)
        },
    ),
];

/// An interface must be down to be given another name; its settings come back with it.
fn rename(site: &Site, from: &str, to: &str) -> Result<()> {
    site.gateway.ip(&["link", "set", from, "down"])?;
    site.gateway.ip(&["link", "set", from, "name", to])?;
    site.gateway.ip(&["link", "set", to, "up"])?;
    site.gateway.wait_until_up(to, true)
}

/// Answers on the road in place of the edge, with what stands behind `listen`.
fn intercept(site: &mut Site, how: &str) -> Result<()> {
    site.nginx("interceptor", true, &format!("server {{ listen 10.79.0.1:8443 {how}"))?;
    site.road.nft(&road_rules(&format!(
        "chain caught {{ type nat hook prerouting priority dstnat; ip daddr {EDGE} tcp dport 443 dnat to 10.79.0.1:8443; }}"
    )))
}

fn release(site: &mut Site) -> Result<()> {
    site.end("interceptor");
    lift(site)
}

/// Keys of the findings of this check.
fn findings(report: &Value) -> BTreeSet<String> {
    let rows = report["findings"].as_array().into_iter().flatten();
    rows.filter_map(|row| row["key"].as_str())
        .filter(|key| key.starts_with("link_posture."))
        .map(str::to_owned)
        .collect()
}

/// What a namespace shares with the machine that it is on: its clock.
const SHARED: [&str; 2] = ["link_posture.clock_not_synchronised", "link_posture.clock_stops_without_power"];

/// Looks at the site with a state of its own, so that nothing of an earlier look is known.
fn look(site: &Site, state: &str) -> Result<(BTreeSet<String>, Value)> {
    let report = site.look(&site.configuration(state, ""))?;
    Ok((own(&report), report))
}

/// Findings about the site, not about the machine that it is on.
fn own(report: &Value) -> BTreeSet<String> {
    findings(report).into_iter().filter(|key| !SHARED.contains(&key.as_str())).collect()
}

#[test]
fn a_sound_link_gives_no_finding_and_each_weakness_exactly_its_own() {
    let mut site = Site::make().unwrap();
    site.serve().unwrap();
    let (found, report) = look(&site, "sound").unwrap();
    assert_eq!(found, BTreeSet::new(), "{report:#}");
    let mut wrong = Vec::new();
    for (key, weaken, mend) in WEAKNESSES {
        let done = || -> Result<()> {
            weaken(&mut site).context("it could not be weakened")?;
            let (found, report) = look(&site, key)?;
            ensure!(found == BTreeSet::from([(*key).to_owned()]), "{found:?}\n{:#}", report["findings"]);
            Ok(())
        }();
        wrong.extend(done.err().map(|error| format!("{key}: {error:#}")));
        mend(&mut site).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let (found, report) = look(&site, "mended").unwrap();
    assert_eq!(found, BTreeSet::new(), "{report:#}");
}

/// The edge is a server of our own, whose manners can be chosen, instead of nginx.
#[test]
fn a_peer_that_is_slow_or_speaks_something_else_is_told() {
    let mut site = Site::make().unwrap();
    site.serve().unwrap();
    let plain = |site: &Site, state: &str| {
        let text = site.configuration(state, "").replace("https://edge.test/", "http://edge.test:8080/");
        site.look(&text).map(|report| own(&report)).unwrap()
    };
    for (how, delay, expected) in [
        ("well", "0", &[][..]),
        ("well", "1.7", &["link_posture.peer_slow"]),
        ("unsteady", "0", &["link_posture.peer_unsteady"]),
        ("rubbish", "0", &["link_posture.peer_silent"]),
        ("drip", "0", &["link_posture.peer_silent"]),
    ] {
        site.far_side("edge-8080", &["http", EDGE, "8080", delay, how]).unwrap();
        let expected: BTreeSet<String> = expected.iter().map(|&key| key.to_owned()).collect();
        assert_eq!(plain(&site, &format!("{how}{delay}")), expected, "{how} after {delay} s");
    }
}

/// What a namespace cannot have is read from a recorded gateway, with one file of it changed.
#[test]
fn what_is_recorded_of_a_gateway_gives_exactly_the_weakness_that_it_has() {
    let wifi = "etc/NetworkManager/system-connections/site.nmconnection";
    let secured = |lines: &str| format!("[connection]\ntype=wifi\n[wifi]\nssid=site\n[wifi-security]\n{lines}\n");
    let sound = secured("key-mgmt=sae\npmf=3\npsk=not to be seen");
    for (key, file, content) in [
        ("", "etc/motd", "nothing is wrong".to_owned()),
        ("link_posture.wifi_open", wifi, "[connection]\ntype=wifi\n[wifi]\nssid=site\n".to_owned()),
        ("link_posture.wifi_open", wifi, secured("key-mgmt=none\nwep-key0=abcde")),
        ("link_posture.wifi_old_encryption", wifi, secured("key-mgmt=wpa-psk\npairwise=tkip;ccmp;\npmf=2")),
        ("link_posture.wifi_management_unprotected", wifi, secured("key-mgmt=wpa-psk\nproto=rsn;\npmf=1")),
        ("link_posture.wifi_any_authority", wifi, secured("key-mgmt=wpa-eap\npmf=2\n[802-1x]\neap=peap;")),
        ("link_posture.wifi_weak_signal", "proc/net/wireless", "a\nb\nwlan0: 0000 20. -76. -256 0\n".to_owned()),
        ("link_posture.half_duplex", "sys/class/net/eth0/duplex", "half\n".to_owned()),
        ("link_posture.wire_slow", "sys/class/net/eth0/speed", "10\n".to_owned()),
        ("link_posture.carrier_lost_often", "sys/class/net/eth0/carrier_down_count", "90\n".to_owned()),
        ("link_posture.frames_damaged", "sys/class/net/eth0/statistics/rx_errors", "90000\n".to_owned()),
        ("link_posture.packets_dropped", "sys/class/net/eth0/statistics/rx_dropped", "900000\n".to_owned()),
        ("link_posture.clock_stops_without_power", "sys/class/rtc/rtc0", String::new()),
        ("link_posture.clock_not_synchronised", "run/systemd/timesync/synchronized", String::new()),
        ("link_posture.no_resolver", "etc/resolv.conf", "# nobody\n".to_owned()),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        recorded(&root, wifi, &sound);
        match file {
            "sys/class/rtc/rtc0" => std::fs::remove_dir_all(root.join(file)).unwrap(),
            "run/systemd/timesync/synchronized" => std::fs::remove_file(root.join(file)).unwrap(),
            _ => write(&root, file, &content),
        }
        let text = format!(
            "[state]\ndirectory = {:?}\n[host]\nroot = {root:?}\n[link]\ntime_servers = [\"192.0.2.1\"]\n",
            folder.path().join("state")
        );
        let agent = Agent::configured(&folder.path().join("gatepost.toml"), &text).unwrap();
        let report = agent.run(&["audit", "--bundle", "uplink", "--format", "json"]).unwrap().json().unwrap();
        let expected = Some(key).filter(|key| !key.is_empty()).map(str::to_owned);
        assert_eq!(findings(&report), expected.into_iter().collect(), "{file}: {:#}", report["findings"]);
        let envelope = agent.run(&["show", "--envelope"]).unwrap().stdout;
        assert!(!envelope.contains("not to be seen"));
    }
}

fn write(root: &Path, file: &str, content: &str) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// A board with a wire, a radio and a clock, as it should be.
fn recorded(root: &Path, wifi: &str, connection: &str) {
    let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                 eth0\t00000000\t0104A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                 wlan0\t00000000\t0105A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n";
    for (file, content) in [
        ("proc/net/route", route),
        ("proc/net/wireless", "a\nb\nwlan0: 0000 60. -55. -256 0\n"),
        ("proc/uptime", "86400.00 1.00\n"),
        ("proc/device-tree/model", "A board\0"),
        ("proc/sys/net/ipv4/ip_forward", "0\n"),
        ("proc/sys/net/ipv4/conf/all/rp_filter", "1\n"),
        ("etc/resolv.conf", "nameserver 192.168.4.1\n"),
        ("run/systemd/timesync/synchronized", ""),
        ("sys/class/rtc/rtc0/name", "rtc-ds1307\n"),
        (
            ".gatepost/ledger.json",
            r#"{"answers":{"addresses":{"Ok":"[{\"interface\":\"eth0\",\"address\":\"192.168.4.7\",\"prefix\":24}]"}}}"#,
        ),
        (wifi, connection),
    ] {
        write(root, file, content);
    }
    for interface in ["eth0", "wlan0"] {
        for (file, content) in [
            ("operstate", "up\n"),
            ("type", "1\n"),
            ("mtu", "1500\n"),
            ("speed", "1000\n"),
            ("duplex", "full\n"),
            ("carrier_down_count", "1\n"),
            ("statistics/rx_packets", "9000000\n"),
            ("statistics/tx_packets", "1000000\n"),
            ("statistics/rx_errors", "0\n"),
            ("statistics/tx_errors", "0\n"),
            ("statistics/rx_dropped", "0\n"),
            ("statistics/tx_dropped", "0\n"),
        ] {
            write(root, &format!("sys/class/net/{interface}/{file}"), content);
        }
        write(root, &format!("proc/sys/net/ipv4/conf/{interface}/rp_filter"), "1\n");
    }
    std::fs::create_dir_all(root.join("sys/class/net/wlan0/wireless")).unwrap();
}
