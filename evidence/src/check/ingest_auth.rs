//! `ingest_auth`: what the cloud ingest edge answers without credentials, with wrong ones, with right ones, and in
//! plaintext.
//!
//! Requests carry a canary event that is marked as such; answers are kept as status and a few named headers, never with
//! the credentials that were sent.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown};
use crate::look::{Failure, FailureKind, Look};

/// The contract of this check.
pub struct Check;

/// What was seen of an ingest edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The URL of the ingest edge, without user information or query.
    pub url: String,
    /// The same edge without TLS; null when it was not tried.
    pub plaintext_url: Option<String>,
    /// One per request that was made.
    pub requests: Vec<Request>,
}

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Which credentials were sent.
    pub credentials: Credentials,
    /// Whether it went to the plaintext URL.
    pub plaintext: bool,
    /// The answer.
    pub answer: Look<Answer>,
}

/// Which credentials a request carried. The credentials themselves are never recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Credentials {
    /// None.
    None,
    /// Random ones, made for this request.
    Wrong,
    /// The configured ones.
    Right,
}

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Status code (RFC 9110, section 15).
    pub status: u16,
    /// The headers that matter here, if present: `www-authenticate`, `location`, `server`, `strict-transport-security`,
    /// `retry-after`.
    pub headers: BTreeMap<String, String>,
    /// Time to the end of the answer's head, in microseconds.
    pub micros: u64,
}

/// Facts about an ingest edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The URL says `https`.
    pub url_is_https: bool,
    /// A request without credentials was accepted (2xx).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthenticated_accepted: Option<bool>,
    /// A request with random credentials was accepted (2xx).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_credentials_accepted: Option<bool>,
    /// Whether the agent has credentials for the edge.
    pub credentials_configured: bool,
    /// A request with the configured credentials was accepted (2xx).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_credentials_accepted: Option<bool>,
    /// Whether the plaintext URL was tried.
    pub plaintext_tried: bool,
    /// What the edge does with plaintext.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plaintext: Option<Plaintext>,
    /// Status of the request without credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unauthenticated_status: Option<u16>,
    /// Status of the request with the configured credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_credentials_status: Option<u16>,
    /// Microseconds to the answer to the first request that got one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_micros: Option<u64>,
}

/// What an edge does with a plaintext request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Plaintext {
    /// Nobody listens.
    Closed,
    /// It answers, and refuses (4xx, 5xx).
    Refuses,
    /// It points elsewhere (3xx).
    Redirects,
    /// It takes the event (2xx).
    Accepts,
}

impl Contract for Check {
    const CHECK: &'static str = "ingest_auth";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &["/answer_micros"];

    fn normalise(observation: &Observation, _: &Seen, unknown: &mut Unknown) -> Facts {
        let find = |credentials, plaintext| {
            observation
                .requests
                .iter()
                .find(|request| request.credentials == credentials && request.plaintext == plaintext)
        };
        let answers = observation.requests.iter().filter_map(|request| request.answer.seen());
        let none = find(Credentials::None, false);
        let right = find(Credentials::Right, false);
        let takes = |answer: &Answer| (200..300).contains(&answer.status);
        let works = right.and_then(|request| request.answer.seen()).is_some_and(takes);
        let status =
            |request: Option<&Request>| request.and_then(|request| request.answer.seen()).map(|answer| answer.status);
        Facts {
            url_is_https: observation.url.starts_with("https://"),
            unauthenticated_accepted: taken(none, works, "/unauthenticated_accepted", unknown),
            wrong_credentials_accepted: taken(
                find(Credentials::Wrong, false),
                works,
                "/wrong_credentials_accepted",
                unknown,
            ),
            credentials_configured: right.is_some(),
            right_credentials_accepted: accepted(right, "/right_credentials_accepted", unknown),
            plaintext_tried: observation.requests.iter().any(|request| request.plaintext),
            plaintext: plaintext(observation, unknown),
            unauthenticated_status: status(none),
            right_credentials_status: status(right),
            answer_micros: answers.map(|answer| answer.micros).next(),
        }
    }
}

/// Whether a request without good credentials was taken. 2xx is yes; that the credentials were looked at and refused is said
/// by 401, 403, 407 and a redirect. Any other refusal may be about the path, the method, the event or the rate, so it
/// counts only where the same request with good credentials was taken (`works`).
fn taken(request: Option<&Request>, works: bool, place: &str, unknown: &mut Unknown) -> Option<bool> {
    match &request?.answer {
        Look::Seen(Answer { status, .. })
            if (400..500).contains(status) && !works && !matches!(status, 401 | 403 | 407) =>
        {
            unknown.because(place, format!("the edge answered {status}, which says nothing about credentials"));
            None
        }
        _ => accepted(request, place, unknown),
    }
}

