//! An evidence bundle: runs of one gateway with everything that is needed to check them, in one file.
//!
//! What is in it, and nothing else: `manifest.json` (a [`Manifest`]: every other file with its digest), `seal.json` (the
//! maker's signature of the manifest), `keys/`, `runs/`, `tombstones/`, `rotations/`, `receipts/`, `consistency/` (that the
//! sink's checkpoints are one history), `packs/` and `assessments/` (what the maker says came out, as a [`Claim`]). The
//! container is [`crate::archive`]; the judgement of a bundle is not here, it needs
//! the rules.
//!
//! Guarantees: pure; the same content at the same time gives the same bytes. Nothing read here is believed.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::archive::{self, ArchiveError, Files};
use crate::canonical;
use crate::checkpoint::LogLink;
use crate::envelope::{Envelope, EnvelopeError};
use crate::id::{Digest, GatewayId};
use crate::key::{PublicKey, SigningKey};

/// The version of the bundle's format that is written and read here.
pub const FORMAT: u32 = 1;
/// DSSE payload type of a seal.
pub const SEAL_TYPE: &str = "application/vnd.gatepost.bundle+json";
/// The list of files.
pub const MANIFEST: &str = "manifest.json";
/// The maker's signature of the list.
pub const SEAL: &str = "seal.json";
/// The gateway's public key.
pub const GATEWAY_KEY: &str = "keys/gateway.pem";
/// The sink's public key.
pub const SINK_KEY: &str = "keys/sink.pem";

/// Who made a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Maker {
    /// The gateway itself, from its spool; sealed with the gateway's key.
    Agent,
    /// The sink, from its store; sealed with the sink's key.
    Sink,
}

impl std::fmt::Display for Maker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Sink => "sink",
        })
    }
}

/// What a bundle says is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// Whose runs these are.
    pub gateway: GatewayId,
    /// Who made it.
    pub maker: Maker,
    /// When, by the maker's clock.
    pub created_at: Timestamp,
    /// The first place of the chain that a run or a tombstone inside stands for.
    pub first_seq: u64,
    /// The last.
    pub last_seq: u64,
    /// Every file but the manifest and the seal, sorted by name.
    pub files: Vec<FileEntry>,
}

/// A file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name.
    pub path: String,
    /// SHA-256 of its content.
    pub sha256: Digest,
    /// Its length in bytes.
    pub size: u64,
}

/// The payload of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seal {
    /// SHA-256 of the manifest's bytes.
    pub manifest: Digest,
}

/// What the maker of a bundle says came out of judging a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// The run that was judged.
    pub run: Digest,
    /// The pack it was judged by.
    pub pack: Digest,
    /// The assessment's identity.
    pub assessment: Digest,
}

/// What a file of a bundle is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`GATEWAY_KEY`]
    GatewayKey,
    /// [`SINK_KEY`]
    SinkKey,
    /// `runs/<seq>.json`, an envelope
    Run(u64),
    /// `tombstones/<from>-<to>.json`, an envelope
    Tombstone(u64, u64),
    /// `receipts/<seq>.json`, a [`crate::receipt::Acknowledgement`]
    Receipt(u64),
    /// `rotations/<seq>.json`, an envelope
    Rotation(u64),
    /// `consistency/<from>-<to>.json`, a [`crate::checkpoint::LogLink`] of the logs of these sizes
    Consistency(u64, u64),
    /// `packs/<digest>.toml`
    Pack(Digest),
    /// `assessments/<seq>.<pack digest>.json`, a [`Claim`]
    Claim(u64, Digest),
}

