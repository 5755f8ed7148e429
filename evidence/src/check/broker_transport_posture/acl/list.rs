//! An access control list as Mosquitto reads it (mosquitto.conf(5)): who a client is to it, and which entry decides. Pure.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Client, Permission};
use crate::look::Look;

/// What the broker's configuration says about rights at a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// The directives that decide who a client is and what it may do, as they are in effect for this listener.
    pub directives: BTreeMap<String, String>,
    /// The access control list that `acl_file` names; null when none is named.
    pub list: Option<Look<List>>,
}

/// An access control list of Mosquitto.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// How many entries it has in all.
    pub entries: u32,
    /// The entries that speak of the clients which were tried, and every one that grants everything.
    pub rules: Vec<Rule>,
}

/// One entry of an access control list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its line in the file, from 1.
    pub line: u32,
    /// The user whose section it stands in; null for clients without a user name.
    pub user: Option<String>,
    /// It is a `pattern`, which holds for everybody.
    pub pattern: bool,
    /// What it grants.
    pub access: Access,
    /// The topic filter, `%c` and `%u` as they stand.
    pub topic: String,
}

/// What an entry of an access control list grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// To receive.
    Read,
    /// To publish.
    Write,
    /// Both.
    Readwrite,
    /// Neither, whatever else says so.
    Deny,
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let access = match self.access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Readwrite => "readwrite",
            Access::Deny => "deny",
        };
        let keyword = if self.pattern { "pattern" } else { "topic" };
        write!(f, "line {}: {keyword} {access} {}", self.line, self.topic)
    }
}

/// The user name that the broker gives `client`, by the directives of its listener.
///
/// # Errors
/// When it cannot be told, with the reason.
pub fn user<'a>(declared: &Declared, client: &'a Client) -> Result<Option<&'a str>, String> {
    let on = |key: &str| declared.directives.get(key).is_some_and(|value| value == "true");
    if on("use_subject_as_username") {
        return Err("use_subject_as_username: how the broker writes a subject is not followed".into());
    }
    Ok(if on("use_identity_as_username") { client.common_name.as_deref() } else { client.username.as_deref() })
}

/// Whether `rules` let a client with this user name and id read (or write) `topic`, and the rule that decides.
#[must_use]
pub fn permission<'a>(
    rules: &'a [Rule],
    user: Option<&str>,
    id: &str,
    write: bool,
    topic: &str,
) -> (Permission, Option<&'a Rule>) {
    let grants = |access: Access| match access {
        Access::Readwrite => true,
        Access::Read => !write,
        Access::Write => write,
        Access::Deny => false,
    };
    let decided_by = |pattern: bool| {
        let mine =
            rules.iter().filter(move |rule| rule.pattern == pattern && (pattern || rule.user.as_deref() == user));
        let matching: Vec<&Rule> = mine.filter(|rule| rule_matches(rule, user, id, topic)).collect();
        let denied = matching.iter().find(|rule| rule.access == Access::Deny).copied();
        denied.or_else(|| matching.into_iter().find(|rule| grants(rule.access)))
    };
    let dangerous = |name: &str| name.contains(['+', '#']);
    if let Some(rule) = decided_by(false) {
        return (grants(rule.access).into(), Some(rule));
    }
    // Patterns are not asked about clients whose names would change what they match.
    if dangerous(id) || user.is_some_and(dangerous) {
        return (Permission::Deny, None);
    }
    let rule = decided_by(true);
    (rule.is_some_and(|rule| grants(rule.access)).into(), rule)
}

fn rule_matches(rule: &Rule, user: Option<&str>, id: &str, topic: &str) -> bool {
    if !rule.pattern {
        return matches(&rule.topic, topic);
    }
    if rule.topic.contains("%u") && user.is_none() {
        return false;
    }
    matches(&rule.topic.replace("%c", id).replace("%u", user.unwrap_or_default()), topic)
}

/// Whether `filter` matches `topic` (MQTT 3.1.1, section 4.7).
#[must_use]
pub fn matches(filter: &str, topic: &str) -> bool {
    if filter.starts_with('$') != topic.starts_with('$') {
        return false;
    }
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}
