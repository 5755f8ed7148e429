//! The kernel: its settings, how it was started, what is loaded into it, and what becomes of a program's memory when it dies.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::take;
use super::updates::compare_versions;
use crate::check::Unknown;
use crate::look::{Failure, FailureKind, Look};

/// What was seen of the kernel beyond its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// Loaded modules, of those that a gateway seldom needs.
    pub modules: Look<Vec<String>>,
    /// Modules that modprobe.d(5) keeps from being loaded.
    pub blocked_modules: Look<Vec<String>>,
    /// Words of the command line; values whose name speaks of a secret are left out.
    pub parameters: Look<Vec<String>>,
    /// By flaw of the processor: the kernel's word on it.
    pub vulnerabilities: Look<BTreeMap<String, String>>,
    /// The kernel's lockdown: `none`, `integrity` or `confidentiality`; `absent` where it was built without.
    pub lockdown: Look<String>,
    /// Releases that are installed.
    pub installed: Look<Vec<String>>,
    /// `kernel.core_pattern`.
    pub core_pattern: Look<String>,
    /// Lines of limits.conf(5) about `core`.
    pub core_limits: Look<Vec<String>>,
    /// `Storage=` of coredump.conf(5), where systemd takes the dumps.
    pub core_storage: Look<Option<String>>,
    /// Network interfaces that take every packet.
    pub promiscuous: Look<Vec<String>>,
    /// By network interface, without the loopback and with `default` for those to come: what it does with ICMP redirects.
    #[serde(default = "not_read")]
    pub redirects: Look<BTreeMap<String, Redirects>>,
}

/// Of evidence from before this was read.
fn not_read() -> Look<BTreeMap<String, Redirects>> {
    Look::Failed(Failure::new(FailureKind::NotFound, "the agent that looked did not read it yet"))
}

/// What an interface does with ICMP redirects; a protocol that it does not speak is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redirects {
    /// `net.ipv4.conf.<interface>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<RedirectSettings>,
    /// `net.ipv6.conf.<interface>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<RedirectSettings>,
}

/// The settings of one interface and one protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectSettings {
    /// `accept_redirects` is not 0.
    pub accepts: bool,
    /// `forwarding` is not 0.
    pub forwards: bool,
}

/// Facts about the kernel beyond its settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelFacts {
    /// Loaded modules that a gateway seldom needs: rare network protocols, rare file systems, FireWire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unwanted_modules: Option<Vec<String>>,
    /// USB storage: `loaded`, `blocked` or `available`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usb_storage: Option<String>,
    /// Boot parameters that switch protection off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weakening_parameters: Option<Vec<String>>,
    /// Flaws of the processor that the kernel knows and does nothing against.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unmitigated: Option<Vec<String>>,
    /// The kernel's lockdown: `none`, `integrity` or `confidentiality`; `absent` where it was built without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lockdown: Option<String>,
    /// The newest installed release of the running flavour, when it is not the running one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newer_installed: Option<String>,
    /// The running release is the newest one that is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_runs: Option<bool>,
    /// Where a dying program's memory goes: `nowhere`, `files`, or the name of the program that takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub core_dumps: Option<String>,
    /// Network interfaces that take every packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promiscuous: Option<Vec<String>>,
    /// Network interfaces on which an ICMP redirect changes the routes of IPv4; `default` is those to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirected_ipv4: Option<Vec<String>>,
    /// Network interfaces on which an ICMPv6 redirect changes the routes of IPv6; `default` is those to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirected_ipv6: Option<Vec<String>>,
}

/// Modules that are told when they are loaded. USB storage is told in any case.
pub const MODULES: &[&str] = &[
    "dccp",
    "sctp",
    "rds",
    "tipc",
    "n_hdlc",
    "ax25",
    "netrom",
    "x25",
    "rose",
    "decnet",
    "econet",
    "af_802154",
    "ipx",
    "appletalk",
    "psnap",
    "p8023",
    "p8022",
    "cramfs",
    "freevxfs",
    "jffs2",
    "hfs",
    "hfsplus",
    "udf",
    "firewire_core",
    "firewire_ohci",
    "firewire_sbp2",
    "usb_storage",
    "uas",
];

