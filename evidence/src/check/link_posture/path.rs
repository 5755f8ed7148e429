//! The way to the peers: connecting, TLS and an answer, each several times; large requests beside small ones; whose
//! certificate it is; and whether somebody answers plain HTTP in between.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::percentile;
use crate::certificate::{self, Chain, ChainFacts, PathProblem, Usage};
use crate::check::{Seen, Unknown, segment};
use crate::id::Digest;
use crate::look::{Bytes, FailureKind, Look};

/// Tries to reach one peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Host and port.
    pub address: String,
    /// Each try: microseconds to connect, name resolution included.
    pub tries: Vec<Look<u64>>,
    /// What was done beyond connecting; null in older evidence, and of a peer behind a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<Exchange>,
}

/// TLS and HTTP with a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Each try that connected: microseconds of the TLS handshake; empty for a peer without TLS.
    pub handshakes: Vec<Look<u64>>,
    /// Each try that got so far: microseconds from a small request to the head of its answer.
    pub answers: Vec<Look<u64>>,
    /// A request of several full packets, behind one that was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large: Option<Large>,
    /// The certificate of a peer with TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Shown>,
}

/// A request of several full packets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Large {
    /// Its bytes, TLS aside.
    pub bytes: u64,
    /// Microseconds to the head of its answer.
    pub answer: Look<u64>,
    /// The largest packet that the kernel believed to fit through at the end (`IP_MTU`, ip(7)); IPv4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u64>,
}

/// The certificate that a peer showed, and what it is held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The name that was asked for.
    pub server_name: String,
    /// The certificates as sent, DER, leaf first.
    pub chain: Look<Vec<Bytes>>,
    /// Configured pins: SHA-256 of SubjectPublicKeyInfos, hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Digest>,
    /// The anchors that the chain could lead to; null when pins are the whole trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<Look<Vec<Bytes>>>,
    /// Who had issued the certificate that this peer showed in the run before, with the same address; null when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_before: Option<String>,
}

/// Facts about a peer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerFacts {
    /// Host and port.
    pub address: String,
    /// How many tries were made.
    pub tries: u64,
    /// How many of them did not connect.
    pub failures: u64,
    /// Median microseconds to connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u64>,
    /// 95th percentile in microseconds, nearest rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_micros: Option<u64>,
    /// TLS handshakes that were begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshakes: Option<u64>,
    /// How many of them failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_failures: Option<u64>,
    /// Median microseconds of a handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_p50_micros: Option<u64>,
    /// 95th percentile of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_p95_micros: Option<u64>,
    /// Small requests that were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// How many of them got no answer of HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_failures: Option<u64>,
    /// Median microseconds to an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_p50_micros: Option<u64>,
    /// 95th percentile of the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_p95_micros: Option<u64>,
    /// Small requests are answered and large ones vanish (RFC 2923, section 2.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub black_hole: Option<bool>,
    /// The largest packet that the kernel believes to fit through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<u64>,
    /// SHA-256 of the key of its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// Who issued its certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Its certificate is somebody else's: its key is not pinned where keys are, and else no configured authority issued it.
    /// That it has expired or carries another name is not this fact's affair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intercepted: Option<bool>,
    /// Another authority issued it than the one of the run before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_changed: Option<bool>,
}

/// The facts about the peer called `name`.
pub(super) fn facts(name: &str, peer: &Peer, seen: &Seen, unknown: &mut Unknown) -> PeerFacts {
    let place = format!("/peers/{}", segment(name));
    let connects = Stage::of(&peer.tries);
    connects.explain(&place, ["p50_micros", "p95_micros"], unknown);
    let mut facts = PeerFacts {
        address: peer.address.clone(),
        tries: connects.tries,
        failures: connects.failures,
        p50_micros: percentile(&connects.times, 50),
        p95_micros: percentile(&connects.times, 95),
        ..PeerFacts::default()
    };
    let Some(exchange) = &peer.exchange else { return facts };
    let handshakes = Stage::of(&exchange.handshakes);
    if exchange.shown.is_some() {
        handshakes.explain(&place, ["handshake_p50_micros", "handshake_p95_micros"], unknown);
        facts.handshakes = Some(handshakes.tries);
        facts.handshake_failures = Some(handshakes.failures);
        facts.handshake_p50_micros = percentile(&handshakes.times, 50);
        facts.handshake_p95_micros = percentile(&handshakes.times, 95);
    }
    let answers = Stage::of(&exchange.answers);
    answers.explain(&place, ["answer_p50_micros", "answer_p95_micros"], unknown);
    facts.requests = Some(answers.tries);
    facts.answer_failures = Some(answers.failures);
    facts.answer_p50_micros = percentile(&answers.times, 50);
    facts.answer_p95_micros = percentile(&answers.times, 95);
    let unanswered = || {
        let stages = [&peer.tries, &exchange.handshakes, &exchange.answers];
        stages.into_iter().flatten().find_map(Look::failure)
    };
    let hole = format!("{place}/black_hole");
    facts.black_hole = match &exchange.large {
        Some(Large { answer: Look::Seen(_), .. }) => Some(false),
        Some(Large { answer: Look::Failed(failure), .. }) if failure.kind == FailureKind::TimedOut => Some(true),
        Some(Large { answer: Look::Failed(failure), .. }) => {
            unknown.because(hole, failure);
            None
        }
        None => {
            match unanswered() {
                Some(failure) => unknown.because(hole, failure),
                None => unknown.because(hole, "no small request was answered, so no large one was sent"),
            }
            None
        }
    };
    facts.path_mtu = exchange.large.as_ref().and_then(|large| large.path_mtu);
    if let Some(shown) = &exchange.shown {
        identity(&place, shown, seen, &mut facts, unknown);
    }
    facts
}

