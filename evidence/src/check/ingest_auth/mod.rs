//! `ingest_auth`: what the cloud ingest edge answers without credentials, with wrong ones, with right ones, and in
//! plaintext, by HTTP or by MQTT.
//!
//! Requests carry a canary event that is marked as such; answers are kept as status, a few named headers and the marks that
//! were found in their bodies, never with the bodies and never with the credentials that were sent. Beside the first
//! requests there is a long list of questions ([`questions`]), a look at the edge's TLS ([`transport`]), and, for an edge
//! that takes events by MQTT, what its broker answers ([`mqtt`]).
//!
//! Evidence from before there were questions, transport and MQTT is read as it was: their facts are absent without a
//! reason, so that rules about them do not apply.

pub mod mqtt;
pub mod questions;
pub mod transport;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown};
use crate::look::{Failure, FailureKind, Look};
use mqtt::{MqttFacts, MqttRequest};
use questions::{ClientFacts, HttpFacts, Mark, Questions};
use transport::{TransportFacts, TransportLook};

/// The contract of this check.
pub struct Check;

/// What was seen of an ingest edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The URL of the ingest edge, without user information or query; `mqtts://host:port` for one that speaks MQTT.
    pub url: String,
    /// The same edge without TLS; null when it was not tried.
    pub plaintext_url: Option<String>,
    /// One per request that was made first; empty for an edge that speaks MQTT.
    pub requests: Vec<Request>,
    /// What it answered to everything else; absent where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub questions: Option<Look<Questions>>,
    /// Its TLS and its certificate; absent for an edge without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportLook>,
    /// One per MQTT CONNECT that was made; empty for an edge that speaks HTTP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mqtt: Vec<MqttRequest>,
}

impl Observation {
    /// The edge asked for a client certificate.
    pub(super) fn certificate_asked(&self) -> bool {
        self.transport.as_ref().and_then(|look| look.client_certificate_requested) == Some(true)
    }
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
    /// `retry-after`; and, since there are questions, those about rates, caches and what runs there.
    pub headers: BTreeMap<String, String>,
    /// Time to the end of the answer's head, in microseconds.
    pub micros: u64,
    /// What was recognised in the head and the first 16 KiB of the body. The body itself is not kept.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub marks: BTreeSet<Mark>,
    /// Why the body was not read to its end, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Failure>,
}

impl Answer {
    /// The edge took what was sent.
    #[must_use]
    pub fn takes(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Facts about an ingest edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The URL says `https`, or `mqtts`.
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
    /// What the questions brought out; absent without a reason where they were not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpFacts>,
    /// What is known of client certificates; absent without a reason where the agent has none for this edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientFacts>,
    /// What is known of the edge's TLS and certificate; absent without a reason where there was no look at them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportFacts>,
    /// What only an edge has that speaks MQTT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<MqttFacts>,
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
    const VOLATILE: &'static [&'static str] = &[
        "/answer_micros",
        "/transport/certificate/days_to_expiry",
        "/transport/chain/issuer_days_to_expiry",
        "/transport/revocation/next_update",
        "/transport/staple/next_update",
        // Which of several machines behind one name answers is chance.
        "/transport/resumption/tickets",
        "/transport/resumption/resumed",
    ];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        let mut facts =
            if observation.mqtt.is_empty() { asked(observation, unknown) } else { mqtt::facts(observation, unknown) };
        facts.transport = observation.transport.as_ref().map(|look| transport::facts(look, seen, unknown));
        facts
    }
}

/// The facts of an edge that speaks HTTP.
fn asked(observation: &Observation, unknown: &mut Unknown) -> Facts {
    let find = |credentials, plaintext| {
        observation.requests.iter().find(|request| request.credentials == credentials && request.plaintext == plaintext)
    };
    let answers = observation.requests.iter().filter_map(|request| request.answer.seen());
    let none = find(Credentials::None, false);
    let right = find(Credentials::Right, false);
    let works = right.and_then(|request| request.answer.seen()).is_some_and(Answer::takes);
    let asked = observation.certificate_asked();
    let (http, client) = match &observation.questions {
        Some(questions) => questions::facts(observation, questions, unknown),
        None => (None, None),
    };
    let status =
        |request: Option<&Request>| request.and_then(|request| request.answer.seen()).map(|answer| answer.status);
    Facts {
        url_is_https: observation.url.starts_with("https://"),
        unauthenticated_accepted: taken(none, works, asked, "/unauthenticated_accepted", unknown),
        wrong_credentials_accepted: taken(
            find(Credentials::Wrong, false),
            works,
            asked,
            "/wrong_credentials_accepted",
            unknown,
        ),
        credentials_configured: right.is_some(),
        right_credentials_accepted: accepted(right, asked, "/right_credentials_accepted", unknown),
        plaintext_tried: observation.requests.iter().any(|request| request.plaintext),
        plaintext: plaintext(observation, unknown),
        unauthenticated_status: status(none),
        right_credentials_status: status(right),
        answer_micros: answers.map(|answer| answer.micros).next(),
        http,
        client,
        transport: None,
        mqtt: None,
    }
}

