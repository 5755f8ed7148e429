//! What changes a spool in many places changes all of them or none: an upload's answers, starting over with a sink, a key
//! rotation, the migration of an old spool. Each operation on the disk fails once in turn, and the power goes before each.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says where")]

#[path = "common/chain.rs"]
#[allow(dead_code, reason = "each test file uses its own part")]
mod chain;
#[allow(dead_code, reason = "each test file uses its own part")]
mod fault;
#[path = "common/handing.rs"]
mod handing;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chain::run;
use fault::{Disk, EIO, ENOSPC, Left, faulty};
use gatepost::identity;
use gatepost::rotate::{rotate, settle};
use gatepost::spool::{Bounds, Enrolment, FILE, Keeping, Spool};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::rotation::Keyring;
use handing::hand_over;

/// What the child changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// A spool of an earlier version is opened.
    Migrate,
    /// The answers of an upload.
    HandOver,
    /// Everything is handed over again.
    StartOver,
    /// The gateway enrols with a sink.
    Enrol,
    /// The gateway has a new key.
    Rotate,
}

const CHANGES: [Change; 5] = [Change::Migrate, Change::HandOver, Change::StartOver, Change::Enrol, Change::Rotate];

fn at() -> jiff::Timestamp {
    "2026-03-09T10:00:00Z".parse().unwrap()
}

fn open(folder: &Path, change: Change) -> Result<Spool, String> {
    let kept = |identity| Keeping { identity: Arc::new(identity), bounds: Bounds::default() };
    let keeping = match change {
        // The old spools are those of the golden gateway.
        Change::Migrate => kept(SigningKey::from_seed(b"gatepost golden gateway test key").unwrap().into()),
        Change::Rotate => kept(identity::load(folder).map_err(|error| error.to_string())?),
        _ => chain::keeping(Bounds::default()),
    };
    Spool::open_keeping(folder, keeping).map_err(|error| error.to_string())
}

fn make(folder: &Path, change: Change) -> Result<(), String> {
    let mut spool = open(folder, change)?;
    let done = match change {
        Change::Migrate => Ok(()),
        Change::HandOver => hand_over(&mut spool, 2).map_err(|error| error.to_string()),
        Change::StartOver => spool.hand_over_again("a test").map(drop).map_err(|error| error.to_string()),
        Change::Enrol => {
            let key = chain::key();
            let enrolment = Enrolment { url: "https://sink.example".into(), sink_key: key.public().clone() };
            let enrolled = spool.enrolled(&Keyring::new(key.public().clone()), &enrolment, at());
            enrolled.map(drop).map_err(|error| error.to_string())
        }
        Change::Rotate => identity::load(folder)
            .map_err(|error| error.to_string())
            .and_then(|found| rotate(&mut spool, &found, at()).map(drop).map_err(|error| error.to_string())),
    };
    done?;
    // Before the spool is closed, which is no part of the change.
    if std::env::var_os("SPOOL_WORK").is_some() {
        println!("\nDONE");
    }
    Ok(())
}

#[test]
fn child() {
    let (Some(folder), Some(work)) = (std::env::var_os("SPOOL_FOLDER"), std::env::var_os("SPOOL_WORK")) else { return };
    let change = CHANGES.into_iter().find(|change| work.to_str() == Some(&format!("{change:?}"))).unwrap();
    if let Err(error) = make(&PathBuf::from(folder), change) {
        println!("\nFAILED {error}");
    }
}

/// What a state folder is before a change: its files by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files(folder: &Path) -> Files {
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

fn lay_out(files: &Files) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fault::write(&folder.path().join(name), bytes);
    }
    folder
}

fn starts(change: Change) -> Vec<Files> {
    if change == Change::Migrate {
        let old = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/spool").join(name);
        return ["v1.db", "v2.db"].map(|name| Files::from([(FILE.to_owned(), fs::read(old(name)).unwrap())])).into();
    }
    let folder = tempfile::tempdir().unwrap();
    if change == Change::Rotate {
        identity::load_or_create(folder.path()).unwrap();
    }
    let mut spool = open(folder.path(), change).unwrap();
    for salt in 1..=4 {
        spool.append(|head| Ok::<_, String>(run(head, salt, 300))).unwrap();
        if salt == 2 {
            hand_over(&mut spool, 1).unwrap();
        }
        if salt == 3 {
            let digest = spool.head().unwrap().unwrap().digest;
            spool.quarantine(digest, "unknown_key: nobody knows it").unwrap();
        }
    }
    drop(spool);
    vec![files(folder.path())]
}

