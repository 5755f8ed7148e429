//! The list of probes, one per check.

use super::{Probe, broker_certificate_identity, broker_transport_posture, device_certificate_hygiene, ingest_auth};

/// Every probe.
pub const PROBES: &[Probe] = &[
    broker_transport_posture::PROBE,
    broker_certificate_identity::PROBE,
    ingest_auth::PROBE,
    super::gateway_config_guardrails::PROBE,
    device_certificate_hygiene::PROBE,
];

/// The probe for `check`.
#[must_use]
pub fn find(check: &str) -> Option<&'static Probe> {
    PROBES.iter().find(|probe| probe.check == check)
}
