//! A run: one execution of a bundle of checks on one gateway, as an in-toto Statement v1.
//!
//! The subject is the gateway (by the SHA-256 of its public key), the predicate is [`Run`]. A run holds what was seen and
//! what could not be seen, never what follows from it. All durations are whole milliseconds, all times RFC 3339 in UTC.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical;
use crate::envelope::Envelope;
use crate::id::{Digest, GatewayId};
use crate::key::SigningKey;

/// DSSE payload type of every signed run (in-toto attestation framework, envelope layer).
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// in-toto Statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// The predicate type of a Gatepost run, version 1.
pub const PREDICATE_TYPE: &str = "urn:gatepost:run:v1";

/// An in-toto Statement v1 about one gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// Exactly one: the gateway.
    pub subject: Vec<Subject>,
    /// Always [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The run.
    pub predicate: Run,
}

/// The subject of a statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The gateway's name, for people.
    pub name: String,
    /// The gateway's identity.
    pub digest: SubjectDigest,
}

/// in-toto's digest set, with the one algorithm in use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectDigest {
    /// SHA-256 of the gateway's SubjectPublicKeyInfo.
    pub sha256: GatewayId,
}

/// One execution of a bundle of checks: the predicate `gatepost run v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Which gateway this is and what its operator calls it.
    pub gateway: Gateway,
    /// Position in the gateway's chain; the first run has 1.
    pub seq: u64,
    /// SHA-256 of the previous run's payload; null for the first.
    pub prev: Option<Digest>,
    /// The part of the engagement this run belongs to.
    pub stage: Stage,
    /// The bundle of checks that was executed.
    pub bundle: BundleRef,
    /// The program that looked.
    pub agent: Agent,
    /// The machine it ran on.
    pub host: Host,
    /// How far this gateway's clock can be believed.
    pub clock: Clock,
    /// When the first check began.
    pub started_at: Timestamp,
    /// When the last check ended.
    pub finished_at: Timestamp,
    /// One record per check and target.
    pub records: Vec<Record>,
}

/// A gateway as it names itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Its identity.
    pub id: GatewayId,
    /// Its name, for people.
    pub name: String,
    /// Free labels of its operator, such as site or customer.
    pub labels: BTreeMap<String, String>,
}

/// The part of an engagement a run belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The first look.
    Audit,
    /// Hardening, and the reruns that prove it.
    Sprint,
    /// Watching for drift.
    Retainer,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Audit => "audit",
            Self::Sprint => "sprint",
            Self::Retainer => "retainer",
        })
    }
}

/// A bundle of checks by name and version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleRef {
    /// Such as `audit-baseline`.
    pub name: String,
    /// Semantic version of the bundle's definition.
    pub version: String,
}

/// The program that looked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Semantic version of `gatepost`.
    pub version: String,
}

/// The machine a run was made on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `PRETTY_NAME` of os-release(5), if there is one.
    pub os: Option<String>,
    /// Kernel release, as uname(2) says it.
    pub kernel: Option<String>,
    /// Machine architecture, as uname(2) says it.
    pub architecture: String,
    /// The board's model from the device tree, if there is one.
    pub model: Option<String>,
}

/// How far a gateway's clock can be believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The kernel's boot id, if it could be read.
    pub boot_id: Option<String>,
    /// Milliseconds since boot when the run started.
    pub uptime_ms: u64,
    /// Whether a time service says the clock is synchronised; null when none could be asked.
    pub synchronised: Option<bool>,
    /// Which time service said so.
    pub source: Option<String>,
    /// The last time heard from the sink, by the sink's clock.
    pub sink_time: Option<Timestamp>,
}

/// How far two good clocks may stand apart: verdicts count in days, so minutes do not matter.
pub const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// No run is older than its format: a clock that stands before this second was never set.
pub const CLOCK_FLOOR: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl Clock {
    /// Why verdicts that depend on the date cannot be given for a run that started at `started_at`, if they cannot.
    ///
    /// The clock is not believed when a time service says that it is not synchronised, when it stands before
    /// [`CLOCK_FLOOR`], or more than [`CLOCK_TOLERANCE`] before the last word heard from the sink.
    #[must_use]
    pub fn distrust(&self, started_at: Timestamp) -> Option<&'static str> {
        if self.synchronised == Some(false) {
            return Some("clock: the time service says it is not synchronised");
        }
        if started_at < CLOCK_FLOOR {
            return Some("clock: it stands before 2026 and was never set");
        }
        match self.sink_time {
            Some(heard) if started_at.saturating_add(CLOCK_TOLERANCE).is_ok_and(|latest| latest < heard) => {
                Some("clock: it stands before the last time heard from the sink")
            }
            _ => None,
        }
    }
}

