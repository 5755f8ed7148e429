//! The way to ingest edge and sink: [`TRIES`] times a connection, TLS and a small request, then one large request; and a question
//! in plain HTTP to see who answers it.
//!
//! Nothing that is sent carries a credential, a path or a query of the configured URLs: a request is `HEAD /`. So TLS is made with
//! whoever answers, whatever certificate he shows, which is recorded. A peer that asks for a client certificate is left in peace
//! after the handshake, and one that asks to slow down (429) is not asked again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatepost_evidence::check::link_posture::Peer;
use gatepost_evidence::check::link_posture::path::{Exchange, Large, Portal, PortalAnswer, Shown};
use gatepost_evidence::id::Digest;
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use ureq::http::Uri;

use crate::config::Config;
use crate::probe::ingest_auth::answer::{Progress, Reader};
use crate::probe::ingest_auth::transport::relevant;
use crate::probe::wire::{self, Budget, Limits, Wire, micros_since};
use crate::probe::{Missed, blocking, tls};
use crate::{files, http};

/// How often each peer is connected to.
pub const TRIES: usize = 5;
/// The time each stage of one try may take; to connect, name resolution included.
pub const TRY_LIMIT: Duration = Duration::from_secs(2);
/// The most time for one peer: each try may fail to connect, and something is left for what one that connects does.
const PEER_LIMIT: Duration = Duration::from_secs(12);
/// Bytes of the large request: more than one packet has on any link to the internet, and less than every server takes in a head.
const LARGE: usize = 4_000;
/// The most certificates of a chain that are recorded.
const MAX_CHAIN: usize = 4;
/// Too many requests (RFC 6585, section 4).
const SLOW_DOWN: u16 = 429;

/// Who is tried, and what his certificate is held against.
struct Way {
    url: String,
    /// Only the proxy in front of him is connected to.
    proxied: bool,
    ca_file: Option<PathBuf>,
    pins: Vec<Digest>,
}

/// Tries the peers, one after another, so that they do not disturb each other's times. `before` has the issuers of the
/// certificates that were seen in the run before, by name and address.
pub(super) async fn try_all(config: &Config, before: &BTreeMap<(String, String), String>) -> BTreeMap<String, Peer> {
    let ingest = config.ingest.as_ref().map(|ingest| {
        let way = Way { url: ingest.url.clone(), proxied: false, ca_file: ingest.ca_file.clone(), pins: Vec::new() };
        ("ingest", way)
    });
    let sink = config.sink.as_ref().map(|sink| {
        // What is behind a proxy cannot be reached without it: the proxy is the next thing on the way.
        let url = sink.proxy.as_ref().unwrap_or(&sink.url).clone();
        let pins = sink.pin_sha256.iter().map(|pin| pin.digest()).collect();
        ("sink", Way { url, proxied: sink.proxy.is_some(), ca_file: sink.ca_file.clone(), pins })
    });
    let mut peers = BTreeMap::new();
    for (name, way) in ingest.into_iter().chain(sink) {
        let mut peer = try_one(&way).await;
        if let Some(shown) = peer.exchange.as_mut().and_then(|exchange| exchange.shown.as_mut()) {
            shown.issuer_before = before.get(&(name.to_owned(), peer.address.clone())).cloned();
        }
        peers.insert(name.to_owned(), peer);
    }
    peers
}

async fn try_one(way: &Way) -> Peer {
    let Some((host, port)) = super::host_and_port(&way.url) else {
        let failure = Failure::new(FailureKind::Unparseable, "its URL in the configuration names no host");
        return Peer { address: "unknown".into(), tries: vec![Look::Failed(failure)], exchange: None };
    };
    let address = format!("{host}:{port}");
    let limits = Limits { dial: TRY_LIMIT, handshake: TRY_LIMIT, answer: TRY_LIMIT, total: PEER_LIMIT, at_once: 1 };
    let talk = Talk { address: &address, host: &host, tls: way.url.starts_with("https://"), budget: limits.start() };
    let mut peer = Peer { address: address.clone(), tries: Vec::new(), exchange: None };
    let mut exchange = Exchange { handshakes: Vec::new(), answers: Vec::new(), large: None, shown: None };
    let mut chain = Look::Failed(Failure::new(FailureKind::Unreachable, "no handshake got as far as its certificate"));
    let mut go_on = true;
    for _ in 0..TRIES {
        let begin = Instant::now();
        let wire = match wire::dial(&address, &talk.budget).await {
            Ok((wire, _)) => wire,
            Err(failure) => {
                peer.tries.push(Look::Failed(failure));
                continue;
            }
        };
        peer.tries.push(Look::Seen(micros_since(begin)));
        if way.proxied || !go_on {
            continue;
        }
        go_on = talk.once(wire, &mut exchange, &mut chain).await;
    }
    if go_on && exchange.answers.iter().any(|answer| answer.seen().is_some()) {
        exchange.large = talk.large().await;
    }
    if talk.tls {
        exchange.shown = Some(shown(way, &host, chain).await);
    }
    peer.exchange = (!way.proxied).then_some(exchange);
    peer
}

