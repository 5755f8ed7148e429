//! MQTT 3.1, 3.1.1 and 5 on the wire: writes what a probe says, reads what a server answers.
//!
//! Pure, and bounded: a packet of more than [`MAX_PACKET`] bytes is refused by its length alone, before it is there. Whatever is
//! not what the standard lets a server say is a [`Failure`] with words and the first bytes, never a guess. Section numbers are
//! those of MQTT 5, where nothing else is said.

use gatepost_evidence::check::broker_transport_posture::mqtt::Announced;
use gatepost_evidence::look::{Failure, FailureKind};

use crate::probe::wire::hex;

/// The longest packet that is read: no answer to a probe has a reason to be longer.
pub const MAX_PACKET: usize = 16 * 1024;

/// A protocol level (section 3.1.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// MQTT 3.1.
    V31,
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

impl Level {
    /// Every level, oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// Its number on the wire.
    #[must_use]
    pub fn wire(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }

    /// The protocol's name in CONNECT.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V31 => "MQIsdp",
            _ => "MQTT",
        }
    }
}

/// A CONNECT, with room for what is wrong with it.
#[derive(Debug, Clone, Copy)]
pub struct Connect<'a> {
    /// How it is written.
    pub level: Level,
    /// The protocol's name and level, if others than those of `level`.
    pub protocol: Option<(&'a str, u8)>,
    /// Sets the reserved flag.
    pub reserved_flag: bool,
    /// The client id.
    pub client_id: &'a str,
    /// Seconds; 0 for none.
    pub keep_alive: u16,
    /// Seconds; MQTT 5 only.
    pub session_expiry: Option<u32>,
    /// User name and password.
    pub login: Option<(&'a str, &'a str)>,
}

impl<'a> Connect<'a> {
    /// A sound CONNECT that opens a clean session and asks for nothing.
    #[must_use]
    pub fn new(level: Level, client_id: &'a str) -> Self {
        Self {
            level,
            protocol: None,
            reserved_flag: false,
            client_id,
            keep_alive: 10,
            session_expiry: None,
            login: None,
        }
    }

    /// The packet.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let (name, level) = self.protocol.unwrap_or((self.level.name(), self.level.wire()));
        let mut body = Vec::new();
        text(&mut body, name.as_bytes());
        body.push(level);
        let login = if self.login.is_some() { 0xc0 } else { 0 };
        body.push(0x02 | login | u8::from(self.reserved_flag));
        body.extend(self.keep_alive.to_be_bytes());
        if self.level == Level::V5 {
            match self.session_expiry {
                Some(seconds) => {
                    body.extend([5, 17]);
                    body.extend(seconds.to_be_bytes());
                }
                None => body.push(0),
            }
        }
        text(&mut body, self.client_id.as_bytes());
        if let Some((name, password)) = self.login {
            text(&mut body, name.as_bytes());
            text(&mut body, password.as_bytes());
        }
        packet(0x10, &body)
    }
}

/// PINGREQ.
#[must_use]
pub fn pingreq() -> Vec<u8> {
    vec![0xc0, 0]
}

/// DISCONNECT, which in MQTT 5 also ends the session.
#[must_use]
pub fn disconnect(level: Level) -> Vec<u8> {
    match level {
        Level::V5 => vec![0xe0, 7, 0, 5, 17, 0, 0, 0, 0],
        _ => vec![0xe0, 0],
    }
}

/// PUBLISH with QoS 1.
#[must_use]
pub fn publish(level: Level, id: u16, topic: &str, payload: &[u8], retain: bool) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, topic.as_bytes());
    body.extend(id.to_be_bytes());
    if level == Level::V5 {
        body.push(0);
    }
    body.extend(payload);
    packet(0x32 | u8::from(retain), &body)
}

/// PUBACK.
#[must_use]
pub fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

/// SUBSCRIBE to one filter, with QoS 1.
#[must_use]
pub fn subscribe(level: Level, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    if level == Level::V5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    body.push(1);
    packet(0x82, &body)
}

/// UNSUBSCRIBE of at least `bytes` bytes from filters below `topic`: in MQTT 5 one filter and user properties, else many
/// filters.
#[must_use]
pub fn large_unsubscribe(level: Level, id: u16, topic: &str, bytes: usize) -> Vec<u8> {
    const PIECE: usize = 8 * 1024;
    let piece = "x".repeat(PIECE);
    let mut body = id.to_be_bytes().to_vec();
    if level == Level::V5 {
        let mut properties = Vec::new();
        while properties.len() < bytes {
            properties.push(38);
            text(&mut properties, b"gatepost-canary");
            text(&mut properties, piece.as_bytes());
        }
        length(&mut body, properties.len());
        body.extend(properties);
        text(&mut body, topic.as_bytes());
    } else {
        let filter = format!("{topic}/{piece}");
        while body.len() < bytes {
            text(&mut body, filter.as_bytes());
        }
    }
    packet(0xa2, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    length(&mut out, body.len());
    out.extend(body);
    out
}

/// A variable byte integer (section 1.5.5).
fn length(out: &mut Vec<u8>, mut value: usize) {
    loop {
        // Seven bits fit.
        let low = (value & 0x7f) as u8;
        value >>= 7;
        out.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return;
        }
    }
}

