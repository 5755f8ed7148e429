//! What `telemetry_integrity` reads of others: a broker's stream, of which only topics are kept; its log; the text that an ingest
//! edge answers, in which marks are looked for.

#[allow(dead_code, missing_docs, reason = "the agent documents its own")]
#[path = "../../agent/src/probe/telemetry_integrity/mark.rs"]
mod mark;
#[allow(dead_code, missing_docs, reason = "the agent documents its own")]
#[path = "../../agent/src/probe/telemetry_integrity/skim.rs"]
mod skim;

use gatepost_evidence::check::telemetry_integrity::{Path, Protocol};
use gatepost_evidence::look::FailureKind;
use skim::{Skimmed, Skimmer};

use crate::Seeds;

/// The run whose marks are looked for.
const RUN: &str = "3fa9";

/// The first byte says which version is read, or that the rest is an edge's text; and how large the pieces are.
///
/// # Panics
/// When the size of the pieces makes a difference, something else than topics and the broker's own log is kept, or a mark is found
/// that is none.
pub fn attack(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let piece = usize::from(how >> 2).max(1);
    match how & 3 {
        0 | 1 => stream(if how & 1 == 0 { Protocol::V311 } else { Protocol::V5 }, bytes, piece),
        _ => text(&String::from_utf8_lossy(bytes)),
    }
}

fn stream(protocol: Protocol, bytes: &[u8], piece: usize) {
    let whole = read(protocol, bytes, bytes.len().max(1));
    let pieces = read(protocol, bytes, piece);
    assert_eq!(whole.1, pieces.1, "the size of the pieces decides whether it is MQTT");
    // Of what was understood before it broke off a larger piece tells nothing.
    if whole.1 {
        assert_eq!(whole.0, pieces.0, "the size of the pieces makes a difference");
    }
    for one in &pieces.0 {
        match one {
            Skimmed::Message { topic, .. } => assert!(!topic.starts_with(skim::LOG), "a line of the log is a message"),
            Skimmed::Log(line) => {
                if let Some(id) = skim::taken_over(line) {
                    assert!(!id.is_empty() && id.len() <= 256 && line.contains(id));
                }
            }
            Skimmed::Subscribed(_) | Skimmed::Ended => {}
        }
    }
}

/// What was heard, and whether it was MQTT to its end.
fn read(protocol: Protocol, bytes: &[u8], piece: usize) -> (Vec<Skimmed>, bool) {
    let mut skimmer = Skimmer::new(protocol);
    let mut heard = Vec::new();
    for piece in bytes.chunks(piece) {
        match skimmer.take(piece) {
            Ok(more) => heard.extend(more),
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Protocol);
                return (heard, false);
            }
        }
    }
    (heard, true)
}

fn text(text: &str) {
    let found = mark::marks(RUN, text);
    assert!(found.len() <= text.matches(RUN).count());
    let mut again = String::new();
    for (path, qos, number) in &found {
        assert_eq!(*path, Path::Ingest, "only canaries to the edge come back from there");
        again.push_str(&format!("\"{RUN}.{}.{qos}.{number}\",", path.name()));
    }
    assert_eq!(mark::marks(RUN, &again), found, "marks written again are others");
}

/// Messages whole and in pieces, a takeover in the log, and what an edge answers.
#[must_use]
pub fn seeds() -> Seeds {
    let message: &[u8] = &[0x30, 9, 0, 3, b'a', b'/', b'b', 1, 2, 3, 4, 0x90, 3, 0, 1, 0x80, 0xe0, 0];
    let mut log = vec![0x30, 72, 0, 17];
    log.extend(b"$SYS/broker/log/N");
    log.extend(b"1: Client x1 already connected, closing old connection");
    log[1] = u8::try_from(log.len() - 2).unwrap_or_default();
    let five: &[u8] = &[0x32, 10, 0, 1, b'a', 0, 7, 2, 1, 0, b'h', b'i', 0x90, 4, 0, 1, 0, 1, 0xd0, 0];
    let edge =
        br#"[{"payload":{"gatepost_canary":"3fa9.ingest.1.2"}}, 3fa9.live.1.1 "3fa9.ingest.0.1.", 3fa9.ingest.1.2]"#;
    let with = |name: &str, how: u8, bytes: &[u8]| (name.to_owned(), [&[how], bytes].concat());
    vec![
        with("message", 0, message),
        with("message-in-pieces", 3 << 2, message),
        with("log", 5 << 2, &log),
        with("properties", (1 << 2) | 1, five),
        with("endless", 0, &[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'x']),
        with("no-length", 1, &[0x30, 0xff, 0xff, 0xff, 0xff]),
        with("edge", 2, edge),
    ]
}