async fn shown(way: &Way, host: &str, chain: Look<Vec<Bytes>>) -> Shown {
    let path = way.ca_file.clone().unwrap_or_else(|| PathBuf::from(http::SYSTEM_ANCHORS));
    let sent = chain.seen().cloned().unwrap_or_default();
    // Pins are the whole trust; nobody's authority matters beside them.
    let anchors = match way.pins.is_empty() {
        true => Some(anchors(path, sent).await.into()),
        false => None,
    };
    let server_name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Shown { server_name, chain, pins: way.pins.clone(), anchors, issuer_before: None }
}

/// The anchors that the chain could lead to.
async fn anchors(path: PathBuf, chain: Vec<Bytes>) -> Result<Vec<Bytes>, Failure> {
    let read = move || {
        let read = |path: &Path| files::read_certificates(path).map(|anchors| relevant(&anchors, &chain));
        Ok::<_, Missed>(read(&path))
    };
    match blocking(read).await {
        Ok(anchors) => anchors,
        Err(missed) => Err(Failure::new(FailureKind::Error, missed)),
    }
}

/// How one peer is talked to.
struct Talk<'a> {
    address: &'a str,
    host: &'a str,
    tls: bool,
    budget: Budget,
}

/// What came of a request.
enum Said {
    /// The status of the answer.
    Status(u16),
    /// Nothing, because he wants to know first who asks.
    WhoAreYou,
}

