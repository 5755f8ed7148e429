//! SSH: what the server's configuration comes to, for whom, as OpenSSH itself resolves it (sshd_config(5)).
//!
//! The first value that is met counts, one in a `Match` block that fits counts before one outside, and a `Match` that only
//! fits some connections leaves several values possible: the facts tell the most permissive. Nothing here reads a file;
//! what OpenSSH does was taken from its manual and is held against `sshd -T` in tests.

mod effective;

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::effective::{Connection, Effective};
use self::effective::{is_yes, lists};
use super::{SshDirective, ask};
use crate::check::Unknown;
use crate::look::{Failure, FailureKind, Look};

/// A host key's public half.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostKey {
    /// The file.
    pub file: String,
    /// Its type, such as `ssh-ed25519`.
    pub kind: String,
    /// Length of the modulus, for RSA.
    pub bits: Option<u64>,
}

/// Facts about the SSH server beyond the first three. Where a `Match` block makes a value depend on who connects, the most
/// permissive one is the fact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SshFacts {
    /// `KbdInteractiveAuthentication`: passwords by way of PAM.
    pub keyboard_interactive: bool,
    /// `HostbasedAuthentication`: trust in other machines' word.
    pub host_based: bool,
    /// `IgnoreRhosts` is not `yes`.
    pub rhosts_honoured: bool,
    /// `StrictModes`: whose files others may write is refused.
    pub strict_modes: bool,
    /// `PermitUserEnvironment` is not `no`.
    pub user_environment: bool,
    /// `MaxAuthTries`.
    pub max_auth_tries: u64,
    /// `MaxSessions`.
    pub max_sessions: u64,
    /// `LoginGraceTime` in seconds; 0 is for ever.
    pub login_grace_seconds: u64,
    /// `ClientAliveInterval` in seconds; 0 is never.
    pub client_alive_seconds: u64,
    /// `AllowTcpForwarding`, unless `DisableForwarding` is set: `yes`, `local`, `remote` or `no`.
    pub tcp_forwarding: String,
    /// `AllowAgentForwarding`, unless `DisableForwarding` is set.
    pub agent_forwarding: bool,
    /// `X11Forwarding`, unless `DisableForwarding` is set.
    pub x11_forwarding: bool,
    /// `GatewayPorts` is not `no`: forwarded ports are open to the network.
    pub gateway_ports: bool,
    /// `PermitTunnel` is not `no`.
    pub tunnel: bool,
    /// `LogLevel` in capital letters.
    pub log_level: String,
    /// `AllowUsers` or `AllowGroups` names who may log in.
    pub logins_restricted: bool,
    /// `Port` and the ports of `ListenAddress`.
    pub ports: Vec<u64>,
    /// Ciphers in use that are broken or have no integrity: CBC, RC4, 3DES.
    pub weak_ciphers: Vec<String>,
    /// MACs in use that are broken or short: MD5, 96 bits, none.
    pub weak_macs: Vec<String>,
    /// Key exchanges in use with SHA-1 or groups below 2048 bits.
    pub weak_key_exchanges: Vec<String>,
    /// Signature algorithms for host or user keys with SHA-1 or DSA; absent when the version's own list is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weak_signatures: Option<Vec<String>>,
    /// Files of host keys that are too weak: DSA, or RSA below 2048 bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weak_host_keys: Option<Vec<String>>,
}

/// The fact `ssh_root_login`: the most that root may do.
fn root_login(directives: &[SshDirective]) -> String {
    let root = Effective::new(directives, Connection { user: Some("root"), ..Connection::default() });
    let values = root.values("permitrootlogin", "", "prohibit-password");
    let permissive = ["yes", "prohibit-password", "without-password", "forced-commands-only"];
    let most = permissive.into_iter().find(|value| values.iter().any(|one| one == value)).unwrap_or("no");
    if most == "without-password" { "prohibit-password".into() } else { most.to_owned() }
}

fn weak_cipher(name: &str) -> bool {
    name.ends_with("-cbc") || name.ends_with("-cbc@lysator.liu.se") || name.starts_with("arcfour") || name == "none"
}

fn weak_mac(name: &str) -> bool {
    name.contains("md5") || name.contains("-96") || name.contains("ripemd") || name == "none"
}

fn weak_key_exchange(name: &str) -> bool {
    name.ends_with("-sha1") || name.starts_with("diffie-hellman-group1-") || name.starts_with("rsa1024")
}

fn weak_signature(name: &str) -> bool {
    let name = name.strip_suffix("-cert-v01@openssh.com").unwrap_or(name);
    matches!(name, "ssh-rsa" | "ssh-dss")
}

