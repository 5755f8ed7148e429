//! How values are written on pages.

use std::fmt::Display;

use askama::filters::Safe;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// `1 Mar 2026, 10:00:00 UTC`.
#[askama::filter_fn]
pub fn time(value: &Timestamp, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(moment(*value))
}

/// `1 Mar 2026`.
#[askama::filter_fn]
pub fn day(value: &Timestamp, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(value.to_zoned(TimeZone::UTC).strftime("%-d %b %Y").to_string())
}

/// The first twelve digits of a digest or an identity.
#[askama::filter_fn]
pub fn short(value: &dyn Display, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(value.to_string().chars().take(12).collect())
}

/// A fact's value in one line, as JSON, but texts without quotes.
#[askama::filter_fn]
pub fn fact(value: &Value, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(one_line(value))
}

/// As [`fact`], with a word for a fact that is not there.
#[askama::filter_fn]
pub fn fact_or_none(value: &Option<Value>, _: &dyn askama::Values) -> askama::Result<String> {
    Ok(value.as_ref().map_or_else(|| "absent".to_owned(), one_line))
}

/// Text of a rule pack, escaped, with what stands between backticks as code.
#[askama::filter_fn]
pub fn prose(value: &str, _: &dyn askama::Values) -> askama::Result<Safe<String>> {
    let parts = value.split('`').map(|part| part.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"));
    let coded = |(nth, part): (usize, String)| if nth % 2 == 1 { format!("<code>{part}</code>") } else { part };
    Ok(Safe(parts.enumerate().map(coded).collect()))
}

fn one_line(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            if items.is_empty() {
                "none".to_owned()
            } else {
                items.iter().map(one_line).collect::<Vec<_>>().join(", ")
            }
        }
        other => other.to_string(),
    };
    if text.chars().count() <= 600 { text } else { text.chars().take(600).chain(" ...".chars()).collect() }
}

/// `1 Mar 2026, 10:00:00 UTC`.
#[must_use]
pub fn moment(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%-d %b %Y, %H:%M:%S UTC").to_string()
}
