//! The list of probes, one per check.

use super::Probe;

/// Every probe.
pub const PROBES: &[Probe] =
    &[super::gateway_config_guardrails::PROBE, super::host_guardrails::PROBE, super::link_posture::PROBE];

/// The probe for `check`.
#[must_use]
pub fn find(check: &str) -> Option<&'static Probe> {
    PROBES.iter().find(|probe| probe.check == check)
}
