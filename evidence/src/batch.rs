//! The body of an upload: how envelopes travel in few bytes, and come out as the very texts that were signed.
//!
//! An envelope of the usual shape goes as its parts, with the payload's own bytes instead of base64 of them, so that runs
//! compress against each other; any other text goes whole. The batch is one zstd frame, or, when the sink has a run of this
//! gateway already, `dcz` (RFC 9842, section 5): magic number, SHA-256 of the dictionary, and one zstd frame for which the
//! payload of that run is the raw dictionary. The digest of a run is that SHA-256, so both sides mean the same bytes.
//!
//! Guarantees: pure; [`Coded::decode`] gives back what was given to [`encode`] or an error; no length that the body claims is
//! believed, and never more than [`MAX_BATCH_BYTES`] are decompressed. What comes out is as little believed as before.

use std::io::{Read as _, Write as _};

use crate::id::Digest;
use crate::parts::{self, Parts, SIGNATURE_BYTES};
use crate::wire::{MAX_BATCH_BYTES, MAX_BATCH_ENVELOPES};

/// The media type of a batch.
pub const CONTENT_TYPE: &str = "application/vnd.gatepost.envelopes";
/// `Content-Encoding` of a batch that stands for itself (RFC 8878).
pub const ZSTD: &str = "zstd";
/// `Content-Encoding` of a batch that is compressed against a run which the sink has (RFC 9842).
pub const DCZ: &str = "dcz";

/// What a dictionary-compressed zstd stream begins with: a skippable frame of 32 bytes, for those who do not know it.
const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];
/// zstd windows above 16 MiB are refused: nothing that fits a batch needs one.
const WINDOW_LOG_MAX: u32 = 24;
/// Where runs stop getting smaller; beyond it a full batch costs the gateway tens of megabytes for nothing.
const LEVEL: i32 = 6;

/// The form of an envelope: its text as it is. Four bytes of length, text.
const WHOLE: u8 = 0;
/// The form of an envelope: its parts. 64 bytes of signature, 64 digits of key id, one byte of length, payload type, four
/// bytes of length, payload. The key id as digits, because a run says it so too.
const PARTS: u8 = 1;
const KEY_ID_DIGITS: usize = 64;

/// Why a batch was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A coding that is not spoken here.
    #[error("the body has no content coding that is known here; send it with Content-Encoding: {ZSTD} or {DCZ}")]
    Encoding,
    /// It does not begin as RFC 9842 says.
    #[error("the body is not a dictionary-compressed zstd stream: {0}")]
    Dcz(&'static str),
    /// The dictionary at hand is not the one it was compressed with.
    #[error("the dictionary is not the one that the body names")]
    WrongDictionary,
    /// The compressed bytes are damaged, or not exactly one frame.
    #[error("the body is not one whole zstd frame: {0}")]
    Zstd(String),
    /// Beyond [`MAX_BATCH_BYTES`].
    #[error("the batch has more than {MAX_BATCH_BYTES} bytes after decompression; send fewer envelopes at once")]
    TooLarge,
    /// Beyond [`MAX_BATCH_ENVELOPES`].
    #[error("the batch has more than {MAX_BATCH_ENVELOPES} envelopes; send fewer at once")]
    TooMany,
    /// What was decompressed is no list of envelopes.
    #[error("the batch is not a list of envelopes: {0}")]
    Malformed(&'static str),
}

impl BatchError {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Encoding => "content_encoding",
            Self::Dcz(_) => "bad_dcz",
            Self::WrongDictionary => crate::wire::UNKNOWN_DICTIONARY,
            Self::Zstd(_) => "bad_zstd",
            Self::TooLarge => "too_large",
            Self::TooMany => "too_many",
            Self::Malformed(_) => "bad_batch",
        }
    }
}

/// A batch as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its `Content-Encoding`.
    pub encoding: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// Puts `envelopes` into one body; with a `dictionary`, the payload of a run that the other side has.
///
/// # Errors
/// When it is too large or too many, or memory is short.
pub fn encode<'a>(
    envelopes: impl IntoIterator<Item = &'a str>,
    dictionary: Option<&[u8]>,
) -> Result<Encoded, BatchError> {
    let (mut batch, mut count) = (Vec::new(), 0);
    for envelope in envelopes {
        count += 1;
        append(&mut batch, envelope);
        if batch.len() > MAX_BATCH_BYTES {
            return Err(BatchError::TooLarge);
        }
    }
    if count > MAX_BATCH_ENVELOPES {
        return Err(BatchError::TooMany);
    }
    let mut body = Vec::new();
    if let Some(dictionary) = dictionary {
        body.extend(DCZ_MAGIC);
        body.extend(Digest::of(dictionary).as_bytes());
    }
    let encoding = if dictionary.is_some() { DCZ } else { ZSTD };
    compress(&batch, dictionary, body).map(|body| Encoded { encoding, body }).map_err(zstd_error)
}

fn append(batch: &mut Vec<u8>, envelope: &str) {
    let parts = Parts::of(envelope);
    let short = parts.as_ref().and_then(|parts| Some((parts, u8::try_from(parts.payload_type.len()).ok()?)));
    if let Some((parts, type_length)) = short {
        batch.push(PARTS);
        batch.extend(parts.signature);
        batch.extend(parts.key_id.to_string().as_bytes());
        batch.push(type_length);
        batch.extend(parts.payload_type.as_bytes());
        append_long(batch, &parts.payload);
    } else {
        batch.push(WHOLE);
        append_long(batch, envelope.as_bytes());
    }
}

/// Four bytes of length, big-endian, and `bytes`. What is longer than can be said is longer than any batch, and refused.
fn append_long(batch: &mut Vec<u8>, bytes: &[u8]) {
    batch.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    batch.extend(bytes);
}

