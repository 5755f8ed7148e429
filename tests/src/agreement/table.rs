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
    let Disagreement { server, fact, scanner, .. } = found;
    let (difference, fact) = (found.difference(), fact.as_str());
    // Everything that the other lacks, and nothing that it has more.
    let less = difference.starts_with('-') && !difference.contains('+');
    let lonely = ["NULL", "anonymous"];
    let elliptic = ["mosquitto", "P-256", "P-521", "certificate required", "no tickets"];
    match scanner {
        Scanner::Sslscan if fact == "groups tls1.2" && less && elliptic.iter().any(|name| server.contains(name)) => {
            Some(
                "sslscan offers each group alone. Before TLS 1.3 a server with an ECDSA certificate refuses a client that does not \
             offer the curve of its certificate (RFC 8422, section 5.1.1). The probe offers that curve behind the others. \
             Right is the probe: `openssl s_client -tls1_2 -groups X25519:P-256` agrees on X25519 with these servers, and \
             with `-groups X25519` is refused.",
            )
        }
        Scanner::Sslscan if fact == "groups tls1.3" && difference == "-0104" => Some(
            "sslscan makes a key of 8192 bits to ask for ffdhe8192 and gives up when that takes too long on a busy machine. \
             Right is the probe, to which the server names the group in a HelloRetryRequest; on a quiet machine sslscan \
             finds it as well.",
        ),
        Scanner::Sslscan if fact == "suites tls1.2" && less && server.contains("certificate") => Some(
            "sslscan counts a suite once the handshake is complete, which it never is in TLS 1.2 without the client certificate \
             that the server demands. Right is the probe: the server's ServerHello has chosen the suite.",
        ),
        Scanner::Sslscan if fact == "suites tls1.2" && less && server.contains("brainpool") => Some(
            "sslscan offers OpenSSL's usual groups with its suites, which hold no brainpool curve, so no ECDHE suite is left. \
             Right is the probe: `openssl s_client -tls1_2 -groups brainpoolP256r1` completes with them.",
        ),
        Scanner::Sslyze | Scanner::Testssl
            if fact == "speaks TLS" && lonely.iter().any(|name| server.contains(name)) =>
        {
            Some(
                "Before anything else this scanner makes a handshake of its own, without suites that do not encrypt or do not \
             authenticate, and gives up when that fails. Right is the probe: `openssl s_client` completes a handshake with \
             these servers when it is given their suites.",
            )
        }
        Scanner::Testssl
            if fact == "speaks TLS" && (server.contains("TLS 1.0 al") || server.contains("TLS 1.1 al")) =>
        {
            Some(
                "Before anything else testssl.sh connects with the system's OpenSSL 3, which at its usual security level does not \
             speak this version, and gives up. Right is the probe: sslscan and sslyze complete handshakes.",
            )
        }
        Scanner::Sslyze if fact == "suites tls1.2" && less && server.contains("Ed25519") => Some(
            "sslyze tries most suites with the OpenSSL 1.0.2 that it carries, which knows no Ed25519 certificates. Right is \
             the probe: the server's ServerHello has chosen the suite, and sslscan completes handshakes with it.",
        ),
        Scanner::Sslyze if fact == "suites tls1.2" && less => {
            Some("These suites are not among those that sslyze offers. Right is the probe: sslscan finds them as well.")
        }
        _ => None,
    }
}
