//! The program itself: its options, its exit codes, and that a kill loses nothing it vouched for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use common::{Field, State};
use gatepost_evidence::batch::{self, Encoded};
use gatepost_evidence::wire::{Answer, Answers};

fn sink(arguments: &[&str], data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost-sink"));
    command.args(arguments).arg("--data").arg(data).stderr(Stdio::null());
    command
}

fn ok(command: &mut Command) -> String {
    let Output { status, stdout, .. } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {status}");
    String::from_utf8(stdout).unwrap().trim().to_owned()
}

fn code(command: &mut Command) -> Option<i32> {
    command.stdout(Stdio::null()).status().unwrap().code()
}

/// A process that serves; killed when dropped.
struct Serving(Child, String);

impl Serving {
    fn start(data: &Path) -> Self {
        let file = data.join("sink.url");
        let mut command = sink(&["serve", "--listen", "127.0.0.1:0"], data);
        command.arg("--address-file").arg(&file);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), url);
        Self(child, url)
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let mut request = ureq::post(format!("{}{path}", self.1));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).unwrap().body_mut().read_to_vec().unwrap()
    }

    fn upload(&self, envelopes: &[String]) -> Vec<Answer> {
        let Encoded { encoding, body } = batch::encode(envelopes.iter().map(String::as_str), None).unwrap();
        let headers = [("content-type", batch::CONTENT_TYPE), ("content-encoding", encoding)];
        let reply = self.post("/v1/runs", &headers, &body);
        serde_json::from_slice::<Answers>(&reply).unwrap().answers
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_kill_loses_no_run_that_has_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    let token = ok(&mut sink(&["token", "create", "--label", "pump-house"], data));
    let mut field = Field::new(1);
    let mut receipts = Vec::new();
    let mut lines = Vec::new();
    for round in 0..5 {
        let serving = Serving::start(data);
        if round == 0 {
            serving.post("/v1/enrol", &[], field.enrolment_envelope(&token).to_json().as_bytes());
        }
        let mut run = field.next(State::Hardened);
        // What a gateway sends does not steer the terminal of the operator who promotes it.
        run.bundle.name = "audit-baseline\u{1b}c".into();
        let run = field.sign(&run).envelope;
        for answer in serving.upload(std::slice::from_ref(&run)) {
            let Answer::Accepted { receipt, .. } = answer else { panic!("{answer:?}") };
            receipts.push(receipt);
        }
        lines.push(run);
        // Dropping is SIGKILL, right after the answer.
    }
    let serving = Serving::start(data);
    for (answer, first) in serving.upload(&lines).iter().zip(&receipts) {
        assert!(matches!(answer, Answer::Duplicate { receipt, .. } if receipt == first), "{answer:?}");
    }
    let listed = ok(&mut sink(&["token", "list"], data));
    assert!(listed.contains("pump-house") && listed.contains(&format!("used by {}", field.id().short())), "{listed}");
    assert!(!listed.contains(&token));

    // While it serves, another process promotes.
    let id = field.id().to_string();
    let promoted = ok(&mut sink(&["promote", "--gateway", &id[..8], "--seq", "2"], data));
    assert!(promoted.contains("run 2 (audit-baselinec) is the baseline"), "{promoted}");
    assert_eq!(code(&mut sink(&["promote", "--gateway", &id, "--seq", "9"], data)), Some(1));
    assert_eq!(code(&mut sink(&["promote", "--gateway", "00000000", "--seq", "1"], data)), Some(1));
    let bearer = format!("Bearer {}", ok(&mut sink(&["operator-token"], data)));
    let url = format!("{}/api/v1/gateways/{id}", serving.1);
    let text = ureq::get(url).header("authorization", bearer).call().unwrap().body_mut().read_to_string().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap()["baseline"]["seq"], 2);
}

#[test]
fn it_stops_in_an_orderly_way() {
    let folder = tempfile::tempdir().unwrap();
    for signal in ["TERM", "INT"] {
        let mut serving = Serving::start(folder.path());
        // A connection that nobody uses does not hold it up.
        let _idle = std::net::TcpStream::connect(serving.1.strip_prefix("http://").unwrap()).unwrap();
        let id = serving.0.id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
        assert_eq!(serving.0.wait().unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn what_cannot_run_says_two() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    assert_eq!(code(&mut sink(&["serve", "--listen", "0.0.0.0:0"], data)), Some(2));
    assert_eq!(code(&mut sink(&["serve", "--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.key"], data)), Some(2));
    assert_eq!(code(&mut sink(&["serve", "--tls-cert", "/nowhere.pem"], data)), Some(2));
    assert_eq!(code(&mut sink(&["token", "create", "--expires", "soon"], data)), Some(2));
    assert_eq!(code(&mut sink(&["token", "list"], Path::new("/proc/nowhere"))), Some(2));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(code(&mut sink(&["serve", "--listen", &address], data)), Some(2));
}
