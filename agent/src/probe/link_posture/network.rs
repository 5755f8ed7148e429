//! Interfaces, addresses, default routes and name servers, from sysfs, `/proc/net`, `/proc/sys/net`, getifaddrs(3) and
//! resolv.conf(5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use gatepost_evidence::canonical::whole_number;
use gatepost_evidence::check::link_posture::{Address, Interface, Kind, Route, Routing, Settings};
use gatepost_evidence::look::{Failure, FailureKind};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::SockaddrStorage;

use crate::probe::host::root::Root;
use crate::probe::host::{if_there, shorten};

/// The most interfaces, default routes or name servers that are recorded, each.
pub const MAX_ITEMS: usize = 256;

/// Flags of a route (`include/uapi/linux/route.h`): usable, by way of a gateway, refusing.
const UP: u32 = 0x1;
const GATEWAY: u32 = 0x2;
const REJECT: u32 = 0x200;

/// Every network interface except loopback, sorted by name.
///
/// # Errors
/// When sysfs can not be read, or there are more than [`MAX_ITEMS`].
pub fn interfaces(root: &Root) -> Result<Vec<Interface>, Failure> {
    let class = Path::new("/sys/class/net");
    let mut found = Vec::new();
    for name in root.list(class)?.into_iter().filter(|name| name != "lo") {
        match interface(root, &class.join(&name), &name) {
            Ok(interface) => found.push(interface),
            // It went away meanwhile, or is no interface, as `bonding_masters` is none.
            Err(_) if !is_interface(root, &class.join(&name)) => {}
            Err(failure) => return Err(failure),
        }
        if found.len() > MAX_ITEMS {
            return Err(too_many("network interfaces"));
        }
    }
    Ok(found)
}

fn is_interface(root: &Root, folder: &Path) -> bool {
    // An answer other than "it is not there" is no reason to leave an interface out.
    root.exists(&folder.join("operstate")).unwrap_or(true)
}

fn interface(root: &Root, folder: &Path, name: &str) -> Result<Interface, Failure> {
    let read = |file: &str| root.read_text(&folder.join(file)).map(|text| text.trim().to_owned());
    let count = |file: &str| {
        whole_number(&read(file)?).ok_or_else(|| {
            let detail = format!("{} is not a number", folder.join(file).display());
            Failure::new(FailureKind::Unparseable, detail)
        })
    };
    let wireless = root.exists(&folder.join("wireless"))? || root.exists(&folder.join("phy80211"))?;
    Ok(Interface {
        name: shorten(name),
        state: shorten(&read("operstate")?),
        // Drivers that do not know it answer -1 or an error.
        speed_mbits: count("speed").ok(),
        mtu: count("mtu").ok(),
        receive_errors: count("statistics/rx_errors")?,
        transmit_errors: count("statistics/tx_errors")?,
        wireless,
        kind: kind(root, folder, wireless),
        duplex: read("duplex").ok().map(|duplex| shorten(&duplex)),
        carrier_losses: count("carrier_down_count").ok(),
        received: count("statistics/rx_packets").ok(),
        sent: count("statistics/tx_packets").ok(),
        receive_dropped: count("statistics/rx_dropped").ok(),
        transmit_dropped: count("statistics/tx_dropped").ok(),
        settings: Some(settings(root, name).into()),
    })
}

/// What kind of interface it is, by what its driver registered (`DEVTYPE`, ARPHRD of `include/uapi/linux/if_arp.h`).
fn kind(root: &Root, folder: &Path, wireless: bool) -> Option<Kind> {
    if wireless {
        return Some(Kind::Wireless);
    }
    if root.exists(&folder.join("tun_flags")).unwrap_or(false) {
        return Some(Kind::Tunnel);
    }
    let uevent = root.read_text(&folder.join("uevent")).unwrap_or_default();
    match uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        Some("wlan") => return Some(Kind::Wireless),
        Some("wwan" | "ppp") => return Some(Kind::Modem),
        Some("wireguard") => return Some(Kind::Tunnel),
        Some("bridge") => return Some(Kind::Bridge),
        Some("vlan") => return Some(Kind::Vlan),
        _ => {}
    }
    match root.word(&folder.join("type")).ok()?.parse::<u32>().ok()? {
        1 => Some(Kind::Wired),
        512 => Some(Kind::Modem),
        768 | 769 | 776 | 778 | 823 | 65534 => Some(Kind::Tunnel),
        _ => None,
    }
}

