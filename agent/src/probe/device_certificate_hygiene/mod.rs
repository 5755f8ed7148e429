//! Looks for `device_certificate_hygiene`: each device's certificate, from its TLS endpoint, from its answer to a challenge
//! over MQTT, and from the registry folder.
//!
//! One handshake per endpoint; a device has proven that it has its key when it signed that handshake with it, even if it
//! then refuses a client without a certificate. Files are read as they are: whether they parse is for the facts to say.

mod challenge;
pub mod packet;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::device_certificate_hygiene::{Check, Device, Observation, Registry, Source, SourceKind};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};

use super::wire::{self, Limits};
use super::{Missed, Probe, blocking, certificates, observed, tls};
use crate::config::{Config, Devices};
use crate::files;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "Each device's TLS endpoint: one TLS handshake, nothing sent over it. For each device with challenge = true \
              one connection to the broker (at most 64 at once), one subscription to the device's answer topic, one \
              message of 68 bytes on its challenge topic, not retained: the device signs once. The certificate files in \
              the registry folder.",
    needs: "Devices under [[devices.device]] or a readable folder as registry of [devices]; ca_file to judge the chains. \
            For challenges a TLS listener, ca_file and a client in [broker] that may write PREFIX/+/challenge and read \
            PREFIX/+/answer.",
    targets,
    look: |config, target| Box::pin(async move { observed(&observe(config, &target, Limits::default()).await?) }),
};

/// The endings of certificate files, in the order they are tried.
const ENDINGS: [&str; 3] = ["pem", "crt", "der"];
/// The most entries of a registry folder that are listed: as many as have room in one run even when none of their
/// certificates has.
const MAX_FILES: usize = 2000;

/// One target per device that is expected or found, and the registry itself.
fn targets(config: &Config) -> Vec<Target> {
    let devices = &config.devices;
    let mut ids: BTreeSet<String> = devices.expected.iter().map(|device| device.id.clone()).collect();
    if let Some(folder) = &devices.registry {
        // A folder that cannot be listed is told of by the registry's own target.
        ids.extend(list(folder).unwrap_or_default().into_keys());
    }
    let mut targets: Vec<Target> = ids.into_iter().map(|id| Target::new(TargetKind::Device, id)).collect();
    if devices.registry.is_some() || targets.is_empty() {
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
        let registry = blocking(move || registry(&config.devices)).await?;
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
        sources.extend(devices.registry.as_deref().map(|folder| filed(folder, &id)));
        let anchors = devices.ca_file.as_deref().map(|path| certificates::read(path).into());
        Ok(Device { id, sources, anchors, earlier: Vec::new(), contact_every_hours })
    });
    Ok(Observation { device: Some(device.await?), registry: None })
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

/// What is on file for the device.
fn filed(folder: &Path, id: &str) -> Source {
    let found = match named(folder, id) {
        Some(path) => Ok(path),
        None => list(folder).and_then(|found| {
            let expected = || folder.join(id).with_added_extension(ENDINGS[0]);
            found.get(id).cloned().ok_or_else(|| files::failure(&expected(), &io::ErrorKind::NotFound.into()))
        }),
    };
    let location = found.as_deref().unwrap_or(folder).display().to_string();
    Source {
        kind: SourceKind::Registry,
        location,
        chain: found.and_then(|path| certificates::read(&path)).into(),
        possession: false,
        challenge: None,
    }
}

/// The file of `id` under one of its usual names, without listing the folder once per device.
fn named(folder: &Path, id: &str) -> Option<PathBuf> {
    let plain = !id.is_empty() && !id.contains('/');
    let path = |ending: &&str| folder.join(format!("{id}.{ending}"));
    ENDINGS.iter().filter(|_| plain).map(path).find(|path| path.symlink_metadata().is_ok())
}

fn registry(devices: &Devices) -> Result<Registry, Missed> {
    let Some(folder) = &devices.registry else {
        return Err(Missed::skipped(
            "no devices are configured; name them under [[devices.device]], or the folder of their certificates as \
             registry under [devices]",
        ));
    };
    let found = list(folder)?;
    let mut expected: Vec<String> = devices.expected.iter().map(|device| device.id.clone()).collect();
    expected.sort();
    expected.dedup();
    let unreadable: BTreeMap<String, Failure> =
        found.iter().filter_map(|(id, path)| Some((id.clone(), certificates::read(path).err()?))).collect();
    Ok(Registry { path: folder.display().to_string(), expected, found: found.into_keys().collect(), unreadable })
}

/// The certificate files in `folder`, by id; of several for one id the first ending counts.
fn list(folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let failed = |error: io::Error| files::failure(folder, &error);
    let mut found: BTreeMap<String, (usize, PathBuf)> = BTreeMap::new();
    for (count, entry) in std::fs::read_dir(folder).map_err(failed)?.enumerate() {
        if count == MAX_FILES {
            let detail = format!("{} has more than {MAX_FILES} entries", folder.display());
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let Some(rank) = ENDINGS.iter().position(|known| ending.eq_ignore_ascii_case(known)) else { continue };
        let Some(id) = path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned) else { continue };
        match found.get(&id) {
            Some((known, _)) if *known <= rank => {}
            _ => {
                found.insert(id, (rank, path));
            }
        }
    }
    Ok(found.into_iter().map(|(id, (_, path))| (id, path)).collect())
}
