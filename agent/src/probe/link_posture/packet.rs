//! Questions to name servers (RFC 1035) and time servers (RFC 5905) as bytes, and what comes back from whoever answers.
//!
//! No names are put together from answers, so that there is no pointer to follow and no loop to be caught in: of an answer the
//! question is compared, its records are stepped over, and addresses are taken. Nothing here reads or writes a connection, and
//! nothing here panics on any bytes. A packet that answers another question than the one that was asked is a stray, not an answer.

use std::net::Ipv4Addr;

/// The most addresses that are taken from one answer.
pub const MAX_ADDRESSES: usize = 16;
/// The most bytes of a name (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 255;
const MAX_LABEL: usize = 63;
/// Bytes of a header (RFC 1035, section 4.1.1).
const HEADER: usize = 12;
/// A record of type A in class IN.
const A_IN: [u8; 4] = [0, 1, 0, 1];

/// A question for the IPv4 addresses of `name`, with the wish that the server asks others (RD); none when `name` is no name.
#[must_use]
pub fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let [high, low] = id.to_be_bytes();
    let mut bytes = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=MAX_LABEL).contains(&usize::from(*length)))?;
        bytes.push(length);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    (bytes.len() - HEADER <= MAX_NAME).then(|| {
        bytes.extend(A_IN);
        bytes
    })
}

/// What a packet is to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// No answer to it.
    Stray,
    /// An answer that was cut short: ask over TCP.
    Truncated,
    /// An answer: RCODE and addresses.
    Answer(u8, Vec<Ipv4Addr>),
    /// An answer to it that breaks off, or that is not written as one.
    Broken(&'static str),
}

/// What `bytes` are to the question in `asked`, which [`question`] made.
#[must_use]
pub fn reply(bytes: &[u8], asked: &[u8]) -> Reply {
    let (Some(header), Some(rest)) = (bytes.get(..HEADER), bytes.get(HEADER..)) else { return Reply::Stray };
    let question = asked.get(HEADER..).unwrap_or_default();
    let (flags, code) = (header[2], header[3] & 0x0f);
    let is_reply = header[..2] == asked[..2.min(asked.len())] && flags & 0x80 != 0 && flags & 0x78 == 0;
    if !is_reply {
        return Reply::Stray;
    }
    let same = |one: &[u8]| one.len() == question.len() && one.eq_ignore_ascii_case(question);
    let echoed = header[4..6] == [0, 1] && rest.get(..question.len()).is_some_and(same);
    match (echoed, code, &header[4..6]) {
        (true, ..) => {}
        // Servers that could not read the question, or do not care for it, may leave it out.
        (false, 1 | 4 | 5, [0, 0]) => return Reply::Answer(code, Vec::new()),
        _ => return Reply::Stray,
    }
    if flags & 0x02 != 0 {
        return Reply::Truncated;
    }
    let count = u16::from_be_bytes([header[6], header[7]]);
    let mut rest = rest.get(question.len()..).unwrap_or_default();
    let mut addresses = Vec::new();
    for _ in 0..count {
        let Some(after) = past_name(rest) else { return Reply::Broken("a record breaks off in its name") };
        let (Some(fields), Some(data)) = (after.get(..10), after.get(10..)) else {
            return Reply::Broken("a record breaks off");
        };
        let length = usize::from(u16::from_be_bytes([fields[8], fields[9]]));
        let (Some(content), Some(next)) = (data.get(..length), data.get(length..)) else {
            return Reply::Broken("a record is longer than the answer");
        };
        if fields[..4] == A_IN {
            let Ok(octets) = <[u8; 4]>::try_from(content) else {
                return Reply::Broken("an address does not have four bytes");
            };
            if addresses.len() < MAX_ADDRESSES {
                addresses.push(Ipv4Addr::from(octets));
            }
        }
        rest = next;
    }
    addresses.sort_unstable();
    addresses.dedup();
    Reply::Answer(code, addresses)
}

