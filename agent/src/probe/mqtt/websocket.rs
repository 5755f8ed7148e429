//! MQTT over WebSocket (RFC 6455; MQTT 5, section 6): the upgrade and the frames, written and read by hand.
//!
//! Pure, and bounded: a head of more than [`MAX_HEAD`] bytes and a frame of more than [`MAX_FRAME`] are refused. Frames of a
//! server are not masked, have no reserved bits, and carry binary data; anything else is a [`Failure`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::check::broker_transport_posture::web::Upgrade;
use gatepost_evidence::look::{Failure, FailureKind};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::head::Head;
use crate::probe::wire::hex;

/// The longest frame that is read.
pub const MAX_FRAME: usize = 64 * 1024;
/// An origin that no site has (RFC 6761, section 6.4).
pub const FOREIGN_ORIGIN: &str = "http://gatepost-canary.invalid";
/// What is hashed behind the key (RFC 6455, section 1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

const CONTINUATION: u8 = 0;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The request to switch to WebSocket, for `host` (with its port) and `path`; `key` is 16 random bytes.
#[must_use]
pub fn request(host: &str, path: &str, key: [u8; 16], origin: Option<&str>) -> String {
    let key = STANDARD.encode(key);
    let origin = origin.map(|origin| format!("Origin: {origin}\r\n")).unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n{origin}\r\n"
    )
}

/// What `head` says to a request with `key`.
#[must_use]
pub fn upgrade(head: &Head, key: [u8; 16]) -> Upgrade {
    let wanted = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{}{GUID}", STANDARD.encode(key)).as_bytes());
    let proof = head.value("sec-websocket-accept");
    Upgrade {
        status: head.status,
        subprotocol: head.value("sec-websocket-protocol").map(|name| name.chars().take(64).collect()),
        proven: proof == Some(STANDARD.encode(wanted).as_str()),
    }
}

/// `payload` as one masked frame of binary data.
#[must_use]
pub fn frame(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    write(BINARY, payload, mask)
}

