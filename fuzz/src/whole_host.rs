//! A whole host, as the probe of `host_guardrails` sees it: whatever its files hold, an observation comes of it, and facts come of
//! that. Its readers one by one are attacked by [`crate::proc`], which is twenty times as fast, and those of SSH, sudo, packages and
//! the firewall by surfaces of their own.

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::host_guardrails::{Check, Observation};
use gatepost_evidence::look::{Failure, Look};
use serde::Serialize;
use serde_json::{Value, json};

use crate::host::root::{self, Root};
use crate::host::{
    accounts, board, can_be_evidence, containers, firewall, kernel, logs, sockets, ssh, storage, system, units, updates,
};
use crate::{Seeds, observation};

pub(crate) const PATHS: [&str; 96] = [
    "/proc/net/tcp",
    "/proc/net/tcp6",
    "/proc/net/udp",
    "/proc/net/udp6",
    "/proc/410/fd/3",
    "/proc/410/comm",
    "/proc/230/comm",
    "/proc/1/comm",
    "/proc/1/environ",
    "/proc/1/mountinfo",
    "/lib/modprobe.d/a.conf",
    "/proc/self/mountinfo",
    "/proc/swaps",
    "/proc/cmdline",
    "/proc/modules",
    "/proc/sys/kernel/osrelease",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv4/conf/all/accept_redirects",
    "/proc/net/route",
    "/proc/net/ipv6_route",
    "/proc/device-tree/model",
    "/proc/device-tree/chosen/bootloader/signed",
    "/proc/device-tree/chosen/bootloader/build-timestamp",
    "/proc/device-tree/chosen/power/max_current",
    "/sys/kernel/security/lockdown",
    "/sys/fs/ext4/vda1/errors_count",
    "/sys/fs/ext4/vda1/lifetime_write_kbytes",
    "/sys/devices/system/cpu/vulnerabilities/retbleed",
    "/sys/devices/system/cpu/vulnerabilities/meltdown",
    "/sys/class/watchdog/watchdog0/state",
    "/sys/class/thermal/thermal_zone0/temp",
    "/sys/class/net/eth0/flags",
    "/sys/class/net/eth0/operstate",
    "/sys/class/net/eth0/mtu",
    "/sys/class/net/eth0/speed",
    "/sys/class/net/eth0/statistics/rx_errors",
    "/sys/class/net/wlan0/flags",
    "/sys/class/net/wlan0/operstate",
    "/sys/class/net/wlan0/phy80211/index",
    "/sys/block/mmcblk0",
    "/sys/block/mmcblk0/removable",
    "/sys/block/mmcblk0/device/type",
    "/sys/block/mmcblk0/device/life_time",
    "/sys/block/mmcblk0/device/pre_eol_info",
    "/sys/class/rtc/rtc0/name",
    "/sys/class/rtc/rtc0/battery_voltage",
    "/sys/class/hwmon/hwmon0/name",
    "/sys/class/hwmon/hwmon0/in0_lcrit_alarm",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
    "/etc/login.defs",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/security/limits.conf",
    "/etc/security/limits.d/core.conf",
    "/etc/modprobe.d/site.conf",
    "/etc/resolv.conf",
    "/run/systemd/resolve/resolv.conf",
    "/run/reboot-required",
    "/run/docker.pid",
    "/run/docker.sock",
    "/etc/docker/daemon.json",
    "/var/lib/docker/containers/3fa1/hostconfig.json",
    "/var/lib/docker/containers/3fa1/config.v2.json",
    "/etc/systemd/journald.conf",
    "/sys/devices/platform/soc/soc:firmware/get_throttled",
    "/etc/systemd/system/multi-user.target.wants/ssh.service",
    "/etc/systemd/system/getty@tty1.service.d/autologin.conf",
    "/etc/rsyslog.conf",
    "/etc/rsyslog.d/remote.conf",
    "/etc/syslog-ng/syslog-ng.conf",
    "/var/log/journal/x",
    "/root/.rhosts",
    "/root/.ssh/authorized_keys",
    "/home/pi/.ssh/authorized_keys",
    "/answers/systemctl",
    "/answers/vcgencmd",
    "/answers/storage",
    "/answers/nft",
    "/etc/ssh/sshd_config",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/sudoers",
    "/var/lib/dpkg/status",
    "/etc/apt/sources.list",
    "/etc/apt/apt.conf.d/20auto-upgrades",
    "/run/systemd/timesync/synchronized",
    "/run/systemd/container",
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/lib/modules/6.1/modules.builtin",
];

