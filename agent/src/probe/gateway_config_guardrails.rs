//! Looks at what the gateway service's and the broker's configuration declare.
//!
//! Of the service's file only the values that the operator points at leave this file, scalars only and cut short; tables and
//! lists are recorded as their kind. Its metrics and health endpoints are asked once each. Parsers' words that could quote
//! the file, and credentials in URLs, never reach evidence.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::canonical;
use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::gateway_config_guardrails::{
    Check, ConfigurationFile, MetricSamples, Metrics, Observation, Pointed, Service,
};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};
use serde_json::Value;

use super::{Looking, Missed, Probe, blocking, mosquitto, observed};
use crate::config::{self, Config};
use crate::{files, http};

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(15),
    touches: "reads the service's and the broker's configuration files; one GET to the metrics and one to the health endpoint",
    needs: "read access to those files",
    targets,
    look,
};

/// The time one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The most bytes of metrics that are read.
const MAX_METRICS_BYTES: u64 = 1024 * 1024;
/// The most sample lines of one metric that are recorded.
const MAX_SAMPLES: usize = 8;
/// The most characters of one value or sample line that are recorded.
const MAX_CHARS: usize = 200;
/// The endings of configuration files that are understood.
const ENDINGS: &str = ".toml, .json, .env or .conf (KEY=value)";

fn targets(_: &Config) -> Vec<Target> {
    vec![Target::new(TargetKind::GatewayService, "gateway-service"), Target::new(TargetKind::Broker, "broker")]
}

fn look(config: Arc<Config>, target: Target) -> Looking {
    Box::pin(blocking(move || match target.kind {
        TargetKind::Broker => look_at_broker(&config),
        _ => look_at_service(config.service.as_ref()),
    }))
}

/// The default file is looked for below the host's root; a configured one is where the configuration says.
fn look_at_broker(config: &Config) -> Result<Value, Missed> {
    let broker = match &config.broker.configuration_file {
        Some(path) => mosquitto::read(Path::new("/"), path)?,
        None => match mosquitto::read(&config.host.root, Path::new(mosquitto::DEFAULT_PATH)) {
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

fn look_at_service(service: Option<&config::Service>) -> Result<Value, Missed> {
    let nothing = Missed::skipped(
        "the gateway service is not described; write [service] with configuration_file and pointers, metrics_url and \
         metrics, or health_url",
    );
    let service = service.ok_or_else(|| nothing.clone())?;
    let seen = Service {
        configuration: configuration(service).map(Look::from),
        metrics: metrics(service).map(Look::from),
        health: service.health_url.as_deref().map(|url| get(url).map(|response| response.status().as_u16()).into()),
    };
    if seen.configuration.is_none() && seen.metrics.is_none() && seen.health.is_none() {
        return Err(nothing);
    }
    observed(&Observation { service: Some(seen), broker: None })
}

/// None when nothing about a file is declared. Pointers that lead nowhere are a failed look: they were declared.
fn configuration(service: &config::Service) -> Option<Result<ConfigurationFile, Failure>> {
    match &service.configuration_file {
        Some(path) => Some(read_configuration(path, &service.pointers)),
        None if service.pointers.is_empty() => None,
        None => Some(Err(Failure::new(
            FailureKind::NotFound,
            "pointers are declared but the file is not; write [service] configuration_file",
        ))),
    }
}

fn read_configuration(path: &Path, pointers: &BTreeMap<String, String>) -> Result<ConfigurationFile, Failure> {
    let content = parse(path)?;
    let metadata = std::fs::metadata(path).map_err(|error| files::failure(path, &error))?;
    let pointed = |(name, pointer): (&String, &String)| {
        let value = content.pointer(pointer).and_then(scalar);
        (name.clone(), Pointed { pointer: pointer.clone(), value })
    };
    Ok(ConfigurationFile {
        path: path.display().to_string(),
        mode: format!("{:04o}", metadata.permissions().mode() & 0o7777),
        pointers: pointers.iter().map(pointed).collect(),
    })
}

fn scalar(value: &Value) -> Option<Value> {
    match value {
        Value::Null => None,
        // Numbers that JSON does not keep exactly are recorded as the text they were.
        Value::Number(number) if canonical::to_vec(number).is_err() => Some(number.to_string().into()),
        Value::Bool(_) | Value::Number(_) => Some(value.clone()),
        Value::String(text) => Some(Value::String(cut(text))),
        Value::Array(_) => Some("(list)".into()),
        Value::Object(_) => Some("(table)".into()),
    }
}

fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}

/// The file as JSON, whatever it is written in. Errors give the place, not the words that stand there.
fn parse(path: &Path) -> Result<Value, Failure> {
    let unparseable =
        |words: String| Failure::new(FailureKind::Unparseable, format_args!("{}: {words}", path.display()));
    let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
    // A file called `.env` has no ending but a name.
    let ending = ending.or_else(|| (path.file_name()? == ".env").then(|| "env".to_owned()));
    let text = files::read_text(path)?;
    match ending.as_deref() {
        Some("json") => serde_json::from_str(&text).map_err(|error| {
            unparseable(format!("not valid JSON at line {}, column {}", error.line(), error.column()))
        }),
        Some("toml") => {
            text.parse::<toml::Table>().map(|table| from_toml(toml::Value::Table(table))).map_err(|error| {
                let before = error.span().map_or(0, |span| span.start).min(text.len());
                let line = text.bytes().take(before).filter(|byte| *byte == b'\n').count() + 1;
                unparseable(format!("not valid TOML at line {line}"))
            })
        }
        Some("env" | "conf") => assignments(&text).map_err(|line| unparseable(format!("line {line} is not KEY=value"))),
        _ => Err(unparseable(format!("its ending does not say what it is written in; it must be {ENDINGS}"))),
    }
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(from_toml).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, from_toml(value))).collect(),
    }
}

