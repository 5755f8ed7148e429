//! Observations of a hostile gateway on their way to facts: certificates, configuration lines, what `/proc` said.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use gatepost_evidence::canonical;
use gatepost_evidence::check::{CHECKS, normalise};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::run::{Agent, BundleRef, Clock, Gateway, Host, Record, Run, Stage, Status, Target, TargetKind};

use jiff::Timestamp;
use serde_json::Value;

use crate::Seeds;

/// A run without records.
static RUN: LazyLock<Run> = LazyLock::new(|| {
    let at = Timestamp::constant(1_772_359_200, 0);
    Run {
        gateway: Gateway { id: GatewayId::new(Digest::of(b"")), name: "g".into(), labels: BTreeMap::new() },
        seq: 1,
        prev: None,
        stage: Stage::Audit,
        bundle: BundleRef { name: "b".into(), version: "1.0.0".into() },
        agent: Agent { version: "0.1.0".into() },
        host: Host { os: None, kernel: None, architecture: "aarch64".into(), model: None },
        clock: Clock { boot_id: None, uptime_ms: 1, synchronised: Some(true), source: None, sink_time: None },
        started_at: at,
        finished_at: at,
        records: Vec::new(),
    }
});

/// The first byte is the check, the rest its observation. Facts are the same every time, and can be written down.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let Some((which, json)) = data.split_first() else { return };
    let check = CHECKS[usize::from(*which) % CHECKS.len()];
    let Ok(observation) = serde_json::from_slice::<Value>(json) else { return };
    // What no run can hold is refused before it comes here.
    if canonical::to_vec(&observation).is_err() {
        return;
    }
    same_facts(check.id, check.version, observation);
}

/// Facts of an observation are the same every time, and can be written down.
///
/// # Panics
/// When that does not hold.
pub fn same_facts(check: &str, contract: u32, observation: Value) {
    let record = Record {
        check: check.to_owned(),
        contract,
        target: Target::new(TargetKind::Host, "host"),
        status: Status::Observed,
        detail: None,
        observed_at: RUN.started_at,
        duration_ms: 0,
        observation: Some(observation),
    };
    let first = normalise(&RUN, &record);
    assert_eq!(first, normalise(&RUN, &record), "the same observation gave other facts");
    if let Ok(normalised) = first {
        assert!(canonical::to_vec(&normalised.facts).is_ok(), "facts that cannot be written down");
    }
}

/// A certificate of a device that was made for this, in base64.
const CERTIFICATE: &str = "MIIBZzCCARmgAwIBAgIUPPow3w/BQbP7UH/3AWq1bAMN7ZkwBQYDK2VwMBMxETAPBgNVBAMMCHN0bTMyLTAyMB4XDTI2MTEyMjA0NTgwN1oXDTI3MDIyMDA0NTgwN1owEzERMA8GA1UEAwwIc3RtMzItMDIwKjAFBgMrZXADIQDQgIyILzalMohjlKo6HBp95iqiLOzPUeNIP0DL3Rvg76N/MH0wHQYDVR0OBBYEFDcVV2MuIRdu3O/JOxphXVtna2veMB8GA1UdIwQYMBaAFDcVV2MuIRdu3O/JOxphXVtna2veMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0RBBYwFIIMc3RtMzItMDIubGFuhwQKAAAHMAsGA1UdDwQEAwIHgDAFBgMrZXADQQC+ZgvxRynTpx5IDwiANqZdEFOZv7+3OewpRWk2ah8uE+sNXSNtV0Zlnv4f/eZTlkZDS6marhb9nC4QcNJOXAwB";

/// Observations made from each contract's own schema: with the first of every choice, the second, and so on.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (number, check) in (0_u8..).zip(CHECKS) {
        let schema = (check.observation_schema)().to_value();
        for choice in 0..6 {
            let observation = sample(&schema, &schema, choice, 0).to_string();
            let name = format!("{}-{choice}", check.id);
            seeds.push((name, [&[number], observation.as_bytes()].concat()));
        }
    }
    seeds
}

/// A value of a schema.
fn sample(schema: &Value, root: &Value, choice: usize, depth: usize) -> Value {
    let deeper = |schema: &Value| sample(schema, root, choice, depth + 1);
    if depth > 12 {
        return Value::Null;
    }
    if let Some(reference) = schema["$ref"].as_str() {
        return deeper(root.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null));
    }
    if let Some(constant) = schema.get("const") {
        return constant.clone();
    }
    for several in ["oneOf", "anyOf"] {
        if let Some(variants) = schema[several].as_array() {
            return deeper(&variants[choice % variants.len()]);
        }
    }
    if let Some(variants) = schema["enum"].as_array() {
        return variants[choice % variants.len()].clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds[choice % kinds.len()].clone(),
        kind => kind.clone(),
    };
    match kind.as_str() {
        Some("object") => {
            let members = schema["properties"].as_object().into_iter().flatten();
            let mut object: serde_json::Map<String, Value> =
                members.map(|(name, member)| (name.clone(), deeper(member))).collect();
            if schema["additionalProperties"].is_object() {
                object.insert("net.ipv4.ip_forward".into(), deeper(&schema["additionalProperties"]));
            }
            Value::Object(object)
        }
        Some("array") => Value::Array(vec![deeper(&schema["items"])]),
        Some("string") if schema["format"] == "date-time" => "2026-03-01T10:00:00Z".into(),
        Some("string") if schema["contentEncoding"] == "base64" => CERTIFICATE.into(),
        Some("string") => ["yes", "10.0.0.7", "/etc/x", "", "a=b", "0"][choice % 6].into(),
        Some("integer" | "number") => [0, 1, 22, 443, 8883, 65_535][choice % 6].into(),
        Some("boolean") => choice.is_multiple_of(2).into(),
        _ => Value::Null,
    }
}
