//! RFC 8785 canonical JSON: one value, one sequence of bytes.
//!
//! Signing happens over these bytes, so this file is the only place that makes them.

use serde::Serialize;

/// Why a value has no canonical form (a map key that is not a string, a number that is not finite).
#[derive(Debug, thiserror::Error)]
#[error("cannot be written as canonical JSON: {0}")]
pub struct CanonicalError(#[from] serde_json::Error);

/// The canonical bytes of `value` (RFC 8785).
///
/// # Errors
/// When `value` cannot be serialised as JSON at all.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    Ok(serde_json_canonicalizer::to_vec(value)?)
}

/// Whether `bytes` are the canonical form of the JSON they hold.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde_json::Value>(bytes)
        .ok()
        .and_then(|value| to_vec(&value).ok())
        .is_some_and(|canonical| canonical == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_space_is_gone() {
        // RFC 8785, section 3.2.2, reduced
        let value: serde_json::Value = serde_json::from_str(r#"{ "b": [2, 1.0e1], "a": "\u20ac$" }"#).unwrap();
        let bytes = to_vec(&value).unwrap();
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), r#"{"a":"€$","b":[2,10]}"#);
        assert!(is_canonical(&bytes));
    }

    #[test]
    fn anything_else_is_not_canonical() {
        for text in ["{\"b\":1,\"a\":2}", "{ \"a\":1}", "{\"a\":1.0}", "{\"a\":1,\"a\":1}", "{", "", "{}\n"] {
            assert!(!is_canonical(text.as_bytes()), "{text}");
        }
    }
}
