//! The transparency log's nodes: one row for each leaf and each full subtree, written once and never changed.
//!
//! A leaf belongs to the run whose `log_index` it is and is appended in the transaction that keeps the run. Nodes at the
//! tree's right edge are not kept but put together from full ones, so a run costs less than two small rows on average.

use std::collections::HashMap;

use gatepost_evidence::id::Digest;
use gatepost_evidence::log::{self, ConsistencyProof, InclusionProof, LogError, LogHash, LogRoot, NodeId};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{StoreError, stored_seq};

impl From<LogError> for StoreError {
    fn from(error: LogError) -> Self {
        Self::Damaged(format!("the log: {error}"))
    }
}

/// The log as it is in one transaction, with the nodes that were looked at.
#[derive(Debug)]
pub struct Log<'a> {
    connection: &'a Connection,
    size: u64,
    nodes: HashMap<NodeId, LogHash>,
}

impl<'a> Log<'a> {
    /// The log in the transaction that `connection` is in.
    ///
    /// # Errors
    /// SQLite's.
    pub fn open(connection: &'a Connection) -> Result<Self, StoreError> {
        let highest: Option<i64> =
            connection.prepare_cached("SELECT max(id) FROM log_nodes")?.query_row([], |row| row.get(0))?;
        let size = highest.map_or(0, |number| NodeId::size_from_highest(number.unsigned_abs()));
        Ok(Self { connection, size, nodes: HashMap::new() })
    }

    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends the leaf for the payload with this digest, and gives its index.
    ///
    /// # Errors
    /// SQLite's, or when a node is missing.
    pub fn append(&mut self, digest: Digest) -> Result<u64, StoreError> {
        let index = self.size;
        let added = log::append(index, digest, |id| self.node(id))?;
        let mut insert = self.connection.prepare_cached("INSERT INTO log_nodes (id, hash) VALUES (?1, ?2)")?;
        for (id, hash) in added {
            insert.execute(params![stored_seq(id.number())?, hash.as_bytes()])?;
            self.nodes.insert(id, hash);
        }
        self.size += 1;
        Ok(index)
    }

    /// The root over all leaves.
    ///
    /// # Errors
    /// SQLite's, or when a node is missing.
    pub fn root(&mut self) -> Result<LogRoot, StoreError> {
        log::root(self.size, |id| self.node(id))
    }

    /// That leaf `index` is in the whole log.
    ///
    /// # Errors
    /// SQLite's, or when there is no such leaf or a node is missing.
    pub fn prove_inclusion(&mut self, index: u64) -> Result<InclusionProof, StoreError> {
        log::prove_inclusion(self.size, index, |id| self.node(id))
    }

    /// That the log of `to` leaves continues the one of `from`.
    ///
    /// # Errors
    /// SQLite's, or when a node is missing or the sizes do not fit.
    pub fn prove_consistency(&mut self, from: u64, to: u64) -> Result<ConsistencyProof, StoreError> {
        log::prove_consistency(from, to, |id| self.node(id))
    }

    fn node(&mut self, id: NodeId) -> Result<LogHash, StoreError> {
        if let Some(hash) = self.nodes.get(&id) {
            return Ok(*hash);
        }
        let mut select = self.connection.prepare_cached("SELECT hash FROM log_nodes WHERE id = ?1")?;
        let hash: Option<[u8; 32]> = select.query_row([stored_seq(id.number())?], |row| row.get(0)).optional()?;
        let missing = || StoreError::Damaged(format!("the log lacks node {}", id.number()));
        let hash = hash.map(LogHash::new).ok_or_else(missing)?;
        self.nodes.insert(id, hash);
        Ok(hash)
    }
}

/// Gives every run that has no leaf yet one, in the order of acceptance: for databases from before there was a log.
///
/// # Errors
/// SQLite's.
pub(super) fn append_missing(connection: &Connection) -> Result<(), StoreError> {
    let mut log = Log::open(connection)?;
    let mut update = connection.prepare("UPDATE runs SET log_index = ?2 WHERE rowid = ?1")?;
    // Rows are numbered as they come, which says more than the sink's clock, which may have jumped.
    let mut select = connection.prepare("SELECT rowid, digest FROM runs WHERE log_index IS NULL ORDER BY rowid")?;
    let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    for (row, digest) in rows.collect::<Result<Vec<_>, _>>()? {
        let digest = digest.parse().map_err(|error| StoreError::Damaged(format!("digest: {error}")))?;
        update.execute(params![row, stored_seq(log.append(digest)?)?])?;
    }
    Ok(())
}
