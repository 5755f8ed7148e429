//! The long list of questions to an ingest edge that speaks HTTP, and the facts that follow from its answers.
//!
//! Each question is one request that differs from an honest one in one thing, by which it is named: `path.trailing_slash`,
//! `header.x-original-url`. What counts is whether the edge took the event (2xx). That it did not is said by 3xx and 4xx,
//! and by 501 and 505, which are about methods and versions; 429 and the other 5xx say nothing. Where the edge takes an
//! event at a path that nobody has given it (`control.path`), that it takes one at another path says nothing either.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Credentials, Observation, Request, wants_certificate};
use crate::check::Unknown;
use crate::look::{Failure, FailureKind, Look};

/// What was asked beyond the first requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// The most requests that could have been made, the first ones included.
    pub limit: u32,
    /// Requests that were made, the first ones included; as many canary events at most.
    pub made: u32,
    /// The agent has a token for this edge.
    pub token: bool,
    /// The agent has a client certificate for this edge.
    pub certificate: bool,
    /// The answers, by the name of the question.
    pub answers: BTreeMap<String, Look<Answer>>,
}

/// Something that was recognised in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The trace of an exception in Python.
    StackPython,
    /// The trace of an exception in Java, Kotlin or Scala.
    StackJava,
    /// The trace of an exception in JavaScript.
    StackJavascript,
    /// The trace of a panic in Go.
    StackGo,
    /// The message of a panic in Rust.
    StackRust,
    /// The trace of an exception in .NET.
    StackDotnet,
    /// The trace of an error in PHP.
    StackPhp,
    /// The trace of an exception in Ruby.
    StackRuby,
    /// The message of a database.
    SqlError,
    /// The page of a framework's debugger.
    DebugPage,
    /// A product with its version, in a header.
    VersionInHeader,
    /// A product with its version, in the body.
    VersionInBody,
    /// The event is called a duplicate.
    Duplicate,
    /// A cache says that it gave this answer.
    FromCache,
}

impl Mark {
    /// It tells of the edge's inside.
    #[must_use]
    pub fn is_stack(self) -> bool {
        use Mark::{
            DebugPage, SqlError, StackDotnet, StackGo, StackJava, StackJavascript, StackPhp, StackPython, StackRuby,
            StackRust,
        };
        matches!(
            self,
            StackPython
                | StackJava
                | StackJavascript
                | StackGo
                | StackRust
                | StackDotnet
                | StackPhp
                | StackRuby
                | SqlError
                | DebugPage
        )
    }
}

/// What the questions brought out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpFacts {
    /// The agent has a token for this edge.
    pub token_configured: bool,
    /// Requests that were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
    /// Malformed credentials that were taken, by what is wrong with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed_accepted: Option<Vec<String>>,
    /// The expired token that the operator supplied was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired_accepted: Option<bool>,
    /// Alterations of the right token that were taken: `truncated`, `extended`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub altered_accepted: Option<Vec<String>>,
    /// The right token was taken with small and capital letters exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case_ignored: Option<bool>,
    /// Methods other than POST that were answered with 2xx without credentials. OPTIONS is not among them: browsers ask it
    /// without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub methods_accepted: Option<Vec<String>>,
    /// Status of OPTIONS without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub options_status: Option<u16>,
    /// Other ways to write the path, at which an event was taken without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths_accepted: Option<Vec<String>>,
    /// Headers with which an event was taken without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers_accepted: Option<Vec<String>>,
    /// Right after an event with the right credentials was taken, the same was taken without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_accepted: Option<bool>,
    /// Whether an event was sent twice: there are credentials, and the edge took the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<bool>,
    /// What the edge did with the second of two events of one id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replay>,
    /// What was seen of a limit to the rate of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// What answers let out of the edge's inside, by the names of the marks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_leaks: Option<Vec<Mark>>,
    /// Where answers name products with their versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_leaks: Option<Vec<Mark>>,
    /// Plain HTTP, which is redirected, is not when `X-Forwarded-Proto` says that it is TLS; known where it is redirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarded_proto_believed: Option<bool>,
    /// An answer over TLS points to a place without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirects_to_plaintext: Option<bool>,
}

