//! `host_guardrails`: the operating system the agent stands on, read from files and `/proc`, never changed.
//!
//! One file a topic: SSH, the packet filter, listening sockets against an allow-list, accounts, the kernel, updates, storage,
//! services, containers, logs and time, the board. Whatever needs a privilege the agent lacks is a failed look, and the fact
//! is unknown with what it needs.

pub mod accounts;
pub mod board;
pub mod containers;
pub mod firewall;
pub mod kernel;
pub mod logs;
pub mod ssh;
pub mod storage;
pub mod units;
pub mod updates;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::storage::{FileSystem, StorageFacts, storage_facts};
use super::broker_transport_posture::Scope;
use super::{Contract, Seen, Unknown, segment};
use crate::look::{Failure, FailureKind, Look};

/// The contract of this check.
pub struct Check;

/// What was seen of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// `ID`, `VERSION_ID`, `VERSION_CODENAME` and `PRETTY_NAME` of os-release(5).
    pub os_release: Look<BTreeMap<String, String>>,
    /// Kernel release.
    pub kernel: Option<String>,
    /// sshd_config(5), `Include` followed; `not_found` when there is no SSH server.
    pub sshd: Look<Vec<SshDirective>>,
    /// Sockets that accept connections or datagrams.
    pub sockets: Look<Vec<Socket>>,
    /// Ports the operator expects to be open beyond loopback, such as `tcp/8883`.
    pub allowed_ports: Vec<String>,
    /// passwd(5), without the fields nobody needs.
    pub accounts: Look<Vec<Account>>,
    /// Accounts whose password field in shadow(5) is empty; names only.
    pub empty_passwords: Look<Vec<String>>,
    /// Kernel settings by name with dots, as sysctl(8) writes them.
    pub sysctls: BTreeMap<String, Look<String>>,
    /// A reboot is pending (`/run/reboot-required`).
    pub reboot_required: Look<bool>,
    /// Mounted file systems that hold data.
    pub storage: Look<Vec<FileSystem>>,
    /// Version of the package `openssh-server`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub openssh: Option<Look<String>>,
    /// Public halves of the SSH server's keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_keys: Option<Look<Vec<ssh::HostKey>>>,
    /// The packet filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<firewall::Firewall>,
    /// Accounts beyond passwd(5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_details: Option<accounts::Accounts>,
    /// The kernel beyond its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_state: Option<kernel::Kernel>,
    /// Packages and their sources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<updates::Updates>,
    /// Storage beyond how full it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<storage::Storage>,
    /// Names of the units that are switched on for every boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled_units: Option<Look<Vec<String>>>,
    /// Names of the units that are masked, for good or until the next boot; absent in evidence from before they were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masked_units: Option<Look<Vec<String>>>,
    /// Services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<units::Units>,
    /// Docker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<containers::Docker>,
    /// Logs and time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<logs::Logs>,
    /// The board.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub board: Option<board::Board>,
    /// What holds this system, when it is a container, such as `systemd-nspawn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Whom the operator expects to hold an allowed port: program by `tcp/8883`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expected_programs: BTreeMap<String, String>,
}

/// A file or folder, by what guards it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// The path.
    pub path: String,
    /// The permission bits in octal, four digits.
    pub mode: String,
    /// Its owner's user id.
    pub uid: u32,
    /// Its group's id.
    pub gid: u32,
}

impl FileState {
    /// The permission bits.
    #[must_use]
    pub fn bits(&self) -> Option<u32> {
        u32::from_str_radix(&self.mode, 8).ok()
    }
}

/// One line of sshd_config(5) outside any `Match` block, or inside one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SshDirective {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// The keyword in lower case.
    pub keyword: String,
    /// Its arguments.
    pub value: String,
    /// The criteria of the `Match` block it stands in, if any.
    pub within_match: Option<String>,
}

/// A socket that accepts connections or datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Local address.
    pub address: String,
    /// Local port.
    pub port: u16,
    /// Its owner's user id.
    pub uid: u32,
    /// The program that holds it, when the agent may see that.
    pub program: Option<String>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Login shell.
    pub shell: String,
}

