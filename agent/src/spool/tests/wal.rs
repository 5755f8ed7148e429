//! Damage in SQLite's log: what it would not read is saved, and what a loss of power leaves is no damage.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;

use super::chain::{Walked, keeping, run, walk};
use super::*;

const RUNS: u64 = 20;
const HEADER: usize = 32;
const FRAME: usize = 24 + 1024;

type Template = (Vec<u8>, Vec<u8>, BTreeMap<u64, Digest>);

/// Database, log, and the runs in them, as they are when the power goes.
static TEMPLATE: LazyLock<Template> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    let mut known = BTreeMap::new();
    for salt in 1..=RUNS {
        let (head, _) = spool.append(|head| Ok::<_, String>(run(head, salt, 300))).unwrap();
        known.insert(head.seq, head.digest);
    }
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    (read(FILE), read("spool.db-wal"), known)
});

struct Found {
    walked: Walked,
    mended: Option<Mended>,
}

/// Opens a spool with this log, has it go on, and looks through what it then holds.
fn after(log: &[u8]) -> Found {
    let (database, _, known) = &*TEMPLATE;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), database).unwrap();
    fs::write(folder.path().join("spool.db-wal"), log).unwrap();
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    let mended = spool.mended().cloned();
    if let Some(mended) = &mended {
        assert_eq!(&fs::read(&mended.aside).unwrap(), database);
        let mut kept = mended.aside.clone().into_os_string();
        kept.push("-wal");
        assert_eq!(fs::read(kept).unwrap(), log, "kept as it was");
    }
    assert!(!folder.path().join("spool.db.copy").exists());
    // A run that was cut off comes no more: another one takes its place.
    let mut known = known.clone();
    known.retain(|seq, _| *seq <= spool.head().unwrap().map_or(0, |head| head.seq));
    let walked = walk(&spool, &known);
    let (head, _) = spool.append(|head| Ok::<_, String>(run(head, 500, 20))).unwrap();
    assert_eq!(head.seq, walked.head + 1);
    drop(spool);
    let spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    assert!(spool.mended().is_none());
    known.insert(head.seq, head.digest);
    assert_eq!(walk(&spool, &known).runs.len(), walked.runs.len() + 1);
    Found { walked, mended }
}

/// Page, and whether the transaction ends with it.
fn frames(log: &[u8]) -> Vec<(u32, bool)> {
    let word = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap());
    log[HEADER..].chunks_exact(FRAME).map(|frame| (word(frame), word(&frame[4..]) != 0)).collect()
}

/// The pages of the bases that runs are packed against.
fn pages_of_bases() -> BTreeSet<u32> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), &TEMPLATE.0).unwrap();
    fs::write(folder.path().join("spool.db-wal"), &TEMPLATE.1).unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    let mut statement = spool.connection.prepare("SELECT pageno FROM dbstat WHERE name = 'bases'").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Where a transaction ends that another follows.
fn last_but_one(frames: &[(u32, bool)]) -> usize {
    let ends: Vec<_> = frames.iter().enumerate().filter(|(_, (_, commits))| *commits).map(|(index, _)| index).collect();
    ends[ends.len() - 2]
}

#[test]
fn one_byte_of_a_page_may_be_damaged_anywhere_in_the_log() {
    let log = &TEMPLATE.1;
    let frames = frames(log);
    let (mut superseded, mut lost, bases) = (0, BTreeSet::new(), pages_of_bases());
    for damaged in 0..=last_but_one(&frames) {
        let mut bytes = log.clone();
        bytes[HEADER + damaged * FRAME + 24 + 700] ^= 0x10;
        let found = after(&bytes);
        let mended = found.mended.unwrap_or_else(|| panic!("frame {damaged} went unnoticed"));
        let written_later = frames[damaged + 1..].iter().any(|(page, _)| *page == frames[damaged].0);
        if written_later {
            superseded += 1;
            assert_eq!((mended.saved, mended.lost), (RUNS, Some(0)), "frame {damaged}");
            assert!(found.walked.tombstones.is_empty() && found.walked.head == RUNS, "frame {damaged}");
            continue;
        }
        // What is damaged may be a base, and the runs that were packed against it go with it.
        let most = if bases.contains(&frames[damaged].0) { RUNS / 2 } else { 1 };
        assert!(mended.saved >= RUNS - most, "frame {damaged}: {mended}");
        assert!(found.walked.head >= RUNS, "frame {damaged}: {mended}");
        let gone: Vec<_> = (1..=RUNS).filter(|seq| !found.walked.runs.contains_key(seq)).collect();
        assert!(gone.iter().all(|seq| found.walked.tombstone_of(*seq).is_some()), "frame {damaged}");
        if found.walked.head == RUNS {
            assert_eq!(mended.lost, Some(gone.len() as u64), "frame {damaged}");
        }
        lost.extend(gone);
    }
    assert!(superseded > 10 && lost.len() > 5, "{superseded} superseded, {lost:?} lost");
}