/// What an edge did with the second of two events of one id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Replay {
    /// It answered otherwise than to the first, or called it a duplicate.
    Told,
    /// It answered as to the first.
    NotTold,
}

/// What was seen of a limit to the rate of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RateLimit {
    /// Nothing.
    None,
    /// Headers tell of one.
    Announced,
    /// Requests were answered with 429 (RFC 6585, section 4).
    Enforced,
}

/// What is known of client certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClientFacts {
    /// Without the client certificate, with everything else that the agent has, an event or a connection was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_certificate_accepted: Option<bool>,
    /// So it was with a certificate that was made on the spot and that nobody has signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_certificate_accepted: Option<bool>,
}

/// The headers by which a limit to the rate is told (draft-ietf-httpapi-ratelimit-headers, and what was used before it).
pub const RATE_HEADERS: [&str; 6] = [
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-limit",
    "x-ratelimit-limit",
    "x-rate-limit-limit",
    "x-ratelimit-remaining",
];

/// The facts that follow from `questions`.
pub(super) fn facts(
    observation: &Observation,
    questions: &Look<Questions>,
    unknown: &mut Unknown,
) -> (Option<HttpFacts>, Option<ClientFacts>) {
    let questions = match questions {
        Look::Seen(questions) => questions,
        Look::Failed(failure) => {
            unknown.because("/http", failure);
            return (Some(HttpFacts::default()), None);
        }
    };
    let right = observation.requests.iter().find(|one| one.credentials == Credentials::Right && !one.plaintext);
    let right_taken = right.and_then(|request| request.answer.seen()).is_some_and(Answer::takes);
    let mut reading = Reading { questions, asked: observation.certificate_asked(), unknown };
    let mut facts =
        HttpFacts { token_configured: questions.token, requests: Some(questions.made), ..HttpFacts::default() };
    facts.malformed_accepted = reading.accepted("malformed_accepted", "malformed.", None);
    facts.altered_accepted = reading.accepted("altered_accepted", "altered.", None);
    if questions.token {
        facts.expired_accepted = match reading.questions.answers.get("expired") {
            Some(_) => reading.one("/http/expired_accepted", "expired"),
            None => reading.because(
                "expired_accepted",
                "needs an expired token of this edge to try: name its file with expired_token_file under [ingest]",
            ),
        };
        facts.case_ignored = match reading.questions.answers.get("case.exchanged") {
            Some(_) => reading.one("/http/case_ignored", "case.exchanged"),
            None => reading.because("case_ignored", "the token has no letters"),
        };
    }
    facts.methods_accepted = reading.methods();
    facts.options_status = reading.seen("method.options").map(|answer| answer.status);
    facts.paths_accepted = reading.accepted("paths_accepted", "path.", Some("control.path"));
    facts.headers_accepted = reading.headers();
    facts.cached_accepted = match right_taken {
        true => reading.one("/http/cached_accepted", "cached"),
        false => reading.because("cached_accepted", "no event was taken, so that none could be answered from a cache"),
    };
    facts.replayed = Some(right_taken);
    facts.replay = reading.replay(right);
    let answers: Vec<&Answer> = all(observation, questions).collect();
    facts.rate_limit = reading.rate_limit(&answers);
    let marks = |wanted: fn(Mark) -> bool| {
        let mut marks: Vec<Mark> = answers.iter().flat_map(|answer| &answer.marks).copied().collect();
        marks.retain(|mark| wanted(*mark));
        marks.sort_unstable();
        marks.dedup();
        marks
    };
    let (stacks, versions) =
        (marks(Mark::is_stack), marks(|mark| matches!(mark, Mark::VersionInHeader | Mark::VersionInBody)));
    facts.stack_leaks = reading.known(stacks, &answers, "stack_leaks");
    facts.version_leaks = reading.known(versions, &answers, "version_leaks");
    facts.redirects_to_plaintext = match answers.is_empty() {
        true => reading.because("redirects_to_plaintext", "the edge gave no answer"),
        false => Some(secure(observation, questions).any(|answer| {
            let plain = |place: &String| place.to_ascii_lowercase().starts_with("http:");
            (300..400).contains(&answer.status) && answer.headers.get("location").is_some_and(plain)
        })),
    };
    facts.forwarded_proto_believed = match questions.answers.get("plaintext.x-forwarded-proto") {
        Some(Look::Seen(answer)) if answer.status < 500 && answer.status != 429 => {
            Some(!(300..400).contains(&answer.status))
        }
        Some(Look::Seen(answer)) => {
            reading.because("forwarded_proto_believed", format_args!("the edge failed with status {}", answer.status))
        }
        Some(Look::Failed(failure)) => reading.because("forwarded_proto_believed", failure),
        None => None,
    };
    let client = questions.certificate.then(|| ClientFacts {
        without_certificate_accepted: reading.client("without_certificate_accepted", "certificate.none"),
        wrong_certificate_accepted: reading.client("wrong_certificate_accepted", "certificate.wrong"),
    });
    (Some(facts), client)
}

