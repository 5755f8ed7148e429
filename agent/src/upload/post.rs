//! One connection to the sink: what is posted over it and what comes back, as data. Decides nothing.

use std::time::Duration;

use gatepost_evidence::bound::{NAME_BYTES, RequestName};
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::look::FailureKind;
use gatepost_evidence::note::MAX_NOTE_BYTES;
use gatepost_evidence::wire::{ANSWER_HEADER, LOG_CHECKPOINT_PATH, LOG_REWOUND, Problem, REQUEST_HEADER};
use jiff::fmt::rfc2822::DateTimeParser;
use serde::de::DeserializeOwned;

use super::UploadError;
use crate::config::Sink;
use crate::http::pin::{self, Pin};
use crate::http::{self, SinkClient};

/// The most time one upload may take.
const LIMIT: Duration = Duration::from_secs(60);
/// The most bytes that are read of an answer.
const MAX_ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// What to do about a certificate that is not trusted.
const ADVICE: &str = "; nothing was sent. `sink.ca_file` must hold the anchor of the sink's certificate, and `sink.url` must \
                      have a name that is in it";

/// A connection, opened when it is first used and kept open between batches.
pub(super) struct Connection<'a> {
    sink: &'a Sink,
    client: SinkClient,
}

/// Why there is no answer to go by.
#[derive(Debug)]
pub(super) enum Unanswered {
    /// It did not come in time.
    TimedOut(String),
    /// None came, or one that no sink gives.
    NoAnswer(String),
    /// One came that is not the sink's to this request.
    Unbound(String),
    /// It was refused.
    Refused(Refusal),
}

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    /// What the sink said; none when it was not the sink that answered, or not this request.
    pub(super) problem: Option<Problem>,
    pub(super) after: Option<Duration>,
}

impl Unanswered {
    pub(super) fn error(&self, sink: &Sink) -> UploadError {
        match self {
            Self::TimedOut(detail) | Self::NoAnswer(detail) => UploadError::Later(detail.clone()),
            Self::Unbound(detail) => UploadError::NotBelieved(detail.clone()),
            Self::Refused(refusal) => match refusal.status {
                408 | 425 | 429 | 500.. => UploadError::Later(format!("{}: {refusal}", sink.url)),
                _ => UploadError::Refused(refusal.to_string()),
            },
        }
    }
}

impl Refusal {
    /// The sink's own word for why, if it was the sink.
    pub(super) fn reason(&self) -> Option<&str> {
        self.problem.as_ref().map(|problem| problem.reason.as_str())
    }

    /// Whether the sink says that its log is smaller than it was.
    pub(super) fn says_rewound(&self) -> bool {
        self.status == 409 && self.reason() == Some(LOG_REWOUND)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let said = match &self.problem {
            Some(problem) => format!("{} ({}, status {})", problem.detail, problem.reason, self.status),
            None => format!("nothing was said about it (status {})", self.status),
        };
        f.write_str(&words(&said))
    }
}

impl<'a> Connection<'a> {
    pub(super) fn new(sink: &'a Sink) -> Result<Self, UploadError> {
        Ok(Self { sink, client: SinkClient::new(sink, LIMIT)? })
    }

    /// The pin of the sink's key, once it was talked to over TLS.
    pub(super) fn seen(&self) -> Option<Pin> {
        self.client.seen()
    }

