//! `gateway_config_guardrails`: what the gateway service's and the broker's configuration declare.
//!
//! Two kinds of target: the gateway service, read by pointers that the operator declared and by its metrics and health
//! endpoints; and the broker, read from its own configuration files, directive by directive. Only the pointed-at values
//! are recorded from the service's file, and secrets in the broker's are replaced by the probe before they get here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::broker_transport_posture::Scope;
use super::{Contract, Seen, Unknown, segment};
use crate::look::Look;

/// The contract of this check.
pub struct Check;

/// What was seen of a configuration; exactly one part is present, by the target's kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The gateway service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// The broker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<Broker>,
}

/// What was seen of the gateway service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its configuration file; null when none is declared.
    pub configuration: Option<Look<ConfigurationFile>>,
    /// Its metrics endpoint; null when none is declared.
    pub metrics: Option<Look<Metrics>>,
    /// Its health endpoint's status code; null when none is declared.
    pub health: Option<Look<u16>>,
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

/// The broker's configuration files (mosquitto.conf(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// The file that was read first.
    pub path: String,
    /// Every directive, in the order Mosquitto reads them, `include_dir` followed.
    pub directives: Vec<Directive>,
    /// Files that are named but could not be read.
    pub unreadable: BTreeMap<String, crate::look::Failure>,
}

/// One line of the broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// The file it stands in.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// Its name.
    pub key: String,
    /// Its value; passwords and pre-shared keys are replaced by `(redacted)`.
    pub value: String,
}

/// Facts about a configuration; exactly one part is present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The gateway service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceFacts>,
    /// The broker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<BrokerFacts>,
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
    /// Its metrics say whether unsafe defaults are in effect.
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
}

/// Facts about the broker's configuration, as Mosquitto 2.0 resolves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerFacts {
    /// By `port` or `port@address`: each listener that the files define.
    pub listeners: BTreeMap<String, DeclaredListener>,
    /// Clients without credentials are allowed on some listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_allowed: Option<bool>,
    /// An access control list or a plugin that can hold one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_control_configured: Option<bool>,
    /// Messages survive a restart (`persistence`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<bool>,
    /// A bridge skips the check of its peer's name (`bridge_insecure`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_insecure: Option<bool>,
}

/// A listener as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredListener {
    /// From where it can be reached, by its bind address; every interface when it has none.
    pub scope: Scope,
    /// It has a certificate and a key, or a pre-shared key.
    pub tls: bool,
    /// It demands a client certificate.
    pub client_certificate_required: bool,
    /// Its `tls_version`, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// It allows clients without credentials.
    pub anonymous_allowed: bool,
}

impl Contract for Check {
    const CHECK: &'static str = "gateway_config_guardrails";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[];

    fn normalise(observation: &Observation, _: &Seen, unknown: &mut Unknown) -> Facts {
        Facts {
            service: observation.service.as_ref().map(|service| service_facts(service, unknown)),
            broker: observation.broker.as_ref().map(|broker| broker_facts(broker, unknown)),
        }
    }
}

