//! Names: what each resolver answers, how fast, and whether it tells of names that do not exist.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::percentile;
use crate::check::{Unknown, segment};
use crate::look::Look;

/// What the resolvers were asked and what they said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// A name that was made up below a domain that has no such names.
    pub made_up: String,
    /// The resolvers, each asked for itself.
    pub servers: Vec<NameServer>,
    /// Resolvers that were not asked because there are too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_asked: u32,
}

/// A resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameServer {
    /// Its address.
    pub address: String,
    /// What it was asked.
    pub questions: Vec<Question>,
}

/// A question for the IPv4 addresses of a name (RFC 1035).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The name.
    pub name: String,
    /// What came.
    pub answer: Look<Answer>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// RCODE: 0 no error, 3 no such name (RFC 1035, section 4.1.1).
    pub code: u8,
    /// The addresses, sorted; no more than the first sixteen.
    pub addresses: Vec<String>,
    /// Microseconds from the first question to the answer, those included that got none.
    pub micros: u64,
    /// It was asked again over TCP, since the first answer was cut short.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tcp: bool,
    /// Packets that came and were no answer to this question.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strays: u32,
}

/// For serde, which hands it a reference.
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Facts about a resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameServerFacts {
    /// It answered at least one question.
    pub answers: bool,
    /// Questions that it was asked.
    pub questions: u64,
    /// Questions without an answer that can be used.
    pub failures: u64,
    /// It gives addresses for names that do not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrites: Option<bool>,
    /// Packets came that were no answers to what was asked.
    pub strays: u64,
    /// Median microseconds to an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_micros: Option<u64>,
    /// The longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_micros: Option<u64>,
}

/// Facts about a name that several resolvers were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NameFacts {
    /// How many resolvers said whether it exists.
    pub answers: u64,
    /// Some say that it exists, some that it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub existence_differs: Option<bool>,
    /// Two of them have no address in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses_differ: Option<bool>,
}

const NO_SUCH_NAME: u8 = 3;

/// Resolvers by address, and names by name.
pub(super) fn facts(
    dns: Option<&Look<Dns>>,
    unknown: &mut Unknown,
) -> (BTreeMap<String, NameServerFacts>, BTreeMap<String, NameFacts>) {
    let dns = match dns {
        Some(Look::Seen(dns)) => dns,
        Some(Look::Failed(failure)) => {
            unknown.because("/name_servers", failure);
            unknown.because("/names", failure);
            return Default::default();
        }
        None => return Default::default(),
    };
    let servers = dns.servers.iter().map(|server| (server.address.clone(), of_server(server, dns, unknown))).collect();
    let real = dns.servers.iter().flat_map(|server| &server.questions).map(|question| question.name.as_str());
    let real: BTreeSet<&str> = real.filter(|name| *name != dns.made_up).collect();
    let names = real.into_iter().map(|name| (name.to_owned(), of_name(name, dns, unknown))).collect();
    (servers, names)
}

fn of_server(server: &NameServer, dns: &Dns, unknown: &mut Unknown) -> NameServerFacts {
    let place = format!("/name_servers/{}", segment(&server.address));
    let answers: Vec<&Answer> = server.questions.iter().filter_map(|question| question.answer.seen()).collect();
    let failure = server.questions.iter().find_map(|question| question.answer.failure());
    let mut times: Vec<u64> = answers.iter().map(|answer| answer.micros).collect();
    times.sort_unstable();
    if let (true, Some(failure)) = (times.is_empty(), failure) {
        unknown.because(format!("{place}/p50_micros"), failure);
        unknown.because(format!("{place}/max_micros"), failure);
    }
    let made_up = server.questions.iter().find(|question| question.name == dns.made_up);
    let rewrites = match made_up.map(|question| &question.answer) {
        Some(Look::Seen(answer)) if !answer.addresses.is_empty() => Some(true),
        Some(Look::Seen(Answer { code: 0 | NO_SUCH_NAME, .. })) => Some(false),
        Some(Look::Seen(answer)) => {
            let reason = format_args!("it answered with the error {} (RFC 1035, section 4.1.1)", answer.code);
            unknown.because(format!("{place}/rewrites"), reason);
            None
        }
        Some(Look::Failed(failure)) => {
            unknown.because(format!("{place}/rewrites"), failure);
            None
        }
        None => None,
    };
    NameServerFacts {
        answers: !answers.is_empty(),
        questions: server.questions.len() as u64,
        failures: (server.questions.len() - answers.len()) as u64,
        rewrites,
        strays: answers.iter().map(|answer| u64::from(answer.strays)).sum(),
        p50_micros: percentile(&times, 50),
        max_micros: times.last().copied(),
    }
}

fn of_name(name: &str, dns: &Dns, unknown: &mut Unknown) -> NameFacts {
    let asked = |server: &&NameServer| server.questions.iter().any(|question| question.name == name);
    let asked = dns.servers.iter().filter(asked).count();
    let all = dns.servers.iter().flat_map(|server| &server.questions).filter(|question| question.name == name);
    let told: Vec<&Answer> = all
        .filter_map(|question| question.answer.seen())
        .filter(|answer| matches!(answer.code, 0 | NO_SUCH_NAME))
        .collect();
    let mut facts = NameFacts { answers: told.len() as u64, existence_differs: None, addresses_differ: None };
    let place = format!("/names/{}", segment(name));
    if told.len() < 2 {
        if asked > 1 {
            let reason = format_args!("{} of {asked} resolvers said something about it", told.len());
            unknown.because(format!("{place}/existence_differs"), reason);
            unknown.because(format!("{place}/addresses_differ"), reason);
        }
        return facts;
    }
    let exists: BTreeSet<bool> = told.iter().map(|answer| answer.code == 0).collect();
    facts.existence_differs = Some(exists.len() > 1);
    let sets: Vec<BTreeSet<&String>> = told
        .iter()
        .filter(|answer| !answer.addresses.is_empty())
        .map(|answer| answer.addresses.iter().collect())
        .collect();
    let apart = sets.iter().enumerate().any(|(at, one)| sets.iter().skip(at + 1).any(|other| one.is_disjoint(other)));
    facts.addresses_differ = Some(apart);
    facts
}
