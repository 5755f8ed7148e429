//! The challenge over MQTT on a real Mosquitto, with devices that are C programs on mbedTLS: good ones, and each that is
//! not. And the reference in C against the contract in Rust, byte by byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use gatepost_evidence::challenge::{Answer, Challenge};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::signature;
use gatepost_tests::agent::{Agent, run};
use gatepost_tests::broker::Broker;
use gatepost_tests::device::{Device, Site, Wanted, provision, simulator};
use gatepost_tests::pki::{DEVICES, Identity, Pki};
use gatepost_tests::process::LIMIT;
use serde_json::Value;

/// A broker, its certificates, and an agent that challenges the lab's first device.
struct Field {
    agent: Agent,
    broker: Broker,
    pki: Pki,
    folder: tempfile::TempDir,
}

impl Field {
    /// `more` is added to the configuration of the device.
    fn new(more: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::create(&folder.path().join("pki"))?;
        let broker = Broker::start(&folder.path().join("broker"), &pki)?;
        let text = format!(
            "[state]\ndirectory = {:?}\n\n[broker]\nserver_name = \"localhost\"\ntls = [\"{}\"]\nca_file = {:?}\n\
             client_certificate = {:?}\nclient_key = {:?}\n\n[devices]\nca_file = {:?}\n\n\
             [devices.challenge]\ntimeout = \"1s\"\n\n[[devices.device]]\nid = \"{}\"\nchallenge = true\n{more}\n",
            folder.path().join("state"),
            broker.tls_address(),
            pki.ca,
            pki.gateway.certificate,
            pki.gateway.key,
            pki.ca,
            DEVICES[0],
        );
        let agent = Agent::configured(&folder.path().join("gatepost.toml"), &text)?;
        Ok(Self { agent, broker, pki, folder })
    }

