//! What was put into a batch comes out of it; whatever else comes is refused, whole.

use super::*;
use crate::envelope::{Envelope, MAX_ENVELOPE_BYTES};
use crate::key::SigningKey;

fn signed(payload_type: &str, payload: &[u8]) -> String {
    Envelope::sign(payload_type, payload, &SigningKey::from_seed(&[1; 32]).unwrap()).to_json()
}

fn texts(envelopes: &[String]) -> impl Iterator<Item = &str> {
    envelopes.iter().map(String::as_str)
}

fn decode(encoded: &Encoded, dictionary: Option<&[u8]>) -> Result<Vec<Vec<u8>>, BatchError> {
    Coded::parse(encoded.encoding.as_bytes(), &encoded.body)?.decode(dictionary)
}

/// A body around what somebody else put into a frame.
fn zstd_of(batch: &[u8]) -> Encoded {
    Encoded { encoding: ZSTD, body: compress(batch, None, Vec::new()).unwrap() }
}

fn reason(encoded: &Encoded) -> &'static str {
    decode(encoded, None).unwrap_err().reason()
}

/// Numbers that look random and are the same every time (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let (length, kinds) = (self.below(most + 1), 1 + self.below(255));
        (0..length).map(|_| u8::try_from(self.below(kinds)).unwrap()).collect()
    }

    fn envelope(&mut self) -> String {
        let payload = self.bytes(600);
        let usual = signed(["text/plain", "", "é\n\"", &"t".repeat(256)][self.below(4)], &payload);
        match self.below(6) {
            0 => String::from_utf8_lossy(&payload).into_owned(),
            1 => usual.replace(',', ",\n "),
            2 => usual[..self.below(100)].to_owned(),
            _ => usual,
        }
    }
}

#[test]
fn what_was_put_in_comes_out_byte_for_byte_whatever_it_is() {
    let mut numbers = Numbers(1);
    for _ in 0..2_000 {
        let envelopes: Vec<_> = (0..numbers.below(6)).map(|_| numbers.envelope()).collect();
        // Without one, and with one that is like zstd's own format of dictionaries.
        let dictionaries = [None, Some(numbers.bytes(2_000)), Some(b"\x37\xa4\x30\xec a dictionary".to_vec())];
        for dictionary in &dictionaries {
            let encoded = encode(texts(&envelopes), dictionary.as_deref()).unwrap();
            let coded = Coded::parse(encoded.encoding.as_bytes(), &encoded.body).unwrap();
            assert_eq!(coded.dictionary(), dictionary.as_deref().map(Digest::of));
            let came: Vec<_> = coded.decode(dictionary.as_deref()).unwrap();
            assert_eq!(came, texts(&envelopes).map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>());
        }
    }
}

/// Two runs that are much alike, and the payload of the first.
fn alike() -> (Vec<u8>, String) {
    let facts: Vec<_> = (0_u16..2_000).map(|n| Digest::of(&n.to_be_bytes()).to_string()).collect();
    let payload = |seq: u8| format!("{{\"facts\":{facts:?},\"seq\":{seq}}}").into_bytes();
    (payload(1), signed("application/json", &payload(2)))
}

#[test]
fn a_run_like_the_dictionary_takes_few_bytes() {
    let (before, run) = alike();
    let alone = encode([run.as_str()], None).unwrap().body.len();
    let against = encode([run.as_str()], Some(&before)).unwrap().body.len();
    assert!(alone > 60_000 && against < 300, "{alone} alone, {against} against its like");
    // The same within a batch.
    let two = encode([run.as_str(), run.as_str()], None).unwrap().body.len();
    assert!(two < alone + 300, "{alone} for one, {two} for two");
}

#[test]
fn a_body_that_is_cut_short_or_altered_gives_nothing_but_what_was_sent() {
    let dictionary = b"what the sink has already".as_slice();
    let envelopes = [signed("text/plain", b"what the sink has already, and more"), "not an envelope".to_owned()];
    for dictionary in [None, Some(dictionary)] {
        let good = encode(texts(&envelopes), dictionary).unwrap();
        let expected = decode(&good, dictionary).unwrap();
        for length in 0..good.body.len() {
            let cut = Encoded { body: good.body[..length].to_vec(), ..good.clone() };
            assert!(decode(&cut, dictionary).is_err(), "{length} bytes");
        }
        for byte in 0..good.body.len() {
            for bit in 0..8 {
                let mut altered = good.clone();
                altered.body[byte] ^= 1 << bit;
                if let Ok(came) = decode(&altered, dictionary) {
                    assert_eq!(came, expected, "byte {byte}, bit {bit}");
                }
            }
        }
        let mut longer = good.clone();
        longer.body.push(0);
        assert_eq!(decode(&longer, dictionary).unwrap_err().reason(), "bad_zstd");
        longer.body.pop();
        longer.body.extend(zstd_of(b"").body);
        assert_eq!(decode(&longer, dictionary).unwrap_err().reason(), "bad_zstd", "a second frame");
    }
}