/// Every answer that came over TLS, or over plaintext where the edge has nothing else.
fn secure<'a>(observation: &'a Observation, questions: &'a Questions) -> impl Iterator<Item = &'a Answer> {
    let first = observation.requests.iter().filter(|request| !request.plaintext);
    let rest = questions.answers.iter().filter(|(name, _)| !name.starts_with("plaintext."));
    first.filter_map(|request| request.answer.seen()).chain(rest.filter_map(|(_, look)| look.seen()))
}

fn all<'a>(observation: &'a Observation, questions: &'a Questions) -> impl Iterator<Item = &'a Answer> {
    let first = observation.requests.iter().filter_map(|request| request.answer.seen());
    first.chain(questions.answers.values().filter_map(Look::seen))
}

/// Whether what was sent was taken.
///
/// # Errors
/// Why the answer says nothing.
pub(super) fn took(look: &Look<Answer>, asked: bool) -> Result<bool, String> {
    match look {
        Look::Seen(answer) if answer.takes() => Ok(true),
        Look::Seen(Answer { status: 429, .. }) => Err("the edge answered 429: it asked to slow down".into()),
        Look::Seen(Answer { status: 501 | 505, .. }) => Ok(false),
        Look::Seen(Answer { status, .. }) if *status >= 500 => Err(format!("the edge failed with status {status}")),
        Look::Seen(_) => Ok(false),
        Look::Failed(Failure { kind: FailureKind::TlsAlert, detail }) if wants_certificate(detail, asked) => Ok(false),
        Look::Failed(failure) => Err(failure.to_string()),
    }
}

struct Reading<'a> {
    questions: &'a Questions,
    /// The edge asked for a client certificate.
    asked: bool,
    unknown: &'a mut Unknown,
}

impl<'a> Reading<'a> {
    fn because<T>(&mut self, fact: &str, reason: impl std::fmt::Display) -> Option<T> {
        self.unknown.because(format!("/http/{fact}"), reason);
        None
    }

