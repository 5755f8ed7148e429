//! Golden vectors: signed runs, a chain, a receipt, and what tampering makes of them, the same bytes every time.
//!
//! They pin the evidence format for everybody who reads it, in any language: `tests/tests/golden.rs` compares the files in
//! `fixtures/golden/` with what is made here, and `tests/tests/python.rs` gives them to a verifier that nobody here wrote.
//!
//! The keys are made from seeds that stand below for everybody to read. They sign nothing but these files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::check::ingest_auth::{Answer, Credentials, Observation, Request};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::run::{
    Agent, BundleRef, Clock, Gateway, Host, PAYLOAD_TYPE, Record, Run, SignedRun, Stage, Status, Target, TargetKind,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// The gateway's seed. For tests only, and public.
pub const GATEWAY_SEED: &[u8; 32] = b"gatepost golden gateway test key";
/// The sink's seed. For tests only, and public.
pub const SINK_SEED: &[u8; 32] = b"gatepost golden sinkkey test key";
/// The seed of a key that nobody knows. For tests only, and public.
pub const OTHER_SEED: &[u8; 32] = b"gatepost golden another test key";
/// The key that the gateway's is rotated to, in those vectors that have a rotation.
pub const NEXT_SEED: &[u8; 32] = b"gatepost golden nextkey test key";

/// The good runs that stand alone or begin a chain.
pub const RUNS: &[&str] = &["run.json", "text-and-numbers.json"];
/// The runs of one chain, in order.
pub const CHAIN: &[&str] = &["chain-1.json", "chain-2.json", "chain-3.json"];
/// Files that must be refused, each with the stable reason of the refusal.
pub const TAMPERED: &[(&str, &str)] = &[
    ("tampered/payload-byte-flipped.json", "bad_signature"),
    ("tampered/signature-flipped.json", "bad_signature"),
    ("tampered/another-key.json", "unknown_key"),
    ("tampered/another-key-under-this-name.json", "bad_signature"),
    ("tampered/another-payload-type.json", "payload_type"),
    ("tampered/payload-type-renamed.json", "bad_signature"),
    ("tampered/two-signatures.json", "signature_count"),
    ("tampered/no-signature.json", "signature_count"),
    ("tampered/spaces-in-payload.json", "not_canonical"),
    ("tampered/keys-out-of-order.json", "not_canonical"),
    ("tampered/another-gateway.json", "other_gateway"),
    ("tampered/no-previous-run.json", "not_a_run"),
    ("tampered/cut-short.json", "malformed"),
];
/// A receipt that must be refused, with the stable reason.
pub const TAMPERED_RECEIPT: (&str, &str) = ("tampered/receipt-by-another-key.json", "unknown_key");

/// `fixtures/golden` in the sources.
#[must_use]
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden")
}

/// Every golden file by its name, as it must stand on disk.
///
/// # Errors
/// When a run cannot be signed, which would be a fault of the evidence crate.
pub fn files() -> Result<BTreeMap<String, String>> {
    let (gateway, sink, other) = (key(GATEWAY_SEED)?, key(SINK_SEED)?, key(OTHER_SEED)?);
    let id = gateway.public().id();
    let mut files = BTreeMap::from([
        ("gateway.pub.pem".to_owned(), gateway.public().to_pem()),
        ("sink.pub.pem".to_owned(), sink.public().to_pem()),
    ]);
    let mut add = |name: &str, envelope: &str| files.insert(name.to_owned(), format!("{envelope}\n"));

    let run = run(id, 1, None)?;
    let signed = run.sign(&gateway)?;
    add("run.json", &signed.envelope);
    add("text-and-numbers.json", &text_and_numbers(run.clone()).sign(&gateway)?.envelope);
    for (name, signed) in CHAIN.iter().zip(chain(id, &gateway)?) {
        add(name, &signed.envelope);
    }
    let receipt = Receipt {
        gateway: id,
        seq: 1,
        digest: signed.digest,
        accepted_at: run.finished_at + SignedDuration::from_secs(7),
    };
    add("receipt.json", &receipt.sign(&sink)?.to_json());
    add(TAMPERED_RECEIPT.0, &receipt.sign(&other)?.to_json());
    for (name, _) in TAMPERED {
        add(name, &tampered(name, &run, &gateway, &other)?);
    }
    Ok(files)
}

