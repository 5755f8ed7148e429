//! What brokers answer while rights are tried, as the ACL truth probe of `broker_transport_posture` reads it: packets of MQTT 3.1.1
//! and 5, of which payloads are dropped as they come.

#[allow(dead_code, reason = "what the probe itself says is not attacked")]
#[path = "../../agent/src/probe/acl/packet.rs"]
mod packet;

use packet::{Incoming, Reader, V4, V5};

use crate::Seeds;

/// The packets that came, and whether it ended with a lie.
type Read = (Vec<Incoming>, bool);

/// The first byte says how large the pieces are in which the rest is fed, and which level is read.
///
/// # Panics
/// When the size of the pieces makes a difference, or a packet is none of its level.
pub fn attack(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let level = if how & 1 == 1 { V5 } else { V4 };
    let whole = read(level, bytes, bytes.len().max(1));
    assert_eq!(whole, read(level, bytes, usize::from(how >> 1).max(1)), "the size of the pieces makes a difference");
    for packet in &whole.0 {
        match packet {
            // A byte that is no UTF-8 becomes three.
            Incoming::Message(topic) => assert!(topic.len() <= 3 * bytes.len()),
            Incoming::Puback(_, code) => assert_eq!(code.is_some(), level == V5, "{packet:?}"),
            _ => {}
        }
    }
    // No packet is shorter than two bytes.
    assert!(whole.0.len() <= bytes.len() / 2);
}

fn read(level: u8, bytes: &[u8], piece: usize) -> Read {
    let mut reader = Reader::new(level);
    let mut packets = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.feed(piece);
        loop {
            match reader.next_packet() {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(_) => return (packets, true),
            }
        }
    }
    (packets, false)
}

/// Every kind of packet, and lies about lengths.
#[must_use]
pub fn seeds() -> Seeds {
    let said: [(&str, &[u8]); 8] = [
        ("accepted", &[6, 0x20, 2, 0, 0, 0xd0, 0]),
        (
            "everything",
            &[
                3, 0x20, 2, 0, 5, 0x40, 4, 0, 3, 0x87, 0, 0x90, 5, 0, 4, 1, 0xff, 0x80, 0x31, 9, 0, 3, b'a', b'/',
                b'b', 1, 2, 3, 4, 0xd0, 0, 0xe0, 1, 0x8b,
            ],
        ),
        ("old", &[2, 0x40, 2, 0, 3, 0x90, 3, 0, 4, 0x80, 0x30, 4, 0, 1, b'x', 9, 0xe0, 0]),
        ("endless", &[2, 0x30, 0xff, 0xff, 0xff, 0x7f]),
        ("long", &[2, 0x30, 0x80, 0x80, 0x80, 2, 0, 1, b'x', 1, 2, 3]),
        ("five-bytes", &[4, 0x20, 0xff, 0xff, 0xff, 0xff]),
        ("short-topic", &[4, 0x30, 2, 0, 9]),
        ("properties", &[5, 0x90, 3, 0, 1, 0x7f]),
    ];
    said.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).collect()
}
