//! The older iptables, as iptables-save(8) writes it, in the words of nftables. Pure.

use serde_json::{Value, json};

use super::Chain;

/// The chains of the table `filter` as iptables-save(8) writes it, in the words of nftables.
pub(super) fn chains(lines: &[String]) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    let family = "inet";
    for line in lines {
        let words = split(line);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if let Some(name) = words.first().and_then(|word| word.strip_prefix(':')) {
            let hook = match name {
                "INPUT" => Some("input"),
                "FORWARD" => Some("forward"),
                "OUTPUT" => Some("output"),
                _ => None,
            };
            chains.push(Chain {
                family: family.into(),
                table: "filter".into(),
                name: name.into(),
                kind: hook.map(|_| "filter".into()),
                hook: hook.map(str::to_owned),
                priority: hook.map(|_| 0),
                policy: words.get(1).map(|policy| policy.to_ascii_lowercase()),
                rules: Vec::new(),
            });
        } else if let ["-A", name, rule @ ..] = words.as_slice()
            && let Some(chain) = chains.iter_mut().find(|chain| chain.name == *name)
        {
            chain.rules.push(legacy_rule(rule));
        }
    }
    chains
}

fn legacy_rule(words: &[&str]) -> Vec<Value> {
    let mut statements = Vec::new();
    let mut negated = false;
    let mut protocol = "th";
    let mut words = words.iter().copied();
    let condition = |left: Value, right: Value, negated: bool| json!({"match": {"op": if negated { "!=" } else { "==" }, "left": left, "right": right}});
    while let Some(word) = words.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        let statement = match word {
            "-m" => {
                words.next();
                negated = false;
                continue;
            }
            "--comment" => {
                words.next();
                continue;
            }
            "-p" => {
                protocol = words.next().unwrap_or_default();
                condition(json!({"meta": {"key": "l4proto"}}), json!(protocol), negated)
            }
            "-i" => condition(json!({"meta": {"key": "iifname"}}), json!(words.next()), negated),
            "-s" => {
                let text = words.next().unwrap_or_default();
                let right = match text.split_once('/') {
                    Some((address, length)) => json!({"prefix": {"addr": address, "len": length.parse::<u64>().ok()}}),
                    None => json!(text),
                };
                let of = if text.contains(':') { "ip6" } else { "ip" };
                condition(json!({"payload": {"protocol": of, "field": "saddr"}}), right, negated)
            }
            "--dport" | "--dports" => {
                let ports = words.next().unwrap_or_default().split(',').map(|port| match port.split_once(':') {
                    Some((first, last)) => json!({"range": [first.parse::<u64>().ok(), last.parse::<u64>().ok()]}),
                    None => json!(port.parse::<u64>().ok()),
                });
                let ports: Vec<_> = ports.collect();
                condition(json!({"payload": {"protocol": protocol, "field": "dport"}}), json!({"set": ports}), negated)
            }
            "--ctstate" | "--state" => {
                let states: Vec<_> = words.next().unwrap_or_default().split(',').map(str::to_ascii_lowercase).collect();
                condition(json!({"ct": {"key": "state"}}), json!(states), negated)
            }
            "-j" | "-g" => match words.next().unwrap_or_default() {
                "ACCEPT" => json!({"accept": null}),
                "DROP" => json!({"drop": null}),
                "REJECT" => json!({"reject": null}),
                "RETURN" => json!({"return": null}),
                "LOG" | "NFLOG" => json!({"log": null}),
                target if word == "-g" => json!({"goto": {"target": target}}),
                target => json!({"jump": {"target": target}}),
            },
            other => json!({"xt": other}),
        };
        let is_verdict = matches!(word, "-j" | "-g");
        negated = false;
        statements.push(statement);
        if is_verdict {
            break;
        }
    }
    statements
}

/// Words, with double quotes around some.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    for character in line.chars() {
        match character {
            '"' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            other => word.push(other),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}