fn service_facts(service: &Service, unknown: &mut Unknown) -> ServiceFacts {
    let mut facts = ServiceFacts {
        health_declared: service.health.is_some(),
        file_declared: service.configuration.is_some(),
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
    match &service.metrics {
        Some(Look::Seen(metrics)) if (200..300).contains(&metrics.status) => {
            facts.declared.extend(metrics.samples.keys().cloned());
            facts.unsafe_defaults_observable =
                metrics.samples.get("unsafe_defaults").map(|samples| !samples.lines.is_empty());
        }
        Some(Look::Seen(metrics)) => {
            facts.declared.push("unsafe_defaults".into());
            let why = format!("{} answered {}", metrics.url, metrics.status);
            unknown.because("/service/unsafe_defaults_observable", why);
        }
        Some(Look::Failed(failure)) => {
            facts.declared.push("unsafe_defaults".into());
            unknown.because("/service/unsafe_defaults_observable", failure);
        }
        None => {}
    }
    match &service.health {
        Some(Look::Seen(status)) => facts.healthy = Some((200..300).contains(status)),
        Some(Look::Failed(failure)) => unknown.because("/service/healthy", failure),
        None => {}
    }
    facts.declared.sort();
    facts.declared.dedup();
    facts
}

/// The guardrails that a pointer can be declared for.
pub const POINTERS: &[&str] = &["auth_enforced", "tls_enforced", "buffering_enabled", "retry_limit"];
/// The guardrails that a metric can be declared for.
pub const METRICS: &[&str] = &["unsafe_defaults"];

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

/// Mosquitto 2.0 reads directives in order; those after a `listener` belong to it, the others are global.
/// Without any listener it serves port 1883 on loopback only and allows anonymous clients.
fn broker_facts(broker: &Broker, unknown: &mut Unknown) -> BrokerFacts {
    if let Some((path, failure)) = broker.unreadable.iter().next() {
        unknown.because("/broker", format!("{path}: {failure}"));
        return BrokerFacts::default();
    }
    let last = |key: &str| broker.directives.iter().rev().find(|directive| directive.key == key);
    let flag = |key: &str| last(key).map(|directive| truth(&directive.value));
    let per_listener = flag("per_listener_settings").unwrap_or(false);
    let global_anonymous = flag("allow_anonymous").filter(|_| !per_listener);
    let listeners = declared_listeners(broker, per_listener, global_anonymous.unwrap_or(false));
    let local_only = listeners.is_empty();
    BrokerFacts {
        anonymous_allowed: Some(if local_only {
            global_anonymous.unwrap_or(true)
        } else {
            listeners.values().any(|listener| listener.anonymous_allowed)
        }),
        access_control_configured: Some(
            ["acl_file", "plugin", "auth_plugin", "global_plugin"].iter().any(|key| last(key).is_some()),
        ),
        persistence: Some(flag("persistence").unwrap_or(false)),
        // Each bridge has its own.
        bridge_insecure: Some(
            broker.directives.iter().any(|directive| directive.key == "bridge_insecure" && truth(&directive.value)),
        ),
        listeners,
    }
}

/// Mosquitto takes `true` and `1`.
fn truth(value: &str) -> bool {
    matches!(value, "true" | "1")
}

/// With `per_listener_settings`, an `allow_anonymous` belongs to the listener it follows; without, it is global wherever
/// it stands, and only `listener_allow_anonymous` (2.1) speaks of one listener.
fn declared_listeners(
    broker: &Broker,
    per_listener: bool,
    global_anonymous: bool,
) -> BTreeMap<String, DeclaredListener> {
    let mut listeners: BTreeMap<String, DeclaredListener> = BTreeMap::new();
    // Mosquitto keeps a default listener for `port`, `bind_address` and the TLS options before the first `listener`.
    let mut current: Option<String> = None;
    let mut certificates = (false, false);
    for directive in &broker.directives {
        let mut words = directive.value.split_whitespace();
        match directive.key.as_str() {
            "listener" | "port" => {
                let port = words.next().unwrap_or("?");
                let address = words.next();
                let name = address.map_or_else(|| port.to_owned(), |address| format!("{port}@{address}"));
                let scope = address.map_or(Scope::Public, Scope::of);
                listeners.insert(
                    name.clone(),
                    DeclaredListener {
                        scope,
                        tls: false,
                        client_certificate_required: false,
                        tls_version: None,
                        anonymous_allowed: global_anonymous,
                    },
                );
                current = Some(name);
                certificates = (false, false);
            }
            key => {
                let Some(listener) = current.as_ref().and_then(|name| listeners.get_mut(name)) else { continue };
                match key {
                    "certfile" => certificates.0 = true,
                    "keyfile" => certificates.1 = true,
                    "psk_hint" => listener.tls = true,
                    "require_certificate" => listener.client_certificate_required = truth(&directive.value),
                    "tls_version" => listener.tls_version = Some(directive.value.clone()),
                    "listener_allow_anonymous" => listener.anonymous_allowed = truth(&directive.value),
                    "allow_anonymous" if per_listener => listener.anonymous_allowed = truth(&directive.value),
                    "bind_address" => listener.scope = Scope::of(&directive.value),
                    _ => {}
                }
                listener.tls |= certificates == (true, true);
            }
        }
    }
    listeners
}

/// The place of a declared listener in the facts, for reasons and findings.
#[must_use]
pub fn listener_pointer(name: &str) -> String {
    format!("/broker/listeners/{}", segment(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::{Failure, FailureKind};

    fn seen() -> Seen {
        Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None }
    }

    fn broker(text: &str) -> BrokerFacts {
        let directives = text
            .lines()
            .zip(1..)
            .filter_map(|(text, line)| {
                let (key, value) = text.trim().split_once(' ')?;
                Some(Directive { file: "m.conf".into(), line, key: key.into(), value: value.into() })
            })
            .collect();
        let broker = Broker { path: "m.conf".into(), directives, unreadable: BTreeMap::new() };
        let observation = Observation { service: None, broker: Some(broker) };
        Check::normalise(&observation, &seen(), &mut Unknown::default()).broker.unwrap()
    }

    fn service(value: Option<Value>) -> (ServiceFacts, Unknown) {
        let pointers = BTreeMap::from([("auth_enforced".into(), Pointed { pointer: "/auth".into(), value })]);
        let file = ConfigurationFile { path: "s.toml".into(), mode: "0640".into(), pointers };
        let service = Service { configuration: Some(Look::Seen(file)), metrics: None, health: None };
        let mut unknown = Unknown::default();
        let observation = Observation { service: Some(service), broker: None };
        (Check::normalise(&observation, &seen(), &mut unknown).service.unwrap(), unknown)
    }

    #[test]
    fn directives_after_a_listener_belong_to_it() {
        let facts = broker(
            "allow_anonymous false\nlistener 8883\ncafile /ca\ncertfile /c\nkeyfile /k\nrequire_certificate true\n\
             listener 1883 127.0.0.1\nlistener_allow_anonymous true\n",
        );
        let tls = &facts.listeners["8883"];
        assert_eq!((tls.scope, tls.tls, tls.client_certificate_required), (Scope::Public, true, true));
        assert!(!tls.anonymous_allowed);
        let plain = &facts.listeners["1883@127.0.0.1"];
        assert_eq!((plain.scope, plain.tls, plain.anonymous_allowed), (Scope::Loopback, false, true));
        assert_eq!(facts.anonymous_allowed, Some(true));
    }

    #[test]
    fn settings_per_listener_stay_with_their_listener() {
        let facts = broker("per_listener_settings true\nlistener 8883\nlistener 1883 127.0.0.1\nallow_anonymous 1\n");
        assert!(!facts.listeners["8883"].anonymous_allowed);
        assert!(facts.listeners["1883@127.0.0.1"].anonymous_allowed);
        let facts = broker("listener 8883\nlistener 1883 127.0.0.1\nallow_anonymous 1\n");
        assert!(facts.listeners.values().all(|listener| listener.anonymous_allowed), "without them it is global");
    }

    #[test]
    fn without_a_listener_mosquitto_is_local_and_open() {
        assert_eq!(broker("persistence true\n").anonymous_allowed, Some(true));
        assert_eq!(broker("allow_anonymous false\n").anonymous_allowed, Some(false));
        assert_eq!(broker("listener 1883\n").anonymous_allowed, Some(false));
    }

    #[test]
    fn one_insecure_bridge_among_several_is_one_too_many() {
        let two = |first, second| {
            let text = format!("connection a\nbridge_insecure {first}\nconnection b\nbridge_insecure {second}\n");
            broker(&text).bridge_insecure
        };
        assert_eq!(two("true", "false"), Some(true));
        assert_eq!(two("false", "true"), Some(true));
        assert_eq!(two("false", "false"), Some(false));
    }

    #[test]
    fn a_file_out_of_sight_leaves_everything_unknown() {
        let unreadable = BTreeMap::from([("/etc/x".to_owned(), Failure::new(FailureKind::Denied, "no"))]);
        let broker = Broker { path: "m.conf".into(), directives: Vec::new(), unreadable };
        let mut unknown = Unknown::default();
        let facts = Check::normalise(&Observation { service: None, broker: Some(broker) }, &seen(), &mut unknown);
        assert_eq!(facts.broker.unwrap().anonymous_allowed, None);
        assert_eq!(unknown.reason("/broker/anonymous_allowed"), Some("/etc/x: denied: no"));
    }

    #[test]
    fn a_pointer_is_read_as_people_write_booleans() {
        for (value, expected) in [
            (Some(Value::Bool(false)), Some(false)),
            (Some("Yes".into()), Some(true)),
            (Some("off".into()), Some(false)),
            (Some(1.into()), Some(true)),
            (Some("maybe".into()), None),
            (None, None),
        ] {
            let (facts, unknown) = service(value);
            assert_eq!(facts.auth_enforced, expected);
            assert_eq!(unknown.reason("/service/auth_enforced").is_some(), expected.is_none());
            assert_eq!(facts.declared, ["auth_enforced"]);
        }
    }

    #[test]
    fn a_metric_that_is_not_there_is_not_observable_but_a_silent_endpoint_is_unknown() {
        let facts = |metrics| {
            let service = Service { configuration: None, metrics: Some(metrics), health: None };
            let mut unknown = Unknown::default();
            let observation = Observation { service: Some(service), broker: None };
            let facts = Check::normalise(&observation, &seen(), &mut unknown).service.unwrap();
            (facts.unsafe_defaults_observable, unknown.reason("/service/unsafe_defaults_observable").is_some())
        };
        let metrics = |status, lines: &[&str]| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            let samples = MetricSamples { metric: "unsafe".into(), lines };
            let samples = BTreeMap::from([("unsafe_defaults".into(), samples)]);
            Look::Seen(Metrics { url: "http://x/metrics".into(), status, samples })
        };
        assert_eq!(facts(metrics(200, &["unsafe 0"])), (Some(true), false));
        assert_eq!(facts(metrics(200, &[])), (Some(false), false));
        assert_eq!(facts(metrics(500, &[])), (None, true));
        assert_eq!(facts(Look::Failed(Failure::new(FailureKind::Refused, "no"))), (None, true));
    }
}