/// What comes after a name: after its last label, or after the first pointer, which is not followed.
fn past_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        match *bytes.first()? {
            0 => return bytes.get(1..),
            length if length & 0xc0 == 0xc0 => return bytes.get(2..),
            length if length & 0xc0 == 0 => bytes = bytes.get(1 + usize::from(length)..)?,
            _ => return None,
        }
    }
}

/// A question for the time (RFC 5905, section 7.3: version 4, mode 3). Instead of the asker's time it carries `nonce`, which the
/// answer must bring back.
#[must_use]
pub fn time_question(nonce: [u8; 8]) -> [u8; 48] {
    let mut bytes = [0; 48];
    bytes[0] = 0x23;
    bytes[40..].copy_from_slice(&nonce);
    bytes
}

/// What a time server says; times in units of 2^-32 seconds since 1900, wrapping in 2036.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeReply {
    /// Leap indicator.
    pub leap: u8,
    /// Stratum.
    pub stratum: u8,
    /// The word that it sends instead of the time, with stratum 0.
    pub kiss: Option<String>,
    /// When the question came, by its clock.
    pub received: u64,
    /// When the answer left.
    pub sent: u64,
}

/// What `bytes` say, if they are a server's answer to the question with `nonce`.
#[must_use]
pub fn time_reply(bytes: &[u8], nonce: [u8; 8]) -> Option<TimeReply> {
    let bytes: &[u8; 48] = bytes.get(..48)?.try_into().ok()?;
    let (version, mode) = (bytes[0] >> 3 & 7, bytes[0] & 7);
    if mode != 4 || !(1..=4).contains(&version) || bytes[24..32] != nonce {
        return None;
    }
    let at = |place: usize| bytes[place..place + 8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let word = || bytes[12..16].iter().map(|&byte| char::from(byte)).filter(char::is_ascii_alphanumeric).collect();
    let stratum = bytes[1];
    let (received, sent) = (at(32), at(40));
    if stratum != 0 && (received == 0 || sent == 0) {
        return None;
    }
    Some(TimeReply { leap: bytes[0] >> 6, stratum, kiss: (stratum == 0).then(word), received, sent })
}

/// Offset and delay in microseconds (RFC 5905, section 8), of a question that was `asked` and took `elapsed` to be answered, both
/// in units of 2^-32 seconds.
#[must_use]
pub fn offset_and_delay(reply: &TimeReply, asked: u64, elapsed: u64) -> (i64, u64) {
    // Differences are less than 68 years, so that eras do not matter.
    let difference = |one: u64, other: u64| i128::from(one.wrapping_sub(other).cast_signed());
    let there = difference(reply.received, asked);
    let back = difference(reply.sent, asked.wrapping_add(elapsed));
    let delay = i128::from(elapsed) - difference(reply.sent, reply.received);
    let micros = |units: i128| units * 1_000_000 / (1 << 32);
    let offset = i64::try_from(micros((there + back) / 2)).unwrap_or(i64::MAX);
    (offset, u64::try_from(micros(delay)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(asked: &[u8], code: u8, records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = asked.to_vec();
        (bytes[2], bytes[3], bytes[7]) = (0x81, 0x80 | code, u8::try_from(records.len()).unwrap());
        records.iter().for_each(|record| bytes.extend(*record));
        bytes
    }

    const ADDRESS: &[u8] = &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7];
    const ALIAS: &[u8] = &[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 3, 1, b'x', 0];

    #[test]
    fn a_question_is_written_as_the_standard_has_it() {
        let bytes = question(0x1234, "edge.example").unwrap();
        assert_eq!(bytes, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x04edge\x07example\0\0\x01\0\x01");
        assert_eq!(question(0x1234, "edge.example."), Some(bytes));
        let (long, many) = ("x".repeat(64), "x.".repeat(128));
        for wrong in ["", ".", "a..b", &long, &many] {
            assert_eq!(question(1, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn answers_strays_and_broken_answers_are_told_apart() {
        let asked = question(7, "edge.example").unwrap();
        let found = Reply::Answer(0, vec![Ipv4Addr::new(192, 0, 2, 7)]);
        assert_eq!(reply(&answer(&asked, 0, &[ALIAS, ADDRESS, ADDRESS]), &asked), found);
        let upper = answer(&question(7, "EDGE.example").unwrap(), 0, &[ADDRESS]);
        assert_eq!(reply(&upper, &asked), found);
        assert_eq!(reply(&answer(&asked, 3, &[]), &asked), Reply::Answer(3, vec![]));
        let mut cut = answer(&asked, 0, &[]);
        cut[2] |= 2;
        assert_eq!(reply(&cut, &asked), Reply::Truncated);
        // Another id, another name, the question itself, and nothing.
        for stray in [&answer(&question(8, "edge.example").unwrap(), 0, &[ADDRESS])[..], &asked, &asked[..5], &[]] {
            assert_eq!(reply(stray, &asked), Reply::Stray, "{stray:?}");
        }
        assert_eq!(reply(&answer(&question(7, "edge.exampl").unwrap(), 0, &[ADDRESS]), &asked), Reply::Stray);
        assert_eq!(reply(&[0, 7, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0], &asked), Reply::Answer(5, vec![]));
        // A name that points at itself is stepped over like any other, and what breaks off is said to.
        let looped = [0xc0, u8::try_from(asked.len()).unwrap(), 0, 16, 0, 1, 0, 0, 0, 9, 0, 0];
        assert_eq!(reply(&answer(&asked, 0, &[&looped, ADDRESS]), &asked), found);
        for broken in [&ADDRESS[..1], &ADDRESS[..8], &ADDRESS[..14], &[0x80, 1, 2], &[63, 1]] {
            assert!(matches!(reply(&answer(&asked, 0, &[broken]), &asked), Reply::Broken(_)), "{broken:?}");
        }
        let short = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 2, 1, 2];
        assert!(matches!(reply(&answer(&asked, 0, &[&short]), &asked), Reply::Broken(_)));
    }

    #[test]
    fn offset_and_delay_are_those_of_the_standard() {
        let second = 1_u64 << 32;
        let reply = |received, sent| TimeReply { leap: 0, stratum: 2, kiss: None, received, sent };
        // Asked at 100 s, answered after 2 s; the server's clock is 10 s ahead and it took half a second.
        let ahead = reply(110 * second + second * 3 / 4, 111 * second + second / 4);
        assert_eq!(offset_and_delay(&ahead, 100 * second, 2 * second), (10_000_000, 1_500_000));
        // Across the end of the era.
        let wrapped = reply(second, second);
        assert_eq!(offset_and_delay(&wrapped, u64::MAX - second + 1, 0), (2_000_000, 0));
        // A server that claims more time than there was has no delay.
        assert_eq!(offset_and_delay(&reply(0, 9 * second), 0, second).1, 0);
    }

    #[test]
    fn only_the_answer_to_this_question_is_one() {
        let nonce = *b"nonce123";
        let mut bytes = [0_u8; 48];
        (bytes[0], bytes[1]) = (0xe4, 0);
        bytes[12..16].copy_from_slice(b"RATE");
        bytes[24..32].copy_from_slice(&nonce);
        let kiss = time_reply(&bytes, nonce).unwrap();
        assert_eq!((kiss.leap, kiss.stratum, kiss.kiss.as_deref()), (3, 0, Some("RATE")));
        assert_eq!(time_reply(&bytes, *b"another!"), None);
        assert_eq!(time_reply(&bytes[..47], nonce), None);
        bytes[1] = 2;
        assert_eq!(time_reply(&bytes, nonce), None, "a time of zero is none");
        bytes[0] = 0xe3;
        assert_eq!(time_reply(&bytes, nonce), None, "a question is no answer");
        assert_eq!(time_question(nonce)[40..], nonce);
    }
}
