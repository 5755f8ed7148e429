//! Facts side by side, and why some of them differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::scanners::Scanner;
use super::{Facts, Told};

/// What everybody told of every server.
#[derive(Debug, Default)]
pub struct Table {
    servers: Vec<(&'static str, BTreeMap<Scanner, Facts>)>,
}

/// One fact that was told differently.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The server.
    pub server: &'static str,
    /// The fact.
    pub fact: String,
    /// Who told something else than the probe.
    pub scanner: Scanner,
    /// What the probe told.
    pub ours: Told,
    /// What the other told.
    pub theirs: Told,
}

impl Disagreement {
    /// What the other has more (`+`) and less (`-`) than the probe, or its word.
    #[must_use]
    pub fn difference(&self) -> String {
        match (&self.ours, &self.theirs) {
            (Told::Set(ours), Told::Set(theirs)) => difference(ours, theirs),
            (_, theirs) => theirs.to_string(),
        }
    }
}

fn difference(ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> String {
    let more = theirs.difference(ours).map(|code| format!("+{code}"));
    let less = ours.difference(theirs).map(|code| format!("-{code}"));
    more.chain(less).collect::<Vec<_>>().join(" ")
}

impl Table {
    /// Adds what `told` of `server`.
    pub fn add(&mut self, server: &'static str, told: BTreeMap<Scanner, Facts>) {
        self.servers.push((server, told));
    }

    /// Everything that another scanner tells differently than the probe.
    #[must_use]
    pub fn disagreements(&self) -> Vec<Disagreement> {
        let mut found = Vec::new();
        for (server, told) in &self.servers {
            let Some(ours) = told.get(&Scanner::Probe) else { continue };
            for (scanner, theirs) in told {
                for (fact, theirs) in theirs {
                    if let Some(ours) = ours.get(fact).filter(|ours| *ours != theirs) {
                        let (ours, theirs) = (ours.clone(), theirs.clone());
                        found.push(Disagreement { server, fact: fact.clone(), scanner: *scanner, ours, theirs });
                    }
                }
            }
        }
        found
    }

    /// How many facts of how many servers somebody else told as well.
    #[must_use]
    pub fn compared(&self) -> usize {
        let of = |told: &BTreeMap<Scanner, Facts>| {
            let ours = told.get(&Scanner::Probe).into_iter().flat_map(Facts::keys);
            let others = || told.iter().filter(|(scanner, _)| **scanner != Scanner::Probe);
            ours.filter(|fact| others().any(|(_, theirs)| theirs.contains_key(*fact))).count()
        };
        self.servers.iter().map(|(_, told)| of(told)).sum()
    }

    /// The table in Markdown: a row for each fact of each server, sets by their size, differences in full.
    #[must_use]
    pub fn markdown(&self) -> String {
        let scanners: BTreeSet<Scanner> = self.servers.iter().flat_map(|(_, told)| told.keys().copied()).collect();
        let mut text = String::from("| server | fact |");
        // Writing to a string cannot fail.
        for scanner in &scanners {
            let _ = write!(text, " {} |", scanner.name());
        }
        let _ = write!(text, "\n| --- | --- |{}\n", " --- |".repeat(scanners.len()));
        let disagreements = self.disagreements();
        for (server, told) in &self.servers {
            let facts: BTreeSet<&String> = told.values().flat_map(Facts::keys).collect();
            for fact in facts {
                let _ = write!(text, "| {server} | {fact} |");
                for scanner in &scanners {
                    let differs = disagreements
                        .iter()
                        .find(|found| (found.server, &found.fact, found.scanner) == (*server, fact, *scanner));
                    let told = told.get(scanner).and_then(|facts| facts.get(fact));
                    let _ = match (told, differs) {
                        (_, Some(differs)) => write!(text, " **{}** |", differs.difference()),
                        (Some(told), None) => write!(text, " {told} |"),
                        (None, None) => write!(text, " |"),
                    };
                }
                text.push('\n');
            }
        }
        text
    }
}

/// Why a disagreement is none of the probe's making, with the evidence; none where that is not known.
#[must_use]
pub fn explained(found: &Disagreement) -> Option<&'static str> {
    use Scanner::{Sslscan, Sslyze, Testssl};
    let difference = found.difference();
    // The other lacks something, and has nothing more.
    let less = difference.starts_with('-') && !difference.contains('+');
    let none = matches!(&found.theirs, Told::Set(theirs) if theirs.is_empty());
    let of = |names: &[&str]| names.iter().any(|name| found.server.contains(name));
    let elliptic = ["mosquitto", "P-256", "P-521", "openssl, certificate", "no tickets"];
    match (found.scanner, found.fact.as_str(), difference.as_str()) {
        (Sslscan, "groups tls1.2", _) if less && of(&elliptic) => Some(GROUP_ALONE),
        (Sslscan, "groups tls1.3", "-0104") => Some(LONG_KEY),
        (Sslscan, "groups tls1.3", "-001f -0020 -0021" | "-001f -0020 -0021 -0104") => Some(NOT_KNOWN),
        (Sslscan, "suites tls1.2", _) if none && of(&["no secure renegotiation"]) => Some(INSECURE),
        (Sslscan, "suites tls1.2", _) if less && of(&["certificate required", "certificates required"]) => {
            Some(INCOMPLETE)
        }
        (Sslscan | Sslyze, "suites tls1.2", _) if less && of(&["brainpool"]) => Some(USUAL_GROUPS),
        (Sslyze | Testssl, "speaks TLS", _) if of(&["NULL", "anonymous"]) => Some(FIRST_HANDSHAKE),
        (Testssl, "speaks TLS", _) if of(&["TLS 1.0 alone", "TLS 1.1 alone", "DH 1024"]) => Some(OWN_LEVEL),
        (Sslyze, "suites tls1.2", _) if less && of(&["Ed25519"]) => Some(ED25519),
        (Sslyze, "suites tls1.2", "-00bf -00c5") => Some(NOT_OFFERED),
        (Sslyze, "curves", "-0013 -0015" | "-001a -001b -001c") => Some(NEWEST_VERSION),
        (Sslyze, "extended master secret", "yes") if of(&["tlslite"]) => Some(ALWAYS_IN_TLS13),
        _ => None,
    }
}

