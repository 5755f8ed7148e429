//! `broker_certificate_identity`: the certificate the broker serves, against name, trust, dates and the file on disk.
//!
//! A listener that answers and shows no certificate is an observation as well: that is what Mosquitto does after it was told
//! to load a certificate and a key that do not fit. Of the private key only the digest of its public half is recorded.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown};
use crate::certificate::staple::StapleFacts;
use crate::certificate::{
    CertificateFacts, Chain, ChainFacts, NameFacts, RevocationFacts, Usage, chain, explain, matches_name, not_before,
    public_key,
};
use crate::id::Digest;
use crate::look::{Bytes, Failure, FailureKind, Look};

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
    /// What the listener said instead of a certificate; then the chain is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Failure>,
    /// It signed the handshake with the leaf's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possession: Option<bool>,
    /// The OCSP answer that came with the certificate, DER; empty when none came. Null in evidence from before it was asked
    /// for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staple: Option<Bytes>,
    /// The revocation lists that are configured, DER; null when none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crls: Option<Look<Vec<Bytes>>>,
    /// Who may read and write the certificate file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<Look<FileMode>>,
    /// SHA-256 of the SubjectPublicKeyInfo that belongs to the private key on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<Look<Digest>>,
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
    /// Whether users other than owner and group may write it; `None` when the mode is not octal.
    #[must_use]
    pub fn writable_by_others(&self) -> Option<bool> {
        u32::from_str_radix(&self.mode, 8).ok().map(|mode| mode & 0o002 != 0)
    }

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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
    /// The listener showed a certificate.
    pub certificate_shown: bool,
    /// What it said instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
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
    /// The chain as a whole, and its issuers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainFacts>,
    /// The leaf is valid for the name that devices use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_matches: Option<bool>,
    /// The name is the common name and no alternative name, so that nobody who follows RFC 9525 finds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_only_in_common_name: Option<bool>,
    /// The name is covered by a wildcard and not named itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_only_by_wildcard: Option<bool>,
    /// The broker signed the handshake with the leaf's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub possession_proven: Option<bool>,
    /// Whether revocation lists are configured.
    pub revocation_configured: bool,
    /// What they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationFacts>,
    /// An OCSP answer came with the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staple_sent: Option<bool>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staple: Option<StapleFacts>,
    /// Whether the broker's certificate file is known.
    pub file_configured: bool,
    /// The leaf that is served is the first certificate of the file on disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_is_file: Option<bool>,
    /// The file's certificate is not the one that is served, and begins to be valid later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_is_newer: Option<bool>,
    /// There is a certificate in the file: a broker could load it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_loads: Option<bool>,
    /// Users other than owner and group may write the certificate file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_writable_by_others: Option<bool>,
    /// Whether the private key's file is known.
    pub key_file_configured: bool,
    /// Users other than owner and group may read or write the private key's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file_open_to_others: Option<bool>,
    /// There is a private key in the file: a broker could load it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_loads: Option<bool>,
    /// The private key on disk is that of the certificate on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_fits_file: Option<bool>,
}

impl Contract for Check {
    const CHECK: &'static str = "broker_certificate_identity";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[
        "/certificate/days_to_expiry",
        "/chain/issuer_days_to_expiry",
        "/revocation/next_update",
        "/staple/next_update",
    ];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        let mut facts = Facts {
            certificate: None,
            certificate_shown: !observation.chain.is_empty(),
            refusal: observation.refusal.as_ref().map(Failure::to_string),
            chain_length: observation.chain.len() as u64,
            anchors_configured: observation.anchors.is_some(),
            chain_trusted: None,
            chain_error: None,
            chain: None,
            name_matches: None,
            name_only_in_common_name: None,
            name_only_by_wildcard: None,
            possession_proven: observation.possession,
            revocation_configured: observation.crls.is_some(),
            revocation: None,
            staple_sent: None,
            staple: None,
            file_configured: observation.file.is_some(),
            served_is_file: None,
            file_is_newer: None,
            file_loads: None,
            file_writable_by_others: None,
            key_file_configured: observation.key_file.is_some(),
            key_file_open_to_others: None,
            key_loads: None,
            key_fits_file: None,
        };
        if facts.certificate_shown {
            facts.tell_of_served(observation, seen, unknown);
        } else {
            let refusal = facts.refusal.as_deref().unwrap_or("it closed the connection");
            unknown.because("", format!("the broker shows no certificate: {refusal}"));
        }
        facts.tell_of_disk(observation, unknown);
        facts
    }
}

