//! `device_certificate_hygiene`: each device's certificate, from its TLS endpoint, from its answer to a challenge over MQTT
//! and from the registry folder.
//!
//! Two kinds of target: a device, and the registry itself (who is missing, who is not expected). A TLS handshake proves
//! that the device has the private key, and so does a challenge, whose signature is checked here, from the evidence alone;
//! a file proves nothing of the kind, and the facts say so. What the devices of one run share is told by [`fleet`].

mod challenge;
pub mod fleet;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use challenge::{Asked, Challenge, ChallengeFacts, ChallengeOutcome};

use super::{Beside, Contract, Seen, Unknown};
use crate::certificate::{CertificateFacts, Chain, ChainFacts, RevocationFacts, Usage, chain, explain, public_key};
use crate::id::Digest;
use crate::look::{Bytes, Failure, Look};
use crate::run::Target;

/// The contract of this check.
pub struct Check;

/// What was seen; exactly one part is present, by the target's kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// One device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// The registry folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
}

/// What was seen of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The id the operator gave it, which its certificate should carry.
    pub id: String,
    /// Where its certificate was looked for, best evidence first.
    pub sources: Vec<Source>,
    /// The anchors device certificates should lead to; null when none are configured.
    pub anchors: Option<Look<Vec<Bytes>>>,
    /// Revocation lists of the device CA, DER; null when none are configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crls: Option<Look<Vec<Bytes>>>,
    /// Certificates that it had before, from the registry folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
    /// The longest time between two contacts with it, in hours, as the operator declared it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact_every_hours: Option<u64>,
}

/// A certificate that a device had before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// The file.
    pub location: String,
    /// What is in it, DER, leaf first.
    pub chain: Look<Vec<Bytes>>,
}

/// One place a device's certificate was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What sort of place.
    pub kind: SourceKind,
    /// Address or path.
    pub location: String,
    /// The certificates found, DER, leaf first.
    pub chain: Look<Vec<Bytes>>,
    /// The peer proved that it has the leaf's private key (it completed a TLS handshake with it). What a challenge proves
    /// follows from `challenge`, and this is false.
    pub possession: bool,
    /// What was asked and answered, for [`SourceKind::Challenge`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
}

/// Sorts of place for a device's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The device's own TLS server.
    TlsEndpoint,
    /// The device's answer to a challenge over MQTT.
    Challenge,
    /// A file in the registry folder.
    Registry,
}

impl std::fmt::Display for SourceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TlsEndpoint => "tls_endpoint",
            Self::Challenge => "challenge",
            Self::Registry => "registry",
        })
    }
}

/// What was seen of the registry folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The folder.
    pub path: String,
    /// The ids the operator expects.
    pub expected: Vec<String>,
    /// The ids found: file names without `.pem`, `.crt` or `.der`.
    pub found: Vec<String>,
    /// Files that could not be read.
    pub unreadable: BTreeMap<String, Failure>,
    /// How many of those found have no record of their own in the run, since there are too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_looked_at: Option<u64>,
    /// How many entries are no certificate files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_entries: Option<u64>,
    /// Names of files that hold a private key; never what is in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub private_keys: Vec<String>,
}

/// Facts; exactly one part is present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// One device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceFacts>,
    /// The registry folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryFacts>,
}