/// One stage of several tries.
struct Stage<'a> {
    tries: u64,
    failures: u64,
    times: Vec<u64>,
    first: Option<&'a crate::look::Failure>,
}

impl<'a> Stage<'a> {
    fn of(tries: &'a [Look<u64>]) -> Self {
        let mut times: Vec<u64> = tries.iter().filter_map(|look| look.seen().copied()).collect();
        times.sort_unstable();
        let failures = (tries.len() - times.len()) as u64;
        Self { tries: tries.len() as u64, failures, times, first: tries.iter().find_map(Look::failure) }
    }

    fn explain(&self, place: &str, facts: [&str; 2], unknown: &mut Unknown) {
        if let (true, Some(failure)) = (self.times.is_empty(), self.first) {
            facts.iter().for_each(|fact| unknown.because(format!("{place}/{fact}"), failure));
        }
    }
}

fn identity(place: &str, shown: &Shown, seen: &Seen, facts: &mut PeerFacts, unknown: &mut Unknown) {
    let told = ["key_fingerprint", "issuer", "intercepted", "issuer_changed"];
    let chain: Vec<Vec<u8>> = match &shown.chain {
        Look::Seen(chain) => chain.iter().map(|der| der.0.clone()).collect(),
        Look::Failed(failure) => {
            told.iter().for_each(|fact| unknown.because(format!("{place}/{fact}"), failure));
            return;
        }
    };
    let Some(leaf) = chain.first() else {
        told.iter().for_each(|fact| unknown.because(format!("{place}/{fact}"), "it showed no certificate"));
        return;
    };
    let certificate = certificate::CertificateFacts::from_der(leaf, seen.at, false);
    let key = certificate::public_key(leaf);
    facts.key_fingerprint = certificate.key_fingerprint;
    facts.issuer = certificate.issuer;
    let changed = facts.issuer.as_ref().zip(shown.issuer_before.as_ref()).map(|(now, before)| now != before);
    facts.issuer_changed = changed;
    let reason = format!("{place}/intercepted");
    facts.intercepted = match (&shown.anchors, shown.pins.is_empty()) {
        (_, false) => match key {
            Some(key) => Some(!shown.pins.contains(&key)),
            None => {
                unknown.because(reason, "its certificate cannot be read");
                None
            }
        },
        (Some(Look::Seen(anchors)), true) => {
            let anchors: Vec<Vec<u8>> = anchors.iter().map(|der| der.0.clone()).collect();
            let whole = ChainFacts::of(&Chain {
                certificates: &chain,
                anchors: Some(&anchors),
                usage: Usage::Server,
                observed_at: seen.at,
                clock_believed: seen.clock_believed(),
            });
            if whole.trusted.is_none() {
                unknown.because(reason, certificate::chain::NOT_CHECKED);
            }
            whole.trusted.map(|trusted| !trusted && whole.problem.is_none_or(foreign))
        }
        (Some(Look::Failed(failure)), true) => {
            unknown.because(reason, failure);
            None
        }
        (None, true) => None,
    };
}

/// Whether a path that does not hold says that another authority is behind it.
fn foreign(problem: PathProblem) -> bool {
    matches!(
        problem,
        PathProblem::SelfSigned
            | PathProblem::ForeignAuthority
            | PathProblem::IssuerMissing
            | PathProblem::BadSignature
            | PathProblem::NoAnchor
            | PathProblem::Unreadable
    )
}

/// A question in plain HTTP, to see who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Portal {
    /// The URL that was asked for.
    pub url: String,
    /// The status that the operator expects there; null where only another host's answer is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<u16>,
    /// What came.
    pub answer: Look<PortalAnswer>,
}

/// An answer in plain HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PortalAnswer {
    /// The status.
    pub status: u16,
    /// Where it sends the asker, without query and user.
    pub location: Option<String>,
}

/// Whether somebody answers in between: absent when nothing was asked, or nothing can be said.
pub(super) fn captive(portal: Option<&Portal>, unknown: &mut Unknown) -> Option<bool> {
    let portal = portal?;
    let elsewhere = |location: &str| host(location).is_some_and(|there| Some(there) != host(&portal.url));
    match &portal.answer {
        // Asked to sign in first (RFC 6585, section 6).
        Look::Seen(PortalAnswer { status: 511, .. }) => Some(true),
        Look::Seen(answer) if (300..400).contains(&answer.status) && portal.expected != Some(answer.status) => {
            Some(portal.expected.is_some() || answer.location.as_deref().is_some_and(elsewhere))
        }
        Look::Seen(answer) => Some(portal.expected.is_some_and(|expected| answer.status != expected)),
        // Whoever puts himself between takes the connection, which is what was refused.
        Look::Failed(failure) if failure.kind == FailureKind::Refused && portal.expected.is_none() => Some(false),
        Look::Failed(failure) => {
            unknown.because("/captive_portal", failure);
            None
        }
    }
}

/// The host of a URL, in lower case; none of a path alone.
fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next()?,
        None => authority.split(':').next()?,
    };
    Some(host.to_ascii_lowercase())
}
