//! The challenge by which a device proves over MQTT that it has its certificate's key (docs/device-challenge.md, normative).
//!
//! Bytes only: what is asked, what is answered, and what was signed. Nothing here knows of a broker or a clock, so that an
//! auditor can check an answer years later from the evidence alone. An answer comes from whoever may write to a topic:
//! every length in it is checked before it is believed.

use crate::id::{Digest, GatewayId};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// The most bytes of an answer.
pub const MAX_ANSWER_BYTES: usize = 8192;
/// The most certificates of an answer.
pub const MAX_CERTIFICATES: usize = 4;
/// The most bytes of a signature.
pub const MAX_SIGNATURE_BYTES: usize = 512;
/// The most characters of a device's id.
pub const MAX_ID: usize = 64;
/// The most characters of a topic.
pub const MAX_TOPIC: usize = 255;
/// Where the topics of challenges begin, unless the configuration says otherwise.
pub const PREFIX: &str = "gatepost/device";

/// What every signed message begins with, the NUL included.
const DOMAIN: &[u8] = b"gatepost-device-challenge-v1\0";
const ASKED: &[u8; 4] = b"GPC1";
const ANSWERED: &[u8; 4] = b"GPA1";

/// One question to one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// Who asks.
    pub gateway: GatewayId,
    /// Random, never used before.
    pub nonce: [u8; NONCE_BYTES],
}

impl Challenge {
    /// The payload that is published.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&ASKED[..], self.gateway.digest().as_bytes(), &self.nonce].concat()
    }

    /// The bytes that the device called `id` signs when it answers on `topic` with a certificate of this digest; `None`
    /// when id or topic are empty or too long for the protocol.
    #[must_use]
    pub fn signed(&self, certificate: Digest, topic: &str, id: &str) -> Option<Vec<u8>> {
        let short =
            |text: &str, most: usize| u8::try_from(text.len()).ok().filter(|_| (1..=most).contains(&text.len()));
        let (topic_length, id_length) = (short(topic, MAX_TOPIC)?, short(id, MAX_ID)?);
        Some(
            [
                DOMAIN,
                self.gateway.digest().as_bytes(),
                &self.nonce,
                certificate.as_bytes(),
                &[topic_length],
                topic.as_bytes(),
                &[id_length],
                id.as_bytes(),
            ]
            .concat(),
        )
    }
}

/// Whether `id` can be challenged: 1 to 64 printable ASCII characters that mean nothing in a topic.
#[must_use]
pub fn is_id(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"/+#".contains(&byte))
}

/// Whether `prefix` can begin a topic: 1 to 160 printable ASCII characters, no wildcard, no `$` in front, no empty level.
#[must_use]
pub fn is_prefix(prefix: &str) -> bool {
    prefix.len() <= MAX_TOPIC - MAX_ID - "//challenge".len() - 20
        && !prefix.starts_with('$')
        && prefix.split('/').all(|level| !level.is_empty())
        && prefix.bytes().all(|byte| byte.is_ascii_graphic() && !b"+#".contains(&byte))
}

/// The topic that the device called `id` is asked on.
#[must_use]
pub fn challenge_topic(prefix: &str, id: &str) -> String {
    format!("{prefix}/{id}/challenge")
}

/// The topic that it answers on.
#[must_use]
pub fn answer_topic(prefix: &str, id: &str) -> String {
    format!("{prefix}/{id}/answer")
}

/// What a device answered; nothing of it has been checked but the form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The nonce that it answers.
    pub nonce: [u8; NONCE_BYTES],
    /// Its certificates, DER, leaf first; one at least, none of them empty.
    pub certificates: Vec<Vec<u8>>,
    /// Its signature.
    pub signature: Vec<u8>,
}

/// Why bytes are not an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// Too many bytes.
    #[error("it has more than {MAX_ANSWER_BYTES} bytes")]
    TooLarge,
    /// It does not begin with `GPA1`.
    #[error("it does not begin with GPA1")]
    Magic,
    /// It ends too early.
    #[error("it ends before {0}")]
    Short(&'static str),
    /// There are none, or too many.
    #[error("it has {0} certificates; 1 to {MAX_CERTIFICATES} are expected")]
    Certificates(u8),
    /// A certificate or the signature is empty, or the signature is too long.
    #[error("{0} has {1} bytes")]
    Length(&'static str, usize),
    /// Something follows.
    #[error("{0} bytes follow the signature")]
    Trailing(usize),
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// The first thing in it that is not as it should be.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoAnswer> {
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(NoAnswer::TooLarge);
        }
        let mut rest = bytes.strip_prefix(ANSWERED).ok_or(NoAnswer::Magic)?;
        let nonce = *rest.split_off(..NONCE_BYTES).and_then(<[u8]>::as_array).ok_or(NoAnswer::Short("the nonce"))?;
        let count = *rest.split_off_first().ok_or(NoAnswer::Short("the number of certificates"))?;
        if !(1..=MAX_CERTIFICATES).contains(&usize::from(count)) {
            return Err(NoAnswer::Certificates(count));
        }
        let mut certificates = Vec::new();
        for _ in 0..count {
            certificates.push(block(&mut rest, "a certificate")?.to_vec());
        }
        let signature = block(&mut rest, "the signature")?.to_vec();
        if signature.len() > MAX_SIGNATURE_BYTES {
            return Err(NoAnswer::Length("the signature", signature.len()));
        }
        if !rest.is_empty() {
            return Err(NoAnswer::Trailing(rest.len()));
        }
        Ok(Self { nonce, certificates, signature })
    }

    /// The same bytes again.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = [&ANSWERED[..], &self.nonce].concat();
        bytes.push(u8::try_from(self.certificates.len()).unwrap_or(u8::MAX));
        for part in self.certificates.iter().chain([&self.signature]) {
            bytes.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            bytes.extend(part);
        }
        bytes
    }
}

