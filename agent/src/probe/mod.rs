//! Probes: each looks at one target for one check and says what it saw, never what that means.
//!
//! A probe is safe on a production gateway: bounded in connections and time, canary topics only, nothing written, no
//! other people's payloads read. It returns the observation of its check's contract, or [`Missed`] when there is none.

pub mod acl;
pub mod battery;
pub mod broker;
pub mod broker_certificate_identity;
pub mod broker_transport_posture;
pub mod canary;
pub mod certificates;
pub mod device_certificate_hygiene;
pub mod disclosure_readiness;
pub mod gateway_config_guardrails;
pub mod hello;
pub mod host;
pub mod host_guardrails;
pub mod ingest_auth;
pub mod link_posture;
pub mod mosquitto;
pub mod mqtt;
pub mod registry;
pub mod telemetry_integrity;
pub mod tickets;
pub mod tls;
pub mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::canonical;
use gatepost_evidence::look::{Failure, FailureKind};
use gatepost_evidence::run::{Status, Target};
use serde::Serialize;
use serde_json::Value;

use crate::config::Config;

/// A probe as an entry of the [`registry`].
#[derive(Clone, Copy)]
pub struct Probe {
    /// The check it observes for.
    pub check: &'static str,
    /// The version of the check's contract it writes.
    pub contract: u32,
    /// The most time one target may take; after it the record says `timed_out`.
    pub limit: Duration,
    /// What it touches on the gateway and the network, for people.
    pub touches: &'static str,
    /// What it needs to see everything (files, privileges), for people.
    pub needs: &'static str,
    /// The targets that follow from the configuration. None configured: one target that [`Probe::look`] will miss as
    /// `skipped`, so that the gap is on the record.
    pub targets: fn(&Config) -> Vec<Target>,
    /// Looks at one target.
    pub look: fn(Arc<Config>, Target) -> Looking,
}

/// A look that is under way.
pub type Looking = Pin<Box<dyn Future<Output = Result<Value, Missed>> + Send>>;

/// Why a probe has no observation at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {detail}")]
pub struct Missed {
    /// What happened; never `observed`.
    pub status: Status,
    /// Why, for people; never a secret.
    pub detail: String,
}

impl Missed {
    /// The check was not made because the configuration does not name what it needs.
    pub fn skipped(detail: impl Into<String>) -> Self {
        Self { status: Status::Skipped, detail: detail.into() }
    }

    /// The probe itself failed.
    pub fn error(detail: impl std::fmt::Display) -> Self {
        Self { status: Status::Error, detail: Failure::new(FailureKind::Error, detail).detail }
    }
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Self {
        let status = match failure.kind {
            FailureKind::Refused | FailureKind::Unreachable | FailureKind::Closed => Status::Unreachable,
            FailureKind::TimedOut => Status::TimedOut,
            FailureKind::Denied => Status::Denied,
            _ => Status::Error,
        };
        Self { status, detail: failure.to_string() }
    }
}

/// The observation as the value a record holds.
///
/// # Errors
/// When it has a number that nobody can sign exactly: one such look must not cost the run what the others saw.
pub fn observed<T: Serialize>(observation: &T) -> Result<Value, Missed> {
    let value = serde_json::to_value(observation).map_err(Missed::error)?;
    canonical::check(&value).map_err(|error| Missed::error(format!("what was seen can not be evidence: {error}")))?;
    Ok(value)
}

/// Runs a blocking look off the async threads.
///
/// # Errors
/// What the look returned, or that it panicked.
pub async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> Result<T, Missed> + Send + 'static,
) -> Result<T, Missed> {
    match tokio::task::spawn_blocking(look).await {
        Ok(result) => result,
        Err(_) => Err(Missed::error("the probe stopped unexpectedly")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_that_nobody_can_sign_is_an_error_of_its_own() {
        assert!(observed(&[1_u64]).is_ok());
        let missed = observed(&[1_u64 << 60]).unwrap_err();
        assert!(missed.status == Status::Error && missed.detail.contains("can not be evidence"), "{}", missed.detail);
    }
}
