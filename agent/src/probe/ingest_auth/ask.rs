//! Which questions are asked beyond the first requests: each differs from an honest request in one thing.
//!
//! Pure: what to send, not sending it. The names are those of the contract
//! ([`gatepost_evidence::check::ingest_auth::questions`]) and of `docs/ingest-probe.md`.

use super::client::{Certificate, Message};
use crate::secret::Secret;

/// A question: its name and what is sent.
pub(super) type Question = (String, Message);

/// Spoofed headers: their name, whether they go to a path that nobody has given the edge, and they themselves.
type Spoof = (&'static str, bool, Vec<(&'static str, String)>);

/// What questions are made from.
pub(super) struct Honest<'a> {
    /// The path of the edge.
    pub(super) path: &'a str,
    /// Its query with the question mark, or nothing.
    pub(super) query: &'a str,
    /// A path that nobody has given the edge, beginning with a slash.
    pub(super) nowhere: &'a str,
    /// The configured token.
    pub(super) token: Option<&'a Secret>,
    /// An expired token that the operator supplied.
    pub(super) expired: Option<&'a Secret>,
    /// There is a client certificate.
    pub(super) certificate: bool,
}

impl Honest<'_> {
    /// A request with a canary event and nothing that the edge could know us by.
    pub(super) fn post(&self, event: String) -> Message {
        Message {
            method: "POST",
            target: format!("{}{}", self.path, self.query),
            fields: Vec::new(),
            authorization: None,
            real: false,
            certificate: Certificate::None,
            body: Some(event),
        }
    }

    /// The same with everything that is configured; none where nothing is.
    pub(super) fn right(&self, event: String) -> Option<Message> {
        (self.token.is_some() || self.certificate).then(|| Message {
            authorization: self.token.map(bearer),
            real: true,
            certificate: if self.certificate { Certificate::Ours } else { Certificate::None },
            ..self.post(event)
        })
    }

    /// Questions about credentials, paths, methods and headers. `event` makes a canary event, each with an id of its own.
    pub(super) fn questions<E>(&self, mut event: impl FnMut() -> Result<String, E>) -> Result<Vec<Question>, E> {
        let mut questions = vec![("control.path".to_owned(), self.at(self.nowhere, event()?))];
        questions.push(("control.get".to_owned(), self.without_body("GET", self.nowhere)));
        for (name, value) in [
            ("malformed.no_token", "Bearer"),
            ("malformed.empty_basic", "Basic Og=="),
            ("malformed.not_base64", "Basic ****"),
            ("malformed.null", "Bearer null"),
        ] {
            let message = Message { authorization: Some(Secret::new(value)), ..self.post(event()?) };
            questions.push((name.to_owned(), self.beside_a_token(message)));
        }
        if let Some(expired) = self.expired {
            // It has been a real one, and somebody may have revived it.
            let message = Message { authorization: Some(bearer(expired)), real: true, ..self.post(event()?) };
            questions.push(("expired".to_owned(), self.with_certificate(message)));
        }
        for (name, token) in self.token.into_iter().flat_map(altered) {
            let message = Message { authorization: Some(bearer(&token)), real: true, ..self.post(event()?) };
            questions.push((name.to_owned(), self.with_certificate(message)));
        }
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "PATCH"] {
            let name = format!("method.{}", method.to_ascii_lowercase());
            let target = format!("{}{}", self.path, self.query);
            let mut message = self.without_body(method, &target);
            if matches!(method, "PUT" | "PATCH") {
                message.body = Some(event()?);
            }
            questions.push((name, message));
        }
        for (name, path) in paths(self.path) {
            let target = format!("{path}{}", self.query);
            questions.push((format!("path.{name}"), Message { target, ..self.post(event()?) }));
        }
        for (name, elsewhere, fields) in self.fields() {
            let message = if elsewhere { self.at(self.nowhere, event()?) } else { self.post(event()?) };
            questions.push((format!("header.{name}"), Message { fields, ..message }));
        }
        if self.certificate {
            let right = |certificate, event| Message {
                authorization: self.token.map(bearer),
                real: self.token.is_some(),
                certificate,
                ..self.post(event)
            };
            questions.push(("certificate.none".to_owned(), right(Certificate::None, event()?)));
            questions.push(("certificate.wrong".to_owned(), right(Certificate::MadeUp, event()?)));
        }
        Ok(questions)
    }

    /// An event that is none, with the right credentials if there are any: what does the edge say of its inside?
    pub(super) fn broken_event(&self) -> Message {
        let broken = "{\"type\":\"gatepost.canary\",\"id\":".to_owned();
        self.right(broken.clone()).unwrap_or_else(|| self.post(broken))
    }

    fn at(&self, path: &str, event: String) -> Message {
        Message { target: path.to_owned(), ..self.post(event) }
    }

    fn without_body(&self, method: &'static str, target: &str) -> Message {
        Message { method, target: target.to_owned(), body: None, ..self.post(String::new()) }
    }

    /// With the client certificate where it goes with a token: an edge that wants both would refuse in TLS and never judge what
    /// stands in the place of the token. Where the certificate is all there is, it would be let in for that.
    pub(super) fn beside_a_token(&self, message: Message) -> Message {
        if self.token.is_some() { self.with_certificate(message) } else { message }
    }

    /// With the client certificate, so that an alteration of the token is the one thing that is wrong.
    fn with_certificate(&self, message: Message) -> Message {
        let certificate = if self.certificate { Certificate::Ours } else { Certificate::None };
        Message { certificate, ..message }
    }

    /// Headers by which proxies tell each other things, and which a stranger may send, too.
    fn fields(&self) -> Vec<Spoof> {
        let one = |name: &'static str, value: &str| vec![(name, value.to_owned())];
        vec![
            ("x-forwarded-for", false, one("x-forwarded-for", "127.0.0.1")),
            ("x-real-ip", false, one("x-real-ip", "127.0.0.1")),
            ("forwarded", false, one("forwarded", "for=127.0.0.1;proto=https;by=127.0.0.1")),
            ("x-original-url", false, one("x-original-url", self.nowhere)),
            ("x-original-url, elsewhere", true, one("x-original-url", self.path)),
            ("x-rewrite-url", false, one("x-rewrite-url", self.nowhere)),
            ("x-rewrite-url, elsewhere", true, one("x-rewrite-url", self.path)),
            ("x-http-method-override", false, one("x-http-method-override", "OPTIONS")),
            (
                "x-forwarded-user",
                false,
                ["x-forwarded-user", "x-remote-user", "remote-user"]
                    .map(|name| (name, "gatepost-canary".to_owned()))
                    .to_vec(),
            ),
            (
                "x-ssl-client-verify",
                false,
                ["x-ssl-client-verify", "ssl-client-verify", "x-client-verify", "x-ssl-verified"]
                    .map(|name| (name, "SUCCESS".to_owned()))
                    .to_vec(),
            ),
            ("host", false, one("host", "localhost")),
        ]
    }
}