fn compress(batch: &[u8], dictionary: Option<&[u8]>, body: Vec<u8>) -> std::io::Result<Vec<u8>> {
    let encoder = match dictionary {
        Some(dictionary) => zstd::stream::raw::Encoder::with_ref_prefix(LEVEL, dictionary)?,
        None => zstd::stream::raw::Encoder::new(LEVEL)?,
    };
    let mut encoder = zstd::stream::write::Encoder::with_encoder(body, encoder);
    // What was damaged on the way is then sent again, and not taken for what the gateway signed.
    encoder.include_checksum(true)?;
    encoder.set_pledged_src_size(Some(batch.len() as u64))?;
    encoder.write_all(batch)?;
    encoder.finish()
}

/// A body that came, before it is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coded<'a> {
    dictionary: Option<Digest>,
    frame: &'a [u8],
}

impl<'a> Coded<'a> {
    /// A body with this `Content-Encoding`.
    ///
    /// # Errors
    /// When the coding is not known here, or the body does not begin as it says.
    pub fn parse(encoding: &[u8], body: &'a [u8]) -> Result<Self, BatchError> {
        if encoding.eq_ignore_ascii_case(ZSTD.as_bytes()) {
            return Ok(Self { dictionary: None, frame: body });
        }
        if !encoding.eq_ignore_ascii_case(DCZ.as_bytes()) {
            return Err(BatchError::Encoding);
        }
        let rest = body.strip_prefix(&DCZ_MAGIC).ok_or(BatchError::Dcz("it has another magic number"))?;
        let (digest, frame) = rest.split_first_chunk().ok_or(BatchError::Dcz("it is cut short"))?;
        Ok(Self { dictionary: Some(Digest::from_bytes(*digest)), frame })
    }

    /// The run whose payload is needed to read this.
    #[must_use]
    pub fn dictionary(&self) -> Option<Digest> {
        self.dictionary
    }

    /// The texts of the envelopes, in order.
    ///
    /// # Errors
    /// When `dictionary` is not what [`Self::dictionary`] names, and when this is not a batch as [`encode`] makes them.
    pub fn decode(&self, dictionary: Option<&[u8]>) -> Result<Vec<Vec<u8>>, BatchError> {
        if dictionary.map(Digest::of) != self.dictionary {
            return Err(BatchError::WrongDictionary);
        }
        unframe(&decompress(self.frame, dictionary)?)
    }
}

/// Decompresses exactly one frame, without ever holding more than a byte beyond the limit.
fn decompress(frame: &[u8], dictionary: Option<&[u8]>) -> Result<Vec<u8>, BatchError> {
    let decoder = match dictionary {
        Some(dictionary) => zstd::stream::read::Decoder::with_ref_prefix(frame, dictionary),
        None => zstd::stream::read::Decoder::with_buffer(frame),
    };
    let mut decoder = decoder.map_err(zstd_error)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(zstd_error)?;
    let mut batch = Vec::new();
    decoder.by_ref().take(MAX_BATCH_BYTES as u64 + 1).read_to_end(&mut batch).map_err(zstd_error)?;
    if batch.len() > MAX_BATCH_BYTES {
        return Err(BatchError::TooLarge);
    }
    match decoder.finish().len() {
        0 => Ok(batch),
        rest => Err(BatchError::Zstd(format!("{rest} bytes stand behind it"))),
    }
}

fn zstd_error(error: std::io::Error) -> BatchError {
    BatchError::Zstd(error.to_string())
}

fn unframe(mut batch: &[u8]) -> Result<Vec<Vec<u8>>, BatchError> {
    let mut envelopes = Vec::new();
    while let Some((form, rest)) = batch.split_first() {
        if envelopes.len() == MAX_BATCH_ENVELOPES {
            return Err(BatchError::TooMany);
        }
        batch = rest;
        envelopes.push(match *form {
            WHOLE => long(&mut batch)?.to_vec(),
            PARTS => put_together(&mut batch)?,
            _ => return Err(BatchError::Malformed("an envelope has a form that is not known here")),
        });
    }
    Ok(envelopes)
}

fn put_together(batch: &mut &[u8]) -> Result<Vec<u8>, BatchError> {
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| BatchError::Malformed("a name is not text"));
    let signature: &[u8; SIGNATURE_BYTES] =
        take(batch, SIGNATURE_BYTES)?.try_into().map_err(|_| BatchError::Malformed(CUT_SHORT))?;
    let key_id = text(take(batch, KEY_ID_DIGITS)?)?;
    let key_id = key_id.parse().map_err(|_| BatchError::Malformed("a key id is not a SHA-256"))?;
    let type_length = take(batch, 1)?.first().map_or(0, |length| usize::from(*length));
    let payload_type = text(take(batch, type_length)?)?;
    let payload = long(batch)?;
    Ok(parts::to_json(signature, key_id, payload_type, payload).into_bytes())
}

const CUT_SHORT: &str = "it is cut short";

/// The bytes behind four bytes of length, which is not believed: nothing is reserved for it.
fn long<'a>(batch: &mut &'a [u8]) -> Result<&'a [u8], BatchError> {
    let length = take(batch, 4)?.try_into().map_err(|_| BatchError::Malformed(CUT_SHORT))?;
    take(batch, usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX))
}

fn take<'a>(batch: &mut &'a [u8], length: usize) -> Result<&'a [u8], BatchError> {
    let (taken, rest) = batch.split_at_checked(length).ok_or(BatchError::Malformed(CUT_SHORT))?;
    *batch = rest;
    Ok(taken)
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
