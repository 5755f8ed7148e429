//! The gateway service's configuration, by declared pointers, and how the service fares: its metrics, its log, its health, its
//! unit or process.
//!
//! Of the configuration only flags and numbers are ever recorded; a text that is neither is recorded as its kind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::{Seen, Unknown};
use crate::look::Look;

/// What was seen of the gateway service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its configuration file; null when none is declared.
    pub configuration: Option<Look<ConfigurationFile>>,
    /// Its metrics endpoint; null when none is declared.
    pub metrics: Option<Look<Metrics>>,
    /// Its health endpoint's status code; null when none is declared.
    pub health: Option<Look<u16>>,
    /// Where its configuration was asked for; null when it is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration_url: Option<String>,
    /// Its log; null when none is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Look<Log>>,
    /// Its unit, as systemd has it; null when none is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Look<Unit>>,
    /// Its process, by its PID file; null when none is declared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Look<Process>>,
}

/// What its log says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Its path.
    pub path: String,
    /// By guardrail: in how many lines of the last part of the log the declared words stand. The lines are not recorded.
    pub lines: BTreeMap<String, u32>,
}

/// A unit (systemd.unit(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Its name.
    pub name: String,
    /// `ActiveState`, such as `active`.
    pub active_state: String,
    /// `SubState`, such as `running` or `auto-restart`.
    pub sub_state: String,
    /// `NRestarts`: how often systemd has started it again by itself.
    pub restarts: Option<u32>,
}

/// A process, by its PID file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The PID file.
    pub path: String,
    /// When the process was started, to about a second; null when there is none of that number.
    pub started: Option<Timestamp>,
}

/// A configuration file, by the declared pointers only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationFile {
    /// Its path.
    pub path: String,
    /// Permission bits, octal.
    pub mode: String,
    /// By guardrail, such as `auth_enforced`: what stands at its pointer.
    pub pointers: BTreeMap<String, Pointed>,
}

/// What stands at a pointer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pointed {
    /// JSON pointer into the file (RFC 6901).
    pub pointer: String,
    /// The scalar that stands there; null when nothing does. A table or list is recorded as its kind.
    pub value: Option<Value>,
}

/// A metrics endpoint in the Prometheus text format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// The URL.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    /// By guardrail: the metric asked for, and its sample lines, at most eight.
    pub samples: BTreeMap<String, MetricSamples>,
    /// The same a moment later, where that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub later: Option<Look<Later>>,
}

/// Metrics a moment later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Later {
    /// Milliseconds between the two looks.
    pub millis: u64,
    /// As in [`Metrics`].
    pub samples: BTreeMap<String, MetricSamples>,
}

/// Samples of one metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricSamples {
    /// The metric's name.
    pub metric: String,
    /// The lines that carry it.
    pub lines: Vec<String>,
}

/// Facts about the gateway service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServiceFacts {
    /// The guardrails the operator declared a pointer or metric for.
    pub declared: Vec<String>,
    /// The service demands authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_enforced: Option<bool>,
    /// The service speaks TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_enforced: Option<bool>,
    /// The service buffers when the uplink is down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffering_enabled: Option<bool>,
    /// The most retries of one delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_limit: Option<i64>,
    /// Its metrics or its log say whether unsafe defaults are in effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsafe_defaults_observable: Option<bool>,
    /// Whether a health endpoint is declared.
    pub health_declared: bool,
    /// The health endpoint answered 2xx.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy: Option<bool>,
    /// Whether a configuration file is declared.
    pub file_declared: bool,
    /// Users other than the owner and group may write the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_writable_by_others: Option<bool>,
    /// Its counter of messages rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_flowing: Option<bool>,
    /// Whether a unit or a PID file is declared.
    pub activity_declared: bool,
    /// The unit is active, or the process runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// How often systemd has started the unit again by itself; absent without a reason where no unit is declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u32>,
}

