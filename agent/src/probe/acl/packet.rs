//! The few packets of MQTT 3.1.1 and 5 that a look at rights needs, written and read without any I/O.
//!
//! A PUBLISH is read up to its topic; what follows, the payload above all, is counted and dropped byte by byte and stands
//! nowhere. Lengths are bounded before anything is kept, since a peer may say what it likes.

/// MQTT 3.1.1.
pub const V4: u8 = 4;
/// MQTT 5.
pub const V5: u8 = 5;
/// The most bytes of one packet that is not a PUBLISH.
const MAX_PACKET: usize = 16 * 1024;
/// The most bytes of one PUBLISH; one that is longer ends the look.
const MAX_PUBLISH: usize = 4 * 1024 * 1024;

/// What a client says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hello<'a> {
    /// Its client id.
    pub id: &'a str,
    /// Its user name.
    pub username: Option<&'a str>,
    /// Its password.
    pub password: Option<&'a str>,
    /// The topic of its will, which has no content.
    pub will: Option<&'a str>,
}

/// CONNECT with a clean session (MQTT 3.1.1 and 5, section 3.1).
#[must_use]
pub fn connect(level: u8, hello: &Hello<'_>) -> Vec<u8> {
    let will = if hello.will.is_some() { 0b0000_0100 } else { 0 };
    let username = if hello.username.is_some() { 0b1000_0000 } else { 0 };
    let password = if hello.password.is_some() { 0b0100_0000 } else { 0 };
    let mut body = text("MQTT");
    body.extend([level, 0b0000_0010 | will | username | password, 0, 30]);
    properties(level, &mut body);
    body.extend(text(hello.id));
    if let Some(topic) = hello.will {
        properties(level, &mut body);
        body.extend(text(topic));
        body.extend(text(""));
    }
    for part in [hello.username, hello.password].into_iter().flatten() {
        body.extend(text(part));
    }
    packet(0x10, &body)
}

/// SUBSCRIBE with QoS 0 (section 3.8).
#[must_use]
pub fn subscribe(level: u8, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    properties(level, &mut body);
    body.extend(text(filter));
    body.push(0);
    packet(0x82, &body)
}

/// PUBLISH with QoS 1, not retained, without content (section 3.3).
#[must_use]
pub fn publish(level: u8, id: u16, topic: &str) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(id.to_be_bytes());
    properties(level, &mut body);
    packet(0x32, &body)
}

/// PINGREQ (section 3.12).
pub const PING: &[u8] = &[0xc0, 0];
/// DISCONNECT (section 3.14); in MQTT 5 without a reason it is the same.
pub const DISCONNECT: &[u8] = &[0xe0, 0];

fn properties(level: u8, body: &mut Vec<u8>) {
    if level == V5 {
        body.push(0);
    }
}

fn text(text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(0xffff)];
    let mut out = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes().to_vec();
    out.extend_from_slice(bytes);
    out
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    let mut length = body.len();
    loop {
        let digit = u8::try_from(length % 128).unwrap_or(0);
        length /= 128;
        out.push(if length > 0 { digit | 0x80 } else { digit });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(body);
    out
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// CONNACK with its code.
    Connack(u8),
    /// SUBACK with its packet identifier and first code.
    Suback(u16, u8),
    /// PUBACK with its packet identifier; the reason code in MQTT 5, where none said is success.
    Puback(u16, Option<u8>),
    /// A message on this topic.
    Message(String),
    /// PINGRESP.
    Pong,
    /// DISCONNECT of MQTT 5, with its reason code.
    Disconnect(u8),
}

/// Reads packets out of whatever pieces come.
#[derive(Debug)]
pub struct Reader {
    level: u8,
    buffer: Vec<u8>,
    /// Bytes of a message still to be dropped.
    skip: usize,
}

impl Reader {
    /// A reader of what a server sends at `level`.
    #[must_use]
    pub fn new(level: u8) -> Self {
        Self { level, buffer: Vec::new(), skip: 0 }
    }

    /// Takes `bytes` in, without those of payloads.
    pub fn feed(&mut self, bytes: &[u8]) {
        let dropped = self.skip.min(bytes.len());
        self.skip -= dropped;
        self.buffer.extend_from_slice(&bytes[dropped..]);
    }

