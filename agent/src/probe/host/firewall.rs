//! The packet filter's chains, as nft(8) and, where the older iptables is in use, iptables-save(8) tell them.
//!
//! No file knows them, so these two programs are asked; but only where the kernel has a packet filter loaded: to ask nft
//! would load one. What they print is kept as chains and rules, without counters.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gatepost_evidence::canonical;
use gatepost_evidence::check::host_guardrails::firewall::{Chain, Firewall, Ruleset};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use serde_json::Value;

use super::root::Root;
use super::{helper, if_there, shorten};

/// The most chains that are recorded.
pub const MAX_CHAINS: usize = 500;
/// The most rules that are recorded.
pub const MAX_RULES: usize = 2000;
/// The most bytes of all rules, as JSON.
pub const MAX_RULE_BYTES: usize = 256 * 1024;
/// Modules without which the kernel filters nothing.
const MODULES: [&str; 4] = ["nf_tables", "ip_tables", "ip6_tables", "x_tables"];

/// What is to be seen of the packet filter.
#[must_use]
pub fn firewall(root: &Root) -> Firewall {
    let ipv6 = ipv6(root).into();
    match no_filter(root) {
        Ok(true) => {
            return Firewall { nftables: Look::Seen(Ruleset::default()), legacy: BTreeMap::new(), ipv6 };
        }
        Ok(false) => {}
        Err(failure) => return Firewall { nftables: Look::Failed(failure), legacy: BTreeMap::new(), ipv6 },
    }
    let nftables = helper::ask(root, "nft", &["/usr/sbin/nft", "/sbin/nft"], &["-j", "list", "ruleset"])
        .and_then(|text| ruleset(&text))
        .into();
    Firewall { nftables, legacy: legacy(root), ipv6 }
}

/// Whether the kernel surely has no packet filter: it takes modules, and none of a filter is loaded or built in.
fn no_filter(root: &Root) -> Result<bool, Failure> {
    let Some(loaded) = if_there(root.read_text(Path::new("/proc/modules")))? else { return Ok(false) };
    if loaded.lines().any(|line| line.split(' ').next().is_some_and(|name| MODULES.contains(&name))) {
        return Ok(false);
    }
    let release = root.word(Path::new("/proc/sys/kernel/osrelease"))?;
    let folder: PathBuf = ["/lib/modules", &release].iter().collect();
    // Without the list of what is built in, a filter may be.
    let Some(built_in) = if_there(root.read_text(&folder.join("modules.builtin")))? else { return Ok(false) };
    let name = |line: &str| {
        let file = line.rsplit('/').next().unwrap_or_default();
        file.split('.').next().unwrap_or_default().replace('-', "_")
    };
    Ok(!built_in.lines().any(|line| MODULES.contains(&name(line).as_str())))
}

/// Whether IPv6 is on: it has a table of addresses, and is not switched off for all interfaces.
fn ipv6(root: &Root) -> Result<bool, Failure> {
    let off = if_there(root.word(Path::new("/proc/sys/net/ipv6/conf/all/disable_ipv6")))?;
    Ok(off.is_some_and(|word| word == "0"))
}

/// The tables of the older iptables that are in use, by the family's name.
fn legacy(root: &Root) -> BTreeMap<String, Look<Vec<String>>> {
    let mut found = BTreeMap::new();
    for (family, list, program) in [
        ("ipv4", "/proc/net/ip_tables_names", "iptables-legacy-save"),
        ("ipv6", "/proc/net/ip6_tables_names", "ip6tables-legacy-save"),
    ] {
        let names = match if_there(root.read_text(Path::new(list))) {
            Ok(None) => continue,
            Ok(Some(names)) => names,
            Err(failure) => {
                found.insert(family.to_owned(), Look::Failed(failure));
                continue;
            }
        };
        if names.lines().any(|name| name == "filter") {
            let places = [format!("/usr/sbin/{program}"), format!("/sbin/{program}")];
            let places = places.each_ref().map(String::as_str);
            let lines = helper::ask(root, program, &places, &["-t", "filter"]).and_then(|text| lines(&text));
            found.insert(family.to_owned(), lines.into());
        }
    }
    found
}

/// The chains and rules of iptables-save(8), without comments and counters.
///
/// # Errors
/// When there are too many.
pub fn lines(text: &str) -> Result<Vec<String>, Failure> {
    let mut kept = Vec::new();
    for line in text.lines().filter(|line| line.starts_with([':', '-'])) {
        if kept.len() == MAX_RULES {
            return Err(too_many());
        }
        let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let line = match line.starts_with(':') {
            true => line.split(" [").next().unwrap_or_default(),
            false => &line,
        };
        kept.push(line.chars().take(500).collect());
    }
    Ok(kept)
}

/// The chains of `nft -j list ruleset` (libnftables-json(5)).
///
/// # Errors
/// When it is not that, or too much.
pub fn ruleset(text: &str) -> Result<Ruleset, Failure> {
    let odd = |words: &str| Failure::new(FailureKind::Unparseable, format_args!("nft prints {words}"));
    let value: Value = serde_json::from_str(text).map_err(|error| odd(&format!("no JSON: {error}")))?;
    let items = value.get("nftables").and_then(Value::as_array).ok_or_else(|| odd("no list of objects"))?;
    let mut chains: Vec<Chain> = Vec::new();
    let (mut rules, mut bytes) = (0, 0);
    for item in items {
        if let Some(one) = item.get("chain") {
            if chains.len() == MAX_CHAINS {
                return Err(too_many());
            }
            chains.push(chain(one).ok_or_else(|| odd("a chain without a name"))?);
        } else if let Some(rule) = item.get("rule") {
            let of = |name: &str| rule.get(name).and_then(Value::as_str);
            let chain = chains.iter_mut().rev().find(|chain| {
                of("family") == Some(&chain.family)
                    && of("table") == Some(&chain.table)
                    && of("chain") == Some(&chain.name)
            });
            let chain = chain.ok_or_else(|| odd("a rule of a chain that it does not print"))?;
            let statements =
                rule.get("expr").and_then(Value::as_array).ok_or_else(|| odd("a rule without statements"))?;
            let kept = statements.iter().filter(|one| one.get("counter").is_none()).map(canonical::exact);
            let kept: Vec<Value> = kept.collect();
            rules += 1;
            bytes += kept.iter().map(|one| one.to_string().len()).sum::<usize>();
            if rules > MAX_RULES || bytes > MAX_RULE_BYTES {
                return Err(too_many());
            }
            chain.rules.push(kept);
        }
    }
    Ok(Ruleset { chains })
}

