//! The checks' contracts: for each, what is observed, which facts follow, and the pure step between.
//!
//! One file per check. [`CHECKS`] is the list of them all; [`normalise`] turns a record of any of them into facts. A record
//! that cannot be normalised (a check or a contract version this build does not know, an observation of another shape) is
//! an error with its reason, never an empty set of facts.

pub mod broker_certificate_identity;
pub mod broker_transport_posture;
pub mod device_certificate_hygiene;
pub mod disclosure_readiness;
pub mod gateway_config_guardrails;
pub mod host_guardrails;
pub mod ingest_auth;
pub mod link_posture;
pub mod telemetry_integrity;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde::{Deserialize as _, Serialize};
use serde_json::Value;

use crate::id::GatewayId;
use crate::run::{Record, Run, Target, TargetKind};

/// One check's contract.
pub trait Contract {
    /// The check's stable id.
    const CHECK: &'static str;
    /// The contract's version; raised when the shape of the observation changes.
    const VERSION: u32;
    /// The oldest version whose observations are still read; they must fit [`Contract::Observation`].
    const OLDEST: u32 = Self::VERSION;
    /// What a probe records.
    type Observation: Serialize + DeserializeOwned + JsonSchema;
    /// What follows from it.
    type Facts: Serialize + JsonSchema;
    /// Facts that change with every look and are left out of drift: JSON pointers, `*` for any one segment.
    const VOLATILE: &'static [&'static str];
    /// Facts that follow from an observation. Facts that are not known are left out, with a reason in `unknown`.
    fn normalise(observation: &Self::Observation, seen: &Seen, unknown: &mut Unknown) -> Self::Facts;

    /// Adds to the facts about `target` what follows from the rest of its run. Most observations stand alone.
    fn relate(
        _observation: &Self::Observation,
        _target: &Target,
        _beside: &Beside,
        _facts: &mut Self::Facts,
        _unknown: &mut Unknown,
    ) {
    }
}

/// What stands beside a record in its run, as far as its facts depend on it. The same for every record of a run: whoever
/// normalises many makes it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beside {
    /// The gateway that the run is of.
    pub gateway: GatewayId,
    /// What its devices show.
    pub fleet: device_certificate_hygiene::fleet::Fleet,
    /// What was seen of the running broker; none where nobody looked.
    pub live: Option<gateway_config_guardrails::live::Live>,
}

impl Beside {
    /// What stands in `run`.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        use device_certificate_hygiene::{Check, Observation};
        let mut fleet = device_certificate_hygiene::fleet::Fleet::default();
        let known = |record: &&Record| record.check == Check::CHECK && record.contract == Check::VERSION;
        for record in run.records.iter().filter(known).filter(|record| record.target.kind == TargetKind::Device) {
            // One that cannot be read has no facts of its own either, and its record says so.
            if let Some(Ok(observation)) = record.observation.as_ref().map(Observation::deserialize) {
                fleet.add(&record.target.name, &observation);
            }
        }
        Self { gateway: run.gateway.id, fleet, live: live(run) }
    }
}

/// What the broker's configuration is held against; none where the run did not look at the running broker, or nobody asks.
fn live(run: &Run) -> Option<gateway_config_guardrails::live::Live> {
    let is = |record: &Record, check: &str| record.check == check && record.observation.is_some();
    if !run.records.iter().any(|record| is(record, gateway_config_guardrails::Check::CHECK)) {
        return None;
    }
    let mut found = None;
    for record in &run.records {
        let Some(observation) = &record.observation else { continue };
        // One that cannot be read has no facts of its own either, and its record says so.
        if is(record, broker_transport_posture::Check::CHECK)
            && let Ok(observation) = broker_transport_posture::Observation::deserialize(observation)
        {
            let seen = Seen { at: record.observed_at, distrust: run.clock.distrust(run.started_at) };
            let facts = broker_transport_posture::Check::normalise(&observation, &seen, &mut Unknown::default());
            found.get_or_insert_with(gateway_config_guardrails::live::Live::default).add_listeners(facts);
        }
        if is(record, host_guardrails::Check::CHECK)
            && let Ok(observation) = host_guardrails::Observation::deserialize(observation)
            && let Some(sockets) = observation.sockets.seen()
        {
            found.get_or_insert_with(gateway_config_guardrails::live::Live::default).add_sockets(sockets);
        }
    }
    found
}

/// When an observation was made, and whether that moment may be compared with dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// When the look began.
    pub at: Timestamp,
    /// Why the gateway's clock is not believed, if it is not.
    pub distrust: Option<&'static str>,
}

impl Seen {
    /// Whether the moment may be compared with dates.
    #[must_use]
    pub fn clock_believed(&self) -> bool {
        self.distrust.is_none()
    }
}

/// Why facts are missing, by JSON pointer (RFC 6901) into the facts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unknown(BTreeMap<String, String>);

impl Unknown {
    /// Records why everything at or below `pointer` is missing.
    pub fn because(&mut self, pointer: impl Into<String>, reason: impl std::fmt::Display) {
        self.0.insert(pointer.into(), reason.to_string());
    }

    /// Why the fact at `pointer` is missing: its own reason, or that of the nearest place above it.
    #[must_use]
    pub fn reason(&self, pointer: &str) -> Option<&str> {
        let mut place = pointer;
        loop {
            if let Some(reason) = self.0.get(place) {
                return Some(reason);
            }
            place = &place[..place.rfind('/')?];
        }
    }
}

