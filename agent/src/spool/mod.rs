//! The spool: every run this gateway ever reported as done, in SQLite, until the sink has it and after.
//!
//! Guarantees: a run is on disk (`synchronous=FULL`) before [`Spool::append`] returns; its `seq` and `prev` are given out in
//! the transaction that stores it, so two agents cannot fork the chain; states only move from `pending` to `acknowledged`
//! or `quarantined`, and nothing is deleted. Envelopes are stored as the very bytes that were signed, compressed with zstd.

mod log;
mod migrate;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatepost_evidence::envelope::{Envelope, MAX_ENVELOPE_BYTES};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::receipt::Acknowledgement;
use gatepost_evidence::run::SignedRun;
use gatepost_evidence::verify::VerifiedRun;
use gatepost_evidence::wire::MAX_BATCH_BYTES;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

/// The most bytes of one envelope that are read back: what goes into an upload.
const MAX_READ: usize = MAX_BATCH_BYTES / 2;

/// The spool's file in the state folder.
pub const FILE: &str = "spool.db";

/// What went wrong with the spool.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The database.
    #[error("{path}: {source}")]
    Database {
        /// Where.
        path: PathBuf,
        /// What happened.
        source: rusqlite::Error,
    },
    /// It was written by a later version of the agent.
    #[error(
        "{path} has schema version {found}, this agent knows {known}; install the agent that wrote it, or a later one"
    )]
    TooNew {
        /// Where.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The latest this agent reads.
        known: u32,
    },
    /// A stored envelope cannot be read back.
    #[error("{path}: run {seq} cannot be read back: {detail}")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// Which run.
        seq: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The run could not be signed, so nothing was stored.
    #[error("the run could not be signed: {0}")]
    Unsigned(String),
    /// The signed run is larger than any reader accepts, so nothing was stored.
    #[error(
        "the signed run has {0} bytes, more than the {MAX_ENVELOPE_BYTES} that are accepted; look at fewer targets"
    )]
    TooLarge(usize),
}

/// The last run of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its place.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
}

/// What the sink made of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet handed over.
    Pending,
    /// The sink has it and signed a receipt.
    Acknowledged,
    /// The sink refused it for good, or it can no longer be read.
    Quarantined,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acknowledged => "acknowledged",
            Self::Quarantined => "quarantined",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "acknowledged" => Self::Acknowledged,
            "quarantined" => Self::Quarantined,
            _ => Self::Pending,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A run as it lies in the spool.
#[derive(Debug, Clone, PartialEq)]
pub struct Spooled {
    /// Its place in the chain.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// What the sink made of it.
    pub state: State,
    /// Why it is quarantined.
    pub reason: Option<String>,
    /// When it was stored.
    pub stored_at: String,
    /// The envelope, as it was signed.
    pub envelope: String,
}

/// How many runs are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not yet handed over.
    pub pending: u64,
    /// The sink has them.
    pub acknowledged: u64,
    /// The sink refused them.
    pub quarantined: u64,
}

/// What the agent remembers of the sink.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    /// Its URL.
    pub url: String,
    /// The key its receipts are signed with.
    pub sink_key: PublicKey,
}

/// The spool of one gateway.
pub struct Spool {
    path: PathBuf,
    connection: Connection,
}

