//! Looks for `broker_certificate_identity`: the certificate the broker serves, and what is on disk and configured about it.
//!
//! One connection to the first TLS listener that shows a certificate. The chain is on the record even when the broker then
//! refuses a client without a certificate, and so is a listener that refuses everybody before it shows one. The private key
//! is read, where that is permitted, to tell whether it is the certificate's; what is recorded is the digest of its public
//! half.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::broker_certificate_identity::{CertificateFile, Check, FileMode, Observation};
use gatepost_evidence::check::broker_transport_posture::{Source, Transport};
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};

use super::broker::{self, Candidate};
use super::broker_transport_posture::unreached;
use super::certificates::MAX_LIST_BYTES;
use super::wire::{self, Budget, Limits};
use super::{Missed, Probe, blocking, certificates, observed, tls};
use crate::config::Config;
use crate::files;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "The broker's first TLS listener: one TLS handshake, no MQTT. Certificate files and their modes, revocation \
              lists, and the key's file, of which its mode and the digest of the public half are recorded.",
    needs: "A TLS listener in [broker] or in a readable mosquitto.conf; ca_file to judge the chain, crl_file to know of \
            revocation; leave to look into the folder of the broker's certificate, and to read the key's file in order \
            to tell whether it belongs to the certificate.",
    targets: |_| vec![Target::new(TargetKind::Broker, "broker")],
    look: |config, _| Box::pin(async move { observed(&observe(config, Limits::default()).await?) }),
};

/// Looks at the certificate of the first TLS listener that shows one.
///
/// # Errors
/// When there is no TLS listener, or none that shows a certificate.
pub async fn observe(config: Arc<Config>, limits: Limits) -> Result<Observation, Missed> {
    let budget = limits.start();
    let listing = config.clone();
    let candidates = blocking(move || broker::candidates(&listing)).await?;
    let server_name = broker::server_name(&config.broker, &candidates);
    let name = tls::server_name(&server_name)?;
    let mut failures = Vec::new();
    let mut served = None;
    for candidate in candidates.iter().filter(|candidate| candidate.transport == Transport::Tls) {
        match chain(candidate, &name, &budget).await {
            Ok(peer) => {
                served = Some((candidate.clone(), Ok(peer)));
                break;
            }
            Err(failure) => failures.push((candidate, failure)),
        }
    }
    // A listener that will not shake hands with anybody has something to say as well, if none says more.
    let refusing = |(candidate, failure): &(&Candidate, Failure)| {
        shows_nothing(failure).then(|| ((*candidate).clone(), Err(failure.clone())))
    };
    let Some((candidate, shown)) = served.or_else(|| failures.iter().find_map(refusing)) else {
        return Err(none(&failures));
    };
    blocking(move || Ok(on_disk(&config, &candidate, server_name, shown))).await
}

/// Whether this is what a server says that has no certificate for any of today's suites (RFC 8446, section 6.2). A server
/// that only speaks an older version says something else.
fn shows_nothing(failure: &Failure) -> bool {
    failure.kind == FailureKind::TlsAlert
        && ["handshake_failure", "internal_error"].iter().any(|alert| failure.detail.contains(alert))
}

async fn chain(
    candidate: &Candidate,
    name: &rustls_pki_types::ServerName<'static>,
    budget: &Budget,
) -> Result<tls::Peer, Failure> {
    let (wire, _) = wire::dial(&candidate.address, budget).await?;
    let looked = tls::look(wire, name, None, budget).await;
    match looked.handshake {
        _ if !looked.peer.chain.is_empty() => Ok(looked.peer),
        Err(Failure { kind, detail }) => {
            Err(Failure { kind, detail: format!("{}: {detail}", candidate.address).chars().take(300).collect() })
        }
        Ok(_) => Err(Failure::new(FailureKind::Error, format_args!("{} showed no certificate", candidate.address))),
    }
}

/// No TLS listener showed a certificate. That the registered port is closed means no more than that none was found.
fn none(failures: &[(&Candidate, Failure)]) -> Missed {
    let only_guessed = failures
        .iter()
        .all(|(candidate, failure)| candidate.source == Source::WellKnown && failure.kind == FailureKind::Refused);
    if only_guessed {
        return Missed::skipped("no TLS listener is configured or found; name them with tls under [broker]");
    }
    let unanswered = |failure: &Failure| Missed::from(failure.clone()).status != gatepost_evidence::run::Status::Error;
    match failures.iter().find(|(_, failure)| !unanswered(failure)) {
        Some((_, failure)) => failure.clone().into(),
        None => unreached(&failures.iter().map(|(_, failure)| failure).collect::<Vec<_>>()),
    }
}

fn on_disk(
    config: &Config,
    candidate: &Candidate,
    server_name: String,
    shown: Result<tls::Peer, Failure>,
) -> Observation {
    let broker = &config.broker;
    let certificate = broker.certificate_file.as_ref().or(candidate.certificate_file.as_ref());
    let key = broker.key_file.as_ref().or(candidate.key_file.as_ref());
    let (peer, refusal) = match shown {
        Ok(peer) => (Some(peer), None),
        Err(failure) => (None, Some(failure)),
    };
    Observation {
        address: candidate.address.clone(),
        server_name,
        refusal,
        possession: peer.as_ref().map(|peer| peer.possession),
        staple: peer.as_ref().map(|peer| Bytes(peer.staple.clone())),
        chain: peer.map(|peer| peer.chain).unwrap_or_default(),
        crls: broker.crl_file.as_deref().map(|path| certificates::read_lists(path, MAX_LIST_BYTES).into()),
        file_mode: certificate.map(|path| mode(path)),
        key_fingerprint: key.map(|path| certificates::key_fingerprint(path).into()),
        anchors: broker.ca_file.as_deref().map(|path| certificates::read(path).into()),
        file: certificate.map(|path| {
            let file = |chain| CertificateFile { path: path.display().to_string(), chain };
            certificates::read(path).map(file).into()
        }),
        key_file: key.map(|path| mode(path)),
    }
}

fn mode(path: &Path) -> Look<FileMode> {
    let mode = |metadata: std::fs::Metadata| FileMode {
        path: path.display().to_string(),
        mode: format!("{:04o}", metadata.mode() & 0o7777),
        uid: metadata.uid(),
        gid: metadata.gid(),
    };
    std::fs::metadata(path).map(mode).map_err(|error| files::failure(path, &error)).into()
}
