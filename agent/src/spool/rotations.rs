//! The gateway's key rotations as the spool keeps them: for the sink, and so that nobody signs with a key that was given up.
//!
//! They are never let go: whoever checks a run needs every rotation before it. The key itself and the ring are in the
//! identity's file ([`crate::identity`]); what decides whether a rotation happened is that it stands here.

use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::Acknowledgement;
use rusqlite::{Connection, Row, params};

use super::error::unless_lost;
use super::{Head, Spool, SpoolError, State};
use crate::identity::Identity;

pub(super) const TABLE: &str = "
    CREATE TABLE rotations (
        seq       INTEGER PRIMARY KEY, -- the first place that the new key signs
        state     INTEGER NOT NULL,    -- 0 pending, 1 acknowledged, 2 refused
        digest    BLOB NOT NULL,       -- SHA-256 of the payload
        prev      BLOB,                -- what stands before that place
        envelope  TEXT NOT NULL,
        reason    TEXT,
        receipt   TEXT
    );
";

const PENDING: u8 = 0;
const ACKNOWLEDGED: u8 = 1;
const REFUSED: u8 = 2;

/// A key rotation as it lies in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turned {
    /// The first place of the chain that the new key signs.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// What the sink made of it.
    pub state: State,
    /// Why it was refused.
    pub reason: Option<String>,
    /// The envelope, as it was signed.
    pub envelope: String,
}

impl Spool {
    /// Every key rotation, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn rotations(&self) -> Result<Vec<Turned>, SpoolError> {
        all(&self.connection).map_err(self.at())
    }

    /// The key rotations that are not handed over yet, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pending_rotations(&self) -> Result<Vec<Turned>, SpoolError> {
        let mut rotations = self.rotations()?;
        rotations.retain(|rotation| rotation.state == State::Pending);
        Ok(rotations)
    }

    /// Marks a rotation as kept by the sink, with the sink's word for it.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn acknowledge_rotation(&mut self, digest: Digest, word: &Acknowledgement) -> Result<(), SpoolError> {
        answer(&self.connection, digest, ACKNOWLEDGED, None, Some(&word.to_json())).map_err(self.at())
    }

    /// Marks a rotation as refused by the sink for good; `reason` begins with a word for programs.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn refuse_rotation(&mut self, digest: Digest, reason: &str) -> Result<(), SpoolError> {
        answer(&self.connection, digest, REFUSED, Some(reason), None).map_err(self.at())
    }

    /// Stores the rotations that `identity` came through and that are not here.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn adopt(&mut self, identity: &Identity) -> Result<(), SpoolError> {
        adopt(&self.connection, identity).map_err(self.at())
    }

    /// Whether `identity` came through just the rotations that are here: else its key does not sign any more, or not yet.
    ///
    /// # Errors
    /// When it did not, or the database cannot be read.
    pub fn check_key(&self, identity: &Identity) -> Result<(), SpoolError> {
        match signs(&self.connection, identity).map_err(self.at())? {
            true => Ok(()),
            false => Err(SpoolError::KeyRotated),
        }
    }
}

/// Whether the key of `identity` is the one that signs what is stored next.
pub(super) fn signs(connection: &Connection, identity: &Identity) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT digest FROM rotations ORDER BY seq")?;
    let stored = statement.query_map([], |row| row.get(0).map(Digest::from_bytes))?;
    let stored: Vec<Digest> = stored.collect::<Result<_, _>>()?;
    Ok(stored.iter().eq(identity.ring().rotations().iter().map(|added| added.digest()).collect::<Vec<_>>().iter()))
}

/// Stores the rotations that `identity` came through and that are not there, for the sink to be told.
pub(super) fn adopt(connection: &Connection, identity: &Identity) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO rotations (seq, state, digest, prev, envelope) VALUES (?1, ?2, ?3, ?4, ?5)";
    for (added, envelope) in identity.ring().rotations().iter().zip(identity.rotations()) {
        let rotation = added.rotation();
        let prev = rotation.prev.as_ref().map(Digest::as_bytes);
        connection.execute(sql, params![rotation.seq, PENDING, added.digest().as_bytes(), prev, envelope.to_json()])?;
    }
    Ok(())
}

/// Every rotation, in order.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<Turned>> {
    let sql = "SELECT seq, state, digest, reason, envelope FROM rotations ORDER BY seq";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map([], turned)?.collect()
}

fn turned(row: &Row<'_>) -> rusqlite::Result<Turned> {
    let state = match row.get::<_, u8>(1)? {
        PENDING => State::Pending,
        ACKNOWLEDGED => State::Acknowledged,
        REFUSED => State::Quarantined,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(1, i64::from(other))),
    };
    let digest = Digest::from_bytes(row.get(2)?);
    Ok(Turned { seq: row.get(0)?, digest, state, reason: row.get(3)?, envelope: row.get(4)? })
}

/// Writes what the sink answered; the first answer stands.
fn answer(
    connection: &Connection,
    digest: Digest,
    state: u8,
    reason: Option<&str>,
    receipt: Option<&str>,
) -> rusqlite::Result<()> {
    let sql = "UPDATE rotations SET state = ?2, reason = ?3, receipt = ?4 WHERE digest = ?1 AND state = ?5";
    connection.execute(sql, params![digest.as_bytes(), state, reason, receipt, PENDING]).map(|_| ())
}

/// Makes every rotation pending again that the sink has acknowledged or refused; says how many.
pub(super) fn unacknowledge(connection: &Connection) -> rusqlite::Result<usize> {
    let sql = "UPDATE rotations SET state = ?1, reason = NULL, receipt = NULL WHERE state <> ?1";
    connection.execute(sql, [PENDING])
}

/// Where the chain goes on after the last rotation, as that was signed.
pub(super) fn head(connection: &Connection) -> rusqlite::Result<Option<Head>> {
    let mut statement = connection.prepare_cached("SELECT seq, prev FROM rotations ORDER BY seq DESC LIMIT 1")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let prev: Option<[u8; 32]> = row.get(1)?;
    let seq: u64 = row.get(0)?;
    Ok(prev.map(|prev| Head { seq: seq.saturating_sub(1), digest: Digest::from_bytes(prev) }))
}

/// Copies what can be read of the rotations of a damaged spool, with what the sink said of them.
pub(super) fn salvage(from: &Connection, to: &Connection) -> rusqlite::Result<()> {
    let read = || -> rusqlite::Result<Vec<_>> {
        let sql = "SELECT seq, state, digest, prev, envelope, reason, receipt FROM rotations";
        let mut all = from.prepare(sql)?;
        let row = |row: &Row<'_>| {
            let digest = Digest::from_bytes(row.get(2)?);
            let (seq, state): (u64, u8) = (row.get(0)?, row.get(1)?);
            let (prev, envelope): (Option<[u8; 32]>, String) = (row.get(3)?, row.get(4)?);
            let (reason, receipt): (Option<String>, Option<String>) = (row.get(5)?, row.get(6)?);
            Ok((seq, state, digest, prev, envelope, reason, receipt))
        };
        all.query_map([], row)?.collect()
    };
    for (seq, state, digest, prev, envelope, reason, receipt) in unless_lost(read())?.unwrap_or_default() {
        if Envelope::parse(envelope.as_bytes()).is_err() {
            continue;
        }
        let sql = "INSERT OR IGNORE INTO rotations (seq, state, digest, prev, envelope, reason, receipt)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        to.execute(sql, params![seq, state, digest.as_bytes(), prev, envelope, reason, receipt])?;
    }
    Ok(())
}
