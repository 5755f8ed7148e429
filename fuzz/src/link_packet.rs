//! Answers of name servers and time servers, as the probe of `link_posture` reads them from whoever answers.
//!
//! The reader stands in the agent, which this workspace does not build; it is one file that needs nothing else of it.

#[path = "../../agent/src/probe/link_posture/packet.rs"]
#[allow(dead_code, reason = "the agent uses all of it")]
mod packet;

use packet::{MAX_ADDRESSES, Reply, offset_and_delay, question, reply, time_reply};

use crate::Seeds;

const NONCE: [u8; 8] = *b"nonce123";

/// The input is what comes back to one question for a name, and to one for the time.
///
/// # Panics
/// When a bound is passed, what is no answer to the question is taken for one, or an answer depends on what comes behind it.
pub fn attack(data: &[u8]) {
    let Some(asked) = question(7, "edge.example") else { panic!("the question cannot be asked") };
    match reply(data, &asked) {
        Reply::Answer(code, addresses) => {
            assert!(code < 16 && addresses.len() <= MAX_ADDRESSES);
            assert!(addresses.is_sorted_by(|one, other| one < other), "an address stands there twice");
            // It is the answer to this question and to no other.
            assert_eq!(data[..2], asked[..2]);
            let Some(other) = question(8, "edge.example") else { return };
            assert_eq!(reply(data, &other), Reply::Stray);
            assert_eq!(reply(&[data, &[0xff]].concat(), &asked), Reply::Answer(code, addresses));
        }
        Reply::Truncated | Reply::Broken(_) => assert_eq!(data[..2], asked[..2]),
        Reply::Stray => {}
    }
    if let Some(time) = time_reply(data, NONCE) {
        assert_eq!(data[24..32], NONCE);
        assert!(time.leap < 4 && time.kiss.is_some() == (time.stratum == 0));
        assert!(time.kiss.is_none_or(|kiss| kiss.len() <= 4));
        let elapsed = u64::from_be_bytes(NONCE) >> 20;
        let again = time_reply(data, NONCE).map(|time| offset_and_delay(&time, time.received, elapsed));
        // Who answers at once and at the asker's own time is no further off than the way is long.
        assert!(again.is_some());
    }
}

/// An answer of each kind, and some that break off.
#[must_use]
pub fn seeds() -> Seeds {
    let asked = question(7, "edge.example").unwrap_or_default();
    let says = |flags: [u8; 2], records: u8, rest: &[u8]| {
        let mut bytes = asked.clone();
        (bytes[2], bytes[3], bytes[7]) = (flags[0], flags[1], records);
        bytes.extend(rest);
        bytes
    };
    let address = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7];
    let alias = [&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 3, 1, b'x', 0][..], &address].concat();
    let mut time = vec![0; 48];
    (time[0], time[1]) = (0x24, 2);
    time[24..32].copy_from_slice(&NONCE);
    time[32..].fill(7);
    let mut kiss = time.clone();
    kiss[1] = 0;
    kiss[12..16].copy_from_slice(b"RATE");
    let seeds = [
        ("address", says([0x81, 0x80], 1, &address)),
        ("alias", says([0x81, 0x80], 2, &alias)),
        ("none", says([0x81, 0x83], 0, &[])),
        ("cut", says([0x83, 0x80], 0, &[])),
        ("broken", says([0x81, 0x80], 9, &address[..7])),
        ("time", time),
        ("kiss", kiss),
    ];
    seeds.map(|(name, bytes)| (name.to_owned(), bytes)).into()
}