/// Text or binary data (sections 1.5.4 and 1.5.6); cut where it would not fit, which nothing here reaches.
fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    let count = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend(count.to_be_bytes());
    out.extend(&bytes[..usize::from(count)]);
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK: return or reason code, and what it announces in MQTT 5.
    Connack {
        /// The code.
        code: u8,
        /// The properties; what was asked for is not in it yet.
        announced: Announced,
    },
    /// PUBLISH.
    Publish {
        /// Its topic.
        topic: Vec<u8>,
        /// Its payload.
        payload: Vec<u8>,
        /// It is marked as retained.
        retain: bool,
        /// The packet id, with QoS 1 or 2.
        id: Option<u16>,
    },
    /// PUBACK, with its reason code; 0 before MQTT 5.
    Puback(u16, u8),
    /// SUBACK, with the code of its only filter.
    Suback(u16, u8),
    /// UNSUBACK.
    Unsuback(u16),
    /// PINGRESP.
    Pingresp,
    /// DISCONNECT of MQTT 5, with its reason code.
    Disconnect(u8),
}

/// Takes bytes as they come, and gives packets.
#[derive(Debug)]
pub struct Reader {
    level: Level,
    bytes: Vec<u8>,
}

impl Reader {
    /// Reads as `level` is written.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self { level, bytes: Vec::new() }
    }

    /// Whether something came that is no whole packet yet.
    #[must_use]
    pub fn within_a_packet(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next whole packet, if it is there.
    ///
    /// # Errors
    /// [`FailureKind::Protocol`] when it is not one that a server may send, [`FailureKind::TooLarge`] when it claims to be long.
    pub fn whole(&mut self) -> Result<Option<Packet>, Failure> {
        let Some((&first, rest)) = self.bytes.split_first() else { return Ok(None) };
        // A peer that does not speak MQTT is told by its first byte; it may never send a second.
        let allowed = match first {
            0x20 | 0x40 | 0x90 | 0xb0 | 0xd0 => true,
            0xe0 => self.level == Level::V5,
            first => first >> 4 == 3 && first & 0x06 != 0x06,
        };
        if !allowed {
            return Err(self.not_mqtt(format_args!("a packet that begins with {first:02x}")));
        }
        let Some((count, rest)) = self.length(rest)? else { return Ok(None) };
        if count > MAX_PACKET {
            let detail = format!("a packet of {count} bytes; at most {MAX_PACKET} are read");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        // A CONNACK of a server that knows no MQTT 5 has two bytes, whatever was asked of it.
        if rest.len() < count {
            return Ok(None);
        }
        let (body, rest) = rest.split_at(count);
        let packet = read(self.level, first, body)
            .ok_or_else(|| self.not_mqtt(format_args!("a packet of {first:02x} that cannot be read")))?;
        self.bytes = rest.to_vec();
        Ok(Some(packet))
    }

    fn length<'a>(&self, bytes: &'a [u8]) -> Result<Option<(usize, &'a [u8])>, Failure> {
        match variable(bytes) {
            Some(found) => Ok(Some(found)),
            None if bytes.len() < 4 => Ok(None),
            None => Err(self.not_mqtt(format_args!("a length of more than four bytes"))),
        }
    }

    fn not_mqtt(&self, what: std::fmt::Arguments<'_>) -> Failure {
        let begin = hex(&self.bytes[..self.bytes.len().min(16)]);
        Failure::new(FailureKind::Protocol, format_args!("the answer has {what}; it begins with {begin}"))
    }
}

