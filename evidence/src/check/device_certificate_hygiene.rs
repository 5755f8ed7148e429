//! `device_certificate_hygiene`: each device's certificate, from its TLS endpoint and from the registry folder.
//!
//! Two kinds of target: a device, and the registry itself (who is missing, who is not expected). A TLS handshake proves
//! that the device has the private key; a file proves nothing of the kind, and the facts say so.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown};
use crate::certificate::{self, CertificateFacts, Usage, explain};
use crate::id::Digest;
use crate::look::{Bytes, Failure, Look};

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
    /// The peer proved that it has the leaf's private key (it completed a TLS handshake with it).
    pub possession: bool,
}

/// Sorts of place for a device's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The device's own TLS server.
    TlsEndpoint,
    /// A file in the registry folder.
    Registry,
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
}

impl Contract for Check {
    const CHECK: &'static str = "device_certificate_hygiene";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &["/device/certificate/days_to_expiry"];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        Facts {
            device: observation.device.as_ref().map(|device| device_facts(device, seen, unknown)),
            registry: observation.registry.as_ref().map(registry_facts),
        }
    }
}

fn device_facts(device: &Device, seen: &Seen, unknown: &mut Unknown) -> DeviceFacts {
    let readable: Vec<(&Source, &Vec<Bytes>)> = device
        .sources
        .iter()
        .filter_map(|source| source.chain.seen().filter(|chain| !chain.is_empty()).map(|chain| (source, chain)))
        .collect();
    for source in &device.sources {
        if let Look::Failed(failure) = &source.chain {
            let why = format!("{}: {failure}", source.location);
            unknown.because("/device/sources_agree", &why);
            if readable.is_empty() {
                unknown.because("/device", &why);
            }
        }
    }
    let fingerprints: Vec<Digest> = readable.iter().map(|(_, chain)| Digest::of(&chain[0].0)).collect();
    let mut facts = DeviceFacts {
        certificate: None,
        source: None,
        possession_proven: readable.iter().any(|(source, _)| source.possession),
        sources_configured: device.sources.len() as u64,
        sources_agree: (fingerprints.len() > 1).then(|| fingerprints.windows(2).all(|pair| pair[0] == pair[1])),
        identity_matches: None,
        anchors_configured: device.anchors.is_some(),
        chain_trusted: None,
        chain_error: None,
    };
    let Some((source, chain)) = readable.first() else { return facts };
    let chain: Vec<Vec<u8>> = chain.iter().map(|der| der.0.clone()).collect();
    let certificate = CertificateFacts::from_der(&chain[0], seen.at, seen.clock_believed());
    explain(&certificate, "/device/certificate", seen, unknown);
    if certificate.parses {
        let names = certificate.alternative_names.iter().flatten();
        facts.identity_matches = Some(certificate.common_name.iter().chain(names).any(|name| *name == device.id));
    } else {
        unknown.because("/device/identity_matches", "the certificate does not parse");
    }
    match &device.anchors {
        Some(Look::Seen(anchors)) => {
            let anchors: Vec<Vec<u8>> = anchors.iter().map(|der| der.0.clone()).collect();
            let path = certificate::path(&chain, &anchors, Usage::Client, seen.at);
            facts.chain_trusted = Some(path.is_ok());
            facts.chain_error = path.err();
        }
        Some(Look::Failed(failure)) => unknown.because("/device/chain_trusted", failure),
        None => {}
    }
    facts.source = Some(source.kind);
    facts.certificate = Some(certificate);
    facts
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::FailureKind;

    fn facts(sources: Vec<Source>) -> (DeviceFacts, Unknown) {
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        let device = Device { id: "stm32-01".into(), sources, anchors: None };
        let observation = Observation { device: Some(device), registry: None };
        (Check::normalise(&observation, &seen, &mut unknown).device.unwrap(), unknown)
    }

    fn source(kind: SourceKind, chain: Look<Vec<Bytes>>) -> Source {
        Source { kind, location: "somewhere".into(), chain, possession: kind == SourceKind::TlsEndpoint }
    }

    fn certificate(name: &str) -> Look<Vec<Bytes>> {
        let der = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap().cert.der().to_vec();
        Look::Seen(vec![Bytes(der)])
    }

    #[test]
    fn the_first_readable_source_is_the_certificate_and_the_others_must_agree() {
        let one = certificate("stm32-01");
        let (facts, _) =
            facts(vec![source(SourceKind::TlsEndpoint, one.clone()), source(SourceKind::Registry, one.clone())]);
        assert_eq!((facts.sources_agree, facts.identity_matches), (Some(true), Some(true)));
        assert!(facts.possession_proven);
        let (facts, _) = super::tests::facts(vec![
            source(SourceKind::TlsEndpoint, one),
            source(SourceKind::Registry, certificate("stm32-02")),
        ]);
        assert_eq!(facts.sources_agree, Some(false));
    }

    #[test]
    fn a_device_that_does_not_answer_is_unknown_with_its_reason() {
        let silent = source(SourceKind::TlsEndpoint, Look::Failed(Failure::new(FailureKind::TimedOut, "5 s")));
        let (facts, unknown) = facts(vec![silent.clone()]);
        assert_eq!((facts.certificate, facts.possession_proven), (None, false));
        assert_eq!(unknown.reason("/device/certificate/expired"), Some("somewhere: timed out: 5 s"));
        let (facts, unknown) = super::tests::facts(vec![silent, source(SourceKind::Registry, certificate("stm32-09"))]);
        assert_eq!((facts.sources_agree, facts.identity_matches), (None, Some(false)));
        assert!(unknown.reason("/device/sources_agree").is_some());
    }

    #[test]
    fn the_registry_says_who_is_missing_and_who_is_not_expected() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let registry = Registry {
            path: "/registry".into(),
            expected: list(&["a", "b"]),
            found: list(&["b", "c"]),
            unreadable: BTreeMap::new(),
        };
        let facts = registry_facts(&registry);
        assert_eq!((facts.missing, facts.unexpected), (list(&["a"]), list(&["c"])));
    }
}
