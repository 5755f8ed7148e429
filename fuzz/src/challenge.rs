//! Answers of devices to challenges, and the MQTT packets that bring them.

#[path = "../../agent/src/probe/device_certificate_hygiene/packet.rs"]
#[allow(dead_code, reason = "a broker writes other packets than a client")]
mod packet;

use gatepost_evidence::challenge::{Answer, Challenge, MAX_ANSWER_BYTES, MAX_CERTIFICATES};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::signature;
use packet::{MAX_PACKET, Packet, Version};

use crate::Seeds;

/// The vectors that the reference in C made: what is printed for each.
const VECTORS: [&str; 3] = [
    include_str!("../../fixtures/challenge/p256.txt"),
    include_str!("../../fixtures/challenge/p384.txt"),
    include_str!("../../fixtures/challenge/rsa2048.txt"),
];

/// The first byte says what: an answer, or a broker's packets in one of the two versions.
///
/// # Panics
/// When an answer that was read is not written as it came, a forged signature holds, or a packet is more than it was.
pub fn attack(data: &[u8]) {
    match data.split_first() {
        Some((0, answer)) => answered(answer),
        Some((which, packets)) => {
            packets_of(packets, if which & 1 == 1 { Version::V4 } else { Version::V5 });
        }
        None => {}
    }
}

fn answered(bytes: &[u8]) {
    let Ok(answer) = Answer::parse(bytes) else { return };
    assert_eq!(answer.to_bytes(), bytes, "written again it is another");
    assert!(bytes.len() <= MAX_ANSWER_BYTES && (1..=MAX_CERTIFICATES).contains(&answer.certificates.len()));
    // Nobody has ever signed for this gateway.
    let challenge = Challenge { gateway: GatewayId::new(Digest::of(b"the fuzzer")), nonce: answer.nonce };
    let leaf = &answer.certificates[0];
    if let Some(signed) = challenge.signed(Digest::of(leaf), "t", "i") {
        assert_ne!(signature::verify(leaf, &signed, &answer.signature), Ok(true), "a signature that nobody made");
    }
}

fn packets_of(mut bytes: &[u8], version: Version) {
    loop {
        match packet::read(bytes, version) {
            Ok(Some((packet, taken))) => {
                assert!((2..=MAX_PACKET + 5).contains(&taken) && taken <= bytes.len());
                if let Packet::Message { topic, payload, .. } = packet {
                    assert!(topic.len() + payload.len() < taken);
                }
                bytes = &bytes[taken..];
            }
            Ok(None) => return assert!(bytes.len() < MAX_PACKET + 5, "it waits for more than it would read"),
            Err(_) => return,
        }
    }
}

fn answer_of(vector: &str) -> Vec<u8> {
    let digits = vector.lines().find_map(|line| line.strip_prefix("answer ")).unwrap_or_default();
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    digits.as_bytes().chunks_exact(2).filter_map(byte).collect()
}

/// The vectors' answers, alone and as a broker brings them.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (number, vector) in VECTORS.iter().enumerate() {
        let answer = answer_of(vector);
        seeds.push((format!("answer-{number}"), [&[0], &answer[..]].concat()));
        for (which, version) in [(1, Version::V4), (2, Version::V5)] {
            let connack: &[u8] = if version == Version::V4 { &[0x20, 2, 0, 0] } else { &[0x20, 3, 0, 0, 0] };
            let message = packet::publish(version, "gatepost/device/x/answer", &answer, 5);
            seeds.push((format!("packets-{number}-{which}"), [&[which], connack, &message[..]].concat()));
        }
    }
    seeds
}
