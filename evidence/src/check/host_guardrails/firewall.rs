//! The packet filter: what it does with a packet that nobody expects, by nftables or iptables, over IPv4 and IPv6.
//!
//! A filter is judged by its effect, not by its text: a new connection from a stranger to a port that no rule names is led
//! through the chains as the kernel leads it. A condition that cannot be decided here (a named set, an extension of
//! iptables, a limit) counts as not met, so such a rule neither opens nor closes the host in these facts.

mod legacy;

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ask;
use crate::check::Unknown;
use crate::look::Look;

/// What was seen of the packet filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// The chains of nf_tables, those that iptables-nft made included.
    pub nftables: Look<Ruleset>,
    /// By `ipv4` and `ipv6`: the lines of iptables-save(8) for the table `filter`, where the older iptables is in use.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub legacy: BTreeMap<String, Look<Vec<String>>>,
    /// IPv6 is switched on.
    pub ipv6: Look<bool>,
}

/// The chains of nf_tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ruleset {
    /// The chains, in the kernel's order.
    pub chains: Vec<Chain>,
}

/// One chain with its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// `ip`, `ip6`, `inet` and others.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub name: String,
    /// `filter`, `nat` or `route`, of a chain that the kernel enters by itself.
    pub kind: Option<String>,
    /// Where the kernel enters it, such as `input`.
    pub hook: Option<String>,
    /// Lower comes first.
    pub priority: Option<i64>,
    /// What becomes of packets that no rule decided: `accept` or `drop`.
    pub policy: Option<String>,
    /// The rules: each a list of libnftables-json(5) statements, without counters.
    pub rules: Vec<Vec<Value>>,
}

/// Facts about the packet filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirewallFacts {
    /// Incoming packets go through a filter, over IPv4 or IPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded: Option<bool>,
    /// By `ipv4` and `ipv6`, where it is switched on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub families: Option<BTreeMap<String, FamilyFacts>>,
    /// A service that loads a filter is switched on for every boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_at_boot: Option<bool>,
    /// Chains of nftables and of iptables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engines: Option<Vec<String>>,
}

/// What becomes of packets over one protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FamilyFacts {
    /// Incoming packets go through a filter.
    pub filtered: bool,
    /// A new connection that no rule is about gets in, because nothing stops it.
    pub accepts_by_default: bool,
    /// A new connection to any port gets in, because a rule says so.
    pub accepts_by_rule: bool,
    /// A new connection through the gateway gets through.
    pub forwards: bool,
    /// Rules for incoming packets.
    pub rules: u64,
}

/// Services that load a packet filter.
const SERVICES: [&str; 7] = [
    "nftables.service",
    "netfilter-persistent.service",
    "iptables.service",
    "ufw.service",
    "firewalld.service",
    "shorewall.service",
    "ferm.service",
];

pub(super) fn facts(
    seen: &Option<Firewall>,
    enabled: &Option<Look<Vec<String>>>,
    unknown: &mut Unknown,
) -> Option<FirewallFacts> {
    let seen = seen.as_ref()?;
    let enabled = ask(enabled, &["/firewall/loaded_at_boot"], "", unknown);
    let loaded_at_boot = enabled.map(|units| units.iter().any(|unit| SERVICES.contains(&unit.as_str())));
    let needs = "CAP_NET_ADMIN";
    let places = ["/firewall/loaded", "/firewall/families", "/firewall/engines"];
    let nftables = super::take(&seen.nftables, &places, needs, unknown);
    let mut legacy = BTreeMap::new();
    let mut hidden = nftables.is_none();
    for (family, look) in &seen.legacy {
        match super::take(look, &places, needs, unknown) {
            Some(lines) => {
                legacy.insert(family.as_str(), legacy::chains(lines));
            }
            None => hidden = true,
        }
    }
    let ipv6 = super::take(&seen.ipv6, &places, "", unknown);
    let (Some(nftables), Some(ipv6), false) = (nftables, ipv6, hidden) else {
        return Some(FirewallFacts { loaded_at_boot, ..FirewallFacts::default() });
    };
    let mut engines = Vec::new();
    if nftables.chains.iter().any(|chain| chain.hook.is_some()) {
        engines.push("nftables".to_owned());
    }
    if !legacy.is_empty() {
        engines.push("iptables-legacy".to_owned());
    }
    let families: BTreeMap<_, _> = [("ipv4", true), ("ipv6", *ipv6)]
        .into_iter()
        .filter(|(_, on)| *on)
        .map(|(family, _)| {
            let legacy = legacy.get(family).map(Vec::as_slice).unwrap_or_default();
            (family.to_owned(), of_family(family, &nftables.chains, legacy))
        })
        .collect();
    Some(FirewallFacts {
        loaded: Some(families.values().any(|family| family.filtered)),
        families: Some(families),
        loaded_at_boot,
        engines: Some(engines),
    })
}

