//! One TCP connection of a probe: dialled within a limit, and observed while it is used.
//!
//! Every stage of a look has a limit of its own and all of them together a deadline, so that a peer that hangs gives a
//! failed look with its reason and never a probe that does not return. Acknowledgements are sent at once: a delayed one
//! would add up to 40 ms that the peer's small packets wait for, and report them as the peer's own time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use gatepost_evidence::look::{Failure, FailureKind};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::IpMtu;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::http;

/// How long the stages of a look may take, and how much is done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// To resolve a name and connect.
    pub dial: Duration,
    /// From ClientHello to Finished.
    pub handshake: Duration,
    /// From a request to its answer.
    pub answer: Duration,
    /// For everything that is looked at for one target; shorter than the probe's own limit.
    pub total: Duration,
    /// How many listeners are looked at side by side; each has one or two connections.
    pub at_once: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            dial: Duration::from_secs(3),
            handshake: Duration::from_secs(3),
            answer: Duration::from_secs(3),
            total: Duration::from_secs(17),
            at_once: 4,
        }
    }
}

impl Limits {
    /// Starts the clock: the stages' limits, cut off at `total` from now.
    #[must_use]
    pub fn start(self) -> Budget {
        Budget { limits: self, end: Instant::now() + self.total }
    }
}

/// Limits whose clock is running.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    limits: Limits,
    end: Instant,
}

impl Budget {
    /// The limits it started from.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How much time is left of all.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// The same limits, cut off at `total` from now if that is sooner.
    #[must_use]
    pub fn within(&self, total: Duration) -> Self {
        Self { limits: self.limits, end: self.end.min(Instant::now() + total) }
    }

    /// Waits for `stage`, called `what`, for at most `limit` and not beyond the end.
    ///
    /// # Errors
    /// The stage's own failure, or that it took too long.
    pub async fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        stage: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let end = self.end.min(Instant::now() + limit);
        match tokio::time::timeout_at(end, stage).await {
            Ok(result) => result,
            Err(_) if end == self.end => {
                Err(Failure::new(FailureKind::TimedOut, format_args!("no time was left for {what}")))
            }
            Err(_) => Err(Failure::new(
                FailureKind::TimedOut,
                format_args!("{what} took longer than {} ms", limit.as_millis()),
            )),
        }
    }
}

/// A TCP connection that remembers the first bytes it received.
///
/// Writing to a connection that the peer has ended is no error: the peer may have said why before it did, such as the
/// alert of a TLS server that was shown no certificate, and the next read tells, or tells that it said nothing.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

/// How many of the first bytes are remembered.
const REMEMBERED: usize = 16;

impl Wire {
    /// The first bytes that were received, hexadecimal, for the detail of a failure.
    #[must_use]
    pub fn first_bytes(&self) -> String {
        hex(&self.received)
    }

    /// Whether anything was received at all.
    #[must_use]
    pub fn heard_anything(&self) -> bool {
        !self.received.is_empty()
    }

    /// The largest packet that the kernel believes to fit through to the peer (`IP_MTU`, ip(7)); none over IPv6.
    #[must_use]
    pub fn path_mtu(&self) -> Option<u64> {
        let ipv4 = self.stream.peer_addr().is_ok_and(|peer| peer.is_ipv4());
        let mtu = ipv4.then(|| getsockopt(&self.stream, IpMtu).ok()).flatten();
        mtu.and_then(|mtu| u64::try_from(mtu).ok())
    }

    /// Best effort: a platform that refuses costs the figures 40 ms and nothing else.
    fn acknowledge_at_once(&self) {
        let _ = self.stream.set_quickack(true);
    }
}

/// `bytes` in hexadecimal, without separators.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Connects to `address` (`host:port`); with it the microseconds that the connection took, without name resolution.
///
/// # Errors
/// When the name does not resolve, nobody listens, or the limit is over.
pub async fn dial(address: &str, budget: &Budget) -> Result<(Wire, u64), Failure> {
    let connect = async {
        let mut last = None;
        let resolved = tokio::net::lookup_host(address).await.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidInput => Failure::new(FailureKind::Error, format_args!("{address} is not host:port")),
            _ => Failure::new(FailureKind::Unreachable, format_args!("{address}: {error}")),
        })?;
        for socket_address in resolved {
            let begin = Instant::now();
            match TcpStream::connect(socket_address).await {
                Ok(stream) => return Ok((stream, micros_since(begin))),
                Err(error) => last = Some(Failure::new(http::io_kind(&error), format_args!("{address}: {error}"))),
            }
        }
        Err(last.unwrap_or_else(|| Failure::new(FailureKind::Unreachable, format_args!("{address} has no address"))))
    };
    let (stream, micros) = budget.wait(&format!("connecting to {address}"), budget.limits.dial, connect).await?;
    // Without it the figures would be those of Nagle's algorithm; a failure here shows at the first write anyway.
    let _ = stream.set_nodelay(true);
    Ok((Wire { stream, received: Vec::new() }, micros))
}

/// Whole microseconds since `begin`.
#[must_use]
pub fn micros_since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if polled.is_ready() {
            let room = REMEMBERED.saturating_sub(this.received.len());
            this.received.extend(buffer.filled().iter().skip(before).take(room));
            this.acknowledge_at_once();
        }
        polled
    }
}

impl Wire {
    fn written(&self, polled: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        if polled.is_ready() {
            self.acknowledge_at_once();
        }
        match polled {
            Poll::Ready(Err(error)) if http::io_kind(&error) == FailureKind::Closed => Poll::Ready(Ok(length)),
            polled => polled,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.written(polled, bytes.len())
    }

    /// One segment for one flight of a handshake.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.written(polled, slices.iter().map(|slice| slice.len()).sum())
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_port_is_refused_and_a_bad_address_is_an_error() {
        let budget = Limits::default().start();
        // Port 1 of loopback: bound by nobody without privileges.
        assert_eq!(dial("127.0.0.1:1", &budget).await.unwrap_err().kind, FailureKind::Refused);
        assert_eq!(dial("no port", &budget).await.unwrap_err().kind, FailureKind::Error);
        assert_eq!(dial("name.invalid:1883", &budget).await.unwrap_err().kind, FailureKind::Unreachable);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stage_ends_at_its_own_limit_or_at_the_common_end() {
        let budget = Limits { total: Duration::from_secs(5), ..Limits::default() }.start();
        let forever = || std::future::pending::<Result<(), Failure>>();
        let own = budget.wait("the stage", Duration::from_secs(3), forever()).await.unwrap_err();
        assert_eq!(own.detail, "the stage took longer than 3000 ms");
        let common = budget.wait("the stage", Duration::from_secs(3), forever()).await.unwrap_err();
        assert_eq!(common.detail, "no time was left for the stage");
        assert_eq!(common.kind, FailureKind::TimedOut);
    }
}