impl Kind {
    /// What the file with this name is; none when a bundle has no such file.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        match path {
            GATEWAY_KEY => return Some(Self::GatewayKey),
            SINK_KEY => return Some(Self::SinkKey),
            _ => {}
        }
        let (folder, name) = path.split_once('/')?;
        if folder == "packs" {
            return name.strip_suffix(".toml")?.parse().ok().map(Self::Pack);
        }
        let name = name.strip_suffix(".json")?;
        match folder {
            "runs" => seq(name).map(Self::Run),
            "receipts" => seq(name).map(Self::Receipt),
            "rotations" => seq(name).map(Self::Rotation),
            "tombstones" => range(name).map(|(from, to)| Self::Tombstone(from, to)),
            "consistency" => range(name).map(|(from, to)| Self::Consistency(from, to)),
            "assessments" => {
                name.split_once('.').and_then(|(at, pack)| Some(Self::Claim(seq(at)?, pack.parse().ok()?)))
            }
            _ => None,
        }
    }

    /// The name of this file.
    #[must_use]
    pub fn path(self) -> String {
        match self {
            Self::GatewayKey => GATEWAY_KEY.to_owned(),
            Self::SinkKey => SINK_KEY.to_owned(),
            Self::Run(seq) => format!("runs/{seq}.json"),
            Self::Tombstone(from, to) => format!("tombstones/{from}-{to}.json"),
            Self::Receipt(seq) => format!("receipts/{seq}.json"),
            Self::Rotation(seq) => format!("rotations/{seq}.json"),
            Self::Consistency(from, to) => format!("consistency/{from}-{to}.json"),
            Self::Pack(digest) => format!("packs/{digest}.toml"),
            Self::Claim(seq, pack) => format!("assessments/{seq}.{pack}.json"),
        }
    }
}

/// Two numbers as a name writes them.
fn range(text: &str) -> Option<(u64, u64)> {
    let (from, to) = text.split_once('-')?;
    Some((seq(from)?, seq(to)?))
}

/// A place in a chain, or a size of a log, as a name writes it: decimal, no leading zeroes, at most 16 digits.
fn seq(text: &str) -> Option<u64> {
    let plain = (1..=16).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seq = plain.then(|| text.parse::<u64>().ok()).flatten()?;
    (seq > 0 && !text.starts_with('0')).then_some(seq)
}

