//! RFC 8785 canonical JSON: one value, one sequence of bytes.
//!
//! Signing happens over these bytes, so this file is the only place that makes them.

use serde::Serialize;
use serde_json::Value;

/// The largest whole number that every reader of JSON keeps exactly (I-JSON, RFC 7493, section 2.2).
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// A map key that is not a string, a number that is not finite.
    #[error("cannot be written as canonical JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A whole number that a reader of JSON may round.
    #[error("{0} is beyond 2^53 - 1, which JSON does not keep exactly; write it as a string")]
    UnsafeInteger(serde_json::Number),
}

/// The canonical bytes of `value` (RFC 8785).
///
/// # Errors
/// When `value` cannot be serialised as JSON, or holds a whole number that would be rounded.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    check_integers(&value)?;
    Ok(serde_json_canonicalizer::to_vec(&value)?)
}

fn check_integers(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            // ECMAScript writes a float below 10^21 without point or exponent, and a reader takes what fits for an integer.
            let float = number.as_f64().filter(|_| number.is_f64());
            let unsafe_float = float.is_some_and(|float| {
                float.abs() > MAX_SAFE_INTEGER as f64 && (i64::MIN as f64..u64::MAX as f64).contains(&float)
            });
            match magnitude {
                _ if unsafe_float => Err(CanonicalError::UnsafeInteger(number.clone())),
                Some(magnitude) if magnitude > MAX_SAFE_INTEGER => Err(CanonicalError::UnsafeInteger(number.clone())),
                _ => Ok(()),
            }
        }
        Value::Array(items) => items.iter().try_for_each(check_integers),
        Value::Object(members) => members.values().try_for_each(check_integers),
        _ => Ok(()),
    }
}

/// Whether `bytes` are the canonical form of the JSON they hold.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes)
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
    fn a_number_that_would_be_rounded_is_refused() {
        assert!(to_vec(&[(1_u64 << 53) - 1]).is_ok());
        assert!(matches!(to_vec(&[1_u64 << 53]), Err(CanonicalError::UnsafeInteger(_))));
        assert!(matches!(to_vec(&[-(1_i64 << 53)]), Err(CanonicalError::UnsafeInteger(_))));
        assert!(!is_canonical(b"[9007199254740992]"));
    }

    #[test]
    fn whatever_is_written_is_read_back_as_canonical() {
        for float in [0.5, -0.0, 4e15, 9e15, 1.9e19, -1e19, 1e20, -1e20, 1e21, -1.5e300, 5e-324, f64::MAX] {
            assert!(is_canonical(&to_vec(&[float]).unwrap()), "{float}");
        }
        for float in [1e16, -1e16, 1.8e19, -9.2e18, 9_007_199_254_740_992.0, i64::MIN as f64] {
            assert!(matches!(to_vec(&[float]), Err(CanonicalError::UnsafeInteger(_))), "{float}");
        }
    }

    #[test]
    fn anything_else_is_not_canonical() {
        for text in ["{\"b\":1,\"a\":2}", "{ \"a\":1}", "{\"a\":1.0}", "{\"a\":1,\"a\":1}", "{", "", "{}\n"] {
            assert!(!is_canonical(text.as_bytes()), "{text}");
        }
    }
}