/// The names in use that `weak` is true of. A list replaces the version's own, or adds to it with `+` or `^`; what `-`
/// leaves of the version's own is `own`, of which nothing is weak when it is empty.
fn weak_names(
    effective: &Effective<'_>,
    keyword: &str,
    alias: &str,
    own: &[&str],
    weak: fn(&str) -> bool,
) -> Vec<String> {
    let mut found = BTreeSet::new();
    for value in effective.values(keyword, alias, "") {
        let (named, with_own, without) = match value.chars().next() {
            Some('+' | '^') => (&value[1..], true, ""),
            Some('-') => ("", true, &value[1..]),
            None => ("", true, ""),
            Some(_) => (value.as_str(), false, ""),
        };
        let names = named.split(',').map(str::trim);
        found.extend(names.filter(|name| !name.is_empty() && weak(name)).map(str::to_owned));
        if with_own {
            let kept = own.iter().filter(|name| weak(name) && !lists(without, name));
            found.extend(kept.map(|name| (*name).to_owned()));
        }
    }
    found.into_iter().collect()
}

/// `1:9.2p1-2+deb12u3` is 9.2.
pub(super) fn version(package: &str) -> Option<(u32, u32)> {
    let upstream = package.split_once(':').map_or(package, |(_, rest)| rest);
    let (major, rest) = upstream.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn weak_signatures(effective: &Effective<'_>, openssh: Option<&str>) -> Option<Vec<String>> {
    // OpenSSH 8.8 took SHA-1 signatures of RSA keys out of its own lists.
    let own: &[&str] = match version(openssh?)? {
        (major, minor) if (major, minor) >= (8, 8) => &[],
        _ => &["ssh-rsa", "ssh-rsa-cert-v01@openssh.com"],
    };
    let mut found = BTreeSet::new();
    for (keyword, alias) in [
        ("hostkeyalgorithms", ""),
        ("pubkeyacceptedalgorithms", "pubkeyacceptedkeytypes"),
        ("casignaturealgorithms", ""),
    ] {
        // Certificates were never signed with SHA-1 by default since 8.2.
        let own = if keyword == "casignaturealgorithms" { &[] } else { own };
        found.extend(weak_names(effective, keyword, alias, own, weak_signature));
    }
    Some(found.into_iter().collect())
}

/// What follows from the configuration and what lies beside it.
#[must_use]
pub fn facts(directives: &[SshDirective], openssh: Option<&str>, host_keys: Option<&[HostKey]>) -> SshFacts {
    let anyone = Effective::new(directives, Connection::default());
    let forwarding = !anyone.values("disableforwarding", "", "no").iter().all(|value| is_yes(value));
    let tcp = anyone.values("allowtcpforwarding", "", "yes");
    let tcp = ["yes", "all", "remote", "local"].into_iter().find(|value| tcp.iter().any(|one| one == value));
    let outside = |keyword: &'static str| {
        directives.iter().filter(move |one| one.keyword == keyword && one.within_match.is_none())
    };
    let mut ports: BTreeSet<u64> =
        outside("port").filter_map(|port| port.value.parse::<u16>().ok()).map(u64::from).collect();
    ports.extend(outside("listenaddress").filter_map(|one| {
        let address = one.value.split(' ').next()?;
        let with_port = address.matches(':').count() == 1 || address.contains("]:");
        address.rsplit_once(':').filter(|_| with_port)?.1.parse::<u16>().ok().map(u64::from)
    }));
    if ports.is_empty() {
        ports.insert(22);
    }
    let quiet = ["QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3"];
    let levels = anyone.values("loglevel", "", "info");
    let level = quiet.into_iter().find(|level| levels.iter().any(|one| one.eq_ignore_ascii_case(level)));
    SshFacts {
        keyboard_interactive: anyone.yes("kbdinteractiveauthentication", "challengeresponseauthentication", "yes"),
        host_based: anyone.yes("hostbasedauthentication", "", "no"),
        rhosts_honoured: anyone.values("ignorerhosts", "", "yes").iter().any(|value| !is_yes(value)),
        strict_modes: anyone.values("strictmodes", "", "yes").iter().all(|value| is_yes(value)),
        user_environment: anyone.not_no("permituserenvironment", "no"),
        max_auth_tries: anyone.largest("maxauthtries", "6"),
        max_sessions: anyone.largest("maxsessions", "10"),
        login_grace_seconds: anyone.laxest("logingracetime", "120"),
        client_alive_seconds: anyone.laxest("clientaliveinterval", "0"),
        tcp_forwarding: match tcp.filter(|_| forwarding) {
            Some("all") => "yes".into(),
            Some(value) => value.to_owned(),
            None => "no".into(),
        },
        agent_forwarding: forwarding && anyone.yes("allowagentforwarding", "", "yes"),
        x11_forwarding: forwarding && anyone.yes("x11forwarding", "", "no"),
        gateway_ports: anyone.not_no("gatewayports", "no"),
        tunnel: anyone.not_no("permittunnel", "no"),
        log_level: level.unwrap_or("INFO").into(),
        logins_restricted: directives
            .iter()
            .any(|one| matches!(one.keyword.as_str(), "allowusers" | "allowgroups") && one.within_match.is_none()),
        ports: ports.into_iter().collect(),
        weak_ciphers: weak_names(&anyone, "ciphers", "", &[], weak_cipher),
        weak_macs: weak_names(&anyone, "macs", "", &[], weak_mac),
        weak_key_exchanges: weak_names(&anyone, "kexalgorithms", "", &[], weak_key_exchange),
        weak_signatures: weak_signatures(&anyone, openssh),
        weak_host_keys: host_keys.map(|keys| {
            let weak = |key: &&HostKey| key.kind == "ssh-dss" || key.bits.is_some_and(|bits| bits < 2048);
            keys.iter().filter(weak).map(|key| key.file.clone()).collect()
        }),
    }
}