    /// The next packet, if all that matters of it is there.
    ///
    /// # Errors
    /// When what came is not MQTT, or is too long.
    pub fn next_packet(&mut self) -> Result<Option<Incoming>, &'static str> {
        let Some((header, length)) = length(&self.buffer)? else { return Ok(None) };
        let kind = self.buffer[0] >> 4;
        if kind == 3 {
            return self.message(header, length);
        }
        if length > MAX_PACKET {
            return Err("a packet is too long");
        }
        let Some(body) = self.buffer.get(header..header + length) else { return Ok(None) };
        let incoming = answer(self.level, kind, body)?;
        self.buffer.drain(..header + length);
        Ok(Some(incoming))
    }

    fn message(&mut self, header: usize, length: usize) -> Result<Option<Incoming>, &'static str> {
        if length > MAX_PUBLISH {
            return Err("a message is too long");
        }
        let Some(size) = self.buffer.get(header..header + 2) else { return Ok(None) };
        let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
        if size + 2 > length {
            return Err("a message is shorter than its topic");
        }
        let Some(topic) = self.buffer.get(header + 2..header + 2 + size) else { return Ok(None) };
        let topic = String::from_utf8_lossy(topic).into_owned();
        let there = (header + length).min(self.buffer.len());
        self.skip = header + length - there;
        self.buffer.drain(..there);
        Ok(Some(Incoming::Message(topic)))
    }
}

/// The bytes of a fixed header and the length it tells (section 2.2.3).
fn length(bytes: &[u8]) -> Result<Option<(usize, usize)>, &'static str> {
    let mut length = 0;
    for (index, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((index + 2, length)));
        }
    }
    if bytes.len() > 4 { Err("the length of a packet has more than four bytes") } else { Ok(None) }
}

