//! `broker_certificate_identity`: the certificate the broker serves, against name, trust, dates and the file on disk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown};
use crate::certificate::{self, CertificateFacts, Usage};
use crate::id::Digest;
use crate::look::{Bytes, Look};

/// The contract of this check.
pub struct Check;

/// What was seen of a served certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Address and port that were dialled.
    pub address: String,
    /// The name that was asked for in TLS and that devices use.
    pub server_name: String,
    /// The certificates the server sent, DER, leaf first as sent.
    pub chain: Vec<Bytes>,
    /// The anchors the devices are told to trust; null when none are configured.
    pub anchors: Option<Look<Vec<Bytes>>>,
    /// The certificate file the broker is configured with; null when it is not known.
    pub file: Option<Look<CertificateFile>>,
    /// The private key's file, never its content; null when it is not known.
    pub key_file: Option<Look<FileMode>>,
}

/// A certificate file on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateFile {
    /// Its path.
    pub path: String,
    /// The certificates in it, DER, in order.
    pub chain: Vec<Bytes>,
}

/// Who may read a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileMode {
    /// Its path.
    pub path: String,
    /// Permission bits, octal, such as `0640`.
    pub mode: String,
    /// Owner's user id.
    pub uid: u32,
    /// Owner's group id.
    pub gid: u32,
}

impl FileMode {
    /// Whether users other than owner and group may read or write it; `None` when the mode is not octal.
    #[must_use]
    pub fn open_to_others(&self) -> Option<bool> {
        u32::from_str_radix(&self.mode, 8).ok().map(|mode| mode & 0o006 != 0)
    }
}

/// Facts about a served certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The leaf.
    pub certificate: CertificateFacts,
    /// How many certificates were sent.
    pub chain_length: u64,
    /// Whether anchors are configured for the devices.
    pub anchors_configured: bool,
    /// The chain leads to a configured anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_trusted: Option<bool>,
    /// What is wrong with the path, when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_error: Option<String>,
    /// The leaf is valid for the name that devices use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_matches: Option<bool>,
    /// Whether the broker's certificate file is known.
    pub file_configured: bool,
    /// The leaf that is served is the first certificate of the file on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_is_file: Option<bool>,
    /// Whether the private key's file is known.
    pub key_file_configured: bool,
    /// Users other than owner and group may read or write the private key's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file_open_to_others: Option<bool>,
}

impl Contract for Check {
    const CHECK: &'static str = "broker_certificate_identity";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &["/certificate/days_to_expiry"];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        let chain: Vec<Vec<u8>> = observation.chain.iter().map(|der| der.0.clone()).collect();
        let leaf = chain.first().cloned().unwrap_or_default();
        let facts = CertificateFacts::from_der(&leaf, seen.at, seen.clock_believed());
        explain(&facts, "/certificate", seen, unknown);

        let mut path = None;
        match &observation.anchors {
            Some(Look::Seen(anchors)) => {
                let anchors: Vec<Vec<u8>> = anchors.iter().map(|der| der.0.clone()).collect();
                path = Some(certificate::path(&chain, &anchors, Usage::Server, seen.at));
            }
            Some(Look::Failed(failure)) => unknown.because("/chain_trusted", failure),
            None => {}
        }
        let name_matches = certificate::matches_name(&leaf, &observation.server_name);
        if name_matches.is_none() {
            unknown.because("/name_matches", "the certificate or the name cannot be read");
        }
        let mut served_is_file = None;
        match &observation.file {
            Some(Look::Seen(file)) => match file.chain.first() {
                Some(first) => served_is_file = Some(Digest::of(&first.0) == Digest::of(&leaf)),
                None => unknown.because("/served_is_file", format!("{} holds no certificate", file.path)),
            },
            Some(Look::Failed(failure)) => unknown.because("/served_is_file", failure),
            None => {}
        }
        let mut key_file_open_to_others = None;
        match &observation.key_file {
            Some(Look::Seen(file)) => key_file_open_to_others = file.open_to_others(),
            Some(Look::Failed(failure)) => unknown.because("/key_file_open_to_others", failure),
            None => {}
        }
        Facts {
            certificate: facts,
            chain_length: chain.len() as u64,
            anchors_configured: observation.anchors.is_some(),
            chain_trusted: path.as_ref().map(Result::is_ok),
            chain_error: path.and_then(Result::err),
            name_matches,
            file_configured: observation.file.is_some(),
            served_is_file,
            key_file_configured: observation.key_file.is_some(),
            key_file_open_to_others,
        }
    }
}

