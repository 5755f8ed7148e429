//! An agent's spool with the lid off: what a damaged SD card, a clone or a forger makes of it.
//!
//! Only while no agent uses it: this writes past everything that the agent promises.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::look::Bytes;
use rusqlite::{Connection, params};

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
        let stored: Vec<u8> = self.one("SELECT envelope FROM runs WHERE seq = ?1", seq)?;
        Ok(String::from_utf8(zstd::decode_all(stored.as_slice())?)?)
    }

    /// The bytes that were signed as run `seq`.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn payload(&self, seq: u64) -> Result<Vec<u8>> {
        let envelope: serde_json::Value = serde_json::from_str(&self.envelope(seq)?)?;
        Ok(serde_json::from_value::<Bytes>(envelope["payload"].clone())?.0)
    }

    /// The receipt of run `seq`, if it has one.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn receipt(&self, seq: u64) -> Result<Option<String>> {
        self.one("SELECT receipt FROM runs WHERE seq = ?1", seq)
    }

    /// Puts `envelope` in the place of run `seq`, as the agent would store it.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn replace(&self, seq: u64, envelope: &str) -> Result<()> {
        self.replace_stored(seq, &zstd::bulk::compress(envelope.as_bytes(), 3)?)
    }

    /// Puts `stored` in the place of what is stored of run `seq`.
    ///
    /// # Errors
    /// When there is no such run.
    pub fn replace_stored(&self, seq: u64, stored: &[u8]) -> Result<()> {
        let changed = self.0.execute("UPDATE runs SET envelope = ?2 WHERE seq = ?1", params![seq, stored])?;
        ensure!(changed == 1, "there is no run {seq}");
        Ok(())
    }

    /// Signs `payload` with the key in the state folder `signer`, and puts that in the place of run `seq`.
    ///
    /// # Errors
    /// When there is no such run or no such key.
    pub fn replace_signed(&self, seq: u64, payload: &[u8], signer: &Path) -> Result<()> {
        let key = SigningKey::from_pem(&fs::read_to_string(signer.join("identity.pem"))?)?;
        self.replace(seq, &Envelope::sign(gatepost_evidence::run::PAYLOAD_TYPE, payload, &key).to_json())?;
        let digest = Digest::of(payload).to_string();
        self.0.execute("UPDATE runs SET digest = ?2 WHERE seq = ?1", params![seq, digest])?;
        Ok(())
    }

    /// Forgets what the sink said of every run.
    ///
    /// # Errors
    /// SQLite's.
    pub fn forget_answers(&self) -> Result<()> {
        self.0.execute("UPDATE runs SET state = 'pending', receipt = NULL, reason = NULL", [])?;
        Ok(())
    }

    /// Takes over the enrolment of the agent whose state folder is `other`.
    ///
    /// # Errors
    /// When that is not enrolled.
    pub fn copy_enrolment(&self, other: &Path) -> Result<()> {
        let other = Self::open(other)?;
        for key in ["sink_url", "sink_key"] {
            let sql = "SELECT value FROM settings WHERE key = ?1";
            self.set(key, &other.0.query_row::<String, _, _>(sql, [key], |row| row.get(0))?)?;
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

    fn set(&self, key: &str, value: &str) -> Result<()> {
        let sql = "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        self.0.execute(sql, [key, value])?;
        Ok(())
    }

    fn one<T: rusqlite::types::FromSql>(&self, sql: &str, seq: u64) -> Result<T> {
        self.0.query_row(sql, [seq], |row| row.get(0)).with_context(|| format!("there is no run {seq}"))
    }
}