/// `Bearer` and the token (RFC 6750, section 2.1).
pub(super) fn bearer(token: &Secret) -> Secret {
    Secret::new(format!("Bearer {}", token.expose()))
}

/// The token, altered; none where an alteration leaves it as it is.
fn altered(token: &Secret) -> Vec<(&'static str, Secret)> {
    let text = token.expose();
    let mut altered = Vec::new();
    let half = text.chars().count() / 2;
    if half > 0 {
        altered.push(("altered.truncated", text.chars().take(half).collect::<String>()));
    }
    altered.push(("altered.extended", format!("{text}0")));
    let exchange = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    let exchanged: String = text.chars().map(exchange).collect();
    if exchanged != text {
        altered.push(("case.exchanged", exchanged));
    }
    altered.into_iter().map(|(name, text)| (name, Secret::new(text))).collect()
}

/// Other ways to write `path`, by name.
fn paths(path: &str) -> Vec<(&'static str, String)> {
    let mut paths = vec![
        (
            "trailing_slash",
            path.strip_suffix('/').filter(|rest| !rest.is_empty()).map_or(format!("{path}/"), Into::into),
        ),
        ("double_slash", format!("/{path}")),
        ("dot_segment", format!("/.{path}")),
        ("parent_segment", format!("/gatepost-canary/..{path}")),
        ("semicolon", format!("{path};gatepost=canary")),
        ("extension", format!("{path}.json")),
    ];
    let last = path.rfind('/').map_or(0, |at| at + 1);
    if last > 1 {
        paths.push(("inner_double_slash", format!("{}/{}", &path[..last], &path[last..])));
    }
    if let Some(first) = path[last..].chars().next().filter(char::is_ascii_alphanumeric) {
        paths.push(("encoded", format!("{}%{:02X}{}", &path[..last], u32::from(first), &path[last + 1..])));
    }
    let exchanged = path.to_ascii_uppercase();
    if exchanged != path {
        paths.push(("case", exchanged));
    }
    let version = |segment: &str| segment.strip_prefix('v').and_then(|number| number.parse::<u32>().ok());
    if let Some(number) = path.split('/').find_map(version) {
        for (name, other) in [("older_version", number.checked_sub(1)), ("newer_version", number.checked_add(1))] {
            if let Some(other) = other {
                let mut done = false;
                let segments = path.split('/').map(|segment| match version(segment) {
                    Some(_) if !done => {
                        done = true;
                        format!("v{other}")
                    }
                    _ => segment.to_owned(),
                });
                paths.push((name, segments.collect::<Vec<_>>().join("/")));
            }
        }
    }
    paths.retain(|(_, other)| other != path);
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(honest: &Honest<'_>) -> Vec<Question> {
        let mut number = 0;
        let event = || {
            number += 1;
            Ok::<_, ()>(format!("{{\"id\":{number}}}"))
        };
        honest.questions(event).unwrap()
    }

    #[test]
    fn names_are_unique_and_only_what_is_real_is_called_so() {
        let (token, expired) = (Secret::new("Secret-Token-1"), Secret::new("Old-Token-1"));
        let honest = Honest {
            path: "/v1/events",
            query: "",
            nowhere: "/nowhere",
            token: Some(&token),
            expired: Some(&expired),
            certificate: true,
        };
        let questions = all(&honest);
        let mut names: Vec<_> = questions.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), questions.len());
        assert!(questions.len() < 50, "{}", questions.len());
        for (name, message) in &questions {
            let text = message.authorization.as_ref().map_or("", |value| value.expose());
            let part = ["Secret-", "Old-Token", "sECRET-"].iter().any(|part| text.contains(part));
            assert_eq!(part, message.real, "{name}");
            let of_the_token = ["malformed.", "expired", "altered.", "case."].iter().any(|kind| name.starts_with(kind));
            assert_eq!(message.certificate == Certificate::Ours, of_the_token, "{name}");
        }
    }

    #[test]
    fn paths_are_other_ways_to_write_the_same() {
        let paths: std::collections::BTreeMap<_, _> = paths("/v1/events").into_iter().collect();
        for (name, expected) in [
            ("trailing_slash", "/v1/events/"),
            ("double_slash", "//v1/events"),
            ("inner_double_slash", "/v1//events"),
            ("older_version", "/v0/events"),
            ("newer_version", "/v2/events"),
            ("case", "/V1/EVENTS"),
            ("encoded", "/v1/%65vents"),
            ("dot_segment", "/./v1/events"),
            ("parent_segment", "/gatepost-canary/../v1/events"),
            ("semicolon", "/v1/events;gatepost=canary"),
            ("extension", "/v1/events.json"),
        ] {
            assert_eq!(paths[name], expected);
        }
    }

    #[test]
    fn odd_paths_make_no_nonsense() {
        for path in ["/", "/x", "/v4294967295/e", "/é/ü", "/v1/events/", "/123"] {
            for (name, other) in paths(path) {
                assert!(other.starts_with('/') && other != path, "{name} of {path}: {other}");
            }
        }
        assert_eq!(altered(&Secret::new("1")).len(), 1);
    }
}
