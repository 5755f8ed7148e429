//! dpkg's database, apt's lists, sources and options, as the probes of `host_guardrails` and `disclosure_readiness` read them.

use gatepost_evidence::look::FailureKind;

use crate::Seeds;
use crate::host::root::{self, Root};
use crate::host::{can_be_evidence, updates};

#[path = "../../agent/src/probe/disclosure_readiness/packages.rs"]
#[allow(dead_code, missing_docs, reason = "the agent documents its own")]
mod inventory;

const STATUS: &str = "/var/lib/dpkg/status";
const PATHS: [&str; 11] = [
    STATUS,
    "/var/lib/apt/lists/security.debian.org_debian-security_dists_bookworm-security_main_binary-amd64_Packages",
    "/var/lib/apt/lists/x_security_Packages",
    "/var/lib/apt/lists/x_security_Packages.lz4",
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/raspi.list",
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/apt.conf.d/20auto-upgrades",
    "/etc/apt/apt.conf.d/99",
    "/etc/apt/apt.conf",
    "/var/lib/apt/periodic/update-stamp",
];

/// # Panics
/// When the same files give other packages, a password of a source is kept, or the two readers of the database do not agree on
/// how much is installed where it is written as dpkg writes it.
pub fn attack(data: &[u8]) {
    let root = Root::of(data, &PATHS);
    let (seen, openssh) = updates::updates(&root);
    assert_eq!((&seen, &openssh), (&updates::updates(&root).0, &updates::updates(&root).1));
    can_be_evidence(&seen);
    for source in seen.sources.seen().into_iter().flatten() {
        let host = source.uri.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
        assert!(!host.is_some_and(|host| host.contains('@')), "{source:?}");
    }
    let text = root.read_text(std::path::Path::new(STATUS)).unwrap_or_default();
    let inventory = inventory::read(|each| root.lines(std::path::Path::new(STATUS), each));
    match &inventory {
        Ok(inventory) => can_be_evidence(inventory),
        Err(failure) => assert!(matches!(failure.kind, FailureKind::NotFound | FailureKind::Unparseable), "{failure}"),
    }
    if let (Ok(one), Some(other)) = (&inventory, seen.packages.seen())
        && as_dpkg_writes_it(&text)
    {
        assert_eq!(one.installed, other.installed, "{text}");
    }
}

/// A package between two of these is installed for the one reader, which tells that it is broken, and not for the other.
const STATES: [&str; 3] = ["install ok installed", "deinstall ok config-files", "unknown ok not-installed"];

/// Paragraphs with each field once, in one spelling, and no odd sign in them; each package once for each architecture.
fn as_dpkg_writes_it(text: &str) -> bool {
    let mut packages = std::collections::BTreeSet::new();
    text.split("\n\n").all(|paragraph| {
        let mut seen = std::collections::BTreeSet::new();
        let fields = ["Package", "Status", "Architecture", "Version"];
        paragraph.lines().filter(|line| !line.is_empty()).all(|line| {
            line.split_once(": ").is_some_and(|(name, value)| {
                fields.contains(&name)
                    && seen.insert(name.to_owned())
                    && (1..60).contains(&value.len())
                    && value.bytes().all(|c| c.is_ascii_graphic() || c == b' ')
                    && value.trim() == value
                    && !value.contains("  ")
                    && (name != "Status" || STATES.contains(&value))
            })
        }) && (seen.is_empty() || seen.len() == fields.len() && packages.insert(named(paragraph)))
    })
}

/// Name and architecture.
fn named(paragraph: &str) -> [Option<&str>; 2] {
    ["Package: ", "Architecture: "].map(|field| paragraph.lines().find_map(|line| line.strip_prefix(field)))
}

/// Those of the hosts in `fixtures/hosts`, and odd ones.
#[must_use]
pub fn seeds() -> Seeds {
    let with = |name: &str, files: &[(&str, &str)]| (name.to_owned(), root::input(&PATHS, files));
    let mut seeds: Seeds = ["broken", "hardened", "raspberry-pi-5"]
        .iter()
        .map(|name| ((*name).to_owned(), root::fixture(name, &PATHS, (0, PATHS.len()), 1000)))
        .collect();
    seeds.push(with(
        "two",
        &[(
            STATUS,
            "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.1-1\n\nPackage: gone\n\
             Status: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\nPackage: half\nStatus: hold ok \
             half-configured\nArchitecture: all\nVersion: 2\n",
        )],
    ));
    seeds.push(with(
        "sources",
        &[
            ("/etc/apt/sources.list", "deb [arch=amd64 trusted=yes] http://me:hunter2@mirror/debian bookworm main\n"),
            (
                "/etc/apt/sources.list.d/debian.sources",
                "Types: deb\nURIs: http://a:b@x/ http://y\nSuites: s-security\n t\nTrusted: yes\n",
            ),
            ("/etc/apt/apt.conf", "APT { Periodic { Unattended-Upgrade \"1\"; }; }; // no\nOther \"x\n"),
        ],
    ));
    seeds
}
