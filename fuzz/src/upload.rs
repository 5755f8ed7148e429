//! The body of an upload, before anything in it is believed: coding, dictionary, frame, and the list of envelopes inside.

use std::sync::LazyLock;

use gatepost_evidence::batch::{self, BatchError, Coded, DCZ, ZSTD};
use gatepost_evidence::id::Digest;
use gatepost_evidence::parts::Parts;
use gatepost_evidence::wire::{MAX_BATCH_BYTES, MAX_BATCH_ENVELOPES};

use crate::golden::{BUNDLES, ENVELOPES};
use crate::{Seeds, memory};

/// The payload of a run that the sink has.
static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let text = String::from_utf8_lossy(&ENVELOPES["run.json"]).trim_end().to_owned();
    Parts::of(&text).map(|parts| parts.payload).unwrap_or_default()
});
/// Sending again more than this would only be slow.
const AGAIN: usize = 64 * 1024;

/// The first byte says what the rest is: a body in zstd, one against the dictionary, or a list that was not compressed yet.
/// What is read can be sent again and is then the same, and is bounded.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let Some((kind, body)) = data.split_first() else { return };
    // Decompressed, and taken apart into texts in base64; a list that grows by doubling is for a moment there twice.
    memory::allow(6 * MAX_BATCH_BYTES);
    let texts = match kind {
        b'd' => {
            let Ok(coded) = Coded::parse(DCZ.as_bytes(), body) else { return };
            let known = coded.dictionary() == Some(Digest::of(&DICTIONARY));
            let decoded = coded.decode(Some(&DICTIONARY));
            assert!(
                known || decoded == Err(BatchError::WrongDictionary),
                "read with a dictionary that it does not name"
            );
            assert!(coded.decode(None).is_err());
            decoded
        }
        b'f' => Coded::parse(ZSTD.as_bytes(), &framed(body)).and_then(|coded| coded.decode(None)),
        _ => Coded::parse(ZSTD.as_bytes(), body).and_then(|coded| coded.decode(None)),
    };
    let texts = match texts {
        Ok(texts) => texts,
        Err(error) => return assert!(!error.reason().is_empty() && !error.to_string().is_empty()),
    };
    assert!(texts.len() <= MAX_BATCH_ENVELOPES);
    let bytes: usize = texts.iter().map(Vec::len).sum();
    assert!(bytes <= 2 * MAX_BATCH_BYTES, "{bytes} bytes of envelopes came out");
    if bytes > AGAIN {
        return;
    }
    let Ok(texts) = texts.iter().map(|text| std::str::from_utf8(text)).collect::<Result<Vec<_>, _>>() else { return };
    for text in &texts {
        assert!(Parts::of(text).is_none_or(|parts| parts.to_json() == *text), "put together again it is another");
    }
    let dictionary = (kind == &b'd').then_some(DICTIONARY.as_slice());
    let again = batch::encode(texts.iter().copied(), dictionary).expect("what was a batch is one");
    let coded = Coded::parse(again.encoding.as_bytes(), &again.body).expect("what was written has a coding");
    let decoded = coded.decode(dictionary).expect("what was written can be read");
    assert!(decoded.iter().map(Vec::as_slice).eq(texts.iter().map(|text| text.as_bytes())), "sent again it is another");
}

/// A zstd frame of raw blocks (RFC 8878, section 3.1.1), so that a changed byte changes the list and not the compression.
fn framed(list: &[u8]) -> Vec<u8> {
    // No content size, no checksum, a window of one mebibyte.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 10 << 3];
    let mut blocks = list.chunks(64 * 1024).peekable();
    if blocks.peek().is_none() {
        frame.extend([1, 0, 0]);
    }
    while let Some(block) = blocks.next() {
        let last = u32::from(blocks.peek().is_none());
        let header = u32::try_from(block.len()).unwrap_or_default() << 3 | last;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

/// Golden envelopes in each coding.
#[must_use]
pub fn seeds() -> Seeds {
    let text = |name: &str| String::from_utf8_lossy(&ENVELOPES[name]).trim_end().to_owned();
    let stone = BUNDLES["agent"].iter().find(|(name, _)| name.starts_with("tombstones/"));
    let stone = stone.map(|(_, content)| String::from_utf8_lossy(content).into_owned()).unwrap_or_default();
    let chain = ["chain-1.json", "chain-2.json"].map(text);
    let mut seeds = Seeds::new();
    for (name, texts) in [
        ("run", vec![text("run.json")]),
        ("chain", chain.to_vec()),
        ("mixed", vec![stone, text("chain-1.json"), "not an envelope".to_owned(), String::new()]),
        ("empty", vec![]),
    ] {
        for (kind, dictionary) in [(b'z', None), (b'd', Some(DICTIONARY.as_slice()))] {
            let Ok(encoded) = batch::encode(texts.iter().map(String::as_str), dictionary) else { continue };
            seeds.push((format!("{name}-{}", encoded.encoding), [&[kind], encoded.body.as_slice()].concat()));
        }
        // As `encode` lays them out before it compresses: whole, and in parts.
        let mut list = vec![b'f'];
        for text in &texts {
            match Parts::of(text) {
                Some(parts) => {
                    list.push(1);
                    list.extend(parts.signature);
                    list.extend(parts.key_id.to_string().as_bytes());
                    list.push(u8::try_from(parts.payload_type.len()).unwrap_or_default());
                    list.extend(parts.payload_type.as_bytes());
                    list.extend(u32::try_from(parts.payload.len()).unwrap_or_default().to_be_bytes());
                    list.extend(parts.payload);
                }
                None => {
                    list.push(0);
                    list.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
                    list.extend(text.as_bytes());
                }
            }
        }
        seeds.push((format!("{name}-list"), list));
    }
    seeds
}
