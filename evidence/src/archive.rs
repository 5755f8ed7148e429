//! The container of an evidence bundle: files in one ustar archive (POSIX.1-1988), compressed as one zstd frame (RFC 8878).
//!
//! Written in one way only: files sorted by name, mode 0644, no owner, no time, two blocks of zeroes at the end. Whatever
//! is not the archive that [`pack`] makes of its own files is refused, so every byte of the archive counts.
//!
//! Guarantees: pure, nothing is ever written to a disk; no more than [`MAX_BYTES`] are unpacked and no more than
//! [`MAX_FILES`] files looked at, whatever the input claims.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

/// The most bytes of an archive after decompression, headers included.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The most files of an archive.
pub const MAX_FILES: usize = 100_000;
/// The most characters of a name.
pub const MAX_NAME: usize = 100;
/// The most of its past that a decompressor has to remember, as a power of two.
const WINDOW_LOG: u32 = 26;
const BLOCK: usize = 512;
const LEVEL: i32 = 9;

/// Files by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Why an archive was not read or not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The compressed bytes are not one zstd frame, or were damaged.
    #[error("not a whole zstd frame: {0}")]
    Zstd(String),
    /// Something stands behind the frame.
    #[error("{0} bytes stand behind the compressed archive")]
    Trailing(usize),
    /// Beyond [`MAX_BYTES`].
    #[error("the archive has more than {MAX_BYTES} bytes after decompression")]
    TooLarge,
    /// Beyond [`MAX_FILES`].
    #[error("the archive has more than {MAX_FILES} files")]
    TooManyFiles,
    /// It ends in the middle of something.
    #[error("the archive is cut short")]
    Truncated,
    /// The bytes are not those that ustar, written in the one way, has for this.
    #[error("not the archive that is expected: {0}")]
    NotTar(&'static str),
    /// A link, a folder, a device.
    #[error("{0:?} is not a plain file")]
    NotAFile(String),
    /// A name that could lead somewhere else.
    #[error("{0:?} is not a name of a file in a bundle: lower-case letters, digits, `.`, `-` and `/` are expected")]
    Path(String),
    /// A name that stands twice.
    #[error("{0} is in the archive twice")]
    Duplicate(String),
    /// Files out of order.
    #[error("{0} stands behind a file that it should stand before")]
    Order(String),
}

impl ArchiveError {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Zstd(_) => "not_zstd",
            Self::Trailing(_) => "trailing_data",
            Self::TooLarge => "too_large",
            Self::TooManyFiles => "too_many_files",
            Self::Truncated => "truncated",
            Self::NotTar(_) => "not_tar",
            Self::NotAFile(_) => "not_a_file",
            Self::Path(_) => "path",
            Self::Duplicate(_) => "duplicate",
            Self::Order(_) => "order",
        }
    }
}

/// Packs and compresses files; the same files give the same bytes, and with them the same archive.
///
/// # Errors
/// When a name or the whole is beyond the bounds.
pub fn write(files: &Files) -> Result<Vec<u8>, ArchiveError> {
    compress(&pack(files)?)
}

/// Decompresses and unpacks.
///
/// # Errors
/// When it is not an archive as [`write`] makes them, or beyond the bounds.
pub fn read(bytes: &[u8]) -> Result<Files, ArchiveError> {
    unpack(&decompress(bytes)?)
}

/// Compresses an archive: one frame, with its length and a checksum.
///
/// # Errors
/// When memory is short.
pub fn compress(tar: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let wrong = |error: std::io::Error| ArchiveError::Zstd(error.to_string());
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).map_err(wrong)?;
    encoder.include_checksum(true).map_err(wrong)?;
    encoder.set_pledged_src_size(Some(tar.len() as u64)).map_err(wrong)?;
    encoder.write_all(tar).map_err(wrong)?;
    encoder.finish().map_err(wrong)
}