/// Says why facts of a certificate are missing.
pub(in crate::check) fn explain(facts: &CertificateFacts, place: &str, seen: &Seen, unknown: &mut Unknown) {
    if let Some(words) = &facts.parse_error {
        unknown.because(place, format!("the certificate does not parse: {words}"));
    } else if let Some(reason) = seen.distrust {
        for fact in ["expired", "not_yet_valid", "days_to_expiry"] {
            unknown.because(format!("{place}/{fact}"), reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::{Failure, FailureKind};

    fn observation() -> Observation {
        Observation {
            address: "127.0.0.1:8883".into(),
            server_name: "broker.local".into(),
            chain: vec![Bytes(b"garbage".to_vec())],
            anchors: None,
            file: None,
            key_file: None,
        }
    }

    fn normalise(observation: &Observation, distrust: Option<&'static str>) -> (Facts, Unknown) {
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust };
        (Check::normalise(observation, &seen, &mut unknown), unknown)
    }

    fn good() -> Vec<u8> {
        rcgen::generate_simple_self_signed(vec!["broker.local".into()]).unwrap().cert.der().to_vec()
    }

    #[test]
    fn garbage_is_a_fact_and_the_rest_is_unknown_in_the_parsers_words() {
        let (facts, unknown) = normalise(&observation(), None);
        assert!(!facts.certificate.parses);
        assert!(unknown.reason("/certificate/expired").unwrap().contains("does not parse"));
        assert_eq!(facts.name_matches, None);
    }

    #[test]
    fn a_clock_that_is_not_believed_hides_the_dates_and_nothing_else() {
        let observation = Observation { chain: vec![Bytes(good())], ..observation() };
        let (facts, unknown) = normalise(&observation, Some("clock: wrong"));
        assert_eq!(facts.certificate.expired, None);
        assert_eq!(unknown.reason("/certificate/expired"), Some("clock: wrong"));
        assert_eq!(facts.name_matches, Some(true));
    }

    #[test]
    fn the_served_leaf_is_compared_with_the_file_on_disk() {
        let leaf = good();
        let file = |der: Vec<u8>| {
            Some(Look::Seen(CertificateFile { path: "/etc/broker.pem".into(), chain: vec![Bytes(der)] }))
        };
        let served = Observation { chain: vec![Bytes(leaf.clone())], file: file(leaf), ..observation() };
        assert_eq!(normalise(&served, None).0.served_is_file, Some(true));
        let renewed = Observation { file: file(good()), ..served.clone() };
        assert_eq!(normalise(&renewed, None).0.served_is_file, Some(false));
        let hidden = Observation { file: Some(Look::Failed(Failure::new(FailureKind::Denied, "no"))), ..served };
        let (facts, unknown) = normalise(&hidden, None);
        assert_eq!((facts.served_is_file, facts.file_configured), (None, true));
        assert_eq!(unknown.reason("/served_is_file"), Some("denied: no"));
    }

    #[test]
    fn modes_are_read_as_octal() {
        let file = |mode: &str| FileMode { path: "/k".into(), mode: mode.into(), uid: 0, gid: 0 };
        assert_eq!(file("0640").open_to_others(), Some(false));
        assert_eq!(file("0644").open_to_others(), Some(true));
        assert_eq!(file("0602").open_to_others(), Some(true));
        assert_eq!(file("rw").open_to_others(), None);
    }
}