/// Parameters that switch protection off, whole words.
const WEAKENING: [&str; 16] = [
    "mitigations=off",
    "nokaslr",
    "nosmep",
    "nosmap",
    "nopti",
    "pti=off",
    "nospectre_v1",
    "nospectre_v2",
    "spectre_v2=off",
    "spec_store_bypass_disable=off",
    "selinux=0",
    "apparmor=0",
    "audit=0",
    "init=/bin/sh",
    "init=/bin/bash",
    "systemd.debug-shell=1",
];

/// Facts from what was `seen` under the `running` release, where `all_ipv4` is `net.ipv4.conf.all.accept_redirects`.
pub(super) fn facts(
    seen: &Option<Kernel>,
    running: Option<&str>,
    all_ipv4: Option<i64>,
    unknown: &mut Unknown,
) -> Option<KernelFacts> {
    let seen = seen.as_ref()?;
    let modules = take(&seen.modules, &["/kernel_state/unwanted_modules", "/kernel_state/usb_storage"], "", unknown);
    let blocked = take(&seen.blocked_modules, &["/kernel_state/usb_storage"], "", unknown);
    let parameters = take(&seen.parameters, &["/kernel_state/weakening_parameters"], "", unknown);
    let flaws = take(&seen.vulnerabilities, &["/kernel_state/unmitigated"], "", unknown);
    let lockdown = take(&seen.lockdown, &["/kernel_state/lockdown"], "", unknown);
    let installed = take(&seen.installed, &["/kernel_state/newest_runs"], "", unknown);
    let newest = match (installed, running) {
        (Some(installed), Some(running)) => {
            let newest = newest(installed, running);
            if newest.is_none() {
                unknown.because("/kernel_state/newest_runs", format!("no release like {running} is installed"));
            }
            newest.map(|newest| (newest, running))
        }
        (Some(_), None) => {
            unknown.because("/kernel_state/newest_runs", "the running release could not be read");
            None
        }
        _ => None,
    };
    let usb = |name: &String| name == "usb_storage" || name == "uas";
    Some(KernelFacts {
        unwanted_modules: modules.map(|modules| modules.iter().filter(|name| !usb(name)).cloned().collect()),
        usb_storage: modules.zip(blocked).map(|(modules, blocked)| {
            let word = if modules.iter().any(usb) {
                "loaded"
            } else if blocked.iter().any(|name| name == "usb_storage") {
                "blocked"
            } else {
                "available"
            };
            word.to_owned()
        }),
        weakening_parameters: parameters
            .map(|words| words.iter().filter(|word| WEAKENING.contains(&word.as_str())).cloned().collect()),
        unmitigated: flaws.map(|flaws| {
            let open = |word: &str| word.starts_with("Vulnerable") || word.starts_with("KVM: Vulnerable");
            flaws.iter().filter(|(_, word)| open(word)).map(|(flaw, _)| flaw.clone()).collect()
        }),
        lockdown: lockdown.cloned(),
        newest_runs: newest.as_ref().map(|(newest, running)| newest == running),
        newer_installed: newest.filter(|(newest, running)| newest != running).map(|(newest, _)| newest),
        core_dumps: core_dumps(seen, unknown),
        promiscuous: take(&seen.promiscuous, &["/kernel_state/promiscuous"], "", unknown).cloned(),
        redirected_ipv4: redirected_ipv4(seen, all_ipv4, unknown),
        redirected_ipv6: take(&seen.redirects, &["/kernel_state/redirected_ipv6"], "", unknown).map(|interfaces| {
            which(interfaces, |one| one.ipv6.as_ref().is_some_and(|six| six.accepts && !six.forwards))
        }),
    })
}