    fn site(&self) -> Site<'_> {
        Site { broker: self.broker.tls_address(), ca: &self.pki.ca }
    }

    fn device(&self, options: &[(&str, &str)]) -> Result<Device> {
        Device::start(DEVICES[0], &self.pki.devices[0], Some(self.site()), options)
    }

    /// The keys of what was found, sorted, and the report.
    fn found(&self) -> Result<(Vec<String>, Value)> {
        let report = self.agent.run(&["audit", "--bundle", "certificate-hygiene", "--format", "json"])?.json()?;
        let rows = report["findings"].as_array().context("no findings")?;
        let key = |row: &Value| row["key"].as_str()?.strip_prefix("device_certificate_hygiene.").map(str::to_owned);
        let mut keys: Vec<String> = rows.iter().filter_map(key).collect();
        keys.sort();
        Ok((keys, report))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_device_proves_its_key_without_a_tls_server() -> Result<()> {
    let field = Field::new("")?;
    let device = field.device(&[])?;
    let (found, report) = field.found()?;
    assert_eq!(found, Vec::<String>::new(), "{}\n{report:#}", device.log());
    assert_eq!(report["gaps"], serde_json::json!([]), "{report:#}");
    assert!(device.log().ends_with("answered"), "{}", device.log());
    Ok(())
}

#[test]
fn each_way_to_answer_wrongly_is_a_finding_of_its_own() -> Result<()> {
    let field = Field::new("")?;
    let [_, second, third] = &field.pki.devices[..] else { panic!("three devices") };
    let gateway = "ab".repeat(32);
    let cases: [(&str, &[(&str, &str)], &[&str]); 9] = [
        ("another key", &[("answer-key", text(&second.key))], &["challenge_wrong_signature"]),
        (
            "another certificate",
            &[("answer-certificate", text(&second.certificate))],
            &["challenge_wrong_signature", "identity_mismatch"],
        ),
        (
            "another device's identity",
            &[("answer-key", text(&third.key)), ("answer-certificate", text(&third.certificate))],
            &["identity_mismatch"],
        ),
        ("signed for another device", &[("signs-for", "stm32-02")], &["challenge_wrong_signature"]),
        ("garbage", &[("misbehave", "garbage")], &["challenge_malformed"]),
        ("a megabyte", &[("misbehave", "huge")], &["challenge_malformed"]),
        ("endless", &[("misbehave", "endless")], &["challenge_malformed"]),
        ("silent", &[("misbehave", "silent")], &["challenge_unanswered"]),
        ("answers another gateway only", &[("gateway", &gateway)], &["challenge_unanswered"]),
    ];
    for (name, options, expected) in cases {
        let device = field.device(options).with_context(|| name.to_owned())?;
        let (found, report) = field.found()?;
        assert_eq!(found, expected, "{name}: {}\n{report:#}", device.log());
    }
    let (found, _) = field.found()?;
    assert_eq!(found, ["challenge_unanswered"], "nobody is subscribed");
    Ok(())
}

#[test]
fn an_answer_of_yesterday_proves_nothing_today() -> Result<()> {
    let field = Field::new("")?;
    let device = field.device(&[("misbehave", "replay")])?;
    assert_eq!(field.found()?.0, Vec::<String>::new(), "the first answer is a good one");
    let (found, report) = field.found()?;
    assert_eq!(found, ["challenge_replayed"], "{}\n{report:#}", device.log());
    Ok(())
}

#[test]
fn endpoint_and_challenge_that_show_different_certificates_disagree() -> Result<()> {
    let field = Field::new("")?;
    let renewed = Wanted::of(DEVICES[0], Some((&field.pki.ca, &field.pki.ca_key)));
    let renewed = provision(field.folder.path(), "renewed", &renewed)?;
    let device =
        field.device(&[("answer-certificate", text(&renewed.certificate)), ("answer-key", text(&renewed.key))])?;
    let configuration = field.folder.path().join("gatepost.toml");
    let endpoint = format!("endpoint = \"{}\"\n", device.address());
    fs::write(&configuration, fs::read_to_string(&configuration)? + &endpoint)?;
    let (found, report) = field.found()?;
    assert_eq!(found, ["sources_disagree"], "{}\n{report:#}", device.log());
    Ok(())
}

#[test]
fn a_broker_that_does_not_let_the_agent_ask_is_a_gap_and_no_finding() -> Result<()> {
    let mut field = Field::new("")?;
    let rights = field.broker.folder().join("acl");
    let allowed = fs::read_to_string(&rights)?;
    let _device = field.device(&[])?;
    for (line, words) in [
        ("topic write gatepost/device/+/challenge\n", "does not let this client write the challenge"),
        ("topic read gatepost/device/+/answer\n", "does not let this client read"),
    ] {
        fs::write(&rights, allowed.replace(line, ""))?;
        field.broker.stop()?;
        field.broker.start_again()?;
        let (found, report) = field.found()?;
        assert_eq!(found, Vec::<String>::new(), "{report:#}");
        assert!(report["gaps"].to_string().contains(words), "{report:#}");
    }
    field.broker.stop()?;
    let (found, report) = field.found()?;
    assert!(found.is_empty() && report["gaps"].to_string().contains("refused"), "{report:#}");
    Ok(())
}

/// Where the vectors stand: certificate, key and what came out.
fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/challenge")
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// What the program in C prints for one vector.
fn vector(identity: &Identity, id: &str, topic: &str, challenge: &Challenge) -> Result<String> {
    let mut command = gatepost_tests::process::command(simulator()?);
    let digits: String = challenge.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    command.args(["vectors", "--id", id, "--topic", topic, "--challenge", &digits]);
    command.arg("--certificate").arg(&identity.certificate).arg("--key").arg(&identity.key);
    Ok(run(command, LIMIT)?.expect_code(0)?.stdout)
}

#[test]
fn the_reference_in_c_and_the_contract_in_rust_agree_byte_by_byte() -> Result<()> {
    for (name, id, seed) in [("p256", "stm32-01", b"1"), ("p384", "00:80:e1:00:00:2a", b"2"), ("rsa2048", "x", b"3")] {
        let (folder, topic) = (golden(), format!("gatepost/device/{id}/answer"));
        let identity =
            Identity { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
        let gateway = GatewayId::new(Digest::of(b"gateway"));
        let challenge = Challenge { gateway, nonce: *Digest::of(seed).as_bytes() };
        let made = vector(&identity, id, &topic, &challenge)?;
        let file = folder.join(format!("{name}.txt"));
        if std::env::var_os("GATEPOST_BLESS").is_some() {
            fs::write(&file, &made)?;
        }
        assert_eq!(made, fs::read_to_string(&file)?, "{name}");

        let line = |word: &str| made.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim();
        assert_eq!(hex(line("challenge ")), challenge.to_bytes());
        let bytes = hex(line("answer "));
        let answer = Answer::parse(&bytes)?;
        assert_eq!((answer.nonce, answer.to_bytes()), (challenge.nonce, bytes));
        let leaf = &answer.certificates[0];
        let signed = challenge.signed(Digest::of(leaf), &topic, id).unwrap();
        assert_eq!(hex(line("signed ")), signed, "{name}");
        assert_eq!(signature::verify(leaf, &signed, &answer.signature), Ok(true), "{name}");
        let other = Challenge { nonce: [0; 32], ..challenge }.signed(Digest::of(leaf), &topic, id).unwrap();
        assert_eq!(signature::verify(leaf, &other, &answer.signature), Ok(false), "{name}");
    }
    Ok(())
}
