//! Runs for the tests of this crate: the path of the lab, exposed and hardened, as its probes would see it.

use std::collections::BTreeMap;

use gatepost_evidence::check::broker_transport_posture::{
    Connack, Dialled, Handshake, Listener, Observation as Transport, Source, TlsVersion, Transport as Spoken,
    VersionOffer,
};
use gatepost_evidence::check::gateway_config_guardrails as config;
use gatepost_evidence::check::ingest_auth::{Answer, Credentials, Observation as Ingest, Request};
use gatepost_evidence::check::{broker_certificate_identity as identity, find};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use gatepost_evidence::run::{Agent, BundleRef, Clock, Gateway, Host, Record, Run, Stage, Status, Target, TargetKind};
use serde::Serialize;

use crate::assess::{Assessment, assess};
use crate::compare::{Delta, Side, compare};
use crate::pack::Pack;

/// The moment of every sample.
pub(crate) const AT: &str = "2026-03-01T10:00:00Z";

pub(crate) fn run(records: Vec<Record>) -> Run {
    let at = AT.parse().unwrap();
    Run {
        gateway: Gateway { id: GatewayId::new(Digest::of(b"g")), name: "pump-house".into(), labels: BTreeMap::new() },
        seq: 1,
        prev: None,
        stage: Stage::Audit,
        bundle: BundleRef { name: "audit-baseline".into(), version: "1.0.0".into() },
        agent: Agent { version: "0.1.0".into() },
        host: Host { os: None, kernel: None, architecture: "aarch64".into(), model: None },
        clock: Clock { boot_id: None, uptime_ms: 1, synchronised: Some(true), source: None, sink_time: None },
        started_at: at,
        finished_at: at,
        records,
    }
}

pub(crate) fn record(check: &str, kind: TargetKind, name: &str, observation: &impl Serialize) -> Record {
    Record {
        check: check.into(),
        contract: find(check).map_or(1, |check| check.version),
        target: Target::new(kind, name),
        status: Status::Observed,
        detail: None,
        observed_at: AT.parse().unwrap(),
        duration_ms: 3,
        observation: Some(serde_json::to_value(observation).unwrap()),
    }
}

/// The same record, had the look not succeeded.
pub(crate) fn unobserved(record: &Record) -> Record {
    Record { status: Status::TimedOut, detail: Some("5 s".into()), observation: None, ..record.clone() }
}

pub(crate) fn failed<T>(kind: FailureKind) -> Look<T> {
    Look::Failed(Failure::new(kind, "as told"))
}

pub(crate) fn tls_listener() -> Listener {
    let offer = |version| VersionOffer {
        version,
        client_certificate_requested: true,
        accepted_issuers: Vec::new(),
        handshake: Look::Seen(Handshake { cipher_suite: "TLS_AES_256_GCM_SHA384".into(), group: None, micros: 900 }),
    };
    Listener {
        address: "127.0.0.1:8883".into(),
        bind: None,
        transport: Spoken::Tls,
        source: Source::Configured,
        dial: Look::Seen(Dialled { micros: 40 }),
        versions: vec![offer(TlsVersion::Tls12), offer(TlsVersion::Tls13)],
        anonymous: Some(failed(FailureKind::TlsAlert)),
        authenticated: Some(Look::Seen(Connack { code: 0, micros: 800 })),
        survey: None,
        battery: None,
        acl: None,
        mqtt: None,
        resumption: None,
        websocket: None,
    }
}

/// A plaintext listener; without `code` nobody listens there.
pub(crate) fn plain_listener(address: &str, code: Option<u8>) -> Listener {
    Listener {
        address: address.into(),
        bind: None,
        transport: Spoken::Plaintext,
        source: Source::WellKnown,
        dial: if code.is_some() { Look::Seen(Dialled { micros: 40 }) } else { failed(FailureKind::Refused) },
        versions: Vec::new(),
        anonymous: code.map(|code| Look::Seen(Connack { code, micros: 700 })),
        authenticated: None,
        survey: None,
        battery: None,
        acl: None,
        mqtt: None,
        resumption: None,
        websocket: None,
    }
}

pub(crate) fn broker(listeners: Vec<Listener>) -> Record {
    let observation = Transport { server_name: "localhost".into(), listeners, http_apis: Vec::new() };
    record("broker_transport_posture", TargetKind::Broker, "broker", &observation)
}

