//! A service's configuration in YAML, as the probe of `gateway_config_guardrails` reads it.

use serde_json::Value;

use crate::{Seeds, memory};

#[path = "../../agent/src/probe/gateway_config_guardrails/yaml.rs"]
pub(crate) mod yaml;

/// # Panics
/// When it comes to more than it may, or the same text to something else, or what is JSON to another value.
pub fn attack(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What aliases may come to, once kept and once told.
    memory::allow(yaml::MAX_VALUES * 512);
    let found = yaml::parse(text);
    assert_eq!(found, yaml::parse(text));
    match found {
        Ok(value) => {
            let (values, depth) = size(&value);
            assert!(values <= yaml::MAX_VALUES && depth <= yaml::MAX_DEPTH + 1, "{values} values, {depth} deep");
        }
        Err((line, _)) => assert!(line <= text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1),
    }
}

fn size(value: &Value) -> (usize, usize) {
    let below: Vec<_> = match value {
        Value::Array(list) => list.iter().map(size).collect(),
        Value::Object(table) => table.values().map(size).collect(),
        _ => Vec::new(),
    };
    let deepest = below.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
    (1 + below.iter().map(|(values, _)| values).sum::<usize>(), deepest + 1)
}

/// Configurations with one of everything.
#[must_use]
pub fn seeds() -> Seeds {
    let texts = [
        "security: {require_auth: true}\nuplink:\n  tls: yes\nretry:\n- limit: 0x8\n- 1.5e3\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc:\n  <<: &m {k: 1}\n  l: *m\n",
        "a: |\n  text\nb: >-\n  folded\n'c d': \"\\u0041\"\n? e\n: ~\n",
        "{\"a\": [1, 2, {\"b\": null}], \"c\": false}",
        "%YAML 1.2\n---\n!!str 5\n...\n",
    ];
    (0..).zip(texts).map(|(number, text): (u32, _)| (format!("yaml-{number}"), text.as_bytes().to_vec())).collect()
}
