//! Enrolment: who gets in, who does not, and why not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Field, Sink, State};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::wire::{ENROLMENT_TYPE, Enrolled};
use jiff::Timestamp;

#[test]
fn a_good_token_enrols_once() {
    let sink = Sink::start();
    let (token, field) = (sink.token(), Field::new(1));
    let reply = sink.enrol(&field.enrolment_envelope(&token));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let enrolled: Enrolled = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(enrolled.gateway, field.id());
    assert_eq!(&enrolled.sink_key, sink.running().app().key.public());

    let again = sink.enrol(&Field::new(2).enrolment_envelope(&token));
    assert_eq!((again.status, again.reason().as_str()), (403, "token_used"));
    assert_eq!(sink.get(&Field::new(2).path("")).status, 404, "the second gateway is not enrolled");
}

#[test]
fn tokens_that_are_not_good_are_refused() {
    let sink = Sink::start();
    let expired = sink.token_until(Timestamp::now() - jiff::SignedDuration::from_secs(1));
    for (token, reason) in
        [(expired.as_str(), "token_expired"), ("gpe_garbage", "unknown_token"), ("", "unknown_token")]
    {
        let reply = sink.enrol(&Field::new(1).enrolment_envelope(token));
        assert_eq!((reply.status, reply.reason().as_str()), (403, reason));
        assert!(token.is_empty() || !reply.text().contains(token), "a token is not echoed");
    }
    assert_eq!(sink.get("/api/v1/gateways").json()["gateways"].as_array().unwrap().len(), 0);
}

#[test]
fn the_sender_must_have_the_key_it_names() {
    let sink = Sink::start();
    let (token, victim, thief) = (sink.token(), Field::new(1), Field::new(2));
    let claim = canonical::to_vec(&victim.enrolment(&token)).unwrap();
    // Signed by another key, under its own name and under the victim's.
    let own = Envelope::sign(ENROLMENT_TYPE, &claim, &thief.key);
    let mut victims = own.clone();
    victims.signatures[0].keyid = victim.id().to_string();
    for (envelope, reason) in [(own, "unknown_key"), (victims, "bad_signature")] {
        let reply = sink.enrol(&envelope);
        assert_eq!((reply.status, reply.reason().as_str()), (403, reason));
    }
    // The token was not used up by that.
    assert_eq!(sink.enrol(&victim.enrolment_envelope(&token)).status, 200);
}

#[test]
fn a_known_key_enrols_again_with_a_fresh_token() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    field.name = "pump-house-2".into();
    field.enrol(&sink);
    let fleet = sink.get("/api/v1/gateways").json();
    assert_eq!(fleet["gateways"].as_array().unwrap().len(), 1);
    assert_eq!(fleet["gateways"][0]["name"], "pump-house-2");
}

#[test]
fn what_is_no_enrolment_is_refused_with_its_reason() {
    let sink = Sink::start();
    let field = Field::new(1);
    let wrong_type = Envelope::sign("text/plain", &canonical::to_vec(&field.enrolment("t")).unwrap(), &field.key);
    let mut nameless = Field::new(1);
    nameless.name = " ".into();
    let mut wordy = Field::new(1);
    wordy.labels.insert("k".into(), "x".repeat(201));
    for (body, status, reason) in [
        (b"".to_vec(), 400, "malformed"),
        (b"{}".to_vec(), 400, "malformed"),
        (Envelope::sign(ENROLMENT_TYPE, b"{}", &field.key).to_json().into_bytes(), 400, "malformed"),
        (wrong_type.to_json().into_bytes(), 403, "payload_type"),
        (nameless.enrolment_envelope("t").to_json().into_bytes(), 400, "malformed"),
        (wordy.enrolment_envelope("t").to_json().into_bytes(), 400, "malformed"),
        // More than the rotations of a whole life take.
        (vec![b'x'; 600_000], 413, "too_large"),
    ] {
        let reply = sink.post_with("/v1/enrol", &[], &body);
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason));
    }
}

#[test]
fn tokens_are_kept_as_digests_only() {
    let sink = Sink::start();
    let token = sink.token();
    let listed = sink.running().app().store.read(gatepost_sink::store::tokens::list).unwrap();
    assert_eq!(listed[0].digest, Digest::of(token.as_bytes()));
    for entry in std::fs::read_dir(sink.folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
    }
}

#[test]
fn a_run_renames_its_gateway_within_the_bounds_of_an_enrolment() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    for (name, labels, shown) in [
        ("pump-house-2", 1, "pump-house-2"),
        ("", 1, "pump-house-2"),
        (" \t", 1, "pump-house-2"),
        (&"n".repeat(201), 1, "pump-house-2"),
        ("pump-house-3", 65, "pump-house-2"),
        ("pump-house-3", 64, "pump-house-3"),
    ] {
        field.name = name.to_owned();
        field.labels = (0..labels).map(|n| (format!("label-{n}"), String::new())).collect();
        let run = field.run(State::Hardened);
        sink.accept(&[run]);
        assert_eq!(sink.get(&field.path("")).json()["name"], shown, "{} characters, {labels} labels", name.len());
    }
}

#[test]
fn a_key_that_gateways_know_is_not_made_anew() {
    let mut sink = Sink::start();
    sink.stop();
    let path = sink.folder.path().join("sink.key");
    std::fs::remove_file(&path).unwrap();
    sink.open();
    let _field = Field::enrolled(1, &sink);
    sink.stop();
    std::fs::remove_file(&path).unwrap();
    let _in = sink.runtime.enter();
    let error = gatepost_sink::serve::start(&sink.options()).map(drop).unwrap_err();
    assert!(error.to_string().contains("sink.key") && error.to_string().contains("backup"), "{error}");
    assert!(!path.exists());
}