/// What the kernel does with packets of the interface called `name`.
fn settings(root: &Root, name: &str) -> Result<Settings, Failure> {
    let setting = |family: &str, key: &str| number(root, &format!("/proc/sys/net/{family}/conf/{name}/{key}"));
    Ok(Settings {
        // Every kernel with IPv4 has it: where it is not, nothing can be said of the others either.
        rp_filter: Some(setting("ipv4", "rp_filter")?),
        accept_ra: if_there(setting("ipv6", "accept_ra"))?,
        forwarding: if_there(setting("ipv6", "forwarding"))?,
        disable_ipv6: if_there(setting("ipv6", "disable_ipv6"))?,
    })
}

fn number(root: &Root, path: &str) -> Result<i64, Failure> {
    let word = root.word(Path::new(path))?;
    whole_number(&word).ok_or_else(|| Failure::new(FailureKind::Unparseable, format_args!("{path} is not a number")))
}

/// What the kernel does with packets of every interface.
///
/// # Errors
/// When its settings can not be read. A kernel without IPv6 has none for it.
pub fn routing(root: &Root) -> Result<Routing, Failure> {
    Ok(Routing {
        ipv4_forward: Some(number(root, "/proc/sys/net/ipv4/ip_forward")?),
        ipv6_forward: if_there(number(root, "/proc/sys/net/ipv6/conf/all/forwarding"))?,
        rp_filter: Some(number(root, "/proc/sys/net/ipv4/conf/all/rp_filter")?),
    })
}

/// Seconds since the machine started.
///
/// # Errors
/// When `/proc/uptime` can not be read or understood.
pub fn uptime_seconds(root: &Root) -> Result<u64, Failure> {
    let path = Path::new("/proc/uptime");
    let word = root.word(path)?;
    let seconds = word.split(['.', ' ']).next().and_then(whole_number);
    seconds.ok_or_else(|| Failure::new(FailureKind::Unparseable, "/proc/uptime is not a number"))
}

/// The addresses of every interface except loopback, sorted.
///
/// # Errors
/// When the kernel does not say, there are more than [`MAX_ITEMS`], or this is a snapshot that does not hold them.
pub fn addresses(root: &Root) -> Result<Vec<Address>, Failure> {
    let answer = root.answer("addresses", || {
        let found = live_addresses()?;
        serde_json::to_string(&found).map_err(|error| Failure::new(FailureKind::Error, error))
    })?;
    let found: Vec<Address> = serde_json::from_str(&answer)
        .map_err(|error| Failure::new(FailureKind::Unparseable, format_args!("addresses: {error}")))?;
    if found.len() > MAX_ITEMS { Err(too_many("addresses")) } else { Ok(found) }
}

fn live_addresses() -> Result<Vec<Address>, Failure> {
    let all = getifaddrs().map_err(|error| Failure::new(FailureKind::Error, format_args!("getifaddrs: {error}")))?;
    let ip = |address: &SockaddrStorage| match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(ipv4), _) => Some(IpAddr::from(ipv4.ip())),
        (_, Some(ipv6)) => Some(IpAddr::from(ipv6.ip())),
        _ => None,
    };
    let bits = |mask: IpAddr| match mask {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    };
    let mut found = Vec::new();
    for one in all.filter(|one| one.interface_name != "lo") {
        let Some(address) = one.address.as_ref().and_then(ip) else { continue };
        let prefix = one.netmask.as_ref().and_then(ip).map_or(0, bits);
        found.push(Address {
            interface: shorten(&one.interface_name),
            address: address.to_string(),
            prefix: u8::try_from(prefix).unwrap_or(0),
        });
    }
    found.sort_by(|a, b| (&a.interface, &a.address).cmp(&(&b.interface, &b.address)));
    Ok(found)
}