/// What one check saw of one target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The check, such as `ingest_auth`.
    pub check: String,
    /// Version of the check's contract that `observation` follows.
    pub contract: u32,
    /// What was looked at.
    pub target: Target,
    /// What happened.
    pub status: Status,
    /// Why, when the status is not `observed`.
    pub detail: Option<String>,
    /// When the look began.
    pub observed_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What was seen, in the check's contract; null unless the status is `observed`.
    pub observation: Option<Value>,
}

/// What a check looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What sort of thing it is; controls are written for one sort.
    pub kind: TargetKind,
    /// Its stable name, unique among the targets of one check; part of every finding's identity.
    pub name: String,
}

impl Target {
    /// A target of `kind` called `name`.
    pub fn new(kind: TargetKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }
}

/// Sorts of target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// The MQTT broker.
    Broker,
    /// The cloud ingest edge.
    IngestEdge,
    /// The gateway service that carries telemetry from broker to ingest edge.
    GatewayService,
    /// The operating system.
    Host,
    /// One device.
    Device,
    /// The folder of device certificates.
    Registry,
    /// The way to the cloud.
    Uplink,
}

/// What happened when a check looked at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is an observation.
    Observed,
    /// The target could not be reached.
    Unreachable,
    /// Permission was refused.
    Denied,
    /// The time allowed ran out.
    TimedOut,
    /// The probe failed.
    Error,
    /// The check was not made, for the reason in the detail.
    Skipped,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Observed => "observed",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::TimedOut => "timed out",
            Self::Error => "error",
            Self::Skipped => "skipped",
        })
    }
}

/// A run that has been signed: the exact payload bytes, their digest, and the envelope around them.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedRun {
    /// SHA-256 of the payload; the next run's `prev`.
    pub digest: Digest,
    /// The envelope as one line of JSON.
    pub envelope: String,
}

impl Run {
    /// Signs this run with the gateway's key.
    ///
    /// # Errors
    /// When an observation cannot be written as canonical JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<SignedRun, canonical::CanonicalError> {
        let statement = Statement {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject: vec![Subject {
                name: self.gateway.name.clone(),
                digest: SubjectDigest { sha256: self.gateway.id },
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: self.clone(),
        };
        let payload = canonical::to_vec(&statement)?;
        Ok(SignedRun { digest: Digest::of(&payload), envelope: Envelope::sign(PAYLOAD_TYPE, &payload, key).to_json() })
    }
}

#[cfg(test)]
pub(crate) mod samples {
    //! A small run for the tests of this crate.
    use super::*;

    /// Run `seq` of gateway `id`, with one record.
    pub(crate) fn run(id: GatewayId, seq: u64, prev: Option<Digest>) -> Run {
        let at: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        Run {
            gateway: Gateway { id, name: "pump-house".into(), labels: BTreeMap::new() },
            seq,
            prev,
            stage: Stage::Audit,
            bundle: BundleRef { name: "audit-baseline".into(), version: "1.0.0".into() },
            agent: Agent { version: "0.1.0".into() },
            host: Host { os: None, kernel: None, architecture: "aarch64".into(), model: None },
            clock: Clock { boot_id: None, uptime_ms: 1, synchronised: Some(true), source: None, sink_time: None },
            started_at: at,
            finished_at: at,
            records: vec![Record {
                check: "ingest_auth".into(),
                contract: 1,
                target: Target::new(TargetKind::IngestEdge, "ingest"),
                status: Status::Observed,
                detail: None,
                observed_at: at,
                duration_ms: 3,
                observation: Some(serde_json::json!({"attempts": []})),
            }],
        }
    }

    #[test]
    fn a_clock_is_distrusted_for_a_reason() {
        let at: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let mut clock = run(GatewayId::new(Digest::of(b"")), 1, None).clock;
        assert_eq!(clock.distrust(at), None);
        clock.sink_time = Some("2026-03-01T10:05:01Z".parse().unwrap());
        assert!(clock.distrust(at).unwrap().contains("sink"));
        clock.sink_time = Some("2026-03-01T10:04:59Z".parse().unwrap());
        assert_eq!(clock.distrust(at), None);
        assert!(clock.distrust("2025-12-31T23:59:59Z".parse().unwrap()).unwrap().contains("never set"));
        assert_eq!(CLOCK_FLOOR.to_string(), "2026-01-01T00:00:00Z");
        clock.synchronised = Some(false);
        assert!(clock.distrust(at).unwrap().contains("not synchronised"));
    }
}