impl Facts {
    fn tell_of_served(&mut self, observation: &Observation, seen: &Seen, unknown: &mut Unknown) {
        let own = |ders: &[Bytes]| -> Vec<Vec<u8>> { ders.iter().map(|der| der.0.clone()).collect() };
        let certificates = own(&observation.chain);
        let leaf = certificates.first().cloned().unwrap_or_default();
        let certificate = CertificateFacts::from_der(&leaf, seen.at, seen.clock_believed());
        explain(&certificate, "/certificate", seen, unknown);

        let anchors = match &observation.anchors {
            Some(Look::Seen(anchors)) => Some(own(anchors)),
            Some(Look::Failed(failure)) => {
                unknown.because("/chain_trusted", failure);
                unknown.because("/chain/trusted", failure);
                None
            }
            None => None,
        };
        let chain = Chain {
            certificates: &certificates,
            anchors: anchors.as_deref(),
            usage: Usage::Server,
            observed_at: seen.at,
            clock_believed: seen.clock_believed(),
        };
        let whole = ChainFacts::of(&chain);
        if anchors.is_some() && whole.trusted.is_none() {
            unknown.because("/chain_trusted", chain::NOT_CHECKED);
            unknown.because("/chain/trusted", chain::NOT_CHECKED);
        }
        if let Some(reason) = seen.distrust {
            unknown.because("/chain/issuer_days_to_expiry", reason);
            unknown.because("/chain/issuer_expired", reason);
        }
        whole.explain("/chain", unknown);
        self.chain_trusted = whole.trusted;
        self.chain_error = whole.error.clone();

        let name = &observation.server_name;
        self.name_matches = Some(&leaf).filter(|_| certificate.parses).and_then(|leaf| matches_name(leaf, name));
        match self.name_matches {
            Some(matches) => {
                let name = NameFacts::of(&certificate, &observation.server_name, matches);
                self.name_only_in_common_name = Some(name.only_in_common_name);
                self.name_only_by_wildcard = Some(name.only_by_wildcard);
            }
            None => {
                for fact in ["/name_matches", "/name_only_in_common_name", "/name_only_by_wildcard"] {
                    unknown.because(fact, "the certificate or the name cannot be read");
                }
            }
        }
        let lists = observation.crls.as_ref();
        self.revocation = lists.and_then(|lists| RevocationFacts::told(lists, &chain, "/revocation", seen, unknown));
        let staple = observation.staple.as_ref();
        self.staple_sent = staple.map(|answer| !answer.0.is_empty());
        self.staple = staple.and_then(|answer| StapleFacts::told(answer, &chain, "/staple", seen, unknown));
        self.chain = Some(whole);
        self.certificate = Some(certificate);
    }

    fn tell_of_disk(&mut self, observation: &Observation, unknown: &mut Unknown) {
        let served = observation.chain.first();
        let mut on_file = None;
        match &observation.file {
            Some(Look::Seen(file)) => match file.chain.first() {
                Some(first) => {
                    on_file = Some(first);
                    let begins = |der: &Bytes| not_before(&der.0);
                    self.file_loads = Some(begins(first).is_some());
                    if let Some(served) = served {
                        let same = Digest::of(&first.0) == Digest::of(&served.0);
                        self.served_is_file = Some(same);
                        let later = begins(first).zip(begins(served)).map(|(file, served)| file > served);
                        self.file_is_newer = later.map(|later| later && !same);
                    }
                }
                None => {
                    self.file_loads = Some(false);
                    unknown.because("/served_is_file", format!("{} holds no certificate", file.path));
                }
            },
            Some(Look::Failed(failure)) => {
                unknown.because("/served_is_file", failure);
                unknown.because("/file_loads", failure);
                self.file_loads = does_not_load(failure);
            }
            None => {}
        }
        match &observation.file_mode {
            Some(Look::Seen(file)) => self.file_writable_by_others = file.writable_by_others(),
            Some(Look::Failed(failure)) => unknown.because("/file_writable_by_others", failure),
            None => {}
        }
        match &observation.key_file {
            Some(Look::Seen(file)) => self.key_file_open_to_others = file.open_to_others(),
            Some(Look::Failed(failure)) => unknown.because("/key_file_open_to_others", failure),
            None => {}
        }
        match &observation.key_fingerprint {
            Some(Look::Seen(key)) => {
                self.key_loads = Some(true);
                self.key_fits_file = on_file.and_then(|der| public_key(&der.0)).map(|certificate| certificate == *key);
            }
            Some(Look::Failed(failure)) => {
                unknown.because("/key_loads", failure);
                unknown.because("/key_fits_file", failure);
                self.key_loads = does_not_load(failure);
            }
            None => {}
        }
    }
}

/// A file that is gone, or holds something else, cannot be loaded by anybody; of one that was only not read here that is not
/// known.
fn does_not_load(failure: &Failure) -> Option<bool> {
    matches!(failure.kind, FailureKind::NotFound | FailureKind::Unparseable).then_some(false)
}

#[cfg(test)]
mod tests;