/// Facts about a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// `ID` of os-release, such as `debian`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_id: Option<String>,
    /// `VERSION_ID` of os-release, such as `12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Kernel release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// An SSH server is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_server: Option<bool>,
    /// `PermitRootLogin` in effect, such as `prohibit-password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_root_login: Option<String>,
    /// `PasswordAuthentication` in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_password_authentication: Option<bool>,
    /// `PermitEmptyPasswords` in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh_empty_passwords: Option<bool>,
    /// By `protocol/port@address`: every socket that listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<BTreeMap<String, SocketFacts>>,
    /// Accounts with user id 0 other than `root`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_twins: Option<Vec<String>>,
    /// Accounts that need no password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_passwords: Option<Vec<String>>,
    /// The `pi` account of old Raspberry Pi images exists and has a login shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_pi_account: Option<bool>,
    /// Kernel settings by name with dots replaced by underscores; only those that could be read.
    pub sysctls: SysctlFacts,
    /// A reboot is pending.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot_required: Option<bool>,
    /// By mount point: file systems that hold data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<BTreeMap<String, StorageFacts>>,
    /// The SSH server in more detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ssh: Option<ssh::SshFacts>,
    /// The packet filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firewall: Option<firewall::FirewallFacts>,
    /// Accounts in more detail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accounts: Option<accounts::AccountFacts>,
    /// The kernel beyond its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_state: Option<kernel::KernelFacts>,
    /// Updates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<updates::UpdateFacts>,
    /// Storage beyond how full it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<storage::MediaFacts>,
    /// Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<units::UnitsFacts>,
    /// Containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub containers: Option<containers::ContainerFacts>,
    /// Logs and time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<logs::LogFacts>,
    /// The board.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board: Option<board::BoardFacts>,
    /// What holds this system, when it is a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// Facts about a listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SocketFacts {
    /// From where it can be reached.
    pub scope: Scope,
    /// The operator expects it.
    pub allowed: bool,
    /// The program that holds it, when the agent may see that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The program that the operator expects to hold it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_program: Option<String>,
}

