//! A tar archive of plain files (POSIX.1-1988 ustar, with GNU's entries for long names), which every tar(1) unpacks.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

const BLOCK: usize = 512;
/// The longest name that a header holds.
const NAME: usize = 100;

/// Writes the files in the order of their names.
///
/// # Errors
/// When the writer fails.
pub fn write(out: &mut impl Write, files: &BTreeMap<PathBuf, Vec<u8>>) -> io::Result<()> {
    for (path, bytes) in files {
        let name = path.as_os_str().as_bytes();
        if name.len() > NAME {
            let mut long = name.to_vec();
            long.push(0);
            entry(out, b"././@LongLink", b'L', &long)?;
        }
        entry(out, &name[..name.len().min(NAME)], b'0', bytes)?;
    }
    out.write_all(&[0; 2 * BLOCK])
}

fn entry(out: &mut impl Write, name: &[u8], kind: u8, bytes: &[u8]) -> io::Result<()> {
    let mut header = [0_u8; BLOCK];
    header[..name.len()].copy_from_slice(name);
    header[100..108].copy_from_slice(b"0000600\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].copy_from_slice(b"        ");
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.write_all(&header)?;
    out.write_all(bytes)?;
    let rest = bytes.len().div_ceil(BLOCK) * BLOCK - bytes.len();
    out.write_all(&[0; BLOCK][..rest])
}
