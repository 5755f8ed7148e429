//! Uploads: what is accepted, what is refused and why, and that accepted means kept.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Field, Sink, State};
use gatepost_evidence::batch::{self, Encoded};
use gatepost_evidence::envelope::{Envelope, MAX_ENVELOPE_BYTES};
use gatepost_evidence::parts::Parts;
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::run::{PAYLOAD_TYPE, SignedRun};
use gatepost_evidence::wire::{Answer, MAX_BATCH_BYTES, MAX_BATCH_ENVELOPES, UNKNOWN_DICTIONARY};

fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Rejected { reason, .. } => reason,
        Answer::Accepted { .. } => "accepted",
        Answer::Duplicate { .. } => "duplicate",
    }
}

#[test]
fn an_accepted_run_gets_a_receipt_and_a_duplicate_gets_the_same_one() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let run = field.run(State::Hardened);
    let first = sink.upload(std::slice::from_ref(&run));
    let Answer::Accepted { digest, receipt, .. } = &first[0] else { panic!("{first:?}") };
    assert_eq!(*digest, run.digest);
    let opened = Receipt::open(receipt, sink.running().app().key.public()).unwrap();
    assert_eq!((opened.gateway, opened.seq, opened.digest), (field.id(), 1, run.digest));

    let again = sink.upload(&[run.clone(), run.clone()]);
    for answer in &again {
        let Answer::Duplicate { digest, receipt: same, .. } = answer else { panic!("{answer:?}") };
        assert_eq!((digest, same), (&run.digest, receipt));
    }
    let stored = sink.get(&field.path("/runs/1/envelope"));
    assert_eq!(stored.text(), run.envelope, "kept byte for byte");
    let receipt: Envelope = serde_json::from_slice(&sink.get(&field.path("/runs/1/receipt")).body).unwrap();
    assert_eq!(Receipt::open(&receipt, sink.running().app().key.public()).unwrap(), opened);
}

#[test]
fn each_envelope_is_answered_on_its_own() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let other = Field::enrolled(2, &sink);
    let mut stranger = Field::new(3);
    let good = field.run(State::Hardened);
    let parsed = Envelope::parse(good.envelope.as_bytes()).unwrap();

    let mut altered = parsed.clone();
    altered.payload.replace_range(100..104, "AAAA");
    let mut unsigned = parsed.clone();
    unsigned.signatures.clear();
    let mut anonymous = parsed.clone();
    anonymous.signatures[0].keyid = "me".into();
    let payload = parsed.open(PAYLOAD_TYPE, field.key.public()).unwrap();
    let spaced = Envelope::sign(PAYLOAD_TYPE, &[&payload[..], b" "].concat(), &field.key);
    let no_run = Envelope::sign(PAYLOAD_TYPE, b"{}", &field.key);
    let wrong_type = Envelope::sign("text/plain", &payload, &field.key);
    let about_other = field.next(State::Hardened);
    let about_other = {
        let mut run = about_other;
        run.gateway.id = other.id();
        run.sign(&field.key).unwrap().envelope
    };

    let lines = vec![
        altered.to_json(),
        "not json".into(),
        String::new(),
        unsigned.to_json(),
        anonymous.to_json(),
        stranger.run(State::Hardened).envelope,
        spaced.to_json(),
        no_run.to_json(),
        wrong_type.to_json(),
        about_other,
        "x".repeat(MAX_ENVELOPE_BYTES + 1),
        good.envelope.clone(),
    ];
    let answers = sink.upload_lines(&lines).answers();
    let reasons: Vec<_> = answers.iter().map(reason).collect();
    assert_eq!(
        reasons,
        [
            "bad_signature",
            "malformed",
            "malformed",
            "signature_count",
            "unknown_key",
            "unknown_key",
            "not_canonical",
            "not_a_run",
            "payload_type",
            "other_gateway",
            "too_large",
            "accepted"
        ]
    );
    let fleet = sink.get("/api/v1/gateways").json();
    assert_eq!(fleet["refusals"]["malformed"], 2);
    assert_eq!(fleet["refusals"]["too_large"], 1);
    let view = sink.get(&field.path("")).json();
    assert_eq!(view["runs"], 1, "nothing refused is counted as a run");
    let kept: Vec<_> = view["quarantined"].as_array().unwrap().iter().map(|entry| entry["reason"].clone()).collect();
    assert_eq!(kept, ["other_gateway", "not_a_run", "not_canonical"], "what it signed itself is kept as evidence");
}

#[test]
fn a_seq_beyond_what_is_kept_is_refused() {
    let sink = Sink::start();
    let field = Field::enrolled(1, &sink);
    // Our own agent cannot sign such a number; somebody else's could.
    let signed = field.next(State::Hardened).sign(&field.key).unwrap();
    let payload = Envelope::parse(signed.envelope.as_bytes()).unwrap().open(PAYLOAD_TYPE, field.key.public()).unwrap();
    let payload = String::from_utf8(payload).unwrap().replace("\"seq\":1,", "\"seq\":9223372036854775808,");
    let answers =
        sink.upload_lines(&[Envelope::sign(PAYLOAD_TYPE, payload.as_bytes(), &field.key).to_json()]).answers();
    assert!(matches!(reason(&answers[0]), "not_a_run" | "not_canonical"), "{answers:?}");
}

