//! Signed notes, <https://c2sp.org/signed-note>: a text with Ed25519 signatures under it, readable by people and by any
//! tool for transparency logs.
//!
//! Strict: what is not a note by the letter of the specification is refused, and so is a note that the expected key did not
//! sign. Lines by other keys (a witness, say) must have the right form and are otherwise ignored, as the specification
//! demands. The text of a note is handed out only after its signature was checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::id::Digest;
use crate::key::{PublicKey, SigningKey};

/// The largest note that is read, in bytes: sixteen signatures of any kind in use fit.
pub const MAX_NOTE_BYTES: usize = 64 * 1024;
/// The most signature lines that are read.
pub const MAX_SIGNATURES: usize = 16;
/// The specification's byte for an Ed25519 signature of the text as it is.
const ED25519: u8 = 0x01;
/// What a signature line begins with: an em dash and a space.
const LINE_START: &str = "\u{2014} ";

/// Why a note was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than [`MAX_NOTE_BYTES`].
    #[error("the note has {0} bytes; at most {MAX_NOTE_BYTES} are accepted")]
    TooLarge(usize),
    /// Not a note by the specification.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// No line of the expected key.
    #[error("the note is not signed by {name} with the expected key")]
    NotSigned {
        /// The key's name.
        name: String,
    },
    /// A line that says it is the expected key's, and is not.
    #[error("the signature of {name} does not verify: the note or the signature was altered")]
    BadSignature {
        /// The key's name.
        name: String,
    },
}

/// Whether this can be the name of a key: not empty, no white space, no plus sign.
#[must_use]
pub fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// The four bytes that tell a key in a signature line.
#[must_use]
pub fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend([b'\n', ED25519]);
    bytes.extend(key.as_raw());
    let [a, b, c, d, ..] = *Digest::of(&bytes).as_bytes();
    [a, b, c, d]
}

/// The key in the one-line form that tools for notes take: `name+key id+base64`.
#[must_use]
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    let id = u32::from_be_bytes(key_id(name, key));
    let typed: Vec<u8> = std::iter::once(ED25519).chain(*key.as_raw()).collect();
    format!("{name}+{id:08x}+{}", STANDARD.encode(typed))
}

/// Signs `text`, which ends in a newline, as the key called `name`. Both are the caller's to get right: what [`open`] would
/// refuse can be signed and is worth nothing.
#[must_use]
pub fn sign(text: &str, name: &str, key: &SigningKey) -> String {
    let mut signature = key_id(name, key.public()).to_vec();
    signature.extend(key.sign(text.as_bytes()));
    format!("{text}\n{LINE_START}{name} {}\n", STANDARD.encode(signature))
}

/// The text of `note`, after the signature of the key called `name` was checked.
///
/// # Errors
/// When it is not a note, is too large, or is not signed by that key.
pub fn open<'a>(note: &'a str, name: &str, key: &PublicKey) -> Result<&'a str, NoteError> {
    if note.len() > MAX_NOTE_BYTES {
        return Err(NoteError::TooLarge(note.len()));
    }
    if note.contains(|c: char| c < ' ' && c != '\n') {
        return Err(NoteError::Malformed("it contains a control character"));
    }
    // The last empty line divides: the text keeps its own newline, the signatures come after.
    let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed("there is no empty line"))?;
    let text = &note[..=text.len()];
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("it does not end in a newline"))?;
    if lines.split('\n').count() > MAX_SIGNATURES {
        return Err(NoteError::Malformed("it has more than 16 signatures"));
    }
    let expected = key_id(name, key);
    let mut signed = false;
    for line in lines.split('\n') {
        let (by, id, signature) = signature_line(line)?;
        // Another key of the same name, or another name: unknown, and not ours to judge.
        if (by, id) != (name, expected) {
            continue;
        }
        if !key.verifies(text.as_bytes(), &signature) {
            return Err(NoteError::BadSignature { name: name.to_owned() });
        }
        signed = true;
    }
    if signed { Ok(text) } else { Err(NoteError::NotSigned { name: name.to_owned() }) }
}

