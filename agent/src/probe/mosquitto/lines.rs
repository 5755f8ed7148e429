//! One file of Mosquitto's configuration, line by line, and the order that included files are loaded in. Nothing is read here.
//!
//! Passwords and pre-shared keys are replaced before they leave this file, and so is every line that is not a directive.

use std::cmp::Ordering;

use gatepost_evidence::check::gateway_config_guardrails::broker::REDACTED;

/// The most characters of one value that are recorded.
pub const MAX_VALUE_CHARS: usize = 4000;
/// The name recorded for a line that is not a directive.
pub const NO_DIRECTIVE: &str = "(not a directive)";

/// The directives of `text`, redacted, with their lines: of a file that includes no other.
pub fn directives(text: &str) -> impl Iterator<Item = (u32, String, String)> + '_ {
    text.split('\n').zip(1..).filter_map(|(line, number)| directive(line).map(|(key, value)| (number, key, value)))
}

/// Name and value of one line, redacted; none for blank lines and comments.
///
/// As Mosquitto has it: words are parted by spaces alone, a comment has its `#` in the first column, and a tab is part of a
/// word. So that it stays one, a control character is recorded as U+FFFD.
pub(super) fn directive(line: &str) -> Option<(String, String)> {
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim_end_matches(['\n', '\r']).trim_matches(' ');
    if line.is_empty() {
        return None;
    }
    let (key, value) = line.split_once(' ').unwrap_or((line, ""));
    let value = value.trim_matches(' ');
    let is_name = key.len() <= 64 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !is_name {
        return Some((NO_DIRECTIVE.into(), REDACTED.into()));
    }
    let value = match () {
        () if value.is_empty() => String::new(),
        () if is_secret(key, value) => REDACTED.into(),
        () => {
            let plain = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
            value.chars().map(plain).take(MAX_VALUE_CHARS).collect()
        }
    };
    Some((key.to_owned(), value))
}

/// Whether `value` may be a secret. What a plugin's options mean is its own affair, so only paths and switches are kept. The
/// names that are known to be harmless are Mosquitto's own, letter by letter: what else is meant by `Password_File` nobody knows.
fn is_secret(key: &str, value: &str) -> bool {
    let known = matches!(key, "password_file" | "psk_file" | "psk_hint");
    let key = key.to_ascii_lowercase();
    let named_like_one =
        ["password", "passwd", "passphrase", "psk", "kpass", "secret", "token"].iter().any(|word| key.contains(word));
    if ["auth_opt_", "plugin_opt_"].iter().any(|prefix| key.starts_with(prefix)) {
        let names_a_file = key.ends_with("_file") || key.ends_with("_path");
        let harmless = matches!(value, "true" | "false") || value.starts_with('/') && (names_a_file || !named_like_one);
        return !harmless;
    }
    named_like_one && !known
}

/// The order Mosquitto loads included files in: by letter, and of the same letter upper case before lower case.
pub fn load_order(a: &str, b: &str) -> Ordering {
    let mut letters = a.bytes().zip(b.bytes());
    let differing = letters.find(|(a, b)| a != b);
    match differing {
        Some((a, b)) => a.to_ascii_uppercase().cmp(&b.to_ascii_uppercase()).then(a.cmp(&b)),
        None => a.len().cmp(&b.len()),
    }
}