/// `KEY=value` lines, as systemd's `EnvironmentFile=` and shells write them; the last of a key counts.
fn assignments(text: &str) -> Result<Value, usize> {
    let mut found = serde_json::Map::new();
    for (line, number) in text.lines().zip(1_usize..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').ok_or(number)?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        found.insert(key.trim().to_owned(), quoted.unwrap_or(value).into());
    }
    Ok(Value::Object(found))
}

/// None when nothing about metrics is declared. Names without an endpoint are a failed look: they were declared.
fn metrics(service: &config::Service) -> Option<Result<Metrics, Failure>> {
    match &service.metrics_url {
        Some(url) => Some(read_metrics(url, &service.metrics)),
        None if service.metrics.is_empty() => None,
        None => Some(Err(Failure::new(
            FailureKind::NotFound,
            "metrics are declared but their endpoint is not; write [service] metrics_url",
        ))),
    }
}

fn read_metrics(url: &str, names: &BTreeMap<String, String>) -> Result<Metrics, Failure> {
    let mut response = get(url)?;
    let status = response.status().as_u16();
    let body = match status {
        200..300 => {
            response.body_mut().with_config().limit(MAX_METRICS_BYTES).read_to_vec().map_err(|error| match error {
                ureq::Error::BodyExceedsLimit(_) => {
                    let detail = format!("{} has more than {MAX_METRICS_BYTES} bytes", shown(url));
                    Failure::new(FailureKind::TooLarge, detail)
                }
                error => http::failure(&error),
            })?
        }
        _ => Vec::new(),
    };
    let body = String::from_utf8_lossy(&body);
    let samples = |(guardrail, metric): (&String, &String)| {
        let lines = body.lines().filter(|line| is_sample(line, metric)).take(MAX_SAMPLES).map(cut).collect();
        (guardrail.clone(), MetricSamples { metric: metric.clone(), lines })
    };
    Ok(Metrics { url: shown(url), status, samples: names.iter().map(samples).collect() })
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
#[path = "gateway_config_guardrails_tests.rs"]
mod tests;
