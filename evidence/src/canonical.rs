//! RFC 8785 canonical JSON: one value, one sequence of bytes.
//!
//! Signing happens over these bytes, so this file is the only place that makes them.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};

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

/// Why bytes are not the canonical form of what they should hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not the canonical form of anything.
    #[error("it is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// The canonical form of something else.
    #[error("{0}")]
    Shape(String),
}

/// The canonical bytes of `value` (RFC 8785).
///
/// # Errors
/// When `value` cannot be serialised as JSON, or holds a whole number that would be rounded.
pub fn to_vec<T: Serialize>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let mut bytes = Vec::new();
    write(&serde_json::to_value(value)?, &mut bytes)?;
    Ok(bytes)
}

/// Whether `value` has a canonical form, which takes no more than a look at its numbers.
///
/// # Errors
/// The first number that has none.
pub fn check(value: &Value) -> Result<(), CanonicalError> {
    match value {
        Value::Object(members) => members.values().try_for_each(check),
        Value::Array(items) => items.iter().try_for_each(check),
        Value::Number(number) => check_number(number),
        Value::String(_) | Value::Bool(_) | Value::Null => Ok(()),
    }
}

/// `value` with its numbers as text where they have no canonical form.
#[must_use]
pub fn exact(value: &Value) -> Value {
    match value {
        Value::Number(number) if check_number(number).is_err() => Value::String(number.to_string()),
        Value::Array(items) => items.iter().map(exact).collect(),
        Value::Object(members) => members.iter().map(|(name, member)| (name.clone(), exact(member))).collect(),
        other => other.clone(),
    }
}

/// The whole number that `text` is, if it is one that canonical JSON keeps exactly.
#[must_use]
pub fn whole_number<T: FromStr + Copy + Into<i128>>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| (*number).into().unsigned_abs() <= u128::from(MAX_SAFE_INTEGER))
}

/// Appends a value. Everything the sink takes goes through here, so names, texts and whole numbers are written directly; only
/// how a number with a fraction is written is left to a crate, which is also what all this is tested against.
fn write(value: &Value, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<(&String, &Value)> = members.iter().collect();
            // Section 3.2.3: by UTF-16 code units, which is not the order of the bytes where there is more than ASCII.
            members.sort_by(|(one, _), (other, _)| match one.is_ascii() && other.is_ascii() {
                true => one.cmp(other),
                false => one.encode_utf16().cmp(other.encode_utf16()),
            });
            bytes.push(b'{');
            for (number, (name, member)) in members.into_iter().enumerate() {
                if number > 0 {
                    bytes.push(b',');
                }
                serde_json::to_writer(&mut *bytes, name)?;
                bytes.push(b':');
                write(member, bytes)?;
            }
            bytes.push(b'}');
        }
        Value::Array(items) => {
            bytes.push(b'[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    bytes.push(b',');
                }
                write(item, bytes)?;
            }
            bytes.push(b']');
        }
        Value::Number(number) => {
            check_number(number)?;
            match number.is_f64() {
                true => bytes.extend(serde_json_canonicalizer::to_vec(number)?),
                false => serde_json::to_writer(bytes, number)?,
            }
        }
        // Section 3.2.2.2 wants the escapes that serde_json writes: the short ones, and lower-case digits for the rest.
        Value::String(_) | Value::Bool(_) | Value::Null => serde_json::to_writer(bytes, value)?,
    }
    Ok(())
}

fn check_number(number: &Number) -> Result<(), CanonicalError> {
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

/// Whether `bytes` are the canonical form of the JSON they hold.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|value| to_vec(&value).ok())
        .is_some_and(|canonical| canonical == bytes)
}

