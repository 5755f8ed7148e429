//! Looks for `broker_certificate_identity`: the certificate the broker serves, and what is on disk and configured about it.
//!
//! One connection to the first TLS listener that shows a certificate. The chain is on the record even when the broker then
//! refuses a client without a certificate. Of the private key's file only owner and mode are read, never its content.

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
use super::wire::{self, Budget, Limits};
use super::{Missed, Probe, blocking, certificates, observed, tls};
use crate::config::Config;
use crate::files;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "The broker's first TLS listener: one TLS handshake, no MQTT. Certificate files, and owner and mode of the \
              key's file.",
    needs: "A TLS listener in [broker] or in a readable mosquitto.conf; ca_file to judge the chain; leave to look into \
            the folder of the broker's certificate.",
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
            Ok(chain) => {
                served = Some((candidate.clone(), chain));
                break;
            }
            Err(failure) => failures.push((candidate, failure)),
        }
    }
    let Some((candidate, chain)) = served else { return Err(none(&failures)) };
    blocking(move || Ok(on_disk(&config, &candidate, server_name, chain))).await
}

async fn chain(
    candidate: &Candidate,
    name: &rustls_pki_types::ServerName<'static>,
    budget: &Budget,
) -> Result<Vec<Bytes>, Failure> {
    let (wire, _) = wire::dial(&candidate.address, budget).await?;
    let looked = tls::look(wire, name, None, budget).await;
    match looked.handshake {
        _ if !looked.peer.chain.is_empty() => Ok(looked.peer.chain),
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

fn on_disk(config: &Config, candidate: &Candidate, server_name: String, chain: Vec<Bytes>) -> Observation {
    let broker = &config.broker;
    let certificate = broker.certificate_file.as_ref().or(candidate.certificate_file.as_ref());
    let key = broker.key_file.as_ref().or(candidate.key_file.as_ref());
    Observation {
        address: candidate.address.clone(),
        server_name,
        chain,
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
