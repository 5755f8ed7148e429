//! Looks at what the gateway service's and the broker's configuration declare.
//!
//! Of the service's file only the values that the operator points at leave this file, scalars only and cut short; tables and
//! lists are recorded as their kind, and so is a text that is neither a flag nor a number. Its endpoints are asked once each,
//! its metrics twice where it is to be seen whether messages flow. Parsers' words that could quote the file, and credentials
//! in URLs, never reach evidence.

mod activity;
pub mod format;
pub mod yaml;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gatepost_evidence::canonical;
use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::gateway_config_guardrails::service::{Later, TEXT, is_plain};
use gatepost_evidence::check::gateway_config_guardrails::{
    Check, ConfigurationFile, MetricSamples, Metrics, Observation, Pointed, Service,
};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};
use serde_json::Value;

use self::format::Format;
use super::host::root::Root;
use super::{Looking, Missed, Probe, blocking, mosquitto, observed};
use crate::config::{self, Config};
use crate::{files, http};

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(40),
    touches: "reads the service's and the broker's configuration files, and owner and mode of the files that the broker's name; \
              /proc for the processes that are called mosquitto, and the service's PID file; dpkg's database; the last part of \
              the service's log; runs systemctl show for the service's unit; one GET to the configuration endpoint, one to the \
              health endpoint, and one or two to the metrics",
    needs: "read access to those files; another user's process is seen only where /proc is not mounted with hidepid",
    targets,
    look,
};

/// The time one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The most bytes of an answer that are read.
const MAX_BODY_BYTES: u64 = 1024 * 1024;
/// The most sample lines of one metric that are recorded.
const MAX_SAMPLES: usize = 8;
/// The most characters of one sample line that are recorded.
const MAX_CHARS: usize = 200;
/// The name of the counter of messages, which is looked at twice.
const MESSAGES: &str = "messages";

fn targets(_: &Config) -> Vec<Target> {
    vec![Target::new(TargetKind::GatewayService, "gateway-service"), Target::new(TargetKind::Broker, "broker")]
}

fn look(config: Arc<Config>, target: Target) -> Looking {
    Box::pin(blocking(move || match target.kind {
        TargetKind::Broker => look_at_broker(&config),
        _ => look_at_service(config.service.as_ref(), &config.host.root),
    }))
}

/// The default file is looked for below the host's root; a configured one is where the configuration says.
fn look_at_broker(config: &Config) -> Result<Value, Missed> {
    let broker = match &config.broker.configuration_file {
        Some(path) => mosquitto::look(Path::new("/"), path, &config.host.root)?,
        None => match mosquitto::look(&config.host.root, Path::new(mosquitto::DEFAULT_PATH), &config.host.root) {
            Err(Failure { kind: FailureKind::NotFound, .. }) => {
                return Err(Missed::skipped(format!(
                    "there is no {}; write where the broker's configuration is: [broker] configuration_file",
                    mosquitto::DEFAULT_PATH
                )));
            }
            result => result?,
        },
    };
    observed(&Observation { service: None, broker: Some(broker) })
}

fn look_at_service(service: Option<&config::Service>, host: &Path) -> Result<Value, Missed> {
    let nothing = Missed::skipped(
        "the gateway service is not described; write [service] with configuration_file or configuration_url and pointers, \
         metrics_url and metrics, log_file and log, health_url, unit or pid_file",
    );
    let service = service.ok_or_else(|| nothing.clone())?;
    let root = Root::new(host);
    let seen = Service {
        configuration: configuration(service).map(Look::from),
        metrics: metrics(service).map(Look::from),
        health: service.health_url.as_deref().map(|url| get(url).map(|response| response.status().as_u16()).into()),
        configuration_url: service.configuration_url.as_deref().map(shown),
        log: service.log_file.as_deref().map(|path| activity::log(path, &service.log).into()),
        unit: service.unit.as_deref().map(|unit| activity::unit(&root, unit).into()),
        process: service.pid_file.as_deref().map(|path| activity::process(&root, path).into()),
    };
    if seen == Service::default() {
        return Err(nothing);
    }
    observed(&Observation { service: Some(seen), broker: None })
}

/// None when nothing about a configuration is declared. Pointers that lead nowhere are a failed look: they were declared.
fn configuration(service: &config::Service) -> Option<Result<ConfigurationFile, Failure>> {
    match (&service.configuration_file, &service.configuration_url) {
        (Some(path), _) => Some(read_configuration(path, &service.pointers)),
        (None, Some(url)) => Some(ask_for_configuration(url, &service.pointers)),
        (None, None) if service.pointers.is_empty() => None,
        (None, None) => Some(Err(Failure::new(
            FailureKind::NotFound,
            "pointers are declared but the file is not; write [service] configuration_file or configuration_url",
        ))),
    }
}

fn read_configuration(path: &Path, pointers: &BTreeMap<String, String>) -> Result<ConfigurationFile, Failure> {
    let shown = path.display().to_string();
    let content = format::parse(&files::read_text(path)?, Format::of(path), &shown)?;
    let metadata = std::fs::metadata(path).map_err(|error| files::failure(path, &error))?;
    Ok(ConfigurationFile {
        path: shown,
        mode: format!("{:04o}", metadata.permissions().mode() & 0o7777),
        pointers: pointed(&content, pointers),
    })
}