fn chain(one: &Value) -> Option<Chain> {
    let text = |name: &str| one.get(name).and_then(Value::as_str).map(shorten);
    Some(Chain {
        family: text("family")?,
        table: text("table")?,
        name: text("name")?,
        kind: text("type"),
        hook: text("hook"),
        priority: one.get("prio").filter(|priority| canonical::check(priority).is_ok()).and_then(Value::as_i64),
        policy: text("policy"),
        rules: Vec::new(),
    })
}

fn too_many() -> Failure {
    let detail =
        format!("the packet filter has more than {MAX_CHAINS} chains, {MAX_RULES} rules or {MAX_RULE_BYTES} bytes");
    Failure::new(FailureKind::TooLarge, detail)
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn chains_and_rules_are_kept_without_counters() {
        let text = r#"{"nftables": [{"metainfo": {"json_schema_version": 1}},
            {"table": {"family": "inet", "name": "filter", "handle": 1}},
            {"chain": {"family": "inet", "table": "filter", "name": "input", "handle": 1, "type": "filter", "hook": "input",
              "prio": 0, "policy": "drop"}},
            {"rule": {"family": "inet", "table": "filter", "chain": "input", "handle": 4,
              "expr": [{"counter": {"packets": 7, "bytes": 99}}, {"accept": null}]}}]}"#;
        let ruleset = ruleset(text).unwrap();
        assert_eq!(ruleset.chains.len(), 1);
        assert_eq!(ruleset.chains[0].policy.as_deref(), Some("drop"));
        assert_eq!(ruleset.chains[0].rules, [vec![serde_json::json!({"accept": null})]]);
        let large = r#"{"nftables": [{"chain": {"family": "a", "table": "b", "name": "c", "prio": 9007199254740992}},
            {"rule": {"family": "a", "table": "b", "chain": "c", "expr": [{"quota": {"val": 9007199254740992}}]}}]}"#;
        let large = &super::ruleset(large).unwrap().chains[0];
        assert_eq!(large.priority, None);
        assert_eq!(large.rules, [vec![serde_json::json!({"quota": {"val": "9007199254740992"}})]]);
        for (odd, words) in [("", "no JSON"), ("{}", "no list"), (r#"{"nftables": [{"chain": {}}]}"#, "without a name")]
        {
            let failure = super::ruleset(odd).unwrap_err();
            assert!(failure.detail.contains(words), "{failure}");
        }
        let rules = format!(
            r#"{{"rule": {{"family": "a", "table": "b", "chain": "c", "expr": [{{"comment": "{}"}}]}}}},"#,
            "x".repeat(200)
        );
        let many = format!(
            r#"{{"nftables": [{{"chain": {{"family": "a", "table": "b", "name": "c"}}}}, {}{{"metainfo": {{}}}}]}}"#,
            rules.repeat(1300)
        );
        assert_eq!(super::ruleset(&many).unwrap_err().kind, FailureKind::TooLarge);
    }

    #[test]
    fn a_kernel_without_any_filter_needs_nobody_to_be_asked() {
        let kernel = [("proc/sys/kernel/osrelease", "6.1\n"), ("proc/sys/net/ipv6/conf/all/disable_ipv6", "0\n")];
        let none = [
            ("proc/modules", "ext4 1 0 - Live 0x0\n"),
            ("lib/modules/6.1/modules.builtin", "kernel/fs/ext2/ext2.ko\n"),
        ];
        let folder = snapshot(&[&kernel[..], &none[..]].concat());
        let seen = firewall(&Root::new(folder.path()));
        assert_eq!(seen.nftables, Look::Seen(Ruleset::default()));
        assert_eq!(seen.ipv6, Look::Seen(true));
        for more in [
            ("proc/modules", "nf_tables 1 0 - Live 0x0\n"),
            ("lib/modules/6.1/modules.builtin", "kernel/net/netfilter/nf_tables.ko.xz\n"),
        ] {
            let folder = snapshot(&[&kernel[..], &none[..], &[more]].concat());
            let failure = firewall(&Root::new(folder.path())).nftables;
            assert!(failure.failure().unwrap().detail.contains("only the running machine"), "{failure:?}");
        }
    }

    #[test]
    fn the_older_tables_are_lines() {
        let text = "# Generated\n*filter\n:INPUT DROP [5:300]\n-A INPUT -i lo -j ACCEPT\nCOMMIT\n";
        assert_eq!(lines(text).unwrap(), [":INPUT DROP", "-A INPUT -i lo -j ACCEPT"]);
        assert_eq!(lines(":A DROP\u{1}[5:300]\n").unwrap(), [":A DROP"]);
        assert_eq!(lines(&":A - [0:0]\n".repeat(MAX_RULES + 1)).unwrap_err().kind, FailureKind::TooLarge);
    }
}
