//! Mosquitto's access control list (mosquitto.conf(5), `acl_file`), read as Mosquitto reads it: a line that it would not take
//! included. Nothing is read from a file here.

use gatepost_evidence::check::broker_transport_posture::acl::{Access, List, Rule};
use gatepost_evidence::look::{Failure, FailureKind};

/// The most entries that are recorded.
pub const MAX_RULES: usize = 200;
/// The most characters of a topic or user name that are recorded.
pub const MAX_CHARS: usize = 300;

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
