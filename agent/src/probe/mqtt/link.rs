//! One connection to a listener: TCP or TLS, with or without WebSocket over it.
//!
//! Remembers whether the server is authenticated, so that nobody sends credentials over a connection on which it is not. At most
//! [`MAX_RECEIVED`] bytes are taken from one connection, whatever they are.

use std::io;

use gatepost_evidence::check::broker_transport_posture::web::{HttpAnswer, Upgrade};
use gatepost_evidence::look::{Failure, FailureKind};
use rustls::HandshakeKind;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::client::TlsStream;

use super::head::Head;
use super::websocket::{self, Frame, Frames};
use crate::http;
use crate::probe::tls::{self, Trusted, Unauthenticated};
use crate::probe::wire::Wire;

/// The most bytes that are received over one connection.
pub const MAX_RECEIVED: usize = 128 * 1024;

/// A stream that can say what an error on it means.
trait Spoken: AsyncRead + AsyncWrite + Unpin + Send {
    fn failure(&self, error: &io::Error) -> Failure;
}

impl Spoken for Wire {
    fn failure(&self, error: &io::Error) -> Failure {
        Failure::new(http::io_kind(error), error)
    }
}

impl Spoken for TlsStream<Wire> {
    fn failure(&self, error: &io::Error) -> Failure {
        tls::failure(error, self.get_ref().0)
    }
}

enum Stream {
    Plaintext(Box<Wire>),
    Unauthenticated(Box<Unauthenticated>),
    Trusted(Box<Trusted>),
}

/// The connection.
pub struct Link {
    stream: Stream,
    frames: Option<Frames>,
    received: usize,
}

impl Link {
    /// In plaintext.
    #[must_use]
    pub fn plaintext(wire: Wire) -> Self {
        Self::over(Stream::Plaintext(Box::new(wire)))
    }

    /// Over TLS, to a server that was not authenticated.
    #[must_use]
    pub fn unauthenticated(stream: Unauthenticated) -> Self {
        Self::over(Stream::Unauthenticated(Box::new(stream)))
    }

    /// Over TLS, to a server that was.
    #[must_use]
    pub fn trusted(stream: Trusted) -> Self {
        Self::over(Stream::Trusted(Box::new(stream)))
    }

    fn over(stream: Stream) -> Self {
        Self { stream, frames: None, received: 0 }
    }

    /// Whether credentials may go over it.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        matches!(self.stream, Stream::Trusted(_))
    }

    /// Whether the TLS session was made from an earlier one's ticket; none without TLS.
    pub fn resumed(&mut self) -> Option<bool> {
        let kind = match &mut self.stream {
            Stream::Plaintext(_) => return None,
            Stream::Unauthenticated(stream) => stream.stream().get_ref().1.handshake_kind(),
            Stream::Trusted(stream) => stream.stream().get_ref().1.handshake_kind(),
        };
        kind.map(|kind| kind == HandshakeKind::Resumed)
    }

    fn spoken(&mut self) -> &mut dyn Spoken {
        match &mut self.stream {
            Stream::Plaintext(wire) => wire.as_mut(),
            Stream::Unauthenticated(stream) => stream.stream(),
            Stream::Trusted(stream) => stream.stream(),
        }
    }

    /// What an error on it means. Mosquitto 2.1 writes the Close frame of a WebSocket past its TLS, in plaintext.
    fn failure(&mut self, error: &io::Error) -> Failure {
        if self.frames.is_some() && tls::is_not_tls(error) {
            return Failure::new(FailureKind::Closed, "the peer ended the WebSocket with bytes that are not TLS");
        }
        self.spoken().failure(error)
    }

    /// Asks the server to switch to WebSocket; if it does, what follows goes in frames.
    ///
    /// # Errors
    /// When no head of an HTTP answer comes.
    pub async fn upgrade(&mut self, host: &str, path: &str, origin: Option<&str>) -> Result<Upgrade, Failure> {
        let key = random()?;
        self.write(websocket::request(host, path, key, origin).as_bytes()).await?;
        let (head, rest) = self.head().await?;
        let upgrade = websocket::upgrade(&head, key);
        if upgrade.switched() {
            let mut frames = Frames::default();
            frames.feed(&rest);
            self.frames = Some(frames);
        }
        Ok(upgrade)
    }

    /// Asks for `path` by GET, without credentials. The body is not read.
    ///
    /// # Errors
    /// When no head of an HTTP answer comes.
    pub async fn get(&mut self, host: &str, path: &str) -> Result<HttpAnswer, Failure> {
        let agent = concat!("gatepost/", env!("CARGO_PKG_VERSION"));
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n");
        self.write(request.as_bytes()).await?;
        let (head, _) = self.head().await?;
        Ok(HttpAnswer { status: head.status, any_origin: head.value("access-control-allow-origin") == Some("*") })
    }

    /// The head of an answer, and what came behind it.
    async fn head(&mut self) -> Result<(Head, Vec<u8>), Failure> {
        let mut bytes = Vec::new();
        loop {
            if !self.read(&mut bytes).await? {
                let words = match bytes.len() {
                    0 => "the peer closed the connection without an answer to HTTP".to_owned(),
                    count => format!("the peer closed the connection after {count} bytes of a head"),
                };
                return Err(Failure::new(FailureKind::Closed, words));
            }
            if let Some((head, length)) = Head::read(&bytes)? {
                return Ok((head, bytes.split_off(length)));
            }
        }
    }

    /// Sends `bytes`, in a frame if WebSocket was agreed on.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self.frames {
            Some(_) => {
                let frame = websocket::frame(bytes, random()?);
                self.write(&frame).await
            }
            None => self.write(bytes).await,
        }
    }

    /// Waits for more, and appends it to `out`; false when the server has closed.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is too much, or no frame where frames were agreed on.
    pub async fn receive(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        if self.frames.is_none() {
            return self.read(out).await;
        }
        let before = out.len();
        let mut bytes = Vec::new();
        loop {
            while let Some(frame) = self.frames.as_mut().map_or(Ok(None), Frames::whole)? {
                match frame {
                    Frame::Data(payload) => out.extend(payload),
                    Frame::Ping(payload) => self.write(&websocket::pong(&payload, random()?)).await?,
                    Frame::Pong => {}
                    Frame::Close => return Ok(out.len() > before),
                }
            }
            if out.len() > before {
                return Ok(true);
            }
            bytes.clear();
            if !self.read(&mut bytes).await? {
                return Ok(false);
            }
            if let Some(frames) = &mut self.frames {
                frames.feed(&bytes);
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let stream = self.spoken();
        let sent = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        let sent = sent.await;
        sent.map_err(|error| self.failure(&error))
    }

    async fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, Failure> {
        let mut chunk = [0; 4096];
        let count = match self.spoken().read(&mut chunk).await {
            Ok(count) => count,
            Err(error) => return Err(self.failure(&error)),
        };
        self.received += count;
        if self.received > MAX_RECEIVED {
            let detail = format!("the peer sent more than {MAX_RECEIVED} bytes over one connection");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        out.extend(chunk.iter().take(count));
        Ok(count > 0)
    }

    /// Ends the connection in order.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn close(&mut self) -> Result<(), Failure> {
        let closed = self.spoken().shutdown().await;
        closed.map_err(|error| self.failure(&error))
    }
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Failure::new(FailureKind::Error, error))?;
    Ok(bytes)
}
