//! What goes when there is too much goes in order, leaves its tombstone, and leaves the chain whole.

use std::collections::BTreeMap;
use std::time::Duration;

use gatepost_evidence::tombstone::Cause;
use jiff::SignedDuration;

use super::chain::{Walked, keeping, run, walk};
use super::*;

const DAY: i64 = 86_400;

struct Field {
    folder: tempfile::TempDir,
    spool: Spool,
    known: BTreeMap<u64, Digest>,
    now: Timestamp,
}

impl Field {
    fn new(bounds: Bounds) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open_keeping(folder.path(), keeping(bounds)).unwrap();
        let now = clock::now();
        Self { folder, spool, known: BTreeMap::new(), now }
    }

    /// Appends a run of about `bytes` that do not compress, `seconds` after the one before.
    fn append(&mut self, bytes: usize, seconds: i64) -> u64 {
        self.now += SignedDuration::from_secs(seconds);
        // The daily look for damage is not what is tested here.
        self.spool.checked = Some(self.now);
        let salt = self.known.len() as u64 + 1;
        let (head, _) = self.spool.append_at(self.now, |head| Ok::<_, String>(run(head, salt, bytes))).unwrap();
        self.known.insert(head.seq, head.digest);
        head.seq
    }

    fn acknowledge(&mut self, seq: u64) {
        self.spool.acknowledge(self.known[&seq], &word()).unwrap();
    }

    fn walk(&self) -> Walked {
        walk(&self.spool, &self.known)
    }

    fn stands(&self, seq: u64) -> Option<Cause> {
        self.walk().tombstone_of(seq).map(|tombstone| tombstone.cause)
    }
}

fn days(days: u64) -> Bounds {
    Bounds { max_age: Duration::from_secs(days * 86_400), ..Bounds::default() }
}

#[test]
fn what_is_too_old_goes_within_a_day_with_a_tombstone_of_its_cause() {
    let mut field = Field::new(days(30));
    for _ in 0..24 {
        field.append(10, DAY);
    }
    field.acknowledge(1);
    field.acknowledge(2);
    field.spool.quarantine(field.known[&4], "fork").unwrap();
    for _ in 0..36 {
        field.append(10, DAY);
    }
    let walked = field.walk();
    assert_eq!(walked.head, 60);
    assert!((30..=32).contains(&walked.runs.len()), "{}", walked.runs.len());
    let causes: Vec<_> = walked.tombstones.iter().map(|t| (t.from_seq, t.to_seq.min(5), t.cause)).collect();
    assert_eq!(
        causes,
        [
            (1, 2, Cause::AcknowledgedExpired),
            (3, 3, Cause::TooOld),
            (4, 4, Cause::QuarantinedExpired),
            (5, 5, Cause::TooOld),
        ]
    );
    // The sink has what it acknowledged; of the others it has to be told.
    let pending: Vec<_> = field.spool.pending_tombstones().unwrap().iter().map(|buried| buried.from_seq).collect();
    assert_eq!(pending, [3, 4, 5]);
}

#[test]
fn a_wrong_clock_throws_nothing_away() {
    let mut field = Field::new(days(30));
    field.now = "1970-01-01T00:10:00Z".parse().unwrap();
    for _ in 0..10 {
        field.append(10, 3_600);
    }
    field.append(10, 56 * 365 * DAY);
    field.append(10, -56 * 365 * DAY);
    field.append(10, 56 * 365 * DAY);
    assert_eq!(field.walk().runs.len(), 13);
    // Time that passes as it should still counts.
    for _ in 0..40 {
        field.append(10, DAY);
    }
    assert!(field.walk().runs.len() <= 32);
}

