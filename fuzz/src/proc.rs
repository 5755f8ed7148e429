//! The readers of a host, one at a time, as the probes use them: tables and settings of `/proc` and `/sys`, accounts, units,
//! containers, logs, storage, the board, the network, Wi-Fi, the clock, the broker's processes, a service's settings. What one
//! reads can be written down and reads as the same.

use std::sync::LazyLock;

use crate::Seeds;
use crate::host::root::{self, Root};
use crate::host::{accounts, board, can_be_evidence, clock, containers, kernel, logs, sockets, storage, system, units};
use crate::readers::{self, part};
use crate::whole_host::PATHS;

/// A reader, with what the paths of [`PATHS`] and [`MORE_PATHS`] begin with that it looks at.
struct Part {
    name: &'static str,
    read: fn(&Root),
    prefixes: &'static [&'static str],
}

/// What `host_guardrails` alone does not read.
const MORE_PATHS: [&str; 49] = [
    "/sys/class/net/eth0/operstate",
    "/sys/class/net/eth0/speed",
    "/sys/class/net/eth0/duplex",
    "/sys/class/net/eth0/mtu",
    "/sys/class/net/eth0/carrier_down_count",
    "/sys/class/net/eth0/type",
    "/sys/class/net/eth0/uevent",
    "/sys/class/net/eth0/statistics/rx_errors",
    "/sys/class/net/eth0/statistics/rx_packets",
    "/sys/class/net/eth0/statistics/tx_errors",
    "/sys/class/net/eth0/statistics/tx_packets",
    "/sys/class/net/eth0/statistics/rx_dropped",
    "/sys/class/net/eth0/statistics/tx_dropped",
    "/sys/class/net/wlan0/operstate",
    "/sys/class/net/wlan0/wireless/link",
    "/sys/class/net/bonding_masters",
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/proc/net/wireless",
    "/proc/uptime",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/ipv4/conf/all/rp_filter",
    "/proc/sys/net/ipv4/conf/eth0/rp_filter",
    "/proc/sys/net/ipv6/conf/eth0/accept_ra",
    "/answers/addresses",
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/etc/wpa_supplicant/wpa_supplicant.conf",
    "/etc/NetworkManager/system-connections/site.nmconnection",
    "/run/NetworkManager/system-connections/x.nmconnection",
    "/run/systemd/timesync/synchronized",
    "/run/chrony/chronyd.pid",
    "/run/ntpd.pid",
    "/answers/chronyc",
    "/etc/chrony/chrony.conf",
    "/etc/chrony/conf.d/site.conf",
    "/run/chrony-dhcp/eth0.sources",
    "/etc/ntpsec/ntp.conf",
    "/etc/systemd/timesyncd.conf",
    "/etc/systemd/timesyncd.conf.d/site.conf",
    "/run/systemd/netif/state",
    "/sys/class/rtc/rtc0/name",
    "/proc/1/comm",
    "/proc/77/comm",
    "/proc/77/cmdline",
    "/proc/77/stat",
    "/proc/stat",
    readers::SERVICE,
];

