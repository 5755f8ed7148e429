//! The cloud ingest edge: `POST /v1/events`, over HTTPS always and over plain HTTP while it is exposed.
//!
//! Exposed, it takes events from anybody on both. Hardened, it demands the bearer token over HTTPS, and the HTTP port is
//! closed; the port stays reserved, so that it opens again on the same number. An event is told by its `id`: the second
//! of the same id is answered `200` and `duplicate` instead of `202`, and counted. Every answer tells the limit to the
//! rate of requests, which is generous enough never to be met here. Canaries are kept apart, and told at
//! `GET /v1/canaries/<run>` to whom it lets in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::{self, Pki};
use crate::port::Port;
use crate::tls;

/// The largest event, in bytes.
const MAX_EVENT: usize = 64 * 1024;
/// The time for a TLS handshake, and for connections to end when a listener is closed.
const LIMIT: Duration = Duration::from_secs(5);

/// What the edge has taken.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Events {
    /// Every event once, in the order of arrival.
    pub accepted: Vec<Value>,
    /// Canaries that an audit follows, once each, in the order of arrival; they are not among the accepted.
    pub canaries: Vec<Value>,
    /// By id, how often an event came; events without an id are not here.
    pub times: BTreeMap<String, usize>,
    /// How many requests were refused for their credentials.
    pub refused: usize,
}

impl Events {
    /// How many events came again after they had been accepted.
    #[must_use]
    pub fn duplicates(&self) -> usize {
        self.times.values().map(|times| times - 1).sum()
    }
}

/// How an edge keeps one more canary.
type Keep = Box<dyn FnMut(&mut Vec<Value>, Value) + Send>;

struct Shared {
    token: String,
    demand_token: AtomicBool,
    keep: Mutex<Keep>,
    events: Mutex<Events>,
    news: Condvar,
}

impl Shared {
    fn events(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An ingest edge.
pub struct IngestEdge {
    shared: Arc<Shared>,
    token_file: PathBuf,
    expired_token_file: PathBuf,
    runtime: Handle,
    https: Port,
    http: Port,
    plaintext: Option<Serving>,
    _encrypted: Serving,
}

/// A listener that is being served.
struct Serving {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl IngestEdge {
    /// Starts an edge, exposed, served on `runtime`. Its token is put into a file in `folder`.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn start(runtime: &Handle, folder: &std::path::Path, pki: &Pki) -> Result<Self> {
        let mut random = [0; 24];
        getrandom::fill(&mut random).context("no randomness for the ingest token")?;
        let token = gatepost_evidence::id::Digest::of(&random).to_string();
        let token_file = folder.join("ingest.token");
        pki::write(&token_file, token.as_bytes(), 0o600)?;
        let expired_token_file = folder.join("ingest.expired");
        let expired = gatepost_evidence::id::Digest::of(token.as_bytes()).to_string();
        pki::write(&expired_token_file, expired.as_bytes(), 0o600)?;
        let shared = Arc::new(Shared {
            token,
            demand_token: AtomicBool::new(false),
            keep: Mutex::new(Box::new(Vec::push)),
            events: Mutex::default(),
            news: Condvar::new(),
        });
        let (https, http) = (Port::reserve()?, Port::reserve()?);
        let acceptor = TlsAcceptor::from(tls::server(&pki.ingest)?);
        let encrypted = {
            let _inside = runtime.enter();
            let (sender, connections) = mpsc::channel(16);
            let listener = TcpListener::from_std(https.listen()?)?;
            runtime.spawn(shake_hands(listener, acceptor, sender));
            serve(runtime, Encrypted { connections, address: https.address() }, &shared)
        };
        let runtime = runtime.clone();
        let plaintext = None;
        let mut edge =
            Self { shared, token_file, expired_token_file, runtime, https, http, plaintext, _encrypted: encrypted };
        edge.expose()?;
        Ok(edge)
    }

    /// From now on it keeps canaries as `keep` does, and not each once at the end.
    pub fn keep_canaries(&self, keep: impl FnMut(&mut Vec<Value>, Value) + Send + 'static) {
        *self.shared.keep.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(keep);
    }

    /// Takes events without credentials, over HTTPS and over plain HTTP.
    ///
    /// # Errors
    /// When the HTTP port cannot be listened on.
    pub fn expose(&mut self) -> Result<()> {
        self.shared.demand_token.store(false, Ordering::SeqCst);
        if self.plaintext.is_none() {
            let _inside = self.runtime.enter();
            let listener = TcpListener::from_std(self.http.listen()?)?;
            self.plaintext = Some(serve(&self.runtime, listener, &self.shared));
        }
        Ok(())
    }

    /// Demands the token, and closes the HTTP port. Both are in effect when this returns.
    ///
    /// # Errors
    /// When connections to the HTTP port do not end in time.
    pub fn harden(&mut self) -> Result<()> {
        self.shared.demand_token.store(true, Ordering::SeqCst);
        let Some(Serving { stop, mut task }) = self.plaintext.take() else { return Ok(()) };
        // Whether it still listens to us or not, it is ended.
        let _ = stop.send(());
        if self.runtime.block_on(async { timeout(LIMIT, &mut task).await }).is_err() {
            task.abort();
            bail!("connections to the ingest edge's HTTP port did not end within {} s", LIMIT.as_secs());
        }
        Ok(())
    }

    /// Where it tells which canaries it has; `{run}` stands for what those of one run have in common.
    #[must_use]
    pub fn readback_url(&self) -> String {
        format!("https://{}/v1/canaries/{{run}}", self.https.address())
    }

    /// `https://127.0.0.1:<port>/v1/events`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/v1/events", self.https.address())
    }

    /// The same without TLS; refused while the edge is hardened.
    #[must_use]
    pub fn plaintext_url(&self) -> String {
        format!("http://{}/v1/events", self.http.address())
    }

    /// The HTTPS listener.
    #[must_use]
    pub fn https_address(&self) -> SocketAddr {
        self.https.address()
    }

    /// The HTTP listener, open or not.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http.address()
    }

