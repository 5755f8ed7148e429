//! Whole bundles: files of the fuzzer's, sealed and signed by whom it likes, replayed as an auditor would.
//!
//! An input is a list of files in short form, so that a changed byte changes a file and not the container; the container has
//! targets of its own. A first byte says whether the manifest is written anew to fit the files, and by whom it is sealed: a
//! lying maker. A file's content is taken as it is, or signed before it goes in.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use gatepost_evidence::archive::{self, Files};
use gatepost_evidence::bundle::{FileEntry, Kind, MANIFEST, Manifest, SEAL, Seal};
use gatepost_evidence::canonical;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::{PublicKey, SigningKey};
use gatepost_evidence::rotation;
use gatepost_rules::replay::{Finding, Part, Trust, replay};
use serde_json::Value;

use crate::Seeds;
use crate::envelope::TYPES;
use crate::golden::{BUNDLES, GATEWAY, SINK, signer};
use crate::payload::with_proof;
use crate::reader::Reader;

/// The auditor knows both keys.
static TRUST: LazyLock<Trust> =
    LazyLock::new(|| Trust { gateway: Some(GATEWAY.public().id()), sink: Some(SINK.public().clone()) });
/// The names of the golden bundles' files, which an input may name by number.
static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> = BUNDLES.values().flat_map(|files| files.keys().cloned()).collect();
    names.sort();
    names.dedup();
    names
});
/// The most files of an input: each may cost a signature and its verification, and more of them reach nothing that these do not.
const FILES: usize = 16;
/// The most envelopes that are kept signed.
const KEPT: usize = 4096;
/// Marks a name that is written out.
const WRITTEN_OUT: u8 = 255;

/// The bundle of an input, and whether anything in it was signed for the fuzzer.
fn bundle(data: &[u8]) -> (Files, bool) {
    let mut reader = Reader::new(data);
    let seals = signer(reader.byte());
    let (mut files, mut signed) = (Files::new(), seals.is_some());
    while !reader.is_empty() && files.len() < FILES {
        let name = match reader.byte() {
            WRITTEN_OUT => {
                let length = reader.byte();
                String::from_utf8_lossy(reader.bytes(usize::from(length))).into_owned()
            }
            number => NAMES[usize::from(number) % NAMES.len()].clone(),
        };
        let (by, kind) = (reader.byte(), reader.byte());
        let length = reader.short();
        let content = reader.bytes(usize::from(length));
        let content = match signer(by) {
            Some(key) => {
                signed = true;
                seal_in(by, TYPES[usize::from(kind) % TYPES.len()], content, key)
            }
            None => content.to_vec(),
        };
        files.insert(name, content);
    }
    if let Some(key) = seals {
        seal(&mut files, key);
    }
    (files, signed)
}

