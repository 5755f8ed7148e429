//! Sends one request to the ingest edge over a connection of its own, and reads the answer.
//!
//! The configured credentials, any part of them, and the query of the URL, in which credentials may stand, go over a
//! connection whose server has shown a certificate for the configured host that leads to the anchors, and over no other.
//! What carries nothing of them goes over a connection that is only looked at. Redirects are not followed. An answer is
//! bounded in bytes and time ([`super::answer`]), and what the edge sends back of a credential is struck out of the record.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use gatepost_evidence::check::ingest_auth::Answer;
use gatepost_evidence::check::ingest_auth::questions::RATE_HEADERS;
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use ureq::http::Uri;

use super::answer::{Head, Progress, Reader};
use super::marks;
use super::session::Session;
use crate::http;
use crate::probe::tls::{self, Identity};
use crate::probe::wire::{self, Budget, micros_since};
use crate::secret::Secret;

/// The headers of an answer that are recorded beside those about rates, and the most characters of each.
const HEADERS: [&str; 14] = [
    "www-authenticate",
    "location",
    "server",
    "strict-transport-security",
    "retry-after",
    "allow",
    "age",
    "cache-control",
    "x-cache",
    "via",
    "x-powered-by",
    "x-aspnet-version",
    "access-control-allow-origin",
    "proxy-authenticate",
];
const MAX_HEADER_CHARS: usize = 200;
/// The most time for a body behind a head that is there.
const BODY: Duration = Duration::from_secs(1);

/// Which client certificate a request is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Certificate {
    /// None.
    None,
    /// The configured one.
    Ours,
    /// One that is made on the spot and that nobody has signed.
    MadeUp,
}

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) target: String,
    /// Further fields.
    pub(super) fields: Vec<(&'static str, String)>,
    /// The value of Authorization.
    pub(super) authorization: Option<Secret>,
    /// The configured credentials, or a part of them, are in it.
    pub(super) real: bool,
    pub(super) certificate: Certificate,
    pub(super) body: Option<String>,
}

impl Message {
    /// HEAD of `target`, without credentials.
    pub(super) fn head(target: String) -> Self {
        Self {
            method: "HEAD",
            target,
            fields: Vec::new(),
            authorization: None,
            real: false,
            certificate: Certificate::None,
            body: None,
        }
    }
}

/// The files of the configuration that a request may need.
pub(super) struct Files {
    /// What the edge must show.
    pub(super) anchors: Result<Vec<Bytes>, Failure>,
    /// The configured client certificate and key.
    pub(super) identity: Option<Result<Identity, Failure>>,
    /// The configured revocation lists.
    pub(super) lists: Option<Look<Vec<Bytes>>>,
}

/// Sends requests to one URL.
pub(super) struct Client<'a> {
    pub(super) url: &'a Uri,
    pub(super) files: &'a Files,
    pub(super) budget: &'a Budget,
    /// The most time for one request.
    pub(super) limit: Duration,
}