/// # Panics
/// When what was seen is no observation of the contract, or the same host gives others, or other facts.
pub fn attack(data: &[u8]) {
    let root = Root::of(data, &PATHS);
    let seen = see(&root);
    assert_eq!(seen, see(&root), "the same host was seen otherwise");
    let read: Observation = serde_json::from_value(seen).expect("what was seen is an observation");
    can_be_evidence(&read);
    observation::same_facts(Check::CHECK, Check::VERSION, serde_json::to_value(read).expect("evidence is JSON"));
}

/// As `see_at` of `agent/src/probe/host_guardrails.rs` puts it together.
fn see(root: &Root) -> Value {
    let sshd = ssh::sshd(root);
    let host_keys = sshd.as_ref().ok().map(|directives| look(ssh::host_keys(root, directives)));
    let (updates, openssh) = updates::updates(root);
    let mut seen = json!({
        "os_release": look(system::os_release(root)),
        "kernel": system::kernel(root),
        "sockets": look(sockets::sockets(root)),
        "allowed_ports": ["tcp/22"],
        "accounts": look(accounts::accounts(root)),
        "empty_passwords": look(accounts::empty_passwords(root)),
        "sysctls": system::sysctls(root),
        "reboot_required": system::reboot_required(root),
        "storage": look(storage::storage(root)),
        "firewall": firewall::firewall(root),
        "account_details": accounts::details(root),
        "kernel_state": kernel::kernel(root),
        "updates": updates,
        "media": storage::media(root),
        "enabled_units": look(units::enabled(root)),
        "masked_units": look(units::masked(root)),
        "units": units::units(root, &["ssh.service".to_owned()]),
        "docker": containers::docker(root),
        "logs": logs::logs(root),
        "board": board::board(root),
    });
    let object = seen.as_object_mut().expect("made as one");
    object.extend(sshd.is_ok().then(|| ("openssh".to_owned(), look(openssh))));
    object.extend(host_keys.map(|keys| ("host_keys".to_owned(), keys)));
    object.extend(system::container(root).map(|name| ("container".to_owned(), name.into())));
    object.insert("sshd".to_owned(), look(sshd));
    seen
}

fn look<T: Serialize>(result: Result<T, Failure>) -> Value {
    serde_json::to_value(Look::from(result)).expect("evidence is JSON")
}

/// The hosts of `fixtures/hosts`, whole and in parts.
#[must_use]
pub fn seeds() -> Seeds {
    let with = |name: &str, files: &[(&str, &str)]| (name.to_owned(), root::input(&PATHS, files));
    let mut seeds = Seeds::new();
    for name in ["broken", "debian12-server", "hardened", "hostile", "raspberry-pi-5"] {
        seeds.push((name.to_owned(), root::fixture(name, &PATHS, (0, PATHS.len()), 300)));
        for first in (0..PATHS.len()).step_by(12) {
            let part = root::fixture(name, &PATHS, (first, 12), 600);
            if !part.is_empty() {
                seeds.push((format!("{name}-{first}"), part));
            }
        }
    }
    seeds.push(with(
        "answers",
        &[
            (
                "/answers/systemctl",
                "Id=ssh.service\nActiveState=failed\nNRestarts=3\nResult=exit-code\nUser=\n\nId=x.timer\nActiveState=active\n",
            ),
            ("/answers/vcgencmd", "throttled=0x50005\n"),
            ("/answers/storage", r#"[{"mount":"/","kind":"ext4","total":9,"free":1,"available":1,"read_only":false}]"#),
            ("/proc/410/fd/3", "->socket:[4711]"),
            (
                "/proc/net/tcp",
                "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: \
                 00000000:22B3 00000000:0000 0A 00000000:00000000 00:00000000 00000000   105        0 4711 1 0 100 0\n",
            ),
        ],
    ));
    seeds
}
