//! Key rotations at the sink: taken in with the runs behind them, refused with a reason, and never a key of somebody else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Field, Sink, State};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::rotation::{Keyring, PAYLOAD_TYPE, Rotation};
use gatepost_evidence::wire::{Answer, ENROLMENT_TYPE, Enrolment};
use serde_json::Value;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// The rotation of a gateway's first key to `new`, at the end of its chain.
fn rotation(field: &Field, new: &SigningKey) -> Envelope {
    at(field, new, (field.seq + 1, field.prev))
}

fn at(field: &Field, new: &SigningKey, place: (u64, Option<Digest>)) -> Envelope {
    let ring = Keyring::new(field.key.public().clone());
    Rotation::sign(&ring, &field.key, new, place, "2026-03-02T08:00:00Z".parse().unwrap()).unwrap()
}

/// The next run of the gateway, signed by `key`.
fn run(field: &mut Field, key: &SigningKey) -> String {
    let run = field.next(State::Hardened);
    let signed = run.sign(key).unwrap();
    (field.seq, field.prev) = (run.seq, Some(signed.digest));
    signed.envelope
}

/// What each line was answered with: `accepted`, `duplicate` or the reason.
fn upload(sink: &Sink, lines: &[String]) -> Vec<String> {
    let word = |answer: Answer| match answer {
        Answer::Accepted { .. } => "accepted".to_owned(),
        Answer::Duplicate { .. } => "duplicate".to_owned(),
        Answer::Rejected { reason, .. } => reason,
    };
    sink.upload_lines(lines).answers().into_iter().map(word).collect()
}

fn view(sink: &Sink, field: &Field) -> Value {
    sink.get(&field.path("")).json()
}

#[test]
fn a_rotation_opens_the_way_for_the_runs_behind_it() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let first = run(&mut field, &key(1));
    let turn = rotation(&field, &key(2));
    let second = run(&mut field, &key(2));
    assert_eq!(
        upload(&sink, std::slice::from_ref(&second)),
        ["unknown_key"],
        "before the rotation nobody knows this key"
    );
    let batch = [first, turn.to_json(), second];
    assert_eq!(upload(&sink, &batch), ["accepted"; 3]);
    assert_eq!(upload(&sink, &batch), ["duplicate"; 3]);
    let mut late = Field { seq: 2, prev: field.prev, ..Field::new(1) };
    assert_eq!(upload(&sink, &[run(&mut late, &key(1))]), ["retired_key"]);
    let answers = sink.upload_lines(&[turn.to_json()]).answers();
    let Answer::Duplicate { digest, receipt, .. } = &answers[0] else { panic!("{answers:?}") };
    let receipt = Receipt::open(receipt, sink.running().app().key.public()).unwrap();
    assert_eq!((receipt.gateway, receipt.seq, receipt.digest), (field.id(), 2, *digest));
    let payload = turn.open(PAYLOAD_TYPE, field.key.public()).unwrap();
    assert_eq!(Digest::of(&payload), *digest);
    assert_eq!(sink.get_with(&format!("/v1/log/inclusion?digest={digest}"), &[]).status, 200);
    let seen = view(&sink, &field);
    assert_eq!(seen["keys"][1]["from_seq"], 2);
    assert_eq!(seen["quarantined"][0]["reason"], "retired_key");
}

#[test]
fn what_contradicts_the_chain_or_takes_a_foreign_key_is_refused() {
    let sink = Sink::start();
    let other = Field::enrolled(9, &sink);
    let mut field = Field::enrolled(1, &sink);
    let runs = [run(&mut field, &key(1)), run(&mut field, &key(1)), run(&mut field, &key(1))];
    assert_eq!(upload(&sink, &runs), ["accepted"; 3]);
    let before = |seq: u64, prev: &[u8]| at(&field, &key(2), (seq, Some(Digest::of(prev)))).to_json();
    let refused = [before(3, b"x"), before(4, b"another run 3"), rotation(&field, &other.key).to_json()];
    assert_eq!(upload(&sink, &refused), ["fork", "fork", "key_in_use"]);
    let stranger = at(&Field::new(7), &key(2), (4, field.prev));
    assert_eq!(upload(&sink, &[stranger.to_json()]), ["unknown_key"]);
    // In one batch: the second rotation from one key, and what its key signed.
    let (good, bad) = (rotation(&field, &key(2)).to_json(), at(&field, &key(3), (9, Some(Digest::of(b"8")))).to_json());
    let mut forked = Field { seq: field.seq, prev: field.prev, ..Field::new(1) };
    let by_second = run(&mut forked, &key(3));
    assert_eq!(
        upload(&sink, &[good, bad, by_second, run(&mut field, &key(2))]),
        ["accepted", "fork", "unknown_key", "accepted"]
    );
    let seen = view(&sink, &field);
    let reasons: Vec<_> = seen["quarantined"].as_array().unwrap().iter().map(|entry| &entry["reason"]).collect();
    assert_eq!(reasons, ["fork", "key_in_use", "fork", "fork"], "{seen:#}");
    // A run that is not the one which the rotation says stands before its place.
    let mut gap = Field::enrolled(4, &sink);
    let real = run(&mut gap, &key(4));
    let turn = rotation(&gap, &key(5)).to_json();
    let mut copy = Field::new(4);
    let mut elsewhere = copy.next(State::Exposed);
    elsewhere.clock.uptime_ms += 1;
    let elsewhere = copy.sign(&elsewhere).envelope;
    assert_eq!(upload(&sink, &[turn, elsewhere, real]), ["accepted", "fork", "accepted"]);
}

#[test]
fn a_rotated_gateway_enrols_with_its_ring_and_an_old_copy_does_not() {
    let sink = Sink::start();
    let mut field = Field::new(1);
    run(&mut field, &key(1));
    let turn = rotation(&field, &key(2));
    let enrol = |public: u8, rotations: Vec<Envelope>, signer: u8| {
        let enrolment =
            Enrolment { public_key: key(public).public().clone(), rotations, ..field.enrolment(&sink.token()) };
        let reply = sink.enrol(&Envelope::sign(ENROLMENT_TYPE, &canonical::to_vec(&enrolment).unwrap(), &key(signer)));
        if reply.status == 200 { "enrolled".to_owned() } else { reply.reason() }
    };
    assert_eq!(enrol(1, vec![turn.clone()], 1), "unknown_key", "not signed by the current key");
    assert_eq!(enrol(1, vec![turn.clone()], 2), "enrolled");
    assert_eq!(enrol(1, vec![turn.clone()], 2), "enrolled", "again");
    assert_eq!(enrol(1, vec![], 1), "retired_key");
    assert_eq!(enrol(2, vec![], 2), "key_in_use");
    assert_eq!(enrol(1, vec![at(&field, &key(3), (5, field.prev))], 3), "fork");
    let seen = view(&sink, &field);
    assert_eq!((&seen["keys"][1]["from_seq"], &seen["quarantined"][0]["reason"]), (&2.into(), &"fork".into()));
    assert_eq!(upload(&sink, &[turn.to_json(), run(&mut field, &key(2))]), ["duplicate", "accepted"]);
}