impl Client<'_> {
    /// `host:port` to dial.
    pub(super) fn address(&self) -> String {
        address(self.url)
    }

    /// Sends `message` and reads the answer.
    ///
    /// # Errors
    /// When no answer comes, with what came instead; or when the message must not be sent.
    pub(super) async fn send(&self, message: &Message) -> Result<Answer, Failure> {
        let budget = self.budget.within(self.limit);
        let begin = Instant::now();
        let bytes = self.bytes(message);
        let secret = message.authorization.as_ref();
        let exchange = Exchange { bytes: bytes.as_bytes(), bodiless: message.method == "HEAD", begin, budget, secret };
        if self.url.scheme_str() != Some("https") {
            if message.real || message.certificate != Certificate::None {
                return Err(Failure::new(FailureKind::Error, super::NOT_SENT));
            }
            let (mut wire, _) = wire::dial(&self.address(), &budget).await?;
            return exchange.carry_out(&mut wire, |error, _| Failure::new(http::io_kind(error), error)).await;
        }
        let name = server_name(self.url)?;
        let failed = |error: &io::Error, stream: &tokio_rustls::client::TlsStream<wire::Wire>| {
            tls::failure(error, stream.get_ref().0)
        };
        let needs_trust = message.real || message.certificate != Certificate::None || message.target.contains('?');
        if needs_trust {
            let anchors = self.files.anchors.as_ref().map_err(Clone::clone)?;
            let identity = self.identity(message.certificate)?;
            let (wire, _) = wire::dial(&self.address(), &budget).await?;
            let mut trusted = tls::trusted(wire, &name, anchors, identity, &budget).await?;
            return exchange.carry_out(trusted.stream(), failed).await;
        }
        let (wire, _) = wire::dial(&self.address(), &budget).await?;
        let (_, mut looked) = tls::look(wire, &name, None, &budget).await.handshake?;
        exchange.carry_out(looked.stream(), failed).await
    }

    /// Sends `message`, which carries no credentials, over `session`, and waits for the answer.
    ///
    /// # Errors
    /// When none comes.
    pub(super) async fn over(&self, mut session: Session, message: &Message) -> Result<(), Failure> {
        let budget = self.budget.within(self.limit);
        let bytes = self.bytes(message);
        let bodiless = message.method == "HEAD";
        let exchange = Exchange { bytes: bytes.as_bytes(), bodiless, begin: Instant::now(), budget, secret: None };
        exchange.carry_out(session.stream(), |error, stream| tls::failure(error, stream.get_ref().0)).await.map(drop)
    }

    fn identity(&self, certificate: Certificate) -> Result<Option<Identity>, Failure> {
        match certificate {
            Certificate::None => Ok(None),
            Certificate::MadeUp => made_up().map(Some),
            Certificate::Ours => match &self.files.identity {
                Some(Ok(Identity { chain, key })) => Ok(Some(Identity { chain: chain.clone(), key: key.clone_key() })),
                Some(Err(failure)) => Err(failure.clone()),
                None => Ok(None),
            },
        }
    }

    /// The request as it goes over the wire (RFC 9112, section 3).
    fn bytes(&self, message: &Message) -> String {
        let mut text = format!("{} {} HTTP/1.1\r\n", message.method, message.target);
        let mut field = |name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{name}: {value}\r\n");
        };
        if !message.fields.iter().any(|(name, _)| *name == "host") {
            field("host", self.url.authority().map_or("", |authority| authority.as_str()));
        }
        field("user-agent", concat!("gatepost/", env!("CARGO_PKG_VERSION")));
        field("accept", "*/*");
        // One connection per request, so that none rides on what an earlier one set up.
        field("connection", "close");
        message.fields.iter().for_each(|(name, value)| field(name, value));
        if let Some(authorization) = &message.authorization {
            field("authorization", authorization.expose());
        }
        if let Some(body) = &message.body {
            field("content-type", "application/json");
            field("content-length", &body.len().to_string());
        }
        text.push_str("\r\n");
        text.push_str(message.body.as_deref().unwrap_or_default());
        text
    }
}

/// `host:port` of `url`.
pub(super) fn address(url: &Uri) -> String {
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", url.host().unwrap_or_default())
}

/// The name that the certificate should carry.
pub(super) fn host(url: &Uri) -> String {
    url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// `url`'s host as TLS takes it.
pub(super) fn server_name(url: &Uri) -> Result<ServerName<'static>, Failure> {
    tls::server_name(&host(url))
}

/// A certificate of this moment that nobody has signed, under a name that says whose it is.
///
/// # Errors
/// When no key can be made.
pub(super) fn made_up() -> Result<Identity, Failure> {
    let error = |error: rcgen::Error| Failure::new(FailureKind::Error, error);
    let key = KeyPair::generate().map_err(error)?;
    let mut parameters = CertificateParams::new(vec!["gatepost-canary".to_owned()]).map_err(error)?;
    parameters.distinguished_name.push(DnType::CommonName, "gatepost-canary");
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = parameters.self_signed(&key).map_err(error)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(Identity { chain: vec![Bytes(certificate.der().to_vec())], key })
}

/// One request and its answer on an open connection.
struct Exchange<'a> {
    bytes: &'a [u8],
    bodiless: bool,
    begin: Instant,
    budget: Budget,
    secret: Option<&'a Secret>,
}