/// The key of a seed.
pub(crate) fn key(seed: &[u8; 32]) -> Result<SigningKey> {
    SigningKey::from_seed(seed).context("the seed makes no key")
}

/// What tampering makes of `run.json`.
fn tampered(name: &str, run: &Run, gateway: &SigningKey, other: &SigningKey) -> Result<String> {
    let good = Envelope::parse(run.sign(gateway)?.envelope.as_bytes())?;
    let payload = STANDARD.decode(&good.payload)?;
    let mut bad = good.clone();
    match name {
        "tampered/payload-byte-flipped.json" => {
            bad.payload = STANDARD.encode(replaced(&payload, "\"status\":401", "\"status\":411")?);
        }
        "tampered/signature-flipped.json" => {
            let mut signature = STANDARD.decode(&bad.signatures[0].sig)?;
            signature[17] ^= 0x01;
            bad.signatures[0].sig = STANDARD.encode(signature);
        }
        "tampered/another-key.json" => bad = Envelope::sign(PAYLOAD_TYPE, &payload, other),
        "tampered/another-key-under-this-name.json" => {
            bad = Envelope::sign(PAYLOAD_TYPE, &payload, other);
            bad.signatures[0].keyid = gateway.public().id().to_string();
        }
        "tampered/another-payload-type.json" => bad = Envelope::sign("application/json", &payload, gateway),
        "tampered/payload-type-renamed.json" => {
            bad = Envelope::sign("application/json", &payload, gateway);
            bad.payload_type = PAYLOAD_TYPE.to_owned();
        }
        "tampered/two-signatures.json" => {
            bad.signatures.extend(Envelope::sign(PAYLOAD_TYPE, &payload, other).signatures);
        }
        "tampered/no-signature.json" => bad.signatures.clear(),
        "tampered/spaces-in-payload.json" => {
            bad = Envelope::sign(PAYLOAD_TYPE, &replaced(&payload, "\"seq\":1", "\"seq\": 1")?, gateway);
        }
        "tampered/keys-out-of-order.json" => {
            let swapped = replaced(&payload, "\"prev\":null,\"records\"", "\"records\"")?;
            let swapped = replaced(&swapped, "\"seq\":1", "\"seq\":1,\"prev\":null")?;
            bad = Envelope::sign(PAYLOAD_TYPE, &swapped, gateway);
        }
        "tampered/another-gateway.json" => {
            let mut run = run.clone();
            run.gateway.id = other.public().id();
            return Ok(run.sign(gateway)?.envelope);
        }
        "tampered/no-previous-run.json" => return Ok(Run { seq: 2, ..run.clone() }.sign(gateway)?.envelope),
        "tampered/cut-short.json" => {
            let mut text = good.to_json();
            text.truncate(text.len() / 2);
            return Ok(text);
        }
        _ => anyhow::bail!("nobody wrote how {name} is made"),
    }
    Ok(bad.to_json())
}

/// `payload` with the one place that says `from` saying `to`.
fn replaced(payload: &[u8], from: &str, to: &str) -> Result<Vec<u8>> {
    let text = std::str::from_utf8(payload)?;
    anyhow::ensure!(text.matches(from).count() == 1, "{from} does not stand exactly once in the payload");
    Ok(text.replace(from, to).into_bytes())
}

fn chain(id: GatewayId, key: &SigningKey) -> Result<Vec<SignedRun>> {
    let mut chain: Vec<SignedRun> = Vec::new();
    for seq in 1..=3 {
        chain.push(run(id, seq, chain.last().map(|signed| signed.digest))?.sign(key)?);
    }
    Ok(chain)
}

