//! Damage of many sorts: the database is kept aside as it was, what can be read is saved, and the chain goes on.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use gatepost_evidence::tombstone::Cause;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::chain::{Walked, keeping, run, walk};
use super::*;

const RUNS: u64 = 60;

struct Field {
    folder: tempfile::TempDir,
    known: BTreeMap<u64, Digest>,
}

impl Field {
    /// A spool with runs of all states, closed.
    fn new() -> Self {
        let (bytes, known) = &*TEMPLATE;
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), bytes).unwrap();
        Self { folder, known: known.clone() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.file()).unwrap()
    }

    fn pages(&self) -> usize {
        self.bytes().len() / 1024
    }

    /// Opens it as after a start of the machine.
    fn open(&self) -> Result<Spool, SpoolError> {
        if let Ok(connection) = Connection::open_with_flags(self.file(), OpenFlags::SQLITE_OPEN_READ_WRITE) {
            let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            let _ =
                connection.execute("UPDATE settings SET value = '2020-01-01T00:00:00Z x' WHERE key = 'checked'", []);
        }
        Spool::open_keeping(self.folder.path(), keeping(Bounds::default()))
    }

    /// Opens it and finds the chain whole; then it goes on, and is found whole again.
    fn survives(&mut self) -> (Spool, Walked) {
        let mut spool = self.open().unwrap();
        let walked = walk(&spool, &self.known);
        let (head, _) = spool.append(|head| Ok::<_, String>(run(head, RUNS + 1, 20))).unwrap();
        assert_eq!(head.seq, walked.head + 1);
        self.known.insert(head.seq, head.digest);
        drop(spool);
        let spool = Spool::open_keeping(self.folder.path(), keeping(Bounds::default())).unwrap();
        assert!(spool.mended().is_none(), "what was mended is sound");
        let walked = walk(&spool, &self.known);
        (spool, walked)
    }
}

/// The bytes of a spool with runs of all states, and the digests of its runs.
static TEMPLATE: LazyLock<(Vec<u8>, BTreeMap<u64, Digest>)> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let mut known = BTreeMap::new();
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    for salt in 1..=RUNS {
        let bytes = if salt % 10 == 0 { 3_000 } else { 20 };
        let (head, _) = spool.append(|head| Ok::<_, String>(run(head, salt, bytes))).unwrap();
        known.insert(head.seq, head.digest);
    }
    for seq in 1..=20 {
        spool.acknowledge(known[&seq], &word()).unwrap();
    }
    spool.quarantine(known[&21], "fork").unwrap();
    let sink_key = SigningKey::from_seed(&[3; 32]).unwrap().public().clone();
    spool.set_enrolment(&Enrolment { url: "https://sink".into(), sink_key }).unwrap();
    drop(spool);
    (fs::read(folder.path().join(FILE)).unwrap(), known)
});

/// The page of 1,024 bytes at which the damage begins, overwritten with noise.
fn overwrite(bytes: &mut [u8], page: usize) {
    for (index, byte) in bytes[page * 1024..(page + 1) * 1024].iter_mut().enumerate() {
        *byte = (index * 31 + page) as u8 ^ 0xa5;
    }
}

#[test]
fn any_one_page_may_be_overwritten() {
    let mut unknown_ends = 0;
    let (mut mended, mut saved) = (0, 0);
    let pages = Field::new().pages();
    for page in 0..pages {
        let mut field = Field::new();
        let mut bytes = field.bytes();
        overwrite(&mut bytes, page);
        fs::write(field.file(), &bytes).unwrap();
        let (spool, walked) = field.survives();
        let Some(last) = spool.last_mended().unwrap() else {
            // Damage to bytes inside a run's content breaks no structure; it is found when the run is read.
            continue;
        };
        mended += 1;
        saved += last.saved;
        // The damaged one is where it is said to be, as it was but for the note of when it was looked through.
        assert_eq!(fs::metadata(&last.aside).unwrap().len(), bytes.len() as u64);
        let damaged: u64 = walked.tombstones.iter().filter_map(|t| t.count).sum();
        let here = walked.runs.range(..=RUNS).count() as u64;
        assert_eq!(here, last.saved, "page {page}");
        assert!(walked.tombstones.iter().all(|t| t.cause == Cause::Damaged));
        match last.lost {
            Some(lost) => assert_eq!((lost, here + lost), (damaged, RUNS), "page {page}: {:?}", walked.tombstones),
            None => unknown_ends += 1,
        }
    }
    assert!(mended > pages / 2, "{mended} of {pages} were noticed");
    assert!(unknown_ends > 0 && unknown_ends < 8, "{unknown_ends} of {pages} took the end of the chain");
    assert!(saved > mended as u64 * RUNS / 2, "{saved} runs of {mended} spools were saved");
}

