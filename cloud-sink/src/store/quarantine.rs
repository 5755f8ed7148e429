//! What was refused, with its reason: kept to be looked at, bounded so that nobody can fill the disk.
//!
//! What an enrolled gateway signed (a fork, a run about another gateway) is evidence and is kept whole, on a shelf of
//! [`KEEP_OF_GATEWAY`] entries of its own, where no other gateway can push it out, and of which the first half stays for good:
//! nor can that gateway. Anything else may come from anybody, is cut to [`GLIMPSE`] bytes, and shares one shelf of [`KEEP`]
//! entries. The same bytes refused again count up instead of taking a new place. [`Refusals`] count for ever.

use std::collections::BTreeMap;

use gatepost_evidence::id::{Digest, GatewayId};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{StoreError, parsed, parsed_optional};

/// Entries kept of what nobody vouches for.
pub const KEEP: i64 = 1000;
/// Entries kept of what one enrolled gateway signed: the first half of them, and the newest.
pub const KEEP_OF_GATEWAY: i64 = 100;
/// Bytes kept of what nobody vouches for.
pub const GLIMPSE: usize = 4096;

/// How often each reason was given since this sink began.
pub type Refusals = BTreeMap<String, u64>;

/// Something that is refused.
#[derive(Debug, Clone)]
pub struct Refused<'a> {
    /// The bytes as they came.
    pub bytes: &'a [u8],
    /// A stable word for programs.
    pub reason: &'a str,
    /// What happened, for people.
    pub detail: &'a str,
    /// Who claims to have signed it, if the claim could be read.
    pub gateway: Option<GatewayId>,
    /// That gateway is enrolled and its signature holds.
    pub vouched: bool,
}

/// An entry of the quarantine, without its content.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Why it was refused.
    pub reason: String,
    /// In words; untrusted text may be quoted in them.
    pub detail: String,
    /// Who claims to have signed it.
    pub gateway: Option<GatewayId>,
    /// Whether that gateway's signature holds.
    pub vouched: bool,
    /// How long it was.
    pub bytes: u64,
    /// When it came first.
    pub first_at: Timestamp,
    /// When it came last.
    pub last_at: Timestamp,
    /// How often it came.
    pub times: u64,
}

/// Keeps what was refused.
///
/// # Errors
/// SQLite's.
pub fn insert(connection: &Connection, refused: &Refused<'_>, now: Timestamp) -> Result<(), StoreError> {
    let content = if refused.vouched { refused.bytes } else { &refused.bytes[..refused.bytes.len().min(GLIMPSE)] };
    let sql =
        "INSERT INTO quarantine (digest, reason, detail, gateway, vouched, bytes, content, first_at, last_at, times)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 1)
               ON CONFLICT (digest, reason) DO UPDATE SET last_at = excluded.last_at, times = times + 1";
    connection.prepare_cached(sql)?.execute(params![
        Digest::of(refused.bytes).to_string(),
        refused.reason,
        refused.detail,
        refused.gateway.map(|id| id.to_string()),
        refused.vouched,
        i64::try_from(refused.bytes.len()).unwrap_or(i64::MAX),
        content,
        now.to_string(),
    ])?;
    let sql =
        "INSERT INTO refusals (reason, times) VALUES (?1, 1) ON CONFLICT (reason) DO UPDATE SET times = times + 1";
    connection.prepare_cached(sql)?.execute([refused.reason])?;
    if let (true, Some(gateway)) = (refused.vouched, refused.gateway) {
        let sql = "DELETE FROM quarantine WHERE id IN (
                       SELECT id FROM quarantine WHERE vouched AND gateway = ?1 ORDER BY id LIMIT 1 OFFSET ?2)
                   AND (SELECT count(*) FROM quarantine WHERE vouched AND gateway = ?1) > ?3";
        let kept = params![gateway.to_string(), KEEP_OF_GATEWAY / 2, KEEP_OF_GATEWAY];
        connection.prepare_cached(sql)?.execute(kept)?;
    } else {
        let sql = "DELETE FROM quarantine WHERE id IN (
                       SELECT id FROM quarantine WHERE NOT vouched ORDER BY id DESC LIMIT -1 OFFSET ?1)";
        connection.prepare_cached(sql)?.execute([KEEP])?;
    }
    Ok(())
}