const PARTS: [Part; 18] = [
    Part {
        name: "system",
        read: |root| {
            part(system::os_release(root));
            can_be_evidence(&(system::kernel(root), system::container(root)));
            can_be_evidence(&system::reboot_required(root));
        },
        prefixes: &["/etc/os-release", "/usr/lib/os-release", "/proc/sys/kernel/osrelease", "/run/"],
    },
    Part { name: "sysctls", read: |root| can_be_evidence(&system::sysctls(root)), prefixes: &["/proc/sys/"] },
    Part {
        name: "sockets",
        read: |root| part(sockets::sockets(root)),
        prefixes: &["/proc/net/", "/proc/4", "/proc/2"],
    },
    Part {
        name: "accounts",
        read: |root| {
            part(accounts::accounts(root));
            part(accounts::empty_passwords(root));
        },
        prefixes: &["/etc/passwd", "/etc/shadow", "/etc/group"],
    },
    Part {
        name: "account-details",
        read: |root| can_be_evidence(&accounts::details(root)),
        prefixes: &[
            "/etc/passwd",
            "/etc/shadow",
            "/etc/group",
            "/etc/login.defs",
            "/root/",
            "/home/",
            "/etc/systemd/system/getty",
        ],
    },
    Part {
        name: "kernel",
        read: |root| can_be_evidence(&kernel::kernel(root)),
        prefixes: &[
            "/proc/",
            "/sys/kernel/",
            "/sys/devices/system/",
            "/etc/modprobe.d/",
            "/lib/mod",
            "/etc/security/",
            "/sys/class/net/",
        ],
    },
    Part { name: "storage", read: |root| part(storage::storage(root)), prefixes: &["/answers/storage", "/proc/"] },
    Part {
        name: "media",
        read: |root| can_be_evidence(&storage::media(root)),
        prefixes: &["/sys/block/", "/sys/fs/", "/proc/self/", "/proc/swaps", "/proc/1/mountinfo"],
    },
    Part {
        name: "units",
        read: |root| {
            part(units::enabled(root));
            part(units::masked(root));
            can_be_evidence(&units::units(root, &["ssh.service".to_owned()]));
        },
        prefixes: &["/answers/systemctl", "/etc/systemd/", "/proc/1/"],
    },
    Part {
        name: "docker",
        read: |root| can_be_evidence(&containers::docker(root)),
        prefixes: &["/run/docker", "/etc/docker/", "/var/lib/docker/", "/proc/1/", "/etc/group"],
    },
    Part {
        name: "logs",
        read: |root| can_be_evidence(&logs::logs(root)),
        prefixes: &["/etc/systemd/", "/etc/rsyslog", "/etc/syslog-ng/", "/var/log/", "/run/systemd/", "/proc/1/"],
    },
    Part {
        name: "board",
        read: |root| can_be_evidence(&board::board(root)),
        prefixes: &[
            "/proc/device-tree/",
            "/sys/class/",
            "/sys/devices/platform/",
            "/answers/vcgencmd",
            "/sys/firmware/",
            "/proc/cmdline",
        ],
    },
    Part {
        name: "network",
        read: readers::network,
        prefixes: &[
            "/sys/class/net/",
            "/proc/net/route",
            "/proc/net/ipv6_route",
            "/proc/uptime",
            "/proc/sys/net/",
            "/answers/addresses",
            "/etc/resolv.conf",
            "/run/systemd/resolve/",
        ],
    },
    Part {
        name: "radio",
        read: readers::radio,
        prefixes: &["/proc/net/wireless", "/etc/wpa_supplicant/", "/etc/NetworkManager/", "/run/NetworkManager/"],
    },
    Part {
        name: "clock",
        read: |root| can_be_evidence(&clock::synchronised(root)),
        prefixes: &["/run/systemd/timesync/", "/run/chrony/", "/run/ntpd.pid", "/answers/chronyc"],
    },
    Part {
        name: "broker",
        read: readers::broker,
        prefixes: &["/proc/1/comm", "/proc/77/", "/proc/stat", "/var/lib/dpkg/status"],
    },
    Part { name: "assignments", read: readers::assignments, prefixes: &[readers::SERVICE] },
    Part {
        name: "time",
        read: readers::time,
        prefixes: &[
            "/etc/chrony/",
            "/run/chrony-dhcp/",
            "/etc/ntpsec/",
            "/etc/systemd/timesyncd",
            "/run/systemd/",
            "/sys/class/rtc/",
        ],
    },
];

/// The paths that each part looks at.
static LOOKED_AT: LazyLock<[Vec<&'static str>; PARTS.len()]> = LazyLock::new(|| {
    let of = |part: &Part| {
        let wanted = |path: &&str| part.prefixes.iter().any(|prefix| path.starts_with(prefix));
        let mut paths: Vec<_> = PATHS.into_iter().chain(MORE_PATHS).filter(wanted).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    };
    PARTS.each_ref().map(of)
});

/// The first byte says which reader; the rest is its host.
///
/// # Panics
/// When what was read cannot be evidence.
pub fn attack(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let number = usize::from(*first) % PARTS.len();
    (PARTS[number].read)(&Root::of(rest, &LOOKED_AT[number]));
}

