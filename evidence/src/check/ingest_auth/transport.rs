//! The TLS of an ingest edge and the certificate it shows, as for the broker: the same survey, the same facts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::certificate::chain::NOT_CHECKED;
use crate::certificate::revocation::RevocationFacts;
use crate::certificate::staple::StapleFacts;
use crate::certificate::{self, CertificateFacts, Chain, ChainFacts, Usage, explain};
use crate::check::broker_transport_posture::resumption::{self, Resumption, ResumptionFacts};
use crate::check::broker_transport_posture::survey::{self, Survey, TlsFacts};
use crate::check::broker_transport_posture::{ClientCertificate, TlsVersion};
use crate::check::{Seen, Unknown};
use crate::look::{Bytes, Look};

/// What was seen of an edge's TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransportLook {
    /// Address and port that were dialled.
    pub address: String,
    /// The name that was asked for and that the certificate should carry.
    pub server_name: String,
    /// The certificates that it sent, DER, leaf first as sent.
    pub chain: Look<Vec<Bytes>>,
    /// The anchors that the chain could lead to: those of the configured file, or those of the system's that bear the name
    /// of an issuer in the chain.
    pub anchors: Look<Vec<Bytes>>,
    /// It asked for a client certificate; null when no handshake got that far.
    pub client_certificate_requested: Option<bool>,
    /// It finished a handshake without a client certificate and answered a request over it; null when none was made.
    pub served_without_certificate: Option<bool>,
    /// What hand-made ClientHellos brought out.
    pub survey: Look<Survey>,
    /// The OCSP answer that it stapled, DER; empty when it sent none, absent when nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staple: Option<Bytes>,
    /// The revocation lists that are configured for it, DER; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crls: Option<Look<Vec<Bytes>>>,
    /// The tickets of a session of TLS 1.3; absent where it does not speak that, or nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumption: Option<Look<Resumption>>,
}

/// What is known of an edge's TLS.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TransportFacts {
    /// TLS 1.2 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls12: Option<bool>,
    /// TLS 1.3 is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls13: Option<bool>,
    /// What the survey brought out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFacts>,
    /// What the edge does about client certificates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<ClientCertificate>,
    /// The leaf.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateFacts>,
    /// The chain leads to an anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_trusted: Option<bool>,
    /// What is wrong with the path, when it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain_error: Option<String>,
    /// The chain as a whole, and its issuers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chain: Option<ChainFacts>,
    /// The leaf is valid for the name in the URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_matches: Option<bool>,
    /// Revocation lists are configured for the edge.
    #[serde(default)]
    pub revocation_configured: bool,
    /// What they say. Absent without a reason where none is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationFacts>,
    /// An OCSP answer was stapled. Absent without a reason where nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staple_sent: Option<bool>,
    /// What it says. Absent without a reason where none was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub staple: Option<StapleFacts>,
    /// What a session's tickets tell. Absent without a reason where there is no TLS 1.3, or nobody looked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumption: Option<ResumptionFacts>,
}