    fn seen(&self, name: &str) -> Option<&'a Answer> {
        self.questions.answers.get(name).and_then(Look::seen)
    }

    /// Whether the answer to the question called `name` is yes.
    fn one(&mut self, place: &str, name: &str) -> Option<bool> {
        let taken = match self.questions.answers.get(name) {
            Some(look) => took(look, self.asked),
            None => Err("it was not asked".into()),
        };
        taken.map_err(|reason| self.unknown.because(place, reason)).ok()
    }

    fn client(&mut self, fact: &str, name: &str) -> Option<bool> {
        self.one(&format!("/client/{fact}"), name)
    }

    /// The names, without `prefix`, of questions that were answered with yes; known to be none only if all answers are
    /// known. Where `control` was taken, too, nothing is known.
    fn accepted(&mut self, fact: &str, prefix: &str, control: Option<&str>) -> Option<Vec<String>> {
        let names: Vec<&'a String> = self.questions.answers.keys().filter(|name| name.starts_with(prefix)).collect();
        self.among(fact, prefix, &names, control)
    }

    fn among(&mut self, fact: &str, prefix: &str, names: &[&'a String], control: Option<&str>) -> Option<Vec<String>> {
        let mut accepted = Vec::new();
        let mut hidden = None;
        for name in names {
            match took(&self.questions.answers[*name], self.asked) {
                Ok(true) => accepted.push(name.trim_start_matches(prefix).to_owned()),
                Ok(false) => {}
                Err(reason) => hidden = Some(format!("{name}: {reason}")),
            }
        }
        if let Some(control) = control.filter(|_| !accepted.is_empty()) {
            match self.questions.answers.get(control).map(|look| took(look, self.asked)) {
                Some(Ok(false)) => {}
                Some(Ok(true)) => {
                    return self.because(fact, "the edge answers 2xx at a path that nobody has given it, too");
                }
                Some(Err(reason)) => return self.because(fact, format_args!("{control}: {reason}")),
                None => return self.because(fact, format_args!("{control}: it was not asked")),
            }
        }
        match (accepted.is_empty(), hidden) {
            (true, Some(reason)) => self.because(fact, reason),
            (true, None) if names.is_empty() => self.because(fact, "it was not asked"),
            _ => Some(accepted),
        }
    }

    /// GET and HEAD are held against GET at a path that nobody has, the others against POST there.
    fn methods(&mut self) -> Option<Vec<String>> {
        let names = |wanted: fn(&str) -> bool| -> Vec<&'a String> {
            let asked = self.questions.answers.keys().filter(|name| name.starts_with("method."));
            asked.filter(|name| wanted(&name["method.".len()..])).collect()
        };
        let (reading, writing) =
            (names(|name| matches!(name, "get" | "head")), names(|name| matches!(name, "put" | "patch")));
        let read = self.among("methods_accepted", "method.", &reading, Some("control.get"));
        let written = self.among("methods_accepted", "method.", &writing, Some("control.path"));
        match (read, written) {
            (Some(read), Some(written)) => Some([read, written].concat()),
            (Some(some), None) | (None, Some(some)) if !some.is_empty() => Some(some),
            _ => None,
        }
    }

    /// Some of them go to a path that nobody has given the edge: what is taken there without them says nothing.
    fn headers(&mut self) -> Option<Vec<String>> {
        let names: Vec<&'a String> = self.questions.answers.keys().filter(|name| name.starts_with("header.")).collect();
        self.among("headers_accepted", "header.", &names, Some("control.path"))
    }

    fn replay(&mut self, right: Option<&Request>) -> Option<Replay> {
        let first = right.and_then(|request| request.answer.seen()).filter(|answer| answer.takes());
        let Some(first) = first else {
            return self.because("replay", "no event was taken, so that none could come again");
        };
        match self.questions.answers.get("replay") {
            Some(Look::Seen(Answer { status: 429, .. })) => self.because("replay", "the edge asked to slow down"),
            Some(Look::Seen(answer)) if answer.status >= 500 => {
                self.because("replay", format_args!("the edge failed with status {}", answer.status))
            }
            Some(Look::Seen(answer)) if answer.status != first.status || answer.marks.contains(&Mark::Duplicate) => {
                Some(Replay::Told)
            }
            Some(Look::Seen(_)) => Some(Replay::NotTold),
            Some(Look::Failed(failure)) => self.because("replay", failure),
            None => self.because("replay", "it was not asked"),
        }
    }

    fn rate_limit(&mut self, answers: &[&Answer]) -> Option<RateLimit> {
        let tells = |answer: &&&Answer| RATE_HEADERS.iter().any(|name| answer.headers.contains_key(*name));
        if answers.iter().any(|answer| answer.status == 429) {
            return Some(RateLimit::Enforced);
        }
        match answers.iter().find(tells) {
            Some(_) => Some(RateLimit::Announced),
            None => self.known((), answers, "rate_limit").map(|()| RateLimit::None),
        }
    }

    /// `found`, if there was an answer to find it in.
    fn known<T>(&mut self, found: T, answers: &[&Answer], fact: &str) -> Option<T> {
        match answers.is_empty() {
            true => self.because(fact, "the edge gave no answer"),
            false => Some(found),
        }
    }
}

#[cfg(test)]
#[path = "questions_tests.rs"]
mod tests;