#[test]
fn any_part_of_a_frame_header_may_be_damaged() {
    let log = &TEMPLATE.1;
    for part in 0..24 {
        let damaged = [3, 11, 20][part % 3];
        let mut bytes = log.clone();
        bytes[HEADER + damaged * FRAME + part] ^= 0x01;
        let found = after(&bytes);
        assert!(found.mended.is_some(), "byte {part} of frame {damaged}");
        assert!(found.walked.runs.len() as u64 >= RUNS - 3, "byte {part} of frame {damaged}: {:?}", found.mended);
    }
}

#[test]
fn a_rotted_sector_takes_no_more_than_what_lay_in_it() {
    let log = &TEMPLATE.1;
    let (mut saved, mut sectors) = (0, 0);
    for sector in (1..log.len() / 512 - 20).step_by(3) {
        let mut bytes = log.clone();
        bytes[sector * 512..(sector + 1) * 512].fill(0);
        let found = after(&bytes);
        assert!(found.mended.is_some(), "sector {sector}");
        assert!(found.walked.runs.len() as u64 >= RUNS / 2, "sector {sector}: {:?}", found.mended);
        saved += found.walked.runs.len() as u64;
        sectors += 1;
    }
    assert!(saved * 10 > sectors * RUNS * 9, "{saved} runs saved in {sectors} cases");
}

#[test]
fn a_transaction_that_was_cut_short_is_no_damage() {
    let log = &TEMPLATE.1;
    let end = last_but_one(&frames(log)) + 1;
    let last = HEADER + end * FRAME;
    let mut torn: Vec<Vec<u8>> =
        [last, last + 10, last + FRAME / 2, log.len() - 500].map(|at| log[..at].to_vec()).into();
    // Its frames may come to the disk in any order, and what stood there before may show through.
    for part in [last, last + 30] {
        let mut bytes = log.clone();
        bytes[part..part + 500].fill(0);
        torn.push(bytes);
    }
    for (case, bytes) in torn.iter().enumerate() {
        let found = after(bytes);
        assert!(found.mended.is_none(), "case {case}: {:?}", found.mended);
        assert_eq!(found.walked.head, RUNS - 1, "case {case}");
    }
    assert_eq!(after(log).walked.head, RUNS);
    // What is no log, and one whose header does not check, is SQLite's to judge.
    let mut headless = log.clone();
    headless[20] ^= 1;
    for bytes in [&[][..], b"no log", &headless] {
        assert!(after(bytes).mended.is_none());
    }
}

#[test]
fn what_stood_in_the_log_before_is_not_taken_for_a_part_of_it() {
    let (database, log, known) = &*TEMPLATE;
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), database).unwrap();
    fs::write(folder.path().join("spool.db-wal"), log).unwrap();
    let mut known = known.clone();
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    let restarted = spool.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, u32>(0));
    assert_eq!(restarted.unwrap(), 0);
    for salt in 100..103 {
        let (head, _) = spool.append(|head| Ok::<_, String>(run(head, salt, 20))).unwrap();
        known.insert(head.seq, head.digest);
    }
    let copy = tempfile::tempdir().unwrap();
    for name in [FILE, "spool.db-wal"] {
        fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(fs::metadata(copy.path().join("spool.db-wal")).unwrap().len(), log.len() as u64);
    let spool = Spool::open_keeping(copy.path(), keeping(Bounds::default())).unwrap();
    assert!(spool.mended().is_none());
    assert_eq!(walk(&spool, &known).runs.len() as u64, RUNS + 3);
}

#[test]
fn without_a_key_for_tombstones_a_damaged_log_is_an_error_and_stays_as_it_is() {
    let (database, log, _) = &*TEMPLATE;
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = log.clone();
    bytes[HEADER + 5 * FRAME + 100] ^= 1;
    fs::write(folder.path().join(FILE), database).unwrap();
    fs::write(folder.path().join("spool.db-wal"), &bytes).unwrap();
    let error = Spool::open(folder.path()).err().unwrap();
    assert!(matches!(&error, SpoolError::Damaged { detail, .. } if detail.contains("frame 6")), "{error}");
    assert_eq!(fs::read(folder.path().join("spool.db-wal")).unwrap(), bytes);
}