/// An interface that passes packets on follows a redirect when it and `all` say so; any other, when one of them does
/// (ip-sysctl.rst). IPv6 asks the interface alone, and follows none where it passes packets on.
fn redirected_ipv4(seen: &Kernel, all: Option<i64>, unknown: &mut Unknown) -> Option<Vec<String>> {
    let place = "/kernel_state/redirected_ipv4";
    let interfaces = take(&seen.redirects, &[place], "", unknown)?;
    let Some(all) = all else {
        unknown.because(place, "net.ipv4.conf.all.accept_redirects is not known");
        return None;
    };
    Some(which(interfaces, |one| {
        one.ipv4.as_ref().is_some_and(|four| match four.forwards {
            true => four.accepts && all != 0,
            false => four.accepts || all != 0,
        })
    }))
}

fn which(interfaces: &BTreeMap<String, Redirects>, is: impl Fn(&Redirects) -> bool) -> Vec<String> {
    interfaces.iter().filter(|(_, one)| is(one)).map(|(name, _)| name.clone()).collect()
}

/// `6.1.0-28-amd64` is of the flavour `amd64`, `6.6.51+rpt-rpi-2712` of `rpi-2712`.
fn flavour(release: &str) -> (&str, &str) {
    let letter = |at: &usize| release[at + 1..].starts_with(|c: char| c.is_ascii_alphabetic());
    match release.match_indices('-').map(|(at, _)| at).find(letter) {
        Some(at) => (&release[..at], &release[at + 1..]),
        None => (release, ""),
    }
}

fn newest(installed: &[String], running: &str) -> Option<String> {
    let of = flavour(running).1;
    let same = installed.iter().filter(|release| flavour(release).1 == of);
    same.max_by(|a, b| compare_versions(flavour(a).0, flavour(b).0)).cloned()
}