const GROUP_ALONE: &str = "sslscan offers each group alone. Before TLS 1.3 a server with an ECDSA certificate refuses a client \
    that does not offer the curve of its certificate (RFC 8422, section 5.1.1). The probe offers that curve behind the others. \
    Right is the probe: `openssl s_client -tls1_2 -groups X25519:P-256` agrees on X25519 with these servers, and with \
    `-groups X25519` is refused.";
const LONG_KEY: &str = "sslscan makes a key of 8192 bits to ask for ffdhe8192 and gives up when that takes too long on a busy \
    machine. Right is the probe, to which the server names the group in a HelloRetryRequest; on a quiet machine sslscan finds \
    it as well.";
const NOT_KNOWN: &str = "sslscan does not offer the brainpool curves of TLS 1.3 (RFC 8734), which Debian's OpenSSL does not know \
    either. Right is the probe: tlslite's own client, offering one of them alone, completes a handshake.";
const INSECURE: &str = "sslscan counts a suite once the handshake is complete, and its OpenSSL 3 refuses servers without secure \
    renegotiation. Right is the probe: `openssl s_client -tls1_2 -legacy_server_connect` completes with them.";
const ALWAYS_IN_TLS13: &str = "sslyze asks in the newest version that the server speaks, and TLS 1.3 has nothing else (RFC 8446, \
    appendix D). Right is the probe: `openssl s_client -tls1_2` says \"Extended master secret: no\".";
const INCOMPLETE: &str = "sslscan counts a suite once the handshake is complete, which it never is in TLS 1.2 without the client \
    certificate that the server demands. Right is the probe: the server's ServerHello has chosen the suite.";
const USUAL_GROUPS: &str = "The scanner offers the usual groups of its OpenSSL with these suites, and no brainpool curve is among \
    them, so the server has no ECDHE suite left. Right is the probe: `openssl s_client -tls1_2 -groups brainpoolP256r1` \
    completes with them.";
const FIRST_HANDSHAKE: &str = "Before anything else this scanner makes a handshake of its own, without suites that do not encrypt \
    or do not authenticate, and gives up when that fails. Right is the probe: `openssl s_client` completes a handshake with these \
    servers when it is given `-cipher eNULL:@SECLEVEL=0` or `aNULL:@SECLEVEL=0`.";
const OWN_LEVEL: &str = "Before anything else testssl.sh connects with the system's OpenSSL 3, which at its usual security level \
    takes neither TLS 1.0 and 1.1 nor a group of 1024 bits; it says \"Your OpenSSL cannot connect\" and gives up. Right is the \
    probe: sslscan and sslyze complete handshakes.";
const ED25519: &str = "sslyze tries most suites with the OpenSSL 1.0.2 that it carries, which knows no Ed25519 certificates. \
    Right is the probe: the server's ServerHello has chosen the suite, and sslscan completes handshakes with it.";
const NOT_OFFERED: &str = "These suites (anonymous Camellia with SHA-256) are not among those that sslyze offers. Right is the \
    probe: sslscan finds them as well.";
const NEWEST_VERSION: &str = "sslyze asks for curves in the newest version that the server speaks, here TLS 1.3, in which these do \
    not exist. Right is the probe: sslscan finds them in TLS 1.2 as well.";
