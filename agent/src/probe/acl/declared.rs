//! What the broker's own files declare about rights at one listener (mosquitto.conf(5)), read and not judged.
//!
//! The access control list is read as Mosquitto reads it, a line it would not take included: then there is no list. Of its
//! entries only those leave this file that speak of clients which are tried, and those that grant everything.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::check::broker_transport_posture::acl::{Access, Declared, List, Rule};
use gatepost_evidence::check::gateway_config_guardrails::Directive;
use gatepost_evidence::look::{Failure, FailureKind};

use crate::config::Config;
use crate::files;
use crate::probe::{broker, mosquitto};

/// The most entries that are recorded.
const MAX_RULES: usize = 200;
/// The most characters of a topic or user name that are recorded.
const MAX_CHARS: usize = 300;
/// Directives of a listener's section, wherever they stand.
const OF_LISTENER: &[&str] = &[
    "crlfile",
    "require_certificate",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
];
/// Directives that are a listener's own only with `per_listener_settings true`.
const OF_SECURITY: &[&str] =
    &["acl_file", "allow_anonymous", "auth_plugin", "password_file", "plugin", "global_plugin"];

/// What the broker's files declare.
pub struct Source {
    directives: Vec<Directive>,
}

impl Source {
    /// Reads the broker's configuration; none when no file is known. Blocking.
    ///
    /// # Errors
    /// When it, or a part of it, cannot be read.
    pub fn read(config: &Config) -> Option<Result<Self, Failure>> {
        let broker = &config.broker;
        let elsewhere = !broker.tls.is_empty() || !broker.plaintext.is_empty();
        let path = match &broker.configuration_file {
            Some(path) => path.as_path(),
            None if elsewhere => return None,
            None => Path::new(mosquitto::DEFAULT_PATH),
        };
        let read = match mosquitto::read(&config.host.root, path) {
            Ok(read) => read,
            Err(failure) if failure.kind == FailureKind::NotFound && broker.configuration_file.is_none() => {
                return None;
            }
            Err(failure) => return Some(Err(failure)),
        };
        Some(match read.unreadable.into_iter().next() {
            Some((name, failure)) => Err(Failure::new(failure.kind, format_args!("{name}: {}", failure.detail))),
            None => Ok(Self { directives: read.directives }),
        })
    }

    /// The directives that are in effect for the listener at `address`.
    #[must_use]
    pub fn at(&self, address: &str) -> BTreeMap<String, String> {
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let own = self.directives.iter().any(|one| one.key == "per_listener_settings" && one.value == "true");
        let mut here = false;
        let mut found = BTreeMap::new();
        for Directive { key, value, .. } in &self.directives {
            match key.as_str() {
                "listener" => here = value.split_whitespace().next() == Some(port),
                "port" => here = value == port,
                _ => {}
            }
            let of_listener = OF_LISTENER.contains(&key.as_str()) || own && OF_SECURITY.contains(&key.as_str());
            let anywhere = !own && OF_SECURITY.contains(&key.as_str());
            if anywhere || of_listener && here {
                found.insert(key.clone(), value.chars().take(MAX_CHARS).collect());
            }
        }
        found
    }
}

/// What `directives` declare, for clients with these user names. Blocking.
#[must_use]
pub fn declared(directives: BTreeMap<String, String>, root: &Path, users: &[Option<String>]) -> Declared {
    let list = directives.get("acl_file").map(|path| {
        let path = Path::new(path);
        if !path.is_absolute() {
            let words = "a relative acl_file depends on the folder the broker was started in; make it absolute";
            return Err(Failure::new(FailureKind::Error, words));
        }
        list(&files::read_text(&broker::below(root, path))?, users)
    });
    Declared { directives, list: list.map(Into::into) }
}

