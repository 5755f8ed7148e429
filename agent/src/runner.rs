//! One execution of a bundle: every probe at once, each within its own time, every target with a record.
//!
//! A probe that fails, hangs or panics leaves a record that says so; it never takes another one with it, and nothing is
//! left out of the run.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use gatepost_evidence::envelope::MAX_ENVELOPE_BYTES;
use gatepost_evidence::id::GatewayId;
use gatepost_evidence::run::{Agent, Gateway, Host, Record, Run, Stage, Status, Target, TargetKind};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::bundle::Bundle;
use crate::clock;
use crate::config::Config;
use crate::probe::registry;
use crate::probe::{Missed, Probe};
use crate::spool::Head;

/// What the probes of one execution saw; a [`Run`] once it has its place in the chain.
#[derive(Debug, Clone, PartialEq)]
pub struct Execution {
    run: Run,
}

impl Execution {
    /// The run that follows `head` in the chain.
    #[must_use]
    pub fn into_run(self, head: Option<Head>) -> Run {
        Run { seq: head.map_or(1, |head| head.seq + 1), prev: head.map(|head| head.digest), ..self.run }
    }
}

/// Executes `bundle`. `progress` is told of every record as it is made.
pub async fn execute(
    config: Arc<Config>,
    gateway: GatewayId,
    bundle: &Bundle,
    stage: Stage,
    sink_time: Option<jiff::Timestamp>,
    mut progress: impl FnMut(&Record),
) -> Execution {
    let mut own = (*config).clone();
    own.devices.gateway = Some(gateway);
    let config = Arc::new(own);
    let started_at = clock::now();
    let clock = clock::trust(&config.host.root, sink_time);
    let mut records = Vec::new();
    let mut looks = JoinSet::new();
    let room = Arc::new(Semaphore::new(AT_ONCE));
    for check in &bundle.checks {
        match registry::find(check) {
            Some(probe) => {
                for target in (probe.targets)(&config) {
                    let (room, config) = (Arc::clone(&room), Arc::clone(&config));
                    looks.spawn(async move {
                        // The semaphore is never closed; without a permit the look would only be made sooner.
                        let _permit = room.acquire_owned().await;
                        look(probe, config, target).await
                    });
                }
            }
            None => records.push(unknown_check(check)),
        }
    }
    while let Some(result) = looks.join_next().await {
        // `look` itself catches what a probe does; a failed join can only be a cancelled runtime.
        if let Ok(record) = result {
            progress(&record);
            records.push(record);
        }
    }
    records.sort_by(|a, b| order(bundle, a).cmp(&order(bundle, b)));
    let mut run = Run {
        gateway: Gateway { id: gateway, name: config.gateway.name.clone(), labels: config.gateway.labels.clone() },
        seq: 0,
        prev: None,
        stage,
        bundle: bundle.reference(),
        agent: Agent { version: env!("CARGO_PKG_VERSION").to_owned() },
        host: host(&config.host.root),
        clock,
        started_at,
        finished_at: clock::now(),
        records,
    };
    fit(&mut run, MAX_PAYLOAD_BYTES);
    Execution { run }
}

/// How many targets are looked at side by side: a thousand devices must not take every file descriptor there is.
const AT_ONCE: usize = 64;
/// The largest payload whose envelope every reader accepts: base64 makes four bytes of three, and some is left for the
/// signature and the place in the chain.
const MAX_PAYLOAD_BYTES: usize = MAX_ENVELOPE_BYTES / 4 * 3 - 2048;

/// Leaves out the largest observations until `run` has at most `limit` bytes; their records say so. A run that no reader
/// accepts would be worth nothing, and a gap that is on the record is seen. Where it is devices that are too many, of which
/// there may be thousands, it is devices that go: they must not cost the run what was seen of the one host or the one broker.
fn fit(run: &mut Run, limit: usize) {
    let mut total = size(run);
    let is_device = |record: &Record| record.target.kind == TargetKind::Device;
    let devices: usize =
        run.records.iter().filter(|record| is_device(record)).map(|record| size(&record.observation)).sum();
    let too_many = total.saturating_sub(devices) <= limit;
    let of = |record: &Record| (too_many && is_device(record), size(&record.observation));
    let mut largest: Vec<((bool, usize), usize)> =
        run.records.iter().enumerate().map(|(index, record)| (of(record), index)).collect();
    // Of equal ones the last goes first.
    largest.sort_unstable();
    while total > limit {
        let Some(((_, bytes), index)) = largest.pop() else { return };
        let Some(record) = run.records.get_mut(index).filter(|record| record.observation.is_some()) else { continue };
        let before = size(record);
        record.status = Status::Error;
        record.detail = Some(format!("the observation has {bytes} bytes and was left out: the run would be too large"));
        record.observation = None;
        total = total.saturating_sub(before) + size(record);
    }
}

/// Bytes of `value` as JSON without white space, which is what canonical JSON has too.
fn size<T: serde::Serialize>(value: &T) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}

fn order<'a>(bundle: &Bundle, record: &'a Record) -> (usize, &'a Target) {
    let place = bundle.checks.iter().position(|check| *check == record.check);
    (place.unwrap_or(usize::MAX), &record.target)
}