fn accepted(request: Option<&Request>, place: &str, unknown: &mut Unknown) -> Option<bool> {
    match &request?.answer {
        Look::Seen(answer) if answer.status >= 500 => {
            unknown.because(place, format!("the edge failed with status {}", answer.status));
            None
        }
        Look::Seen(answer) => Some((200..300).contains(&answer.status)),
        Look::Failed(failure) => {
            unknown.because(place, failure);
            None
        }
    }
}

/// The worst thing that the edge did with any plaintext request.
fn plaintext(observation: &Observation, unknown: &mut Unknown) -> Option<Plaintext> {
    let tried = observation.requests.iter().filter(|request| request.plaintext);
    let rank = |plaintext: &Plaintext| *plaintext as u8;
    let mut worst = None;
    for request in tried {
        let this = match &request.answer {
            Look::Seen(answer) => match answer.status {
                200..300 => Plaintext::Accepts,
                300..400 => Plaintext::Redirects,
                _ => Plaintext::Refuses,
            },
            Look::Failed(Failure { kind: FailureKind::Refused, .. }) => Plaintext::Closed,
            // A TLS port that drops or answers plaintext with an alert is not serving HTTP.
            Look::Failed(Failure { kind: FailureKind::Closed | FailureKind::Protocol, .. }) => Plaintext::Refuses,
            Look::Failed(failure) => {
                unknown.because("/plaintext", failure);
                continue;
            }
        };
        worst = worst.into_iter().chain([this]).max_by_key(rank);
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Look<Answer> {
        Look::Seen(Answer { status, headers: BTreeMap::new(), micros: 10 })
    }

    fn failed(kind: FailureKind) -> Look<Answer> {
        Look::Failed(Failure::new(kind, "as told"))
    }

    fn facts(requests: Vec<Request>) -> (Facts, Unknown) {
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        let observation = Observation { url: "https://edge/ingest".into(), plaintext_url: None, requests };
        (Check::normalise(&observation, &seen, &mut unknown), unknown)
    }

    fn request(credentials: Credentials, plaintext: bool, answer: Look<Answer>) -> Request {
        Request { credentials, plaintext, answer }
    }

    #[test]
    fn only_2xx_is_acceptance_and_5xx_says_nothing() {
        for (look, expected) in [
            (answer(202), Some(true)),
            (answer(401), Some(false)),
            (answer(302), Some(false)),
            (answer(503), None),
            (failed(FailureKind::TimedOut), None),
        ] {
            let (facts, unknown) = facts(vec![request(Credentials::None, false, look)]);
            assert_eq!(facts.unauthenticated_accepted, expected);
            assert_eq!(unknown.reason("/unauthenticated_accepted").is_some(), expected.is_none());
        }
    }

    #[test]
    fn a_refusal_for_another_reason_says_nothing_about_credentials() {
        for status in [400, 404, 405, 415, 422, 429] {
            let refused = |credentials| request(credentials, false, answer(status));
            let (alone, unknown) = facts(vec![refused(Credentials::None), refused(Credentials::Wrong)]);
            assert_eq!((alone.unauthenticated_accepted, alone.wrong_credentials_accepted), (None, None));
            assert!(unknown.reason("/unauthenticated_accepted").unwrap().contains("says nothing about credentials"));
            let right = request(Credentials::Right, false, answer(202));
            let (hidden, _) = facts(vec![refused(Credentials::None), refused(Credentials::Wrong), right]);
            assert_eq!(
                (hidden.unauthenticated_accepted, hidden.wrong_credentials_accepted),
                (Some(false), Some(false))
            );
        }
    }

    #[test]
    fn plaintext_is_what_the_worst_answer_says() {
        for (looks, expected) in [
            (vec![failed(FailureKind::Refused)], Some(Plaintext::Closed)),
            (vec![answer(301)], Some(Plaintext::Redirects)),
            (vec![answer(401), answer(202)], Some(Plaintext::Accepts)),
            (vec![failed(FailureKind::TimedOut)], None),
            (vec![], None),
        ] {
            let tried = !looks.is_empty();
            let requests = looks.into_iter().map(|look| request(Credentials::None, true, look)).collect();
            let (facts, _) = facts(requests);
            assert_eq!((facts.plaintext, facts.plaintext_tried), (expected, tried));
        }
    }
}