/// What an enrolled gateway signed and was refused all the same, newest first, at most 100.
///
/// # Errors
/// SQLite's.
pub fn of_gateway(connection: &Connection, gateway: GatewayId) -> Result<Vec<Entry>, StoreError> {
    let sql = "SELECT digest, reason, detail, gateway, vouched, bytes, first_at, last_at, times FROM quarantine
               WHERE gateway = ?1 AND vouched ORDER BY id DESC LIMIT 100";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([gateway.to_string()])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(Entry {
            digest: parsed(row, "digest")?,
            reason: row.get("reason")?,
            detail: row.get("detail")?,
            gateway: parsed_optional(row, "gateway")?,
            vouched: row.get("vouched")?,
            bytes: row.get::<_, i64>("bytes")?.unsigned_abs(),
            first_at: parsed(row, "first_at")?,
            last_at: parsed(row, "last_at")?,
            times: row.get::<_, i64>("times")?.unsigned_abs(),
        });
    }
    Ok(entries)
}

/// How often each reason was given, ever.
///
/// # Errors
/// SQLite's.
pub fn refusals(connection: &Connection) -> Result<Refusals, StoreError> {
    let mut statement = connection.prepare_cached("SELECT reason, times FROM refusals")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn one_gateway_does_not_push_out_the_evidence_about_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("sink.db")).unwrap();
        let [quiet, loud] = [b"quiet", b"louds"].map(|name| GatewayId::new(Digest::of(name)));
        let filled = store.write(move |connection| {
            let fork = |bytes: &[u8], gateway| {
                let refused = Refused { bytes, reason: "fork", detail: "", gateway: Some(gateway), vouched: true };
                insert(connection, &refused, Timestamp::UNIX_EPOCH)
            };
            fork(b"the one fork", quiet)?;
            (0..KEEP + 50).try_for_each(|n| fork(format!("fork {n}").as_bytes(), loud))
        });
        filled.wait().unwrap();
        assert_eq!(store.read(|connection| of_gateway(connection, quiet)).unwrap().len(), 1);
        let kept: i64 = store
            .read(|connection| Ok(connection.query_row("SELECT count(*) FROM quarantine", [], |row| row.get(0))?))
            .unwrap();
        assert_eq!(kept, KEEP_OF_GATEWAY + 1);
        let ends = store
            .read(|connection| {
                let half = KEEP_OF_GATEWAY / 2;
                let digest = |n: i64| Digest::of(format!("fork {n}").as_bytes()).to_string();
                let sql = "SELECT count(*) FROM quarantine WHERE digest IN (?1, ?2, ?3)";
                let there = |all: [String; 3]| connection.query_row(sql, all, |row| row.get::<_, i64>(0));
                Ok((
                    there([0, half - 1, KEEP + 49].map(digest))?,
                    there([half, half + 1, KEEP + 49 - half].map(digest))?,
                ))
            })
            .unwrap();
        assert_eq!(ends, (3, 0), "the first and the newest stay");
    }

    #[test]
    fn the_shelves_are_bounded_and_garbage_does_not_push_evidence_out() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("sink.db")).unwrap();
        let gateway = GatewayId::new(Digest::of(b"gateway"));
        let filled = store.write(move |connection| {
            let refuse = |bytes: &[u8], vouched| {
                let (reason, gateway) = if vouched { ("fork", Some(gateway)) } else { ("malformed", None) };
                insert(connection, &Refused { bytes, reason, detail: "", gateway, vouched }, Timestamp::UNIX_EPOCH)
            };
            refuse(&[b'x'; 2 * GLIMPSE], true)?;
            refuse(&[b'x'; 2 * GLIMPSE], false)?;
            (0..KEEP + 50).try_for_each(|n| refuse(format!("garbage {n}").as_bytes(), false))
        });
        filled.wait().unwrap();
        let (kept, longest): (i64, i64) = store
            .read(|connection| {
                let sql = "SELECT count(*), max(length(content)) FROM quarantine WHERE NOT vouched";
                Ok(connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
            })
            .unwrap();
        assert_eq!(kept, KEEP);
        assert!(longest <= GLIMPSE as i64);
        let evidence = store.read(|connection| of_gateway(connection, gateway)).unwrap();
        assert_eq!((evidence.len(), evidence[0].bytes), (1, 2 * GLIMPSE as u64));
        let counted = store.read(refusals).unwrap();
        assert_eq!((counted["malformed"], counted["fork"]), (KEEP as u64 + 51, 1), "nothing is forgotten in the count");
    }
}
