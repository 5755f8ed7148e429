//! The database's versions, as one readable list. A released entry is never edited; a change is a new entry.

use rusqlite::{Connection, TransactionBehavior};

use super::{StoreError, log};

/// Entry `n` brings a database from version `n` to `n + 1`.
const MIGRATIONS: &[&str] = &[FIRST, LOG, TOMBSTONES, ROTATIONS, KEYS];

const FIRST: &str = "
    -- Enrolled gateways. The key is the only thing runs are verified with.
    CREATE TABLE gateways (
        id          TEXT PRIMARY KEY,
        public_key  BLOB NOT NULL,
        name        TEXT NOT NULL,
        labels      TEXT NOT NULL,
        enrolled_at TEXT NOT NULL
    ) STRICT;

    -- One-time enrolment tokens, by SHA-256; the token itself is nowhere.
    CREATE TABLE tokens (
        digest     TEXT PRIMARY KEY,
        label      TEXT NOT NULL,
        created_at TEXT NOT NULL,
        expires_at TEXT NOT NULL,
        used_at    TEXT,
        used_by    TEXT REFERENCES gateways(id),
        CHECK ((used_at IS NULL) = (used_by IS NULL))
    ) STRICT;

    -- Accepted runs, exactly as they came, with the receipt that was given for each.
    CREATE TABLE runs (
        digest         TEXT PRIMARY KEY,
        gateway        TEXT NOT NULL REFERENCES gateways(id),
        seq            INTEGER NOT NULL CHECK (seq > 0),
        prev           TEXT,
        stage          TEXT NOT NULL,
        bundle         TEXT NOT NULL,
        bundle_version TEXT NOT NULL,
        started_at     TEXT NOT NULL,
        received_at    TEXT NOT NULL,
        link           TEXT NOT NULL,
        envelope       TEXT NOT NULL,
        receipt        TEXT NOT NULL,
        UNIQUE (gateway, seq)
    ) STRICT;

    -- Every pack that judged anything here.
    CREATE TABLE packs (
        digest        TEXT PRIMARY KEY,
        name          TEXT NOT NULL,
        version       TEXT NOT NULL,
        first_used_at TEXT NOT NULL
    ) STRICT;

    -- What a run means under a pack; or why it could not be judged.
    CREATE TABLE assessments (
        run       TEXT NOT NULL REFERENCES runs(digest),
        pack      TEXT NOT NULL REFERENCES packs(digest),
        judged_at TEXT NOT NULL,
        digest    TEXT,
        json      TEXT,
        failure   TEXT,
        PRIMARY KEY (run, pack),
        CHECK ((json IS NULL) = (digest IS NULL)),
        CHECK ((json IS NULL) = (failure IS NOT NULL))
    ) STRICT;

    -- Promotions, the latest of a gateway counts.
    CREATE TABLE baselines (
        id          INTEGER PRIMARY KEY,
        gateway     TEXT NOT NULL REFERENCES gateways(id),
        run         TEXT NOT NULL REFERENCES runs(digest),
        pack        TEXT NOT NULL,
        promoted_at TEXT NOT NULL
    ) STRICT;
    CREATE INDEX baselines_gateway ON baselines(gateway, id);

    -- What was refused, bounded; `vouched` says that an enrolled gateway's signature holds, which makes it evidence.
    CREATE TABLE quarantine (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        digest     TEXT NOT NULL,
        reason     TEXT NOT NULL,
        detail     TEXT NOT NULL,
        gateway    TEXT,
        vouched    INTEGER NOT NULL,
        bytes      INTEGER NOT NULL,
        content    BLOB NOT NULL,
        first_at   TEXT NOT NULL,
        last_at    TEXT NOT NULL,
        times      INTEGER NOT NULL,
        UNIQUE (digest, reason)
    ) STRICT;
    CREATE INDEX quarantine_gateway ON quarantine(gateway, reason) WHERE vouched;

    -- How often each reason was given, ever.
    CREATE TABLE refusals (
        reason TEXT PRIMARY KEY,
        times  INTEGER NOT NULL
    ) STRICT;
";

const LOG: &str = "
    -- The transparency log: the leaves and the full subtrees over them, numbered as in RFC 9420, appendix C.
    CREATE TABLE log_nodes (
        id   INTEGER PRIMARY KEY,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    ) STRICT;

    -- The leaf that stands for a run; given to runs from before there was a log when this is applied.
    ALTER TABLE runs ADD COLUMN log_index INTEGER;
    CREATE UNIQUE INDEX runs_log_index ON runs(log_index);
