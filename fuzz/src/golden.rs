//! The golden files, and the keys that signed them. The seeds of these keys stand in `tests/src/golden.rs` for everybody to
//! read; a target that says "the fuzzer has no key" is one in which no input is ever signed here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use gatepost_evidence::archive::{self, Files};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::{PublicKey, SigningKey};

/// The gateway's key.
pub static GATEWAY: LazyLock<SigningKey> = LazyLock::new(|| key(b"gatepost golden gateway test key"));
/// The sink's.
pub static SINK: LazyLock<SigningKey> = LazyLock::new(|| key(b"gatepost golden sinkkey test key"));
/// One that nobody knows.
pub static OTHER: LazyLock<SigningKey> = LazyLock::new(|| key(b"gatepost golden another test key"));
/// The one that the gateway's is rotated to.
pub static NEXT: LazyLock<SigningKey> = LazyLock::new(|| key(b"gatepost golden nextkey test key"));

fn key(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_seed(seed).expect("a seed makes a key")
}

/// The keys by a number, and whether the number is beyond them.
pub fn signer(number: u8) -> Option<&'static SigningKey> {
    match number {
        1 => Some(&GATEWAY),
        2 => Some(&SINK),
        3 => Some(&OTHER),
        4 => Some(&NEXT),
        _ => None,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden")
}

/// Files of a folder beside their names.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).expect("the golden files are there").flatten();
    let plain = entries.filter(|entry| entry.path().is_file());
    plain
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).expect("a golden file can be read"))
        })
        .collect()
}

/// Every golden envelope, good and tampered, by its name.
pub static ENVELOPES: LazyLock<BTreeMap<String, Vec<u8>>> = LazyLock::new(|| {
    let mut found = files(&folder());
    found.extend(files(&folder().join("tampered")));
    found.retain(|name, _| name.ends_with(".json"));
    found
});

/// Every golden bundle whose container can be read, by its name.
pub static BUNDLES: LazyLock<BTreeMap<String, Files>> = LazyLock::new(|| {
    let read = |(name, bytes): (String, Vec<u8>)| Some((name.replace(".tar.zst", ""), archive::read(&bytes).ok()?));
    files(&folder().join("bundles")).into_iter().filter_map(read).collect()
});

/// Every golden bundle as it stands in its file, by its name.
pub fn compressed() -> BTreeMap<String, Vec<u8>> {
    files(&folder().join("bundles"))
}

/// Every envelope in golden files and bundles.
fn all_envelopes() -> Vec<Envelope> {
    let inside = BUNDLES.values().flat_map(|files| files.values());
    let texts: Vec<&Vec<u8>> = ENVELOPES.values().chain(inside).collect();
    let bare = texts.iter().filter_map(|text| Envelope::parse(text).ok());
    let receipts = texts.iter().filter_map(|text| serde_json::from_slice::<serde_json::Value>(text).ok());
    let receipts = receipts.filter_map(|value| Envelope::parse(value.get("receipt")?.to_string().as_bytes()).ok());
    bare.chain(receipts).collect()
}

/// What a key signed before the fuzzer began: the digests of the payloads, and the signatures.
pub struct Signed {
    /// SHA-256 of each payload, of whatever type.
    pub payloads: BTreeSet<Digest>,
    /// Base64, as it stands in the envelopes.
    pub signatures: BTreeSet<String>,
}

impl Signed {
    fn by(key: &PublicKey) -> Self {
        let mut signed = Self { payloads: BTreeSet::new(), signatures: BTreeSet::new() };
        for envelope in all_envelopes() {
            for expected in crate::envelope::TYPES {
                if let Ok(payload) = envelope.open(expected, key) {
                    signed.payloads.insert(Digest::of(&payload));
                    signed.signatures.insert(envelope.signatures[0].sig.clone());
                }
            }
        }
        signed
    }

    /// Whether an envelope that was accepted is one that the key signed: nobody else can make one, not even by changing a
    /// signature into another that would do.
    ///
    /// # Panics
    /// When it is not.
    pub fn must_have(&self, payload: Digest, envelope: &Envelope) {
        assert!(self.payloads.contains(&payload), "accepted without the key");
        assert!(self.signatures.contains(&envelope.signatures[0].sig), "accepted with another signature");
    }
}

/// What the gateway signed.
pub static BY_GATEWAY: LazyLock<Signed> = LazyLock::new(|| Signed::by(GATEWAY.public()));
/// What the sink signed.
pub static BY_SINK: LazyLock<Signed> = LazyLock::new(|| Signed::by(SINK.public()));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_golden_files() {
        let pem = |name: &str| std::fs::read_to_string(folder().join(name)).unwrap();
        assert_eq!(pem("gateway.pub.pem"), GATEWAY.public().to_pem());
        assert_eq!(pem("sink.pub.pem"), SINK.public().to_pem());
        assert!(BY_GATEWAY.payloads.len() > 5 && BY_SINK.payloads.len() > 2);
    }
}