#[test]
fn forks_are_refused_and_kept_and_gaps_are_accepted_and_shown() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened, State::Hardened, State::Hardened, State::Hardened, State::Hardened]);
    let mut clone = Field::new(1);
    let other_first = clone.run(State::Exposed);
    let other_second = clone.run(State::Exposed);

    sink.accept(&runs[..1]);
    let answers = sink.upload(&[other_first.clone(), other_second.clone()]);
    assert_eq!(answers.iter().map(reason).collect::<Vec<_>>(), ["fork", "fork"]);

    // 2 and 4 are missing.
    sink.accept(&[runs[2].clone(), runs[4].clone()]);
    let view = sink.get(&field.path("")).json();
    assert_eq!(view["chain_gaps"], serde_json::json!([{"from": 2, "to": 2}, {"from": 4, "to": 4}]));
    assert_eq!(view["last_run"]["link"], "gap");
    assert_eq!(view["quarantined"].as_array().unwrap().len(), 2);
    assert_eq!(view["quarantined"][0]["reason"], "fork");

    // A late run that its known successor does not name is a fork too, even where its predecessor is unknown.
    let mut forged = field.next(State::Exposed);
    (forged.seq, forged.prev) = (4, Some(runs[2].digest));
    assert_eq!(reason(&sink.upload(&[forged.sign(&field.key).unwrap()])[0]), "fork");

    // The real ones come late and close the gaps.
    sink.accept(&[runs[1].clone(), runs[3].clone()]);
    assert_eq!(sink.get(&field.path("")).json()["chain_gaps"], serde_json::json!([]));
    let listed = sink.get(&field.path("/runs")).json();
    let links: Vec<_> = listed["runs"].as_array().unwrap().iter().map(|run| run["link"].clone()).collect();
    assert_eq!(links, ["gap", "late", "gap", "late", "continues"]);

    // The same fork again takes no second place in the quarantine.
    sink.upload(&[other_first]);
    let view = sink.get(&field.path("")).json();
    let entries = view["quarantined"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().any(|entry| entry["times"] == 2));
}

#[test]
fn batches_that_are_too_large_or_not_zstd_are_refused_whole() {
    let sink = Sink::start();
    let zeros = vec![0; 64 * MAX_BATCH_BYTES];
    let bomb = zstd::encode_all(&zeros[..], 3).unwrap();
    assert!(bomb.len() < MAX_BATCH_BYTES / 8, "small on the wire");
    let many = zstd::encode_all(&[0; 5 * (MAX_BATCH_ENVELOPES + 1)][..], 3).unwrap();
    let Encoded { body: good, .. } = batch::encode(["x"], None).unwrap();
    let lines = zstd::encode_all(&b"{}\n{}\n"[..], 3).unwrap();
    for (body, status, reason) in [
        (bomb, 413, "too_large"),
        (many, 413, "too_many"),
        (vec![7; MAX_BATCH_BYTES + 1], 413, "too_large"),
        (b"garbage".to_vec(), 400, "bad_zstd"),
        (good[..good.len() - 1].to_vec(), 400, "bad_zstd"),
        ([&good[..], b"tail"].concat(), 400, "bad_zstd"),
        (lines, 400, "bad_batch"),
    ] {
        let reply = sink.upload_bytes(batch::ZSTD, &body);
        assert_eq!((reply.status, reply.reason().as_str()), (status, reason));
    }
    let no_media_type = sink.post_with("/v1/runs", &[("content-encoding", "zstd")], &good);
    assert_eq!((no_media_type.status, no_media_type.reason().as_str()), (415, "content_type"));
    for encoding in ["gzip", "identity"] {
        let plain = sink.upload_bytes(encoding, &good);
        assert_eq!((plain.status, plain.reason().as_str()), (415, "content_encoding"));
        assert_eq!(plain.headers["accept-encoding"], "zstd");
    }
    assert!(sink.upload_lines(&[]).answers().is_empty());
    assert_eq!(sink.get("/api/v1/gateways").json()["refusals"], serde_json::json!({}), "nothing of it is kept");
    assert_eq!(sink.get_with("/healthz", &[]).status, 200, "it still serves");
}

/// The bytes that were signed.
fn payload(run: &SignedRun) -> Vec<u8> {
    Parts::of(&run.envelope).unwrap().payload
}

#[test]
fn a_batch_against_a_run_that_is_here_is_kept_byte_for_byte() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 3]);
    sink.accept(&runs[..1]);
    let lines: Vec<_> = runs[1..].iter().map(|run| run.envelope.clone()).collect();
    let alone = batch::encode(lines.iter().map(String::as_str), None).unwrap().body.len();
    let against = batch::encode(lines.iter().map(String::as_str), Some(&payload(&runs[0]))).unwrap().body.len();
    assert!(against < alone, "{against} against the run, {alone} alone");
    let answers = sink.upload_lines_against(&lines, Some(&payload(&runs[0]))).answers();
    assert_eq!(answers.iter().map(reason).collect::<Vec<_>>(), ["accepted", "accepted"]);
    for (run, seq) in runs.iter().zip(1..) {
        assert_eq!(sink.get(&field.path(&format!("/runs/{seq}/envelope"))).text(), run.envelope);
    }
}

