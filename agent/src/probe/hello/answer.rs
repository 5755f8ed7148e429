//! Reads what a server answers to a ClientHello, as its bytes come in.
//!
//! Pure, and bounded: at most [`MAX_BYTES`] are looked at, whatever lengths the peer claims, and nothing is kept but them. An
//! answer that is not TLS, is cut off, or never gets to its point is a [`Failure`] with words, never a refusal. Certificates
//! are passed over: they are another probe's.

use gatepost_evidence::check::broker_transport_posture::code::{Code, properties, suite_name};
use gatepost_evidence::check::broker_transport_posture::survey::{Answer, DhGroup};
use gatepost_evidence::look::{Failure, FailureKind};
use sha2::{Digest as _, Sha256};
use tls_parser::{
    ECParametersContent, TlsExtension, TlsServerHelloContents, parse_dh_params, parse_ecdh_params,
    parse_tls_extension_unknown, parse_tls_handshake_server_hello, parse_tls_record_header,
};

use crate::probe::wire::hex;

/// The most bytes of an answer that are read: a ServerHello, the longest chain of certificates there is reason for, and a key.
pub const MAX_BYTES: usize = 64 * 1024;
/// The longest record (RFC 5246, section 6.2.3: a ciphertext may have 2048 bytes more than the plaintext).
const MAX_RECORD: usize = (1 << 14) + 2048;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const SERVER_HELLO: u8 = 2;
const SERVER_KEY_EXCHANGE: u8 = 12;
const SERVER_HELLO_DONE: u8 = 14;
/// Messages that may stand between ServerHello and ServerKeyExchange: Certificate, CertificateStatus.
const BETWEEN: [u8; 2] = [11, 22];
const CERTIFICATE_REQUEST: u8 = 13;

/// Marks of a server that was offered less than it can do (RFC 8446, section 4.1.3).
const DOWNGRADE: [&[u8]; 2] = [b"DOWNGRD\x01", b"DOWNGRD\x00"];
/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446, section 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2, 0xa2, 0x11,
    0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The answer in short. An alert that came after a ServerHello stands before it: the server chose, and could not.
    pub answer: Answer,
    /// The ServerHello, if there was one.
    pub hello: Option<Hello>,
}

/// What a ServerHello said, and the ServerKeyExchange after it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// The version it chose.
    pub version: u16,
    /// The suite it chose.
    pub suite: u16,
    /// Its compression method.
    pub compression: u8,
    /// The types of its extensions.
    pub extensions: Vec<u16>,
    /// It gave the session an id.
    pub session_id: bool,
    /// Its random ends in the mark of RFC 8446, section 4.1.3.
    pub downgrade_mark: bool,
    /// The key exchange group: of a HelloRetryRequest or a ServerKeyExchange.
    pub group: Option<u16>,
    /// The finite field group of a ServerKeyExchange.
    pub dh: Option<DhGroup>,
    /// The protocol it chose by ALPN; what is not text is replaced.
    pub protocol: Option<String>,
}

/// A reader that is fed what arrives.
#[derive(Debug, Default)]
pub struct Reader {
    /// Everything that came, of which the first `taken` bytes were records that were read.
    bytes: Vec<u8>,
    taken: usize,
    /// Handshake messages, put together from their records.
    handshake: Vec<u8>,
    hello: Option<Hello>,
    warned: Option<u8>,
}

impl Reader {
    /// Takes what came; the reply once it is all there.
    ///
    /// # Errors
    /// [`FailureKind::Protocol`] when it is not the answer to a ClientHello, [`FailureKind::TooLarge`] when it does not end.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Option<Reply>, Failure> {
        let room = MAX_BYTES.saturating_sub(self.bytes.len());
        self.bytes.extend(bytes.iter().take(room));
        while let Some((kind, fragment)) = self.record()? {
            let fragment = self.bytes[fragment].to_vec();
            let reply = match kind {
                HANDSHAKE => {
                    self.handshake.extend(fragment);
                    self.messages()?
                }
                ALERT => self.alert(&fragment)?,
                // Sent by servers of TLS 1.3 after a HelloRetryRequest for the sake of middleboxes; never before.
                CHANGE_CIPHER_SPEC if self.hello.is_some() => None,
                other => return Err(self.not_tls(format_args!("a record of type {other}"))),
            };
            if reply.is_some() {
                return Ok(reply);
            }
        }
        if bytes.len() > room || self.bytes.len() >= MAX_BYTES {
            let detail = format!("the answer to a ClientHello did not end within {MAX_BYTES} bytes");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        Ok(None)
    }

