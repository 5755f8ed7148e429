//! What a broker's WebSocket listener sends back, as the probe of `broker_transport_posture` reads it: the head of its answer,
//! whether it switches, and its frames.

#[path = "../../agent/src/probe/mqtt/head.rs"]
mod head;
#[allow(dead_code, reason = "what the probe itself says is not attacked")]
#[path = "../../agent/src/probe/mqtt/websocket.rs"]
mod stream;

use gatepost_evidence::look::FailureKind;
use head::{Head, MAX_HEAD};
use stream::{Frame, Frames, MAX_FRAME};

use crate::Seeds;

/// The key of the request that is answered, that of RFC 6455, section 1.3; the seeds hold its proof.
const KEY: [u8; 16] = *b"the sample nonce";

/// The head with its length, the frames behind it, and how it ended if not by the end of the input.
type Read = (Option<(Head, usize)>, Vec<Frame>, Option<FailureKind>);

/// The first byte says how large the pieces are in which the rest is fed.
///
/// # Panics
/// When the size of the pieces makes a difference, a bound is passed, or a frame that is written again is another.
pub fn attack(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(whole, read(bytes, usize::from(*how).max(1)), "the size of the pieces makes a difference");
    let (head, frames, _) = &whole;
    if let Some((head, length)) = head {
        assert!(*length <= MAX_HEAD && bytes[..*length].ends_with(b"\r\n\r\n"));
        assert!((100..1000).contains(&head.status));
        let said = stream::upgrade(head, KEY);
        assert!(said.subprotocol.is_none_or(|name| name.chars().count() <= 64));
        assert!(!said.proven || !stream::upgrade(head, [0; 16]).proven, "one proof holds for two keys");
    }
    for frame in frames {
        let (kind, payload) = match frame {
            Frame::Data(payload) => (2, payload.as_slice()),
            Frame::Ping(payload) => (9, payload.as_slice()),
            Frame::Pong => (10, &[][..]),
            Frame::Close => (8, &[][..]),
        };
        assert!(payload.len() <= if kind == 2 { MAX_FRAME } else { 125 });
        let mut again = Frames::default();
        again.feed(&written(kind, payload));
        assert_eq!(again.whole().ok().flatten().as_ref(), Some(frame), "written again it is another");
    }
}

/// A frame of a server (RFC 6455, section 5.2).
fn written(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0x80 | kind];
    match payload.len() {
        short @ 0..=125 => out.push(u8::try_from(short).unwrap_or_default()),
        long => {
            out.push(127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

fn read(bytes: &[u8], piece: usize) -> Read {
    let mut came = Vec::new();
    let mut pieces = bytes.chunks(piece);
    let found = loop {
        match Head::read(&came) {
            Ok(Some(found)) => break found,
            Ok(None) => match pieces.next() {
                Some(piece) => came.extend_from_slice(piece),
                None => return (None, Vec::new(), None),
            },
            Err(failure) => return (None, Vec::new(), Some(failure.kind)),
        }
    };
    let (mut frames, mut read) = (Frames::default(), Vec::new());
    frames.feed(&came[found.1..]);
    loop {
        match frames.whole() {
            Ok(Some(frame)) => read.push(frame),
            Ok(None) => match pieces.next() {
                Some(piece) => frames.feed(piece),
                None => return (Some(found), read, None),
            },
            Err(failure) => return (Some(found), read, Some(failure.kind)),
        }
    }
}

/// What Mosquitto and others said, and every kind of frame.
///
/// # Panics
/// When the proof in them is not that of the key.
#[must_use]
pub fn seeds() -> Seeds {
    let switched = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    let long = [&[0x82, 0x7e, 1, 0][..], &[7; 256]].concat();
    let said: [(&str, &[u8]); 9] = [
        ("connack", &[0x82, 4, 0x20, 2, 0, 0]),
        ("parts", &[0x02, 1, 0x20, 0x89, 2, 1, 2, 0x80, 3, 2, 0, 0]),
        ("pong-close", &[0x8a, 0, 0x88, 2, 3, 0xe8]),
        ("long", &long),
        ("endless", &[0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("masked", &[0x82, 0x81, 0, 0, 0, 0, 1]),
        ("text", &[0x81, 1, b'a']),
        ("reserved", &[0xc2, 1, 0]),
        ("nothing", &[]),
    ];
    let proven = |head: &[u8]| {
        Head::read(head).is_ok_and(|read| read.is_some_and(|(head, _)| stream::upgrade(&head, KEY).proven))
    };
    assert!(proven(switched), "the seeds do not hold the proof");
    let with = |how: u8, head: &[u8], rest: &[u8]| [&[how], head, rest].concat();
    let mut seeds: Seeds = said.iter().map(|(name, rest)| ((*name).to_owned(), with(3, switched, rest))).collect();
    for (name, head) in [
        ("refused", &b"HTTP/1.1 403 Forbidden\r\nserver: x\r\ncontent-length: 0\r\n\r\n"[..]),
        ("old", b"HTTP/1.0 404 \r\n\r\n"),
        ("mqtt", &[0x20, 2, 0, 5]),
        ("cut", b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: "),
        ("other", b"HTTP/2 101\r\n\r\n"),
    ] {
        seeds.push((name.to_owned(), with(5, head, &[])));
    }
    // Heads about as long as they may be.
    for length in [MAX_HEAD - 1, MAX_HEAD, MAX_HEAD + 1] {
        let filled = "x".repeat(length - "HTTP/1.1 200 OK\r\nx: \r\n\r\n".len());
        let head = format!("HTTP/1.1 200 OK\r\nx: {filled}\r\n\r\n");
        seeds.push((format!("head-{length}"), with(251, head.as_bytes(), &[])));
    }
    seeds
}