#[test]
fn when_there_is_no_room_acknowledged_runs_go_first_then_pending_then_quarantined() {
    let bounds = Bounds { max_bytes: 1 << 18, ..Bounds::default() };
    let mut field = Field::new(bounds);
    let large = 10_000;
    for _ in 0..12 {
        field.append(large, 60);
    }
    field.spool.quarantine(field.known[&1], "fork").unwrap();
    for seq in 6..=8 {
        field.acknowledge(seq);
    }
    let mut went = 0;
    for _ in 0..60 {
        field.append(large, 60);
        let gone = |seq: &u64| field.spool.tombstone_of(*seq).unwrap().is_some();
        let acknowledged = (6..=8).filter(gone).count();
        let pending: Vec<u64> = (2..=12).filter(|seq| !(6..=8).contains(seq)).filter(gone).collect();
        assert!(pending.is_empty() || acknowledged == 3, "{pending:?} went before what the sink has");
        assert_eq!(pending, [2, 3, 4, 5, 9, 10, 11, 12][..pending.len()], "oldest first");
        went = pending.len();
        assert!(field.spool.used_bytes().unwrap() <= bounds.max_bytes, "{}", field.spool.used_bytes().unwrap());
        let file = std::fs::metadata(field.folder.path().join(FILE)).unwrap().len();
        assert!(file <= bounds.max_bytes + 30_000, "the file has {file} bytes");
    }
    assert_eq!(went, 8);
    assert_eq!(field.stands(1), None, "the quarantined one is still there");
    assert_eq!((field.stands(6), field.stands(2)), (Some(Cause::AcknowledgedExpired), Some(Cause::NoRoom)));
    assert!(field.spool.tombstones().unwrap().len() <= 4, "{:?}", field.walk().tombstones);
    // When nothing else is left, that one goes, too, but never the last of the chain.
    field.spool.keeping.as_mut().unwrap().bounds.max_bytes = 1;
    field.append(large, 60);
    assert_eq!(field.stands(1), Some(Cause::QuarantinedExpired));
    assert_eq!(field.walk().runs.keys().copied().collect::<Vec<_>>(), [72, 73]);
}

#[test]
fn a_tombstone_that_grew_is_told_again_and_an_old_answer_does_not_count_for_it() {
    let mut field = Field::new(days(1));
    for _ in 0..10 {
        field.append(10, DAY / 2);
    }
    let first = field.spool.pending_tombstones().unwrap().remove(0);
    field.append(10, DAY / 2);
    let grown = field.spool.pending_tombstones().unwrap().remove(0);
    assert_eq!((first.from_seq, grown.from_seq), (1, 1));
    assert!(grown.to_seq > first.to_seq);
    field.spool.acknowledge_tombstone(first.digest).unwrap();
    assert_eq!(field.spool.pending_tombstones().unwrap(), std::slice::from_ref(&grown));
    field.spool.acknowledge_tombstone(grown.digest).unwrap();
    assert_eq!(field.spool.pending_tombstones().unwrap(), []);
    assert_eq!(field.spool.tombstones().unwrap().len(), 1);
    field.append(10, DAY / 2);
    assert_eq!(field.spool.pending_tombstones().unwrap()[0].from_seq, 1);
    field.walk();
}

#[test]
fn a_run_that_cannot_be_signed_lets_nothing_go() {
    let mut field = Field::new(days(1));
    for _ in 0..4 {
        field.append(10, DAY / 4);
    }
    let later = field.now + SignedDuration::from_hours(24);
    field.spool.checked = Some(later);
    assert!(field.spool.append_at(later, |_| Err("no")).is_err());
    assert_eq!(field.walk().runs.len(), 4);
}

#[test]
fn bases_go_with_the_last_run_that_needs_them() {
    let mut field = Field::new(days(2));
    for _ in 0..200 {
        field.append(10, 3_600);
    }
    let count = |sql: &str| field.spool.connection.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    let unused = count("SELECT count(*) FROM bases WHERE id NOT IN (SELECT base FROM runs)");
    assert_eq!((unused, count("SELECT count(*) FROM bases") <= 4), (0, true));
    assert!(count("SELECT count(*) FROM bases") >= 2);
    field.walk();
}