#[test]
fn lists_that_lie_are_refused_whole() {
    let whole = |length: u32, text: &[u8]| [&[WHOLE][..], &length.to_be_bytes(), text].concat();
    assert_eq!(decode(&zstd_of(&whole(3, b"abc")), None), Ok(vec![b"abc".to_vec()]));
    let parts = |key_id: &str, type_length: u8, rest: &[u8]| {
        [&[PARTS][..], &[7; SIGNATURE_BYTES], key_id.as_bytes(), &[type_length], rest].concat()
    };
    let id = "ab".repeat(32);
    assert_eq!(decode(&zstd_of(&parts(&id, 1, b"t\0\0\0\x01p")), None).unwrap().len(), 1);
    for (name, batch) in [
        ("longer than there is", whole(4, b"abc")),
        ("as long as can be said", whole(u32::MAX, b"abc")),
        ("shorter than there is", whole(2, b"abc")),
        ("cut in the length", vec![WHOLE, 0, 0, 0]),
        ("no form", vec![2, 0, 0, 0, 0]),
        ("cut in the signature", vec![PARTS; 60]),
        ("cut in the key id", parts("ab", 0, b"")),
        ("a key id in capitals", parts(&id.to_uppercase(), 1, b"t\0\0\0\x01p")),
        ("a type longer than there is", parts(&id, 255, b"t\0\0\0\x01p")),
        ("a type that is no text", parts(&id, 1, b"\xff\0\0\0\x01p")),
        ("a payload longer than there is", parts(&id, 1, b"t\x7f\xff\xff\xffp")),
        ("good and then not", [whole(3, b"abc"), vec![9]].concat()),
    ] {
        assert_eq!(decode(&zstd_of(&batch), None).unwrap_err().reason(), "bad_batch", "{name}");
    }
    let most = whole(0, b"").repeat(MAX_BATCH_ENVELOPES);
    assert_eq!(decode(&zstd_of(&most), None).unwrap().len(), MAX_BATCH_ENVELOPES);
    assert_eq!(reason(&zstd_of(&[most, whole(0, b"")].concat())), "too_many");
}

#[test]
fn bombs_do_not_go_off() {
    let bomb = compress(&vec![0; 32 * MAX_BATCH_BYTES], None, Vec::new()).unwrap();
    assert!(bomb.len() < MAX_BATCH_BYTES / 8, "small on the wire");
    assert_eq!(reason(&Encoded { encoding: ZSTD, body: bomb.clone() }), "too_large");
    let dictionary = vec![0; MAX_ENVELOPE_BYTES];
    let mut body = [&DCZ_MAGIC[..], Digest::of(&dictionary).as_bytes()].concat();
    body.extend(bomb);
    let bomb = Encoded { encoding: DCZ, body };
    assert_eq!(decode(&bomb, Some(&dictionary)).unwrap_err().reason(), "too_large");
    // One that would have the reader keep 128 MiB of its past.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(&[0; 64]).unwrap();
    encoder.flush().unwrap();
    encoder.write_all(&[0; 64]).unwrap();
    assert_eq!(reason(&Encoded { encoding: ZSTD, body: encoder.finish().unwrap() }), "bad_zstd");
    let large = signed("text/plain", &vec![b'x'; MAX_ENVELOPE_BYTES * 3 / 5]);
    assert_eq!(encode(vec![large.as_str(); 20], None), Err(BatchError::TooLarge));
    assert_eq!(encode(vec![""; MAX_BATCH_ENVELOPES + 1], None), Err(BatchError::TooMany));
}

#[test]
fn a_dictionary_is_the_one_that_is_named_or_nothing_is_read() {
    let (before, run) = alike();
    let good = encode([run.as_str()], Some(&before)).unwrap();
    assert_eq!(good.encoding, DCZ);
    for wrong in [None, Some(&before[1..]), Some(&b""[..])] {
        assert_eq!(decode(&good, wrong), Err(BatchError::WrongDictionary));
        assert_eq!(BatchError::WrongDictionary.reason(), "unknown_dictionary");
    }
    // Another run is named and given: the frame does not fit it.
    let mut renamed = good.clone();
    renamed.body[8..40].copy_from_slice(Digest::of(b"another run").as_bytes());
    assert_eq!(decode(&renamed, Some(b"another run")).unwrap_err().reason(), "bad_zstd");
    for byte in 0..8 {
        let mut wrong = good.clone();
        wrong.body[byte] ^= 1;
        assert_eq!(decode(&wrong, Some(&before)).unwrap_err().reason(), "bad_dcz", "byte {byte}");
    }
    let parse = |encoding: &str, body: &[u8]| {
        Coded::parse(encoding.as_bytes(), body).map(|coded| coded.dictionary()).map_err(|error| error.reason())
    };
    assert_eq!(parse(DCZ, &good.body[..39]), Err("bad_dcz"));
    for unknown in ["", "gzip", "br", "dcb", "zstd, dcz", "identity"] {
        assert_eq!(parse(unknown, &good.body), Err("content_encoding"), "{unknown}");
    }
    assert!(parse("DCZ", &good.body).is_ok() && parse("Zstd", b"").is_ok(), "names of codings have no case");
    // As `zstd` alone it is a skippable frame with something behind it.
    assert_eq!(reason(&Encoded { encoding: ZSTD, ..good }), "bad_zstd");
}
