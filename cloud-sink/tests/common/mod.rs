//! A real sink on an ephemeral port, a plain HTTP client, and gateways that sign runs.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;

use gatepost_evidence::batch::{self, Encoded};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::run::{
    Agent, BundleRef, Clock, Gateway, Host, Record, Run, SignedRun, Stage, Status, Target, TargetKind,
};
use gatepost_evidence::tombstone::{Cause, Tombstone, fold};
use gatepost_evidence::wire::{Answer, Answers, ENROLMENT_TYPE, Enrolment, Problem};
use gatepost_sink::serve::{Options, Running, start};
use gatepost_sink::store::tokens;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub struct Sink {
    pub runtime: tokio::runtime::Runtime,
    pub running: Option<Running>,
    pub folder: tempfile::TempDir,
    agent: ureq::Agent,
    /// Lists of weak keys for the next opening.
    pub weak_keys: Vec<std::path::PathBuf>,
}

pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The stable reason of a refusal.
    pub fn reason(&self) -> String {
        serde_json::from_slice::<Problem>(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text())).reason
    }

    pub fn answers(&self) -> Vec<Answer> {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice::<Answers>(&self.body).unwrap().answers
    }
}

impl Sink {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().new_agent();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let mut sink = Self { runtime, running: None, folder, agent, weak_keys: Vec::new() };
        sink.open();
        sink
    }

    pub fn options(&self) -> Options {
        Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            data: self.folder.path().to_owned(),
            tls: None,
            weak_keys: self.weak_keys.clone(),
        }
    }

    pub fn open(&mut self) {
        let _in = self.runtime.enter();
        self.running = Some(start(&self.options()).unwrap());
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn stop(&mut self) {
        let running = self.running.take().unwrap();
        self.runtime.block_on(running.stop()).unwrap();
    }

    pub fn operator(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("operator.token")).unwrap().trim().to_owned()
    }

    pub fn token(&self) -> String {
        self.token_until(Timestamp::now() + SignedDuration::from_hours(1))
    }

    pub fn token_until(&self, expires: Timestamp) -> String {
        let token = gatepost_sink::random::secret("gpe_").unwrap();
        let digest = Digest::of(token.as_bytes());
        let store = &self.running().app().store;
        store.write(move |c| tokens::insert(c, digest, "test", Timestamp::now(), expires)).wait().unwrap();
        token
    }

    fn reply(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Reply {
        let mut response = response.unwrap();
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: response.body_mut().with_config().limit(64 << 20).read_to_vec().unwrap(),
        }
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = self.agent.get(format!("{}{path}", self.running().url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::reply(request.call())
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = self.agent.post(format!("{}{path}", self.running().url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::reply(request.send(body))
    }

    /// As the operator.
    pub fn get(&self, path: &str) -> Reply {
        self.get_with(path, &[("authorization", &format!("Bearer {}", self.operator()))])
    }

    /// As the operator.
    pub fn post(&self, path: &str, body: &Value) -> Reply {
        let bearer = format!("Bearer {}", self.operator());
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.post_with(path, &headers, body.to_string().as_bytes())
    }

    /// Asks until it is judged; the worker is at it.
    pub fn judged(&self, path: &str) -> Value {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let reply = self.get(path);
            if reply.status != 202 {
                assert_eq!(reply.status, 200, "{path}: {}", reply.text());
                return reply.json();
            }
            assert_eq!(reply.reason(), "not_judged_yet");
            assert!(std::time::Instant::now() < deadline, "{path} was not judged in time");
            std::thread::yield_now();
        }
    }

    pub fn enrol(&self, envelope: &Envelope) -> Reply {
        self.post_with("/v1/enrol", &[], envelope.to_json().as_bytes())
    }

    pub fn upload_bytes(&self, encoding: &str, body: &[u8]) -> Reply {
        let headers = [("content-type", batch::CONTENT_TYPE), ("content-encoding", encoding)];
        self.post_with("/v1/runs", &headers, body)
    }

    pub fn upload_lines(&self, lines: &[String]) -> Reply {
        self.upload_lines_against(lines, None)
    }

    pub fn upload_lines_against(&self, lines: &[String], dictionary: Option<&[u8]>) -> Reply {
        let Encoded { encoding, body } = batch::encode(lines.iter().map(String::as_str), dictionary).unwrap();
        self.upload_bytes(encoding, &body)
    }

    pub fn upload(&self, runs: &[SignedRun]) -> Vec<Answer> {
        self.upload_lines(&runs.iter().map(|run| run.envelope.clone()).collect::<Vec<_>>()).answers()
    }

    /// Uploads runs that must all be accepted.
    pub fn accept(&self, runs: &[SignedRun]) {
        for answer in self.upload(runs) {
            assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
        }
    }

    /// The cookie of a fresh session.
    pub fn sign_in(&self) -> String {
        let body = format!("token={}", self.operator());
        let reply = self.post_with("/sign-in", FORM, body.as_bytes());
        assert_eq!(reply.status, 303, "{}", reply.text());
        reply.headers["set-cookie"].split(';').next().unwrap().to_owned()
    }

    pub fn page(&self, path: &str, cookie: &str) -> Reply {
        self.get_with(path, &[("cookie", cookie)])
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let stopped = self.runtime.block_on(running.stop());
            assert!(stopped.is_ok() || std::thread::panicking());
        }
    }
}

pub const FORM: &[(&str, &str)] = &[("content-type", "application/x-www-form-urlencoded")];

/// A gateway with its key and the end of its chain.
pub struct Field {
    pub key: SigningKey,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub seq: u64,
    pub prev: Option<Digest>,
}

impl Field {
    pub fn new(seed: u8) -> Self {
        let labels = BTreeMap::from([("site".to_owned(), "north".to_owned())]);
        let key = SigningKey::from_seed(&[seed; 32]).unwrap();
        Self { key, name: "pump-house".into(), labels, seq: 0, prev: None }
    }

    pub fn id(&self) -> GatewayId {
        self.key.public().id()
    }

    pub fn enrolment(&self, token: &str) -> Enrolment {
        Enrolment {
            token: token.into(),
            public_key: self.key.public().clone(),
            rotations: Vec::new(),
            name: self.name.clone(),
            labels: self.labels.clone(),
        }
    }

    pub fn enrolment_envelope(&self, token: &str) -> Envelope {
        Envelope::sign(ENROLMENT_TYPE, &canonical::to_vec(&self.enrolment(token)).unwrap(), &self.key)
    }

    /// A gateway that is enrolled.
    pub fn enrolled(seed: u8, sink: &Sink) -> Self {
        let field = Self::new(seed);
        field.enrol(sink);
        field
    }

    pub fn enrol(&self, sink: &Sink) {
        let reply = sink.enrol(&self.enrolment_envelope(&sink.token()));
        assert_eq!(reply.status, 200, "{}", reply.text());
    }

    /// The next run of the chain, unsigned.
    pub fn next(&self, state: State) -> Run {
        let seq = self.seq + 1;
        let at = started(seq);
        let record = |check: &str, target, observation| Record {
            check: check.into(),
            contract: 1,
            target,
            status: Status::Observed,
            detail: None,
            observed_at: at,
            duration_ms: 3,
            observation: Some(observation),
        };
        Run {
            gateway: Gateway { id: self.id(), name: self.name.clone(), labels: self.labels.clone() },
            seq,
            prev: self.prev,
            stage: Stage::Audit,
            bundle: BundleRef { name: "audit-baseline".into(), version: "1.0.0".into() },
            agent: Agent { version: "0.1.0".into() },
            host: Host { os: None, kernel: None, architecture: "aarch64".into(), model: None },
            clock: Clock { boot_id: None, uptime_ms: 1, synchronised: Some(true), source: None, sink_time: None },
            started_at: at,
            finished_at: at,
            records: vec![
                record("ingest_auth", Target::new(TargetKind::IngestEdge, "ingest"), state.ingest()),
                record(
                    "gateway_config_guardrails",
                    Target::new(TargetKind::GatewayService, "gateway-service"),
                    state.service(),
                ),
            ],
        }
    }

    pub fn sign(&mut self, run: &Run) -> SignedRun {
        let signed = run.sign(&self.key).unwrap();
        (self.seq, self.prev) = (run.seq, Some(signed.digest));
        signed
    }

    /// The next run of the chain.
    pub fn run(&mut self, state: State) -> SignedRun {
        let run = self.next(state);
        self.sign(&run)
    }

    pub fn runs(&mut self, states: &[State]) -> Vec<SignedRun> {
        states.iter().map(|state| self.run(*state)).collect()
    }

    /// The tombstone of the runs at `from` to `to` of a chain that begins with `runs`.
    pub fn tombstone(&self, runs: &[SignedRun], from: u64, to: u64, cause: Cause) -> Tombstone {
        let digest = |seq: u64| runs[usize::try_from(seq).unwrap() - 1].digest;
        Tombstone {
            gateway: self.id(),
            from_seq: from,
            to_seq: to,
            count: Some(to - from + 1),
            prev: (from > 1).then(|| digest(from - 1)),
            digest: (from..=to).fold(None, |so_far, seq| Some(fold(so_far, digest(seq)))),
            first_digest: Some(digest(from)),
            last_digest: Some(digest(to)),
            cause,
            at: "2026-03-02T08:00:00Z".parse().unwrap(),
        }
    }

    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/gateways/{}{rest}", self.id())
    }
}

