//! A relay for MQTT in plaintext that decides about every packet.
//!
//! The broker is dialled when the client's first packet was let through, so that a rule can restart the broker before.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::port::Port;

/// What a packet is, as far as rules ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// CONNECT.
    Connect,
    /// PUBLISH with this QoS.
    Publish(u8),
    /// PUBACK or PUBCOMP.
    Acknowledgement,
    /// DISCONNECT.
    Disconnect,
    /// Any other.
    Other,
}

/// A packet on its way.
#[derive(Debug)]
pub struct Frame<'a> {
    /// From the client to the broker.
    pub up: bool,
    /// Its kind.
    pub kind: Kind,
    /// All of it.
    pub bytes: &'a [u8],
}

impl Frame<'_> {
    /// Whether `words` stand in it.
    #[must_use]
    pub fn has(&self, words: &str) -> bool {
        self.bytes.windows(words.len()).any(|window| window == words.as_bytes())
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Pass,
    /// It is lost. A message of QoS 1 is acknowledged in the receiver's name, so that it is not sent again.
    Lose,
    /// It goes on twice.
    Double,
    /// It goes on after this time, and whatever is behind it, too.
    Late(Duration),
    /// It goes on behind the next one of its type and QoS.
    Swap,
    /// Both sides are cut off.
    Cut,
}

type Rule = Arc<Mutex<dyn FnMut(&Frame<'_>) -> Fate + Send>>;

/// A relay.
pub struct Relay {
    port: Port,
}

impl Relay {
    /// Starts a relay to `broker` under `rule`. It serves until the process ends.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(broker: SocketAddr, rule: impl FnMut(&Frame<'_>) -> Fate + Send + 'static) -> Result<Self> {
        let port = Port::reserve()?;
        let listener = port.listen()?;
        listener.set_nonblocking(false)?;
        let rule: Rule = Arc::new(Mutex::new(rule));
        std::thread::spawn(move || accept(&listener, broker, &rule));
        Ok(Self { port })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }
}

fn accept(listener: &TcpListener, broker: SocketAddr, rule: &Rule) {
    for client in listener.incoming().flatten() {
        let rule = rule.clone();
        std::thread::spawn(move || {
            // What ends a connection is what a client of a real relay would meet, too.
            let _ = serve(&client, broker, &rule);
            let _ = client.shutdown(Shutdown::Both);
        });
    }
}

fn serve(client: &TcpStream, broker: SocketAddr, rule: &Rule) -> std::io::Result<()> {
    let mut first = client.try_clone()?;
    let Some(connect) = frame(&mut first)? else { return Ok(()) };
    if decide(rule, true, &connect) == Fate::Cut {
        return Ok(());
    }
    let mut server = TcpStream::connect(broker)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    server.write_all(&connect)?;
    let (down_from, down_to, down_rule) = (server.try_clone()?, client.try_clone()?, rule.clone());
    let down = std::thread::spawn(move || {
        let _ = carry(&down_from, &down_to, false, &down_rule);
        let _ = down_to.shutdown(Shutdown::Both);
    });
    let carried = carry(client, &server, true, rule);
    let _ = server.shutdown(Shutdown::Both);
    let _ = down.join();
    carried
}

fn decide(rule: &Rule, up: bool, bytes: &[u8]) -> Fate {
    let kind = match bytes.first().map_or(0, |first| first >> 4) {
        1 => Kind::Connect,
        3 => Kind::Publish((bytes[0] >> 1) & 3),
        4 | 7 => Kind::Acknowledgement,
        14 => Kind::Disconnect,
        _ => Kind::Other,
    };
    let mut rule = rule.lock().unwrap_or_else(PoisonError::into_inner);
    rule(&Frame { up, kind, bytes })
}

/// Carries packets one way until the end.
fn carry(from: &TcpStream, to: &TcpStream, up: bool, rule: &Rule) -> std::io::Result<()> {
    let (mut reader, mut writer) = (from.try_clone()?, to.try_clone()?);
    let mut behind: Option<Vec<u8>> = None;
    while let Some(bytes) = frame(&mut reader)? {
        match decide(rule, up, &bytes) {
            Fate::Pass => writer.write_all(&bytes)?,
            Fate::Double => {
                writer.write_all(&bytes)?;
                writer.write_all(&bytes)?;
            }
            Fate::Lose => {
                if let Some(id) = id_of(&bytes) {
                    from.try_clone()?.write_all(&[0x40, 2, id[0], id[1]])?;
                }
            }
            Fate::Late(time) => {
                std::thread::sleep(time);
                writer.write_all(&bytes)?;
            }
            Fate::Swap => {
                behind = Some(bytes);
                continue;
            }
            Fate::Cut => return Ok(()),
        }
        // Type and QoS: what goes in between, such as acknowledgements, swaps places with nothing.
        let sort = |bytes: &[u8]| bytes.first().map(|first| first & 0xf6);
        if let Some(late) = behind.take_if(|late| sort(late) == sort(&bytes)) {
            writer.write_all(&late)?;
        }
    }
    Ok(())
}

/// The packet id of a message of QoS 1.
fn id_of(bytes: &[u8]) -> Option<[u8; 2]> {
    if bytes.first()? & 0xf6 != 0x32 {
        return None;
    }
    let begin = 1 + bytes.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 1;
    let topic = (usize::from(*bytes.get(begin)?) << 8) | usize::from(*bytes.get(begin + 1)?);
    Some([*bytes.get(begin + 2 + topic)?, *bytes.get(begin + 3 + topic)?])
}

/// The next packet as a whole; none at the end.
fn frame(from: &mut impl Read) -> std::io::Result<Option<Vec<u8>>> {
    let mut byte = [0];
    if from.read(&mut byte)? == 0 {
        return Ok(None);
    }
    let mut bytes = byte.to_vec();
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        from.read_exact(&mut byte)?;
        bytes.push(byte[0]);
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 || shift > 21 {
            break;
        }
    }
    let begin = bytes.len();
    bytes.resize(begin + length, 0);
    from.read_exact(&mut bytes[begin..])?;
    Ok(Some(bytes))
}