impl Exchange<'_> {
    async fn carry_out<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        failed: impl Fn(&io::Error, &S) -> Failure,
    ) -> Result<Answer, Failure> {
        let mut reader = Reader::new(self.bodiless);
        let head = async {
            let sent = async {
                stream.write_all(self.bytes).await?;
                stream.flush().await
            };
            sent.await.map_err(|error| failed(&error, stream))?;
            loop {
                match next(stream, &mut reader, &failed).await {
                    // What is wrong with a body does not undo the head before it.
                    Err(failure) if reader.head().is_none() => return Err(failure),
                    Err(failure) => return Ok(Err(failure)),
                    Ok(Progress::Head) => {}
                    Ok(progress) => return Ok(Ok(progress)),
                }
            }
        };
        let limits = self.budget.limits();
        let mut end = self.budget.wait("the answer", limits.answer, head).await?;
        let micros = micros_since(self.begin);
        if let Ok(Progress::Head | Progress::Body) = end {
            let body = async {
                loop {
                    if next(stream, &mut reader, &failed).await? == Progress::Whole {
                        return Ok(Progress::Whole);
                    }
                }
            };
            end = self.budget.within(BODY).wait("the body of the answer", BODY, body).await;
        }
        // A peer that does not let us leave politely changes nothing about its answer.
        let _ = self.budget.within(BODY).wait("closing", BODY, async { Ok(stream.shutdown().await) }).await;
        let Some(head) = reader.head() else {
            return Err(Failure::new(FailureKind::Error, "the answer has no head"));
        };
        Ok(Answer {
            status: head.status,
            headers: recorded(head, self.secret),
            micros,
            marks: marks::find(head, reader.body()),
            body: end.err(),
        })
    }
}

/// Reads once.
async fn next<S: AsyncRead + Unpin>(
    stream: &mut S,
    reader: &mut Reader,
    failed: &impl Fn(&io::Error, &S) -> Failure,
) -> Result<Progress, Failure> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk).await {
        Ok(0) => reader.closed().map(|()| Progress::Whole),
        Ok(count) => reader.feed(&chunk[..count]),
        // Many servers end without TLS's own goodbye.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && reader.head().is_some() => {
            reader.closed().map(|()| Progress::Whole)
        }
        Err(error) => Err(failed(&error, stream)),
    }
}

/// The headers that are kept, without what they may hold of the credential that was sent, and without the query of a URL.
fn recorded(head: &Head, secret: Option<&Secret>) -> BTreeMap<String, String> {
    let value = |name: &str| {
        let text = String::from_utf8_lossy(head.field(name)?).into_owned();
        let text = match name {
            "location" => location(&text),
            _ => text,
        };
        let echoed = secret.is_some_and(|secret| {
            let value = secret.expose();
            let token = value.split_once(' ').map_or(value, |(_, token)| token);
            token.len() >= 4 && text.contains(token)
        });
        let text = if echoed { "(what was sent as a credential)".to_owned() } else { text };
        let clean = text.chars().filter(|c| !c.is_control()).take(MAX_HEADER_CHARS);
        Some((name.to_owned(), clean.collect()))
    };
    HEADERS.iter().chain(&RATE_HEADERS).filter_map(|name| value(name)).collect()
}

/// A URL without query, fragment and user information.
fn location(text: &str) -> String {
    let plain = text.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => plain.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_recorded_without_what_may_be_secret() {
        assert_eq!(location("https://me:pw@edge/x?key=secret#y"), "https://edge/x");
        assert_eq!(location("/login?next=x"), "/login");
        assert_eq!(location("https://edge"), "https://edge");
    }

    #[test]
    fn what_comes_back_of_a_credential_is_struck_out() {
        let fields = vec![("www-authenticate".to_owned(), b"Bearer error=\"no such token abcdef\"".to_vec())];
        let head = Head { status: 401, fields };
        let secret = Secret::new("Bearer abcdef");
        assert_eq!(recorded(&head, Some(&secret))["www-authenticate"], "(what was sent as a credential)");
        assert!(recorded(&head, None)["www-authenticate"].contains("abcdef"));
    }
}