/// Two bytes of length, big-endian, and as many bytes: at least one.
fn block<'a>(rest: &mut &'a [u8], what: &'static str) -> Result<&'a [u8], NoAnswer> {
    let length: [u8; 2] = *rest.split_off(..2).and_then(<[u8]>::as_array).ok_or(NoAnswer::Short(what))?;
    let length = usize::from(u16::from_be_bytes(length));
    if length == 0 {
        return Err(NoAnswer::Length(what, 0));
    }
    rest.split_off(..length).ok_or(NoAnswer::Short(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer { nonce: [7; 32], certificates: vec![vec![1; 300], vec![2]], signature: vec![3; 70] }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        let bytes = answer().to_bytes();
        assert_eq!(Answer::parse(&bytes), Ok(answer()));
        for cut in 0..bytes.len() {
            assert!(Answer::parse(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn each_thing_that_can_be_wrong_has_its_own_word() {
        let bytes = answer().to_bytes();
        let with = |change: fn(&mut Vec<u8>)| {
            let mut bytes = bytes.clone();
            change(&mut bytes);
            Answer::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(|bytes| bytes.push(0)), NoAnswer::Trailing(1));
        assert_eq!(with(|bytes| bytes[0] = b'X'), NoAnswer::Magic);
        assert_eq!(with(|bytes| bytes[36] = 0), NoAnswer::Certificates(0));
        assert_eq!(with(|bytes| bytes[36] = 5), NoAnswer::Certificates(5));
        assert_eq!(with(|bytes| bytes[37..39].fill(0)), NoAnswer::Length("a certificate", 0));
        assert_eq!(with(|bytes| bytes[37..39].fill(0xff)), NoAnswer::Short("a certificate"));
        assert_eq!(with(|bytes| bytes.truncate(20)), NoAnswer::Short("the nonce"));
        assert_eq!(with(|bytes| bytes.resize(MAX_ANSWER_BYTES + 1, 0)), NoAnswer::TooLarge);
        let long = Answer { signature: vec![0; MAX_SIGNATURE_BYTES + 1], ..answer() };
        assert_eq!(Answer::parse(&long.to_bytes()), Err(NoAnswer::Length("the signature", MAX_SIGNATURE_BYTES + 1)));
    }

    #[test]
    fn what_is_signed_tells_everything_apart() {
        let challenge = Challenge { gateway: GatewayId::new(Digest::of(b"g")), nonce: [1; 32] };
        assert_eq!(challenge.to_bytes().len(), 68);
        let signed = |challenge: &Challenge, certificate: &[u8], topic: &str, id: &str| {
            challenge.signed(Digest::of(certificate), topic, id).unwrap()
        };
        let other_gateway = Challenge { gateway: GatewayId::new(Digest::of(b"h")), ..challenge };
        let other_nonce = Challenge { nonce: [2; 32], ..challenge };
        let all = [
            signed(&challenge, b"c", "p/a/answer", "a"),
            signed(&other_gateway, b"c", "p/a/answer", "a"),
            signed(&other_nonce, b"c", "p/a/answer", "a"),
            signed(&challenge, b"d", "p/a/answer", "a"),
            signed(&challenge, b"c", "p/b/answer", "a"),
            signed(&challenge, b"c", "p/a/answer", "b"),
            signed(&challenge, b"c", "p/a/answe", "ra"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert!(all.iter().all(|bytes| bytes.starts_with(b"gatepost-device-challenge-v1\0")));
        assert_eq!(challenge.signed(Digest::of(b""), "t", ""), None);
        assert_eq!(challenge.signed(Digest::of(b""), "t", &"x".repeat(65)), None);
        assert_eq!(challenge.signed(Digest::of(b""), &"t".repeat(256), "x"), None);
    }

    #[test]
    fn ids_and_prefixes_mean_nothing_else_in_a_topic() {
        assert!(is_id("stm32-01") && is_id("00:80:e1:2a") && is_id(&"x".repeat(64)));
        for wrong in ["", "a/b", "+", "#", "a b", "é", "a\n"] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
        assert!(!is_id(&"x".repeat(65)));
        assert!(is_prefix(PREFIX) && is_prefix("a"));
        for wrong in ["", "/a", "a/", "a//b", "$SYS", "a/+", "#", "a b"] {
            assert!(!is_prefix(wrong), "{wrong:?}");
        }
        let longest = format!("{}/{}/challenge", "p".repeat(160), "i".repeat(MAX_ID));
        assert!(is_prefix(&"p".repeat(160)) && longest.len() <= MAX_TOPIC && !is_prefix(&"p".repeat(161)));
    }
}