fn of_family(family: &str, nftables: &[Chain], legacy: &[Chain]) -> FamilyFacts {
    let (mut by_default, mut by_rule, mut forwards) = (false, false, false);
    for protocol in ["tcp", "udp"] {
        let packet = Packet::stranger(family, protocol);
        match packet.fate("input", nftables, legacy) {
            Fate::AcceptedByRule => by_rule = true,
            Fate::AcceptedByPolicy => by_default = true,
            Fate::Dropped | Fate::Unfiltered => {}
        }
        forwards |= packet.fate("forward", nftables, legacy) != Fate::Dropped;
    }
    let stranger = Packet::stranger(family, "tcp");
    let incoming: Vec<_> = stranger.base("input", nftables).chain(stranger.base("input", legacy)).collect();
    FamilyFacts {
        filtered: !incoming.is_empty(),
        accepts_by_default: by_default && !by_rule,
        accepts_by_rule: by_rule,
        forwards,
        rules: incoming.iter().map(|chain| chain.rules.len() as u64).sum(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unfiltered,
    Dropped,
    AcceptedByPolicy,
    AcceptedByRule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accept,
    Drop,
    /// Nothing was decided.
    On,
}

/// Jumps within jumps; the kernel's own bound is 16 (`NFT_JUMP_STACK_SIZE`).
const MAX_JUMPS: usize = 16;
/// Rules that are looked at for one packet.
const MAX_STEPS: usize = 20_000;

/// A new connection from an address that nobody knows to a port that nobody uses.
struct Packet {
    family: &'static str,
    protocol: &'static str,
    source: IpAddr,
}

/// A port that no service has been given.
const PORT: u64 = 47_123;

impl Packet {
    fn stranger(family: &str, protocol: &'static str) -> Self {
        // Addresses for documentation (RFC 5737, RFC 3849) stand for any on the internet.
        let (family, source) = if family == "ipv4" {
            ("ip", IpAddr::from([198, 51, 100, 77]))
        } else {
            ("ip6", IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77]))
        };
        Self { family, protocol, source }
    }

    /// The chains that the kernel enters with this packet at `hook`.
    fn base<'c>(&'c self, hook: &'c str, chains: &'c [Chain]) -> impl Iterator<Item = &'c Chain> + 'c {
        chains.iter().filter(move |chain| {
            chain.hook.as_deref() == Some(hook)
                && chain.kind.as_deref() == Some("filter")
                && (chain.family == self.family || chain.family == "inet")
        })
    }

    /// A packet has to be accepted by every base chain; a drop is final.
    fn fate(&self, hook: &str, nftables: &[Chain], legacy: &[Chain]) -> Fate {
        let mut fate = Fate::Unfiltered;
        for chains in [nftables, legacy] {
            let mut base: Vec<_> = self.base(hook, chains).collect();
            base.sort_by_key(|chain| chain.priority);
            for chain in base {
                let mut steps = 0;
                let next = match self.walk(chain, chains, 0, &mut steps) {
                    Verdict::Drop => return Fate::Dropped,
                    Verdict::Accept => Fate::AcceptedByRule,
                    Verdict::On if chain.policy.as_deref() == Some("drop") => return Fate::Dropped,
                    Verdict::On => Fate::AcceptedByPolicy,
                };
                // What one chain lets through by rule and another by default got through for want of a rule against it.
                fate = if fate == Fate::AcceptedByRule { fate } else { next };
            }
        }
        fate
    }

    fn walk(&self, chain: &Chain, chains: &[Chain], depth: usize, steps: &mut usize) -> Verdict {
        for rule in &chain.rules {
            *steps += 1;
            if *steps > MAX_STEPS || depth > MAX_JUMPS {
                return Verdict::On;
            }
            match self.rule(rule, chain, chains, depth, steps) {
                Next::Rule => {}
                Next::Return => return Verdict::On,
                Next::Decided(verdict) => return verdict,
            }
        }
        Verdict::On
    }

    fn rule(&self, rule: &[Value], chain: &Chain, chains: &[Chain], depth: usize, steps: &mut usize) -> Next {
        for statement in rule {
            let Some((name, body)) = statement.as_object().and_then(|fields| fields.iter().next()) else {
                return Next::Rule;
            };
            match name.as_str() {
                "match" if self.meets(body) == Some(true) => {}
                "counter" | "log" | "comment" | "notrack" | "mangle" | "last" => {}
                "accept" => return Next::Decided(Verdict::Accept),
                "drop" | "reject" => return Next::Decided(Verdict::Drop),
                "return" => return Next::Return,
                "jump" | "goto" => {
                    let target = body.get("target").and_then(Value::as_str);
                    let same = |one: &&Chain| {
                        one.family == chain.family && one.table == chain.table && Some(one.name.as_str()) == target
                    };
                    let Some(target) = chains.iter().find(same) else { return Next::Rule };
                    return match self.walk(target, chains, depth + 1, steps) {
                        Verdict::On if name == "goto" => Next::Return,
                        Verdict::On => Next::Rule,
                        verdict => Next::Decided(verdict),
                    };
                }
                // A condition that is not met, or that cannot be decided here.
                _ => return Next::Rule,
            }
        }
        Next::Rule
    }

    /// Whether a `match` statement is met; None when that cannot be said.
    fn meets(&self, body: &Value) -> Option<bool> {
        let (left, right) = (body.get("left")?, body.get("right")?);
        let negated = match body.get("op").and_then(Value::as_str)? {
            "==" | "in" => false,
            "!=" => true,
            _ => return None,
        };
        let met = if let Some(key) = left.pointer("/meta/key").and_then(Value::as_str) {
            match key {
                "l4proto" => any(right, &|one| Some(self.is_protocol(one)))?,
                "nfproto" => {
                    any(right, &|one| Some(one.as_str()? == if self.family == "ip" { "ipv4" } else { "ipv6" }))?
                }
                "protocol" => any(right, &|one| Some(one.as_str()? == self.family))?,
                // It comes from outside, by an interface whose name is not known.
                "iif" | "iifname" => any(right, &|one| if one.as_str()? == "lo" { Some(false) } else { None })?,
                "pkttype" => any(right, &|one| Some(matches!(one.as_str()?, "host" | "unicast")))?,
                _ => return None,
            }
        } else if left.pointer("/ct/key").and_then(Value::as_str) == Some("state") {
            any(right, &|one| Some(one.as_str()? == "new"))?
        } else {
            let payload = left.get("payload")?;
            let field = payload.get("field").and_then(Value::as_str)?;
            match payload.get("protocol").and_then(Value::as_str)? {
                protocol @ ("tcp" | "udp") if protocol != self.protocol => return Some(false),
                "tcp" | "udp" | "th" if field == "dport" => any(right, &|one| Some(one.as_u64()? == PORT))?,
                "sctp" | "dccp" | "icmp" | "icmpv6" | "esp" | "ah" => return Some(false),
                protocol @ ("ip" | "ip6") if protocol != self.family => return Some(false),
                "ip" | "ip6" if matches!(field, "protocol" | "nexthdr") => {
                    any(right, &|one| Some(self.is_protocol(one)))?
                }
                "ip" | "ip6" if field == "saddr" => {
                    any(right, &|one| Some(one.as_str()?.parse::<IpAddr>().ok()? == self.source))?
                }
                _ => return None,
            }
        };
        Some(met != negated)
    }

    fn is_protocol(&self, value: &Value) -> bool {
        let number = if self.protocol == "tcp" { 6 } else { 17 };
        value.as_str() == Some(self.protocol) || value.as_u64() == Some(number)
    }
}

