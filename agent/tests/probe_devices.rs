//! The devices' probe against TLS endpoints and registry folders, sound and broken.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::sync::Arc;

use common::{Authority, Manner, Pki, closed_port, config, peer, server_config, short, tls_server};
use gatepost::config::{Config, Device};
use gatepost::probe::device_certificate_hygiene::{PROBE, observe};
use gatepost::probe::wire::Limits;
use gatepost_evidence::check::device_certificate_hygiene::{Check, DeviceFacts, Observation, SourceKind};
use gatepost_evidence::check::{Contract, Seen, Unknown};
use gatepost_evidence::look::FailureKind;
use gatepost_evidence::run::{Status, Target, TargetKind};

const ID: &str = "stm32-01";

async fn look(config: &Config, target: Target) -> Observation {
    observe(Arc::new(config.clone()), &target, Limits::default()).await.unwrap()
}

async fn device(config: &Config) -> (Observation, DeviceFacts, Unknown) {
    judged(look(config, Target::new(TargetKind::Device, ID)).await)
}

fn judged(observation: Observation) -> (Observation, DeviceFacts, Unknown) {
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let facts = Check::normalise(&observation, &seen, &mut unknown).device.unwrap();
    (observation, facts, unknown)
}

fn with_endpoint(pki: &Pki, endpoint: Option<String>) -> Config {
    let mut config = pki.config();
    let registry = pki.path("registry");
    std::fs::create_dir_all(&registry).unwrap();
    config.devices.registry = Some(registry);
    config.devices.ca_file = Some(pki.path("ca.pem"));
    config.devices.expected = vec![Device { id: ID.into(), endpoint, ..Device::default() }];
    config
}

#[tokio::test]
async fn an_endpoint_proves_possession_and_is_compared_with_the_registry() {
    let pki = Pki::new();
    let leaf = pki.authority.client(ID);
    let address = tls_server(server_config(&leaf, None, rustls::ALL_VERSIONS)).await;
    let config = with_endpoint(&pki, Some(address));
    pki.write("registry/stm32-01.crt", &leaf.pem);
    let (observation, facts, _) = device(&config).await;
    assert_eq!((facts.possession_proven, facts.source), (true, Some(SourceKind::TlsEndpoint)));
    assert_eq!((facts.sources_agree, facts.identity_matches), (Some(true), Some(true)));
    assert_eq!(facts.chain_trusted, Some(true), "{:?}", facts.chain_error);
    let filed = &observation.device.as_ref().unwrap().sources[1];
    assert!(!filed.possession && filed.location.ends_with("stm32-01.crt"));
}

#[tokio::test]
async fn a_device_that_demands_a_certificate_is_seen_all_the_same() {
    let pki = Pki::new();
    let leaf = pki.authority.client(ID);
    for version in rustls::ALL_VERSIONS {
        let address = tls_server(server_config(&leaf, Some(&pki.authority), &[version])).await;
        let (_, facts, _) = device(&with_endpoint(&pki, Some(address))).await;
        assert_eq!((facts.possession_proven, facts.identity_matches), (true, Some(true)), "{version:?}");
    }
}

#[tokio::test]
async fn a_certificate_shown_with_another_key_proves_nothing() {
    let pki = Pki::new();
    let mut leaf = pki.authority.client(ID);
    leaf.key = rcgen::KeyPair::generate().unwrap();
    for version in rustls::ALL_VERSIONS {
        let address = tls_server(server_config(&leaf, None, &[version])).await;
        let (_, facts, _) = device(&with_endpoint(&pki, Some(address))).await;
        assert_eq!((facts.possession_proven, facts.identity_matches), (false, Some(true)), "{version:?}");
    }
}

