//! Part one of a replay: the manifest, and that the files it names and no others are there.
//!
//! Guarantees: what is read after it is, byte for byte, what the manifest names; or the report says what is not.

use gatepost_evidence::bundle::{FORMAT, Kind, MANIFEST, Manifest, SEAL};
use gatepost_evidence::id::Digest;

use super::{Part, Replay, canonical_json};

impl Replay<'_> {
    pub(super) fn manifest(&mut self) -> Option<Manifest> {
        let part = Part::Manifest;
        let Some(bytes) = self.files.get(MANIFEST) else {
            self.broken(part, MANIFEST, ("missing_manifest", "there is no manifest".into()));
            return None;
        };
        let manifest: Manifest = match canonical_json(bytes) {
            Ok(manifest) => manifest,
            Err(why) => {
                self.broken(part, MANIFEST, ("bad_manifest", why));
                return None;
            }
        };
        if manifest.format != FORMAT {
            let why = format!("format {} is not the one that is read here, {FORMAT}", manifest.format);
            self.broken(part, MANIFEST, ("format_version", why));
            return None;
        }
        if manifest.files.windows(2).any(|pair| pair[0].path >= pair[1].path) {
            self.broken(part, MANIFEST, ("bad_manifest", "its files are not sorted, or one stands twice".into()));
            return None;
        }
        for entry in &manifest.files {
            let digest = |content: &Vec<u8>| (Digest::of(content), content.len() as u64);
            let wrong = match self.files.get(&entry.path).map(digest) {
                _ if Kind::of(&entry.path).is_none() => ("unknown_file", "a bundle has no such file".to_owned()),
                None => ("missing_file", "the manifest names it and it is not there".to_owned()),
                Some(found) if found != (entry.sha256, entry.size) => {
                    ("wrong_digest", format!("it has {} bytes with SHA-256 {}, not as named", found.1, found.0))
                }
                Some(_) => continue,
            };
            self.broken(part, entry.path.clone(), wrong);
        }
        let named = |path: &str| manifest.files.binary_search_by(|entry| entry.path.as_str().cmp(path)).is_ok();
        let extra = self.files.keys().filter(|path| ![MANIFEST, SEAL].contains(&path.as_str()) && !named(path));
        for path in extra.cloned().collect::<Vec<_>>() {
            self.broken(part, path, ("extra_file", "the manifest does not name it".into()));
        }
        if self.sound(part) {
            self.holds(part, format!("its {} files and no others are there", manifest.files.len()));
        }
        Some(manifest)
    }
}