    /// What it means that the peer closed here.
    #[must_use]
    pub fn closed(&self) -> Failure {
        let detail = match (self.warned, &self.hello, self.bytes.len()) {
            (Some(alert), ..) => format!("the peer closed the connection after warning alert {alert}"),
            (None, None, 0) => "the peer closed the connection without a word".to_owned(),
            (None, None, count) => format!("the peer closed the connection after {count} bytes, before a whole answer"),
            (None, Some(_), _) => "the peer closed the connection between ServerHello and ServerKeyExchange".to_owned(),
        };
        Failure::new(FailureKind::Closed, detail)
    }

    /// The next whole record: its type and where its fragment stands.
    fn record(&mut self) -> Result<Option<(u8, std::ops::Range<usize>)>, Failure> {
        let rest = &self.bytes[self.taken..];
        // A peer that does not speak TLS is told by its first byte; it may never send five.
        if let Some(first) = rest.first()
            && !(CHANGE_CIPHER_SPEC..=HANDSHAKE).contains(first)
        {
            return Err(self.not_tls(format_args!("a record of type {first}")));
        }
        let Ok((_, header)) = parse_tls_record_header(rest) else { return Ok(None) };
        if header.version.0 >> 8 != 3 {
            return Err(self.not_tls(format_args!("a record of version {:04x}", header.version.0)));
        }
        let length = usize::from(header.len);
        if length > MAX_RECORD {
            return Err(self.not_tls(format_args!("a record of {length} bytes")));
        }
        let begin = self.taken + 5;
        if self.bytes.len() < begin + length {
            return Ok(None);
        }
        self.taken = begin + length;
        Ok(Some((header.record_type.0, begin..begin + length)))
    }

    fn not_tls(&self, what: std::fmt::Arguments<'_>) -> Failure {
        let begin = hex(&self.bytes[..self.bytes.len().min(16)]);
        Failure::new(FailureKind::Protocol, format_args!("the answer has {what}; it begins with {begin}"))
    }

    fn alert(&mut self, fragment: &[u8]) -> Result<Option<Reply>, Failure> {
        let &[level, description] = fragment else {
            return Err(self.not_tls(format_args!("an alert of {} bytes", fragment.len())));
        };
        // A warning, such as unrecognized_name, may be followed by the answer.
        if level == 1 {
            self.warned = Some(description);
            return Ok(None);
        }
        Ok(Some(Reply { answer: Answer::Alert { level, description }, hello: self.hello.take() }))
    }

    fn messages(&mut self) -> Result<Option<Reply>, Failure> {
        loop {
            let &[kind, a, b, c, ..] = self.handshake.as_slice() else { return Ok(None) };
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MAX_BYTES {
                return Err(self.not_tls(format_args!("a handshake message of {length} bytes")));
            }
            if self.handshake.len() < 4 + length {
                return Ok(None);
            }
            let rest = self.handshake.split_off(4 + length);
            let message = std::mem::replace(&mut self.handshake, rest);
            if let Some(hello) = self.message(kind, &message[4..])? {
                let answer = Answer::Hello { version: Code(hello.version), suite: Code(hello.suite) };
                return Ok(Some(Reply { answer, hello: Some(hello) }));
            }
        }
    }

    /// Reads one message; the ServerHello with what belongs to it, once nothing more is to come.
    fn message(&mut self, kind: u8, body: &[u8]) -> Result<Option<Hello>, Failure> {
        match (kind, self.hello.take()) {
            (SERVER_HELLO, None) => {
                let hello = server_hello(body)?;
                let more = properties(&suite_name(Code(hello.suite))).is_some_and(|suite| suite.ephemeral);
                if hello.version > 0x0303 || !more {
                    return Ok(Some(hello));
                }
                self.hello = Some(hello);
                Ok(None)
            }
            (SERVER_KEY_EXCHANGE, Some(mut hello)) => {
                key_exchange(body, &mut hello)?;
                Ok(Some(hello))
            }
            (SERVER_HELLO_DONE | CERTIFICATE_REQUEST, Some(hello)) => Ok(Some(hello)),
            (kind, Some(hello)) if BETWEEN.contains(&kind) => {
                self.hello = Some(hello);
                Ok(None)
            }
            (kind, _) => Err(self.not_tls(format_args!("a handshake message of type {kind} out of its turn"))),
        }
    }
}

