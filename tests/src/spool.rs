//! An agent's spool with the lid off: what a damaged SD card, a clone or a forger makes of it.
//!
//! Only while no agent uses it: this writes past everything that the agent promises.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::envelope::{Envelope, EnvelopeSignature, MAX_ENVELOPE_BYTES};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::{PublicKey, SigningKey};
use gatepost_evidence::look::Bytes;
use rusqlite::{Connection, params};

/// Content that is zstd of the text.
const WHOLE: u8 = 0;
/// Content that is 64 bytes of signature, 32 of key id, and zstd of payload type, newline and payload against a base.
const PARTS: u8 = 1;

/// The database of a spool.
pub struct OpenSpool(Connection);

impl OpenSpool {
    /// The spool in the state folder `state`, which an agent has made.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join("spool.db");
        ensure!(path.is_file(), "{} is not there", path.display());
        Ok(Self(Connection::open(&path).with_context(|| format!("{} cannot be opened", path.display()))?))
    }

    /// The envelope of run `seq`.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn envelope(&self, seq: u64) -> Result<String> {
        let stored: Vec<u8> = self.one("SELECT content FROM runs WHERE seq = ?1", seq)?;
        let base: Option<Vec<u8>> =
            self.one("SELECT b.content FROM runs r LEFT JOIN bases b ON b.id = r.base WHERE r.seq = ?1", seq)?;
        let base = base.map(|base| zstd::decode_all(base.as_slice())).transpose()?.unwrap_or_default();
        unpack(&stored, &base)
    }

    /// What the spool calls run `seq`.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn digest(&self, seq: u64) -> Result<Digest> {
        Ok(Digest::from_bytes(self.one("SELECT digest FROM runs WHERE seq = ?1", seq)?))
    }

    /// The key of the sink that this gateway is enrolled with.
    ///
    /// # Errors
    /// When it is not.
    pub fn sink_key(&self) -> Result<PublicKey> {
        Ok(PublicKey::from_pem(&self.setting("sink_key")?)?)
    }

    /// The bytes that were signed as run `seq`.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn payload(&self, seq: u64) -> Result<Vec<u8>> {
        let envelope: serde_json::Value = serde_json::from_str(&self.envelope(seq)?)?;
        Ok(serde_json::from_value::<Bytes>(envelope["payload"].clone())?.0)
    }

    /// The sink's word for run `seq`, if it has one.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn receipt(&self, seq: u64) -> Result<Option<String>> {
        let sql = "SELECT a.receipt FROM runs r LEFT JOIN answers a ON a.seq = r.seq WHERE r.seq = ?1";
        let packed: Option<Vec<u8>> = self.one(sql, seq)?;
        packed.map(|packed| unpack(&packed, &[])).transpose()
    }

    /// Puts `envelope` in the place of run `seq`, and goes by its payload if it has one, as whoever stored it would.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn replace(&self, seq: u64, envelope: &str) -> Result<()> {
        let mut stored = vec![WHOLE];
        stored.extend(zstd::bulk::compress(envelope.as_bytes(), 3)?);
        self.replace_stored(seq, &stored)?;
        let payload = serde_json::from_str(envelope)
            .ok()
            .and_then(|envelope: serde_json::Value| serde_json::from_value::<Bytes>(envelope["payload"].clone()).ok());
        if let Some(payload) = payload {
            let digest = Digest::of(&payload.0);
            self.0.execute("UPDATE runs SET digest = ?2 WHERE seq = ?1", params![seq, digest.as_bytes()])?;
        }
        Ok(())
    }

    /// Puts `stored` in the place of what is stored of run `seq`.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn replace_stored(&self, seq: u64, stored: &[u8]) -> Result<()> {
        let changed = self.0.execute("UPDATE runs SET content = ?2 WHERE seq = ?1", params![seq, stored])?;
        ensure!(changed == 1, "there is no run {seq}");
        Ok(())
    }

    /// Signs `payload` with the key in the state folder `signer`, and puts that in the place of run `seq`.
    ///
    /// # Errors
    /// When there is no such run or no such key.
    pub fn replace_signed(&self, seq: u64, payload: &[u8], signer: &Path) -> Result<()> {
        let key = SigningKey::from_pem(&fs::read_to_string(signer.join("identity.pem"))?)?;
        self.replace(seq, &Envelope::sign(gatepost_evidence::run::PAYLOAD_TYPE, payload, &key).to_json())
    }

    /// Forgets what the sink said of every run.
    ///
    /// # Errors
    /// SQLite's.
    pub fn forget_answers(&self) -> Result<()> {
        self.0.execute("DELETE FROM answers", [])?;
        Ok(())
    }

    /// Forgets how the sink's log was proved to go on.
    ///
    /// # Errors
    /// SQLite's.
    pub fn forget_proofs(&self) -> Result<()> {
        self.0.execute("DELETE FROM checkpoints", [])?;
        Ok(())
    }

    /// Takes over the enrolment of the agent whose state folder is `other`.
    ///
    /// # Errors
    /// When that is not enrolled.
    pub fn copy_enrolment(&self, other: &Path) -> Result<()> {
        let other = Self::open(other)?;
        for key in ["sink_url", "sink_key"] {
            self.set(key, &other.setting(key)?)?;
        }
        Ok(())
    }

    /// Makes the agent believe that it is enrolled with the sink at `url`.
    ///
    /// # Errors
    /// SQLite's.
    pub fn set_sink_url(&self, url: &str) -> Result<()> {
        self.set("sink_url", url)
    }

    fn setting(&self, key: &str) -> Result<String> {
        Ok(self.0.query_row("SELECT value FROM settings WHERE key = ?1", [key], |row| row.get(0))?)
    }

    fn set(&self, key: &str, value: &str) -> Result<()> {
        let sql = "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        self.0.execute(sql, [key, value])?;
        Ok(())
    }

    fn one<T: rusqlite::types::FromSql>(&self, sql: &str, seq: u64) -> Result<T> {
        self.0.query_row(sql, [seq], |row| row.get(0)).with_context(|| format!("there is no run {seq}"))
    }
}

/// The text of `content`, packed against `base`.
fn unpack(content: &[u8], base: &[u8]) -> Result<String> {
    match content.split_first() {
        Some((&WHOLE, text)) => Ok(String::from_utf8(zstd::decode_all(text)?)?),
        Some((&PARTS, rest)) => {
            let (signed, body) = rest.split_at_checked(96).context("it is cut short")?;
            let body = zstd::bulk::Decompressor::with_dictionary(base)?.decompress(body, MAX_ENVELOPE_BYTES)?;
            let newline = body.iter().position(|&byte| byte == b'\n').context("no payload type")?;
            let signature = EnvelopeSignature {
                keyid: Digest::from_bytes(signed[64..].try_into()?).to_string(),
                sig: STANDARD.encode(&signed[..64]),
            };
            let envelope = Envelope {
                payload: STANDARD.encode(&body[newline + 1..]),
                payload_type: String::from_utf8(body[..newline].to_vec())?,
                signatures: vec![signature],
            };
            Ok(envelope.to_json())
        }
        _ => bail!("content of a form that is not known"),
    }
}
