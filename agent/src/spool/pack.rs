//! How an envelope is laid down in few bytes, so that the very bytes that were signed come back.
//!
//! An envelope is mostly base64 of a payload that looks like the one before it. So it is taken apart (signature, key id,
//! payload type and payload) and compressed with zstd against a *base*: the same parts of an earlier run. Whatever does not
//! come back exactly when put together again is kept whole. Content: one byte for the form, then what the form says.

use std::io;

use gatepost_evidence::envelope::MAX_ENVELOPE_BYTES;
use gatepost_evidence::id::Digest;
use gatepost_evidence::parts::{self, Parts, SIGNATURE_BYTES};
use gatepost_evidence::wire::MAX_BATCH_BYTES;

/// The most bytes of one envelope that are read back: what goes into an upload. One that is too large for the sink is still
/// read, so that the sink can say so.
pub(super) const MAX_READ: usize = MAX_BATCH_BYTES / 2;

/// zstd of the envelope's text.
const WHOLE: u8 = 0;
/// 64 bytes of signature, 32 of key id, zstd of payload type, newline and payload; the base is zstd's dictionary.
const PARTS: u8 = 1;

const KEY_ID_BYTES: usize = 32;
/// zstd's own default: more costs time on a small processor and saves little.
const LEVEL: i32 = 3;

/// The parts of an envelope of the usual shape; none when it would not come back exactly.
fn take_apart(envelope: &str) -> Option<Parts> {
    Parts::of(envelope).filter(|parts| !parts.payload_type.contains('\n'))
}

fn put_together(signed: &[u8], body: &[u8]) -> Option<String> {
    let (signature, key_id) = signed.split_first_chunk::<SIGNATURE_BYTES>()?;
    let newline = body.iter().position(|&byte| byte == b'\n')?;
    let (payload_type, payload) = (&body[..newline], &body[newline + 1..]);
    let key_id = Digest::from_bytes(key_id.try_into().ok()?);
    Some(parts::to_json(signature, key_id, std::str::from_utf8(payload_type).ok()?, payload))
}

/// Payload type, newline, payload.
fn body(parts: &Parts) -> Vec<u8> {
    [parts.payload_type.as_bytes(), b"\n", &parts.payload].concat()
}

/// What later envelopes can be packed against, if this one has the usual shape.
pub(super) fn base(envelope: &str) -> Option<Vec<u8>> {
    take_apart(envelope).map(|parts| body(&parts))
}

/// Packs an envelope, against `base` if there is one.
pub(super) fn pack(envelope: &str, base: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let Some(parts) = take_apart(envelope) else {
        let mut content = vec![WHOLE];
        content.extend(zstd::bulk::compress(envelope.as_bytes(), LEVEL)?);
        return Ok(content);
    };
    let mut content = vec![PARTS];
    content.extend(parts.signature);
    content.extend(parts.key_id.as_bytes());
    content.extend(compress(&body(&parts), base)?);
    Ok(content)
}

/// The envelope that was packed against `base`; on failure, what is wrong.
pub(super) fn unpack(content: &[u8], base: Option<&[u8]>) -> Result<String, String> {
    let wrong = |error: io::Error| error.to_string();
    match content.split_first() {
        Some((&WHOLE, rest)) => {
            let text = zstd::bulk::decompress(rest, MAX_READ).map_err(wrong)?;
            String::from_utf8(text).map_err(|error| error.to_string())
        }
        Some((&PARTS, rest)) => {
            let (signed, rest) = rest.split_at_checked(SIGNATURE_BYTES + KEY_ID_BYTES).ok_or("it is cut short")?;
            let body = decompress(rest, base).map_err(wrong)?;
            put_together(signed, &body).ok_or_else(|| "it is not an envelope".to_owned())
        }
        Some((form, _)) => Err(format!("it has form {form}, which this agent does not know")),
        None => Err("it is empty".to_owned()),
    }
}

/// Compresses a base, or a body against one.
pub(super) fn compress(body: &[u8], base: Option<&[u8]>) -> io::Result<Vec<u8>> {
    zstd::bulk::Compressor::with_dictionary(LEVEL, base.unwrap_or_default())?.compress(body)
}

/// Undoes [`compress`].
pub(super) fn decompress(compressed: &[u8], base: Option<&[u8]>) -> io::Result<Vec<u8>> {
    zstd::bulk::Decompressor::with_dictionary(base.unwrap_or_default())?.decompress(compressed, MAX_ENVELOPE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gatepost_evidence::envelope::Envelope;
    use gatepost_evidence::key::SigningKey;

    fn envelope(payload: &str) -> String {
        Envelope::sign("text/plain", payload.as_bytes(), &SigningKey::from_seed(&[1; 32]).unwrap()).to_json()
    }

    #[test]
    fn what_was_packed_comes_back_byte_for_byte() {
        let usual = envelope("a payload");
        let spaced = usual.replace("\":", "\": ");
        let upper = usual.replace("\"keyid\":\"", "\"keyid\":\"X");
        let base = base(&envelope("a payload before it")).unwrap();
        let broken = Envelope::sign("two\nlines", b"a payload", &SigningKey::from_seed(&[1; 32]).unwrap()).to_json();
        for text in [usual.as_str(), &spaced, &upper, &broken, "", "not an envelope", "{\"payload\":\"\\u0000\"}"] {
            for base in [None, Some(base.as_slice())] {
                let content = pack(text, base).unwrap();
                assert_eq!(unpack(&content, base).as_deref(), Ok(text));
            }
        }
    }

    #[test]
    fn a_run_like_its_base_costs_little() {
        let facts: Vec<String> = (0..2_000).map(|n| Digest::of(&[n as u8, (n >> 8) as u8]).to_string()).collect();
        let (one, two) = (envelope(&format!("one {facts:?}")), envelope(&format!("two {facts:?}")));
        let alone = pack(&two, None).unwrap().len();
        let against = pack(&two, base(&one).as_deref()).unwrap().len();
        assert!(alone > 60_000 && against < 200, "{alone} alone, {against} against its like");
    }

    #[test]
    fn altered_content_never_panics_and_says_what_is_wrong() {
        let base = base(&envelope("before")).unwrap();
        let content = pack(&envelope("a payload"), Some(&base)).unwrap();
        for length in 0..content.len() {
            assert!(unpack(&content[..length], Some(&base)).is_err(), "{length} bytes");
        }
        for byte in 0..content.len() {
            let mut altered = content.clone();
            altered[byte] ^= 1;
            assert_ne!(unpack(&altered, Some(&base)), Ok(envelope("a payload")), "byte {byte}");
        }
    }
}