impl Talk<'_> {
    /// TLS, where it is spoken, and one small request. Says whether to go on.
    async fn once(&self, wire: Wire, exchange: &mut Exchange, chain: &mut Look<Vec<Bytes>>) -> bool {
        let begin = Instant::now();
        let request = self.request(0);
        let said = if self.tls {
            let name = match tls::server_name(self.host.trim_start_matches('[').trim_end_matches(']')) {
                Ok(name) => name,
                Err(failure) => {
                    exchange.handshakes.push(Look::Failed(failure));
                    return false;
                }
            };
            let looked = tls::look(wire, &name, None, &self.budget).await;
            if !looked.peer.chain.is_empty() {
                *chain = Look::Seen(looked.peer.chain.into_iter().take(MAX_CHAIN).collect());
            }
            let mut stream = match looked.handshake {
                Ok((handshake, stream)) => {
                    exchange.handshakes.push(Look::Seen(handshake.micros));
                    stream
                }
                // Without a certificate of ours he goes no further, which is his right and no fault of the way.
                Err(failure) if looked.peer.certificate_requested && failure.kind == FailureKind::TlsAlert => {
                    return false;
                }
                Err(failure) => {
                    exchange.handshakes.push(Look::Failed(failure));
                    return true;
                }
            };
            let failed = |error: &io::Error, stream: &tokio_rustls::client::TlsStream<Wire>| {
                tls::failure(error, stream.get_ref().0)
            };
            let begin = Instant::now();
            match self.exchange(stream.stream(), &request, failed).await {
                Ok(status) => (micros_since(begin), Ok(Said::Status(status))),
                Err(failure)
                    if looked.peer.certificate_requested
                        && matches!(failure.kind, FailureKind::TlsAlert | FailureKind::Closed) =>
                {
                    (0, Ok(Said::WhoAreYou))
                }
                Err(failure) => (0, Err(failure)),
            }
        } else {
            let mut wire = wire;
            let answer = self.exchange(&mut wire, &request, plain).await;
            (micros_since(begin), answer.map(Said::Status))
        };
        match said {
            (micros, Ok(Said::Status(status))) => {
                exchange.answers.push(Look::Seen(micros));
                status != SLOW_DOWN
            }
            (_, Ok(Said::WhoAreYou)) => false,
            (_, Err(failure)) => {
                exchange.answers.push(Look::Failed(failure));
                true
            }
        }
    }

    /// The large request, on a connection of its own. None when that could not be made as before.
    async fn large(&self) -> Option<Large> {
        let request = self.request(LARGE);
        let (mut wire, _) = wire::dial(self.address, &self.budget).await.ok()?;
        let begin = Instant::now();
        let (answer, path_mtu) = if self.tls {
            let name = tls::server_name(self.host.trim_start_matches('[').trim_end_matches(']')).ok()?;
            let (_, mut stream) = tls::look(wire, &name, None, &self.budget).await.handshake.ok()?;
            let begin = Instant::now();
            let failed = |error: &io::Error, stream: &tokio_rustls::client::TlsStream<Wire>| {
                tls::failure(error, stream.get_ref().0)
            };
            let answer = self.exchange(stream.stream(), &request, failed).await;
            (answer.map(|_| micros_since(begin)), stream.stream().get_ref().0.path_mtu())
        } else {
            let answer = self.exchange(&mut wire, &request, plain).await;
            (answer.map(|_| micros_since(begin)), wire.path_mtu())
        };
        Some(Large { bytes: request.len() as u64, answer: answer.into(), path_mtu })
    }

    /// A request for nothing in particular (RFC 9110, section 9.3.2), with a field that makes it `bytes` long if it is shorter.
    fn request(&self, bytes: usize) -> Vec<u8> {
        let fields = format!(
            "HEAD / HTTP/1.1\r\nhost: {}\r\nuser-agent: {}\r\naccept: */*\r\nconnection: close\r\n",
            self.address,
            concat!("gatepost/", env!("CARGO_PKG_VERSION"))
        );
        let padding = bytes.saturating_sub(fields.len());
        let field = if padding == 0 { String::new() } else { format!("x-padding: {}\r\n", "0".repeat(padding)) };
        format!("{fields}{field}\r\n").into_bytes()
    }

    /// Sends `request` and reads the head of the answer; says its status.
    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        request: &[u8],
        failed: impl Fn(&io::Error, &S) -> Failure,
    ) -> Result<u16, Failure> {
        self.budget.wait("the answer", TRY_LIMIT, head(stream, request, failed)).await.map(|(status, _)| status)
    }
}

fn plain(error: &io::Error, _: &Wire) -> Failure {
    Failure::new(http::io_kind(error), error)
}

/// Status and `location` of the answer to `request`.
async fn head<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    request: &[u8],
    failed: impl Fn(&io::Error, &S) -> Failure,
) -> Result<(u16, Option<String>), Failure> {
    let sent = async {
        stream.write_all(request).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| failed(&error, stream))?;
    let mut reader = Reader::new(true);
    let mut chunk = [0; 2048];
    loop {
        let read = stream.read(&mut chunk).await;
        let progress = match read {
            Ok(0) => reader.closed().map(|()| Progress::Whole),
            Ok(count) => reader.feed(chunk.get(..count).unwrap_or_default()),
            Err(error) => Err(failed(&error, stream)),
        }?;
        if progress == Progress::Head {
            continue;
        }
        let Some(head) = reader.head() else {
            return Err(Failure::new(FailureKind::Error, "the answer has no head"));
        };
        let location = head.field("location").map(|value| String::from_utf8_lossy(value).into_owned());
        return Ok((head.status, location));
    }
}

/// Asks in plain HTTP; none where nothing is configured that could be asked.
pub(super) async fn portal(config: &Config) -> Option<Portal> {
    let (url, expected) = match &config.link.portal_url {
        Some(url) => (url.clone(), Some(config.link.portal_status)),
        None => (portal_url(config)?, None),
    };
    let answer = ask_portal(&url).await.into();
    Some(Portal { url, expected, answer })
}

/// `/` on port 80 of the ingest edge, or else of the sink.
fn portal_url(config: &Config) -> Option<String> {
    let urls = [config.ingest.as_ref().map(|ingest| &ingest.url), config.sink.as_ref().map(|sink| &sink.url)];
    let (host, _) = urls.into_iter().flatten().find_map(|url| super::host_and_port(url))?;
    Some(format!("http://{host}/"))
}