fn core_dumps(seen: &Kernel, unknown: &mut Unknown) -> Option<String> {
    let place = &["/kernel_state/core_dumps"][..];
    let pattern = take(&seen.core_pattern, place, "", unknown)?;
    if let Some(handler) = pattern.strip_prefix('|') {
        let program = handler.split(' ').next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or_default();
        if name == "false" || name == "true" {
            return Some("nowhere".into());
        }
        if name == "systemd-coredump" {
            let storage = take(&seen.core_storage, place, "", unknown)?;
            return Some(if storage.as_deref() == Some("none") { "nowhere" } else { name }.to_owned());
        }
        return Some(name.to_owned());
    }
    let limits = take(&seen.core_limits, place, "", unknown)?;
    let off = limits.iter().any(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        matches!(words[..], ["*", "hard" | "-", "core", "0"])
    });
    Some(if off || pattern.is_empty() { "nowhere" } else { "files" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_from_before_redirects_were_read_is_still_read() {
        let mut old = serde_json::to_value(kernel()).unwrap();
        old.as_object_mut().unwrap().remove("redirects");
        let mut unknown = Unknown::default();
        let seen = facts(&Some(serde_json::from_value(old).unwrap()), None, Some(0), &mut unknown).unwrap();
        assert_eq!(seen.redirected_ipv4, None);
        assert!(unknown.reason("/kernel_state/redirected_ipv4").unwrap().contains("did not read it yet"));
    }

    fn kernel() -> Kernel {
        let failed = || Failure::new(FailureKind::NotFound, "none");
        Kernel {
            modules: Look::Seen(vec!["sctp".into()]),
            blocked_modules: Look::Seen(vec!["usb_storage".into()]),
            parameters: Look::Seen(vec!["quiet".into(), "mitigations=off".into(), "mitigations=offside".into()]),
            vulnerabilities: Look::Seen(BTreeMap::from([
                ("retbleed".into(), "Vulnerable".into()),
                ("l1tf".into(), "Not affected".into()),
                ("mds".into(), "Mitigation: Clear CPU buffers; SMT vulnerable".into()),
            ])),
            lockdown: Look::Failed(failed()),
            installed: Look::Seen(vec!["6.1.0-9-amd64".into(), "6.1.0-28-amd64".into(), "6.1.0-30-cloud-amd64".into()]),
            core_pattern: Look::Seen("core".into()),
            core_limits: Look::Seen(vec!["* hard core 0".into()]),
            core_storage: Look::Failed(failed()),
            promiscuous: Look::Seen(vec![]),
            redirects: Look::Seen(BTreeMap::new()),
        }
    }

    #[test]
    fn who_follows_redirects_is_asked_as_the_kernel_asks() {
        let settings = |accepts, forwards| Some(RedirectSettings { accepts, forwards });
        let interfaces = [("off", false, false), ("on", true, false), ("passes", true, true), ("shut", false, true)];
        let interfaces = interfaces.map(|(name, accepts, forwards)| {
            (name.to_owned(), Redirects { ipv4: settings(accepts, forwards), ipv6: settings(accepts, forwards) })
        });
        let seen = Kernel { redirects: Look::Seen(interfaces.into()), ..kernel() };
        let four = |all| facts(&Some(seen.clone()), None, Some(all), &mut Unknown::default()).unwrap().redirected_ipv4;
        assert_eq!(four(0).unwrap(), ["on"]);
        assert_eq!(four(1).unwrap(), ["off", "on", "passes"]);
        let mut unknown = Unknown::default();
        let found = facts(&Some(seen), None, None, &mut unknown).unwrap();
        assert_eq!((found.redirected_ipv4, found.redirected_ipv6.unwrap()), (None, vec!["on".to_owned()]));
        assert!(unknown.reason("/kernel_state/redirected_ipv4").is_some());
    }

    #[test]
    fn the_kernel_is_told_as_it_is() {
        let mut unknown = Unknown::default();
        let seen = facts(&Some(kernel()), Some("6.1.0-9-amd64"), None, &mut unknown).unwrap();
        assert_eq!(seen.unwanted_modules.as_deref(), Some(&["sctp".to_owned()][..]));
        assert_eq!(seen.usb_storage.as_deref(), Some("blocked"));
        assert_eq!(seen.weakening_parameters.as_deref(), Some(&["mitigations=off".to_owned()][..]));
        assert_eq!(seen.unmitigated.as_deref(), Some(&["retbleed".to_owned()][..]));
        assert_eq!((seen.newest_runs, seen.newer_installed.as_deref()), (Some(false), Some("6.1.0-28-amd64")));
        assert_eq!(seen.core_dumps.as_deref(), Some("nowhere"));
        assert_eq!(unknown.reason("/kernel_state/lockdown"), Some("not found: none"));
        assert_eq!(facts(&Some(kernel()), Some("5.0-x"), None, &mut unknown).unwrap().newest_runs, None);
    }

    #[test]
    fn core_dumps_go_where_the_pattern_says() {
        let with = |pattern: &str, storage: Option<&str>, limits: &[&str]| {
            let limits = limits.iter().map(|line| (*line).to_owned()).collect();
            let seen = Kernel {
                core_pattern: Look::Seen(pattern.into()),
                core_storage: Look::Seen(storage.map(str::to_owned)),
                core_limits: Look::Seen(limits),
                ..kernel()
            };
            facts(&Some(seen), None, None, &mut Unknown::default()).unwrap().core_dumps.unwrap()
        };
        assert_eq!(with("core", None, &[]), "files");
        assert_eq!(with("core", None, &["* soft core 0"]), "files");
        assert_eq!(with("|/lib/systemd/systemd-coredump %P", None, &[]), "systemd-coredump");
        assert_eq!(with("|/lib/systemd/systemd-coredump %P", Some("none"), &[]), "nowhere");
        assert_eq!(with("|/bin/false", None, &[]), "nowhere");
    }

    #[test]
    fn a_flavour_is_told_from_its_version() {
        assert_eq!(flavour("6.6.51+rpt-rpi-2712"), ("6.6.51+rpt", "rpi-2712"));
        assert_eq!(flavour("6.12"), ("6.12", ""));
    }
}