/// Facts about one device's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceFacts {
    /// The leaf, from the best source that had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceKind>,
    /// The device proved that it has the private key.
    pub possession_proven: bool,
    /// How many sources were configured.
    pub sources_configured: u64,
    /// All sources show the same leaf. Absent with fewer than two that could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources_agree: Option<bool>,
    /// The common name or an alternative name is the device's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity_matches: Option<bool>,
    /// Whether anchors are configured for device certificates.
    pub anchors_configured: bool,
    /// The chain leads to a configured anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_trusted: Option<bool>,
    /// What is wrong with the path, when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_error: Option<String>,
    /// The chain as the device shows it, and those who issued it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainFacts>,
    /// Whether revocation lists are configured for devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation_configured: Option<bool>,
    /// What they say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationFacts>,
    /// What each source showed, by its kind; several files of the registry have a number behind it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, SourceFacts>,
    /// The device was to be challenged over MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub challenge: Option<ChallengeFacts>,
    /// How many different certificates of this device there are, over all sources and those that it had before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates_known: Option<u64>,
    /// Two different certificates of this device have one key: it was not renewed with the certificate. Absent with fewer
    /// than two.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_reused: Option<bool>,
    /// Whole days from the start of the certificate's validity to when it was seen; negative before it. Absent when the clock
    /// is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_age_days: Option<i64>,
    /// The operator declared how often the device is in contact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_declared: Option<bool>,
    /// The certificate ends before the next contact that can be expected. Absent when nothing was declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_before_contact: Option<bool>,
    /// Other devices of this run that show the very same certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_certificate_as: Option<Vec<String>>,
    /// Other devices of this run that have the same key in another certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_key_as: Option<Vec<String>>,
    /// Other devices of this run whose certificate has the same issuer and serial number, and is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_serial_as: Option<Vec<String>>,
    /// Other devices of this run whose id stands in this certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names_of_others: Option<Vec<String>>,
}

/// What one source showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceFacts {
    /// Address, topic or path.
    pub location: String,
    /// SHA-256 of the leaf. Absent when nothing was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// SHA-256 of the leaf's SubjectPublicKeyInfo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<String>,
    /// How many certificates it showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<u64>,
    /// It proves that the device has the key. Absent when that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub possession: Option<bool>,
}

/// Facts about the registry folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryFacts {
    /// Expected, not found.
    pub missing: Vec<String>,
    /// Found, not expected.
    pub unexpected: Vec<String>,
    /// Files that could not be read.
    pub unreadable: Vec<String>,
    /// How many of those found have no record of their own in the run. Absent when that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_looked_at: Option<u64>,
    /// Files that hold a private key. Absent when that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_keys: Option<Vec<String>>,
}

impl Contract for Check {
    const CHECK: &'static str = "device_certificate_hygiene";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[
        "/device/certificate/days_to_expiry",
        "/device/certificate_age_days",
        "/device/chain/issuer_days_to_expiry",
        "/device/revocation/next_update",
    ];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        Facts {
            device: observation.device.as_ref().map(|device| device_facts(device, seen, unknown)),
            registry: observation.registry.as_ref().map(registry_facts),
        }
    }

    fn relate(observation: &Observation, target: &Target, beside: &Beside, facts: &mut Facts, unknown: &mut Unknown) {
        if let (Some(device), Some(facts)) = (&observation.device, &mut facts.device) {
            challenge::belongs(device, beside.gateway, facts);
            beside.fleet.relate(&target.name, facts, unknown);
        }
    }
}

/// The leaf of a look that saw one.
fn leaf(chain: &Look<Vec<Bytes>>) -> Option<&[u8]> {
    chain.seen()?.first().map(|der| der.0.as_slice())
}

fn device_facts(device: &Device, seen: &Seen, unknown: &mut Unknown) -> DeviceFacts {
    let mut facts = from_sources(device, unknown);
    facts.challenge = device.sources.iter().find_map(|source| challenge::facts(device, source, unknown));
    facts.possession_proven = facts.sources.values().any(|source| source.possession == Some(true));
    let Some(source) = device.sources.iter().find(|source| leaf(&source.chain).is_some()) else { return facts };
    let chain: Vec<Vec<u8>> = source.chain.seen().into_iter().flatten().map(|der| der.0.clone()).collect();
    let certificate = CertificateFacts::from_der(&chain[0], seen.at, seen.clock_believed());
    explain(&certificate, "/device/certificate", seen, unknown);
    if certificate.parses {
        let names = certificate.alternative_names.iter().flatten();
        facts.identity_matches = Some(certificate.common_name.iter().chain(names).any(|name| *name == device.id));
    } else {
        unknown.because("/device/identity_matches", "the certificate does not parse");
    }
    tell_of_chain(device, &chain, seen, &mut facts, unknown);
    contact(device, &certificate, seen, &mut facts, unknown);
    facts.certificate_age_days = age(&certificate, seen, unknown);
    facts.source = Some(source.kind);
    facts.certificate = Some(certificate);
    facts
}