fn signature_line(line: &str) -> Result<(&str, [u8; 4], Vec<u8>), NoteError> {
    let malformed = NoteError::Malformed("a signature line is not an em dash, a name and base64");
    let fields = line.strip_prefix(LINE_START).and_then(|line| line.split_once(' '));
    let (name, encoded) = fields.filter(|(name, _)| is_key_name(name)).ok_or_else(|| malformed.clone())?;
    let bytes = STANDARD.decode(encoded).map_err(|_| malformed.clone())?;
    match bytes.split_first_chunk() {
        Some((id, signature)) if !signature.is_empty() => Ok((name, *id, signature.to_vec())),
        _ => Err(malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published example of the format's first implementation, golang.org/x/mod/sumdb/note.
    const PETER: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\n\
        — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const PETER_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    fn peter() -> PublicKey {
        let typed = STANDARD.decode(PETER_KEY.rsplit_once('+').unwrap().1).unwrap();
        // The fixed beginning of an Ed25519 SubjectPublicKeyInfo, RFC 8410.
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend(&typed[1..]);
        PublicKey::from_der(&der).unwrap()
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    #[test]
    fn the_published_note_opens() {
        assert_eq!(verifier_key("PeterNeumann", &peter()), PETER_KEY);
        let text = open(PETER, "PeterNeumann", &peter()).unwrap();
        assert!(text.starts_with("If you think") && text.ends_with("problem is.\n"), "{text:?}");
        let not_signed = NoteError::NotSigned { name: "Other".into() };
        assert_eq!(open(PETER, "Other", &peter()).unwrap_err(), not_signed);
        let altered = PETER.replace("your", "my");
        assert!(matches!(open(&altered, "PeterNeumann", &peter()), Err(NoteError::BadSignature { .. })));
    }

    #[test]
    fn what_was_signed_opens_and_every_flipped_byte_is_caught() {
        let note = sign("a\n\nb\n", "sink", &key(1));
        assert_eq!(open(&note, "sink", key(1).public()), Ok("a\n\nb\n"));
        assert!(open(&note, "sink", key(2).public()).is_err());
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(forged) = String::from_utf8(bytes) else { continue };
                assert!(open(&forged, "sink", key(1).public()).is_err(), "byte {at}, bit {bit}");
            }
        }
        for end in 0..note.len() {
            assert!(note.get(..end).is_none_or(|cut| open(cut, "sink", key(1).public()).is_err()), "cut at {end}");
        }
    }

    #[test]
    fn lines_of_other_keys_are_ignored_and_lines_that_are_none_are_not() {
        let note = sign("text\n", "sink", &key(1));
        let line = |by: &SigningKey, name: &str| sign("text\n", name, by).split_off("text\n\n".len());
        fn opens(note: &str) -> Result<&str, NoteError> {
            open(note, "sink", key(1).public())
        }
        // A witness, a key that shares only the name, and a kind of signature we do not know.
        let others = [line(&key(2), "witness"), line(&key(2), "sink"), "— strange AAAAAAA=\n".to_owned()];
        for other in &others {
            assert_eq!(opens(&format!("{note}{other}")), Ok("text\n"), "{other}");
        }
        assert!(matches!(opens(&format!("text\n\n{}", others.concat())), Err(NoteError::NotSigned { .. })));
        assert_eq!(opens(&format!("{note}{}", others[0].repeat(15))), Ok("text\n"));
        let wrong = [
            format!("{note}{}", others[0].repeat(16)),
            format!("{note}garbage\n"),
            format!("{note}\n"),
            format!(" {note}"),
            note.trim_end().to_owned(),
            note.replace("— ", "- "),
            note.replace("— sink ", "—  "),
            note.replace("— sink ", "— si+nk "),
            note.replace("— sink ", "— si\u{a0}nk "),
            note.replace("\n\n", "\r\n\r\n"),
            note.replace("text", "te\0xt"),
            format!("{note}— sink AAAA\n"),
            format!("{note}{}", "x".repeat(MAX_NOTE_BYTES)),
            String::new(),
            "\n\n".to_owned(),
        ];
        for wrong in &wrong {
            assert!(opens(wrong).is_err(), "{wrong:?}");
        }
    }
}