fn write(kind: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut out = vec![0x80 | kind];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(0x80 | short),
        (_, Ok(middle)) => {
            out.push(0x80 | 126);
            out.extend(middle.to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend((payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// What a frame of the server is.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// Binary data, or a part of it.
    Data(Vec<u8>),
    /// A ping, to be answered with this pong once a mask is chosen.
    Ping(Vec<u8>),
    /// A pong that nobody asked for.
    Pong,
    /// The server closes.
    Close,
}

/// The frame that answers a ping.
#[must_use]
pub fn pong(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    write(PONG, payload, mask)
}

/// Takes bytes as they come, and gives frames.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// A message whose last part has not come.
    unfinished: bool,
}

impl Frames {
    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// When it is not one that a server of MQTT may send, or claims to be too long.
    pub fn whole(&mut self) -> Result<Option<Frame>, Failure> {
        let &[first, second, ..] = self.bytes.as_slice() else { return Ok(None) };
        let (last, kind) = (first & 0x80 != 0, first & 0x0f);
        let control = kind >= CLOSE;
        let sound = first & 0x70 == 0
            && second & 0x80 == 0
            && match kind {
                CONTINUATION => self.unfinished,
                BINARY => !self.unfinished,
                CLOSE | PING | PONG => last && second <= 125,
                _ => false,
            };
        if !sound {
            let begin = hex(&self.bytes[..self.bytes.len().min(16)]);
            let detail = format!("the answer is no WebSocket frame of MQTT; it begins with {begin}");
            return Err(Failure::new(FailureKind::Protocol, detail));
        }
        let (start, count) = match (second, &self.bytes[2..]) {
            (126, &[a, b, ..]) => (4, u64::from(u16::from_be_bytes([a, b]))),
            (127, &[a, b, c, d, e, f, g, h, ..]) => (10, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            (126 | 127, _) => return Ok(None),
            (short, _) => (2, u64::from(short)),
        };
        let Some(count) = usize::try_from(count).ok().filter(|count| *count <= MAX_FRAME) else {
            let detail = format!("a WebSocket frame of {count} bytes; at most {MAX_FRAME} are read");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        };
        if self.bytes.len() < start + count {
            return Ok(None);
        }
        let rest = self.bytes.split_off(start + count);
        let payload = std::mem::replace(&mut self.bytes, rest).split_off(start);
        if !control {
            self.unfinished = !last;
        }
        Ok(Some(match kind {
            CLOSE => Frame::Close,
            PING => Frame::Ping(payload),
            PONG => Frame::Pong,
            _ => Frame::Data(payload),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3.
    #[test]
    fn the_proof_is_that_of_the_standard() {
        let key: [u8; 16] = STANDARD.decode("dGhlIHNhbXBsZSBub25jZQ==").unwrap().try_into().unwrap();
        let text = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\
                    sec-websocket-protocol: mqtt\r\n\r\n";
        let (head, _) = Head::read(text.as_bytes()).unwrap().unwrap();
        assert_eq!(upgrade(&head, key), Upgrade { status: 101, subprotocol: Some("mqtt".into()), proven: true });
        assert!(!upgrade(&head, [0; 16]).proven);
        assert!(request("h:1", "/mqtt", key, None).contains("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
        assert!(request("h:1", "/", key, Some("http://a")).ends_with("Origin: http://a\r\n\r\n"));
    }

    /// The examples of RFC 6455, section 5.7.
    #[test]
    fn frames_are_those_of_the_standard() {
        let masked = write(1, b"Hello", [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(masked, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let mut frames = Frames::default();
        let long = [&[0x82, 0x7e, 1, 0][..], &[7; 256]].concat();
        let longer = [&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0][..], &[8; 65536]].concat();
        let said = [&[0x02, 1, b'a'][..], &[0x89, 2, 1, 2], &[0x80, 1, b'b'], &long, &longer, &[0x88, 0]].concat();
        // Byte by byte, as a slow peer sends them.
        let mut came = Vec::new();
        for byte in said {
            frames.feed(&[byte]);
            while let Some(frame) = frames.whole().unwrap() {
                came.push(frame);
            }
        }
        let expected = [
            Frame::Data(b"a".to_vec()),
            Frame::Ping(vec![1, 2]),
            Frame::Data(b"b".to_vec()),
            Frame::Data(vec![7; 256]),
            Frame::Data(vec![8; 65536]),
            Frame::Close,
        ];
        assert_eq!(came, expected);
        assert_eq!(frame(&[0; 200], [0; 4])[..4], [0x82, 0x80 | 126, 0, 200]);
        assert_eq!(frame(&[0; 70_000], [0; 4])[..4], [0x82, 0x80 | 127, 0, 0]);
        assert_eq!(pong(&[9], [0; 4]), [0x8a, 0x81, 0, 0, 0, 0, 9]);
    }

    #[test]
    fn what_is_no_frame_of_a_server_is_told_at_once() {
        for (bytes, words) in [
            (&b"HTTP/1.1 200 OK"[..], "no WebSocket frame"),
            (&[0x82, 0x81, 0, 0, 0, 0, 1], "no WebSocket frame"),
            (&[0xc2, 0x01, 0], "no WebSocket frame"),
            (&[0x81, 0x01, b'a'], "no WebSocket frame"),
            (&[0x80, 0x01, 0], "no WebSocket frame"),
            (&[0x09, 0x00], "no WebSocket frame"),
            (&[0x89, 0x7e, 0, 200], "no WebSocket frame"),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 1], "at most 65536"),
            (&[0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "at most 65536"),
        ] {
            let mut frames = Frames::default();
            frames.feed(bytes);
            let failure = frames.whole().unwrap_err();
            assert!(failure.detail.contains(words), "{failure}");
        }
    }
}