/// A variable byte integer and what stands behind it; none when it does not end, or not within four bytes.
fn variable(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

fn read(level: Level, first: u8, body: &[u8]) -> Option<Packet> {
    let five = level == Level::V5;
    Some(match (first >> 4, body) {
        (2, &[0 | 1, code]) if !five || code == 1 => Packet::Connack { code, announced: Announced::default() },
        // A server of MQTT 5 may answer a level that it does not speak in its own way (section 3.1.2.2).
        (2, [0 | 1, code, rest @ ..]) if five || *code == 0x84 => {
            Packet::Connack { code: *code, announced: properties(rest)? }
        }
        (3, body) => publication(five, first, body)?,
        (4, &[a, b]) => Packet::Puback(u16::from_be_bytes([a, b]), 0),
        (4, &[a, b, code]) if five => Packet::Puback(u16::from_be_bytes([a, b]), code),
        (4, &[a, b, code, ref rest @ ..]) if five => {
            properties(rest)?;
            Packet::Puback(u16::from_be_bytes([a, b]), code)
        }
        (9, [a, b, rest @ ..]) => match codes(five, rest)? {
            [code] => Packet::Suback(u16::from_be_bytes([*a, *b]), *code),
            _ => return None,
        },
        (11, [a, b, rest @ ..]) => {
            let codes = codes(five, rest)?;
            // One for each filter in MQTT 5, none before.
            (codes.is_empty() != five).then_some(Packet::Unsuback(u16::from_be_bytes([*a, *b])))?
        }
        (13, []) => Packet::Pingresp,
        (14, []) => Packet::Disconnect(0),
        (14, &[code]) => Packet::Disconnect(code),
        (14, [code, rest @ ..]) => {
            properties(rest)?;
            Packet::Disconnect(*code)
        }
        _ => return None,
    })
}

fn publication(five: bool, first: u8, body: &[u8]) -> Option<Packet> {
    let (topic, rest) = data(body)?;
    let (id, rest) = match (first & 0x06, rest) {
        (0, rest) => (None, rest),
        (_, [a, b, rest @ ..]) => (Some(u16::from_be_bytes([*a, *b])), rest),
        _ => return None,
    };
    let payload = if five { prefixed(rest)?.1 } else { rest };
    Some(Packet::Publish { topic: topic.to_vec(), payload: payload.to_vec(), retain: first & 1 == 1, id })
}

/// The codes of a SUBACK or UNSUBACK, behind properties in MQTT 5.
fn codes(five: bool, rest: &[u8]) -> Option<&[u8]> {
    if five { Some(prefixed(rest)?.1) } else { Some(rest) }
}

/// Text or binary data, and what stands behind it.
fn data(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [a, b, rest @ ..] = bytes else { return None };
    rest.split_at_checked(usize::from(u16::from_be_bytes([*a, *b])))
}

/// Properties behind their length, and what stands behind them.
fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = variable(bytes)?;
    rest.split_at_checked(count)
}

/// What the properties announce that are all of `bytes` (section 2.2.2). One that is there twice, unknown, or has a value that
/// the standard forbids makes the packet malformed.
fn properties(bytes: &[u8]) -> Option<Announced> {
    let (mut rest, behind) = prefixed(bytes)?;
    if !behind.is_empty() {
        return None;
    }
    let mut found = Announced::default();
    let mut seen = [false; 43];
    while let Some((&kind, value)) = rest.split_first() {
        let place = seen.get_mut(usize::from(kind))?;
        // A user property may be there many times.
        if std::mem::replace(place, true) && kind != 38 {
            return None;
        }
        rest = match (kind, value) {
            (17, [a, b, c, d, rest @ ..]) => {
                found.session_expiry = Some(u32::from_be_bytes([*a, *b, *c, *d]));
                rest
            }
            (39, [a, b, c, d, rest @ ..]) => {
                found.maximum_packet_size = Some(u32::from_be_bytes([*a, *b, *c, *d])).filter(|size| *size > 0);
                found.maximum_packet_size?;
                rest
            }
            (19, [a, b, rest @ ..]) => {
                found.server_keep_alive = Some(u16::from_be_bytes([*a, *b]));
                rest
            }
            (33, [a, b, rest @ ..]) => {
                found.receive_maximum = Some(u16::from_be_bytes([*a, *b])).filter(|count| *count > 0);
                found.receive_maximum?;
                rest
            }
            (34, [a, b, rest @ ..]) => {
                found.topic_alias_maximum = Some(u16::from_be_bytes([*a, *b]));
                rest
            }
            (36, [qos @ (0 | 1), rest @ ..]) => {
                found.maximum_qos = Some(*qos);
                rest
            }
            (37 | 40 | 41 | 42, [flag @ (0 | 1), rest @ ..]) => {
                let there = Some(*flag == 1);
                match kind {
                    37 => found.retain_available = there,
                    40 => found.wildcard_subscription_available = there,
                    41 => found.subscription_identifiers_available = there,
                    _ => found.shared_subscription_available = there,
                }
                rest
            }
            // Client id, authentication method and data, response information, server reference, reason.
            (18 | 21 | 22 | 26 | 28 | 31, value) => {
                found.client_id_assigned |= kind == 18;
                data(value)?.1
            }
            (38, value) => data(data(value)?.1)?.1,
            _ => return None,
        };
    }
    Some(found)
}