/// Who issued it, whether that leads to an anchor, and what revocation lists say.
fn tell_of_chain(
    device: &Device,
    certificates: &[Vec<u8>],
    seen: &Seen,
    facts: &mut DeviceFacts,
    unknown: &mut Unknown,
) {
    let own = |ders: &[Bytes]| -> Vec<Vec<u8>> { ders.iter().map(|der| der.0.clone()).collect() };
    let anchors = match &device.anchors {
        Some(Look::Seen(anchors)) => Some(own(anchors)),
        Some(Look::Failed(failure)) => {
            unknown.because("/device/chain_trusted", failure);
            unknown.because("/device/chain/trusted", failure);
            None
        }
        None => None,
    };
    let chain = Chain {
        certificates,
        anchors: anchors.as_deref(),
        usage: Usage::Client,
        observed_at: seen.at,
        clock_believed: seen.clock_believed(),
    };
    let whole = ChainFacts::of(&chain);
    if anchors.is_some() && whole.trusted.is_none() {
        unknown.because("/device/chain_trusted", chain::NOT_CHECKED);
        unknown.because("/device/chain/trusted", chain::NOT_CHECKED);
    }
    if let Some(reason) = seen.distrust {
        unknown.because("/device/chain/issuer_days_to_expiry", reason);
        unknown.because("/device/chain/issuer_expired", reason);
    }
    whole.explain("/device/chain", unknown);
    facts.chain_trusted = whole.trusted;
    facts.chain_error = whole.error.clone();
    facts.chain = Some(whole);
    match &device.crls {
        Some(Look::Seen(lists)) => {
            let revocation = RevocationFacts::of(&chain, &own(lists));
            revocation.explain("/device/revocation", seen, unknown);
            facts.revocation = Some(revocation);
        }
        Some(Look::Failed(failure)) => unknown.because("/device/revocation", failure),
        None => {}
    }
}

/// What the sources say by themselves and of each other.
fn from_sources(device: &Device, unknown: &mut Unknown) -> DeviceFacts {
    let nothing = device.sources.iter().all(|source| leaf(&source.chain).is_none());
    let mut sources: BTreeMap<String, SourceFacts> = BTreeMap::new();
    for source in &device.sources {
        if let Look::Failed(failure) = &source.chain {
            let why = format!("{}: {failure}", source.location);
            unknown.because("/device/sources_agree", &why);
            if nothing {
                unknown.because("/device", &why);
            }
        }
        let same = |kind: &&Source| kind.kind == source.kind;
        let before = device.sources.iter().take_while(|other| !std::ptr::eq(*other, source)).filter(same).count();
        let name = if before == 0 { source.kind.to_string() } else { format!("{}_{}", source.kind, before + 1) };
        sources.insert(name, source_facts(device, source));
    }
    let seen = || sources.values().filter_map(|source| source.fingerprint.as_ref());
    let sources_agree = seen().next().filter(|_| seen().count() > 1).map(|first| seen().all(|other| other == first));
    let earlier = device.earlier.iter().filter_map(|earlier| leaf(&earlier.chain));
    let leaves = device.sources.iter().filter_map(|source| leaf(&source.chain)).chain(earlier);
    let keys: BTreeMap<Digest, Option<Digest>> = leaves.map(|der| (Digest::of(der), public_key(der))).collect();
    let different: std::collections::BTreeSet<_> = keys.values().flatten().collect();
    let reused = different.len() < keys.values().flatten().count();
    for earlier in &device.earlier {
        if let Look::Failed(failure) = &earlier.chain {
            unknown.because("/device/key_reused", format!("{}: {failure}", earlier.location));
        }
    }
    DeviceFacts {
        certificate: None,
        source: None,
        possession_proven: false,
        sources_configured: device.sources.len() as u64,
        sources_agree,
        identity_matches: None,
        anchors_configured: device.anchors.is_some(),
        chain_trusted: None,
        chain_error: None,
        chain: None,
        revocation_configured: Some(device.crls.is_some()),
        revocation: None,
        sources,
        challenge: None,
        certificates_known: Some(keys.len() as u64),
        key_reused: (keys.len() > 1).then_some(reused),
        certificate_age_days: None,
        contact_declared: Some(device.contact_every_hours.is_some()),
        expires_before_contact: None,
        same_certificate_as: None,
        same_key_as: None,
        same_serial_as: None,
        names_of_others: None,
    }
}