/// Why a bundle was not made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// There is nothing to put into it.
    #[error("there is no run and no tombstone to put into the bundle")]
    Empty,
    /// Something has no canonical form.
    #[error(transparent)]
    Canonical(#[from] canonical::CanonicalError),
    /// Too large, or too many files.
    #[error("{0}; export fewer runs at once with --from and --to")]
    Archive(#[from] ArchiveError),
}

/// What goes into a bundle, before it is sealed.
#[derive(Debug, Clone, Default)]
pub struct Draft {
    files: Files,
    places: Option<(u64, u64)>,
}

impl Draft {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    pub fn key(&mut self, kind: Kind, key: &PublicKey) {
        self.add(kind, key.to_pem());
    }

    /// Adds a file. A run's or a tombstone's bytes are kept as they are.
    pub fn add(&mut self, kind: Kind, content: impl Into<Vec<u8>>) {
        if let Kind::Run(from) | Kind::Tombstone(from, _) = kind {
            let to = if let Kind::Tombstone(_, to) = kind { to } else { from };
            let (first, last) = self.places.unwrap_or((from, to));
            self.places = Some((first.min(from), last.max(to)));
        }
        self.files.insert(kind.path(), content.into());
    }

    /// Adds the proof that the later of two checkpoints of the sink continues the earlier.
    ///
    /// # Errors
    /// When it has no canonical form, which texts and lists of them always have.
    pub fn link(&mut self, sizes: (u64, u64), link: &LogLink) -> Result<(), canonical::CanonicalError> {
        self.add(Kind::Consistency(sizes.0, sizes.1), canonical::to_vec(link)?);
        Ok(())
    }

    /// Adds what the maker says came out of judging the run at `seq`.
    ///
    /// # Errors
    /// When it has no canonical form, which digests always have.
    pub fn claim(&mut self, seq: u64, claim: &Claim) -> Result<(), canonical::CanonicalError> {
        self.add(Kind::Claim(seq, claim.pack), canonical::to_vec(claim)?);
        Ok(())
    }

    /// Writes the manifest, seals it with the maker's key, and gives out every file.
    ///
    /// # Errors
    /// When there is nothing in it.
    pub fn seal(
        &self,
        gateway: GatewayId,
        maker: Maker,
        created_at: Timestamp,
        key: &SigningKey,
    ) -> Result<Files, BundleError> {
        let (first_seq, last_seq) = self.places.ok_or(BundleError::Empty)?;
        let mut files = self.files.clone();
        let entry = |(path, content): (&String, &Vec<u8>)| FileEntry {
            path: path.clone(),
            sha256: Digest::of(content),
            size: content.len() as u64,
        };
        let listed = files.iter().map(entry).collect();
        let manifest = Manifest { format: FORMAT, gateway, maker, created_at, first_seq, last_seq, files: listed };
        let manifest = canonical::to_vec(&manifest)?;
        let seal = Seal { manifest: Digest::of(&manifest) }.sign(key)?;
        files.insert(MANIFEST.to_owned(), manifest);
        files.insert(SEAL.to_owned(), seal.to_json().into_bytes());
        Ok(files)
    }

    /// The bundle, as it goes into a file.
    ///
    /// # Errors
    /// When there is nothing in it, or too much.
    pub fn write(
        &self,
        gateway: GatewayId,
        maker: Maker,
        created_at: Timestamp,
        key: &SigningKey,
    ) -> Result<Vec<u8>, BundleError> {
        Ok(archive::write(&self.seal(gateway, maker, created_at, key)?)?)
    }
}

impl Seal {
    /// Signs a manifest with the maker's key.
    ///
    /// # Errors
    /// When it has no canonical form, which a digest always has.
    pub fn sign(&self, key: &SigningKey) -> Result<Envelope, canonical::CanonicalError> {
        Ok(Envelope::sign(SEAL_TYPE, &canonical::to_vec(self)?, key))
    }

    /// Opens a seal that `key` made.
    ///
    /// # Errors
    /// When it is not signed by `key` or is not a seal.
    pub fn open(envelope: &Envelope, key: &PublicKey) -> Result<Self, EnvelopeError> {
        let payload = envelope.open(SEAL_TYPE, key)?;
        canonical::from_slice(&payload).map_err(|error| EnvelopeError::Malformed(format!("not a seal: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_kinds_go_both_ways() {
        let digest = Digest::of(b"pack");
        let kinds = [
            Kind::GatewayKey,
            Kind::SinkKey,
            Kind::Run(1),
            Kind::Tombstone(2, 9_007_199_254_740_991),
            Kind::Receipt(12),
            Kind::Rotation(5),
            Kind::Consistency(1, 12),
            Kind::Pack(digest),
            Kind::Claim(9_007_199_254_740_991, digest),
        ];
        for kind in kinds {
            assert_eq!(Kind::of(&kind.path()), Some(kind));
            assert!(archive::is_name(&kind.path()), "{kind:?}");
        }
        for wrong in
            ["runs/0.json", "runs/01.json", "runs/+1.json", "runs/1.toml", "keys/other.pem", "consistency/7.json"]
        {
            assert_eq!(Kind::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let key = SigningKey::from_seed(&[5; 32]).unwrap();
        let at = "2026-03-01T10:00:00Z".parse().unwrap();
        let mut draft = Draft::new();
        let write = |draft: &Draft| draft.write(key.public().id(), Maker::Agent, at, &key);
        assert!(matches!(write(&draft), Err(BundleError::Empty)));
        draft.add(Kind::Run(3), "{}");
        draft.add(Kind::Tombstone(1, 2), "{}");
        let bytes = write(&draft).unwrap();
        assert_eq!(bytes, write(&draft).unwrap());
        let files = archive::read(&bytes).unwrap();
        let manifest: Manifest = serde_json::from_slice(&files[MANIFEST]).unwrap();
        assert_eq!((manifest.first_seq, manifest.last_seq, manifest.files.len()), (1, 3, 2));
        let seal = Seal::open(&Envelope::parse(&files[SEAL]).unwrap(), key.public()).unwrap();
        assert_eq!(seal.manifest, Digest::of(&files[MANIFEST]));
    }
}
