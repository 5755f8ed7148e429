//! The spool's tombstones: one for each stretch of the chain that went for one cause, growing as more of it goes.

use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::tombstone::{Cause, Tombstone, fold};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::bounds::Enforce;
use crate::identity::Identity;

/// States as they stand in the table.
const PENDING: u8 = 0;
const ACKNOWLEDGED: u8 = 1;
const REFUSED: u8 = 2;

/// A tombstone as it lies in the spool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buried {
    /// The first place that it stands for.
    pub from_seq: u64,
    /// The last place that it stands for.
    pub to_seq: u64,
    /// SHA-256 of its payload: what [`super::Spool::acknowledge_tombstone`] takes.
    pub digest: Digest,
    /// What the run after it has as its `prev`.
    pub link: Digest,
    /// Whether the sink still has to be told.
    pub pending: bool,
    /// Whether the sink refused to be told.
    pub refused: bool,
    /// The signed envelope.
    pub envelope: String,
}

/// A run that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) seq: u64,
    pub(super) digest: Digest,
    pub(super) cause: Cause,
}

/// Writes tombstones for runs that went.
pub(super) fn bury(
    connection: &Connection,
    identity: &Identity,
    mut gone: Vec<Gone>,
    now: Timestamp,
) -> Result<(), Enforce> {
    gone.sort_by_key(|run| run.seq);
    let mut open: Option<Tombstone> = None;
    // Whether the sink has yet to be told of what `open` grew from.
    let mut tell = false;
    for run in gone {
        if covered(connection, run.seq)? {
            // It could not be read back, and was buried when that was found out.
            continue;
        }
        if let Some(tombstone) = &mut open
            && tombstone.to_seq + 1 == run.seq
            && tombstone.cause == run.cause
        {
            extend(tombstone, &run, now);
            continue;
        }
        if let Some(tombstone) = open.take() {
            write_owed(connection, identity, &tombstone, tell)?;
        }
        let (grown, owed) = neighbour(connection, identity, &run)?.unzip();
        tell = owed.unwrap_or(false);
        open = Some(match grown {
            Some(mut tombstone) => {
                extend(&mut tombstone, &run, now);
                tombstone
            }
            None => Tombstone {
                gateway: identity.gateway(),
                from_seq: run.seq,
                to_seq: run.seq,
                count: Some(1),
                prev: digest_at(connection, run.seq - 1)?,
                digest: Some(fold(None, run.digest)),
                first_digest: Some(run.digest),
                last_digest: Some(run.digest),
                cause: run.cause,
                at: now,
            },
        });
    }
    if let Some(tombstone) = open {
        write_owed(connection, identity, &tombstone, tell)?;
    }
    Ok(())
}

fn extend(tombstone: &mut Tombstone, run: &Gone, now: Timestamp) {
    tombstone.to_seq = run.seq;
    tombstone.count = tombstone.count.map(|count| count + 1);
    tombstone.digest = Some(fold(tombstone.digest, run.digest));
    tombstone.last_digest = Some(run.digest);
    tombstone.at = now;
}