";

const TOMBSTONES: &str = "
    -- Gateways' signed word that runs are gone, exactly as it came, with the receipt and the leaf. One that has grown is
    -- another one; what stands for a place is whatever reaches over it.
    CREATE TABLE tombstones (
        digest       TEXT PRIMARY KEY,
        gateway      TEXT NOT NULL REFERENCES gateways(id),
        from_seq     INTEGER NOT NULL CHECK (from_seq > 0),
        to_seq       INTEGER NOT NULL CHECK (to_seq >= from_seq),
        runs         INTEGER,
        cause        TEXT NOT NULL,
        prev         TEXT,
        first_digest TEXT,
        last_digest  TEXT,
        buried_at    TEXT NOT NULL,
        received_at  TEXT NOT NULL,
        envelope     TEXT NOT NULL,
        receipt      TEXT NOT NULL,
        log_index    INTEGER NOT NULL UNIQUE
    ) STRICT;
    CREATE INDEX tombstones_gateway ON tombstones(gateway, to_seq);
";

const ROTATIONS: &str = "
    -- Gateways' key rotations, exactly as they came, with the receipt and the leaf: `new_key` signs from place `seq` on.
    CREATE TABLE rotations (
        digest      TEXT PRIMARY KEY,
        gateway     TEXT NOT NULL REFERENCES gateways(id),
        seq         INTEGER NOT NULL CHECK (seq > 0),
        prev        TEXT,
        new_key     TEXT NOT NULL UNIQUE,
        received_at TEXT NOT NULL,
        envelope    TEXT NOT NULL,
        receipt     TEXT NOT NULL,
        log_index   INTEGER NOT NULL UNIQUE,
        UNIQUE (gateway, seq)
    ) STRICT;
";

const KEYS: &str = "
    -- The keys of brokers and devices, as the newest judged run of each gateway saw them.
    CREATE TABLE keys (
        gateway     TEXT NOT NULL REFERENCES gateways(id),
        device      INTEGER NOT NULL,
        subject     TEXT NOT NULL,
        seq         INTEGER NOT NULL,
        certificate TEXT NOT NULL,
        key         TEXT NOT NULL,
        modulus     BLOB,
        PRIMARY KEY (gateway, device, subject)
    ) STRICT;
";

/// Brings `connection` to the latest version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let known = MIGRATIONS.len() as i64;
    // Immediate: of two processes that start at once, one waits and then finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > known {
        return Err(StoreError::TooNew { found, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    if found < known {
        log::append_missing(&transaction)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use gatepost_evidence::id::Digest;

    use super::*;

    #[test]
    fn migrating_twice_is_migrating_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        migrate(&mut connection).unwrap();
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'runs'", [], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(tables, 1);
    }

    #[test]
    fn runs_from_before_there_was_a_log_get_their_leaves_in_order_of_acceptance() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(FIRST).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let digests: Vec<_> = (0..5_u8).map(|n| Digest::of(&[n])).collect();
        connection.execute("INSERT INTO gateways VALUES ('g', x'00', 'g', '{}', '')", []).unwrap();
        for (n, digest) in digests.iter().enumerate() {
            // The clock ran backwards, and the digests are in no order.
            let sql = "INSERT INTO runs VALUES (?1, 'g', ?2, NULL, '', '', '', '', ?3, '', '', '')";
            connection.execute(sql, (digest.to_string(), n as i64 + 1, format!("2026-01-0{}", 9 - n))).unwrap();
        }
        migrate(&mut connection).unwrap();
        let index = |digest: &Digest| {
            let sql = "SELECT log_index FROM runs WHERE digest = ?1";
            connection.query_row(sql, [digest.to_string()], |row| row.get::<_, u64>(0)).unwrap()
        };
        assert_eq!(digests.iter().map(index).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        let mut log = log::Log::open(&connection).unwrap();
        let root = log.root().unwrap();
        assert_eq!(root.size(), 5);
        for (index, digest) in (0..).zip(&digests) {
            log.prove_inclusion(index).unwrap().verify(&root, index, *digest).unwrap();
        }
        assert_eq!(log.append(Digest::of(b"next")).unwrap(), 5);
    }

    #[test]
    fn a_later_version_is_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection).unwrap_err();
        assert!(error.to_string().contains("99"), "{error}");
    }
}