    /// The bearer token. A secret of the lab.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.shared.token
    }

    /// The file that holds the token, mode 0600.
    #[must_use]
    pub fn token_file(&self) -> &std::path::Path {
        &self.token_file
    }

    /// The file that holds a token that is not good any more, mode 0600.
    #[must_use]
    pub fn expired_token_file(&self) -> &std::path::Path {
        &self.expired_token_file
    }

    /// What it has taken so far.
    #[must_use]
    pub fn events(&self) -> Events {
        self.shared.events().clone()
    }

    /// Waits until what it has taken satisfies `enough`.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_for(&self, limit: Duration, mut enough: impl FnMut(&Events) -> bool) -> Result<Events> {
        let (events, outcome) = self
            .shared
            .news
            .wait_timeout_while(self.shared.events(), limit, |events| !enough(events))
            .unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            bail!("the ingest edge waited {} s and has only: {events:?}", limit.as_secs_f32());
        }
        Ok(events.clone())
    }
}

fn serve<L>(runtime: &Handle, listener: L, shared: &Arc<Shared>) -> Serving
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let routes = Router::new()
        .route("/v1/events", post(take))
        .route("/v1/canaries/{run}", get(canaries))
        .layer(DefaultBodyLimit::max(MAX_EVENT))
        .layer(axum::middleware::map_response(tell_the_limit))
        .with_state(Arc::clone(shared));
    let (stop, stopped) = oneshot::channel();
    let task = runtime.spawn(async move {
        let stopped = async {
            if stopped.await.is_err() {
                // Its owner went without a word: the whole lab ends, and this with it.
                std::future::pending::<()>().await;
            }
        };
        // axum's serving never fails.
        let _ = axum::serve(listener, routes).with_graceful_shutdown(stopped).await;
    });
    Serving { stop, task }
}

/// Connections whose handshake is done.
struct Encrypted {
    connections: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
}

impl axum::serve::Listener for Encrypted {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.connections.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// Each handshake on its own, so that a slow client holds up nobody else.
async fn shake_hands(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    while let Ok((stream, address)) = listener.accept().await {
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = timeout(LIMIT, acceptor.accept(stream)).await {
                // Nobody takes it any more when the lab ends.
                let _ = ready.send((stream, address)).await;
            }
        });
    }
}

async fn tell_the_limit(mut response: Response) -> Response {
    const LIMIT: &str = "\"events\";q=6000;w=60";
    response.headers_mut().insert("ratelimit-policy", axum::http::HeaderValue::from_static(LIMIT));
    response
}

async fn take(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let answer = |status: StatusCode, word: &str| (status, axum::Json(json!({ "status": word }))).into_response();
    if !admitted(&shared, &headers) {
        shared.events().refused += 1;
        shared.news.notify_all();
        let mut refusal = answer(StatusCode::UNAUTHORIZED, "unauthorized");
        refusal.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
        return refusal;
    }
    let event: Value = match serde_json::from_slice(&body) {
        Ok(event @ Value::Object(_)) => event,
        _ => return answer(StatusCode::BAD_REQUEST, "not a JSON object"),
    };
    let mut events = shared.events();
    if let Some(id) = event.get("id").and_then(Value::as_str) {
        let times = events.times.entry(id.to_owned()).or_default();
        *times += 1;
        if *times > 1 {
            shared.news.notify_all();
            return answer(StatusCode::OK, "duplicate");
        }
    }
    let canary = event["topic"].as_str().is_some_and(|topic| topic.starts_with("gatepost/canary/"));
    if canary {
        let mut keep = shared.keep.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&mut events.canaries, event);
    } else {
        events.accepted.push(event);
    }
    shared.news.notify_all();
    answer(StatusCode::ACCEPTED, "accepted")
}

/// The canaries of one run, in the order they were taken.
async fn canaries(State(shared): State<Arc<Shared>>, headers: HeaderMap, Path(run): Path<String>) -> Response {
    if !admitted(&shared, &headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let prefix = format!("gatepost/canary/{run}/");
    let of_it = |event: &&Value| event["topic"].as_str().is_some_and(|topic| topic.starts_with(&prefix));
    let canaries: Vec<Value> = shared.events().canaries.iter().filter(of_it).cloned().collect();
    axum::Json(canaries).into_response()
}

/// Whether the request has the token, or none is demanded.
fn admitted(shared: &Shared, headers: &HeaderMap) -> bool {
    let expected = format!("Bearer {}", shared.token);
    !shared.demand_token.load(Ordering::SeqCst)
        || headers.get(AUTHORIZATION).is_some_and(|given| given.as_bytes() == expected.as_bytes())
}