/// The tombstone just before `run` that can stand for it, too, and whether the sink has yet to be told of it. It is taken
/// out, to be written again as a longer one.
fn neighbour(connection: &Connection, identity: &Identity, run: &Gone) -> rusqlite::Result<Option<(Tombstone, bool)>> {
    let sql = "SELECT envelope, state FROM tombstones WHERE to_seq = ?1";
    let found: Option<(String, u8)> =
        connection.query_row(sql, [run.seq - 1], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let opened = |text: &str| Tombstone::open(&Envelope::parse(text.as_bytes())?, identity.ring());
    let tombstone =
        found.and_then(|(text, state)| Some((opened(&text).ok()?, state != ACKNOWLEDGED))).filter(|(tombstone, _)| {
            tombstone.cause == run.cause && tombstone.count.is_some() && tombstone.digest.is_some()
        });
    if tombstone.is_some() {
        connection.execute("DELETE FROM tombstones WHERE to_seq = ?1", [run.seq - 1])?;
    }
    Ok(tombstone)
}

/// The digest that the chain has at `seq`, if the spool still knows.
fn digest_at(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Digest>> {
    let digest = |sql: &str| {
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_row([seq], |row| row.get(0).map(Digest::from_bytes)).optional()
    };
    match digest("SELECT digest FROM runs WHERE seq = ?1")? {
        Some(found) => Ok(Some(found)),
        None => digest("SELECT link FROM tombstones WHERE to_seq = ?1"),
    }
}

/// Signs and writes a tombstone; the sink is told of it unless it has all that went.
pub(super) fn write(connection: &Connection, identity: &Identity, tombstone: &Tombstone) -> Result<(), Enforce> {
    write_owed(connection, identity, tombstone, false)
}

/// As [`write`]; the sink is told in any case if it has yet to be told of what the tombstone grew from.
fn write_owed(connection: &Connection, identity: &Identity, tombstone: &Tombstone, owed: bool) -> Result<(), Enforce> {
    let unsigned = |error: gatepost_evidence::canonical::CanonicalError| Enforce::Unsigned(error.to_string());
    let envelope = tombstone.sign(identity.key()).map_err(unsigned)?.to_json();
    let payload = gatepost_evidence::canonical::to_vec(tombstone).map_err(unsigned)?;
    let buried = Buried {
        from_seq: tombstone.from_seq,
        to_seq: tombstone.to_seq,
        digest: Digest::of(&payload),
        link: tombstone.link().map_err(unsigned)?,
        pending: owed || !tombstone.cause.is_harmless(),
        refused: false,
        envelope,
    };
    Ok(insert(connection, &buried)?)
}

pub(super) fn insert(connection: &Connection, buried: &Buried) -> rusqlite::Result<()> {
    let sql = "INSERT INTO tombstones (to_seq, from_seq, state, digest, link, envelope)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let state = match (buried.pending, buried.refused) {
        (true, _) => PENDING,
        (false, false) => ACKNOWLEDGED,
        (false, true) => REFUSED,
    };
    let (digest, link) = (buried.digest.as_bytes(), buried.link.as_bytes());
    connection.execute(sql, params![buried.to_seq, buried.from_seq, state, digest, link, buried.envelope]).map(|_| ())
}

/// Whether a tombstone stands for `seq`.
pub(super) fn covered(connection: &Connection, seq: u64) -> rusqlite::Result<bool> {
    Ok(covering(connection, seq)?.is_some())
}

/// The tombstone that stands for `seq`.
pub(super) fn covering(connection: &Connection, seq: u64) -> rusqlite::Result<Option<Buried>> {
    let sql = "SELECT from_seq, to_seq, digest, link, state, envelope FROM tombstones WHERE to_seq >= ?1 ORDER BY to_seq LIMIT 1";
    let next = connection.query_row(sql, [seq], buried).optional()?;
    Ok(next.filter(|tombstone| tombstone.from_seq <= seq))
}

/// All tombstones, or those that the sink has to be told of, in the order of their places.
pub(super) fn all(connection: &Connection, only_pending: bool) -> rusqlite::Result<Vec<Buried>> {
    let clause = if only_pending { format!("WHERE state = {PENDING}") } else { String::new() };
    let sql =
        format!("SELECT from_seq, to_seq, digest, link, state, envelope FROM tombstones {clause} ORDER BY to_seq");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_map([], buried)?.collect()
}

fn buried(row: &Row<'_>) -> rusqlite::Result<Buried> {
    Ok(Buried {
        from_seq: row.get(0)?,
        to_seq: row.get(1)?,
        digest: Digest::from_bytes(row.get(2)?),
        link: Digest::from_bytes(row.get(3)?),
        pending: row.get::<_, u8>(4)? == PENDING,
        refused: row.get::<_, u8>(4)? == REFUSED,
        envelope: row.get(5)?,
    })
}

/// Notes that the sink knows of the tombstone whose payload has this digest. One that has grown since is another one.
pub(super) fn acknowledge(connection: &Connection, digest: Digest) -> rusqlite::Result<()> {
    answer(connection, digest, ACKNOWLEDGED)
}

/// Notes that the sink refuses the tombstone whose payload has this digest. A longer one is told again.
pub(super) fn refuse(connection: &Connection, digest: Digest) -> rusqlite::Result<()> {
    answer(connection, digest, REFUSED)
}

fn answer(connection: &Connection, digest: Digest, state: u8) -> rusqlite::Result<()> {
    let sql = "UPDATE tombstones SET state = ?2 WHERE digest = ?1 AND state = ?3";
    connection.execute(sql, params![digest.as_bytes(), state, PENDING]).map(|_| ())
}

/// Makes every tombstone one that the sink has to be told of, those of what it acknowledged as well: it may have lost that.
pub(super) fn unacknowledge(connection: &Connection) -> rusqlite::Result<usize> {
    connection.execute("UPDATE tombstones SET state = ?1 WHERE state != ?1", [PENDING])
}