/// The facts that follow from `look`.
pub(super) fn facts(look: &TransportLook, seen: &Seen, unknown: &mut Unknown) -> TransportFacts {
    let mut facts = TransportFacts { revocation_configured: look.crls.is_some(), ..TransportFacts::default() };
    match &look.survey {
        Look::Seen(survey) => {
            facts.tls = Some(survey::facts(survey, "/transport/tls", unknown));
            let mut accepted = |version, place| match survey.accepted(version) {
                Ok(accepted) => Some(accepted),
                Err(failure) => {
                    unknown.because(place, failure);
                    None
                }
            };
            facts.tls12 = accepted(TlsVersion::Tls12, "/transport/tls12");
            facts.tls13 = accepted(TlsVersion::Tls13, "/transport/tls13");
        }
        Look::Failed(failure) => {
            for place in ["tls", "tls12", "tls13"] {
                unknown.because(format!("/transport/{place}"), failure);
            }
        }
    }
    // Who does not speak TLS 1.3 has no tickets of it, whatever became of the session.
    let session = look.resumption.as_ref().filter(|look| look.seen().is_some() || facts.tls13 != Some(false));
    facts.resumption = session.map(|look| resumption::facts(look, "/transport/resumption", unknown));
    facts.client_certificate = match (look.client_certificate_requested, look.served_without_certificate) {
        (Some(false), _) => Some(ClientCertificate::NotRequested),
        (Some(true), Some(true)) => Some(ClientCertificate::Requested),
        (Some(true), Some(false)) => Some(ClientCertificate::Required),
        (Some(true), None) => {
            unknown
                .because("/transport/client_certificate", "no request without a certificate was answered or refused");
            None
        }
        (None, _) => {
            unknown.because(
                "/transport/client_certificate",
                "no TLS handshake got as far as the server's request for a certificate",
            );
            None
        }
    };
    let chain = match &look.chain {
        Look::Seen(chain) => chain,
        Look::Failed(failure) => {
            for place in ["certificate", "chain_trusted", "chain", "name_matches", "staple_sent"] {
                unknown.because(format!("/transport/{place}"), failure);
            }
            if look.crls.is_some() {
                unknown.because("/transport/revocation", failure);
            }
            return facts;
        }
    };
    let chain: Vec<Vec<u8>> = chain.iter().map(|der| der.0.clone()).collect();
    let leaf = chain.first().cloned().unwrap_or_default();
    let certificate = CertificateFacts::from_der(&leaf, seen.at, seen.clock_believed());
    explain(&certificate, "/transport/certificate", seen, unknown);
    facts.certificate = Some(certificate);
    let anchors = match &look.anchors {
        Look::Seen(anchors) => Some(anchors.iter().map(|der| der.0.clone()).collect::<Vec<_>>()),
        Look::Failed(failure) => {
            unknown.because("/transport/chain_trusted", failure);
            unknown.because("/transport/chain/trusted", failure);
            None
        }
    };
    let chain = Chain {
        certificates: &chain,
        anchors: anchors.as_deref(),
        usage: Usage::Server,
        observed_at: seen.at,
        clock_believed: seen.clock_believed(),
    };
    let whole = ChainFacts::of(&chain);
    if anchors.is_some() && whole.trusted.is_none() {
        unknown.because("/transport/chain_trusted", NOT_CHECKED);
        unknown.because("/transport/chain/trusted", NOT_CHECKED);
    }
    if let Some(reason) = seen.distrust {
        unknown.because("/transport/chain/issuer_days_to_expiry", reason);
        unknown.because("/transport/chain/issuer_expired", reason);
    }
    whole.explain("/transport/chain", unknown);
    facts.chain_trusted = whole.trusted;
    facts.chain_error = whole.error.clone();
    facts.chain = Some(whole);
    let lists = look.crls.as_ref();
    facts.revocation =
        lists.and_then(|lists| RevocationFacts::told(lists, &chain, "/transport/revocation", seen, unknown));
    facts.staple_sent = look.staple.as_ref().map(|answer| !answer.0.is_empty());
    let staple = look.staple.as_ref();
    facts.staple = staple.and_then(|answer| StapleFacts::told(answer, &chain, "/transport/staple", seen, unknown));
    facts.name_matches = certificate::matches_name(&leaf, &look.server_name);
    if facts.name_matches.is_none() {
        unknown.because("/transport/name_matches", "the certificate or the name cannot be read");
    }
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::{Failure, FailureKind};

    fn look() -> TransportLook {
        let failed = || Failure::new(FailureKind::TimedOut, "as told");
        TransportLook {
            address: "127.0.0.1:443".into(),
            server_name: "edge.example".into(),
            chain: Look::Failed(failed()),
            anchors: Look::Seen(Vec::new()),
            client_certificate_requested: None,
            served_without_certificate: None,
            survey: Look::Failed(failed()),
            staple: None,
            crls: None,
            resumption: None,
        }
    }

    fn normalise(look: &TransportLook) -> (TransportFacts, Unknown) {
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        (facts(look, &seen, &mut unknown), unknown)
    }

    #[test]
    fn a_failed_look_has_a_reason_for_every_fact() {
        let (facts, unknown) = normalise(&look());
        assert_eq!(facts, TransportFacts::default());
        for fact in
            ["tls/tls10", "tls12", "tls13", "certificate/expired", "chain_trusted", "name_matches", "staple_sent"]
        {
            assert!(unknown.reason(&format!("/transport/{fact}")).unwrap().contains("as told"), "{fact}");
        }
        assert!(unknown.reason("/transport/client_certificate").is_some());
    }

    #[test]
    fn what_was_asked_for_and_could_not_be_seen_has_a_reason() {
        let failed = || Failure::new(FailureKind::TimedOut, "as told");
        let asked =
            TransportLook { crls: Some(Look::Failed(failed())), resumption: Some(Look::Failed(failed())), ..look() };
        let (facts, unknown) = normalise(&asked);
        assert!(facts.revocation_configured && facts.resumption == Some(ResumptionFacts::default()));
        for fact in ["revocation/revoked", "resumption/early_data"] {
            assert!(unknown.reason(&format!("/transport/{fact}")).unwrap().contains("as told"), "{fact}");
        }
    }

    #[test]
    fn a_look_from_before_is_written_as_it_was() {
        let old = serde_json::json!({
            "address": "127.0.0.1:443", "server_name": "edge.example", "chain": {"seen": []}, "anchors": {"seen": []},
            "client_certificate_requested": false, "served_without_certificate": true,
            "survey": {"failed": {"kind": "timed_out", "detail": "as told"}},
        });
        let read: TransportLook = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), old);
        let (facts, _) = normalise(&read);
        assert!(!facts.revocation_configured && facts.staple_sent.is_none() && facts.resumption.is_none());
    }

    #[test]
    fn who_does_not_speak_tls13_has_no_tickets_of_it() {
        let version = |name: &str, suites: &[&str]| {
            serde_json::json!({
                "version": name, "suites": suites, "end": {"seen": {"alert": {"level": 2, "description": 70}}},
                "order": null, "groups": [], "groups_end": null, "dh": [], "extensions": [], "compression": [],
                "session_id": false, "downgrade_mark": false,
            })
        };
        let survey = serde_json::json!({
            "connections": 2, "connection_limit": 120, "millis": 1, "fallback": null, "alpn": null,
            "versions": [version("tls1.2", &["c02b"]), version("tls1.3", &[])],
        });
        let seen = TransportLook {
            survey: Look::Seen(serde_json::from_value(survey).unwrap()),
            resumption: Some(Look::Failed(Failure::new(FailureKind::TlsAlert, "protocol_version (70)"))),
            ..look()
        };
        let (facts, unknown) = normalise(&seen);
        assert_eq!((facts.tls13, facts.resumption), (Some(false), None));
        assert_eq!(unknown.reason("/transport/resumption/early_data"), None);
    }

    #[test]
    fn a_chain_without_an_anchor_is_not_trusted() {
        let made = rcgen::generate_simple_self_signed(vec!["edge.example".into()]).unwrap();
        let seen = TransportLook { chain: Look::Seen(vec![Bytes(made.cert.der().to_vec())]), ..look() };
        let (facts, _) = normalise(&seen);
        assert_eq!((facts.chain_trusted, facts.name_matches), (Some(false), Some(true)));
        let hidden = TransportLook { anchors: Look::Failed(Failure::new(FailureKind::NotFound, "gone")), ..seen };
        let (facts, unknown) = normalise(&hidden);
        assert_eq!(facts.chain_trusted, None);
        assert!(unknown.reason("/transport/chain_trusted").unwrap().contains("gone"));
    }

    #[test]
    fn what_is_done_about_client_certificates_follows_from_two_looks() {
        use ClientCertificate::{NotRequested, Requested, Required};
        for (requested, served, expected) in [
            (Some(false), Some(true), Some(NotRequested)),
            (Some(true), Some(true), Some(Requested)),
            (Some(true), Some(false), Some(Required)),
            (Some(true), None, None),
            (None, None, None),
        ] {
            let look =
                TransportLook { client_certificate_requested: requested, served_without_certificate: served, ..look() };
            assert_eq!(normalise(&look).0.client_certificate, expected);
        }
    }
}