async fn ask_portal(url: &str) -> Result<PortalAnswer, Failure> {
    let uri: Uri = url.parse().map_err(|_| Failure::new(FailureKind::Error, "the URL cannot be used"))?;
    let (host, port) =
        super::host_and_port(url).ok_or_else(|| Failure::new(FailureKind::Error, "the URL names no host"))?;
    let address = format!("{host}:{port}");
    let limits = Limits { dial: TRY_LIMIT, handshake: TRY_LIMIT, answer: TRY_LIMIT, total: TRY_LIMIT * 2, at_once: 1 };
    let budget = limits.start();
    let (mut wire, _) = wire::dial(&address, &budget).await?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = uri.authority().map_or(host.as_str(), |authority| authority.as_str());
    let request = format!(
        "GET {target} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {}\r\naccept: */*\r\nconnection: close\r\n\r\n",
        concat!("gatepost/", env!("CARGO_PKG_VERSION"))
    );
    let (status, location) = budget.wait("the answer", TRY_LIMIT, head(&mut wire, request.as_bytes(), plain)).await?;
    Ok(PortalAnswer { status, location: location.map(|location| where_to(&location)) })
}

/// A URL without query, fragment and user, as short as evidence has it.
fn where_to(location: &str) -> String {
    let plain = location.split(['?', '#']).next().unwrap_or_default();
    let plain = match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
            let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => plain.to_owned(),
    };
    crate::probe::host::shorten(&plain)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers every connection with `answer`, piece by piece, and then waits.
    async fn server(pieces: Vec<Vec<u8>>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                for piece in &pieces {
                    let _ = stream.write_all(piece).await;
                }
                kept.push(stream);
            }
        });
        address
    }

    fn plain_way(address: &str) -> Way {
        Way { url: format!("http://{address}/v1?token=x"), proxied: false, ca_file: None, pins: Vec::new() }
    }

    #[tokio::test]
    async fn a_peer_that_answers_is_asked_for_something_large_too() {
        let address = server(vec![b"HTTP/1.1 404 \r\n\r\n".to_vec()]).await;
        let peer = try_one(&plain_way(&address)).await;
        let exchange = peer.exchange.unwrap();
        assert_eq!((peer.tries.len(), exchange.answers.len(), exchange.handshakes.len()), (TRIES, TRIES, 0));
        let large = exchange.large.unwrap();
        assert!(large.bytes >= LARGE as u64 && large.answer.seen().is_some(), "{large:?}");
        assert!(large.path_mtu.is_some_and(|mtu| mtu >= 1280), "{large:?}");
        assert_eq!(exchange.shown, None);
    }

    #[tokio::test]
    async fn a_peer_that_asks_to_slow_down_is_not_asked_again() {
        let address = server(vec![b"HTTP/1.1 429 \r\n\r\n".to_vec()]).await;
        let exchange = try_one(&plain_way(&address)).await.exchange.unwrap();
        assert_eq!((exchange.answers.len(), exchange.large), (1, None));
    }

    #[tokio::test(start_paused = true)]
    async fn peers_that_do_not_speak_http_or_drip_are_failed_looks() {
        let address = server(vec![b"SSH-2.0-x\r\n".to_vec()]).await;
        let exchange = try_one(&plain_way(&address)).await.exchange.unwrap();
        assert!(exchange.answers.iter().all(|answer| answer.failure().unwrap().kind == FailureKind::Protocol));
        assert_eq!(exchange.large, None);
        let begin = Instant::now();
        let dripping = server(vec![b"HTTP/1.1 200 \r\nx: ".to_vec()]).await;
        let exchange = try_one(&plain_way(&dripping)).await.exchange.unwrap();
        assert!(exchange.answers.iter().all(|answer| answer.failure().unwrap().kind == FailureKind::TimedOut));
        assert!(begin.elapsed() <= PEER_LIMIT + Duration::from_secs(1), "{:?}", begin.elapsed());
        let failure = ask_portal(&format!("http://{dripping}/")).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::TimedOut);
    }

    #[tokio::test]
    async fn a_portal_is_recorded_without_what_may_be_secret() {
        let address =
            server(vec![b"HTTP/1.1 302 \r\nlocation: http://me:pw@login.hotel/x?key=y\r\n\r\n".to_vec()]).await;
        let answer = ask_portal(&format!("http://{address}/")).await.unwrap();
        assert_eq!((answer.status, answer.location.as_deref()), (302, Some("http://login.hotel/x")));
    }
}
