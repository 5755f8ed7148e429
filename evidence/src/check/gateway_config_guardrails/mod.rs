//! `gateway_config_guardrails`: what the gateway service's and the broker's configuration declare, and whether it is in effect.
//!
//! Two kinds of target: the gateway service ([`service`]), read by pointers that the operator declared and by its metrics and
//! health endpoints; and the broker ([`broker`]), read from its own configuration files, directive by directive, and resolved
//! as Mosquitto resolves them ([`resolve`]). What the same run saw of the live broker is held against it ([`live`]). Only the
//! pointed-at values are recorded from the service's file, and secrets in the broker's are replaced by the probe before they
//! get here.

pub mod broker;
mod directives;
pub mod live;
pub mod resolve;
pub mod service;
mod values;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::broker::{Broker, BrokerFacts, DeclaredListener, Directive};
pub use self::directives::Release;
pub use self::service::{
    ConfigurationFile, LOGS, METRICS, MetricSamples, Metrics, POINTERS, Pointed, Service, ServiceFacts,
};
use super::{Beside, Contract, Seen, Unknown};
use crate::run::Target;

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

impl Contract for Check {
    const CHECK: &'static str = "gateway_config_guardrails";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &[];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        Facts {
            service: observation.service.as_ref().map(|service| service::facts(service, seen, unknown)),
            broker: observation.broker.as_ref().map(|broker| broker::facts(broker, seen, unknown)),
        }
    }

    fn relate(_: &Observation, _: &Target, beside: &Beside, facts: &mut Facts, unknown: &mut Unknown) {
        if let (Some(broker), Some(live)) = (&mut facts.broker, &beside.live) {
            broker.in_effect = live::rows(broker, live, unknown);
        }
    }
}

#[cfg(test)]
mod tests;
