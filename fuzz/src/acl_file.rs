//! Mosquitto's access control list, as the probe of `broker_transport_posture` reads it.

use gatepost_evidence::canonical;

use crate::Seeds;

#[path = "../../agent/src/probe/acl/list.rs"]
mod list;

/// # Panics
/// When an entry is told that speaks of nobody who was asked about, or what was told reads as something else.
pub fn attack(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let users = [None, Some("gateway".to_owned())];
    let Ok(found) = list::list(&text, &users) else { return };
    assert!(found.rules.len() <= list::MAX_RULES && found.rules.len() as u64 <= u64::from(found.entries));
    assert!(canonical::to_vec(&found).is_ok());
    let mut again = String::new();
    for rule in &found.rules {
        let everything = rule.topic == "#";
        assert!(rule.pattern || everything || users.contains(&rule.user), "{rule:?}");
        assert!(!rule.topic.is_empty() && rule.line as usize <= text.lines().count(), "{rule:?}");
        again += &match &rule.user {
            Some(user) if !user.trim().is_empty() => format!("user {user}\n"),
            _ => String::new(),
        };
        // As the list has it: the keyword, what is granted, the topic.
        let words = rule.to_string();
        again += words.split_once(": ").map_or("", |(_, words)| words);
        again.push('\n');
    }
    // Topics may hold what ends a line elsewhere; such a list is told, and not written again.
    if found.rules.iter().any(|rule| rule.topic.contains(['\r', '\n']) || rule.topic.trim() != rule.topic) {
        return;
    }
    if let Ok(second) = list::list(&again, &users) {
        assert!(second.rules.len() <= found.rules.len());
    }
}

/// Lists with one of everything.
#[must_use]
pub fn seeds() -> Seeds {
    let texts = [
        "# all\ntopic read $SYS/#\nuser gateway\ntopic readwrite telemetry/#\ntopic deny a b\npattern write %c/%u\n",
        "topic #\nuser other\ntopic x\nuser gateway\ntopic write y\n",
        "user\n",
        "topic reed a\n",
    ];
    (0..).zip(texts).map(|(number, text): (u32, _)| (format!("list-{number}"), text.as_bytes().to_vec())).collect()
}
