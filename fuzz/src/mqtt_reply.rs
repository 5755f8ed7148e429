//! What brokers answer, as the probe of `broker_transport_posture` reads it: packets of MQTT 3.1.1 and 5.

#[allow(dead_code, reason = "what the probe itself says is not attacked")]
#[path = "../../agent/src/probe/mqtt/packet.rs"]
mod packet;

use gatepost_evidence::look::FailureKind;
use packet::{Level, MAX_PACKET, Packet, Reader};

use crate::Seeds;

/// The packets that came, and how it ended if not by the end of the input.
type Read = (Vec<Packet>, Option<FailureKind>);

/// The first byte says how large the pieces are in which the rest is fed, and which level is read.
///
/// # Panics
/// When the size of the pieces makes a difference, or a packet is longer than it may be.
pub fn attack(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let level = if how & 1 == 1 { Level::V5 } else { Level::V311 };
    let whole = read(level, bytes, bytes.len().max(1));
    assert_eq!(whole, read(level, bytes, usize::from(how >> 1).max(1)), "the size of the pieces makes a difference");
    for packet in &whole.0 {
        if let Packet::Publish { topic, payload, .. } = packet {
            assert!(topic.len() + payload.len() <= MAX_PACKET);
        }
        // Only MQTT 5 has reasons.
        if level == Level::V311 {
            assert!(!matches!(packet, Packet::Disconnect(_) | Packet::Puback(_, 1..)), "{packet:?}");
        }
    }
}

fn read(level: Level, bytes: &[u8], piece: usize) -> Read {
    let mut reader = Reader::new(level);
    let mut packets = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.feed(piece);
        loop {
            match reader.whole() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(failure) => {
                    assert!(matches!(failure.kind, FailureKind::Protocol | FailureKind::TooLarge), "{failure}");
                    return (packets, Some(failure.kind));
                }
            }
        }
    }
    (packets, None)
}

/// What real brokers said, and every kind of packet.
#[must_use]
pub fn seeds() -> Seeds {
    let said: [(&str, &[u8]); 9] = [
        ("accepted", &[6, 0x20, 2, 0, 0, 0xd0, 0]),
        ("mosquitto", &[7, 0x20, 0x0c, 0, 0, 9, 0x22, 0, 0x0a, 0x13, 0xff, 0xff, 0x21, 0, 0x14]),
        (
            "everything",
            &[
                9, 0x20, 40, 0, 0, 37, 17, 0, 0, 0, 60, 36, 1, 37, 0, 39, 0, 1, 0, 0, 18, 0, 1, b'c', 31, 0, 1, b'r',
                38, 0, 1, b'k', 0, 1, b'v', 40, 0, 41, 1, 42, 0, 19, 0,
            ],
        ),
        ("taken", &[5, 0xe0, 1, 0x8e]),
        ("too-large", &[5, 0xe0, 7, 0x95, 5, 31, 0, 2, b'n', b'o']),
        ("retained", &[7, 0x90, 4, 0, 2, 0, 1, 0x33, 8, 0, 1, b'a', 0, 1, 0, b'x', b'y']),
        ("before", &[4, 0x90, 3, 0, 2, 1, 0x33, 6, 0, 1, b'a', 0, 1, b'x', 0x40, 2, 0, 1, 0xb0, 2, 0, 3]),
        ("answers", &[3, 0x40, 4, 0, 7, 0x10, 0, 0xb0, 4, 0, 7, 0, 0x11, 0xd0, 0]),
        ("endless", &[2, 0x30, 0xff, 0xff, 0xff, 0x7f]),
    ];
    said.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}
