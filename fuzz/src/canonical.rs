//! Canonical JSON, which everything that is signed is written in, beside another implementation of RFC 8785.

use gatepost_evidence::canonical;
use serde_json::Value;

use crate::Seeds;
use crate::golden::ENVELOPES;
use crate::payload;

/// Any JSON is written as the other implementation writes it, and what was written is canonical and the same value.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return assert!(!canonical::is_canonical(data));
    };
    let Ok(written) = canonical::to_vec(&value) else { return };
    let other = serde_json_canonicalizer::to_vec(&value).expect("what can be written here can be written there");
    assert_eq!(written, other, "another implementation writes {}", String::from_utf8_lossy(&other));
    assert!(canonical::is_canonical(&written), "what was written is not canonical");
    assert_eq!(canonical::is_canonical(data), written == data);
}

/// The golden payloads, and what two implementations could disagree on.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds: Seeds = payload::seeds().into_iter().map(|(name, bytes)| (name, bytes[1..].to_vec())).collect();
    for (number, text) in [
        r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7,"":8}"#,
        "[0,-0,-0.0,1.0,1e21,1e20,1e-6,1e-7,5e-324,9007199254740991,-9007199254740991,9007199254740993,1.7976931348623157e308]",
        r#""\u0000\u0001\b\t\n\f\r\u001f\u007f\"\\\/\u2028""#,
        "[[[[[[]]]]]]",
        r#"{"a":1,"a":2}"#,
    ]
    .iter()
    .enumerate()
    {
        seeds.push((format!("json-{number}"), text.as_bytes().to_vec()));
    }
    seeds.push(("envelope".into(), ENVELOPES["run.json"].clone()));
    seeds
}