#[test]
fn a_file_that_is_no_database_an_empty_one_and_half_of_one_are_kept_aside() {
    let whole = Field::new().bytes();
    let cases: [&dyn Fn() -> Vec<u8>; 5] = [
        &|| b"not a database, not even nearly one".repeat(100),
        &Vec::new,
        &|| vec![0; 8_192],
        &|| whole[..whole.len() / 2 / 1024 * 1024].to_vec(),
        &|| whole[..100].to_vec(),
    ];
    for (case, content) in cases.iter().enumerate() {
        let mut field = Field::new();
        fs::write(field.file(), content()).unwrap();
        assert!(Spool::open(field.folder.path()).is_err(), "case {case}: opened as if nothing were wrong");
        assert_eq!(field.bytes(), content(), "case {case}: written to");
        let (spool, walked) = field.survives();
        let mended = spool.last_mended().unwrap().unwrap();
        assert_eq!(fs::read(&mended.aside).unwrap(), content(), "case {case}: not kept as it was");
        // The end of the chain cannot be known: it goes on at a place that no run can have had, from the tombstone itself.
        assert_eq!(mended.lost, None, "case {case}");
        let last = walked.tombstones.last().unwrap();
        assert_eq!((last.count, last.last_digest, last.cause), (None, None, Cause::Damaged), "case {case}");
        assert!(last.to_seq > 1_700_000_000 && walked.head == last.to_seq + 1, "case {case}");
        assert_eq!(spool.pending_tombstones().unwrap().len(), walked.tombstones.len(), "case {case}");
    }
}

#[test]
fn states_answers_and_the_sink_are_saved() {
    let mut field = Field::new();
    let mut bytes = field.bytes();
    // Content of a run in the middle, its digest untouched, is structure neither: so break a page of overflow instead.
    let middle = bytes.len() / 1024 / 2;
    overwrite(&mut bytes, middle);
    fs::write(field.file(), &bytes).unwrap();
    let (spool, walked) = field.survives();
    assert!(walked.head == RUNS + 1);
    let counts = spool.counts().unwrap();
    assert_eq!(counts.pending + counts.acknowledged + counts.quarantined, walked.runs.len() as u64);
    assert!(counts.acknowledged >= 10 && counts.quarantined <= 1, "{counts:?}");
    assert!(spool.enrolment().unwrap().is_some());
}

#[test]
fn a_run_that_cannot_be_read_back_holds_up_nobody() {
    let field = Field::new();
    let connection = Connection::open(field.file()).unwrap();
    connection.execute("UPDATE runs SET content = x'01ff' WHERE seq = 30", []).unwrap();
    connection.close().unwrap();
    let unkept = Spool::open(field.folder.path()).unwrap();
    let given: Vec<_> = unkept.pending(100, 1 << 20).unwrap().iter().map(|run| run.seq).collect();
    assert_eq!(given, [22, 23, 24, 25, 26, 27, 28, 29], "what comes before it");
    drop(unkept);
    let spool = field.open().unwrap();
    let seqs = |count| spool.pending(count, 1 << 20).unwrap().iter().map(|run| run.seq).collect::<Vec<_>>();
    assert_eq!(seqs(9), [22, 23, 24, 25, 26, 27, 28, 29], "this time it is found");
    assert_eq!(seqs(9), [22, 23, 24, 25, 26, 27, 28, 29, 31]);
    let refused = spool.quarantined().unwrap();
    assert!(refused[1].seq == 30 && refused[1].reason.starts_with("unreadable: "));
    assert_eq!(spool.pending_tombstones().unwrap()[0].from_seq, 30);
    walk(&spool, &field.known);
}

#[test]
fn damage_that_a_reader_meets_is_mended_at_the_next_append_or_opening() {
    for reopened in [false, true] {
        let field = Field::new();
        let mut bytes = field.bytes();
        // The page where runs begin: its first bytes say what sort of page it is.
        let connection = Connection::open(field.file()).unwrap();
        let page: usize = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'answers'", [], |row| row.get(0))
            .unwrap();
        connection.close().unwrap();
        overwrite(&mut bytes, page - 1);
        fs::write(field.file(), &bytes).unwrap();
        let mut spool = Spool::open_keeping(field.folder.path(), keeping(Bounds::default())).unwrap();
        assert!(spool.mended().is_none(), "it was looked through not long ago");
        assert!(spool.get(1).unwrap_err().damage().is_some());
        if reopened {
            drop(spool);
            spool = Spool::open_keeping(field.folder.path(), keeping(Bounds::default())).unwrap();
        } else {
            spool.append(|head| Ok::<_, String>(run(head, 500, 20))).unwrap();
        }
        let mended = spool.mended().unwrap();
        assert_eq!((mended.saved, mended.lost), (RUNS, Some(0)), "{mended}");
        // What the sink answered went with the page: it is asked again.
        assert_eq!(spool.counts().unwrap().acknowledged, 0);
        walk(&spool, &field.known);
    }
}