/// Kernel settings; each is absent when it could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SysctlFacts {
    /// `kernel.randomize_va_space`: 2 is full address space randomisation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_randomize_va_space: Option<i64>,
    /// `kernel.kptr_restrict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_kptr_restrict: Option<i64>,
    /// `fs.protected_symlinks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_protected_symlinks: Option<i64>,
    /// `fs.protected_hardlinks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_protected_hardlinks: Option<i64>,
    /// `fs.suid_dumpable`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_suid_dumpable: Option<i64>,
    /// `net.ipv4.conf.all.accept_redirects`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_all_accept_redirects: Option<i64>,
    /// `kernel.dmesg_restrict`: 1 keeps the kernel's messages from ordinary users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_dmesg_restrict: Option<i64>,
    /// `kernel.yama.ptrace_scope`: 0 lets programs look into all others of their user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_yama_ptrace_scope: Option<i64>,
    /// `kernel.sysrq`: 1 lets a keyboard command the kernel in every way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_sysrq: Option<i64>,
    /// `kernel.unprivileged_bpf_disabled`: 0 lets every user load programs into the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_unprivileged_bpf_disabled: Option<i64>,
    /// `kernel.perf_event_paranoid`: below 2, users may measure the kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_perf_event_paranoid: Option<i64>,
    /// `kernel.modules_disabled`: 1 when no more modules can be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_modules_disabled: Option<i64>,
    /// `kernel.kexec_load_disabled`: 1 when no other kernel can be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_kexec_load_disabled: Option<i64>,
    /// `fs.protected_fifos`: 0 lets programs of root write into others' FIFOs in shared folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_protected_fifos: Option<i64>,
    /// `fs.protected_regular`: 0 lets programs of root write into others' files in shared folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs_protected_regular: Option<i64>,
    /// `net.core.bpf_jit_harden`: above 0, compiled filters are hardened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_core_bpf_jit_harden: Option<i64>,
    /// `net.ipv4.ip_forward`: 1 when packets are passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_ip_forward: Option<i64>,
    /// `net.ipv4.tcp_syncookies`: 0 lets a flood of half-open connections shut everyone out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_tcp_syncookies: Option<i64>,
    /// `net.ipv4.icmp_echo_ignore_broadcasts`: 0 answers pings to everyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_icmp_echo_ignore_broadcasts: Option<i64>,
    /// `net.ipv4.conf.all.accept_source_route`: 1 lets senders choose the way of packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_all_accept_source_route: Option<i64>,
    /// `net.ipv4.conf.all.rp_filter`: 0 believes every sender's address, unless the interface's own setting does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_all_rp_filter: Option<i64>,
    /// `net.ipv4.conf.default.rp_filter`: as `all`, for interfaces to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_default_rp_filter: Option<i64>,
    /// `net.ipv4.conf.all.send_redirects`: 1 tells neighbours of better routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_all_send_redirects: Option<i64>,
    /// `net.ipv4.conf.all.log_martians`: 1 writes down packets with impossible addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_all_log_martians: Option<i64>,
    /// `net.ipv4.conf.default.accept_redirects`: as `all`, for interfaces to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_default_accept_redirects: Option<i64>,
    /// `net.ipv4.conf.default.accept_source_route`: as `all`, for interfaces to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv4_conf_default_accept_source_route: Option<i64>,
    /// `net.ipv6.conf.all.accept_redirects`: 1 lets neighbours change the routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv6_conf_all_accept_redirects: Option<i64>,
    /// `net.ipv6.conf.default.accept_redirects`: as `all`, for interfaces to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv6_conf_default_accept_redirects: Option<i64>,
    /// `net.ipv6.conf.all.accept_source_route`: above -1, senders choose the way of packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv6_conf_all_accept_source_route: Option<i64>,
    /// `net.ipv6.conf.all.forwarding`: 1 when packets are passed on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net_ipv6_conf_all_forwarding: Option<i64>,
}

/// The kernel settings that are read.
pub const SYSCTLS: &[&str] = &[
    "kernel.randomize_va_space",
    "kernel.kptr_restrict",
    "fs.protected_symlinks",
    "fs.protected_hardlinks",
    "fs.suid_dumpable",
    "net.ipv4.conf.all.accept_redirects",
    "kernel.dmesg_restrict",
    "kernel.yama.ptrace_scope",
    "kernel.sysrq",
    "kernel.unprivileged_bpf_disabled",
    "kernel.perf_event_paranoid",
    "kernel.modules_disabled",
    "kernel.kexec_load_disabled",
    "fs.protected_fifos",
    "fs.protected_regular",
    "net.core.bpf_jit_harden",
    "net.ipv4.ip_forward",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.icmp_echo_ignore_broadcasts",
    "net.ipv4.conf.all.accept_source_route",
    "net.ipv4.conf.all.rp_filter",
    "net.ipv4.conf.default.rp_filter",
    "net.ipv4.conf.all.send_redirects",
    "net.ipv4.conf.all.log_martians",
    "net.ipv4.conf.default.accept_redirects",
    "net.ipv4.conf.default.accept_source_route",
    "net.ipv6.conf.all.accept_redirects",
    "net.ipv6.conf.default.accept_redirects",
    "net.ipv6.conf.all.accept_source_route",
    "net.ipv6.conf.all.forwarding",
];