/// For each reader, what the hosts of `fixtures/hosts` have for it.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (number, part) in (0_u8..).zip(&PARTS) {
        let paths = &LOOKED_AT[usize::from(number)];
        for host in ["broken", "debian12-server", "hardened", "hostile", "raspberry-pi-5"] {
            let files = root::fixture(host, paths, (0, paths.len()), 400);
            seeds.push((format!("{}-{host}", part.name), [&[number], files.as_slice()].concat()));
        }
    }
    let with = |number: u8, files: &[(&str, &str)]| {
        [&[number], root::input(&LOOKED_AT[usize::from(number)], files).as_slice()].concat()
    };
    seeds.push((
        "sockets-held".to_owned(),
        with(
            2,
            &[
                ("/proc/410/fd/3", "->socket:[4711]"),
                (
                    "/proc/net/tcp",
                    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: \
                     00000000:22B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 4711 1 0 100 0\n",
                ),
            ],
        ),
    ));
    let mounted = r#"[{"mount":"/","kind":"ext4","total":9,"free":1,"available":1,"read_only":false}]"#;
    seeds.push(("storage-answer".to_owned(), with(6, &[("/answers/storage", mounted)])));
    let shown =
        "Id=ssh.service\nActiveState=failed\nNRestarts=3\nResult=exit-code\nUser=\n\nId=x.timer\nActiveState=active\n";
    seeds.push(("units-answer".to_owned(), with(8, &[("/answers/systemctl", shown)])));
    seeds.push(("board-answer".to_owned(), with(11, &[("/answers/vcgencmd", "throttled=0x50005\n")])));
    seeds.push((
        "network-routes".to_owned(),
        with(
            12,
            &[
                (
                    "/proc/net/route",
                    "Iface\tDestination\neth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
                ),
                (
                    "/proc/net/ipv6_route",
                    "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                     fe800000000000000000000000000001 00000064 00000001 00000000 00000003 eth0\n",
                ),
                ("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0\n"),
                ("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.1\n"),
                ("/answers/addresses", r#"[{"interface":"eth0","address":"192.0.2.7","prefix":24}]"#),
                ("/proc/uptime", "77.12 300.1\n"),
            ],
        ),
    ));
    let network =
        "ctrl_interface=/run\nnetwork={\n ssid=\"site\"\n key_mgmt=SAE WPA-PSK\n psk=\"hunter22\"\n ieee80211w=2\n}\n";
    let connection = "[connection]\ntype=wifi\n[wifi]\nssid=x\n[wifi-security]\nkey-mgmt=wpa-psk\npsk=hunter22\n";
    let wireless = "Inter-|\n face |\n wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0\n";
    seeds.push((
        "radio-wifi".to_owned(),
        with(
            13,
            &[
                ("/proc/net/wireless", wireless),
                ("/etc/wpa_supplicant/wpa_supplicant.conf", network),
                ("/etc/NetworkManager/system-connections/site.nmconnection", connection),
            ],
        ),
    ));
    let tracking = "7F7F0101,,10,1763800000.1,0.01,-0.02,0.03,-1.5,0.01,0.2,0.03,0.001,64.5,Normal\n";
    seeds.push((
        "clock-chrony".to_owned(),
        with(14, &[("/run/chrony/chronyd.pid", "1"), ("/answers/chronyc", tracking)]),
    ));
    let stat = "77 (mosquitto) S 1 77 77 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 1\n";
    seeds.push((
        "broker-runs".to_owned(),
        with(
            15,
            &[
                ("/proc/1/comm", "systemd\n"),
                ("/proc/77/comm", "mosquitto\n"),
                ("/proc/77/cmdline", "/usr/sbin/mosquitto -c /etc/mosquitto/mosquitto.conf"),
                ("/proc/77/stat", stat),
                ("/proc/stat", "cpu 1 2\nbtime 1763800000\n"),
                ("/var/lib/dpkg/status", "Package: mosquitto\nVersion: 1:2.0.11-1.2+deb12u1\n"),
            ],
        ),
    ));
    let settings = "# where to\nexport INGEST_URL=\"https://edge/\"\nRETRY_LIMIT=5 # times\nEMPTY=\n";
    seeds.push(("assignments-service".to_owned(), with(16, &[(readers::SERVICE, settings)])));
    seeds.push((
        "time-servers".to_owned(),
        with(
            17,
            &[
                (
                    "/etc/chrony/chrony.conf",
                    "pool 2.debian.pool.ntp.org iburst\n#server no\nsourcedir /run/chrony-dhcp\n",
                ),
                ("/run/chrony-dhcp/eth0.sources", "server 192.168.1.1 iburst\n"),
                ("/etc/systemd/timesyncd.conf", "[Time]\nNTP=old.site\nNTP=\n#FallbackNTP=0.debian.pool.ntp.org\n"),
                ("/run/systemd/netif/state", "NTP=192.168.1.1 ntp.site\n"),
                ("/run/systemd/timesync/synchronized", ""),
                ("/sys/class/rtc/rtc0/name", "rpi_rtc\n"),
            ],
        ),
    ));
    seeds
}