/// Envelopes by signer, payload type and digest of what was signed.
type Signed = HashMap<(u8, &'static str, Digest), Vec<u8>>;

thread_local! {
    /// What was signed before: a changed input has most of its files from another.
    static SIGNED: RefCell<Signed> = RefCell::new(HashMap::new());
}

/// An envelope around `content`; a rotation to a key that is known here has the signature of that key in it.
fn seal_in(by: u8, kind: &'static str, content: &[u8], key: &SigningKey) -> Vec<u8> {
    SIGNED.with_borrow_mut(|signed| {
        if signed.len() >= KEPT {
            signed.clear();
        }
        let make = || {
            let possessed = (kind == rotation::PAYLOAD_TYPE).then(|| with_proof(content)).flatten();
            Envelope::sign(kind, possessed.as_deref().unwrap_or(content), key).to_json().into_bytes()
        };
        signed.entry((by, kind, Digest::of(content))).or_insert_with(make).clone()
    })
}

/// Makes the manifest fit the files, and seals it.
fn seal(files: &mut Files, key: &SigningKey) {
    let manifest = files.get(MANIFEST).and_then(|bytes| serde_json::from_slice::<Manifest>(bytes).ok());
    let Some(mut manifest) = manifest else { return };
    let listed = files.iter().filter(|(path, _)| ![MANIFEST, SEAL].contains(&path.as_str()));
    let entry = |(path, content): (&String, &Vec<u8>)| FileEntry {
        path: path.clone(),
        sha256: Digest::of(content),
        size: content.len() as u64,
    };
    manifest.files = listed.map(entry).collect();
    let Ok(bytes) = canonical::to_vec(&manifest) else { return };
    let Ok(seal) = (Seal { manifest: Digest::of(&bytes) }).sign(key) else { return };
    files.insert(SEAL.to_owned(), seal.to_json().into_bytes());
    files.insert(MANIFEST.to_owned(), bytes);
}

/// A bundle survives its container, every part of it is reported on, and one that holds is one that the keys signed.
///
/// # Panics
/// When that does not hold.
pub fn attack(data: &[u8]) {
    let (files, signed) = bundle(data);
    if let Ok(tar) = archive::pack(&files) {
        assert_eq!(archive::unpack(&tar).as_ref(), Ok(&files));
    }
    let report = replay(&files, &TRUST);
    let broken = report.checks.iter().filter(|check| matches!(check.finding, Finding::Broken { .. })).count();
    assert_eq!(report.holds, report.reason.is_none());
    assert_eq!(report.holds, broken == 0);
    for part in Part::ALL {
        let reported = report.checks.iter().any(|check| check.check == part);
        // What there is none of is not reported on: tombstones and packs.
        assert!(reported || [Part::Tombstones, Part::Packs].contains(&part), "nothing is said about {part}");
    }
    assert!(report.checks.is_sorted_by_key(|check| check.check), "parts are out of order");
    if !report.holds {
        return;
    }
    if !signed {
        let sealed = Digest::of(&files[MANIFEST]);
        let known = |files: &Files| files.get(MANIFEST).map(|bytes| Digest::of(bytes)) == Some(sealed);
        assert!(["agent", "sink"].iter().any(|name| known(&BUNDLES[*name])), "a bundle that nobody sealed holds");
    }
    unbroken(&files);
}

/// That runs and tombstones of a bundle that holds leave no place out, and each run names the one before, by a look at nothing
/// but their JSON.
fn unbroken(files: &Files) {
    let mut runs: BTreeMap<u64, (Value, Digest)> = BTreeMap::new();
    // Tombstones that do not know their last run may be named instead of it.
    let (mut covered, mut named_instead) = (Vec::new(), Vec::new());
    let keys = keys(files);
    let opened = |envelope: &Envelope| {
        let open = |key: &PublicKey| TYPES.iter().find_map(|expected| envelope.open(expected, key).ok());
        keys.iter().find_map(|(from, key)| Some((*from, open(key)?)))
    };
    for (path, content) in files {
        let (Some(Kind::Run(_) | Kind::Tombstone(..)), Ok(envelope)) = (Kind::of(path), Envelope::parse(content))
        else {
            continue;
        };
        let (signs_from, payload) = opened(&envelope).expect("what holds was signed by the gateway");
        let value: Value = serde_json::from_slice(&payload).expect("what holds is JSON");
        let number = |value: &Value| value.as_u64().expect("a place is a number");
        match value.get("predicate") {
            Some(run) => {
                let seq = number(&run["seq"]);
                let in_force = keys.range(..=seq).next_back().map(|(from, _)| *from);
                assert_eq!(in_force, Some(signs_from), "run {seq} was signed by the key from {signs_from} on");
                covered.push((seq, seq));
                let before = runs.insert(seq, (run["prev"].clone(), Digest::of(&payload)));
                assert!(before.is_none(), "two runs for one place");
            }
            None => {
                let to = number(&value["to_seq"]);
                let given_up = keys.range(signs_from + 1..).next().map(|(from, _)| *from);
                assert!(given_up.is_none_or(|given_up| given_up > to), "buried by a key that was given up");
                covered.push((number(&value["from_seq"]), to));
                if value["last_digest"].is_null() {
                    named_instead.push((to, Digest::of(&payload)));
                }
            }
        }
    }
    let manifest: Value = serde_json::from_slice(&files[MANIFEST]).expect("what holds has a manifest");
    covered.sort_unstable();
    let first = manifest["first_seq"].as_u64().expect("a place is a number");
    let mut next = first;
    for (from, to) in covered {
        assert!(from <= next, "a bundle with a gap before {from} holds");
        assert!(from >= first, "a bundle that begins before its beginning holds");
        next = next.max(to.saturating_add(1));
    }
    assert_eq!(Some(next - 1), manifest["last_seq"].as_u64(), "a bundle that ends elsewhere holds");
    for ((seq, (_, digest)), (after, (prev, _))) in runs.iter().zip(runs.iter().skip(1)) {
        let prev = prev.as_str().and_then(|prev| prev.parse().ok());
        let instead = named_instead.iter().any(|(to, own)| to == seq && Some(*own) == prev);
        assert!(*after != seq + 1 || prev == Some(*digest) || instead, "a bundle that forks at {after} holds");
    }
}

/// The keys of a bundle that holds, by the first place that each signs, by a look at nothing but the rotations' JSON.
fn keys(files: &Files) -> BTreeMap<u64, PublicKey> {
    let mut keys = BTreeMap::from([(0, GATEWAY.public().clone())]);
    let rotations = files.iter().filter(|(path, _)| matches!(Kind::of(path), Some(Kind::Rotation(_))));
    for (_, content) in rotations {
        let envelope = Envelope::parse(content).expect("what holds is an envelope");
        let mut known = (1..=4).filter_map(signer).map(SigningKey::public);
        let payload = known.find_map(|key| envelope.open(rotation::PAYLOAD_TYPE, key).ok());
        let payload = payload.expect("what holds was signed by a key that is known here");
        let value: Value = serde_json::from_slice(&payload).expect("what holds is JSON");
        let seq = value["seq"].as_u64().expect("a place is a number");
        let key = serde_json::from_value::<PublicKey>(value["new_key"].clone()).ok();
        keys.insert(seq, key.expect("what holds has a key"));
    }
    keys
}

/// A file of an input.
fn entry(name: &str, by: u8, kind: usize, content: &[u8]) -> Vec<u8> {
    let number = NAMES.iter().position(|known| known == name).and_then(|number| u8::try_from(number).ok());
    let mut bytes = match number.filter(|number| *number != WRITTEN_OUT) {
        Some(number) => vec![number],
        None => [&[WRITTEN_OUT, u8::try_from(name.len()).unwrap_or_default()], name.as_bytes()].concat(),
    };
    bytes.extend([by, u8::try_from(kind).unwrap_or_default()]);
    bytes.extend(u16::try_from(content.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(content);
    bytes
}

/// Good bundles with few of their files, as they are and with everything in them signed anew, and some bad ones as they are.
/// Without packs, which are parsed a hundred times slower than all the rest and have a target of their own.
#[must_use]
pub fn seeds() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, files) in BUNDLES.iter() {
        let files: Vec<_> =
            files.iter().filter(|(path, _)| !path.starts_with("packs/") && !path.starts_with("assessments/")).collect();
        if files.len() <= FILES {
            let files: Vec<u8> = files.into_iter().flat_map(|(path, content)| entry(path, 0, 0, content)).collect();
            seeds.push((name.clone(), [&[0], files.as_slice()].concat()));
        }
    }
    for (name, maker, kept) in [
        ("agent", 1, &["runs/1.", "receipts/1."][..]),
        ("agent", 1, &["runs/2.", "tombstones/", "runs/5."]),
        ("sink", 2, &["runs/1.", "receipts/1."]),
        ("rotated", 4, &["runs/", "rotations/", "tombstones/"]),
        ("rotated", 4, &["rotations/", "runs/3."]),
    ] {
        let (mut lean, mut places) = (vec![maker], Vec::new());
        for (path, content) in &BUNDLES[name] {
            if !path.starts_with("keys/") && !kept.iter().any(|kept| path.starts_with(kept)) {
                continue;
            }
            match Kind::of(path) {
                Some(Kind::Run(seq)) => places.extend([seq, seq]),
                Some(Kind::Tombstone(from, to)) => places.extend([from, to]),
                _ => {}
            }
            lean.extend(unsigned(path, content).unwrap_or_else(|| entry(path, 0, 0, content)));
        }
        let mut manifest: Value = serde_json::from_slice(&BUNDLES[name][MANIFEST]).unwrap_or_default();
        manifest["files"] = Value::Array(Vec::new());
        manifest["first_seq"] = places.iter().min().copied().into();
        manifest["last_seq"] = places.iter().max().copied().into();
        lean.extend(entry(MANIFEST, 0, 0, manifest.to_string().as_bytes()));
        seeds.push((format!("{name}-lean-{}", seeds.len()), lean));
    }
    seeds
}

/// An envelope as its payload and its signer.
fn unsigned(path: &str, content: &[u8]) -> Option<Vec<u8>> {
    let envelope = Envelope::parse(content).ok()?;
    (1..=4).find_map(|by| {
        let key = signer(by)?.public();
        let opened = |expected: &&'static str| envelope.open(expected, key).ok();
        TYPES.iter().enumerate().find_map(|(kind, expected)| Some(entry(path, by, kind, &opened(expected)?)))
    })
}