impl Contract for Check {
    const CHECK: &'static str = "host_guardrails";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[
        "/storage/*/used_percent",
        "/storage/*/inodes_used_percent",
        "/updates/lists_age_days",
        "/updates/unattended_age_days",
        "/media/ext4/*/written_gib",
        "/board/temperature",
        "/board/bootloader_age_days",
        "/board/clock_battery_millivolts",
    ];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        let release = |key: &str| observation.os_release.seen().and_then(|release| release.get(key).cloned());
        if let Look::Failed(failure) = &observation.os_release {
            unknown.because("/os_id", failure);
            unknown.because("/os_version", failure);
        }
        let first = ssh::first(&observation.sshd, unknown);
        let ssh = ssh::more(&observation.sshd, &observation.openssh, &observation.host_keys, unknown);
        let accounts = take(&observation.accounts, &["/root_twins", "/default_pi_account"], "", unknown);
        let sockets = take(&observation.sockets, &["/sockets"], "", unknown);
        let enabled = observation.enabled_units.as_ref().and_then(Look::seen);
        let timers = updates::Timers { enabled: &observation.enabled_units, masked: &observation.masked_units };
        let sysctls = sysctls(&observation.sysctls, unknown);
        Facts {
            os_id: release("ID"),
            os_version: release("VERSION_ID"),
            kernel: observation.kernel.clone(),
            ssh_server: first.server,
            ssh_root_login: first.root_login,
            ssh_password_authentication: first.password_authentication,
            ssh_empty_passwords: first.empty_passwords,
            sockets: sockets
                .map(|sockets| sockets.iter().map(|socket| socket_facts(socket, observation, unknown)).collect()),
            root_twins: accounts.map(|accounts| {
                accounts.iter().filter(|a| a.uid == 0 && a.name != "root").map(|a| a.name.clone()).collect()
            }),
            empty_passwords: take(&observation.empty_passwords, &["/empty_passwords"], SHADOW, unknown).cloned(),
            default_pi_account: accounts
                .map(|accounts| accounts.iter().any(|account| account.name == "pi" && has_shell(&account.shell))),
            reboot_required: take(&observation.reboot_required, &["/reboot_required"], "", unknown).copied(),
            storage: take(&observation.storage, &["/storage"], "", unknown)
                .map(|storage| storage.iter().map(storage_facts).collect()),
            ssh,
            firewall: firewall::facts(&observation.firewall, &observation.enabled_units, unknown),
            accounts: accounts::facts(&observation.account_details, accounts, unknown),
            kernel_state: kernel::facts(
                &observation.kernel_state,
                observation.kernel.as_deref(),
                sysctls.net_ipv4_conf_all_accept_redirects,
                unknown,
            ),
            sysctls,
            updates: updates::facts(&observation.updates, timers, seen, unknown),
            media: storage::media(&observation.media, unknown),
            units: units::facts(&observation.units, enabled, unknown),
            containers: containers::facts(&observation.docker, sockets, unknown),
            logs: logs::facts(&observation.logs, enabled, unknown),
            board: board::facts(&observation.board, seen, unknown),
            container: observation.container.clone(),
        }
    }
}

/// What it takes to read shadow(5).
const SHADOW: &str = "root or the group shadow";

/// What was seen. What was not is the reason for `places`, with what the agent would need where it was denied.
fn take<'a, T>(look: &'a Look<T>, places: &[&str], needs: &str, unknown: &mut Unknown) -> Option<&'a T> {
    if let Look::Failed(failure) = look {
        let words = words(failure, needs);
        places.iter().for_each(|place| unknown.because(*place, &words));
    }
    look.seen()
}

/// What a look failed with, and what it would have needed where it was denied.
fn words(failure: &Failure, needs: &str) -> String {
    match failure.kind {
        FailureKind::Denied if !needs.is_empty() => format!("{failure}; needs {needs}"),
        _ => failure.to_string(),
    }
}

/// As [`take`], of what may not have been asked for.
fn ask<'a, T>(look: &'a Option<Look<T>>, places: &[&str], needs: &str, unknown: &mut Unknown) -> Option<&'a T> {
    take(look.as_ref()?, places, needs, unknown)
}

fn has_shell(shell: &str) -> bool {
    !(shell.ends_with("/nologin") || shell.ends_with("/false"))
}

/// What it takes to see which program of another user holds a socket.
const HOLDERS: &str = "no program is to be seen that holds it; needs root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";