/// A run as an agent would make it: something observed, something out of reach, something left out.
pub(crate) fn run(id: GatewayId, seq: u64, prev: Option<Digest>) -> Result<Run> {
    let began: Timestamp = "2026-03-01T10:00:00Z".parse()?;
    let began = began + SignedDuration::from_hours(i64::try_from(seq)? - 1);
    let request = |credentials, status| Request {
        credentials,
        plaintext: false,
        answer: Look::Seen(Answer {
            status,
            headers: BTreeMap::from([("www-authenticate".to_owned(), "Bearer".to_owned())]),
            micros: 1_250,
            marks: Default::default(),
            body: None,
        }),
    };
    let closed = Request {
        credentials: Credentials::None,
        plaintext: true,
        answer: Look::Failed(Failure::new(FailureKind::Refused, "Connection refused (os error 111)")),
    };
    let observation = Observation {
        url: "https://ingest.example/v1/events".to_owned(),
        plaintext_url: Some("http://ingest.example/v1/events".to_owned()),
        requests: vec![request(Credentials::None, 401), request(Credentials::Right, 202), closed],
        ..Observation::default()
    };
    let record = |check: &str, target, status, detail: Option<&str>, observation| Record {
        check: check.to_owned(),
        contract: 1,
        target,
        status,
        detail: detail.map(str::to_owned),
        observed_at: began,
        duration_ms: 12,
        observation,
    };
    Ok(Run {
        gateway: Gateway {
            id,
            name: "pump-house-7".to_owned(),
            labels: BTreeMap::from([("site".to_owned(), "north".to_owned())]),
        },
        seq,
        prev,
        stage: Stage::Audit,
        bundle: BundleRef { name: "audit-baseline".to_owned(), version: "1.0.0".to_owned() },
        agent: Agent { version: "0.1.0".to_owned() },
        host: Host {
            os: Some("Debian GNU/Linux 12 (bookworm)".to_owned()),
            kernel: Some("6.12.25+rpt-rpi-2712".to_owned()),
            architecture: "aarch64".to_owned(),
            model: Some("Raspberry Pi 5 Model B Rev 1.0".to_owned()),
        },
        clock: Clock {
            boot_id: Some("1b4e28ba-2fa1-11d2-883f-0016d3cca427".to_owned()),
            uptime_ms: 86_400_000 + seq,
            synchronised: Some(true),
            source: Some("systemd-timesyncd".to_owned()),
            sink_time: None,
        },
        started_at: began,
        finished_at: began + SignedDuration::from_millis(480),
        records: vec![
            record(
                "ingest_auth",
                Target::new(TargetKind::IngestEdge, "ingest"),
                Status::Observed,
                None,
                Some(serde_json::to_value(observation)?),
            ),
            record(
                "broker_transport_posture",
                Target::new(TargetKind::Broker, "broker"),
                Status::Unreachable,
                Some("refused: nobody listens on 127.0.0.1:8883"),
                None,
            ),
            record(
                "link_posture",
                Target::new(TargetKind::Uplink, "uplink"),
                Status::Skipped,
                Some("not in this bundle"),
                None,
            ),
        ],
    })
}

/// A run of a check that no build knows, with what two implementations of RFC 8785 could disagree on: the order of names
/// by UTF-16 code units, escapes, and how numbers are written (RFC 8785, section 3.2.2 and appendix B).
fn text_and_numbers(mut run: Run) -> Run {
    let names = ["\u{20ac}", "\r", "\u{fb33}", "1", "\u{1f600}", "\u{80}", "\u{f6}", ""];
    run.gateway.labels = names.iter().map(|name| ((*name).to_owned(), format!("label {name}"))).collect();
    run.gateway.name = "P\u{e5}mp\u{2028}hus \"7\" \\ \u{8}\t\n\u{1}\u{7f}".to_owned();
    run.records.push(Record {
        check: "of_another_day".to_owned(),
        contract: 9,
        target: Target::new(TargetKind::Host, "host"),
        status: Status::Observed,
        detail: None,
        observed_at: run.started_at,
        duration_ms: 0,
        observation: Some(numbers()),
    });
    run
}

fn numbers() -> Value {
    json!([
        0,
        -0.0,
        1.0,
        -1.5,
        4.50,
        2e-3,
        1e-6,
        1e-7,
        1e20,
        1e21,
        333_333_333.333_333_3,
        1e30,
        5e-324,
        1.797_693_134_862_315_7e308,
        9_007_199_254_740_991_i64,
        -9_007_199_254_740_991_i64,
        0.1,
        1e-27
    ])
}
