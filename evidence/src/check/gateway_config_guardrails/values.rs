//! Which values the broker takes: what conf.c of 2.0 and 2.1 has against them, held against the running broker in
//! `tests/tests/config_mosquitto.rs`.

use super::directives::{Known, Release, Value};

/// The first word.
pub(super) fn word(value: &str) -> &str {
    value.split(' ').find(|word| !word.is_empty()).unwrap_or_default()
}

/// Whether `release` takes `value`, or what it has against it.
pub(super) fn fits(known: Known, value: &str, release: Release) -> Result<(), &'static str> {
    let two_one = release >= Release::TWO_ONE;
    if word(value).is_empty() {
        // What 2.0 leaves as it is.
        let left = ["max_connections", "protocol", "log_type", "persistent_client_expiration"].contains(&known.name);
        return if left && !two_one { Ok(()) } else { Err("has no value") };
    }
    match known.value {
        Value::Flag if !["true", "1", "false", "0"].contains(&word(value)) => Err("is neither true nor false"),
        // It alone is read by atol(3) in both.
        Value::Whole if known.name != "memory_limit" && number(word(value), two_one).is_none() => Err("is no number"),
        _ => of_its_own(known.name, value, release),
    }
}

/// What single directives ask of their values, as far as values are in evidence, which passwords are not.
fn of_its_own(name: &str, value: &str, release: Release) -> Result<(), &'static str> {
    let two_one = release >= Release::TWO_ONE;
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let whole = |word: &str| number(word, two_one).unwrap_or_default();
    let said = match name {
        "max_keepalive" => {
            let fewest = if release > Release::DEBIAN_12 { 0 } else { 10 };
            (!(fewest..=65_535).contains(&whole(first))).then_some("is out of range")
        }
        "max_packet_size" => (whole(first) < 20).then_some("is less than 20"),
        "persistent_client_expiration" => (!duration(first, two_one)).then_some("is no duration"),
        // The least second is one; a second word is the most that waiting grows to.
        "restart_timeout" => {
            let cap = words.next().map(|word| number(word, false).unwrap_or_default());
            let base = number(first, false).unwrap_or_default().max(1);
            cap.is_some_and(|cap| cap < base).then_some("has a cap below its base")
        }
        "start_type" => (!["automatic", "lazy", "once"].contains(&first)).then_some("names no way to start"),
        "bridge_protocol_version" => {
            (!["mqttv31", "mqttv311", "mqttv50"].contains(&first)).then_some("names no version of MQTT")
        }
        "bridge_reload_type" => (!["lazy", "immediate"].contains(&first)).then_some("names no way to reload"),
        "bridge_tcp_keepalive" => {
            let three = [Some(first), words.next(), words.next()].map(|word| word.map_or(0, whole));
            three.iter().any(|number| *number < 1).then_some("is not three numbers")
        }
        "topic" => {
            let direction = words.next().is_none_or(|word| ["out", "in", "both"].contains(&word));
            let qos = words.next().is_none_or(|word| (0..=2).contains(&number(word, false).unwrap_or_default()));
            match (direction, qos) {
                (false, _) => Some("has a direction that is none"),
                (_, false) => Some("has a QoS that is none"),
                _ => None,
            }
        }
        "plugin_load" => words.next().is_none().then_some("names no file"),
        _ => None,
    };
    said.map_or(Ok(()), Err)
}

/// A number with its unit: hours, days, weeks, months, years, and in 2.1 seconds.
fn duration(word: &str, two_one: bool) -> bool {
    let end = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let units: &[&str] = if two_one { &["s", "h", "d", "w", "m", "y"] } else { &["h", "d", "w", "m", "y"] };
    number(&word[..end], false).is_some_and(|number| number > 0) && units.contains(&&word[end..])
}

/// A number as 2.0 (atoi) or 2.1 (strtol of a whole word) reads it, with glibc on a machine of 64 bits.
#[must_use]
pub fn number(word: &str, strict: bool) -> Option<i64> {
    if strict {
        let (sign, digits) = word.strip_prefix('-').map_or((1, word), |digits| (-1, digits));
        let (radix, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            Some(digits) => (16, digits),
            None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
            None => (10, digits),
        };
        if digits.starts_with(['+', '-']) {
            return None;
        }
        return i64::from_str_radix(digits, radix)
            .ok()
            .map(|number| sign * number)
            .filter(|it| i32::try_from(*it).is_ok());
    }
    let (sign, digits) =
        word.strip_prefix('-').map_or((1, word.strip_prefix('+').unwrap_or(word)), |digits| (-1, digits));
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    // What is no number is 0. What does not fit an int is undefined in C; glibc reads a long, the nearest there is, and keeps
    // its lower 32 bits.
    let long = match digits[..end].parse::<i64>() {
        Ok(number) => sign * number,
        Err(_) if end == 0 => 0,
        Err(_) if sign < 0 => i64::MIN,
        Err(_) => i64::MAX,
    };
    #[allow(clippy::cast_possible_truncation, reason = "as C does it")]
    let int = long as i32;
    Some(i64::from(int))
}