fn source_facts(device: &Device, source: &Source) -> SourceFacts {
    let leaf = leaf(&source.chain);
    SourceFacts {
        location: source.location.clone(),
        fingerprint: leaf.map(|der| Digest::of(der).to_string()),
        key_fingerprint: leaf.and_then(public_key).map(|key| key.to_string()),
        certificates: source.chain.seen().map(|chain| chain.len() as u64),
        possession: leaf.and_then(|_| match source.kind {
            SourceKind::Challenge => challenge::proven(device, source),
            SourceKind::TlsEndpoint | SourceKind::Registry => Some(source.possession),
        }),
    }
}

/// How old the certificate is.
fn age(certificate: &CertificateFacts, seen: &Seen, unknown: &mut Unknown) -> Option<i64> {
    const PLACE: &str = "/device/certificate_age_days";
    if let Some(reason) = seen.distrust {
        unknown.because(PLACE, reason);
        return None;
    }
    let start = certificate.not_before.as_deref().and_then(|start| start.parse::<jiff::Timestamp>().ok());
    if start.is_none() {
        unknown.because(PLACE, "the certificate's start cannot be read");
    }
    start.map(|start| (seen.at.as_second() - start.as_second()).div_euclid(86_400))
}

/// Whether the certificate lasts until the device is met again.
fn contact(
    device: &Device,
    certificate: &CertificateFacts,
    seen: &Seen,
    facts: &mut DeviceFacts,
    unknown: &mut Unknown,
) {
    let Some(hours) = device.contact_every_hours else { return };
    let end = certificate.not_after.as_deref().and_then(|end| end.parse::<jiff::Timestamp>().ok());
    match (end, seen.distrust) {
        (_, Some(reason)) => unknown.because("/device/expires_before_contact", reason),
        (None, _) => unknown.because("/device/expires_before_contact", "the certificate's end cannot be read"),
        (Some(end), None) => {
            let next =
                seen.at.as_second().saturating_add(i64::try_from(hours).unwrap_or(i64::MAX).saturating_mul(3600));
            facts.expires_before_contact = Some(end.as_second() < next);
        }
    }
}

fn registry_facts(registry: &Registry) -> RegistryFacts {
    let not_in = |these: &[String], those: &[String]| {
        let mut names: Vec<String> = these.iter().filter(|name| !those.contains(name)).cloned().collect();
        names.sort();
        names
    };
    RegistryFacts {
        missing: not_in(&registry.expected, &registry.found),
        unexpected: not_in(&registry.found, &registry.expected),
        unreadable: registry.unreadable.keys().cloned().collect(),
        not_looked_at: registry.not_looked_at,
        // The number of entries is told since keys are looked for.
        private_keys: registry.other_entries.map(|_| registry.private_keys.clone()),
    }
}

#[cfg(test)]
mod tests;