/// Decompresses an archive.
///
/// # Errors
/// When it is not exactly one whole frame, or larger than [`MAX_BYTES`] inside: nothing beyond that is decompressed.
pub fn decompress(bytes: &[u8]) -> Result<Vec<u8>, ArchiveError> {
    let wrong = |error: std::io::Error| ArchiveError::Zstd(error.to_string());
    let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(wrong)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(wrong)?;
    let mut tar = Vec::new();
    decoder.by_ref().take(MAX_BYTES as u64 + 1).read_to_end(&mut tar).map_err(wrong)?;
    if tar.len() > MAX_BYTES {
        return Err(ArchiveError::TooLarge);
    }
    match decoder.finish().len() {
        0 => Ok(tar),
        rest => Err(ArchiveError::Trailing(rest)),
    }
}

/// The archive of these files, uncompressed.
///
/// # Errors
/// When a name or the whole is beyond the bounds.
pub fn pack(files: &Files) -> Result<Vec<u8>, ArchiveError> {
    if files.len() > MAX_FILES {
        return Err(ArchiveError::TooManyFiles);
    }
    let mut tar = Vec::new();
    for (name, content) in files {
        if !is_name(name) {
            return Err(ArchiveError::Path(shown(name.as_bytes())));
        }
        if tar.len() + content.len() > MAX_BYTES {
            return Err(ArchiveError::TooLarge);
        }
        append(&mut tar, name, content);
    }
    finish(&mut tar);
    if tar.len() > MAX_BYTES { Err(ArchiveError::TooLarge) } else { Ok(tar) }
}

/// Appends one file to an archive, whatever its name; for those who want a wrong archive, [`finish`] ends it.
pub fn append(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    tar.extend(header(name.as_bytes(), content.len()));
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// Ends an archive.
pub fn finish(tar: &mut Vec<u8>) {
    tar.resize(tar.len() + 2 * BLOCK, 0);
}

/// The files of an archive.
///
/// # Errors
/// The first thing that is not as [`pack`] makes it.
pub fn unpack(tar: &[u8]) -> Result<Files, ArchiveError> {
    if tar.len() > MAX_BYTES {
        return Err(ArchiveError::TooLarge);
    }
    let mut files = Files::new();
    let mut rest = tar;
    loop {
        let (block, behind) = rest.split_first_chunk::<BLOCK>().ok_or(ArchiveError::Truncated)?;
        if block.iter().all(|byte| *byte == 0) {
            return match behind.len() {
                0..BLOCK => Err(ArchiveError::Truncated),
                BLOCK if behind.iter().all(|byte| *byte == 0) => Ok(files),
                _ => Err(ArchiveError::NotTar("it goes on behind its end")),
            };
        }
        let (name, size) = entry(block)?;
        let padded = size.next_multiple_of(BLOCK);
        if behind.len() < padded {
            return Err(ArchiveError::Truncated);
        }
        let (content, padding) = behind[..padded].split_at(size);
        if *block != header(name.as_bytes(), size) || padding.iter().any(|byte| *byte != 0) {
            return Err(ArchiveError::NotTar("a header or the padding is written in another way"));
        }
        if files.contains_key(&name) {
            return Err(ArchiveError::Duplicate(name));
        }
        if files.last_key_value().is_some_and(|(last, _)| *last > name) {
            return Err(ArchiveError::Order(name));
        }
        if files.len() == MAX_FILES {
            return Err(ArchiveError::TooManyFiles);
        }
        files.insert(name, content.to_vec());
        rest = &behind[padded..];
    }
}

/// What a header says: a name that leads nowhere else, and a size.
fn entry(block: &[u8; BLOCK]) -> Result<(String, usize), ArchiveError> {
    if &block[257..265] != b"ustar\x0000" {
        return Err(ArchiveError::NotTar("a header is not that of ustar"));
    }
    let name = block[..MAX_NAME].split(|byte| *byte == 0).next().unwrap_or_default();
    if block[156] != b'0' {
        return Err(ArchiveError::NotAFile(shown(name)));
    }
    let name = std::str::from_utf8(name).ok().filter(|name| is_name(name));
    let name = name.ok_or_else(|| ArchiveError::Path(shown(&block[..MAX_NAME])))?;
    let digits = block[124..135].iter().map(|digit| match digit {
        b'0'..=b'7' => Ok(usize::from(digit - b'0')),
        _ => Err(ArchiveError::NotTar("a size is not a number")),
    });
    let size = digits.into_iter().try_fold(0_usize, |size, digit| digit.map(|digit| size * 8 + digit))?;
    if size > MAX_BYTES {
        return Err(ArchiveError::Truncated);
    }
    Ok((name.to_owned(), size))
}

/// Whether a file may have this name: it leads nowhere else, on any system.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'/');
    let leads_down = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    name.len() <= MAX_NAME && name.bytes().all(plain) && leads_down
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).chars().take(MAX_NAME).collect()
}

