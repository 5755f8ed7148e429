//! Keys that gateways of a fleet share, as nobody but the sink can see: on the fleet's page and in each one's report.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Field, Sink, State};
use gatepost_evidence::check::{Contract as _, broker_certificate_identity::Check};
use gatepost_evidence::run::{Record, Status, Target, TargetKind};
use serde_json::json;

/// The first certificate of a sample of the corpus, in base64 as an observation has it.
fn sample(name: &str) -> String {
    let file = format!("{}/../fixtures/certificates/{name}.pem", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(file).unwrap();
    let (_, body) = text.split_once("-----\n").unwrap();
    let body: String = body.split("-----END").next().unwrap().split_whitespace().collect();
    assert!(STANDARD.decode(&body).is_ok());
    body
}

/// Uploads a run of a new gateway whose broker serves this certificate.
fn gateway(sink: &Sink, seed: u8, certificate: &str) -> Field {
    let mut field = Field::enrolled(seed, sink);
    let mut run = field.next(State::Hardened);
    run.records.retain(|record| record.check != Check::CHECK);
    run.records.push(Record {
        check: Check::CHECK.into(),
        contract: Check::VERSION,
        target: Target::new(TargetKind::Broker, "broker"),
        status: Status::Observed,
        detail: None,
        observed_at: run.started_at,
        duration_ms: 3,
        observation: Some(json!({
            "address": "127.0.0.1:8883", "server_name": "broker.example", "chain": [sample(certificate)],
            "anchors": null, "file": null, "key_file": null,
        })),
    });
    let signed = field.sign(&run);
    sink.accept(&[signed]);
    sink.judged(&field.path("/runs/1"));
    field
}

#[test]
fn shared_primes_and_shared_keys_are_told_and_sound_ones_are_not() {
    let sink = Sink::start();
    let alone = gateway(&sink, 1, "good-rsa2048");
    let cookie = sink.sign_in();
    assert!(!sink.page("/", &cookie).text().contains("Keys that others have"));

    let one = gateway(&sink, 2, "shared-prime-a");
    gateway(&sink, 3, "shared-prime-b");
    let fleet = sink.page("/", &cookie).text();
    assert!(fleet.contains("Keys that others have") && fleet.contains("Shared prime"), "{fleet}");
    assert!(!fleet.contains("Same key"));

    // Two with one key, as after one image on two cards.
    gateway(&sink, 4, "good");
    gateway(&sink, 5, "expired");
    let fleet = sink.page("/", &cookie).text();
    assert!(fleet.contains("Shared prime") && fleet.contains("Same key"), "{fleet}");

    let report = |field: &Field| sink.page(&format!("/gateways/{}/report", field.id()), &cookie).text();
    let told = report(&one);
    assert!(told.contains("Shared prime") && !told.contains("Same key"), "{told}");
    assert!(!report(&alone).contains("Keys that others have"));
}

#[test]
fn a_key_of_the_operators_lists_is_told_and_without_a_list_nothing_is() {
    let mut sink = Sink::start();
    let weak = gateway(&sink, 1, "debian-weak");
    let sound = gateway(&sink, 2, "good-rsa2048");
    assert!(!sink.page("/", &sink.sign_in()).text().contains("Published key"));

    // The entry of openssl-blacklist's list for RSA with 2048 bits.
    let list = sink.folder.path().join("blacklist.RSA-2048");
    std::fs::write(&list, "# Debian, 2006 to 2008\n8df20e6961a16398b85a\n").unwrap();
    sink.weak_keys.push(list);
    sink.stop();
    sink.open();
    let cookie = sink.sign_in();
    assert!(sink.page("/", &cookie).text().contains("Published key"));
    let report = |field: &Field| sink.page(&format!("/gateways/{}/report", field.id()), &cookie).text();
    assert!(report(&weak).contains("Published key"));
    assert!(!report(&sound).contains("Published key"));
}
