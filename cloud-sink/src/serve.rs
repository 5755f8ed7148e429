//! Listening: the sockets, TLS, the worker, and an orderly end.
//!
//! Without a certificate the sink listens on loopback only; there is no option that says otherwise.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use tokio::task::JoinHandle;

use crate::app::{App, Shared};
use crate::directory::Directory;
use crate::error::SinkError;
use crate::places::Places;
use crate::weak_keys::WeakKeys;
use crate::{routes, tls, worker};

/// How long requests that are under way may take after the sink was told to stop.
const GRACE: Duration = Duration::from_secs(3);
/// How long a client may take to send the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// Where and how to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address; port 0 for any free one.
    pub listen: SocketAddr,
    /// The sink's folder.
    pub data: PathBuf,
    /// Certificate chain and key, both in PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Lists of weak keys, see [`WeakKeys`].
    pub weak_keys: Vec<PathBuf>,
}

/// A sink that serves.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    app: Shared,
    handle: Handle<SocketAddr>,
    server: JoinHandle<std::io::Result<()>>,
    worker: Option<std::thread::JoinHandle<()>>,
}

/// Starts serving on the current tokio runtime.
///
/// # Errors
/// When the options do not fit, or a file, the database or the address cannot be used.
pub fn start(options: &Options) -> Result<Running, SinkError> {
    let Options { listen, data, tls, weak_keys } = options;
    if tls.is_none() && !listen.ip().is_loopback() {
        return Err(SinkError::Options(format!(
            "{listen} is not a loopback address, and without TLS the sink listens on loopback only. Give --tls-cert and \
             --tls-key, or listen on 127.0.0.1"
        )));
    }
    let tls = tls.as_ref().map(|(certificate, key)| tls::configuration(certificate, key)).transpose()?;
    let weak_keys = WeakKeys::read(weak_keys)?;
    let app = App::open(&Directory::open(data)?, weak_keys, tls.is_some())?;
    let failed = |source| SinkError::Listen { address: *listen, source };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let handle = Handle::new();
    let server = spawn(listener, tls, &app, &handle).map_err(failed)?;
    let worker = Some(worker::start(app.clone()).map_err(SinkError::Serve)?);
    Ok(Running { address, app, handle, server, worker })
}

fn spawn(
    listener: TcpListener,
    tls: Option<RustlsConfig>,
    app: &Shared,
    handle: &Handle<SocketAddr>,
) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    let service = routes::router(app.clone()).into_make_service();
    let mut server = axum_server::from_tcp(listener)?.handle(handle.clone());
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME);
    Ok(match tls {
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(tls).acceptor(Places::default());
            tokio::spawn(server.acceptor(acceptor).http1_only().serve(service))
        }
        None => tokio::spawn(server.acceptor(Places::default()).http1_only().serve(service)),
    })
}

impl Running {
    /// The address that is listened on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of the sink.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.app.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The sink itself.
    #[must_use]
    pub fn app(&self) -> &Shared {
        &self.app
    }

    /// Waits until the server ends by itself, which it does only by failing.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn failed(&mut self) -> Result<(), SinkError> {
        let ended = (&mut self.server).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        ended.map_err(SinkError::Serve)
    }

    /// Finishes requests that are under way, and then the worker.
    ///
    /// # Errors
    /// When the server failed.
    pub async fn stop(mut self) -> Result<(), SinkError> {
        self.handle.graceful_shutdown(Some(GRACE));
        self.failed().await?;
        self.app.bell.stop();
        if let Some(worker) = self.worker.take() {
            let joined = tokio::task::spawn_blocking(move || worker.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the worker ended by a panic");
            }
        }
        Ok(())
    }
}

/// Serves until SIGTERM or SIGINT; says where on standard output, and in `address_file` if there is one.
///
/// # Errors
/// When it cannot start, or the server fails.
pub async fn until_told_to_stop(options: &Options, address_file: Option<&Path>) -> Result<(), SinkError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(SinkError::Serve)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(SinkError::Serve)?;
    let mut running = start(options)?;
    if let Some(path) = address_file {
        crate::directory::write_atomically(path, &format!("{}\n", running.url()))?;
    }
    // Whoever started the sink may have closed its end by now; that is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "listening on {}", running.url());
    tokio::select! {
        failed = running.failed() => failed,
        _ = terminate.recv() => running.stop().await,
        _ = interrupt.recv() => running.stop().await,
    }
}
