//! Reads a stream of MQTT packets and keeps of each message its topic alone.
//!
//! Pure. A payload is never held as a whole: its bytes are counted off as they come. The exception is the broker's own log
//! under `$SYS/broker/log/`, whose lines are the broker's words and nobody's message. What a broker sends can make it fail,
//! never grow: at most [`MAX_HEAD`] bytes are held.

use gatepost_evidence::check::telemetry_integrity::Protocol;
use gatepost_evidence::look::{Failure, FailureKind};

/// The most bytes that are held of one packet: its topic, or a line of the log.
const MAX_HEAD: usize = 68 * 1024;
/// Where Mosquitto publishes its log (mosquitto.conf(5), `log_dest topic`).
pub const LOG: &str = "$SYS/broker/log/";

/// What was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skimmed {
    /// A message on `topic`.
    Message { topic: String, retained: bool },
    /// A line of the broker's log.
    Log(String),
    /// SUBACK: for each filter, whether it was granted.
    Subscribed(Vec<bool>),
    /// DISCONNECT by the broker.
    Ended,
}

/// The state between two reads.
#[derive(Debug)]
pub struct Skimmer {
    protocol: Protocol,
    /// What was read of the present packet and is not understood yet.
    held: Vec<u8>,
    /// How many bytes are still to be thrown away.
    skip: usize,
}

impl Skimmer {
    /// At the beginning of a packet.
    pub fn new(protocol: Protocol) -> Self {
        Self { protocol, held: Vec::new(), skip: 0 }
    }

    /// Takes what was read and gives what it brought.
    ///
    /// # Errors
    /// When it is not MQTT.
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Vec<Skimmed>, Failure> {
        let mut heard = Vec::new();
        while !bytes.is_empty() {
            let thrown = self.skip.min(bytes.len());
            (self.skip, bytes) = (self.skip - thrown, &bytes[thrown..]);
            let Some((first, rest)) = bytes.split_first() else { break };
            self.held.push(*first);
            bytes = rest;
            if self.held.len() > MAX_HEAD {
                return Err(not_mqtt("a packet that is no message is very large"));
            }
            let Some((remaining, begin)) = self.length()? else { continue };
            let end = begin + remaining;
            // Not before it is needed: a short packet, or as much of a message as names its topic.
            if self.held.len() < end && self.held.len() < begin + self.wanted(begin).min(remaining) {
                continue;
            }
            if let Some(skimmed) = self.understand(begin, end)? {
                heard.push(skimmed);
            }
            self.skip = end - self.held.len();
            self.held.clear();
        }
        Ok(heard)
    }

    /// The remaining length (MQTT 3.1.1, section 2.2.3) and where what follows it begins.
    fn length(&self) -> Result<Option<(usize, usize)>, Failure> {
        let mut length = 0;
        for (index, byte) in self.held.iter().skip(1).take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some((length, index + 2)));
            }
        }
        if self.held.len() > 4 { Err(not_mqtt("a length of more than four bytes")) } else { Ok(None) }
    }

    fn is_message(&self) -> bool {
        self.held.first().is_some_and(|first| first >> 4 == 3)
    }

    /// How many bytes behind the length are needed.
    fn wanted(&self, begin: usize) -> usize {
        if !self.is_message() {
            return usize::MAX;
        }
        match self.topic(begin) {
            None => 2,
            Some((length, Some(topic))) if topic.starts_with(LOG.as_bytes()) && length > 0 => usize::MAX,
            Some((length, _)) => 2 + length,
        }
    }

    /// The length of the topic, and the topic once all of it is there.
    fn topic(&self, begin: usize) -> Option<(usize, Option<&[u8]>)> {
        let length = (usize::from(*self.held.get(begin)?) << 8) | usize::from(*self.held.get(begin + 1)?);
        Some((length, self.held.get(begin + 2..begin + 2 + length)))
    }

    fn understand(&self, begin: usize, end: usize) -> Result<Option<Skimmed>, Failure> {
        let first = self.held.first().copied().unwrap_or_default();
        let rest = self.held.get(begin..end.min(self.held.len())).unwrap_or_default();
        Ok(match first >> 4 {
            3 => {
                let Some((length, Some(topic))) = self.topic(begin) else {
                    return Err(not_mqtt("a message that is shorter than its topic"));
                };
                if topic.starts_with(LOG.as_bytes()) {
                    let id = if first & 0x06 == 0 { 0 } else { 2 };
                    let behind = self.without_properties(rest.get(2 + length + id..).unwrap_or_default());
                    return Ok(Some(Skimmed::Log(String::from_utf8_lossy(behind).into_owned())));
                }
                let topic = String::from_utf8_lossy(topic).into_owned();
                Some(Skimmed::Message { topic, retained: first & 1 == 1 })
            }
            9 => {
                let codes = self.without_properties(rest.get(2..).unwrap_or_default());
                Some(Skimmed::Subscribed(codes.iter().map(|code| *code < 0x80).collect()))
            }
            14 => Some(Skimmed::Ended),
            _ => None,
        })
    }

    /// What stands behind the properties of MQTT 5; all of it in MQTT 3.1.1.
    fn without_properties<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        if self.protocol == Protocol::V311 {
            return bytes;
        }
        let mut length = 0;
        for (index, byte) in bytes.iter().take(4).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return bytes.get(index + 1 + length..).unwrap_or_default();
            }
        }
        &[]
    }
}