/// One segment of a JSON pointer, escaped (RFC 6901, section 3).
#[must_use]
pub fn segment(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The facts of one record.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalised {
    /// The facts, in the shape of the contract's `Facts`.
    pub facts: Value,
    /// Why facts are missing.
    pub unknown: Unknown,
}

/// Why a record has no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NormaliseError {
    /// The look itself did not succeed.
    #[error("{status}: {detail}")]
    NotObserved {
        /// What happened.
        status: String,
        /// The record's detail.
        detail: String,
    },
    /// This build knows no such check.
    #[error("check {0} is not known to this version")]
    UnknownCheck(String),
    /// This build does not read that version of the contract.
    #[error("contract {check} version {found} is not known to this version, which reads {oldest} to {known}")]
    UnknownVersion {
        /// The check.
        check: String,
        /// The record's version.
        found: u32,
        /// The oldest version this build reads.
        oldest: u32,
        /// The newest version this build reads.
        known: u32,
    },
    /// The observation does not have the contract's shape.
    #[error("the observation does not follow contract {check} version {version}: {words}")]
    Shape {
        /// The check.
        check: String,
        /// The contract's version.
        version: u32,
        /// serde's words.
        words: String,
    },
}

/// A contract as a plain value, for the list of all of them.
#[derive(Clone, Copy)]
pub struct CheckInfo {
    /// The check's id.
    pub id: &'static str,
    /// The version of its contract.
    pub version: u32,
    /// The oldest version that is still read.
    pub oldest: u32,
    /// JSON pointers of its volatile facts, `*` for any one segment.
    pub volatile: &'static [&'static str],
    /// JSON Schema of the observation.
    pub observation_schema: fn() -> Schema,
    /// JSON Schema of the facts.
    pub facts_schema: fn() -> Schema,
    normalise: fn(&Value, &Seen, &Target, &Beside) -> Result<Normalised, String>,
}

/// Every check there is.
pub const CHECKS: &[CheckInfo] = &[
    info::<broker_transport_posture::Check>(),
    info::<broker_certificate_identity::Check>(),
    info::<ingest_auth::Check>(),
    info::<gateway_config_guardrails::Check>(),
    info::<device_certificate_hygiene::Check>(),
    info::<host_guardrails::Check>(),
    info::<link_posture::Check>(),
    info::<telemetry_integrity::Check>(),
    info::<disclosure_readiness::Check>(),
];

const fn info<C: Contract>() -> CheckInfo {
    CheckInfo {
        id: C::CHECK,
        version: C::VERSION,
        oldest: C::OLDEST,
        volatile: C::VOLATILE,
        observation_schema: schema::<C::Observation>,
        facts_schema: schema::<C::Facts>,
        normalise: normalise_value::<C>,
    }
}

fn schema<T: JsonSchema>() -> Schema {
    schemars::SchemaGenerator::default().into_root_schema_for::<T>()
}

fn normalise_value<C: Contract>(
    observation: &Value,
    seen: &Seen,
    target: &Target,
    beside: &Beside,
) -> Result<Normalised, String> {
    let observation = C::Observation::deserialize(observation).map_err(|error| error.to_string())?;
    let mut unknown = Unknown::default();
    let mut facts = C::normalise(&observation, seen, &mut unknown);
    C::relate(&observation, target, beside, &mut facts, &mut unknown);
    let facts = serde_json::to_value(facts).map_err(|error| error.to_string())?;
    Ok(Normalised { facts, unknown })
}

/// The check called `id`.
#[must_use]
pub fn find(id: &str) -> Option<&'static CheckInfo> {
    CHECKS.iter().find(|check| check.id == id)
}

/// The facts that follow from `record` of `run`.
///
/// # Errors
/// When nothing was observed or this build cannot read what was.
pub fn normalise(run: &Run, record: &Record) -> Result<Normalised, NormaliseError> {
    let beside = match record.check.as_str() {
        device_certificate_hygiene::Check::CHECK | gateway_config_guardrails::Check::CHECK => Beside::of(run),
        _ => Beside { gateway: run.gateway.id, fleet: Default::default(), live: None },
    };
    normalise_beside(run, record, &beside)
}

/// As [`normalise`], with what [`Beside::of`] made of the run before.
///
/// # Errors
/// As [`normalise`].
pub fn normalise_beside(run: &Run, record: &Record, beside: &Beside) -> Result<Normalised, NormaliseError> {
    let Some(observation) = &record.observation else {
        let detail = record.detail.clone().unwrap_or_else(|| "no detail was recorded".into());
        return Err(NormaliseError::NotObserved { status: record.status.to_string(), detail });
    };
    let check = find(&record.check).ok_or_else(|| NormaliseError::UnknownCheck(record.check.clone()))?;
    if !(check.oldest..=check.version).contains(&record.contract) {
        return Err(NormaliseError::UnknownVersion {
            check: record.check.clone(),
            found: record.contract,
            oldest: check.oldest,
            known: check.version,
        });
    }
    let seen = Seen { at: record.observed_at, distrust: run.clock.distrust(run.started_at) };
    (check.normalise)(observation, &seen, &record.target, beside).map_err(|words| NormaliseError::Shape {
        check: record.check.clone(),
        version: record.contract,
        words,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_reason_above_a_fact_is_its_reason() {
        let mut unknown = Unknown::default();
        unknown.because("/listeners/a", "timed out");
        assert_eq!(unknown.reason("/listeners/a/open"), Some("timed out"));
        assert_eq!(unknown.reason("/listeners/b/open"), None);
        unknown.because("", "everything");
        assert_eq!(unknown.reason("/listeners/b/open"), Some("everything"));
    }

    #[test]
    fn ids_are_unique() {
        let mut ids: Vec<_> = CHECKS.iter().map(|check| check.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CHECKS.len());
    }
}