async fn look(probe: &'static Probe, config: Arc<Config>, target: Target) -> Record {
    let (observed_at, began) = (clock::now(), Instant::now());
    // A task of its own, so that a panic of the probe becomes a record.
    let mut task = tokio::spawn((probe.look)(config, target.clone()));
    let result = match tokio::time::timeout(probe.limit, &mut task).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Missed::error("the probe stopped unexpectedly; please report this with the agent's log")),
        Err(_) => {
            task.abort();
            let detail = format!("the check did not end within {} s", probe.limit.as_secs());
            Err(Missed { status: Status::TimedOut, detail })
        }
    };
    let (status, detail, observation) = match result {
        Ok(observation) => (Status::Observed, None, Some(observation)),
        Err(missed) => (missed.status, Some(missed.detail), None),
    };
    Record {
        check: probe.check.to_owned(),
        contract: probe.contract,
        target,
        status,
        detail,
        observed_at,
        duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        observation,
    }
}

fn unknown_check(check: &str) -> Record {
    Record {
        check: check.to_owned(),
        contract: 0,
        target: Target::new(TargetKind::Host, "host"),
        status: Status::Skipped,
        detail: Some("this agent has no probe for the check".to_owned()),
        observed_at: clock::now(),
        duration_ms: 0,
        observation: None,
    }
}

fn host(root: &Path) -> Host {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let name = nix::sys::utsname::uname().ok();
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let pretty = read("etc/os-release").and_then(|release| {
        let line = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(line.trim_matches('"').chars().take(100).collect())
    });
    Host {
        os: pretty,
        kernel: name.as_ref().map(|name| text(name.release())),
        architecture: name.as_ref().map_or_else(|| std::env::consts::ARCH.to_owned(), |name| text(name.machine())),
        model: read("proc/device-tree/model").map(|model| model.trim_end_matches('\0').chars().take(100).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn probe(limit: Duration, look: fn(Arc<Config>, Target) -> crate::probe::Looking) -> &'static Probe {
        Box::leak(Box::new(Probe {
            check: "ingest_auth",
            contract: 1,
            limit,
            touches: "",
            needs: "",
            targets: |_| Vec::new(),
            look,
        }))
    }

    async fn record(probe: &'static Probe) -> Record {
        look(probe, Arc::new(Config::default()), Target::new(TargetKind::IngestEdge, "ingest")).await
    }

    #[tokio::test]
    async fn a_probe_that_panics_leaves_a_record() {
        let record = record(probe(Duration::from_secs(5), |_, _| Box::pin(async { panic!("as told") }))).await;
        assert_eq!((record.status, record.observation), (Status::Error, None));
        assert!(record.detail.unwrap().contains("stopped unexpectedly"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_is_cut_off_and_said_to_be() {
        let record = record(probe(Duration::from_secs(5), |_, _| Box::pin(std::future::pending()))).await;
        assert_eq!(record.status, Status::TimedOut);
        assert_eq!(record.detail.as_deref(), Some("the check did not end within 5 s"));
    }

    #[tokio::test]
    async fn what_does_not_fit_into_an_envelope_is_left_out_and_said_to_be() {
        let key = gatepost_evidence::key::SigningKey::from_seed(&[1; 32]).unwrap();
        let bundle = Bundle { name: "b".into(), version: "1.0.0".into(), purpose: String::new(), checks: Vec::new() };
        let config = Arc::new(Config::default());
        let mut run = execute(config, key.public().id(), &bundle, Stage::Audit, None, |_| {}).await.run;
        let seen = |_, _| -> crate::probe::Looking { Box::pin(async { Ok(serde_json::json!("x".repeat(1000))) }) };
        for number in 0..1000 {
            let mut record = record(probe(Duration::from_secs(5), seen)).await;
            record.target = Target::new(TargetKind::Device, format!("device-{number}"));
            run.records.push(record);
        }
        run.records[7].observation = Some("x".repeat(200_000).into());
        let mut host = record(probe(Duration::from_secs(5), seen)).await;
        host.observation = Some("x".repeat(300_000).into());
        run.records.push(host);
        fit(&mut run, MAX_PAYLOAD_BYTES);
        let signed = Execution { run: run.clone() }.into_run(None).sign(&key).unwrap();
        let bytes = signed.envelope.len();
        assert!(bytes <= MAX_ENVELOPE_BYTES && bytes > MAX_ENVELOPE_BYTES * 9 / 10, "{bytes}");
        assert_eq!((run.records[7].status, run.records.len()), (Status::Error, 1001));
        assert!(run.records[7].detail.as_ref().unwrap().contains("200002 bytes"), "{:?}", run.records[7].detail);
        assert_eq!(run.records[0].status, Status::Observed);
        assert_eq!(run.records[1000].status, Status::Observed, "one of many goes before the only one");
        // Without devices it would still be too large.
        run.records.truncate(40);
        run.records[0].target = Target::new(TargetKind::Host, "host");
        run.records[0].observation = Some("x".repeat(MAX_PAYLOAD_BYTES).into());
        run.records[7] = run.records[8].clone();
        fit(&mut run, MAX_PAYLOAD_BYTES);
        let left_out = run.records.iter().filter(|record| record.observation.is_none()).count();
        assert_eq!((left_out, run.records[0].status), (1, Status::Error));
        gatepost_evidence::verify::VerifiedRun::open(
            &gatepost_evidence::envelope::Envelope::parse(signed.envelope.as_bytes()).unwrap(),
            key.public(),
        )
        .unwrap();
    }

    #[tokio::test]
    async fn a_look_that_succeeds_has_its_observation() {
        let seen = |_, _| -> crate::probe::Looking { Box::pin(async { Ok(serde_json::json!({"a": 1})) }) };
        let record = record(probe(Duration::from_secs(5), seen)).await;
        assert_eq!((record.status, record.observation), (Status::Observed, Some(serde_json::json!({"a": 1}))));
    }
}
