//! Which request an answer answers: a signature of the sink's over both.
//!
//! TLS carries every answer back to who asked, but not everything between a gateway and its sink is TLS: a proxy on loopback, a
//! load balancer that ends TLS, a cache. An answer that one of these gives late, twice or by itself is then not taken for the
//! sink's word on this upload, whatever it says and however well its receipts and checkpoint verify.
//!
//! Pure. That an answer is the sink's says nothing about whether it is true: receipts and proofs do that.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::envelope::pre_authentication_encoding;
use crate::id::Digest;
use crate::key::{PublicKey, SigningKey};

/// What is signed is the pre-authentication encoding of this type, so that it is never taken for anything else.
pub const ANSWER_TYPE: &str = "application/vnd.gatepost.answer";
/// The bytes of a request's name.
pub const NAME_BYTES: usize = 16;

/// What a gateway calls a request: random, and never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestName([u8; NAME_BYTES]);

impl RequestName {
    /// From random bytes.
    #[must_use]
    pub fn new(random: [u8; NAME_BYTES]) -> Self {
        Self(random)
    }

    /// From the value of its header; none when it is anything but 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES];
        let digit = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 2 * NAME_BYTES || !text.bytes().all(digit) {
            return None;
        }
        for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The sink's signature over its answer to this request, in base64.
    #[must_use]
    pub fn sign(self, status: u16, body: &[u8], key: &SigningKey) -> String {
        STANDARD.encode(key.sign(&self.message(status, body)))
    }

    /// Whether `signature` says that the sink with `key` answered this request so.
    #[must_use]
    pub fn is_answered(self, status: u16, body: &[u8], signature: &str, key: &PublicKey) -> bool {
        STANDARD.decode(signature).is_ok_and(|signature| key.verifies(&self.message(status, body), &signature))
    }

    fn message(self, status: u16, body: &[u8]) -> Vec<u8> {
        pre_authentication_encoding(ANSWER_TYPE, format!("{self}\n{status}\n{}\n", Digest::of(body)).as_bytes())
    }
}

impl std::fmt::Display for RequestName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_one_to_this_request_with_this_status_and_body_by_this_sink() {
        let [sink, other] = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]).unwrap());
        let name = RequestName::new([7; NAME_BYTES]);
        let signature = name.sign(200, b"{}", &sink);
        assert!(name.is_answered(200, b"{}", &signature, sink.public()));
        let later = RequestName::new([8; NAME_BYTES]);
        assert!(!later.is_answered(200, b"{}", &signature, sink.public()), "an older answer");
        assert!(!name.is_answered(409, b"{}", &signature, sink.public()));
        assert!(!name.is_answered(200, b"{} ", &signature, sink.public()));
        assert!(!name.is_answered(200, b"{}", &signature, other.public()));
        for nonsense in ["", "?", &signature[..40]] {
            assert!(!name.is_answered(200, b"{}", nonsense, sink.public()), "{nonsense:?}");
        }
    }

    #[test]
    fn a_name_is_written_in_one_way() {
        let name = RequestName::new(std::array::from_fn(|at| at as u8 * 17));
        assert_eq!(name.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(RequestName::parse(&name.to_string()), Some(name));
        for nonsense in [
            "",
            "00112233445566778899aabbccddeef",
            "00112233445566778899AABBCCDDEEFF",
            "+0112233445566778899aabbccddeeff",
        ] {
            assert_eq!(RequestName::parse(nonsense), None, "{nonsense}");
        }
    }
}
