//! Lists of keys whose private half everybody can have: what Debian's OpenSSL made from 2006 to 2008 (CVE-2008-0166), and keys
//! that came with a product or an example.
//!
//! Such a list has some hundred thousand entries and ages, so it lies beside the sink and not on gateways. Lines are, in
//! hexadecimal digits, either of:
//!
//! - 20 digits, as in the lists of `openssl-blacklist`: the lower 80 bits of the SHA-1 of `Modulus=<DIGITS>` and a newline,
//!   which is what `openssl x509 -noout -modulus` prints of an RSA key;
//! - 64 digits: the SHA-256 of a SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7), of any kind of key.
//!
//! Empty lines and those that begin with `#` are skipped. Anything else is an error: a list that was not understood must not
//! look like one that nobody is on.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use gatepost_evidence::id::Digest;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::error::SinkError;
use crate::shared_keys::SeenKey;

/// The longest list that is read, in bytes: 64 MiB is some three million keys.
const MAX_BYTES: u64 = 64 << 20;

/// The lower 80 bits of a SHA-1.
type Short = [u8; 10];

/// What the lists hold.
#[derive(Debug, Default)]
pub struct WeakKeys {
    moduli: HashSet<Short>,
    keys: HashSet<Digest>,
}

impl WeakKeys {
    /// Reads the lists in `files`.
    ///
    /// # Errors
    /// When a file cannot be read, is too long, or has a line that is neither.
    pub fn read(files: &[PathBuf]) -> Result<Self, SinkError> {
        let mut all = Self::default();
        files.iter().try_for_each(|file| all.add(file))?;
        Ok(all)
    }

    fn add(&mut self, file: &Path) -> Result<(), SinkError> {
        let failed = |source| SinkError::File { action: "read", path: file.to_owned(), source };
        let wrong = |why: String| SinkError::Content { path: file.to_owned(), why };
        if std::fs::metadata(file).map_err(failed)?.len() > MAX_BYTES {
            return Err(wrong(format!("it is longer than {} MiB, which no list of weak keys is", MAX_BYTES >> 20)));
        }
        let text = std::fs::read_to_string(file).map_err(failed)?;
        for (number, line) in (1..).zip(text.lines().map(str::trim)) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let known = match line.len() {
                20 => short(line).map(|short| self.moduli.insert(short)),
                64 => line.to_ascii_lowercase().parse().ok().map(|digest| self.keys.insert(digest)),
                _ => None,
            };
            known.ok_or_else(|| {
                wrong(format!(
                    "line {number} is neither 20 hexadecimal digits, as openssl-blacklist has them, nor 64, the SHA-256 of a \
                     public key"
                ))
            })?;
        }
        Ok(())
    }

    /// Whether a list has this key.
    #[must_use]
    pub fn has(&self, key: &SeenKey) -> bool {
        self.keys.contains(&key.key)
            || (!self.moduli.is_empty()
                && key.modulus.as_deref().is_some_and(|modulus| self.moduli.contains(&of_modulus(modulus))))
    }
}

fn short(digits: &str) -> Option<Short> {
    let mut bytes = Short::default();
    for (byte, place) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(digits.get(place..place + 2)?, 16).ok()?;
    }
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(bytes)
}

/// What `openssl-blacklist` lists of a big-endian modulus.
fn of_modulus(modulus: &[u8]) -> Short {
    let mut text = String::from("Modulus=");
    for byte in modulus.iter().skip_while(|byte| **byte == 0) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text.push('\n');
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let mut lower = Short::default();
    lower.iter_mut().rev().zip(hash.as_ref().iter().rev()).for_each(|(to, from)| *to = *from);
    lower
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key that Debian's OpenSSL made, and its entry in `blacklist.RSA-2048`.
    const MODULUS: &str = "D673252AF6723C3F72529403EAB7C30DEF3C52F97E799825F4A70191C616ADCF1ECE1113F1625971074C492C592025FD\
        EADBDB146A081826BDF0D77C3C913DCF1B6F0B3B78F5108D2E493AD0EEE8CA5C021711ADC13D358E61133870FCD19C8E5C22403959782AA82E72AE\
        E53A3D491E3912CE27B27E1A85EA69C19A527D28F7934C9823B7E56FDD657DAC83FDC65BB22A98D843DF73238919781B714C81A5E2AFEC71F5C54A\
        A2A27C590AD94C03C1062D50EFCFFAC743E3C8A3AE056846A1D756EB862BF4224169D467C35215ADE0AFCC11E85FE629AFB802C4786FF2E9C929BC\
        CF502B3D3B8876C6A11785CC398B389F1D86BDD9CB0BD4EC13956EC3FA270D";
    const ENTRY: &str = "8df20e6961a16398b85a";

    fn seen(modulus: Option<Vec<u8>>) -> SeenKey {
        let (certificate, key) = (Digest::of(b"certificate"), Digest::of(b"key"));
        SeenKey { subject: "broker".into(), device: false, certificate, key, modulus }
    }

    fn modulus() -> Vec<u8> {
        (0..MODULUS.len()).step_by(2).map(|at| u8::from_str_radix(&MODULUS[at..at + 2], 16).unwrap()).collect()
    }

    fn read(text: &str) -> Result<WeakKeys, SinkError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(&file, text).unwrap();
        WeakKeys::read(&[file])
    }

    #[test]
    fn a_key_is_found_by_its_modulus_and_by_its_digest() {
        let list = read(&format!("# Debian\n\n{ENTRY}\n")).unwrap();
        assert!(list.has(&seen(Some(modulus()))));
        assert!(list.has(&seen(Some([vec![0], modulus()].concat()))));
        assert!(!list.has(&seen(Some(vec![7]))) && !list.has(&seen(None)));
        let list = read(&format!("{}\n", Digest::of(b"key"))).unwrap();
        assert!(list.has(&seen(None)));
    }

    #[test]
    fn a_line_that_is_neither_is_an_error_with_its_number() {
        for line in ["8df20e6961a16398b8", "8df20e6961a16398b85z", "+df20e6961a16398b85a", "not a list at all"] {
            let error = read(&format!("# begins well\n{ENTRY}\n{line}\n")).unwrap_err().to_string();
            assert!(error.contains("line 3"), "{line}: {error}");
        }
        let gone = WeakKeys::read(&[PathBuf::from("/nowhere/list")]).unwrap_err().to_string();
        assert!(gone.contains("/nowhere/list"), "{gone}");
    }
}