fn socket_facts(socket: &Socket, observation: &Observation, unknown: &mut Unknown) -> (String, SocketFacts) {
    let name = format!("{}/{}@{}", socket.protocol, socket.port, socket.address);
    let port = format!("{}/{}", socket.protocol, socket.port);
    if socket.program.is_none() {
        unknown.because(format!("/sockets/{}/program", segment(&name)), HOLDERS);
    }
    let facts = SocketFacts {
        scope: Scope::of(&socket.address),
        allowed: observation.allowed_ports.contains(&port),
        program: socket.program.clone(),
        expected_program: observation.expected_programs.get(&port).cloned(),
    };
    (name, facts)
}

fn sysctls(seen: &BTreeMap<String, Look<String>>, unknown: &mut Unknown) -> SysctlFacts {
    let mut read = |name: &str| {
        let place = format!("/sysctls/{}", name.replace('.', "_"));
        match seen.get(name) {
            Some(Look::Seen(text)) => match text.trim().parse() {
                Ok(value) => Some(value),
                Err(_) => {
                    unknown.because(place, format!("{name} is {text:?}, not a number"));
                    None
                }
            },
            Some(Look::Failed(failure)) => {
                unknown.because(place, failure);
                None
            }
            None => {
                unknown.because(place, "it was not read");
                None
            }
        }
    };
    SysctlFacts {
        kernel_randomize_va_space: read("kernel.randomize_va_space"),
        kernel_kptr_restrict: read("kernel.kptr_restrict"),
        fs_protected_symlinks: read("fs.protected_symlinks"),
        fs_protected_hardlinks: read("fs.protected_hardlinks"),
        fs_suid_dumpable: read("fs.suid_dumpable"),
        net_ipv4_conf_all_accept_redirects: read("net.ipv4.conf.all.accept_redirects"),
        kernel_dmesg_restrict: read("kernel.dmesg_restrict"),
        kernel_yama_ptrace_scope: read("kernel.yama.ptrace_scope"),
        kernel_sysrq: read("kernel.sysrq"),
        kernel_unprivileged_bpf_disabled: read("kernel.unprivileged_bpf_disabled"),
        kernel_perf_event_paranoid: read("kernel.perf_event_paranoid"),
        kernel_modules_disabled: read("kernel.modules_disabled"),
        kernel_kexec_load_disabled: read("kernel.kexec_load_disabled"),
        fs_protected_fifos: read("fs.protected_fifos"),
        fs_protected_regular: read("fs.protected_regular"),
        net_core_bpf_jit_harden: read("net.core.bpf_jit_harden"),
        net_ipv4_ip_forward: read("net.ipv4.ip_forward"),
        net_ipv4_tcp_syncookies: read("net.ipv4.tcp_syncookies"),
        net_ipv4_icmp_echo_ignore_broadcasts: read("net.ipv4.icmp_echo_ignore_broadcasts"),
        net_ipv4_conf_all_accept_source_route: read("net.ipv4.conf.all.accept_source_route"),
        net_ipv4_conf_all_rp_filter: read("net.ipv4.conf.all.rp_filter"),
        net_ipv4_conf_default_rp_filter: read("net.ipv4.conf.default.rp_filter"),
        net_ipv4_conf_all_send_redirects: read("net.ipv4.conf.all.send_redirects"),
        net_ipv4_conf_all_log_martians: read("net.ipv4.conf.all.log_martians"),
        net_ipv4_conf_default_accept_redirects: read("net.ipv4.conf.default.accept_redirects"),
        net_ipv4_conf_default_accept_source_route: read("net.ipv4.conf.default.accept_source_route"),
        net_ipv6_conf_all_accept_redirects: read("net.ipv6.conf.all.accept_redirects"),
        net_ipv6_conf_default_accept_redirects: read("net.ipv6.conf.default.accept_redirects"),
        net_ipv6_conf_all_accept_source_route: read("net.ipv6.conf.all.accept_source_route"),
        net_ipv6_conf_all_forwarding: read("net.ipv6.conf.all.forwarding"),
    }
}
