//! The readers of a host, one at a time, as the probe of `host_guardrails` uses them: tables and settings of `/proc` and `/sys`,
//! accounts, units, containers, logs, storage, the board. What one reads can be written down and reads as the same.

use std::sync::LazyLock;

use gatepost_evidence::look::{Failure, Look};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Seeds;
use crate::host::root::{self, Root};
use crate::host::{accounts, board, can_be_evidence, containers, kernel, logs, sockets, storage, system, units};
use crate::whole_host::PATHS;

/// A reader, with what the paths begin with that it looks at.
struct Part {
    name: &'static str,
    read: fn(&Root),
    prefixes: &'static [&'static str],
}

fn part<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(seen: Result<T, Failure>) {
    can_be_evidence(&Look::from(seen));
}

const PARTS: [Part; 12] = [
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
];

/// The paths that each part looks at.
static LOOKED_AT: LazyLock<[Vec<&'static str>; PARTS.len()]> = LazyLock::new(|| {
    let of = |part: &Part| {
        let wanted = |path: &&str| part.prefixes.iter().any(|prefix| path.starts_with(prefix));
        PATHS.into_iter().filter(wanted).collect()
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
    seeds
}
