//! What `nft -j list ruleset` and iptables-save(8) print, and the files that say whether they are asked, as the probe of
//! `host_guardrails` reads them.

use gatepost_evidence::check::host_guardrails::firewall::Ruleset;
use serde_json::{Value, json};

use crate::Seeds;
use crate::host::root::{self, Root};
use crate::host::{can_be_evidence, firewall};

const PATHS: [&str; 9] = [
    "/answers/nft",
    "/answers/iptables-legacy-save",
    "/answers/ip6tables-legacy-save",
    "/proc/net/ip_tables_names",
    "/proc/net/ip6_tables_names",
    "/proc/modules",
    "/proc/sys/kernel/osrelease",
    "/lib/modules/6.1/modules.builtin",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6",
];

/// # Panics
/// When the same answers give another filter, a bound is passed, or chains and rules printed as nft prints them, or as
/// iptables-save does, read as others.
pub fn attack(data: &[u8]) {
    let root = Root::of(data, &PATHS);
    let found = firewall::firewall(&root);
    assert_eq!(found, firewall::firewall(&root), "the same answers gave another filter");
    can_be_evidence(&found);
    if let Some(ruleset) = found.nftables.seen() {
        let rules: usize = ruleset.chains.iter().map(|chain| chain.rules.len()).sum();
        assert!(ruleset.chains.len() <= firewall::MAX_CHAINS && rules <= firewall::MAX_RULES);
        assert_eq!(firewall::ruleset(&printed(ruleset)).as_ref(), Ok(ruleset), "printed again it is another");
    }
    for lines in found.legacy.values().filter_map(|lines| lines.seen()) {
        assert!(lines.len() <= firewall::MAX_RULES);
        assert_eq!(firewall::lines(&lines.join("\n")).as_ref(), Ok(lines), "printed again they are others");
    }
}

/// As libnftables-json(5) has it.
fn printed(ruleset: &Ruleset) -> String {
    let mut items = vec![json!({"metainfo": {"json_schema_version": 1}})];
    for chain in &ruleset.chains {
        let mut one = json!({"family": chain.family, "table": chain.table, "name": chain.name});
        for (name, value) in [
            ("type", chain.kind.clone().map(Value::from)),
            ("hook", chain.hook.clone().map(Value::from)),
            ("prio", chain.priority.map(Value::from)),
            ("policy", chain.policy.clone().map(Value::from)),
        ] {
            if let Some(value) = value {
                one[name] = value;
            }
        }
        items.push(json!({ "chain": one }));
        for rule in &chain.rules {
            let of = json!({"family": chain.family, "table": chain.table, "chain": chain.name, "expr": rule});
            items.push(json!({ "rule": of }));
        }
    }
    json!({ "nftables": items }).to_string()
}

/// A filter that drops, one that lets in, and both families of the older one.
#[must_use]
pub fn seeds() -> Seeds {
    let with = |name: &str, files: &[(&str, &str)]| (name.to_owned(), root::input(&PATHS, files));
    let loaded = ("/proc/modules", "nf_tables 1 0 - Live 0x0\n");
    let chain = r#"{"nftables":[{"metainfo":{"version":"1.0.6","json_schema_version":1}},{"table":{"family":"inet","name":"filter","handle":1}},
        {"chain":{"family":"inet","table":"filter","name":"input","handle":1,"type":"filter","hook":"input","prio":0,"policy":"drop"}},
        {"rule":{"family":"inet","table":"filter","chain":"input","handle":4,"expr":[{"match":{"op":"==","left":{"meta":{"key":"iifname"}},"right":"lo"}},{"counter":{"packets":1,"bytes":2}},{"accept":null}]}},
        {"rule":{"family":"inet","table":"filter","chain":"input","handle":5,"expr":[{"match":{"op":"==","left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,{"range":[8883,8884]}]}}},{"accept":null}]}}]}"#;
    let saved = "# Generated\n*filter\n:INPUT DROP [12:34]\n:mine - [0:0]\n-A INPUT -i lo -j ACCEPT\n-A INPUT -p tcp --dport 22 -j mine\nCOMMIT\n";
    vec![
        with("nft", &[loaded, ("/answers/nft", chain)]),
        with("nft-empty", &[loaded, ("/answers/nft", r#"{"nftables":[]}"#)]),
        with(
            "nft-odd",
            &[loaded, ("/answers/nft", r#"{"nftables":[{"rule":{"family":"ip","table":"x","chain":"y","expr":[]}}]}"#)],
        ),
        with(
            "legacy",
            &[
                ("/proc/modules", "ip_tables 1 0\n"),
                ("/proc/net/ip_tables_names", "nat\nfilter\n"),
                ("/answers/iptables-legacy-save", saved),
                ("/proc/net/ip6_tables_names", "filter\n"),
                ("/answers/ip6tables-legacy-save", saved),
                ("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n"),
            ],
        ),
        with(
            "none",
            &[
                ("/proc/modules", "ext4 1 0\n"),
                ("/proc/sys/kernel/osrelease", "6.1\n"),
                ("/lib/modules/6.1/modules.builtin", "kernel/net/ipv6/ipv6.ko\n"),
            ],
        ),
    ]
}