/// The default routes of the main tables, IPv4 before IPv6, as the kernel lists them.
///
/// # Errors
/// When a table can not be read or understood. A kernel without IPv6 has no table for it.
pub fn default_routes(root: &Root) -> Result<Vec<Route>, Failure> {
    let mut routes = Vec::new();
    read_routes(root, Path::new("/proc/net/route"), true, route4, &mut routes)?;
    match read_routes(root, Path::new("/proc/net/ipv6_route"), false, route6, &mut routes) {
        Err(Failure { kind: FailureKind::NotFound, .. }) => {}
        result => result?,
    }
    Ok(routes)
}

fn read_routes(
    root: &Root,
    path: &Path,
    header: bool,
    parse: fn(&str) -> Option<Option<Route>>,
    routes: &mut Vec<Route>,
) -> Result<(), Failure> {
    let mut number = 0_usize;
    root.lines(path, |line| {
        number += 1;
        if header && number == 1 {
            return Ok(());
        }
        let route = parse(line).ok_or_else(|| {
            Failure::new(FailureKind::Unparseable, format_args!("{}: line {number} is no route", path.display()))
        })?;
        routes.extend(route);
        if routes.len() > MAX_ITEMS { Err(too_many("default routes")) } else { Ok(()) }
    })
}

/// `eth0 00000000 0101A8C0 0003 0 0 100 00000000 0 0 0`: interface, destination, gateway, flags, two counters, metric, mask.
/// `Some(None)` when it is not a default route in use, `None` when it can not be understood.
fn route4(line: &str) -> Option<Option<Route>> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [interface, destination, gateway, flags, _, _, metric, mask, ..] = fields[..] else { return None };
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let (destination, gateway, flags, mask) = (hex(destination)?, hex(gateway)?, hex(flags)?, hex(mask)?);
    let metric = whole_number(metric)?;
    let in_use = destination == 0 && mask == 0 && flags & UP != 0 && flags & REJECT == 0;
    let address = IpAddr::from(Ipv4Addr::from(gateway.to_ne_bytes()));
    let gateway = (flags & GATEWAY != 0).then(|| address.to_string());
    Some(in_use.then(|| Route { interface: shorten(interface), gateway, metric, ipv6: Some(false) }))
}

/// `destination length source length gateway metric references uses flags interface`, all numbers in hexadecimal.
fn route6(line: &str) -> Option<Option<Route>> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let [destination, length, _, _, gateway, metric, _, _, flags, interface] = fields[..] else { return None };
    let address = |text: &str| match text.len() {
        32 => u128::from_str_radix(text, 16).ok().map(Ipv6Addr::from),
        _ => None,
    };
    let (destination, gateway) = (address(destination)?, address(gateway)?);
    let hex = |text: &str| u32::from_str_radix(text, 16).ok();
    let (length, metric, flags) = (hex(length)?, hex(metric)?, hex(flags)?);
    let in_use =
        destination.is_unspecified() && length == 0 && flags & UP != 0 && flags & REJECT == 0 && interface != "lo";
    let gateway = (flags & GATEWAY != 0 && !gateway.is_unspecified()).then(|| gateway.to_string());
    Some(in_use.then(|| Route { interface: shorten(interface), gateway, metric, ipv6: Some(true) }))
}

/// The name servers of resolv.conf(5). Behind systemd-resolved's stub, those that it asks come after the stub.
///
/// # Errors
/// When resolv.conf can not be read, or systemd-resolved's list exists and can not be read.
pub fn resolvers(root: &Root) -> Result<Vec<String>, Failure> {
    let mut found = name_servers(root, "/etc/resolv.conf")?;
    if found.iter().any(|server| server == "127.0.0.53") {
        match name_servers(root, "/run/systemd/resolve/resolv.conf") {
            Ok(upstream) => {
                for server in upstream {
                    if !found.contains(&server) {
                        found.push(server);
                    }
                }
            }
            Err(failure) if failure.kind == FailureKind::NotFound => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(found)
}

fn name_servers(root: &Root, path: &str) -> Result<Vec<String>, Failure> {
    let text = root.read_text(&PathBuf::from(path))?;
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().map(shorten)).flatten()
    };
    let found: Vec<_> = text.lines().filter_map(server).take(MAX_ITEMS + 1).collect();
    if found.len() > MAX_ITEMS { Err(too_many("name servers")) } else { Ok(found) }
}

