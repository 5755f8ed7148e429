//! How the passwords of a file of mosquitto_passwd(1) are kept: how many users there are of each kind, and nothing else.

use std::collections::BTreeMap;

use gatepost_evidence::check::gateway_config_guardrails::broker::Passwords;

/// How the passwords of a file of mosquitto_passwd(1) are kept. Lines that are no entry are passed over, as the broker does.
#[must_use]
pub fn passwords(text: &str) -> Passwords {
    let mut found = Passwords { schemes: BTreeMap::new(), fewest_iterations: None };
    for line in text.lines().map(str::trim_end).filter(|line| !line.starts_with('#')) {
        let Some((_, password)) = line.split_once(':') else { continue };
        let mut parts = password.split('$');
        let scheme = match (parts.next(), parts.next()) {
            (Some(""), Some("6")) => "sha512",
            (Some(""), Some("7")) => {
                let iterations = parts.next().and_then(|number| number.parse::<u32>().ok());
                if let Some(iterations) = iterations {
                    let fewest = found.fewest_iterations.map_or(iterations, |fewest| fewest.min(iterations));
                    found.fewest_iterations = Some(fewest);
                }
                "pbkdf2"
            }
            (Some(""), Some(scheme)) if scheme.starts_with("argon2") => "argon2",
            (Some(""), Some(_)) => "other",
            _ => "plain",
        };
        *found.schemes.entry(scheme.to_owned()).or_default() += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_passwords_only_their_kinds_are_told() {
        let text = "# hunter2\nann:$7$101$c2FsdA==$aHVudGVyMg==\nbob:$7$20000$hunter2$hunter2\ncy:$6$hunter2$hunter2\n\
                    di:hunter2\ned:$argon2id$v=19$hunter2\nflo:$5$hunter2\nhunter2\ngus:\n";
        let found = passwords(text);
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
        assert_eq!(found.fewest_iterations, Some(101));
        let count = |name: &str| found.schemes.get(name).copied().unwrap_or(0);
        let kinds = ["pbkdf2", "sha512", "plain", "argon2", "other"].map(count);
        assert_eq!(kinds, [2, 1, 2, 1, 1]);
    }
}