/// The facts of the first days, which stand beside [`SshFacts`].
#[derive(Default)]
pub(super) struct First {
    pub(super) server: Option<bool>,
    pub(super) root_login: Option<String>,
    pub(super) password_authentication: Option<bool>,
    pub(super) empty_passwords: Option<bool>,
}

pub(super) fn first(sshd: &Look<Vec<SshDirective>>, unknown: &mut Unknown) -> First {
    let directives = match sshd {
        Look::Seen(directives) => directives,
        Look::Failed(Failure { kind: FailureKind::NotFound, .. }) => {
            for fact in ["/ssh_root_login", "/ssh_password_authentication", "/ssh_empty_passwords", "/ssh"] {
                unknown.because(fact, "there is no SSH server");
            }
            return First { server: Some(false), ..First::default() };
        }
        Look::Failed(failure) => {
            for fact in
                ["/ssh_server", "/ssh_root_login", "/ssh_password_authentication", "/ssh_empty_passwords", "/ssh"]
            {
                unknown.because(fact, super::words(failure, "root, or read access to /etc/ssh and what it includes"));
            }
            return First::default();
        }
    };
    let anyone = Effective::new(directives, Connection::default());
    First {
        server: Some(true),
        root_login: Some(root_login(directives)),
        password_authentication: Some(anyone.yes("passwordauthentication", "", "yes")),
        empty_passwords: Some(anyone.yes("permitemptypasswords", "", "no")),
    }
}

/// What an observation of today tells of SSH; `asked` is false for one of the first days.
pub(super) fn more(
    sshd: &Look<Vec<SshDirective>>,
    openssh: &Option<Look<String>>,
    host_keys: &Option<Look<Vec<HostKey>>>,
    unknown: &mut Unknown,
) -> Option<SshFacts> {
    let directives = sshd.seen()?;
    let openssh = ask(openssh, &["/ssh/weak_signatures"], "", unknown);
    if let Some(openssh) = openssh.filter(|openssh| version(openssh).is_none()) {
        unknown.because("/ssh/weak_signatures", format!("{openssh:?} is no version of OpenSSH that is known"));
    }
    let host_keys = ask(host_keys, &["/ssh/weak_host_keys"], "", unknown);
    Some(facts(directives, openssh.map(String::as_str), host_keys.map(Vec::as_slice)))
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
        let ssh = |directives: Vec<_>| first(&Look::Seen(directives), &mut Unknown::default());
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
        let others = ssh(vec![
            directive("permitrootlogin", "no", None),
            directive("permitrootlogin", "yes", Some("User pi,!root")),
        ]);
        assert_eq!(others.root_login.as_deref(), Some("no"), "the block is not about root");
        let all = ssh(vec![
            directive("passwordauthentication", "yes", None),
            directive("passwordauthentication", "no", Some("all")),
            directive("passwordauthentication", "yes", Some("User pi")),
        ]);
        assert_eq!(all.password_authentication, Some(false), "a block for all comes before what stands outside");
    }

    #[test]
    fn no_ssh_server_is_a_fact_and_a_file_out_of_sight_is_not() {
        let mut unknown = Unknown::default();
        let none = Look::Failed(Failure::new(FailureKind::NotFound, "no file"));
        assert_eq!(first(&none, &mut unknown).server, Some(false));
        let denied = Look::Failed(Failure::new(FailureKind::Denied, "no"));
        assert_eq!(first(&denied, &mut unknown).server, None);
        assert!(unknown.reason("/ssh_server").unwrap().starts_with("denied: no; needs root"));
    }

    #[test]
    fn weak_algorithms_are_told_however_they_came_into_the_list() {
        let weak = |value: &str| facts(&[directive("ciphers", value, None)], None, None).weak_ciphers;
        assert_eq!(weak("aes128-ctr,3des-cbc"), ["3des-cbc"]);
        assert_eq!(weak("+aes128-cbc"), ["aes128-cbc"]);
        assert!(weak("-aes128-cbc").is_empty() && weak("aes256-gcm@openssh.com").is_empty());
        let old = facts(&[], Some("1:8.4p1-5+deb11u3"), None).weak_signatures;
        assert_eq!(old, Some(vec!["ssh-rsa".into(), "ssh-rsa-cert-v01@openssh.com".into()]));
        let without =
            [directive("hostkeyalgorithms", "-ssh-rsa*", None), directive("pubkeyacceptedkeytypes", "-ssh-rsa*", None)];
        assert_eq!(facts(&without, Some("1:8.4p1-5"), None).weak_signatures, Some(vec![]));
        assert_eq!(facts(&[], Some("1:9.2p1-2+deb12u3"), None).weak_signatures, Some(vec![]));
        assert_eq!(facts(&[], None, None).weak_signatures, None);
    }
}
