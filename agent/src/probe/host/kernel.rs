//! How the kernel was started, what is loaded into it, what its processor suffers from, and where core dumps go.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gatepost_evidence::check::host_guardrails::kernel::{Kernel, MODULES, RedirectSettings, Redirects};
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::{if_there, shorten, snippets, systemd_options};

/// The most words of the command line that are recorded.
const MAX_PARAMETERS: usize = 200;
/// `IFF_PROMISC` (netdevice(7)).
const PROMISCUOUS: u32 = 0x100;
/// `IFF_LOOPBACK`.
const LOOPBACK: u32 = 0x8;

/// What is to be seen of the kernel.
#[must_use]
pub fn kernel(root: &Root) -> Kernel {
    Kernel {
        modules: modules(root).into(),
        blocked_modules: blocked(root).into(),
        parameters: parameters(root).into(),
        vulnerabilities: vulnerabilities(root).into(),
        lockdown: lockdown(root).into(),
        installed: root
            .list(Path::new("/lib/modules"))
            .map(|names| names.iter().map(|name| shorten(name)).collect())
            .into(),
        core_pattern: root.word(Path::new("/proc/sys/kernel/core_pattern")).into(),
        core_limits: core_limits(root).into(),
        core_storage: systemd_options(root, "coredump.conf").map(|options| options.get("Storage").cloned()).into(),
        promiscuous: promiscuous(root).into(),
        redirects: redirects(root).into(),
    }
}

/// Loaded modules of those that are told. A kernel that takes no modules has no table.
fn modules(root: &Root) -> Result<Vec<String>, Failure> {
    let Some(text) = if_there(root.read_text(Path::new("/proc/modules")))? else {
        // A kernel that takes no modules; without any /proc nothing is known.
        if root.exists(Path::new("/proc/sys/kernel/osrelease"))? {
            return Ok(Vec::new());
        }
        return Err(Failure::new(FailureKind::NotFound, "/proc/modules: there is no /proc"));
    };
    let names: BTreeSet<_> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    Ok(MODULES.iter().filter(|name| names.contains(**name)).map(|name| (*name).to_owned()).collect())
}

/// modprobe.d(5): `blacklist x`, or `install x` with a program that does nothing.
fn blocked(root: &Root) -> Result<Vec<String>, Failure> {
    let mut found = BTreeSet::new();
    for folder in ["/usr/lib/modprobe.d", "/lib/modprobe.d", "/etc/modprobe.d", "/run/modprobe.d"] {
        for path in snippets(root, Path::new(folder), ".conf")? {
            for line in root.read_text(&path)?.lines() {
                let words: Vec<_> = line.split_whitespace().collect();
                let name = match words[..] {
                    ["blacklist", name] => name,
                    ["install", name, "/bin/true" | "/bin/false" | "/usr/bin/true" | "/usr/bin/false", ..] => name,
                    _ => continue,
                };
                let name = name.replace('-', "_");
                if MODULES.contains(&name.as_str()) {
                    found.insert(name);
                }
            }
        }
    }
    Ok(found.into_iter().collect())
}

/// The command line's words. The value of one whose name speaks of a secret stays here.
fn parameters(root: &Root) -> Result<Vec<String>, Failure> {
    let text = root.read_text(Path::new("/proc/cmdline"))?;
    let word = |word: &str| match word.split_once('=') {
        Some((name, _)) if speaks_of_a_secret(name) => format!("{}=(redacted)", shorten(name)),
        _ => shorten(word),
    };
    Ok(text.split_whitespace().take(MAX_PARAMETERS).map(word).collect())
}

/// Whether what a name stands for is not for others.
pub(crate) fn speaks_of_a_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "secret", "token", "key", "psk", "credential"].iter().any(|word| name.contains(word))
}

fn vulnerabilities(root: &Root) -> Result<BTreeMap<String, String>, Failure> {
    let folder = Path::new("/sys/devices/system/cpu/vulnerabilities");
    let mut found = BTreeMap::new();
    for name in root.list(folder)? {
        found.insert(shorten(&name), root.word(&folder.join(&name))?);
    }
    Ok(found)
}

/// `none [integrity] confidentiality`: the one in brackets; `absent` where the kernel has none to be switched on.
fn lockdown(root: &Root) -> Result<String, Failure> {
    let path = Path::new("/sys/kernel/security/lockdown");
    let text = match root.word(path) {
        // Without anything beside it the file system is not mounted, and nothing is known.
        Err(Failure { kind: FailureKind::NotFound, .. }) if beside(root, path) => return Ok("absent".into()),
        text => text?,
    };
    let word = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
    word.map(str::to_owned).ok_or_else(|| {
        Failure::new(FailureKind::Unparseable, format_args!("{}: no word is in brackets", path.display()))
    })
}

fn beside(root: &Root, path: &Path) -> bool {
    path.parent().is_some_and(|folder| root.list(folder).is_ok_and(|names| !names.is_empty()))
}

/// Lines of limits.conf(5) about core dumps, and the default limit of systemd's services.
fn core_limits(root: &Root) -> Result<Vec<String>, Failure> {
    let mut files = vec![Path::new("/etc/security/limits.conf").to_owned()];
    files.extend(snippets(root, Path::new("/etc/security/limits.d"), ".conf")?);
    let mut found = Vec::new();
    for path in files {
        let Some(text) = if_there(root.read_text(&path))? else { continue };
        for line in text.lines() {
            let words: Vec<_> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            if let [who, kind, "core", limit] = words[..] {
                found.push(shorten(&format!("{who} {kind} core {limit}")));
            }
            if found.len() > 100 {
                return Err(Failure::new(FailureKind::TooLarge, format_args!("{}: too many limits", path.display())));
            }
        }
    }
    Ok(found)
}