    /// Posts something. With the sink's key only an answer is taken for the sink's that it signed for this very request; before
    /// that key is known, whoever TLS says is the sink.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        key: Option<&PublicKey>,
    ) -> Result<T, Unanswered> {
        let url = &self.sink.url;
        let mut request = self.client.agent().post(format!("{url}{path}"));
        let name = key.map(|_| name()).transpose()?;
        if let Some(name) = name {
            request = request.header(REQUEST_HEADER, name.to_string());
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut response = request.send(body).map_err(|error| {
            let detail = format!("{url}: {}", unreachable(self.sink, &error));
            match http::failure(&error).kind {
                FailureKind::TimedOut => Unanswered::TimedOut(detail),
                _ => Unanswered::NoAnswer(detail),
            }
        })?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let after = header("retry-after").and_then(|value| retry_after(value, header("date")));
        let signature = header(ANSWER_HEADER).unwrap_or_default().to_owned();
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        let text = body.map_err(|error| {
            let detail = format!("{url}: the answer broke off: {error}");
            match http::failure(&error).kind {
                FailureKind::TimedOut => Unanswered::TimedOut(detail),
                _ => Unanswered::NoAnswer(detail),
            }
        })?;
        let bound = name.zip(key).is_none_or(|(name, key)| name.is_answered(status, text.as_bytes(), &signature, key));
        if status == 200 && !bound {
            let detail = "this is not the answer to this upload of the sink that this gateway enrolled with: an older one, or \
                          somebody else's. Nothing of it is used; enrol again if the sink was set up anew";
            return Err(Unanswered::Unbound(format!("{url}: {detail}")));
        }
        if status == 200 {
            let answer = serde_json::from_str(&text);
            return answer.map_err(|error| Unanswered::NoAnswer(format!("{url}: not a sink's answer: {error}")));
        }
        // A refusal that is not the sink's, or not of this upload, is a status and nothing more.
        let problem = if bound { serde_json::from_str(&text).ok() } else { None };
        Err(Unanswered::Refused(Refusal { status, problem, after }))
    }

    /// What is shown as the sink's newest checkpoint, by whoever answers; none if nobody does.
    pub(super) fn newest_checkpoint(&self) -> Option<String> {
        let url = format!("{}{LOG_CHECKPOINT_PATH}", self.sink.url);
        let mut response = self.client.agent().get(&url).call().ok()?;
        let text = response.body_mut().with_config().limit(MAX_NOTE_BYTES as u64).read_to_string().ok()?;
        (response.status().as_u16() == 200).then_some(text)
    }
}

/// A name for a request. A wait is no worse without randomness; this is.
fn name() -> Result<RequestName, Unanswered> {
    let mut random = [0; NAME_BYTES];
    let filled = getrandom::fill(&mut random);
    filled.map_err(|error| Unanswered::NoAnswer(format!("nothing was sent: there are no random numbers: {error}")))?;
    Ok(RequestName::new(random))
}

/// How long the sink asked to wait: in seconds, or until a date, which is counted from the date of the answer and so does
/// not depend on the gateway's clock (RFC 9110, section 10.2.3).
fn retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let parse = |text: &str| DateTimeParser::new().parse_timestamp(text.trim()).ok();
    let wait = parse(value)?.duration_since(parse(date?)?);
    Some(Duration::try_from(wait).unwrap_or_default())
}

/// What the sink said, short and without control characters: it is printed on terminals and written to logs.
pub(super) fn words(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}

/// Why the sink was not talked to, and what to do about it.
fn unreachable(sink: &Sink, error: &ureq::Error) -> String {
    let failure = http::failure(error);
    match (http::tls_error(error), error) {
        (Some(tls), _) if let Some(not_pinned) = pin::not_pinned(tls) => format!("{not_pinned}; nothing was sent"),
        (Some(rustls::Error::InvalidCertificate(_)), _) => format!("{failure}{ADVICE}"),
        (_, ureq::Error::ConnectProxyFailed(_)) => {
            format!(
                "{failure}; `sink.proxy` must let this gateway through to the sink, with `sink.proxy_credentials_file` if it asks who it is"
            )
        }
        _ if sink.proxy.is_some() => format!("{failure}, through `sink.proxy`"),
        _ => failure.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_asked_for_in_seconds_or_until_a_date_by_the_sinks_own_clock() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        let seconds = |value: &str, date| retry_after(value, date).map(|wait| wait.as_secs());
        assert_eq!(seconds(" 120 ", None), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:51:37 GMT", date), Some(120));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:00:00 GMT", date), Some(0), "it is over already");
        assert_eq!(seconds("Sun, 06 Nov 1994 08:51:37 GMT", None), None);
        for nonsense in ["", "-1", "soon", "1.5"] {
            assert_eq!(seconds(nonsense, date), None, "{nonsense}");
        }
    }
}
