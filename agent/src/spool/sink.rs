//! What the sink said: who it is, what its clock shows, and what became of the runs and tombstones that it was told of.

use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::receipt::Acknowledgement;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::{Buried, Enrolment, Spool, SpoolError, State, pack, rows, tombstones};

impl Spool {
    /// Marks a run as kept by the sink, with the sink's word for it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn acknowledge(&mut self, digest: Digest, word: &Acknowledgement) -> Result<(), SpoolError> {
        self.mark(digest, State::Acknowledged, None, Some(word.to_json()))
    }

    /// The sink's word for the run at `seq`; none before it was acknowledged.
    ///
    /// # Errors
    /// When the database or what is kept in it cannot be read.
    pub fn acknowledgement(&self, seq: u64) -> Result<Option<Acknowledgement>, SpoolError> {
        let Some(packed) = rows::receipt(&self.connection, seq).map_err(self.at())? else { return Ok(None) };
        let word = pack::unpack(&packed, None).and_then(|text| {
            Acknowledgement::parse(text.as_bytes()).map_err(|error| format!("the sink's word for it: {error}"))
        });
        word.map(Some).map_err(|detail| SpoolError::Unreadable { path: self.path.clone(), seq, detail })
    }

    /// Marks a run as refused by the sink for good; `reason` begins with a word for programs.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn quarantine(&mut self, digest: Digest, reason: &str) -> Result<(), SpoolError> {
        self.mark(digest, State::Quarantined, Some(reason), None)
    }

    fn mark(
        &mut self,
        digest: Digest,
        state: State,
        reason: Option<&str>,
        receipt: Option<String>,
    ) -> Result<(), SpoolError> {
        let at = self.at();
        let sql = "SELECT r.seq FROM runs r LEFT JOIN answers a ON a.seq = r.seq
                   WHERE r.seq >= ?1 AND a.seq IS NULL AND r.digest = ?2 ORDER BY r.seq LIMIT 1";
        let pending: Option<u64> = self
            .connection
            .prepare_cached(sql)
            .and_then(|mut find| {
                find.query_row(params![self.settled.get(), digest.as_bytes()], |row| row.get(0)).optional()
            })
            .map_err(&at)?;
        let Some(seq) = pending else { return Ok(()) };
        rows::answer(&self.connection, seq, state, reason, receipt.as_deref()).map_err(&at)
    }

    /// The tombstones that the sink has to be told of, in the order of their places. One that grew after the sink was told
    /// comes again; it stands for all that the shorter one stood for.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pending_tombstones(&self) -> Result<Vec<Buried>, SpoolError> {
        tombstones::all(&self.connection, true).map_err(self.at())
    }

    /// Notes that the sink knows of the tombstone with this digest of its payload.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn acknowledge_tombstone(&mut self, digest: Digest) -> Result<(), SpoolError> {
        tombstones::acknowledge(&self.connection, digest).map_err(self.at())
    }

    /// Notes that the sink refuses the tombstone with this digest of its payload for good. It stays here.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn refuse_tombstone(&mut self, digest: Digest) -> Result<(), SpoolError> {
        tombstones::refuse(&self.connection, digest).map_err(self.at())
    }

    /// Remembers the sink this gateway is enrolled with.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_enrolment(&mut self, enrolment: &Enrolment) -> Result<(), SpoolError> {
        self.set("sink_url", &enrolment.url)?;
        self.set("sink_key", &enrolment.sink_key.to_pem())
    }

    /// The sink this gateway is enrolled with.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn enrolment(&self) -> Result<Option<Enrolment>, SpoolError> {
        let (Some(url), Some(pem)) = (self.setting("sink_url")?, self.setting("sink_key")?) else { return Ok(None) };
        Ok(PublicKey::from_pem(&pem).ok().map(|sink_key| Enrolment { url, sink_key }))
    }

    /// Remembers the sink's clock.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn heard_from_sink(&mut self, time: Timestamp) -> Result<(), SpoolError> {
        self.set("sink_time", &time.to_string())
    }

    /// The last time heard from the sink.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn sink_time(&self) -> Result<Option<Timestamp>, SpoolError> {
        Ok(self.setting("sink_time")?.and_then(|time| time.parse().ok()))
    }
}