impl Spool {
    /// Opens the spool in `folder`, or makes it.
    ///
    /// # Errors
    /// When it cannot be opened, was written by a later agent, or is damaged.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        let path = folder.join(FILE);
        let at = |source| SpoolError::Database { path: path.clone(), source };
        let mut connection = Connection::open(&path).map_err(at)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(at)?;
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;")
            .map_err(at)?;
        migrate::migrate(&mut connection, &path)?;
        Ok(Self { path, connection })
    }

    fn at(&self) -> impl Fn(rusqlite::Error) -> SpoolError + use<> {
        let path = self.path.clone();
        move |source| SpoolError::Database { path: path.clone(), source }
    }

    /// Stores the next run of the chain. `sign` gets the head of the chain and makes the run that follows it.
    ///
    /// # Errors
    /// When it cannot be signed or stored; then the chain is as it was.
    pub fn append<E: std::fmt::Display>(
        &mut self,
        sign: impl FnOnce(Option<Head>) -> Result<SignedRun, E>,
    ) -> Result<(Head, SignedRun), SpoolError> {
        let at = self.at();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&at)?;
        let head = head(&transaction).map_err(&at)?;
        let signed = sign(head).map_err(|error| SpoolError::Unsigned(error.to_string()))?;
        if signed.envelope.len() > MAX_ENVELOPE_BYTES {
            return Err(SpoolError::TooLarge(signed.envelope.len()));
        }
        let seq = head.map_or(1, |head| head.seq + 1);
        let compressed =
            zstd::bulk::compress(signed.envelope.as_bytes(), 3).map_err(|e| SpoolError::Unsigned(e.to_string()))?;
        transaction
            .execute(
                "INSERT INTO runs (seq, digest, state, stored_at, envelope) VALUES (?1, ?2, 'pending', ?3, ?4)",
                params![seq, signed.digest.to_string(), Timestamp::now().to_string(), compressed],
            )
            .map_err(&at)?;
        transaction.commit().map_err(&at)?;
        Ok((Head { seq, digest: signed.digest }, signed))
    }

    /// The last run of the chain.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn head(&self) -> Result<Option<Head>, SpoolError> {
        head(&self.connection).map_err(self.at())
    }

    /// The run at `seq`.
    ///
    /// # Errors
    /// When the database or the run cannot be read.
    pub fn get(&self, seq: u64) -> Result<Option<Spooled>, SpoolError> {
        Ok(self.select("WHERE seq = ?1", params![seq], |_| true)?.pop())
    }

    /// The runs that are not handed over yet, oldest first: at most `count`, and no more than `bytes` of envelopes unless
    /// a single one is larger.
    ///
    /// # Errors
    /// When the database or a run cannot be read.
    pub fn pending(&self, count: usize, bytes: usize) -> Result<Vec<Spooled>, SpoolError> {
        let mut total = 0;
        self.select("WHERE state = 'pending' ORDER BY seq LIMIT ?1", params![count as u64], |run| {
            let first = total == 0;
            total += run.envelope.len() + 1;
            first || total <= bytes
        })
    }

    /// The latest runs, newest first.
    ///
    /// # Errors
    /// When the database or a run cannot be read.
    pub fn latest(&self, count: u32) -> Result<Vec<Spooled>, SpoolError> {
        self.select("ORDER BY seq DESC LIMIT ?1", params![count], |_| true)
    }

    /// The runs that are quarantined, oldest first, with the reason. Their envelopes are not read: that one cannot be read
    /// may be why it is here.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn quarantined(&self) -> Result<Vec<(u64, String)>, SpoolError> {
        let sql = "SELECT seq, coalesce(reason, '') FROM runs WHERE state = 'quarantined' ORDER BY seq";
        let mut statement = self.connection.prepare(sql).map_err(self.at())?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(self.at())?;
        rows.collect::<rusqlite::Result<_>>().map_err(self.at())
    }

    /// The runs that `clause` names, up to the first that is not `wanted`.
    fn select(
        &self,
        clause: &str,
        values: impl rusqlite::Params,
        mut wanted: impl FnMut(&Spooled) -> bool,
    ) -> Result<Vec<Spooled>, SpoolError> {
        let at = self.at();
        let sql = format!("SELECT seq, digest, state, reason, stored_at, envelope FROM runs {clause}");
        let mut statement = self.connection.prepare(&sql).map_err(&at)?;
        let mut runs = Vec::new();
        for row in statement.query_map(values, stored).map_err(&at)? {
            match self.unpack(row.map_err(&at)?) {
                Ok(run) if wanted(&run) => runs.push(run),
                Ok(_) => break,
                // What comes before one that cannot be read is given out; then it is the first, and told.
                Err(_) if !runs.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(runs)
    }

    fn unpack(&self, (mut run, digest, compressed): Stored) -> Result<Spooled, SpoolError> {
        let unreadable = |detail: String| SpoolError::Unreadable { path: self.path.clone(), seq: run.seq, detail };
        let envelope = decompress(&compressed).map_err(|error| unreadable(error.to_string()))?;
        run.envelope = String::from_utf8(envelope).map_err(|error| unreadable(error.to_string()))?;
        run.digest =
            digest.parse().map_err(|error: gatepost_evidence::id::DigestError| unreadable(error.to_string()))?;
        Ok(run)
    }

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
        let sql = "SELECT receipt FROM runs WHERE seq = ?1";
        let text: Option<Option<String>> =
            self.connection.query_row(sql, [seq], |row| row.get(0)).optional().map_err(self.at())?;
        let read = |text: String| {
            Acknowledgement::parse(text.as_bytes()).map_err(|error| SpoolError::Unreadable {
                path: self.path.clone(),
                seq,
                detail: error.to_string(),
            })
        };
        text.flatten().map(read).transpose()
    }

    /// Marks a run as refused by the sink for good.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn quarantine(&mut self, digest: Digest, reason: &str) -> Result<(), SpoolError> {
        self.mark(digest, State::Quarantined, Some(reason), None)
    }

    /// Sets aside a pending run that cannot be read back, so that it does not stand in the way of those after it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn quarantine_unreadable(&mut self, seq: u64, detail: &str) -> Result<(), SpoolError> {
        let sql = "UPDATE runs SET state = 'quarantined', reason = ?2 WHERE seq = ?1 AND state = 'pending'";
        let reason = format!("unreadable: {detail}");
        self.connection.execute(sql, params![seq, reason]).map(|_| ()).map_err(self.at())
    }

    fn mark(
        &mut self,
        digest: Digest,
        state: State,
        reason: Option<&str>,
        receipt: Option<String>,
    ) -> Result<(), SpoolError> {
        let sql = "UPDATE runs SET state = ?2, reason = ?3, receipt = ?4 WHERE digest = ?1 AND state = 'pending'";
        self.connection
            .execute(sql, params![digest.to_string(), state.word(), reason, receipt])
            .map(|_| ())
            .map_err(self.at())
    }

    /// How many runs are in which state.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn counts(&self) -> Result<Counts, SpoolError> {
        let count = |state: &str| {
            self.connection
                .query_row("SELECT count(*) FROM runs WHERE state = ?1", [state], |row| row.get(0))
                .map_err(self.at())
        };
        Ok(Counts {
            pending: count("pending")?,
            acknowledged: count("acknowledged")?,
            quarantined: count("quarantined")?,
        })
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

    fn set(&mut self, key: &str, value: &str) -> Result<(), SpoolError> {
        let sql = "INSERT INTO settings (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";
        self.connection.execute(sql, params![key, value]).map(|_| ()).map_err(self.at())
    }

    fn setting(&self, key: &str) -> Result<Option<String>, SpoolError> {
        self.connection
            .query_row("SELECT value FROM settings WHERE key = ?1", [key], |row| row.get(0))
            .optional()
            .map_err(self.at())
    }
}

