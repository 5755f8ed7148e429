//! Mosquitto's configuration and its files of passwords: lines, what they come to under each release, and what is kept of them.

use std::collections::BTreeMap;

use gatepost_evidence::canonical;
use gatepost_evidence::check::gateway_config_guardrails::broker::REDACTED;
use gatepost_evidence::check::gateway_config_guardrails::{Broker, Check, Directive, Observation};
use gatepost_evidence::check::{Contract as _, Seen, Unknown};
use gatepost_evidence::look::Look;

use crate::Seeds;

#[path = "../../agent/src/probe/mosquitto/lines.rs"]
#[allow(dead_code, reason = "the agent uses the rest")]
mod lines;
#[path = "../../agent/src/probe/mosquitto/passwords.rs"]
mod passwords;

const RELEASES: [&str; 4] = ["2.0.11", "2.0.15", "2.0.21", "2.1.0"];

/// The first byte chooses the release; a zero byte ends the main file and each included one.
///
/// # Panics
/// When a secret is kept, or the same lines come to something else, or to what evidence cannot hold.
pub fn attack(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let _ = passwords::passwords(&text);
    let directives = directives(&text);
    for Directive { key, value, .. } in &directives {
        let named = ["password", "psk", "kpass", "secret", "token"].iter().any(|word| key.contains(word));
        let open = ["password_file", "psk_file", "psk_hint"].contains(&key.as_str())
            || key.contains("_opt_") && (["true", "false"].contains(&value.as_str()) || value.starts_with('/'))
            || value.is_empty();
        assert!(!named || open || value == REDACTED, "{key} {value}");
        assert!(!value.chars().any(char::is_control) && !value.starts_with(' '), "{value:?}");
    }
    // What was kept of a line reads as the same line.
    let again: String = directives.iter().map(|one| format!("{} {}\n", one.key, one.value)).collect();
    let kept = |one: &Directive| (one.key.clone(), one.value.clone());
    let first_time: Vec<_> = directives.iter().filter(|one| one.key != lines::NO_DIRECTIVE).map(kept).collect();
    let second: Vec<_> = lines::directives(&again)
        .map(|(_, key, value)| (key, value))
        .filter(|(key, _)| key != lines::NO_DIRECTIVE)
        .collect();
    assert_eq!(first_time.len(), second.len());
    let facts = |directives: Vec<Directive>| {
        let release = Some(Look::Seen(RELEASES[usize::from(*first) % RELEASES.len()].to_owned()));
        let broker = Broker { path: "0".into(), directives, release, ..Broker::default() };
        let observation = Observation { service: None, broker: Some(broker) };
        let seen = Seen { at: jiff::Timestamp::UNIX_EPOCH, distrust: None };
        Check::normalise(&observation, &seen, &mut Unknown::default())
    };
    let found = facts(directives.clone());
    assert!(canonical::to_vec(&found).is_ok());
    let broker = found.broker.as_ref().map(|broker| broker.listeners.len()).unwrap_or_default();
    assert!(broker <= directives.len() + 1, "more listeners than lines");
    assert_eq!(facts(directives), found, "the same lines come to something else");
}

fn directives(text: &str) -> Vec<Directive> {
    let mut all = Vec::new();
    let mut main_line = 0;
    for (number, part) in text.split('\0').enumerate() {
        let file = number.to_string();
        for (line, key, value) in lines::directives(part) {
            all.push(Directive { file: file.clone(), line, key, value });
            main_line = line;
        }
    }
    // And on with the main file.
    all.push(Directive { file: "0".into(), line: main_line + 1, key: "persistence".into(), value: "true".into() });
    all
}

/// Configurations with one of everything.
#[must_use]
pub fn seeds() -> Seeds {
    let texts: BTreeMap<&str, &str> = BTreeMap::from([
        ("plain", "listener 1883\nallow_anonymous true\n"),
        (
            "tls",
            "per_listener_settings true\nlistener 8883 ::1\ncertfile /c\nkeyfile /k\ncafile /a\nrequire_certificate true\ntls_version tlsv1.2\nciphers ECDHE:!aNULL\n",
        ),
        ("default", "port 1883\nbind_address 127.0.0.1\nuse_identity_as_username true\nmax_qos 1\n"),
        (
            "bridge",
            "connection x\naddress a:1 b\ntopic # out 1 \"\" \"\"\nremote_password hunter2\nbridge_insecure 1\nbridge_psk abc\n",
        ),
        (
            "two",
            "listener 1\0allow_anonymous false\nlistener 0 /run/x\nprotocol websockets\0include_dir /d\nlog_dest file /x\n",
        ),
        (
            "new",
            "plugin_load a /b\nlistener 1\nlisten_allow_anonymous true\nplugin_use a\nwebsockets_origin x\nmax_keepalive 0x10\n",
        ),
        ("passwords", "a:$7$101$c2FsdA==$aGFzaA==\nb:$6$x$y\nc:plain\nd:$argon2id$v=19$m\n"),
    ]);
    let seed =
        |(release, (name, text)): (u8, (&&str, &&str))| ((*name).to_owned(), [&[release], text.as_bytes()].concat());
    (0..).zip(&texts).map(seed).collect()
}