fn too_many(what: &str) -> Failure {
    Failure::new(FailureKind::TooLarge, format_args!("there are more than {MAX_ITEMS} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::host::tests::snapshot;

    const HEADER: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";

    fn route(interface: &str, gateway: Option<&str>, metric: u32) -> Route {
        let ipv6 = Some(gateway.is_some_and(|gateway| gateway.contains(':')));
        Route { interface: interface.into(), gateway: gateway.map(str::to_owned), metric, ipv6 }
    }

    #[test]
    fn default_routes_of_both_families_are_read() {
        let route4 = format!(
            "{HEADER}eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
             wwan0\t00000000\t00000000\t0001\t0\t0\t700\t00000000\t0\t0\t0\n\
             eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n\
             tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n\
             *\t00000000\t00000000\t0201\t0\t0\t9\t00000000\t0\t0\t0\n"
        );
        let zero = "0".repeat(32);
        let route6 = format!(
            "{zero} 00 {zero} 00 fe80000000000000021122fffe334455 00000064 00000001 00000000 00450003     eth0\n\
             fe800000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n\
             {zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        );
        let folder = snapshot(&[("proc/net/route", &route4), ("proc/net/ipv6_route", &route6)]);
        let expected = [
            route("eth0", Some("192.168.1.1"), 100),
            route("wwan0", None, 700),
            route("eth0", Some("fe80::211:22ff:fe33:4455"), 100),
        ];
        assert_eq!(default_routes(&Root::new(folder.path())).unwrap(), expected);
        let folder = snapshot(&[("proc/net/route", HEADER)]);
        assert_eq!(default_routes(&Root::new(folder.path())).unwrap(), []);
    }

    #[test]
    fn odd_and_missing_tables_are_failed_looks() {
        let routes = |files: &[(&str, &str)]| default_routes(&Root::new(snapshot(files).path())).unwrap_err();
        assert_eq!(routes(&[]).kind, FailureKind::NotFound);
        let odd = format!("{HEADER}eth0 zero\n");
        assert_eq!(routes(&[("proc/net/route", &odd)]).detail, "/proc/net/route: line 2 is no route");
        let odd = routes(&[("proc/net/route", HEADER), ("proc/net/ipv6_route", "é\n")]);
        assert_eq!(odd.kind, FailureKind::Unparseable);
    }

    #[test]
    fn interfaces_say_what_their_driver_knows() {
        let folder = snapshot(&[
            ("sys/class/net/lo/operstate", "unknown\n"),
            ("sys/class/net/bonding_masters", "\n"),
            ("sys/class/net/eth0/operstate", "up\n"),
            ("sys/class/net/eth0/speed", "1000\n"),
            ("sys/class/net/eth0/mtu", "1500\n"),
            ("sys/class/net/eth0/statistics/rx_errors", "3\n"),
            ("sys/class/net/eth0/statistics/tx_errors", "0\n"),
            ("sys/class/net/wlan0/operstate", "down\n"),
            ("sys/class/net/wlan0/speed", "-1\n"),
            ("sys/class/net/wlan0/phy80211/index", "0\n"),
            ("sys/class/net/wlan0/statistics/rx_errors", "0\n"),
            ("sys/class/net/wlan0/statistics/tx_errors", "0\n"),
        ]);
        let seen = interfaces(&Root::new(folder.path())).unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(
            (seen[0].speed_mbits, seen[0].mtu, seen[0].receive_errors, seen[0].wireless),
            (Some(1000), Some(1500), 3, false)
        );
        assert_eq!((seen[1].speed_mbits, seen[1].mtu, seen[1].wireless), (None, None, true));
        assert_eq!((seen[0].kind, seen[1].kind), (None, Some(Kind::Wireless)));
        assert_eq!(seen[0].settings.as_ref().unwrap().failure().unwrap().kind, FailureKind::NotFound);
        std::fs::write(folder.path().join("sys/class/net/eth0/statistics/rx_errors"), "many").unwrap();
        assert_eq!(interfaces(&Root::new(folder.path())).unwrap_err().kind, FailureKind::Unparseable);
    }

    #[test]
    fn behind_the_stub_are_the_servers_it_asks() {
        let stub = "# comment\nnameserver 127.0.0.53\noptions edns0\n";
        let resolvers = |files: &[(&str, &str)]| resolvers(&Root::new(snapshot(files).path()));
        assert_eq!(resolvers(&[("etc/resolv.conf", stub)]).unwrap(), ["127.0.0.53"]);
        let both = [("etc/resolv.conf", stub), ("run/systemd/resolve/resolv.conf", "nameserver 9.9.9.9\n")];
        assert_eq!(resolvers(&both).unwrap(), ["127.0.0.53", "9.9.9.9"]);
        assert_eq!(resolvers(&[("etc/resolv.conf", "nameserver\n")]).unwrap(), Vec::<String>::new());
        assert_eq!(resolvers(&[]).unwrap_err().kind, FailureKind::NotFound);
    }

    #[test]
    fn interfaces_say_what_kind_they_are_and_what_the_kernel_does_with_them() {
        let mut files = vec![("proc/sys/net/ipv4/ip_forward", "1\n"), ("proc/sys/net/ipv4/conf/all/rp_filter", "2\n")];
        for (name, file, content) in [
            ("eth0", "type", "1\n"),
            ("wg0", "uevent", "DEVTYPE=wireguard\nINTERFACE=wg0\n"),
            ("tun0", "tun_flags", "0x1\n"),
            ("ppp0", "type", "512\n"),
            ("wwan0", "uevent", "DEVTYPE=wwan\n"),
            ("br0", "uevent", "DEVTYPE=bridge\n"),
            ("can0", "type", "280\n"),
        ] {
            for (file, content) in [
                (file, content),
                ("operstate", "up\n"),
                ("statistics/rx_errors", "0\n"),
                ("statistics/tx_errors", "0\n"),
            ] {
                let path: &'static str = format!("sys/class/net/{name}/{file}").leak();
                files.push((path, content));
            }
        }
        files.extend([
            ("sys/class/net/eth0/duplex", "half\n"),
            ("sys/class/net/eth0/carrier_down_count", "4\n"),
            ("sys/class/net/eth0/statistics/rx_packets", "7\n"),
            ("proc/sys/net/ipv4/conf/eth0/rp_filter", "1\n"),
            ("proc/sys/net/ipv6/conf/eth0/accept_ra", "1\n"),
        ]);
        let folder = snapshot(&files);
        let root = Root::new(folder.path());
        let seen = interfaces(&root).unwrap();
        let kinds: Vec<_> = seen.iter().map(|one| (one.name.as_str(), one.kind)).collect();
        let expected = [
            ("br0", Some(Kind::Bridge)),
            ("can0", None),
            ("eth0", Some(Kind::Wired)),
            ("ppp0", Some(Kind::Modem)),
            ("tun0", Some(Kind::Tunnel)),
            ("wg0", Some(Kind::Tunnel)),
            ("wwan0", Some(Kind::Modem)),
        ];
        assert_eq!(kinds, expected);
        let eth0 = &seen[2];
        assert_eq!(
            (eth0.duplex.as_deref(), eth0.carrier_losses, eth0.received, eth0.sent),
            (Some("half"), Some(4), Some(7), None)
        );
        let settings = eth0.settings.as_ref().unwrap().seen().unwrap();
        assert_eq!((settings.rp_filter, settings.accept_ra, settings.forwarding), (Some(1), Some(1), None));
        assert_eq!(routing(&root).unwrap(), Routing { ipv4_forward: Some(1), ipv6_forward: None, rp_filter: Some(2) });
        assert_eq!(uptime_seconds(&root).unwrap_err().kind, FailureKind::NotFound);
        assert!(addresses(&root).unwrap_err().detail.contains("addresses"));
    }
}
