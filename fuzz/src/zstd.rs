//! The compressed layer of a bundle: one frame, bounded, and nothing behind it.

use gatepost_evidence::archive::{self, ArchiveError, MAX_BYTES};

use crate::golden;
use crate::{Seeds, memory};

/// Compressing again more than this would only be slow.
const AGAIN: usize = 64 * 1024;

/// What decompresses is within bounds, survives the way there and back, and ends where the frame ends.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    // A list that grows by doubling is for a moment there twice.
    memory::allow(3 * MAX_BYTES + 2);
    let Ok(tar) = archive::decompress(data) else { return };
    assert!(tar.len() <= MAX_BYTES);
    if tar.len() > AGAIN {
        return;
    }
    let behind = [data, b"\0"].concat();
    assert_eq!(archive::decompress(&behind), Err(ArchiveError::Trailing(1)));
    assert!(archive::decompress(&data[..data.len() - 1]).is_err(), "a frame that is cut short is whole");
    let again = archive::compress(&tar);
    assert_eq!(again.and_then(|again| archive::decompress(&again)), Ok(tar));
}

/// Small frames, and the golden bundles but the bomb, whose kin would do nothing but unpack.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds: Seeds = golden::compressed().into_iter().collect();
    seeds.retain(|(name, bytes)| !name.starts_with("bomb") && bytes.len() < 8 * 1024);
    for (name, content) in [("empty", vec![]), ("text", b"hello hello hello hello".to_vec()), ("zeroes", vec![0; 3000])]
    {
        seeds.push((name.to_owned(), archive::compress(&content).unwrap_or_default()));
    }
    // A skippable frame, and two frames in a row.
    seeds.push(("skippable".into(), [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0][..], b"skip"].concat()));
    let text = archive::compress(b"x").unwrap_or_default();
    seeds.push(("two".into(), text.repeat(2)));
    seeds
}