#[test]
fn damage_that_shows_itself_while_the_spool_is_open_is_mended_for_the_next_run() {
    let field = Field::new();
    let mut spool = field.open().unwrap();
    // All pages but the first, behind the back of the one that has it open.
    let mut bytes = field.bytes();
    for page in 1..bytes.len() / 1024 {
        overwrite(&mut bytes, page);
    }
    let checkpointed = spool.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, u32>(0));
    assert_eq!(checkpointed.unwrap(), 0);
    fs::write(field.file(), &bytes).unwrap();
    spool.connection.execute_batch("PRAGMA shrink_memory").unwrap();
    let error = spool.append(|head| Ok::<_, String>(run(head, 500, 20))).unwrap_err();
    assert!(error.damage().is_some(), "{error}");
    assert!(spool.mended().is_some());
    spool.append(|head| Ok::<_, String>(run(head, 501, 20))).unwrap();
    assert_eq!(walk(&spool, &field.known).runs.len(), 1);
}

#[test]
fn a_database_that_others_have_open_is_not_moved_away_under_them() {
    let field = Field::new();
    let other = Spool::open(field.folder.path()).unwrap();
    fs::write(field.file(), b"damaged").unwrap();
    let error = field.open().err().unwrap();
    assert!(matches!(error, SpoolError::Busy { .. }), "{error}");
    assert_eq!(field.bytes(), b"damaged");
    drop(other);
    assert!(field.open().unwrap().mended().is_some());
}

#[test]
fn of_the_damaged_databases_the_first_and_the_newest_two_are_kept() {
    let field = Field::new();
    let folder = field.folder.path();
    for stamp in ["20260101T000000", "20260101T000000-1", "20260101T000000-2", "20260101T000000-10"] {
        for suffix in ["", "-wal", "-shm"] {
            fs::write(folder.join(format!("{FILE}.damaged-{stamp}{suffix}")), stamp).unwrap();
        }
    }
    fs::write(field.file(), b"damaged").unwrap();
    let spool = field.open().unwrap();
    let mended = spool.mended().unwrap();
    let removed = ["20260101T000000-1", "20260101T000000-2"].map(|at| folder.join(format!("{FILE}.damaged-{at}")));
    assert_eq!(mended.removed, removed);
    assert!(mended.to_string().ends_with("damaged-20260101T000000-2, kept from before, goes"), "{mended}");
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut left: Vec<_> = names.filter(|name| name.contains(".damaged-2026010")).collect();
    left.sort();
    let kept = ["20260101T000000", "20260101T000000-10"].map(|at| format!("{FILE}.damaged-{at}"));
    let with_companions = |name: &String| ["", "-shm", "-wal"].map(|suffix| format!("{name}{suffix}"));
    let mut kept: Vec<_> = kept.iter().flat_map(with_companions).collect();
    kept.sort();
    assert_eq!(left, kept);
    assert!(mended.aside.exists());
    assert_eq!(spool.last_mended().unwrap().as_ref(), Some(mended));
}

#[test]
fn a_replacement_that_was_cut_short_is_put_into_place() {
    // Every moment of it, as the files are then: what was is there, or the finished replacement is.
    let mut field = Field::new();
    let whole = field.bytes();
    for moment in 0..3 {
        let folder = field.folder.path();
        fs::write(folder.join("spool.db.mended-20260301T100000"), &whole).unwrap();
        match moment {
            0 => fs::write(field.file(), b"damaged").unwrap(),
            1 => {
                fs::write(field.file(), b"damaged").unwrap();
                fs::write(folder.join("spool.db-wal"), b"its log").unwrap();
            }
            _ => fs::remove_file(field.file()).unwrap(),
        }
        let spool = field.open().unwrap();
        assert!(spool.mended().is_none(), "moment {moment}");
        assert_eq!(walk(&spool, &field.known).runs.len() as u64, RUNS, "moment {moment}");
        let aside = folder.join("spool.db.damaged-20260301T100000");
        assert_eq!(fs::read(&aside).ok().as_deref(), (moment < 2).then_some(b"damaged".as_slice()));
        let log = fs::read(folder.join("spool.db.damaged-20260301T100000-wal")).ok();
        assert_eq!(log.as_deref(), (moment == 1).then_some(b"its log".as_slice()));
        drop(spool);
        field = Field::new();
    }
}
