//! What makes the bad bundles bad.

use anyhow::{Context as _, Result};
use gatepost_evidence::archive::Files;
use gatepost_evidence::bundle::{Claim, Kind, MANIFEST, Manifest, SEAL, Seal};
use gatepost_evidence::canonical;
use gatepost_evidence::checkpoint::{Checkpoint, LogLink, LogProof};
use gatepost_evidence::envelope::{Envelope, MAX_ENVELOPE_BYTES, pre_authentication_encoding};
use gatepost_evidence::id::Digest;
use gatepost_evidence::log::ConsistencyProof;
use gatepost_evidence::look::Bytes;
use gatepost_evidence::rotation::{self, Keyring, Rotation};
use gatepost_evidence::tombstone::Tombstone;

use super::{Golden, Log, PACK, Parts};

impl Golden {
    /// Changes the parts before they are sealed: it is the maker who lies.
    pub(super) fn change_parts(&self, name: &str, parts: &mut Parts) -> Result<()> {
        let run = |seq: u64| Kind::Run(seq).path();
        let content = |parts: &Parts, path: &str| parts.get(path).map(|part| part.1.clone()).context("no such part");
        let set = |parts: &mut Parts, kind: Kind, content: Vec<u8>| drop(parts.insert(kind.path(), (kind, content)));
        let second = Envelope::parse(self.runs[1].1.envelope.as_bytes())?;
        let payload = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(&second.payload)?
        };
        let stranger = Envelope::sign(&second.payload_type, &payload, &self.other);
        match name {
            "run-swapped" => {
                set(parts, Kind::Run(1), self.runs[1].1.envelope.clone().into_bytes());
                set(parts, Kind::Run(2), self.runs[0].1.envelope.clone().into_bytes());
            }
            "run-removed" => {
                let pack = self.pack.reference().digest;
                for kind in [Kind::Run(2), Kind::Receipt(2), Kind::Claim(2, pack)] {
                    parts.remove(&kind.path());
                }
            }
            "run-replayed" => {
                let old = content(parts, &run(1))?;
                parts.insert(run(5), (Kind::Run(5), old));
            }
            "run-of-another-key" => set(parts, Kind::Run(2), stranger.to_json().into_bytes()),
            "run-of-another-key-under-this-name" => {
                let mut renamed = stranger;
                renamed.signatures[0].keyid = self.id.to_string();
                set(parts, Kind::Run(2), renamed.to_json().into_bytes());
            }
            "run-forked" => {
                let mut fork = self.runs[1].0.clone();
                fork.clock.uptime_ms += 1;
                set(parts, Kind::Run(2), fork.sign(&self.gateway)?.envelope.into_bytes());
            }
            "receipt-forged" => {
                let proof = Log::of(&[self.digest(1)])?.proof(0, &self.sink)?;
                set(parts, Kind::Receipt(1), self.receipt(1, proof, &self.other)?);
            }
            "receipt-of-another-run" => {
                let other = content(parts, &Kind::Receipt(2).path())?;
                parts.insert(Kind::Receipt(1).path(), (Kind::Receipt(1), other));
            }
            "inclusion-wrong" => {
                let log = Log::of(&[self.digest(1), Digest::of(b"x"), self.digest(2), self.digest(3)])?;
                let proof = LogProof { index: 3, ..log.proof(2, &self.sink)? };
                set(parts, Kind::Receipt(2), self.receipt(2, proof, &self.sink)?);
            }
            "checkpoint-forged" => {
                let proof = Log::of(&[self.digest(2)])?.proof(0, &self.other)?;
                set(parts, Kind::Receipt(2), self.receipt(2, proof, &self.sink)?);
            }
            "checkpoint-forked" => {
                let leaves = [Digest::of(b"x"), self.digest(2), Digest::of(b"y"), Digest::of(b"z")];
                let proof = Log::of(&leaves)?.proof(1, &self.sink)?;
                set(parts, Kind::Receipt(2), self.receipt(2, proof, &self.sink)?);
            }
            "consistency-rewritten" => {
                // The second checkpoint is of a log that had another run first.
                let log = Log::of(&[Digest::of(b"x"), self.digest(2)])?;
                let link = LogLink {
                    from: Log::of(&[self.digest(1)])?.checkpoint(1, &self.sink)?,
                    ..log.link(1, 2, &self.sink)?
                };
                parts.remove(&Kind::Consistency(2, 3).path());
                set(parts, Kind::Consistency(1, 2), canonical::to_vec(&link)?);
            }
            "consistency-unproved" | "consistency-forged" | "consistency-misnamed" | "consistency-not-canonical" => {
                let kind = Kind::Consistency(1, 2);
                let mut link: LogLink = serde_json::from_slice(&content(parts, &kind.path())?)?;
                match name {
                    "consistency-unproved" => link.consistency = ConsistencyProof::default(),
                    "consistency-forged" => {
                        let root = Checkpoint::open(&link.to, self.sink.public())?.root();
                        link.to = Checkpoint::sign(root, &self.other).note().to_owned();
                    }
                    "consistency-misnamed" => drop(parts.remove(&kind.path())),
                    _ => {}
                }
                let kind = if name == "consistency-misnamed" { Kind::Consistency(1, 3) } else { kind };
                let mut bytes = canonical::to_vec(&link)?;
                if name == "consistency-not-canonical" {
                    bytes.push(b'\n');
                }
                parts.insert(kind.path(), (kind, bytes));
            }
            "consistency-forked" => {
                // Proved to go on from the first, and not to what the receipts speak of.
                let log = Log::of(&[self.digest(1), Digest::of(b"x"), self.digest(2)])?;
                let link = canonical::to_vec(&log.link(1, 3, &self.sink)?)?;
                parts.remove(&Kind::Consistency(1, 2).path());
                parts.remove(&Kind::Consistency(2, 3).path());
                set(parts, Kind::Consistency(1, 3), link);
            }
            "rotation-of-a-stranger" => {
                set(parts, Kind::Rotation(5), self.rotation((&self.other, &self.next), 5)?.to_json().into_bytes());
            }
            "rotation-missing" => drop(parts.remove(&Kind::Rotation(5).path())),
            "rotation-twice" => {
                let ring = Keyring::new(self.gateway.public().clone());
                let place = (6, Some(self.digest(5)));
                let second = Rotation::sign(&ring, &self.gateway, &self.other, place, self.at)?;
                set(parts, Kind::Rotation(6), second.to_json().into_bytes());
            }
            "rotation-without-possession" | "rotation-of-another-chain" => {
                let envelope = self.rotation((&self.gateway, &self.next), 5)?;
                let payload = envelope.open(rotation::PAYLOAD_TYPE, self.gateway.public())?;
                let mut changed: Rotation = serde_json::from_slice(&payload)?;
                let envelope = if name == "rotation-without-possession" {
                    changed.at += jiff::SignedDuration::from_secs(1);
                    let payload = canonical::to_vec(&changed)?;
                    Envelope::sign(rotation::PAYLOAD_TYPE, &payload, &self.gateway)
                } else {
                    let ring = Keyring::new(self.gateway.public().clone());
                    let prev = Some(Digest::of(b"another run"));
                    Rotation::sign(&ring, &self.gateway, &self.next, (5, prev), self.at)?
                };
                set(parts, Kind::Rotation(5), envelope.to_json().into_bytes());
            }
            "run-by-the-retired-key" => set(parts, Kind::Run(5), self.runs[4].1.envelope.clone().into_bytes()),
            "run-by-the-key-to-come" => {
                set(parts, Kind::Run(2), self.runs[1].0.sign(&self.next)?.envelope.into_bytes());
            }
            "tombstone-by-the-retired-key" => {
                let pack = self.pack.reference().digest;
                for kind in [Kind::Run(5), Kind::Claim(5, pack), Kind::Tombstone(3, 4)] {
                    parts.remove(&kind.path());
                }
                let stone = self.tombstone(3, 5).sign(&self.gateway)?.to_json().into_bytes();
                parts.insert(Kind::Tombstone(3, 5).path(), (Kind::Tombstone(3, 5), stone));
            }
            "tombstone-missing" => drop(parts.remove(&Kind::Tombstone(3, 4).path())),
            "tombstone-forged" => {
                let stone = self.tombstone(3, 4).sign(&self.other)?;
                set(parts, Kind::Tombstone(3, 4), stone.to_json().into_bytes());
            }
            "tombstone-too-narrow" => {
                set(parts, Kind::Tombstone(3, 3), self.tombstone(3, 3).sign(&self.gateway)?.to_json().into_bytes());
                parts.remove(&Kind::Tombstone(3, 4).path());
            }
            "tombstone-of-another-chain" => {
                let stone = Tombstone { last_digest: Some(Digest::of(b"x")), ..self.tombstone(3, 4) };
                set(parts, Kind::Tombstone(3, 4), stone.sign(&self.gateway)?.to_json().into_bytes());
            }
            "tombstone-over-another-run" => {
                let stone = Tombstone { first_digest: Some(Digest::of(b"x")), ..self.tombstone(2, 4) };
                set(parts, Kind::Tombstone(2, 4), stone.sign(&self.gateway)?.to_json().into_bytes());
                parts.remove(&Kind::Tombstone(3, 4).path());
            }
            "tombstone-folds-other-runs" => {
                let stone = Tombstone { digest: Some(Digest::of(b"x")), ..self.tombstone(2, 2) };
                set(parts, Kind::Tombstone(2, 2), stone.sign(&self.gateway)?.to_json().into_bytes());
            }
            _ if name.starts_with("run-that-is-") => {
                set(parts, Kind::Run(2), self.no_run(name, &payload)?.into_bytes());
            }
            "rotation-back-to-an-old-key" => {
                let mut back = Rotation {
                    gateway: self.id,
                    seq: 6,
                    prev: Some(self.digest(5)),
                    old_key: self.next.public().digest(),
                    new_key: self.gateway.public().clone(),
                    at: self.at,
                    proof: Bytes(Vec::new()),
                };
                let mut claim = serde_json::to_value(&back)?;
                claim.as_object_mut().context("a rotation is an object")?.remove("proof");
                let claim = pre_authentication_encoding(rotation::PROOF_TYPE, &canonical::to_vec(&claim)?);
                back.proof = Bytes(self.gateway.sign(&claim));
                let envelope = Envelope::sign(rotation::PAYLOAD_TYPE, &canonical::to_vec(&back)?, &self.next);
                set(parts, Kind::Rotation(6), envelope.to_json().into_bytes());
            }
            "gateway-exchanged" => set(parts, Kind::GatewayKey, self.other.public().to_pem().into_bytes()),
            "pack-changed" => {
                let softer = PACK.replace("severity = \"high\"", "severity = \"low\"");
                set(parts, Kind::Pack(self.pack.reference().digest), softer.into_bytes());
            }
            "pack-with-a-loop-in-a-loop" | "pack-with-a-regular-expression" => {
                let more = match name {
                    "pack-with-a-loop-in-a-loop" => "['a'].all(x, ['b'].all(y, x != y))",
                    _ => "'a'.matches('a+')",
                };
                let fail = "fail = \"facts.unauthenticated_accepted";
                let text = PACK.replace(fail, &format!("{fail} && {more}"));
                let digest = Digest::of(&canonical::to_vec(&toml::from_str::<serde_json::Value>(&text)?)?);
                set(parts, Kind::Pack(digest), text.into_bytes());
            }
            "verdict-lying" => {
                let pack = self.pack.reference().digest;
                let claim = Claim { run: self.digest(2), pack, assessment: Digest::of(b"all is well") };
                set(parts, Kind::Claim(2, pack), canonical::to_vec(&claim)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Changes the files afterwards, and most often the seal with them.
    pub(super) fn change_files(&self, name: &str, files: &mut Files) -> Result<()> {
        let mut manifest: Manifest = serde_json::from_slice(&files[MANIFEST])?;
        let key = match name {
            "seal-of-another-key" => &self.other,
            _ => &self.gateway,
        };
        match name {
            "manifest-lying" => manifest.files[3].sha256 = Digest::of(b"something else"),
            "manifest-changed" => {
                manifest.created_at = "2026-03-03T08:00:00Z".parse()?;
                files.insert(MANIFEST.to_owned(), canonical::to_vec(&manifest)?);
                return Ok(());
            }
            "extra-file" => {
                files.insert(Kind::Run(6).path(), self.runs[4].1.envelope.clone().into_bytes());
            }
            "missing-file" => drop(files.remove(&Kind::Receipt(1).path())),
            "seal-of-another-key" => {}
            _ => return Ok(()),
        }
        let bytes = canonical::to_vec(&manifest)?;
        files.insert(SEAL.to_owned(), Seal { manifest: Digest::of(&bytes) }.sign(key)?.to_json().into_bytes());
        files.insert(MANIFEST.to_owned(), bytes);
        Ok(())
    }

    /// What stands in the place of run 2 and is none, for the reason in its name; `payload` is that of run 2.
    fn no_run(&self, name: &str, payload: &[u8]) -> Result<String> {
        let kind = gatepost_evidence::run::PAYLOAD_TYPE;
        let sign = |kind: &str, payload: &[u8]| Envelope::sign(kind, payload, &self.gateway);
        let text = std::str::from_utf8(payload)?;
        let mut envelope = match name {
            "run-that-is-something-else" => sign("application/json", payload),
            "run-that-is-no-run" => sign(kind, br#"{"all":"well"}"#),
            "run-that-is-spaced-out" => sign(kind, text.replacen(':', ": ", 1).as_bytes()),
            "run-that-is-said-twice" => sign(kind, text.replacen('{', r#"{"_type":"x","#, 1).as_bytes()),
            "run-that-is-too-deep" => sign(kind, format!("{}{}", "[".repeat(200), "]".repeat(200)).as_bytes()),
            _ => sign(kind, payload),
        };
        match name {
            "run-that-is-signed-twice" => envelope.signatures.push(envelope.signatures[0].clone()),
            "run-that-is-not-signed" => envelope.signatures.clear(),
            "run-that-is-signed-with-nothing" => envelope.signatures[0].sig.clear(),
            _ => {}
        }
        let json = envelope.to_json();
        Ok(match name {
            "run-that-is-too-large" => json + &" ".repeat(MAX_ENVELOPE_BYTES),
            "run-that-is-cut-short" => json[..json.len() / 2].to_owned(),
            _ => json,
        })
    }
}