/// Whether a request without good credentials was taken. 2xx is yes; that the credentials were looked at and refused is said
/// by 401, 403, 407 and a redirect. Any other refusal may be about the path, the method or the event, so it counts only where
/// the same request with good credentials was taken (`works`).
fn taken(request: Option<&Request>, works: bool, asked: bool, place: &str, unknown: &mut Unknown) -> Option<bool> {
    match &request?.answer {
        Look::Seen(Answer { status, .. })
            if (400..500).contains(status) && !works && !matches!(status, 401 | 403 | 407) =>
        {
            unknown.because(place, format!("the edge answered {status}, which says nothing about credentials"));
            None
        }
        _ => accepted(request, asked, place, unknown),
    }
}

fn accepted(request: Option<&Request>, asked: bool, place: &str, unknown: &mut Unknown) -> Option<bool> {
    match &request?.answer {
        Look::Seen(Answer { status: 429, .. }) => {
            unknown
                .because(place, "the edge answered 429: it asked to slow down, which says nothing about credentials");
            None
        }
        Look::Seen(answer) if answer.status >= 500 => {
            unknown.because(place, format!("the edge failed with status {}", answer.status));
            None
        }
        Look::Seen(answer) => Some(answer.takes()),
        // A server that wants a client certificate ends the connection, without one, after the handshake (RFC 8446, 4.4.2.4).
        Look::Failed(Failure { kind: FailureKind::TlsAlert, detail }) if wants_certificate(detail, asked) => {
            Some(false)
        }
        Look::Failed(failure) => {
            unknown.because(place, failure);
            None
        }
    }
}

/// The alerts of a server that was shown no client certificate, or one that it does not take (RFC 8446, section 6.2). TLS 1.2
/// has but `handshake_failure` for the first, which may be about anything unless a certificate was `asked` for.
pub(super) fn wants_certificate(alert: &str, asked: bool) -> bool {
    const ALERTS: [&str; 8] = [
        "certificate_required",
        "bad_certificate",
        "unsupported_certificate",
        "certificate_revoked",
        "certificate_expired",
        "certificate_unknown",
        "unknown_ca",
        "access_denied",
    ];
    ALERTS.iter().any(|name| alert.starts_with(name)) || (asked && alert.starts_with("handshake_failure"))
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
        Look::Seen(Answer { status, headers: BTreeMap::new(), micros: 10, marks: BTreeSet::new(), body: None })
    }

    fn failed(kind: FailureKind) -> Look<Answer> {
        Look::Failed(Failure::new(kind, "as told"))
    }

    fn facts(requests: Vec<Request>) -> (Facts, Unknown) {
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        let observation =
            Observation { url: "https://edge/ingest".into(), plaintext_url: None, requests, ..Observation::default() };
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
        for status in [400, 404, 405, 415, 422] {
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
    fn being_asked_to_slow_down_is_no_word_about_credentials() {
        let slow = |credentials| request(credentials, false, answer(429));
        let requests = vec![slow(Credentials::None), slow(Credentials::Wrong), slow(Credentials::Right)];
        let (facts, unknown) = facts(requests);
        assert_eq!((facts.unauthenticated_accepted, facts.right_credentials_accepted), (None, None));
        assert!(unknown.reason("/right_credentials_accepted").unwrap().contains("slow down"));
    }

    #[test]
    fn a_client_certificate_that_was_missed_is_a_refusal() {
        let alert = |words: &str| Look::Failed(Failure::new(FailureKind::TlsAlert, words));
        for (look, expected) in
            [(alert("certificate_required (116)"), Some(false)), (alert("internal_error (80)"), None)]
        {
            let (facts, _) = facts(vec![request(Credentials::None, false, look)]);
            assert_eq!(facts.unauthenticated_accepted, expected);
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