/// Reads a value that has one form only: the bytes must be the very ones that [`to_vec`] makes of it. So an optional member
/// is written as null and not left out, a time has its one form, and no two payloads say the same.
///
/// # Errors
/// When the bytes are not canonical, or not those of a `T`.
pub fn from_slice<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, ReadError> {
    let wrong = match serde_json::from_slice::<T>(bytes) {
        Ok(value) if to_vec(&value).is_ok_and(|again| again == bytes) => return Ok(value),
        Ok(_) => "a member is left out, or a value is written in another form than the one it has".to_owned(),
        Err(error) => error.to_string(),
    };
    // Only now is it worth looking which of the two it is.
    if is_canonical(bytes) { Err(ReadError::Shape(wrong)) } else { Err(ReadError::NotCanonical) }
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
    fn another_implementation_writes_the_same() {
        let every: String =
            (0..=0x2ff_u32).chain([0xd7ff, 0xe000, 0xffff, 0x1_0000, 0x10_ffff]).filter_map(char::from_u32).collect();
        let names: serde_json::Map<String, Value> =
            every.chars().map(|c| (c.to_string(), Value::from(c.to_string()))).collect();
        let numbers = serde_json::json!([
            0,
            -0.0,
            1.0,
            -1,
            1e-7,
            0.1,
            1e21,
            5e-324,
            333333333.3333333,
            (1_u64 << 53) - 1,
            -(1_i64 << 53) + 1
        ]);
        let value = serde_json::json!({"b": [names, every, {}, []], "a": {"\u{1f600}": numbers, "\u{fb33}": [true, null, [[]]]}});
        assert_eq!(to_vec(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
    }

    #[test]
    fn anything_else_is_not_canonical() {
        for text in ["{\"b\":1,\"a\":2}", "{ \"a\":1}", "{\"a\":1.0}", "{\"a\":1,\"a\":1}", "{", "", "{}\n"] {
            assert!(!is_canonical(text.as_bytes()), "{text}");
        }
    }
    #[test]
    fn a_check_says_beforehand_what_has_no_form() {
        for text in ["9007199254740991", "-9007199254740991", "1e300", "[{\"a\":0.5}]", "\"9007199254740992\""] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(check(&value).is_ok() && to_vec(&value).is_ok(), "{text}");
        }
        for text in ["9007199254740992", "[{\"a\":[-9007199254740992]}]", "1e17"] {
            let value: Value = serde_json::from_str(text).unwrap();
            assert!(check(&value).is_err() && to_vec(&value).is_err(), "{text}");
        }
        assert_eq!(whole_number::<u64>("9007199254740991"), Some(9_007_199_254_740_991));
        assert_eq!(whole_number::<i64>("-9007199254740992"), None);
        assert_eq!(whole_number::<u32>("4294967296"), None);
    }

    #[test]
    fn a_value_that_is_read_has_one_form() {
        #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Seen {
            at: jiff::Timestamp,
            prev: Option<u64>,
        }
        let read = |text: &str| from_slice::<Seen>(text.as_bytes());
        assert!(read(r#"{"at":"2026-03-01T10:00:00Z","prev":null}"#).is_ok());
        assert!(read(r#"{"at":"2026-03-01T10:00:00.5Z","prev":7}"#).is_ok());
        for shape in [
            r#"{"at":"2026-03-01T10:00:00Z"}"#,
            r#"{"at":"2026-03-01T10:00:00.50Z","prev":null}"#,
            r#"{"at":"2026-03-01T10:00:00+00:00","prev":null}"#,
            r#"{"at":"2026-03-01T12:00:00+02:00","prev":null}"#,
            r#"{"at":"2026-03-01 10:00:00z","prev":null}"#,
            r#"{"at":"2026-03-01T10:00:00Z","prev":"7"}"#,
            r#"{"at":"2026-03-01T10:00:00Z","more":1,"prev":7}"#,
            "[]",
        ] {
            assert!(matches!(read(shape), Err(ReadError::Shape(_))), "{shape}");
        }
        for form in [
            r#"{"prev":7,"at":"2026-03-01T10:00:00Z"}"#,
            r#"{"at":"2026-03-01T10:00:00Z","at":"2026-03-01T10:00:00Z","prev":7}"#,
            r#"{"at":"2026-03-01T10:00:00Z","prev":7} "#,
            r#"{"at":"2026-03-01T10:00:00Z","prev":9007199254740993}"#,
            "{",
        ] {
            assert_eq!(read(form), Err(ReadError::NotCanonical), "{form}");
        }
    }
}
