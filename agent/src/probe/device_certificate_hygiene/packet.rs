//! The few MQTT packets that a challenge needs, versions 3.1.1 and 5: written, and read from a broker that may lie.
//!
//! Pure. Reading never takes more than [`MAX_PACKET`] bytes, believes no length before it has checked it, and knows what it
//! does not know: every other packet is [`Packet::Other`].

/// The most bytes of a packet that is read; the largest answer has half of it.
pub const MAX_PACKET: usize = 16 * 1024;

/// The version that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V4,
    /// MQTT 5.
    V5,
}

/// A packet of the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet {
    /// CONNACK with its code.
    Connected(u8),
    /// SUBACK of one filter, with its code.
    Subscribed(u8),
    /// PUBACK with its code; 0 where there is none.
    Published(u8),
    /// A message. With QoS 1 its id, to be acknowledged.
    Message {
        /// Its topic.
        topic: Vec<u8>,
        /// Its payload.
        payload: Vec<u8>,
        /// To be acknowledged.
        id: Option<u16>,
    },
    /// DISCONNECT with its code.
    Disconnected(u8),
    /// Something else.
    Other,
}

/// Why bytes are no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPacket {
    /// More than is read.
    #[error("a packet of {0} bytes; at most {MAX_PACKET} are read")]
    TooLarge(usize),
    /// Its length is no length.
    #[error("a packet whose length has more than four bytes")]
    Length,
    /// It ends within something.
    #[error("a packet that ends too early")]
    Short,
}

/// The first packet in `bytes` and how many bytes it has; `None` while it is not whole.
///
/// # Errors
/// When no packet of ours can come of it.
pub fn read(bytes: &[u8], version: Version) -> Result<Option<(Packet, usize)>, NoPacket> {
    let Some((kind, rest)) = bytes.split_first() else { return Ok(None) };
    let Some((length, header)) = variable(rest)? else { return Ok(None) };
    if length > MAX_PACKET {
        return Err(NoPacket::TooLarge(length));
    }
    let Some(body) = rest.get(header..header + length) else { return Ok(None) };
    Ok(Some((packet(*kind, body, version)?, 1 + header + length)))
}

/// A length of up to four bytes of seven bits, and how many bytes it took.
fn variable(bytes: &[u8]) -> Result<Option<(usize, usize)>, NoPacket> {
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate().take(4) {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((length, index + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(NoPacket::Length) }
}

fn packet(kind: u8, mut body: &[u8], version: Version) -> Result<Packet, NoPacket> {
    let byte = |body: &mut &[u8]| body.split_off_first().copied().ok_or(NoPacket::Short);
    Ok(match kind >> 4 {
        2 => {
            let _flags = byte(&mut body)?;
            Packet::Connected(byte(&mut body)?)
        }
        9 => {
            number(&mut body)?;
            skip_properties(&mut body, version)?;
            Packet::Subscribed(byte(&mut body)?)
        }
        4 => {
            number(&mut body)?;
            Packet::Published(body.first().copied().unwrap_or(0))
        }
        3 => {
            let length = usize::from(number(&mut body)?);
            let topic = body.split_off(..length).ok_or(NoPacket::Short)?.to_vec();
            let id = if kind & 0x06 == 0 { None } else { Some(number(&mut body)?) };
            skip_properties(&mut body, version)?;
            Packet::Message { topic, payload: body.to_vec(), id }
        }
        14 => Packet::Disconnected(body.first().copied().unwrap_or(0)),
        _ => Packet::Other,
    })
}

fn number(body: &mut &[u8]) -> Result<u16, NoPacket> {
    let bytes: [u8; 2] = *body.split_off(..2).and_then(<[u8]>::as_array).ok_or(NoPacket::Short)?;
    Ok(u16::from_be_bytes(bytes))
}

fn skip_properties(body: &mut &[u8], version: Version) -> Result<(), NoPacket> {
    if version == Version::V5 {
        let (length, header) = variable(body)?.ok_or(NoPacket::Short)?;
        body.split_off(..header + length).ok_or(NoPacket::Short)?;
    }
    Ok(())
}

/// CONNECT with a clean session.
#[must_use]
pub fn connect(version: Version, client_id: &str, credentials: Option<(&str, &str)>) -> Vec<u8> {
    let (level, login) = (if version == Version::V5 { 5 } else { 4 }, if credentials.is_some() { 0xc0 } else { 0 });
    let mut body = text("MQTT");
    body.extend([level, 0x02 | login, 0, KEEP_ALIVE]);
    body.extend(properties(version, &[]));
    body.extend(text(client_id));
    if let Some((name, password)) = credentials {
        body.extend(text(name));
        body.extend(text(password));
    }
    framed(0x10, &body)
}

/// SUBSCRIBE with QoS 1, without what the broker kept of before where the version can say so.
#[must_use]
pub fn subscribe(version: Version, filter: &str) -> Vec<u8> {
    const NOTHING_RETAINED: u8 = 0x20;
    let mut body = vec![0, 1];
    body.extend(properties(version, &[]));
    body.extend(text(filter));
    body.push(if version == Version::V5 { 1 | NOTHING_RETAINED } else { 1 });
    framed(0x82, &body)
}

/// PUBLISH with QoS 1, not retained; after `expires` seconds it is not delivered any more where the version can say so.
#[must_use]
pub fn publish(version: Version, topic: &str, payload: &[u8], expires: u32) -> Vec<u8> {
    const MESSAGE_EXPIRY: u8 = 2;
    let mut body = text(topic);
    body.extend([0, 2]);
    body.extend(properties(version, &[&[MESSAGE_EXPIRY], &expires.to_be_bytes()[..]].concat()));
    body.extend(payload);
    framed(0x32, &body)
}

/// PUBACK.
#[must_use]
pub fn acknowledge(id: u16) -> Vec<u8> {
    framed(0x40, &id.to_be_bytes())
}

/// DISCONNECT.
#[must_use]
pub fn disconnect() -> Vec<u8> {
    framed(0xe0, &[])
}

/// Seconds; a challenge is over long before.
const KEEP_ALIVE: u8 = 60;

fn properties(version: Version, properties: &[u8]) -> Vec<u8> {
    match version {
        Version::V4 => Vec::new(),
        Version::V5 => [&length(properties.len())[..], properties].concat(),
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], &text.as_bytes()[..usize::from(length)]].concat()
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &length(body.len()), body].concat()
}

fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(length % 128).unwrap_or_default();
        length /= 128;
        if length == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(version: Version) -> Vec<u8> {
        let mut bytes = publish(version, "a/b", b"payload", 7);
        // As the broker would send it: with an id of its own.
        let id = bytes.windows(2).position(|pair| pair == [0, 2]).unwrap();
        bytes[id + 1] = 9;
        bytes
    }

    #[test]
    fn a_message_is_read_whole_or_not_at_all() {
        for version in [Version::V4, Version::V5] {
            let bytes = message(version);
            let expected = Packet::Message { topic: b"a/b".to_vec(), payload: b"payload".to_vec(), id: Some(9) };
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut], version), Ok(None), "{cut}");
            }
            assert_eq!(read(&[&bytes[..], b"rest"].concat(), version), Ok(Some((expected, bytes.len()))));
        }
    }

    #[test]
    fn answers_of_a_broker_have_their_codes() {
        assert_eq!(read(&[0x20, 2, 0, 5], Version::V4), Ok(Some((Packet::Connected(5), 4))));
        assert_eq!(read(&[0x20, 3, 0, 0x84, 0], Version::V5), Ok(Some((Packet::Connected(0x84), 5))));
        assert_eq!(read(&[0x90, 3, 0, 1, 0x80], Version::V4), Ok(Some((Packet::Subscribed(0x80), 5))));
        assert_eq!(read(&[0x90, 4, 0, 1, 0, 0x87], Version::V5), Ok(Some((Packet::Subscribed(0x87), 6))));
        assert_eq!(read(&[0x40, 2, 0, 2], Version::V5), Ok(Some((Packet::Published(0), 4))));
        assert_eq!(read(&[0x40, 4, 0, 2, 0x10, 0], Version::V5), Ok(Some((Packet::Published(0x10), 6))));
        assert_eq!(read(&[0xe0, 2, 0x8e, 0], Version::V5), Ok(Some((Packet::Disconnected(0x8e), 4))));
        assert_eq!(read(&[0xd0, 0], Version::V5), Ok(Some((Packet::Other, 2))));
    }

    #[test]
    fn a_broker_that_lies_is_no_reason_to_wait_or_to_break() {
        assert_eq!(read(&[0x30, 0xff, 0xff, 0xff, 0xff, 0], Version::V5), Err(NoPacket::Length));
        assert_eq!(read(&[0x30, 0xff, 0xff, 0xff, 0x7f], Version::V5), Err(NoPacket::TooLarge(268_435_455)));
        assert_eq!(read(&[0x30, 1, 0], Version::V5), Err(NoPacket::Short));
        assert_eq!(read(&[0x32, 4, 0, 9, b'a', b'b'], Version::V4), Err(NoPacket::Short));
        assert_eq!(read(&[0x30, 4, 0, 1, b'a', 0x80], Version::V5), Err(NoPacket::Short));
        assert_eq!(read(&[0x30, 5, 0, 1, b'a', 9, 0], Version::V5), Err(NoPacket::Short));
        assert_eq!(read(&[0x20, 1, 0], Version::V4), Err(NoPacket::Short));
    }
}