fn not_mqtt(words: &str) -> Failure {
    Failure::new(FailureKind::Protocol, format_args!("the broker's bytes are not MQTT: {words}"))
}

/// The client id that a line of Mosquitto's log says was taken over, if it says so.
pub fn taken_over(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("Client ")?;
    let old = rest.split_once(" already connected, closing old connection").map(|(id, _)| id);
    // 2.1, from 2.1.1 on with the client's address.
    let new = || {
        let id = rest.strip_suffix(" disconnected: session taken over.")?;
        Some(id.rsplit_once(" [").filter(|(_, address)| address.ends_with(']')).map_or(id, |(id, _)| id))
    };
    let id = old.or_else(new)?;
    (!id.is_empty() && id.len() <= 256).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(first: u8, topic: &str, behind: &[u8]) -> Vec<u8> {
        let mut rest = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
        rest.extend(topic.as_bytes());
        rest.extend(behind);
        let mut bytes = vec![first];
        let mut length = rest.len();
        loop {
            let more = length > 127;
            bytes.push(u8::try_from(length & 0x7f).unwrap() | if more { 0x80 } else { 0 });
            length >>= 7;
            if !more {
                break;
            }
        }
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn topics_are_kept_and_payloads_are_not_however_the_bytes_come() {
        let mut stream = message(0x30, "telemetry/a", &[7; 100_000]);
        stream.extend(message(0x31, "telemetry/b", b"secret"));
        stream.extend([0x90, 4, 0, 1, 0, 0x80]);
        stream.extend(message(0x30, "$SYS/broker/log/N", b"1: Client x already connected, closing old connection."));
        stream.extend([0xe0, 0]);
        let expected = [
            Skimmed::Message { topic: "telemetry/a".into(), retained: false },
            Skimmed::Message { topic: "telemetry/b".into(), retained: true },
            Skimmed::Subscribed(vec![true, false]),
            Skimmed::Log("1: Client x already connected, closing old connection.".into()),
            Skimmed::Ended,
        ];
        for size in [1, 7, 1000, stream.len()] {
            let mut skimmer = Skimmer::new(Protocol::V311);
            let mut heard = Vec::new();
            for piece in stream.chunks(size) {
                heard.extend(skimmer.take(piece).unwrap());
                assert!(skimmer.held.len() < 200, "a payload is held");
            }
            assert_eq!(heard, expected, "{size}");
        }
    }

    #[test]
    fn properties_of_mqtt_5_are_no_words_of_the_log() {
        let mut skimmer = Skimmer::new(Protocol::V5);
        let stream = message(0x32, "$SYS/broker/log/N", b"\x00\x05\x02\x01\x00line");
        assert_eq!(skimmer.take(&stream).unwrap(), [Skimmed::Log("line".into())]);
        assert_eq!(skimmer.take(&[0x90, 4, 0, 1, 0, 1]).unwrap(), [Skimmed::Subscribed(vec![true])]);
    }

    #[test]
    fn what_is_not_mqtt_fails_and_does_not_grow() {
        let take = |bytes: &[u8]| Skimmer::new(Protocol::V5).take(bytes);
        assert!(take(&[0x30, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
        assert!(take(&[0x30, 3, 0, 9, b'x']).is_err());
        let mut endless = vec![0x90, 0xff, 0xff, 0x7f];
        endless.resize(100_000, 0);
        assert!(take(&endless).is_err());
    }

    #[test]
    fn no_bytes_make_it_grow_or_stop() {
        // A linear congruential generator (Knuth's constants), so that a failure comes again.
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u8::try_from(state >> 56).unwrap()
        };
        for round in 0..20_000 {
            let protocol = if round % 2 == 0 { Protocol::V5 } else { Protocol::V311 };
            let mut skimmer = Skimmer::new(protocol);
            // Messages and lines of the log more often than chance would have them.
            let mut bytes: Vec<u8> = (0..usize::from(random())).map(|_| random()).collect();
            if round % 3 == 0 {
                bytes = message(0x30 | (random() & 0x0f), LOG, &bytes);
                let broken = usize::from(random()) % bytes.len();
                bytes[broken] = random();
            }
            for piece in bytes.chunks(1 + usize::from(random() % 32)) {
                if skimmer.take(piece).is_err() {
                    break;
                }
                assert!(skimmer.held.len() <= MAX_HEAD);
            }
        }
    }

    #[test]
    fn a_takeover_is_read_from_mosquittos_words() {
        let line = "1732262400: Client stm32-01 already connected, closing old connection.";
        assert_eq!(taken_over(line), Some("stm32-01"));
        let line = "1795394330: Client a [b] c [127.0.0.1:39226] disconnected: session taken over.";
        assert_eq!(taken_over(line), Some("a [b] c"));
        assert_eq!(taken_over("1: Client stm32-01 disconnected: session taken over."), Some("stm32-01"));
        for other in ["Client stm32-01 disconnected.", "", "Client  already connected, closing old connection"] {
            assert_eq!(taken_over(other), None, "{other}");
        }
    }
}
