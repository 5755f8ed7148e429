//! The list of probes, one per check.

use super::{
    Probe, broker_certificate_identity, broker_transport_posture, device_certificate_hygiene, disclosure_readiness,
    gateway_config_guardrails, host_guardrails, ingest_auth, link_posture, telemetry_integrity,
};

/// Every probe, in the order of [`gatepost_evidence::check::CHECKS`].
pub const PROBES: &[Probe] = &[
    broker_transport_posture::PROBE,
    broker_certificate_identity::PROBE,
    ingest_auth::PROBE,
    gateway_config_guardrails::PROBE,
    device_certificate_hygiene::PROBE,
    host_guardrails::PROBE,
    link_posture::PROBE,
    telemetry_integrity::PROBE,
    disclosure_readiness::PROBE,
];

/// The probe for `check`.
#[must_use]
pub fn find(check: &str) -> Option<&'static Probe> {
    PROBES.iter().find(|probe| probe.check == check)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_evidence::check::CHECKS;

    #[test]
    fn every_check_has_its_probe_and_both_speak_the_same_contract() {
        let probes: Vec<_> = PROBES.iter().map(|probe| (probe.check, probe.contract)).collect();
        let checks: Vec<_> = CHECKS.iter().map(|check| (check.id, check.version)).collect();
        assert_eq!(probes, checks);
    }
}