fn malformed(what: &str, bytes: &[u8]) -> Failure {
    let begin = hex(&bytes[..bytes.len().min(16)]);
    Failure::new(FailureKind::Protocol, format_args!("{what} cannot be read; it begins with {begin}"))
}

fn server_hello(body: &[u8]) -> Result<Hello, Failure> {
    let broken = || malformed("the ServerHello", body);
    let (rest, found) = parse_tls_handshake_server_hello(body).map_err(|_| broken())?;
    let TlsServerHelloContents { version, random, session_id, cipher, compression, ext } = found;
    let mut hello = Hello {
        version: version.0,
        suite: cipher.0,
        compression: compression.0,
        session_id: session_id.is_some(),
        downgrade_mark: random.get(24..).is_some_and(|end| DOWNGRADE.contains(&end)),
        ..Hello::default()
    };
    // A server of SSL 3.0 may answer secure renegotiation in an extension all the same (RFC 5746, section 3.6).
    let mut extensions = match (ext, rest) {
        (Some(extensions), []) => extensions,
        (None, []) => &[],
        (None, [a, b, extensions @ ..]) if usize::from(u16::from_be_bytes([*a, *b])) == extensions.len() => extensions,
        _ => return Err(broken()),
    };
    while !extensions.is_empty() {
        let (rest, extension) = parse_tls_extension_unknown(extensions).map_err(|_| broken())?;
        extensions = rest;
        let TlsExtension::Unknown(kind, data) = extension else { return Err(broken()) };
        hello.extensions.push(kind.0);
        match (kind.0, data) {
            (43, &[a, b]) => hello.version = u16::from_be_bytes([a, b]),
            (51, &[a, b, ..]) => hello.group = Some(u16::from_be_bytes([a, b])),
            (16, [_, _, length, name @ ..]) if usize::from(*length) == name.len() => {
                hello.protocol = Some(String::from_utf8_lossy(name).chars().take(64).collect());
            }
            _ => {}
        }
    }
    // The session id of TLS 1.3 is an echo.
    hello.session_id &= hello.version <= 0x0303 && random != RETRY;
    Ok(hello)
}

fn key_exchange(body: &[u8], hello: &mut Hello) -> Result<(), Failure> {
    let broken = || malformed("the ServerKeyExchange", body);
    let Some(suite) = properties(&suite_name(Code(hello.suite))) else { return Err(broken()) };
    // With a pre-shared key a hint stands before the parameters (RFC 4279, section 3; RFC 5489, section 2).
    let parameters = match (suite.shared_key, body) {
        (false, body) => body,
        (true, [a, b, rest @ ..]) => rest.get(usize::from(u16::from_be_bytes([*a, *b]))..).ok_or_else(broken)?,
        (true, _) => return Err(broken()),
    };
    if suite.ecdhe {
        let (_, found) = parse_ecdh_params(parameters).map_err(|_| broken())?;
        if let ECParametersContent::NamedGroup(group) = found.curve_params.params_content {
            hello.group = Some(group.0);
        }
    } else if suite.dhe {
        let (_, found) = parse_dh_params(parameters).map_err(|_| broken())?;
        let zeroes = found.dh_p.iter().take_while(|byte| **byte == 0).count();
        let prime = &found.dh_p[zeroes..];
        let first = prime.first().ok_or_else(broken)?;
        // A length field of 16 bits keeps this far below what 32 bits hold.
        let bits = u32::try_from(prime.len()).unwrap_or(u32::MAX) * 8 - first.leading_zeros();
        hello.dh = Some(DhGroup { bits, prime_sha256: hex(&Sha256::digest(prime)) });
    }
    Ok(())
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
