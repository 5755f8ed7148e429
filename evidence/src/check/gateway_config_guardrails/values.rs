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

/// Whole numbers that are bounded, in every release of 2.0 and 2.1 where nothing else is said below.
const RANGES: [(&str, i64, i64); 15] = [
    ("log_facility", 0, 7),
    ("max_qos", 0, 2),
    ("max_inflight_messages", i64::MIN, 65_535),
    ("keepalive_interval", i64::MIN, 65_535),
    ("sys_interval", 0, 65_535),
    ("websockets_headers_size", 0, 65_535),
    ("max_topic_alias", 0, 65_535),
    ("max_topic_alias_broker", 0, 65_535),
    ("packet_buffer_size", 0, 65_535),
    ("bridge_max_topic_alias", 0, 65_535),
    ("message_size_limit", 0, 268_435_455),
    ("bridge_session_expiry_interval", 0, i64::MAX),
    ("bridge_tcp_user_timeout", 0, i64::MAX),
    ("bridge_receive_maximum", 1, 65_535),
    ("enable_proxy_protocol", 1, 2),
];

/// The least and the most that `release` takes.
fn range(name: &str, release: Release) -> Option<(i64, i64)> {
    match name {
        "max_keepalive" => Some((if release > Release::DEBIAN_12 { 0 } else { 10 }, 65_535)),
        "max_packet_size" => Some((20, i64::MAX)),
        "memory_limit" => Some((0, i64::MAX)),
        "retain_expiry_interval" => Some((i64::from(release >= Release::TWO_ONE), i64::MAX)),
        name => RANGES.iter().find(|(known, ..)| *known == name).map(|(_, least, most)| (*least, *most)),
    }
}

/// What single directives ask of their values, as far as values are in evidence, which passwords are not.
fn of_its_own(name: &str, value: &str, release: Release) -> Result<(), &'static str> {
    let two_one = release >= Release::TWO_ONE;
    // That one is read by atol(3) in both.
    let strict = two_one && name != "memory_limit";
    if let Some((least, most)) = range(name, release) {
        let within = number(word(value), strict).is_some_and(|number| (least..=most).contains(&number));
        return if within { Ok(()) } else { Err("is out of range") };
    }
    let mut words = value.split(' ').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let said = match name {
        "persistent_client_expiration" => (!duration(value, two_one)).then_some("is no duration"),
        // The least second is one; a second word is the most that waiting grows to.
        "restart_timeout" => {
            let cap = words.next().map(|word| number(word, false).unwrap_or_default());
            let base = number(first, false).unwrap_or_default().max(1);
            cap.is_some_and(|cap| cap < base).then_some("has a cap below its base")
        }
        "start_type" => (!["automatic", "lazy", "once"].contains(&first)).then_some("names no way to start"),
        "bridge_protocol_version" => {
            (!["mqttv31", "mqttv311", "mqttv50"].contains(&value.trim())).then_some("names no version of MQTT")
        }
        "bridge_reload_type" => (!["lazy", "immediate"].contains(&first)).then_some("names no way to reload"),
        "bridge_tcp_keepalive" => {
            let three = [Some(first), words.next(), words.next()];
            let three = three.map(|word| word.and_then(|word| number(word, two_one)).unwrap_or_default());
            three.iter().any(|number| *number < 1).then_some("is not three numbers")
        }
        "topic" => topic(value, two_one),
        "mount_point" => value.contains(['#', '+']).then_some("has a wildcard"),
        "plugin_load" => words.next().is_none().then_some("names no file"),
        _ => None,
    };
    said.map_or(Ok(()), Err)
}

/// A bridge's topic: a pattern, a direction, a QoS, and what it is put below here and there.
fn topic(value: &str, two_one: bool) -> Option<&'static str> {
    let (pattern, rest) = match value.trim_start().strip_prefix('"').filter(|_| two_one) {
        // 2.1 takes quotes for what they are.
        Some(quoted) => match quoted.split_once('"') {
            Some(parts) => parts,
            None => return Some("has a quote that does not end"),
        },
        None => value.trim_start().split_once(' ').unwrap_or((value.trim(), "")),
    };
    let mut words = rest.split(' ').filter(|word| !word.is_empty());
    let known = |word: &str| ["out", "in", "both"].iter().any(|known| word.eq_ignore_ascii_case(known));
    if words.next().is_some_and(|word| !known(word)) {
        return Some("has a direction that is none");
    }
    if words.next().is_some_and(|word| !(0..=2).contains(&number(word, false).unwrap_or_default())) {
        return Some("has a QoS that is none");
    }
    let prefixes: Vec<_> = words.take(2).filter(|word| *word != "\"\"").collect();
    if prefixes.iter().any(|prefix| prefix.contains(['#', '+'])) {
        return Some("has a wildcard where it is put");
    }
    // A wildcard stands alone between slashes, and `#` at the end: 2.0 looks at what both come to, 2.1 at the pattern.
    let alone = |topic: &str| {
        let last = topic.split('/').count() - 1;
        topic.split('/').enumerate().all(|(place, level)| match level {
            "#" => place == last,
            "+" => true,
            level => !level.contains(['#', '+']),
        })
    };
    let nothing = pattern.is_empty() || pattern == "\"\"";
    let whole = |prefix: &str| if two_one { pattern.to_owned() } else { format!("{prefix}{pattern}") };
    if !nothing && prefixes.iter().any(|prefix| !alone(&whole(prefix))) {
        return Some("is put where its wildcard does not stand alone");
    }
    (nothing && prefixes.len() < 2).then_some("is empty, and put nowhere")
}

/// A number with its unit, of which the last letter counts: hours, days, weeks, months, years, and in 2.1 seconds.
fn duration(value: &str, two_one: bool) -> bool {
    let units: &[char] = if two_one { &['s', 'h', 'd', 'w', 'm', 'y'] } else { &['h', 'd', 'w', 'm', 'y'] };
    word(value).ends_with(units) && number(word(value), false).is_some_and(|number| number > 0)
}

/// A number as 2.0 (atoi) or 2.1 (strtol of a whole word) reads it, with glibc on a machine of 64 bits.
#[must_use]
pub fn number(word: &str, strict: bool) -> Option<i64> {
    if strict {
        let (sign, digits) =
            word.strip_prefix('-').map_or((1, word.strip_prefix('+').unwrap_or(word)), |digits| (-1, digits));
        let prefixed = |radix: [&str; 2]| radix.iter().find_map(|radix| digits.strip_prefix(radix));
        let (radix, digits) = match (prefixed(["0x", "0X"]), prefixed(["0b", "0B"])) {
            (Some(digits), _) => (16, digits),
            // glibc since 2.38.
            (_, Some(digits)) => (2, digits),
            _ if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
            _ => (10, digits),
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
