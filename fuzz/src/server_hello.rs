//! What TLS servers answer to a ClientHello, as the survey of `broker_transport_posture` reads it.

#[path = "../../agent/src/probe/hello/answer.rs"]
mod answer;

use answer::{MAX_BYTES, Reader, Reply};
use gatepost_evidence::check::broker_transport_posture::survey::Answer;
use gatepost_evidence::look::FailureKind;

use crate::Seeds;

/// The first byte says how large the pieces are in which the rest is fed.
///
/// # Panics
/// When the size of the pieces makes a difference, or an answer without ServerHello is one.
pub fn attack(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(whole, read(bytes, usize::from(*how).max(1)), "the size of the pieces makes a difference");
    match whole {
        Ok(Some(Reply { answer: Answer::Hello { .. }, hello })) => {
            let hello = hello.unwrap_or_else(|| panic!("an answer without its ServerHello"));
            assert!(hello.extensions.len() <= MAX_BYTES / 4);
            assert!(hello.dh.is_none_or(|group| group.bits > 0 && group.prime_sha256.len() == 64));
            assert!(hello.protocol.is_none_or(|name| name.chars().count() <= 64));
        }
        Ok(_) => {}
        Err(kind) => assert!(matches!(kind, FailureKind::Protocol | FailureKind::TooLarge), "{kind}"),
    }
}

fn read(bytes: &[u8], piece: usize) -> Result<Option<Reply>, FailureKind> {
    let mut reader = Reader::default();
    for piece in bytes.chunks(piece) {
        match reader.feed(piece) {
            Ok(None) => {}
            Ok(reply) => return Ok(reply),
            Err(failure) => return Err(failure.kind),
        }
    }
    assert!(!reader.closed().detail.is_empty());
    Ok(None)
}

/// The recordings of fixtures/tls, fed at once and in pieces.
#[must_use]
pub fn seeds() -> Seeds {
    let recorded: [(&str, &[u8]); 9] = [
        ("alert-internal-error", include_bytes!("../../fixtures/tls/alert-internal-error.bin")),
        ("alert-no-suite", include_bytes!("../../fixtures/tls/alert-no-suite.bin")),
        ("tls10-cbc", include_bytes!("../../fixtures/tls/tls10-cbc.bin")),
        ("tls12-dh-anon", include_bytes!("../../fixtures/tls/tls12-dh-anon.bin")),
        ("tls12-dhe-1024", include_bytes!("../../fixtures/tls/tls12-dhe-1024.bin")),
        ("tls12-ecdhe", include_bytes!("../../fixtures/tls/tls12-ecdhe.bin")),
        ("tls12-static-rsa", include_bytes!("../../fixtures/tls/tls12-static-rsa.bin")),
        ("tls13-retry-p384", include_bytes!("../../fixtures/tls/tls13-retry-p384.bin")),
        ("tls13-retry", include_bytes!("../../fixtures/tls/tls13-retry.bin")),
    ];
    recorded.into_iter().map(|(name, bytes)| (name.to_owned(), [&[7][..], bytes].concat())).collect()
}