/// The entries of an access control list that speak of `users`, and those that grant everything.
///
/// # Errors
/// When Mosquitto would not take the list, with the line, or when too many entries speak of them.
pub fn list(text: &str, users: &[Option<String>]) -> Result<List, Failure> {
    let wrong = |line: u32, words: &str| {
        Err(Failure::new(FailureKind::Unparseable, format_args!("line {line} of the access control list {words}")))
    };
    let mut user: Option<String> = None;
    let (mut entries, mut rules) = (0, Vec::new());
    for (text, line) in text.lines().zip(1..) {
        let text = text.trim_end();
        if text.starts_with('#') {
            continue;
        }
        // Words are parted by spaces alone, and those before the first are passed over.
        let Some((keyword, rest)) = word(text) else { continue };
        let rest = rest.trim_start_matches(' ');
        match keyword {
            "user" if rest.is_empty() => return wrong(line, "names no user"),
            "user" => user = Some(rest.trim().to_owned()),
            "topic" | "pattern" => {
                let (access, topic) = match word(rest) {
                    None => return wrong(line, "names no topic"),
                    Some((topic, "")) => (Access::Readwrite, topic),
                    Some((access, topic)) => {
                        let access = match access {
                            "read" => Access::Read,
                            "write" => Access::Write,
                            "readwrite" => Access::Readwrite,
                            "deny" => Access::Deny,
                            _ => return wrong(line, "grants what is neither read, write, readwrite nor deny"),
                        };
                        (access, topic.trim())
                    }
                };
                entries += 1;
                let pattern = keyword == "pattern";
                let everything = topic == "#" && access != Access::Deny;
                if pattern || everything || users.contains(&user) {
                    let cut = |text: &str| text.chars().take(MAX_CHARS).collect::<String>();
                    if cut(topic) != topic || rules.len() == MAX_RULES {
                        let words = format!("more than {MAX_RULES} entries speak of the clients, or one is too long");
                        return Err(Failure::new(FailureKind::TooLarge, words));
                    }
                    let owner = user.as_deref().filter(|_| !pattern).map(cut);
                    rules.push(Rule { line, user: owner, pattern, access, topic: topic.to_owned() });
                }
            }
            _ => return wrong(line, "begins with neither topic, pattern nor user"),
        }
    }
    Ok(List { entries, rules })
}

/// The first word of `text`, and what follows the space after it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches(' ');
    match text.split_once(' ') {
        _ if text.is_empty() => None,
        Some((word, rest)) => Some((word, rest)),
        None => Some((text, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directive(key: &str, value: &str) -> Directive {
        Directive { file: "m.conf".into(), line: 1, key: key.into(), value: value.into() }
    }

    #[test]
    fn a_listener_has_its_own_and_the_common_directives() {
        let mut directives: Vec<_> = [
            ("acl_file", "/one"),
            ("listener", "8883"),
            ("crlfile", "/crl"),
            ("listener", "1883 127.0.0.1"),
            ("acl_file", "/two"),
            ("allow_anonymous", "true"),
            ("use_identity_as_username", "true"),
        ]
        .into_iter()
        .map(|(key, value)| directive(key, value))
        .collect();
        let at = |directives: &[Directive], address: &str| {
            let found = Source { directives: directives.to_vec() }.at(address);
            found.into_iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>()
        };
        assert_eq!(at(&directives, "127.0.0.1:8883"), ["acl_file /two", "allow_anonymous true", "crlfile /crl"]);
        directives.insert(0, directive("per_listener_settings", "true"));
        assert_eq!(at(&directives, "127.0.0.1:8883"), ["crlfile /crl"]);
        let plain = ["acl_file /two", "allow_anonymous true", "use_identity_as_username true"];
        assert_eq!(at(&directives, "[::1]:1883"), plain);
    }

    #[test]
    fn only_entries_about_the_clients_leave_the_list() {
        let text = "# comment\ntopic read public/#\n\nuser a b \ntopic readwrite a/topic with spaces\n topic  write x\nuser other\n\
                    topic secret/of/other\ntopic readwrite #\ntopic deny #\npattern write %c/%u\nuser gateway\ntopic deny a b";
        let found = list(text, &[None, Some("gateway".into())]).unwrap();
        let rules: Vec<_> =
            found.rules.iter().map(|rule| format!("{rule} {}", rule.user.as_deref().unwrap_or("-"))).collect();
        assert_eq!(
            rules,
            [
                "line 2: topic read public/# -",
                "line 9: topic readwrite # other",
                "line 11: pattern write %c/%u -",
                "line 13: topic deny a b gateway"
            ]
        );
        assert_eq!(found.entries, 8);
        let all = list(text, &[Some("a b".into())]).unwrap();
        assert_eq!(all.rules[0].topic, "a/topic with spaces");
    }

    #[test]
    fn a_list_that_the_broker_would_not_take_is_none() {
        for (text, words) in [
            ("user", "line 1 of the access control list names no user"),
            ("\ntopic", "line 2 of the access control list names no topic"),
            ("topic reed a", "grants what"),
            ("Topic a", "begins with"),
        ] {
            let failure = list(text, &[None]).unwrap_err();
            assert!(failure.detail.contains(words), "{failure}");
        }
        let many = "topic a\n".repeat(MAX_RULES + 1);
        assert_eq!(list(&many, &[None]).unwrap_err().kind, FailureKind::TooLarge);
        assert_eq!(list(&many, &[Some("nobody".into())]).unwrap().rules.len(), 0);
    }
}
