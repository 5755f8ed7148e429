//! The look at an edge's TLS: its certificates by one handshake, and the survey by hand-made ClientHellos that the broker
//! gets, too, with tighter bounds, since this server is somebody else's.

use std::time::Duration;

use gatepost_evidence::check::broker_transport_posture::survey::Survey;
use gatepost_evidence::check::ingest_auth::transport::TransportLook;
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use rustls_pki_types::ServerName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::client::Files;
use crate::probe::hello::{self, Bounds};
use crate::probe::tls;
use crate::probe::wire::{self, Budget};

/// The bounds of the survey.
pub(super) const BOUNDS: Bounds = Bounds {
    connections: 120,
    pause: Duration::from_millis(5),
    answer: Duration::from_secs(3),
    total: Duration::from_secs(12),
    silences: 2,
};
/// The most anchors that are recorded.
const MAX_ANCHORS: usize = 8;

/// Looks at the TLS of `address`, which should be `name`.
pub(super) async fn look(address: &str, name: &str, files: &Files, budget: &Budget) -> TransportLook {
    let mut look = TransportLook {
        address: address.to_owned(),
        server_name: name.to_owned(),
        chain: Look::Seen(Vec::new()),
        anchors: Look::Seen(Vec::new()),
        client_certificate_requested: None,
        served_without_certificate: None,
        survey: Look::Failed(Failure::new(FailureKind::Error, "it was not surveyed")),
        staple: None,
        crls: files.lists.clone(),
        resumption: None,
    };
    let (chain, survey) = match shown(address, name, &mut look, budget).await {
        Ok(chain) => {
            let sni = match tls::server_name(name) {
                Ok(ServerName::DnsName(name)) => Some(name.as_ref().to_owned()),
                _ => None,
            };
            (Ok(chain), hello::survey(address, sni.as_deref(), BOUNDS, budget).await)
        }
        Err(failure) => (Err(failure.clone()), survey_anyway(address, name, failure, budget).await),
    };
    look.survey = survey.into();
    look.anchors = match &files.anchors {
        Ok(anchors) => Look::Seen(relevant(anchors, chain.as_deref().unwrap_or_default())),
        Err(failure) => Look::Failed(failure.clone()),
    };
    look.chain = chain.into();
    look
}

async fn shown(address: &str, name: &str, look: &mut TransportLook, budget: &Budget) -> Result<Vec<Bytes>, Failure> {
    let (wire, _) = wire::dial(address, budget).await?;
    let looked = tls::look(wire, &tls::server_name(name)?, None, budget).await;
    let reached = looked.handshake.is_ok() || looked.peer.certificate_requested;
    look.client_certificate_requested = reached.then_some(looked.peer.certificate_requested);
    match looked.handshake {
        _ if !looked.peer.chain.is_empty() => {
            look.staple = Some(Bytes(looked.peer.staple));
            Ok(looked.peer.chain)
        }
        Err(failure) => Err(failure),
        Ok(_) => Err(Failure::new(FailureKind::Error, format_args!("{address} showed no certificate"))),
    }
}

/// A server that speaks TLS, but none of ours, is still surveyed; one that does not speak it is not.
async fn survey_anyway(address: &str, name: &str, failure: Failure, budget: &Budget) -> Result<Survey, Failure> {
    if failure.kind != FailureKind::TlsAlert {
        return Err(failure);
    }
    let sni = name.parse::<std::net::IpAddr>().is_err().then_some(name);
    hello::survey(address, sni, BOUNDS, budget).await
}

/// A short list of anchors as it is; of a long one those that bear the name of an issuer in the chain.
pub(in crate::probe) fn relevant(anchors: &[Bytes], chain: &[Bytes]) -> Vec<Bytes> {
    if anchors.len() <= MAX_ANCHORS {
        return anchors.to_vec();
    }
    let issuers: Vec<Vec<u8>> = chain
        .iter()
        .filter_map(|der| X509Certificate::from_der(&der.0).ok())
        .map(|(_, certificate)| certificate.issuer().as_raw().to_vec())
        .collect();
    let named = |der: &&Bytes| {
        X509Certificate::from_der(&der.0)
            .is_ok_and(|(_, anchor)| issuers.iter().any(|issuer| issuer == anchor.subject().as_raw()))
    };
    anchors.iter().filter(named).take(MAX_ANCHORS).cloned().collect()
}