#[test]
fn a_batch_against_a_run_that_is_not_here_is_not_taken_until_it_comes_without() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Hardened; 2]);
    let line = [runs[1].envelope.clone()];
    let reply = sink.upload_lines_against(&line, Some(&payload(&runs[0])));
    assert_eq!((reply.status, reply.reason().as_str()), (415, UNKNOWN_DICTIONARY));
    assert_eq!(reply.headers["accept-encoding"], "zstd");
    let Encoded { mut body, .. } = batch::encode([line[0].as_str()], Some(&payload(&runs[0]))).unwrap();
    let view = sink.get(&field.path("")).json();
    assert_eq!((&view["runs"], &view["quarantined"]), (&0.into(), &serde_json::json!([])));
    sink.accept(&runs);
    // It is here now; with another magic number, or cut short, nobody looks for it.
    assert_eq!(sink.upload_bytes(batch::DCZ, &body[..39]).reason(), "bad_dcz");
    body[0] ^= 1;
    assert_eq!(sink.upload_bytes(batch::DCZ, &body).reason(), "bad_dcz");
    body[0] ^= 1;
    assert_eq!(reason(&sink.upload_bytes(batch::DCZ, &body).answers()[0]), "duplicate");
    // As a frame without a dictionary it is none, and a bomb in it goes off no more than in another.
    assert_eq!(sink.upload_bytes(batch::ZSTD, &body[40..]).reason(), "bad_zstd");
    body.truncate(40);
    body.extend(zstd::encode_all(&vec![0; 16 * MAX_BATCH_BYTES][..], 3).unwrap());
    assert_eq!(sink.upload_bytes(batch::DCZ, &body).status, 413);
}

#[test]
fn the_words_of_a_run_are_not_told_to_whoever_only_knows_its_digest() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let run = field.run(State::Hardened);
    sink.accept(std::slice::from_ref(&run));
    let detail = |lines: &[String], dictionary: Option<&[u8]>| match &sink
        .upload_lines_against(lines, dictionary)
        .answers()[0]
    {
        Answer::Rejected { reason, detail } => (reason.clone(), detail.clone()),
        other => panic!("{other:?}"),
    };
    // A refusal may quote what was refused: here, what came out of somebody else's run.
    let quoting = Envelope::sign("words of the run", b"{}", &Field::enrolled(2, &sink).key).to_json();
    let (said, words) = detail(std::slice::from_ref(&quoting), None);
    assert_eq!(said, "payload_type");
    assert!(words.contains("words of the run"), "{words}");
    let (said, words) = detail(&[quoting], Some(&payload(&run)));
    assert_eq!(said, "payload_type");
    assert!(!words.contains("words of the run") && words.contains("without"), "{words}");
    // The gateway itself hears what is wrong with what it signed.
    let (said, words) = detail(&[Envelope::sign(PAYLOAD_TYPE, b"{}", &field.key).to_json()], Some(&payload(&run)));
    assert_eq!(said, "not_a_run");
    assert!(!words.contains("without"), "{words}");
}

#[test]
fn a_full_batch_is_taken() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Hardened; MAX_BATCH_ENVELOPES]));
    assert_eq!(sink.get(&field.path("")).json()["runs"], MAX_BATCH_ENVELOPES);
}

#[test]
fn what_was_accepted_is_there_after_the_process_is_gone() {
    let mut sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let runs = field.runs(&[State::Exposed, State::Hardened]);
    let before = sink.upload(&runs);
    // What a kill leaves: the files as they are at this moment, and nothing that was only in memory.
    let killed = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(sink.folder.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), killed.path().join(entry.file_name())).unwrap();
    }
    sink.stop();
    sink.folder = killed;
    sink.open();
    let after = sink.upload(&runs);
    for (before, after) in before.iter().zip(&after) {
        let (Answer::Accepted { receipt: first, .. }, Answer::Duplicate { receipt: second, .. }) = (before, after)
        else {
            panic!("{before:?} {after:?}")
        };
        assert_eq!(first, second);
    }
    // The worker takes up what was not judged.
    assert_eq!(sink.judged(&field.path("/runs/1"))["run"]["seq"], 1);
}

#[test]
fn many_gateways_at_once_are_all_kept() {
    let sink = Sink::start();
    std::thread::scope(|scope| {
        for seed in 1..=8 {
            let sink = &sink;
            scope.spawn(move || {
                let mut field = Field::enrolled(seed, sink);
                for _ in 0..10 {
                    sink.accept(&field.runs(&[State::Hardened; 3]));
                }
            });
        }
    });
    let fleet = sink.get("/api/v1/gateways").json();
    for gateway in fleet["gateways"].as_array().unwrap() {
        assert_eq!((&gateway["runs"], &gateway["chain_gaps"]), (&30.into(), &serde_json::json!([])));
    }
}
