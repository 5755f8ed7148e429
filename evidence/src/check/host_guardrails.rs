//! `host_guardrails`: the operating system the agent stands on, read from files and `/proc`, never changed.
//!
//! The first set: SSH, listening sockets against an allow-list, accounts, kernel settings, release, pending reboot, and
//! storage. Whatever needs a privilege the agent lacks is a failed look with its reason.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::broker_transport_posture::Scope;
use super::{Contract, Seen, Unknown};
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

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    /// Where it is mounted.
    pub mount: String,
    /// Its type, such as `ext4`.
    pub kind: String,
    /// Bytes in all.
    pub total: u64,
    /// Bytes that are free, those reserved for root included.
    pub free: u64,
    /// Bytes that unprivileged programs may still use.
    pub available: u64,
    /// It is mounted read-only.
    pub read_only: bool,
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
}

/// The kernel settings that are read.
pub const SYSCTLS: &[&str] = &[
    "kernel.randomize_va_space",
    "kernel.kptr_restrict",
    "fs.protected_symlinks",
    "fs.protected_hardlinks",
    "fs.suid_dumpable",
    "net.ipv4.conf.all.accept_redirects",
];

/// Facts about a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageFacts {
    /// Its type.
    pub kind: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// Whole percent in use of what unprivileged programs may use, as df(1) counts.
    pub used_percent: u64,
}

impl Contract for Check {
    const CHECK: &'static str = "host_guardrails";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &["/storage/*/used_percent"];

    fn normalise(observation: &Observation, _: &Seen, unknown: &mut Unknown) -> Facts {
        let release = |key: &str| observation.os_release.seen().and_then(|release| release.get(key).cloned());
        if let Look::Failed(failure) = &observation.os_release {
            unknown.because("/os_id", failure);
            unknown.because("/os_version", failure);
        }
        let ssh = ssh(&observation.sshd, unknown);
        let accounts = take(&observation.accounts, &["/root_twins", "/default_pi_account"], unknown);
        Facts {
            os_id: release("ID"),
            os_version: release("VERSION_ID"),
            kernel: observation.kernel.clone(),
            ssh_server: ssh.server,
            ssh_root_login: ssh.root_login,
            ssh_password_authentication: ssh.password_authentication,
            ssh_empty_passwords: ssh.empty_passwords,
            sockets: take(&observation.sockets, &["/sockets"], unknown)
                .map(|sockets| sockets.iter().map(|socket| socket_facts(socket, &observation.allowed_ports)).collect()),
            root_twins: accounts.map(|accounts| {
                accounts.iter().filter(|a| a.uid == 0 && a.name != "root").map(|a| a.name.clone()).collect()
            }),
            empty_passwords: take(&observation.empty_passwords, &["/empty_passwords"], unknown).cloned(),
            default_pi_account: accounts
                .map(|accounts| accounts.iter().any(|account| account.name == "pi" && has_shell(&account.shell))),
            sysctls: sysctls(&observation.sysctls, unknown),
            reboot_required: take(&observation.reboot_required, &["/reboot_required"], unknown).copied(),
            storage: take(&observation.storage, &["/storage"], unknown)
                .map(|storage| storage.iter().map(storage_facts).collect()),
        }
    }
}

fn take<'a, T>(look: &'a Look<T>, places: &[&str], unknown: &mut Unknown) -> Option<&'a T> {
    if let Look::Failed(failure) = look {
        for place in places {
            unknown.because(*place, failure);
        }
    }
    look.seen()
}

fn has_shell(shell: &str) -> bool {
    !(shell.ends_with("/nologin") || shell.ends_with("/false"))
}

fn socket_facts(socket: &Socket, allowed: &[String]) -> (String, SocketFacts) {
    let name = format!("{}/{}@{}", socket.protocol, socket.port, socket.address);
    let facts = SocketFacts {
        scope: Scope::of(&socket.address),
        allowed: allowed.contains(&format!("{}/{}", socket.protocol, socket.port)),
        program: socket.program.clone(),
    };
    (name, facts)
}

fn storage_facts(storage: &FileSystem) -> (String, StorageFacts) {
    let used = u128::from(storage.total.saturating_sub(storage.free));
    let usable = used + u128::from(storage.available);
    let used_percent = (used * 100).div_ceil(usable.max(1));
    let facts = StorageFacts {
        kind: storage.kind.clone(),
        read_only: storage.read_only,
        used_percent: u64::try_from(used_percent).unwrap_or(100),
    };
    (storage.mount.clone(), facts)
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
    }
}