/// Opens a spooled run with the gateway's own key: what the spool says is believed no more than anyone's word.
///
/// # Errors
/// When the envelope does not verify.
pub fn verify(run: &Spooled, key: &PublicKey) -> Result<VerifiedRun, gatepost_evidence::verify::VerifyError> {
    let envelope = Envelope::parse(run.envelope.as_bytes())?;
    VerifiedRun::open(&envelope, key)
}

fn head(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let row = connection
        .query_row("SELECT seq, digest FROM runs ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))
        })
        .optional()?;
    row.map(|(seq, digest)| match digest.parse() {
        Ok(digest) => Ok(Head { seq, digest }),
        Err(error) => Err(rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))),
    })
    .transpose()
}

/// What was compressed; an envelope that is too large for the sink is still read, so that the sink can say so.
fn decompress(compressed: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut envelope = Vec::new();
    zstd::stream::read::Decoder::with_buffer(compressed)?.take(MAX_READ as u64 + 1).read_to_end(&mut envelope)?;
    if envelope.len() > MAX_READ {
        return Err(std::io::Error::other(format!("it has more than {MAX_READ} bytes")));
    }
    Ok(envelope)
}

type Stored = (Spooled, String, Vec<u8>);

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let run = Spooled {
        seq: row.get(0)?,
        digest: Digest::of(b""),
        state: State::of(&row.get::<_, String>(2)?),
        reason: row.get(3)?,
        stored_at: row.get(4)?,
        envelope: String::new(),
    };
    Ok((run, row.get(1)?, row.get(5)?))
}

#[cfg(test)]
mod tests;