pub(super) fn facts(service: &Service, _: &Seen, unknown: &mut Unknown) -> ServiceFacts {
    let mut facts = ServiceFacts {
        health_declared: service.health.is_some(),
        file_declared: service.configuration.is_some() && service.configuration_url.is_none(),
        activity_declared: service.unit.is_some() || service.process.is_some(),
        ..ServiceFacts::default()
    };
    match &service.configuration {
        Some(Look::Seen(file)) => {
            facts.declared.extend(file.pointers.keys().cloned());
            facts.auth_enforced = boolean(file, "auth_enforced", unknown);
            facts.tls_enforced = boolean(file, "tls_enforced", unknown);
            facts.buffering_enabled = boolean(file, "buffering_enabled", unknown);
            facts.retry_limit = integer(file, "retry_limit", unknown);
            facts.file_writable_by_others = u32::from_str_radix(&file.mode, 8).ok().map(|mode| mode & 0o002 != 0);
        }
        Some(Look::Failed(failure)) => {
            // The pointers were declared, but the file that would say which is out of sight: nothing is known.
            facts.declared.extend(POINTERS.iter().map(|name| (*name).to_owned()));
            for fact in POINTERS.iter().chain(&["file_writable_by_others"]) {
                unknown.because(format!("/service/{fact}"), failure);
            }
        }
        None => {}
    }
    unsafe_defaults(service, &mut facts, unknown);
    flow(service, &mut facts, unknown);
    match &service.health {
        Some(Look::Seen(status)) => facts.healthy = Some((200..300).contains(status)),
        Some(Look::Failed(failure)) => unknown.because("/service/healthy", failure),
        None => {}
    }
    activity(service, &mut facts, unknown);
    facts.declared.sort();
    facts.declared.dedup();
    facts
}

/// The metrics, if they answered; else why not.
fn answered(metrics: &Look<Metrics>) -> Result<&Metrics, String> {
    match metrics {
        Look::Seen(metrics) if (200..300).contains(&metrics.status) => Ok(metrics),
        Look::Seen(metrics) => Err(format!("{} answered {}", metrics.url, metrics.status)),
        Look::Failed(failure) => Err(failure.to_string()),
    }
}

/// Metrics and log each may show it; that neither does is known only when both were seen.
fn unsafe_defaults(service: &Service, facts: &mut ServiceFacts, unknown: &mut Unknown) {
    const NAME: &str = "unsafe_defaults";
    let mut shown: Vec<Result<bool, String>> = Vec::new();
    match service.metrics.as_ref().map(answered) {
        // It is not told which metrics were declared when none were seen.
        Some(Err(why)) => shown.push(Err(why)),
        Some(Ok(metrics)) => {
            facts.declared.extend(metrics.samples.keys().cloned());
            shown.extend(metrics.samples.get(NAME).map(|samples| Ok(!samples.lines.is_empty())));
        }
        None => {}
    }
    match &service.log {
        Some(Look::Seen(log)) => shown.extend(log.lines.get(NAME).map(|lines| Ok(*lines > 0))),
        Some(Look::Failed(failure)) => shown.push(Err(failure.to_string())),
        None => {}
    }
    if shown.is_empty() {
        return;
    }
    facts.declared.push(NAME.into());
    if shown.contains(&Ok(true)) {
        facts.unsafe_defaults_observable = Some(true);
    } else if let Some(why) = shown.iter().find_map(|one| one.as_ref().err()) {
        unknown.because("/service/unsafe_defaults_observable", why);
    } else {
        facts.unsafe_defaults_observable = Some(false);
    }
}