/// The configuration that the service shows at `url`: JSON, unless its path ends like something else.
fn ask_for_configuration(url: &str, pointers: &BTreeMap<String, String>) -> Result<ConfigurationFile, Failure> {
    let name = shown(url);
    let mut response = get(url)?;
    let status = response.status().as_u16();
    if !(200..300).contains(&status) {
        let kind = if matches!(status, 401 | 403) { FailureKind::Denied } else { FailureKind::Error };
        return Err(Failure::new(kind, format_args!("{name} answered {status}")));
    }
    let body = body(&mut response, url)?;
    let format = Format::of(Path::new(&name)).unwrap_or(Format::Json);
    let content = format::parse(&String::from_utf8_lossy(&body), Some(format), &name)?;
    Ok(ConfigurationFile { path: name, mode: String::new(), pointers: pointed(&content, pointers) })
}

fn pointed(content: &Value, pointers: &BTreeMap<String, String>) -> BTreeMap<String, Pointed> {
    let pointed = |(name, pointer): (&String, &String)| {
        let value = content.pointer(pointer).and_then(scalar);
        (name.clone(), Pointed { pointer: pointer.clone(), value })
    };
    pointers.iter().map(pointed).collect()
}

/// What may be recorded of a value: flags and numbers. A pointer that leads to a text by mistake may lead to a password.
fn scalar(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        // Numbers that JSON does not keep exactly are recorded as the text they were.
        Value::Number(number) if canonical::to_vec(number).is_err() => Some(number.to_string().into()),
        Value::Bool(_) | Value::Number(_) => Some(value.clone()),
        Value::String(text) if is_plain(text.trim()) => Some(Value::String(text.trim().to_owned())),
        Value::String(_) => Some(TEXT.into()),
        Value::Array(_) => Some("(list)".into()),
        Value::Object(_) => Some("(table)".into()),
    }
}

fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}

/// None when nothing about metrics is declared. Names without an endpoint are a failed look: they were declared.
fn metrics(service: &config::Service) -> Option<Result<Metrics, Failure>> {
    match &service.metrics_url {
        Some(url) => Some(read_metrics(url, &service.metrics, service.flow_wait)),
        None if service.metrics.is_empty() => None,
        None => Some(Err(Failure::new(
            FailureKind::NotFound,
            "metrics are declared but their endpoint is not; write [service] metrics_url",
        ))),
    }
}

fn read_metrics(url: &str, names: &BTreeMap<String, String>, wait: Duration) -> Result<Metrics, Failure> {
    let began = Instant::now();
    let (status, samples) = samples(url, names)?;
    let later = (names.contains_key(MESSAGES) && (200..300).contains(&status)).then(|| {
        std::thread::sleep(wait);
        let only: BTreeMap<_, _> =
            names.iter().filter(|(name, _)| *name == MESSAGES).map(|(a, b)| (a.clone(), b.clone())).collect();
        samples_again(url, &only).map(|samples| {
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            Later { millis, samples }
        })
    });
    Ok(Metrics { url: shown(url), status, samples, later: later.map(Look::from) })
}

fn samples_again(url: &str, names: &BTreeMap<String, String>) -> Result<BTreeMap<String, MetricSamples>, Failure> {
    match samples(url, names)? {
        (200..300, samples) => Ok(samples),
        (status, _) => {
            Err(Failure::new(FailureKind::Error, format_args!("{} answered {status} the second time", shown(url))))
        }
    }
}

fn samples(url: &str, names: &BTreeMap<String, String>) -> Result<(u16, BTreeMap<String, MetricSamples>), Failure> {
    let mut response = get(url)?;
    let status = response.status().as_u16();
    let body = match status {
        200..300 => body(&mut response, url)?,
        _ => Vec::new(),
    };
    let body = String::from_utf8_lossy(&body);
    let samples = |(guardrail, metric): (&String, &String)| {
        let lines = body.lines().filter(|line| is_sample(line, metric)).take(MAX_SAMPLES).map(cut).collect();
        (guardrail.clone(), MetricSamples { metric: metric.clone(), lines })
    };
    Ok((status, names.iter().map(samples).collect()))
}

fn body(response: &mut ureq::http::Response<ureq::Body>, url: &str) -> Result<Vec<u8>, Failure> {
    response.body_mut().with_config().limit(MAX_BODY_BYTES).read_to_vec().map_err(|error| match error {
        ureq::Error::BodyExceedsLimit(_) => {
            Failure::new(FailureKind::TooLarge, format_args!("{} has more than {MAX_BODY_BYTES} bytes", shown(url)))
        }
        error => http::failure(&error),
    })
}

/// Whether `line` is a sample of `metric` in the Prometheus text format.
fn is_sample(line: &str, metric: &str) -> bool {
    line.trim_start().strip_prefix(metric).is_some_and(|rest| rest.starts_with([' ', '\t', '{']))
}

fn get(url: &str) -> Result<ureq::http::Response<ureq::Body>, Failure> {
    http::client(None, REQUEST_LIMIT)?.get(url).call().map_err(|error| {
        let Failure { kind, detail } = http::failure(&error);
        Failure::new(kind, format_args!("{}: {}", shown(url), detail.replace(url, "the URL")))
    })
}

/// `url` without what may be a credential: user, password, query and fragment.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.rsplit('@').next().unwrap_or_default();
    if scheme.is_empty() { format!("{authority}{path}") } else { format!("{scheme}://{authority}{path}") }
}

#[cfg(test)]
mod tests;
