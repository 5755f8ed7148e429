//! Peers that do not behave like servers: one that hangs, and one that counts what it is told.
//!
//! They answer nobody. What they saw can be waited for, and they end with their owner.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::{ServerConfig, ServerConnection};

use crate::pki::Identity;
use crate::port::Port;
use crate::tls;

/// The longest that a counting peer listens to one client.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a peer saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections that were opened.
    pub connections: usize,
    /// Connections that it was done with.
    pub closed: usize,
    /// TLS handshakes that were finished.
    pub handshakes: usize,
    /// Bytes that came inside TLS.
    pub bytes: usize,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    news: Condvar,
    /// Connections that are kept open; none any more once it ends.
    kept: Mutex<Option<Vec<TcpStream>>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn saw(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut locked(&self.seen));
        self.news.notify_all();
    }
}

/// A server that gives no answer.
pub struct Peer {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<std::thread::JoinHandle<()>>,
    _port: Option<Port>,
}

impl Peer {
    /// Accepts connections, says nothing, and never closes them, on a port of its own.
    ///
    /// # Errors
    /// When there is no port.
    pub fn hanging() -> Result<Self> {
        let port = Port::reserve()?;
        let mut peer = Self::hanging_on(&port)?;
        peer._port = Some(port);
        Ok(peer)
    }

    /// As [`Self::hanging`], on `port`.
    ///
    /// # Errors
    /// When somebody listens there already.
    pub(crate) fn hanging_on(port: &Port) -> Result<Self> {
        Self::start(port.listen()?, |shared, stream| {
            if let Some(kept) = locked(&shared.kept).as_mut() {
                kept.push(stream);
            }
            shared.saw(|seen| seen.connections += 1);
        })
    }

    /// A TLS server that presents `identity`, reads what comes, and closes without an answer.
    ///
    /// # Errors
    /// When there is no port, or the identity cannot be read.
    pub fn counting(identity: &Identity) -> Result<Self> {
        let (port, config) = (Port::reserve()?, tls::server(identity)?);
        let mut peer = Self::start(port.listen()?, move |shared, stream| {
            shared.saw(|seen| seen.connections += 1);
            // The client breaking off is what this peer is there to see.
            let _ = listen_to(shared, &config, stream);
            shared.saw(|seen| seen.closed += 1);
        })?;
        peer._port = Some(port);
        Ok(peer)
    }

    fn start(listener: TcpListener, meet: impl Fn(&Shared, TcpStream) + Send + 'static) -> Result<Self> {
        let address = listener.local_addr().context("the listener has no address")?;
        listener.set_nonblocking(false).context("the listener cannot be made blocking")?;
        let shared = Arc::new(Shared { kept: Mutex::new(Some(Vec::new())), ..Shared::default() });
        let inside = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if locked(&inside.kept).is_none() {
                    break;
                }
                if let Ok(stream) = stream {
                    meet(&inside, stream);
                }
            }
        });
        Ok(Self { shared, address, accepting: Some(accepting), _port: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it saw so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *locked(&self.shared.seen)
    }

    /// Waits until `enough` says so.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub fn wait_for(&self, limit: Duration, enough: impl Fn(&Seen) -> bool) -> Result<Seen> {
        let waiting = self.shared.news.wait_timeout_while(locked(&self.shared.seen), limit, |seen| !enough(seen));
        let (seen, outcome) = waiting.unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            bail!("what was waited for did not happen within {} s: {seen:?}", limit.as_secs_f32());
        }
        Ok(*seen)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        *locked(&self.shared.kept) = None;
        // Wakes the thread, which sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn listen_to(shared: &Shared, config: &Arc<ServerConfig>, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut tls = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut shaken = false;
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut stream)?;
        }
        if !tls.is_handshaking() && !shaken {
            shaken = true;
            shared.saw(|seen| seen.handshakes += 1);
        }
        match tls.read_tls(&mut stream) {
            Ok(0) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => drop(read?),
        }
        let state = tls.process_new_packets().map_err(std::io::Error::other)?;
        let count = state.plaintext_bytes_to_read();
        let mut told = vec![0; count];
        std::io::Read::read_exact(&mut tls.reader(), &mut told)?;
        shared.saw(|seen| seen.bytes += count);
        if count > 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;
    use crate::pki::Pki;

    #[test]
    fn a_hanging_peer_takes_connections_and_says_nothing() {
        let port = Port::reserve().unwrap();
        let peer = Peer::hanging_on(&port).unwrap();
        let mut client = TcpStream::connect(peer.address()).unwrap();
        peer.wait_for(PATIENCE, |seen| seen.connections == 1).unwrap();
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(peer);
        assert!(TcpStream::connect(port.address()).is_err());
    }

    #[test]
    fn a_counting_peer_counts_only_what_comes_inside_tls() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::create(&folder.path().join("pki")).unwrap();
        let peer = Peer::counting(&pki.sink).unwrap();
        TcpStream::connect(peer.address()).unwrap().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let seen = peer.wait_for(PATIENCE, |seen| seen.closed == 1).unwrap();
        assert_eq!((seen.handshakes, seen.bytes), (0, 0));
        let client = tls::client(&pki.ca, None).unwrap();
        let mut tls = rustls::ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
        let mut stream = TcpStream::connect(peer.address()).unwrap();
        rustls::Stream::new(&mut tls, &mut stream).write_all(b"hello").unwrap();
        let seen = peer.wait_for(PATIENCE, |seen| seen.closed == 2).unwrap();
        assert_eq!((seen.handshakes, seen.bytes), (1, 5));
    }
}