fn header(name: &[u8], size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name[..name.len().min(MAX_NAME)]);
    put(100, b"0000644\x000000000\x000000000\x00");
    put(124, format!("{size:011o}\x0000000000000\x00").as_bytes());
    put(148, b"        0");
    put(257, b"ustar\x0000");
    put(329, b"0000000\x000000000\x00");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\x00 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files::from([("a/b.json".into(), b"{}".to_vec()), ("c.pem".into(), vec![7; 512]), ("d".into(), vec![])])
    }

    fn reason(tar: &[u8]) -> &'static str {
        unpack(tar).unwrap_err().reason()
    }

    #[test]
    fn what_was_packed_is_unpacked_and_tar_agrees() {
        let tar = pack(&files()).unwrap();
        assert_eq!(unpack(&tar).unwrap(), files());
        assert_eq!(read(&write(&files()).unwrap()).unwrap(), files());
        let mut child = std::process::Command::new("tar")
            .arg("-t")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&tar).unwrap();
        let listed = child.wait_with_output().unwrap();
        assert!(listed.status.success());
        assert_eq!(String::from_utf8(listed.stdout).unwrap(), "a/b.json\nc.pem\nd\n");
    }

    #[test]
    fn every_flipped_bit_of_an_archive_is_seen() {
        let tar = pack(&files()).unwrap();
        for at in 0..tar.len() {
            for bit in 0..8 {
                let mut flipped = tar.clone();
                flipped[at] ^= 1 << bit;
                assert_ne!(unpack(&flipped), Ok(files()), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn tricks_are_refused_with_a_reason() {
        let with = |names: &[&str]| {
            let mut tar = Vec::new();
            names.iter().for_each(|name| append(&mut tar, name, b"x"));
            finish(&mut tar);
            tar
        };
        for name in ["/etc/passwd", "../a", "a/../b", "a//b", "./a", "a/", "", "A", "a\\b", "c:a", "é", ".a"] {
            assert_eq!(reason(&with(&[name])), "path", "{name}");
        }
        assert_eq!(reason(&with(&["a", "a"])), "duplicate");
        assert_eq!(reason(&with(&["b", "a"])), "order");
        let good = with(&["a"]);
        for kind in *b"12345xgL\0" {
            let mut link = good.clone();
            link[156] = kind;
            assert_eq!(reason(&link), "not_a_file");
        }
        for cut in [0, 1, 512, 700, 1024, good.len() - 1] {
            assert_eq!(reason(&good[..cut]), "truncated", "{cut}");
        }
        assert_eq!(reason(&[good.clone(), vec![0; 512]].concat()), "not_tar");
        let mut huge = good;
        huge[124..135].copy_from_slice(b"77777777777");
        assert_eq!(reason(&huge), "truncated");
    }

    #[test]
    fn bombs_are_refused_before_they_go_off() {
        let bomb = compress(&vec![0; MAX_BYTES + 1]).unwrap();
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(decompress(&bomb), Err(ArchiveError::TooLarge));
        let good = write(&files()).unwrap();
        assert_eq!(read(&[good.as_slice(), b"x"].concat()), Err(ArchiveError::Trailing(1)));
        assert_eq!(read(&good[..good.len() - 1]).unwrap_err().reason(), "not_zstd");
        assert_eq!(read(b"").unwrap_err().reason(), "not_zstd");
        assert_eq!(read(b"hello").unwrap_err().reason(), "not_zstd");
    }
}