#[derive(Default)]
struct Ssh {
    server: Option<bool>,
    root_login: Option<String>,
    password_authentication: Option<bool>,
    empty_passwords: Option<bool>,
}

/// sshd takes the first value it meets (sshd_config(5)). A `Match` block that sets the same keyword makes the effective
/// value depend on who connects: the most permissive one is the fact.
fn ssh(sshd: &Look<Vec<SshDirective>>, unknown: &mut Unknown) -> Ssh {
    let directives = match sshd {
        Look::Seen(directives) => directives,
        Look::Failed(Failure { kind: FailureKind::NotFound, .. }) => {
            unknown.because("/ssh_root_login", "there is no SSH server");
            unknown.because("/ssh_password_authentication", "there is no SSH server");
            unknown.because("/ssh_empty_passwords", "there is no SSH server");
            return Ssh { server: Some(false), ..Ssh::default() };
        }
        Look::Failed(failure) => {
            for fact in ["/ssh_server", "/ssh_root_login", "/ssh_password_authentication", "/ssh_empty_passwords"] {
                unknown.because(fact, failure);
            }
            return Ssh::default();
        }
    };
    let values = |keyword: &str, default: &str| {
        let mut global = None;
        let mut matched = Vec::new();
        for directive in directives.iter().filter(|directive| directive.keyword == keyword) {
            let value = directive.value.to_ascii_lowercase();
            match directive.within_match {
                Some(_) => matched.push(value),
                None => global = global.or(Some(value)),
            }
        }
        let mut values = vec![global.unwrap_or_else(|| default.to_owned())];
        values.extend(matched);
        values
    };
    let yes = |keyword: &str, default: &str| values(keyword, default).iter().any(|value| value == "yes");
    let root = values("permitrootlogin", "prohibit-password");
    let permissive = ["yes", "prohibit-password", "without-password", "forced-commands-only"];
    let root = permissive.into_iter().find(|value| root.iter().any(|one| one == value)).unwrap_or("no");
    Ssh {
        server: Some(true),
        root_login: Some(if root == "without-password" { "prohibit-password" } else { root }.to_owned()),
        password_authentication: Some(yes("passwordauthentication", "yes")),
        empty_passwords: Some(yes("permitemptypasswords", "no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directive(keyword: &str, value: &str, within_match: Option<&str>) -> SshDirective {
        SshDirective {
            file: "/etc/ssh/sshd_config".into(),
            line: 1,
            keyword: keyword.into(),
            value: value.into(),
            within_match: within_match.map(str::to_owned),
        }
    }

    #[test]
    fn sshd_takes_the_first_value_and_a_match_block_the_most_permissive() {
        let ssh = |directives: Vec<SshDirective>| ssh(&Look::Seen(directives), &mut Unknown::default());
        let defaults = ssh(vec![]);
        assert_eq!(defaults.root_login.as_deref(), Some("prohibit-password"));
        assert_eq!((defaults.password_authentication, defaults.empty_passwords), (Some(true), Some(false)));
        let first = ssh(vec![
            directive("passwordauthentication", "no", None),
            directive("passwordauthentication", "yes", None),
        ]);
        assert_eq!(first.password_authentication, Some(false));
        let matched = ssh(vec![
            directive("permitrootlogin", "no", None),
            directive("permitrootlogin", "yes", Some("Address 10.0.0.0/8")),
        ]);
        assert_eq!(matched.root_login.as_deref(), Some("yes"));
    }

    #[test]
    fn no_ssh_server_is_a_fact_and_a_file_out_of_sight_is_not() {
        let mut unknown = Unknown::default();
        let none = Look::Failed(Failure::new(FailureKind::NotFound, "no file"));
        assert_eq!(ssh(&none, &mut unknown).server, Some(false));
        let denied = Look::Failed(Failure::new(FailureKind::Denied, "no"));
        assert_eq!(ssh(&denied, &mut unknown).server, None);
        assert_eq!(unknown.reason("/ssh_server"), Some("denied: no"));
    }

    #[test]
    fn storage_is_in_percent_and_never_divides_by_zero() {
        let storage = |total, free, available| {
            let (mount, kind) = ("/".into(), "ext4".into());
            storage_facts(&FileSystem { mount, kind, total, free, available, read_only: false }).1.used_percent
        };
        assert_eq!(storage(200, 50, 50), 75);
        assert_eq!(storage(200, 150, 50), 50, "what is reserved for root counts neither way");
        assert_eq!(storage(0, 0, 0), 0);
        assert_eq!(storage(u64::MAX, 0, 0), 100);
    }
}