/// Everything that a spool says of itself, but for the hour of the day.
fn told(spool: &Spool) -> Vec<String> {
    let head = spool.head().unwrap().map_or(0, |head| head.seq);
    let runs = (1..=head).map(|seq| {
        let run = spool.get(seq).unwrap().map(|run| (Digest::of(run.envelope.as_bytes()), run.state));
        format!("{seq}: {run:?} {:?}", spool.acknowledgement(seq).unwrap())
    });
    let over = spool.started_over().unwrap().map(|over| (over.times, over.why, over.runs));
    let rotations = spool.rotations().unwrap().iter().map(|turned| (turned.seq, turned.state)).collect::<Vec<_>>();
    let mut told: Vec<_> = runs.collect();
    told.extend([
        format!("{:?}", spool.tombstones().unwrap()),
        format!("{:?} {:?}", spool.checkpoint().unwrap(), spool.checkpoints().unwrap()),
        format!("{:?} {:?}", spool.sink_time().unwrap(), spool.enrolment().unwrap()),
        format!("{:?} {over:?} {rotations:?}", spool.quarantined().unwrap()),
    ]);
    told
}

/// Opens what is left, finishes what was cut short, and says what is there; then goes on with it.
fn judge(folder: &Path, change: Change, what: &str) -> Vec<String> {
    let mut spool = open(folder, change).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(spool.mended().is_none(), "{what}: {}", spool.mended().unwrap());
    if change == Change::Rotate {
        let found = identity::load(folder).unwrap();
        let signs = settle(&mut spool, &found).unwrap_or_else(|error| panic!("{what}: {error}")).unwrap_or(found);
        assert_eq!(signs.rotations().len(), spool.rotations().unwrap().len(), "{what}: key and chain differ");
        // Whoever signs from now on opens it anew, as the agent does.
        drop(spool);
        spool = open(folder, change).unwrap_or_else(|error| panic!("{what}: {error}"));
        spool.check_key(&signs).unwrap();
    }
    let told = told(&spool);
    let connection = rusqlite::Connection::open(folder.join(FILE)).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "{what}");
    drop(connection);
    let before = spool.head().unwrap().unwrap();
    let (head, _) = spool.append(|head| Ok::<_, String>(run(head, 9_999, 30))).unwrap();
    assert_eq!(head.seq, before.seq + 1, "{what}");
    told
}

/// What is there before and after, when nothing fails. A migration is finished by whoever opens the spool next.
fn both(start: &Files, change: Change) -> [Vec<String>; 2] {
    let (untouched, changed) = (lay_out(start), lay_out(start));
    make(changed.path(), change).unwrap();
    let both = [judge(untouched.path(), change, "before"), judge(changed.path(), change, "after")];
    assert_eq!(both[0] == both[1], change == Change::Migrate, "{change:?} changes nothing that is told");
    both
}

/// Whether `left` is one of `both`, and the second if the change was reported as done.
fn all_or_nothing(both: &[Vec<String>; 2], left: &Vec<String>, printed: &[u8], what: &str) {
    let done = String::from_utf8_lossy(printed).contains("DONE");
    let allowed = if done { &both[1..] } else { &both[..] };
    assert!(allowed.contains(left), "{what}, done: {done}\nleft: {left:#?}\nnot: {allowed:#?}");
}

fn each_operation_fails_once(change: Change, start: &Files, errno: u32) -> u64 {
    let both = both(start, change);
    for at in 1.. {
        let folder = lay_out(start);
        let (output, met) = faulty(folder.path(), &format!("{change:?}"), at, errno, None);
        let what = format!("{change:?}, operation {at}, error {errno}");
        assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("DONE") || (met && said.contains("FAILED")), "{what}: {said}");
        let left = judge(folder.path(), change, &what);
        all_or_nothing(&both, &left, &output.stdout, &what);
        if !met {
            return at - 1;
        }
    }
    unreachable!("the loop ends when no fault is met")
}

#[test]
fn a_disk_that_fails_once_leaves_all_or_nothing() {
    for change in CHANGES {
        for start in starts(change) {
            for errno in [EIO, ENOSPC] {
                let operations = each_operation_fails_once(change, &start, errno);
                assert!(operations >= 15, "{change:?}: only {operations} operations were seen");
                println!("{change:?}: {operations} operations failed in turn with error {errno}");
            }
        }
    }
}

#[test]
fn a_loss_of_power_leaves_all_or_nothing() {
    for change in CHANGES {
        for start in starts(change) {
            let both = both(&start, change);
            let (folder, beside) = (lay_out(&start), tempfile::tempdir().unwrap());
            let log = beside.path().join("log");
            let (output, met) = faulty(folder.path(), &format!("{change:?}"), 0, EIO, Some(&log));
            assert!(!met && output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let log = fs::read(log).unwrap();
            let (mut disk, mut rest, mut printed) = (Disk::with(&start), log.as_slice(), Vec::new());
            for moment in 0.. {
                for (left, mut random) in [(Left::OnlySynced, 1), (Left::Everything, 1), (Left::SomeOfTheRest, moment)]
                {
                    let after = tempfile::tempdir().unwrap();
                    disk.lay_down(after.path(), left, &mut random);
                    let what = format!("{change:?}, moment {moment}, {left:?}");
                    all_or_nothing(&both, &judge(after.path(), change, &what), &printed, &what);
                }
                if rest.is_empty() {
                    break;
                }
                printed.extend_from_slice(disk.step(&mut rest).unwrap_or_default());
            }
            assert!(String::from_utf8_lossy(&printed).contains("DONE"), "{change:?}");
        }
    }
}