enum Next {
    Rule,
    Return,
    Decided(Verdict),
}

/// Whether any of `right`, which may be a value, a list, a set, a range or a prefix, is met. Yes outweighs "cannot be said".
fn any(right: &Value, meets: &dyn Fn(&Value) -> Option<bool>) -> Option<bool> {
    let over = |items: &Vec<Value>| {
        let mut unsure = false;
        for item in items {
            match any(item, meets) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => unsure = true,
            }
        }
        if unsure { None } else { Some(false) }
    };
    if let Some(items) = right.as_array() {
        return over(items);
    }
    if let Some(items) = right.get("set").and_then(Value::as_array) {
        return over(items);
    }
    if let Some(range) = right.get("range").and_then(Value::as_array) {
        let [first, last] = range.as_slice() else { return None };
        return Some((first.as_u64()?..=last.as_u64()?).contains(&PORT));
    }
    if let Some(prefix) = right.get("prefix") {
        // Only that which covers everything covers a stranger.
        return Some(prefix.get("len")?.as_u64()? == 0);
    }
    meets(right)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chain(policy: &str, rules: Value) -> Vec<Chain> {
        let rules: Vec<Vec<Value>> = serde_json::from_value(rules).unwrap();
        let base = Chain {
            family: "inet".into(),
            table: "filter".into(),
            name: "input".into(),
            kind: Some("filter".into()),
            hook: Some("input".into()),
            priority: Some(0),
            policy: Some(policy.into()),
            rules,
        };
        let other = Chain {
            name: "other".into(),
            kind: None,
            hook: None,
            priority: None,
            policy: None,
            rules: vec![vec![json!({"accept": null})]],
            ..base.clone()
        };
        vec![base, other]
    }

    fn matched(left: Value, right: Value) -> Value {
        json!({"match": {"op": "==", "left": left, "right": right}})
    }

    #[test]
    fn a_stranger_is_led_through_the_chains() {
        let lo = matched(json!({"meta": {"key": "iifname"}}), json!("lo"));
        let established = matched(json!({"ct": {"key": "state"}}), json!(["established", "related"]));
        let ssh = matched(json!({"payload": {"protocol": "tcp", "field": "dport"}}), json!({"set": [22, 8883]}));
        let every = matched(json!({"payload": {"protocol": "tcp", "field": "dport"}}), json!({"range": [1, 65535]}));
        let tcp = matched(json!({"meta": {"key": "l4proto"}}), json!("tcp"));
        let named = matched(json!({"payload": {"protocol": "ip", "field": "saddr"}}), json!("@admins"));
        let accept = json!({"accept": null});
        for (policy, rules, expected) in [
            ("drop", json!([[lo, accept], [established, accept], [ssh, accept]]), (true, false, false)),
            ("accept", json!([]), (true, true, false)),
            ("accept", json!([[lo, accept], [{"counter": null}, {"drop": null}]]), (true, false, false)),
            ("drop", json!([[{"counter": null}, accept]]), (true, false, true)),
            ("drop", json!([[every, accept]]), (true, false, true)),
            ("drop", json!([[tcp, accept]]), (true, false, true)),
            ("drop", json!([[{"jump": {"target": "other"}}]]), (true, false, true)),
            ("drop", json!([[named, accept]]), (true, false, false)),
            ("accept", json!([[{"limit": {"rate": 1}}, {"drop": null}]]), (true, true, false)),
            ("drop", json!([[{"jump": {"target": "input"}}]]), (true, false, false)),
        ] {
            let facts = of_family("ipv4", &chain(policy, rules.clone()), &[]);
            assert_eq!((facts.filtered, facts.accepts_by_default, facts.accepts_by_rule), expected, "{policy} {rules}");
        }
        assert!(!of_family("ipv6", &[], &[]).filtered);
        let mut only4 = chain("drop", json!([]));
        only4[0].family = "ip".into();
        assert!(of_family("ipv4", &only4, &[]).filtered && !of_family("ipv6", &only4, &[]).filtered);
    }

    #[test]
    fn a_drop_in_any_base_chain_is_final() {
        let mut chains = chain("accept", json!([[{"accept": null}]]));
        let later = Chain { priority: Some(10), policy: Some("drop".into()), rules: vec![], ..chains[0].clone() };
        chains.push(later);
        assert!(!of_family("ipv4", &chains, &[]).accepts_by_rule);
    }

    #[test]
    fn the_older_iptables_is_read_in_the_same_words() {
        let facts = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
            let facts = of_family("ipv4", &[], &legacy::chains(&lines));
            (facts.filtered, facts.accepts_by_default, facts.accepts_by_rule)
        };
        let start = [":INPUT DROP [0:0]", ":FORWARD DROP [0:0]", ":site - [0:0]"];
        let closed = "-A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
            -A INPUT -p tcp -m tcp --dport 22 -m comment --comment \"ssh -j ACCEPT\" -j ACCEPT";
        let with = |rules: &str| start.iter().copied().chain(rules.lines()).map(str::to_owned).collect::<Vec<_>>();
        let of = |rules: &str| facts(&with(rules).iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(of(closed), (true, false, false));
        assert_eq!(of("-A INPUT -j ACCEPT"), (true, false, true));
        assert_eq!(of("-A INPUT -s 0.0.0.0/0 -j ACCEPT"), (true, false, true));
        assert_eq!(of("-A INPUT ! -i lo -j site\n-A site -p udp -j ACCEPT"), (true, false, true));
        assert_eq!(of("-A INPUT -m recent --name x --rcheck -j ACCEPT"), (true, false, false));
        assert_eq!(facts(&[":INPUT ACCEPT [0:0]"]), (true, true, false));
    }
}