#[tokio::test]
async fn devices_that_are_down_hang_or_babble_are_unknown_with_their_reason() {
    let pki = Pki::new();
    for (address, kind) in [
        (format!("127.0.0.1:{}", closed_port()), FailureKind::Refused),
        (peer(Manner::Hang).await, FailureKind::TimedOut),
        (peer(Manner::Say(b"not TLS")).await, FailureKind::Protocol),
        (peer(Manner::Close).await, FailureKind::Closed),
    ] {
        let mut config = with_endpoint(&pki, Some(address));
        config.devices.registry = None;
        let limits = if kind == FailureKind::TimedOut { short() } else { Limits::default() };
        let target = Target::new(TargetKind::Device, ID);
        let (observation, facts, unknown) = judged(observe(Arc::new(config), &target, limits).await.unwrap());
        let source = &observation.device.as_ref().unwrap().sources[0];
        assert_eq!(source.chain.failure().unwrap().kind, kind, "{source:?}");
        assert_eq!(facts.certificate, None);
        assert!(unknown.reason("/device/certificate/expired").is_some());
    }
}

#[tokio::test]
async fn a_file_that_does_not_parse_is_on_the_record_and_a_key_is_not() {
    let pki = Pki::new();
    let config = with_endpoint(&pki, None);
    let leaf = pki.authority.client(ID);
    pki.write("registry/stm32-01.der", &leaf.der[..leaf.der.len() - 20]);
    let (_, facts, _) = device(&config).await;
    let certificate = facts.certificate.unwrap();
    assert!(!certificate.parses && !certificate.parse_error.unwrap().is_empty());

    std::fs::remove_file(pki.path("registry/stm32-01.der")).unwrap();
    pki.write("registry/stm32-01.pem", leaf.key.serialize_pem());
    pki.write("registry/stm32-09.der", leaf.key.serialize_der());
    let (observation, facts, unknown) = device(&config).await;
    assert_eq!(facts.certificate, None);
    assert!(unknown.reason("/device/certificate").unwrap().contains("holds no certificate"));
    assert_eq!(observation.device.unwrap().sources[0].chain.failure().unwrap().kind, FailureKind::Unparseable);
    let registry = look(&config, Target::new(TargetKind::Registry, "registry")).await.registry.unwrap();
    assert_eq!(registry.unreadable.keys().collect::<Vec<_>>(), ["stm32-01", "stm32-09"]);
}

#[tokio::test]
async fn the_registry_is_compared_with_what_is_expected() {
    let pki = Pki::new();
    let mut config = with_endpoint(&pki, None);
    config.devices.expected.push(Device { id: "stm32-02".into(), endpoint: None, ..Device::default() });
    let other = Authority::new("another");
    for id in ["stm32-02", "stm32-03"] {
        pki.write(&format!("registry/{id}.pem"), other.client(id).pem);
    }
    pki.write("registry/notes.txt", "not a certificate file");
    let registry = look(&config, Target::new(TargetKind::Registry, "registry")).await.registry.unwrap();
    assert_eq!((registry.expected, registry.found), (list(&[ID, "stm32-02"]), list(&["stm32-02", "stm32-03"])));
    assert!(registry.unreadable.is_empty());
    let targets: Vec<String> = (PROBE.targets)(&config).into_iter().map(|target| target.name).collect();
    assert_eq!(targets, list(&[ID, "stm32-02", "stm32-03", "registry"]));
    let (_, _, unknown) = device(&config).await;
    assert!(unknown.reason("/device/certificate").unwrap().contains("not found"));
}

fn list(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn without_devices_the_check_is_skipped_and_a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    let targets = (PROBE.targets)(&config);
    assert_eq!(targets, [Target::new(TargetKind::Registry, "registry")]);
    let missed = observe(Arc::new(config.clone()), &targets[0], short()).await.unwrap_err();
    assert_eq!(missed.status, Status::Skipped);
    assert!(missed.detail.contains("[[devices.device]]"), "{missed}");
    config.devices.registry = Some(folder.path().join("missing"));
    let missed = observe(Arc::new(config), &targets[0], short()).await.unwrap_err();
    assert_eq!(missed.status, Status::Error);
    assert!(missed.detail.contains("missing"), "{missed}");
}