/// Network interfaces with their flags (netdevice(7)).
fn interfaces(root: &Root) -> Result<Vec<(String, u32)>, Failure> {
    let folder = Path::new("/sys/class/net");
    let mut found = Vec::new();
    for name in root.list(folder)? {
        // It went away meanwhile, or is no interface.
        let Some(flags) = if_there(root.word(&folder.join(&name).join("flags")))? else { continue };
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16)
            .map_err(|_| Failure::new(FailureKind::Unparseable, format_args!("flags of {name} are no number")))?;
        found.push((name, flags));
    }
    Ok(found)
}

fn promiscuous(root: &Root) -> Result<Vec<String>, Failure> {
    let all = interfaces(root)?.into_iter().filter(|(_, flags)| flags & PROMISCUOUS != 0);
    Ok(all.map(|(name, _)| shorten(&name)).collect())
}

/// Nothing reaches the loopback by a redirect. Interfaces to come are called `default`, as the kernel does.
fn redirects(root: &Root) -> Result<BTreeMap<String, Redirects>, Failure> {
    let own = interfaces(root)?.into_iter().filter(|(_, flags)| flags & LOOPBACK == 0).map(|(name, _)| name);
    let of = |name: String| {
        let settings = |protocol| redirect_settings(root, protocol, &name);
        Ok((shorten(&name), Redirects { ipv4: settings("ipv4")?, ipv6: settings("ipv6")? }))
    };
    own.chain(["default".to_owned()]).map(of).collect()
}

/// Without IPv6, where it is switched off, and on an interface that is none of IP's there are none.
fn redirect_settings(root: &Root, protocol: &str, interface: &str) -> Result<Option<RedirectSettings>, Failure> {
    let folder = Path::new("/proc/sys/net").join(protocol).join("conf");
    if !root.exists(&folder)? {
        return if protocol == "ipv6" { Ok(None) } else { Err(absent(&folder)) };
    }
    let read =
        |name: &str| if_there(root.word(&folder.join(interface).join(name))).map(|word| word.map(|word| word != "0"));
    if read("disable_ipv6")? == Some(true) {
        return Ok(None);
    }
    let (accepts, forwards) = (read("accept_redirects")?, read("forwarding")?);
    Ok(accepts.zip(forwards).map(|(accepts, forwards)| RedirectSettings { accepts, forwards }))
}

fn absent(path: &Path) -> Failure {
    Failure::new(FailureKind::NotFound, format_args!("{}: No such file or directory", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn a_kernel_without_lockdown_is_told_from_one_that_hides_it() {
        let of = |files: &[(&str, &str)]| lockdown(&Root::new(snapshot(files).path()));
        assert_eq!(of(&[("sys/kernel/security/lsm", "capability,yama")]).unwrap(), "absent");
        assert_eq!(of(&[("sys/kernel/notes", "")]).unwrap_err().kind, FailureKind::NotFound);
        assert_eq!(of(&[("sys/kernel/security/lockdown", "none")]).unwrap_err().kind, FailureKind::Unparseable);
    }

    #[test]
    fn modules_parameters_and_limits_are_read() {
        let folder = snapshot(&[
            ("proc/modules", "sctp 1 0 - Live 0x0\next4 1 0 - Live 0x0\n"),
            ("proc/cmdline", "quiet wifi.psk=hunter2 mitigations=off\n"),
            ("etc/modprobe.d/no-usb.conf", "install usb-storage /bin/true\nblacklist hfs\n# blacklist udf\n"),
            ("etc/security/limits.conf", "* hard core 0 # none\n* soft nofile 1\n"),
            ("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
            ("sys/class/net/eth0/flags", "0x1103\n"),
            ("sys/class/net/eth1/flags", "0x1003\n"),
            ("sys/class/net/lo/flags", "0x9\n"),
            ("proc/sys/net/ipv4/conf/eth0/accept_redirects", "1\n"),
            ("proc/sys/net/ipv4/conf/eth0/forwarding", "0\n"),
            ("proc/sys/net/ipv4/conf/lo/accept_redirects", "1\n"),
            ("proc/sys/net/ipv6/conf/eth0/accept_redirects", "1\n"),
            ("proc/sys/net/ipv6/conf/eth0/forwarding", "0\n"),
            ("proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1\n"),
            ("etc/systemd/coredump.conf", "[Coredump]\n#Storage=external\nStorage=none\n"),
            ("etc/systemd/coredump.conf.d/a.conf", "[Coredump]\nStorage=journal\n"),
        ]);
        let kernel = kernel(&Root::new(folder.path()));
        assert_eq!(kernel.modules.seen().unwrap(), &["sctp"]);
        assert_eq!(kernel.parameters.seen().unwrap(), &["quiet", "wifi.psk=(redacted)", "mitigations=off"]);
        assert_eq!(kernel.blocked_modules.seen().unwrap(), &["hfs", "usb_storage"]);
        assert_eq!(kernel.core_limits.seen().unwrap(), &["* hard core 0"]);
        assert_eq!(kernel.lockdown.seen().unwrap(), "integrity");
        assert_eq!(kernel.promiscuous.seen().unwrap(), &["eth0"]);
        let eth0 = Redirects { ipv4: Some(RedirectSettings { accepts: true, forwards: false }), ipv6: None };
        let none = Redirects::default();
        let redirects =
            BTreeMap::from([("eth0".into(), eth0), ("eth1".into(), none.clone()), ("default".into(), none)]);
        assert_eq!(kernel.redirects.seen().unwrap(), &redirects);
        assert_eq!(kernel.core_storage.seen().unwrap().as_deref(), Some("journal"), "a drop-in comes last");
    }
}
