//! The archive inside a bundle: every byte of it counts, so what unpacks is the very archive that its files pack to.

use gatepost_evidence::archive::{self, Files, MAX_NAME};

use crate::Seeds;
use crate::golden::BUNDLES;
use crate::reader::Reader;

/// A first byte of `f` builds an archive from names and contents of the fuzzer's; else it is an archive as it came.
///
/// # Panics
/// When an archive unpacks to something that does not pack to it.
pub fn attack(data: &[u8]) {
    match data.split_first() {
        Some((b'f', rest)) => built(&mut Reader::new(rest)),
        _ => from_anywhere(data),
    }
}

fn from_anywhere(tar: &[u8]) {
    match archive::unpack(tar) {
        Ok(files) => {
            assert!(files.keys().all(|name| archive::is_name(name)));
            assert_eq!(archive::pack(&files).as_deref(), Ok(tar), "there are two archives of the same files");
        }
        Err(error) => assert!(!error.reason().is_empty() && !error.to_string().is_empty()),
    }
}

/// Files that are written the right way, under any names and in any order.
fn built(reader: &mut Reader<'_>) {
    let mut tar = Vec::new();
    let mut entries: Vec<(String, &[u8])> = Vec::new();
    while !reader.is_empty() {
        let length = usize::from(reader.byte());
        let name = String::from_utf8_lossy(reader.bytes(length)).into_owned();
        // A header has no room for more, and ends a name with its first NUL.
        if name.len() > MAX_NAME || name.ends_with('\0') {
            break;
        }
        let length = usize::from(reader.short()) % 2048;
        let content = reader.bytes(length);
        archive::append(&mut tar, &name, content);
        entries.push((name, content));
    }
    archive::finish(&mut tar);
    let is_plain = entries.iter().all(|(name, _)| plain(name));
    let is_sorted = entries.windows(2).all(|pair| pair[0].0.as_bytes() < pair[1].0.as_bytes());
    let files: Files = entries.iter().map(|(name, content)| (name.clone(), content.to_vec())).collect();
    match archive::unpack(&tar) {
        Ok(found) => {
            assert!(is_plain && is_sorted, "{entries:?}");
            assert_eq!(found, files);
            assert_eq!(archive::pack(&files), Ok(tar));
        }
        Err(error) => assert!(!is_plain || !is_sorted, "{error} {entries:?}"),
    }
}

/// A name as `docs/evidence-format.md` has it.
fn plain(name: &str) -> bool {
    let part = |part: &str| {
        !part.starts_with('.')
            && !part.is_empty()
            && part.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-'))
    };
    (1..=100).contains(&name.len()) && name.split('/').all(part)
}

/// Small archives, and names that lead elsewhere.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    let small =
        Files::from([("a/b.json".into(), b"{}".to_vec()), ("c.pem".into(), vec![7; 512]), ("d".into(), vec![])]);
    let keys: Files = BUNDLES["agent"].iter().filter(|(name, _)| name.starts_with("keys/")).map(owned).collect();
    for (name, files) in [("small", small), ("keys", keys), ("empty", Files::new())] {
        seeds.push((name.to_owned(), archive::pack(&files).unwrap_or_default()));
    }
    for name in ["a", "../a", "a/../b", "/a", "a//b", ".a", "A", "a/b.json", &"x".repeat(100)] {
        let length = u8::try_from(name.len()).unwrap_or_default();
        let entry = [&[length][..], name.as_bytes(), &[0, 2], b"{}"].concat();
        let twice = [b"f", entry.as_slice(), entry.as_slice()].concat();
        seeds.push((format!("name-{}", seeds.len()), [b"f", entry.as_slice(), b"\x02zz\x00\x01x"].concat()));
        seeds.push((format!("twice-{}", seeds.len()), twice));
    }
    seeds
}

fn owned((name, content): (&String, &Vec<u8>)) -> (String, Vec<u8>) {
    (name.clone(), content.clone())
}