/// When run `seq` of every gateway here started: an hour apart.
pub fn started(seq: u64) -> Timestamp {
    let first: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
    first + SignedDuration::from_hours(i64::try_from(seq).unwrap() - 1)
}

/// What a gateway path looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Ingest takes anything in plaintext; nothing is enforced.
    Exposed,
    /// As it should be.
    Hardened,
    /// As it should be, but the ingest edge takes events without credentials.
    IngestOpen,
    /// The ingest edge could not be reached.
    Blind,
}

impl State {
    fn ingest(self) -> Value {
        let answer = |status: u16| json!({"seen": {"status": status, "headers": {}, "micros": 900}});
        let failed = json!({"failed": {"kind": "timed_out", "detail": "no answer in 5 s"}});
        let request = |credentials: &str, plaintext: bool, answer: Value| json!({"credentials": credentials, "plaintext": plaintext, "answer": answer});
        let (url, requests) = match self {
            Self::Exposed => (
                "http://edge.example/ingest",
                vec![
                    request("none", false, answer(202)),
                    request("wrong", false, answer(202)),
                    request("right", false, answer(202)),
                    request("none", true, answer(202)),
                ],
            ),
            Self::Hardened | Self::IngestOpen => (
                "https://edge.example/ingest",
                vec![
                    request("none", false, answer(if self == Self::Hardened { 401 } else { 202 })),
                    request("wrong", false, answer(401)),
                    request("right", false, answer(202)),
                    request("none", true, json!({"failed": {"kind": "refused", "detail": "connection refused"}})),
                ],
            ),
            Self::Blind => (
                "https://edge.example/ingest",
                vec![
                    request("none", false, failed.clone()),
                    request("wrong", false, failed.clone()),
                    request("right", false, failed.clone()),
                    request("none", true, failed),
                ],
            ),
        };
        json!({"url": url, "plaintext_url": "http://edge.example/ingest", "requests": requests})
    }

    fn service(self) -> Value {
        let safe = self != Self::Exposed;
        let pointed = |pointer: &str, value: Value| json!({"pointer": pointer, "value": value});
        let lines = if safe { vec!["gateway_unsafe_defaults 0"] } else { vec![] };
        json!({"service": {
            "configuration": {"seen": {"path": "/etc/gateway/gateway.toml", "mode": "0640", "pointers": {
                "auth_enforced": pointed("/auth/enforce", json!(safe)),
                "tls_enforced": pointed("/tls/enforce", json!(true)),
                "buffering_enabled": pointed("/buffer/enabled", json!(true)),
                "retry_limit": pointed("/retry/limit", json!(5)),
            }}},
            "metrics": {"seen": {"url": "http://127.0.0.1:9100/metrics", "status": 200, "samples": {
                "unsafe_defaults": {"metric": "gateway_unsafe_defaults", "lines": lines},
            }}},
            "health": {"seen": 200},
        }})
    }
}
