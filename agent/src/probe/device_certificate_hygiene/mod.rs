//! Looks for `device_certificate_hygiene`: each device's certificate, from its TLS endpoint, from its answer to a challenge
//! over MQTT, and from the registry folder.
//!
//! One handshake per endpoint; a device has proven that it has its key when it signed that handshake with it, even if it
//! then refuses a client without a certificate. Files are read as they are: whether they parse is for the facts to say.

mod challenge;
pub mod packet;
mod registry;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::device_certificate_hygiene::{Check, Device, Observation, Source, SourceKind};
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};

use super::certificates::MAX_LIST_BYTES;
use super::wire::{self, Limits};
use super::{Missed, Probe, blocking, certificates, observed, tls};
use crate::config::Config;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "Each device's TLS endpoint: one TLS handshake, nothing sent over it. For each device with challenge = true \
              one connection to the broker (at most 64 at once), one subscription to the device's answer topic, one \
              message of 68 bytes on its challenge topic, not retained: the device signs once. The certificate files in \
              the registry folder.",
    needs: "Devices under [[devices.device]] or a readable folder as registry of [devices]; ca_file to judge the chains, \
            crl_file to know of revocation. \
            For challenges a TLS listener, ca_file and a client in [broker] that may write PREFIX/+/challenge and read \
            PREFIX/+/answer.",
    targets,
    look: |config, target| Box::pin(async move { observed(&observe(config, &target, Limits::default()).await?) }),
};

/// The most bytes of revocation lists in one run, over all devices.
const MAX_LISTS: usize = 200_000;

/// One target per device that is expected or found, and the registry itself.
fn targets(config: &Config) -> Vec<Target> {
    let ids = registry::ids(&config.devices).into_iter();
    let mut targets: Vec<Target> = ids.map(|id| Target::new(TargetKind::Device, id)).collect();
    if config.devices.registry.is_some() || targets.is_empty() {
        targets.push(Target::new(TargetKind::Registry, "registry"));
    }
    targets
}

/// Looks at one device, or at the registry.
///
/// # Errors
/// When neither devices nor a registry are configured, or the registry cannot be listed.
pub async fn observe(config: Arc<Config>, target: &Target, limits: Limits) -> Result<Observation, Missed> {
    if target.kind == TargetKind::Registry {
        let registry = blocking(move || registry::registry(&config.devices)).await?;
        return Ok(Observation { device: None, registry: Some(registry) });
    }
    let id = target.name.clone();
    let expected = config.devices.expected.iter().find(|device| device.id == id).cloned().unwrap_or_default();
    let endpoint = async {
        match expected.endpoint {
            Some(address) => Some(shown(address, limits).await),
            None => None,
        }
    };
    let challenge = async {
        match expected.challenge {
            true => Some(challenge::challenged(&config, &id, &limits.start()).await),
            false => None,
        }
    };
    let (endpoint, challenge) = tokio::join!(endpoint, challenge);
    let mut sources: Vec<Source> = endpoint.into_iter().chain(challenge).collect();
    let contact_every_hours = expected.contact_every.map(|every| every.as_secs() / 3600);
    let config = config.clone();
    let device = blocking(move || {
        let devices = &config.devices;
        let folder = devices.registry.as_deref();
        sources.extend(folder.map(|folder| registry::filed(folder, &id)).unwrap_or_default());
        let earlier = folder.map(|folder| registry::earlier(folder, &id)).unwrap_or_default();
        let anchors = devices.ca_file.as_deref().map(|path| certificates::read(path).into());
        let crls = devices.crl_file.as_deref().map(|path| lists(path, devices.expected.len()).into());
        Ok(Device { id, sources, anchors, crls, earlier, contact_every_hours })
    });
    Ok(Observation { device: Some(device.await?), registry: None })
}

/// The revocation lists in `path`, which every device's evidence has to hold.
fn lists(path: &Path, devices: usize) -> Result<Vec<Bytes>, Failure> {
    let lists = certificates::read_lists(path, MAX_LIST_BYTES)?;
    let bytes: usize = lists.iter().map(|list| list.0.len()).sum();
    if bytes.saturating_mul(devices.max(1)) > MAX_LISTS {
        let words = format!("{} has {bytes} bytes of lists, too many for the evidence of each device", path.display());
        return Err(Failure::new(FailureKind::TooLarge, words));
    }
    Ok(lists)
}

/// What the device's own TLS server shows.
async fn shown(address: String, limits: Limits) -> Source {
    let budget = limits.start();
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host);
    let look = async {
        let name = tls::server_name(host.trim_start_matches('[').trim_end_matches(']'))?;
        let (wire, _) = wire::dial(&address, &budget).await?;
        let looked = tls::look(wire, &name, None, &budget).await;
        match looked.handshake {
            _ if !looked.peer.chain.is_empty() => Ok(looked.peer),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::new(FailureKind::Error, "the device showed no certificate")),
        }
    };
    let (chain, possession) = match look.await {
        Ok(peer) => (Look::Seen(peer.chain), peer.possession),
        Err(failure) => (Look::Failed(failure), false),
    };
    Source { kind: SourceKind::TlsEndpoint, location: address, chain, possession, challenge: None }
}