/// Whether the counter of messages is higher a moment later.
fn flow(service: &Service, facts: &mut ServiceFacts, unknown: &mut Unknown) {
    const NAME: &str = "messages";
    let Some(Look::Seen(metrics)) = &service.metrics else { return };
    let Some(first) = metrics.samples.get(NAME) else { return };
    let place = "/service/messages_flowing";
    let sum = |samples: &MetricSamples| {
        let values: Option<Vec<f64>> = samples.lines.iter().map(|line| sample(line)).collect();
        values.filter(|values| !values.is_empty()).map(|values| values.iter().sum::<f64>())
    };
    let later = match &metrics.later {
        Some(Look::Seen(later)) => later.samples.get(NAME).and_then(sum),
        Some(Look::Failed(failure)) => return unknown.because(place, failure),
        None => None,
    };
    match (sum(first), later) {
        (Some(first), Some(later)) if later < first => {
            unknown.because(place, format!("{} went back: the service was started anew in between", metrics.url));
        }
        (Some(first), Some(later)) => facts.messages_flowing = Some(later > first),
        _ => unknown.because(place, format!("{} has no sample of {}", metrics.url, first.metric)),
    }
}

/// The value of a sample line of the Prometheus text format: the first word behind name and labels.
fn sample(line: &str) -> Option<f64> {
    let rest = match line.rsplit_once('}') {
        Some((_, rest)) => rest,
        None => line.trim_start().split_once([' ', '\t'])?.1,
    };
    rest.split_ascii_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())
}

fn activity(service: &Service, facts: &mut ServiceFacts, unknown: &mut Unknown) {
    let mut active = Vec::new();
    match &service.unit {
        Some(Look::Seen(unit)) => {
            active.push(unit.active_state == "active");
            facts.restarts = unit.restarts;
            if unit.restarts.is_none() {
                unknown.because("/service/restarts", format!("systemd does not count the restarts of {}", unit.name));
            }
        }
        Some(Look::Failed(failure)) => {
            unknown.because("/service/restarts", failure);
            unknown.because("/service/active", failure);
            return;
        }
        None => {}
    }
    match &service.process {
        Some(Look::Seen(process)) => active.push(process.started.is_some()),
        Some(Look::Failed(failure)) => return unknown.because("/service/active", failure),
        None => {}
    }
    facts.active = (!active.is_empty()).then(|| active.iter().all(|active| *active));
}

/// The guardrails that a pointer can be declared for.
pub const POINTERS: &[&str] = &["auth_enforced", "tls_enforced", "buffering_enabled", "retry_limit"];
/// The guardrails that a metric can be declared for.
pub const METRICS: &[&str] = &["messages", "unsafe_defaults"];
/// The guardrails that words of the log can be declared for.
pub const LOGS: &[&str] = &["unsafe_defaults"];
/// What is recorded of a text that is neither a flag nor a number.
pub const TEXT: &str = "(text)";

/// Whether a text is one of the ways to write a flag or a number, and so may be recorded.
#[must_use]
pub fn is_plain(text: &str) -> bool {
    ["true", "yes", "on", "1", "false", "no", "off", "0"].contains(&text.to_ascii_lowercase().as_str())
        || text.len() <= 20 && text.parse::<i64>().is_ok()
}

fn boolean(file: &ConfigurationFile, name: &str, unknown: &mut Unknown) -> Option<bool> {
    let pointed = file.pointers.get(name)?;
    let value = match &pointed.value {
        Some(Value::Bool(value)) => Some(*value),
        Some(Value::String(text)) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        },
        Some(Value::Number(number)) if number.as_i64() == Some(1) => Some(true),
        Some(Value::Number(number)) if number.as_i64() == Some(0) => Some(false),
        _ => None,
    };
    if value.is_none() {
        missing(file, name, pointed, "true or false", unknown);
    }
    value
}

fn integer(file: &ConfigurationFile, name: &str, unknown: &mut Unknown) -> Option<i64> {
    let pointed = file.pointers.get(name)?;
    let value = match &pointed.value {
        Some(Value::Number(number)) => number.as_i64(),
        Some(Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    if value.is_none() {
        missing(file, name, pointed, "a whole number", unknown);
    }
    value
}

fn missing(file: &ConfigurationFile, name: &str, pointed: &Pointed, wanted: &str, unknown: &mut Unknown) {
    let why = match &pointed.value {
        None => format!("{} has nothing at {}", file.path, pointed.pointer),
        Some(value) => format!("{} has {value} at {}, not {wanted}", file.path, pointed.pointer),
    };
    unknown.because(format!("/service/{name}"), why);
}