pub(crate) fn certificate(not_after: (i32, u8, u8)) -> Record {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.not_before = rcgen::date_time_ymd(2026, 1, 1);
    let anchor = authority.self_signed(&key).unwrap().der().to_vec();
    let issuer = rcgen::Issuer::new(authority, key);
    let mut params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(not_after.0, not_after.1, not_after.2);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap().der().to_vec();
    let fingerprint = gatepost_evidence::certificate::public_key(&leaf).unwrap();
    let file = identity::CertificateFile { path: "/c.pem".into(), chain: vec![Bytes(leaf.clone())] };
    let mode = identity::FileMode { path: "/k.pem".into(), mode: "0640".into(), uid: 0, gid: 0 };
    let observation = identity::Observation {
        address: "127.0.0.1:8883".into(),
        server_name: "localhost".into(),
        chain: vec![Bytes(leaf)],
        anchors: Some(Look::Seen(vec![Bytes(anchor)])),
        file: Some(Look::Seen(file)),
        key_file: Some(Look::Seen(mode.clone())),
        refusal: None,
        possession: Some(true),
        staple: Some(Bytes(Vec::new())),
        crls: None,
        file_mode: Some(Look::Seen(mode)),
        key_fingerprint: Some(Look::Seen(fingerprint)),
    };
    record("broker_certificate_identity", TargetKind::Broker, "broker", &observation)
}

pub(crate) fn ingest(exposed: bool) -> Record {
    let answer = |status| {
        Look::Seen(Answer { status, headers: BTreeMap::new(), micros: 2_000, marks: Default::default(), body: None })
    };
    let request = |credentials, plaintext, answer| Request { credentials, plaintext, answer };
    let refused = if exposed { 202 } else { 401 };
    let plaintext = if exposed { answer(202) } else { failed(FailureKind::Refused) };
    let observation = Ingest {
        url: "https://localhost/ingest".into(),
        plaintext_url: Some("http://localhost/ingest".into()),
        requests: vec![
            request(Credentials::None, false, answer(refused)),
            request(Credentials::Wrong, false, answer(refused)),
            request(Credentials::Right, false, answer(202)),
            request(Credentials::None, true, plaintext),
        ],
        ..Ingest::default()
    };
    record("ingest_auth", TargetKind::IngestEdge, "ingest", &observation)
}

pub(crate) fn service(exposed: bool) -> Record {
    let pointed = config::Pointed { pointer: "/auth/enforced".into(), value: Some((!exposed).into()) };
    let file = config::ConfigurationFile {
        path: "/etc/service.toml".into(),
        mode: "0640".into(),
        pointers: BTreeMap::from([("auth_enforced".into(), pointed)]),
    };
    let lines = if exposed { vec![] } else { vec!["service_unsafe_defaults 0".into()] };
    let samples = config::MetricSamples { metric: "service_unsafe_defaults".into(), lines };
    let metrics = config::Metrics {
        url: "http://localhost/metrics".into(),
        status: 200,
        samples: BTreeMap::from([("unsafe_defaults".into(), samples)]),
        later: None,
    };
    let service = config::Service {
        configuration: Some(Look::Seen(file)),
        metrics: Some(Look::Seen(metrics)),
        health: Some(Look::Seen(200)),
        ..config::Service::default()
    };
    let observation = config::Observation { service: Some(service), broker: None };
    record("gateway_config_guardrails", TargetKind::GatewayService, "service", &observation)
}

pub(crate) fn broker_file() -> Record {
    let text = [
        ("allow_anonymous", "false"),
        ("persistence", "true"),
        ("acl_file", "/etc/mosquitto/acl"),
        ("max_keepalive", "600"),
        ("listener", "8883 127.0.0.1"),
        ("certfile", "/c.pem"),
        ("keyfile", "/k.pem"),
        ("require_certificate", "true"),
        ("use_identity_as_username", "true"),
        ("crlfile", "/crl.pem"),
    ];
    let directives = (1..).zip(text).map(|(line, (key, value))| config::Directive {
        file: "m.conf".into(),
        line,
        key: key.into(),
        value: value.into(),
    });
    let broker =
        config::Broker { path: "m.conf".into(), directives: directives.collect(), ..config::Broker::default() };
    let observation = config::Observation { service: None, broker: Some(broker) };
    record("gateway_config_guardrails", TargetKind::Broker, "broker", &observation)
}

/// The lab's path, as `audit-baseline` looks at it.
pub(crate) fn path(exposed: bool) -> Run {
    let listeners = vec![tls_listener(), plain_listener("127.0.0.1:1883", None)];
    run(vec![broker(listeners), certificate((2027, 1, 1)), ingest(exposed), service(exposed), broker_file()])
}

pub(crate) fn judge(run: &Run) -> Assessment {
    assess(run, Digest::of(b"payload"), &Pack::builtin())
}

pub(crate) fn delta(before: &Run, after: &Run) -> Delta {
    let side = |run| Side { run, digest: Digest::of(b"payload") };
    compare(side(before), side(after), &Pack::builtin(), None)
}
