//! A relay in plaintext that keeps what went through it: what an agent really sends, to the byte.
//!
//! One connection after the other; the requests of one are there to be read as soon as it has ended.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context as _, Result, ensure};

use crate::port::Port;
use crate::process::LIMIT;

/// An HTTP request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The request line and the headers, with the empty line behind them.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Sent {
    /// The value of a header; its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Bytes of head and body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// A relay to one server.
pub struct Relay {
    port: Port,
    sent: Receiver<Vec<u8>>,
    /// Requests of a connection that were not asked for yet.
    further: RefCell<VecDeque<Sent>>,
}

impl Relay {
    /// Starts a relay to `server`. It serves until the process ends.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(server: SocketAddr) -> Result<Self> {
        let port = Port::reserve()?;
        let listener = port.listen()?;
        listener.set_nonblocking(false).context("the listener cannot be made blocking")?;
        let (sender, sent) = channel();
        std::thread::spawn(move || accept(&listener, server, &sender));
        Ok(Self { port, sent, further: RefCell::default() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// The next request that went through.
    ///
    /// # Errors
    /// When none comes in time, or what came is no request.
    pub fn next(&self) -> Result<Sent> {
        let mut further = self.further.borrow_mut();
        if further.is_empty() {
            let bytes = self.sent.recv_timeout(LIMIT).context("nothing went through the relay")?;
            further.extend(requests(&bytes)?);
        }
        further.pop_front().context("a connection without a request")
    }

    /// Whether nothing went through that was not asked for.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.further.borrow().is_empty() && self.sent.try_recv().is_err()
    }
}

/// The requests of one connection.
fn requests(mut bytes: &[u8]) -> Result<Vec<Sent>> {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").context("no end of the head")? + 4;
        let mut sent = Sent { head: String::from_utf8(bytes[..end].to_vec())?, body: Vec::new() };
        let length: usize = sent.header("content-length").unwrap_or("0").parse()?;
        ensure!(bytes.len() - end >= length, "{length} bytes announced, {} came", bytes.len() - end);
        sent.body.extend(&bytes[end..end + length]);
        bytes = &bytes[end + length..];
        requests.push(sent);
    }
    Ok(requests)
}

fn accept(listener: &TcpListener, server: SocketAddr, sender: &Sender<Vec<u8>>) {
    for client in listener.incoming() {
        let Ok(sent) = client.and_then(|client| relay(client, server)) else { continue };
        // An audit looks whether it can connect, and whether it gets an answer to a request for nothing.
        let by_an_audit = sent.is_empty() || sent.starts_with(b"HEAD / ");
        if !by_an_audit && sender.send(sent).is_err() {
            return;
        }
    }
}

/// Carries bytes both ways until both sides are done; gives what the client said.
fn relay(mut client: TcpStream, server: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut up = TcpStream::connect(server)?;
    let (mut down, mut back) = (up.try_clone()?, client.try_clone()?);
    let answers = std::thread::spawn(move || {
        let carried = std::io::copy(&mut down, &mut back);
        // The client waits for no more.
        let _ = back.shutdown(Shutdown::Both);
        carried
    });
    let (mut sent, mut buffer) = (Vec::new(), [0; 8192]);
    loop {
        let read = client.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            break;
        }
        up.write_all(&buffer[..read])?;
        sent.extend(&buffer[..read]);
    }
    let _ = up.shutdown(Shutdown::Both);
    let _ = answers.join();
    Ok(sent)
}