fn answer(level: u8, kind: u8, body: &[u8]) -> Result<Incoming, &'static str> {
    let id = || match body {
        [one, two, ..] => Ok(u16::from_be_bytes([*one, *two])),
        _ => Err("an acknowledgement has no packet identifier"),
    };
    match kind {
        2 => body.get(1).map(|code| Incoming::Connack(*code)).ok_or("a CONNACK has no code"),
        4 => {
            let code = if level == V5 { Some(body.get(2).copied().unwrap_or(0)) } else { None };
            Ok(Incoming::Puback(id()?, code))
        }
        9 => {
            let start = match (level, body.get(2..)) {
                (V5, Some(rest)) => {
                    // Properties begin with their length, written as that of a packet.
                    let padded = [&[0], rest].concat();
                    let (header, length) = length(&padded)?.ok_or("a SUBACK has no properties")?;
                    2 + header - 1 + length
                }
                _ => 2,
            };
            body.get(start).map(|code| id().map(|id| Incoming::Suback(id, *code))).ok_or("a SUBACK has no code")?
        }
        13 => Ok(Incoming::Pong),
        14 => Ok(Incoming::Disconnect(body.first().copied().unwrap_or(0))),
        _ => Err("a packet came that no server sends to such a client"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(level: u8, pieces: &[&[u8]]) -> Vec<Result<Incoming, &'static str>> {
        let mut reader = Reader::new(level);
        let mut read = Vec::new();
        for piece in pieces {
            reader.feed(piece);
            loop {
                match reader.next_packet() {
                    Ok(Some(incoming)) => read.push(Ok(incoming)),
                    Ok(None) => break,
                    Err(words) => {
                        read.push(Err(words));
                        return read;
                    }
                }
            }
            assert!(reader.buffer.len() < MAX_PACKET);
        }
        read
    }

    /// Against a codec that others wrote.
    #[test]
    fn what_is_written_is_what_rumqttc_reads() {
        use bytes::BytesMut;
        use rumqttc::mqttbytes::v4::Packet as Four;
        use rumqttc::v5::mqttbytes::v5::Packet as Five;
        let hello = Hello { id: "canary", username: Some("u"), password: Some("p"), will: Some("a/will") };
        let four = |bytes: Vec<u8>| Four::read(&mut BytesMut::from(&bytes[..]), 1000).unwrap();
        let five = |bytes: Vec<u8>| Five::read(&mut BytesMut::from(&bytes[..]), Some(1000)).unwrap();
        let Four::Connect(read) = four(connect(V4, &hello)) else { panic!("no CONNECT") };
        assert_eq!((read.client_id.as_str(), read.clean_session), ("canary", true));
        assert_eq!(read.login.map(|login| (login.username, login.password)), Some(("u".into(), "p".into())));
        assert_eq!(read.last_will.map(|will| (will.topic, will.retain)), Some(("a/will".into(), false)));
        let Five::Connect(read, will, login) = five(connect(V5, &hello)) else { panic!("no CONNECT") };
        assert_eq!((read.client_id.as_str(), read.clean_start), ("canary", true));
        assert!(will.is_some_and(|will| will.topic == "a/will") && login.is_some_and(|login| login.username == "u"));
        let Four::Subscribe(read) = four(subscribe(V4, 7, "$SYS/#")) else { panic!("no SUBSCRIBE") };
        assert_eq!((read.pkid, read.filters[0].path.as_str()), (7, "$SYS/#"));
        let Five::Subscribe(read) = five(subscribe(V5, 7, "#")) else { panic!("no SUBSCRIBE") };
        assert_eq!((read.pkid, read.filters[0].path.as_str()), (7, "#"));
        let Four::Publish(read) = four(publish(V4, 9, "a/b")) else { panic!("no PUBLISH") };
        assert_eq!((read.pkid, read.topic.as_str(), read.retain, read.payload.len()), (9, "a/b", false, 0));
        let Five::Publish(read) = five(publish(V5, 9, "a/b")) else { panic!("no PUBLISH") };
        assert_eq!((read.pkid, read.payload.len()), (9, 0));
        assert_eq!((four(DISCONNECT.to_vec()), four(PING.to_vec())), (Four::Disconnect, Four::PingReq));
    }

    #[test]
    fn answers_are_read_in_whatever_pieces_they_come() {
        let all: &[u8] = &[
            0x20, 2, 0, 5, 0x40, 4, 0, 3, 0x87, 0, 0x90, 5, 0, 4, 1, 0xff, 0x80, 0x31, 9, 0, 3, b'a', b'/', b'b', 1, 2,
            3, 4, 0xd0, 0, 0xe0, 1, 0x8b,
        ];
        let expected = [
            Incoming::Connack(5),
            Incoming::Puback(3, Some(0x87)),
            Incoming::Suback(4, 0x80),
            Incoming::Message("a/b".into()),
            Incoming::Pong,
            Incoming::Disconnect(0x8b),
        ];
        let expected: Vec<_> = expected.into_iter().map(Ok).collect();
        assert_eq!(read(V5, &[all]), expected);
        assert_eq!(read(V5, &all.chunks(1).collect::<Vec<_>>()), expected);
        assert_eq!(read(V4, &[&[0x40, 2, 0, 3, 0x90, 3, 0, 4, 0x80]])[1], Ok(Incoming::Suback(4, 0x80)));
    }

    #[test]
    fn payloads_are_dropped_and_lies_end_it() {
        // 4 MiB of payload after a topic, which never stand in the buffer.
        let mut message = vec![0x30, 0x80, 0x80, 0x80, 2, 0, 1, b'x'];
        message.extend(std::iter::repeat_n(0x55, 4 * 1024 * 1024 - 3));
        message.extend([0xd0, 0]);
        let pieces: Vec<_> = message.chunks(1000).collect();
        assert_eq!(read(V4, &pieces), [Ok(Incoming::Message("x".into())), Ok(Incoming::Pong)]);
        for lie in [
            &[0x30, 0xff, 0xff, 0xff, 0x7f][..],
            &[0x20, 0xff, 0xff, 0xff, 0xff],
            &[0x20, 0xff, 0xff, 0x7f],
            &[0x30, 2, 0, 9],
            &[0x20, 1, 0],
            &[0x90, 2, 0, 1],
            &[0x90, 3, 0, 1, 0x7f],
            &[0x40, 1, 0],
            &[0x10, 0],
            &[0, 0],
        ] {
            assert!(read(V5, &[lie]).last().is_some_and(Result::is_err), "{lie:02x?}");
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        let mut state = 1_u32;
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..24 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                bytes.push((state >> 24) as u8);
            }
            let _ = (read(V4, &[&bytes]), read(V5, &[&bytes]));
        }
    }
}
