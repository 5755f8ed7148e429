//! The spool on a disk that fails: each creation, write, sync, truncation, rename and removal fails once in turn; the power
//! goes before each; the folder is read-only; the disk is full. Whatever was reported as done is there afterwards, byte for
//! byte, the chain is whole, and the spool goes on by itself.
//!
//! The spool runs in a child process, this very test binary, under a library that stands between it and the disk
//! (`fault/shim.c`, built with `cc`). What is left is judged by another process, without the library.

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
use std::process::Command;

use chain::{keeping, run, run_as_before, walk};
use fault::{Disk, EIO, ENOSPC, Left, faulty, work};
use gatepost::spool::{Bounds, FILE, Spool, SpoolError, State};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::receipt::Acknowledgement;
use gatepost_evidence::tombstone::Cause;
use handing::hand_over;

/// What the child does, told by the folder and the sort of work in its environment. It reports on standard output, a line
/// for each thing that is done, after it is done.
#[test]
fn child() {
    let (Some(folder), Some(work)) = (std::env::var_os("SPOOL_FOLDER"), std::env::var_os("SPOOL_WORK")) else { return };
    let folder = PathBuf::from(folder);
    if work == "as before" || work == "handed over" {
        return as_before(&folder, work == "handed over");
    }
    let small = Bounds { max_bytes: 26_000, ..Bounds::default() };
    let mut spool = match Spool::open_keeping(&folder, keeping(small)) {
        Ok(spool) => spool,
        Err(error) => return println!("FAILED open: {error}"),
    };
    let first = spool.head().unwrap().map_or(0, |head| head.seq);
    for salt in 1..=WORK_RUNS {
        // Large enough that some have to go.
        let bytes = if work == "large" { 4_000 } else { 30 };
        match spool.append(|head| Ok::<_, String>(run(head, first + salt, bytes))) {
            Ok((head, signed)) => {
                let payload = Digest::of(signed.envelope.as_bytes());
                println!("DONE {} {} {payload}", head.seq, head.digest);
                if salt % 3 == 0 {
                    let receipt = Envelope::sign("text/plain", b"kept", &chain::key());
                    match spool.acknowledge(head.digest, &Acknowledgement { receipt, log: None }) {
                        Ok(()) => println!("KEPT {}", head.seq),
                        Err(error) => println!("FAILED acknowledge: {error}"),
                    }
                }
            }
            Err(error) => println!("FAILED append: {error}"),
        }
    }
    drop(spool);
    println!("ENDED");
}

/// Stores runs that saw what the one before saw: some by one process, as the service does, some by one each, as a timer
/// would. Where they are handed over, each is acknowledged by an upload of its own. Prints the bytes that went to the disk by /proc/self/io (proc(5)): whole blocks, but for those that were thrown away
/// before they got there.
fn as_before(folder: &Path, handed_over: bool) {
    let written = || {
        let io = fs::read_to_string("/proc/self/io").unwrap();
        let field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok()).unwrap();
        field("write_bytes: ") - field("cancelled_write_bytes: ")
    };
    for reopening in [false, true] {
        let mut spool = Spool::open_keeping(folder, keeping(Bounds::default())).unwrap();
        let (before, mut compressed) = (written(), 0);
        println!("\nBEGIN {reopening}");
        for salt in 1..=MEASURED_RUNS {
            let (_, signed) = spool.append(|head| Ok::<_, String>(run_as_before(head, salt))).unwrap();
            compressed += zstd::bulk::compress(signed.envelope.as_bytes(), 3).unwrap().len() as u64;
            if handed_over {
                hand_over(&mut spool, salt).unwrap();
            }
            if reopening {
                drop(spool);
                spool = Spool::open_keeping(folder, keeping(Bounds::default())).unwrap();
            }
        }
        // What is still in the log is written once more when it is put into its place.
        drop(spool);
        println!("\nEND {compressed} {}", written() - before);
    }
}

/// How many runs of each sort are measured: more than a round of SQLite's log.
const MEASURED_RUNS: u64 = 300;

/// How many runs the child makes; enough that the first have to go when they are large.
const WORK_RUNS: u64 = 9;

/// What was reported as done: digest and digest of the envelope by place.
#[derive(Debug, Default)]
struct Reported {
    done: BTreeMap<u64, (Digest, Digest)>,
    kept: Vec<u64>,
    failed: Vec<String>,
}

fn reported(text: &[u8]) -> Reported {
    let text = String::from_utf8_lossy(text);
    let mut reported = Reported::default();
    for line in text.lines() {
        // The test harness writes the beginning of the first line.
        let line = line.find("DONE ").or(line.find("FAILED ")).map_or(line, |start| &line[start..]);
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["DONE", seq, digest, envelope] => {
                let seq = seq.parse().unwrap();
                let before = reported.done.insert(seq, (digest.parse().unwrap(), envelope.parse().unwrap()));
                assert!(before.is_none(), "place {seq} was given out twice");
            }
            ["KEPT", seq] => reported.kept.push(seq.parse().unwrap()),
            ["FAILED", ..] => reported.failed.push(line.to_owned()),
            _ => {}
        }
    }
    reported
}

/// Judges what is left in `folder`, then goes on with it.
fn judge(folder: &Path, reported: &Reported, what: &str) {
    judge_mended(folder, reported, what, false);
}

fn judge_mended(folder: &Path, reported: &Reported, what: &str, damaged: bool) {
    let known: BTreeMap<_, _> = reported.done.iter().map(|(seq, (digest, _))| (*seq, *digest)).collect();
    let mut spool = Spool::open_keeping(folder, keeping(Bounds::default())).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(damaged || spool.mended().is_none(), "{what}: {}", spool.mended().unwrap());
    let walked = walk(&spool, &known);
    for (seq, (_, envelope)) in &reported.done {
        match spool.get(*seq).unwrap() {
            Some(run) => assert_eq!(Digest::of(run.envelope.as_bytes()), *envelope, "{what}: run {seq} was altered"),
            None => assert!(walked.tombstone_of(*seq).is_some(), "{what}: run {seq} was reported as done and is gone"),
        }
    }
    for seq in &reported.kept {
        let expired = walked.tombstone_of(*seq).map(|tombstone| tombstone.cause);
        let state = spool.get(*seq).unwrap().map(|run| run.state);
        assert!(
            state == Some(State::Acknowledged) || expired == Some(Cause::AcknowledgedExpired),
            "{what}: that run {seq} was acknowledged is forgotten: {state:?}, {expired:?}"
        );
    }
    let last = reported.done.keys().max().copied().unwrap_or(0);
    assert!(walked.head >= last, "{what}: the chain ends at {}, {last} was reported", walked.head);
    // At most the one run that was being stored when it failed is there without a report.
    let most = last + 1 + reported.failed.len() as u64;
    assert!(damaged || walked.head <= most, "{what}: {} after {last}", walked.head);
    let integrity = rusqlite::Connection::open(folder.join(FILE)).unwrap();
    let verdict: String = integrity.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "{what}");
    drop(integrity);
    let (head, _) = spool.append(|head| Ok::<_, String>(run(head, 9_999, 30))).unwrap();
    assert_eq!(head.seq, walked.head + 1, "{what}");
}

/// Lets each operation fail in turn, on a new spool; says how many there were.
fn each_operation_fails_once(sort: &str, errno: u32) -> u64 {
    each_operation_fails_once_on(&[], sort, errno)
}

/// The same on a spool that has this content.
fn each_operation_fails_once_on(content: &[u8], sort: &str, errno: u32) -> u64 {
    for at in 1.. {
        let folder = tempfile::tempdir().unwrap();
        if !content.is_empty() {
            fs::write(folder.path().join(FILE), content).unwrap();
        }
        let (output, met) = faulty(folder.path(), sort, at, errno, None);
        let reported = reported(&output.stdout);
        let what = format!("operation {at}, error {errno}, {sort} runs");
        let ended = String::from_utf8_lossy(&output.stdout).contains("ENDED");
        assert!(
            output.status.success() && ended == reported.failed.iter().all(|failed| !failed.starts_with("FAILED open")),
            "{what}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        if !met {
            assert_eq!(reported.done.len() as u64, WORK_RUNS, "{what}: {:?}", reported.failed);
            return at - 1;
        }
        assert!(reported.failed.len() <= 1, "{what}: one fault, but {:?}", reported.failed);
        judge_mended(folder.path(), &reported, &what, !content.is_empty());
        if !content.is_empty() {
            let kept = fs::read_dir(folder.path()).unwrap().filter_map(|entry| fs::read(entry.unwrap().path()).ok());
            assert_eq!(kept.filter(|kept| kept == content).count(), 1, "{what}: the damaged one is not as it was");
        }
    }
    unreachable!("the loop ends when no fault is met")
}

#[test]
fn each_operation_may_fail_with_an_error() {
    let operations = each_operation_fails_once("small", EIO);
    assert!(operations > 40, "only {operations} operations were seen: the shim sees nothing");
    println!("{operations} operations failed in turn");
}

#[test]
fn each_operation_may_fail_while_a_damaged_spool_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    assert!(work(folder.path(), "small", &[]).status.success());
    // It has not been looked through since the machine was started.
    let connection = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    connection.execute("DELETE FROM settings WHERE key = 'checked'", []).unwrap();
    connection.close().unwrap();
    let mut content = fs::read(folder.path().join(FILE)).unwrap();
    let third = content.len() / 1024 / 3 * 1024;
    content[third..third + 1024].fill(0xa5);
    for errno in [EIO, ENOSPC] {
        let operations = each_operation_fails_once_on(&content, "small", errno);
        println!("{operations} operations failed in turn");
    }
}

#[test]
fn each_operation_may_find_the_disk_full() {
    let operations = each_operation_fails_once("large", ENOSPC);
    println!("{operations} operations failed in turn");
}

#[test]
fn the_power_may_go_before_each_operation() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).unwrap();
    let (output, met) = faulty(&spool, "large", 0, EIO, Some(&log));
    assert!(!met && output.status.success());
    let log = fs::read(log).unwrap();
    let (mut disk, mut rest, mut printed, mut moments, mut random) =
        (Disk::default(), log.as_slice(), Vec::new(), 0, 1);
    loop {
        for left in [Left::OnlySynced, Left::Everything, Left::SomeOfTheRest] {
            let after = tempfile::tempdir().unwrap();
            disk.lay_down(after.path(), left, &mut random);
            judge(after.path(), &reported(&printed), &format!("moment {moments}, {left:?}"));
        }
        moments += 1;
        if rest.is_empty() {
            break;
        }
        printed.extend_from_slice(disk.step(&mut rest).unwrap_or_default());
    }
    assert_eq!(reported(&printed).done.len() as u64, WORK_RUNS);
    println!("{moments} moments");
}

/// Whether a file system can be mounted here; says so if not, so that nobody takes a skipped test for a passed one.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", size, "tmpfs"]).arg(folder).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(folder.to_owned()));
        }
        eprintln!("SKIPPED: mounting a tmpfs needs root");
        None
    }

    fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap();
        assert!(status.success(), "mount -o {options}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Appends run after run until one fails, and says what was stored.
fn fill(folder: &Path, known: &mut BTreeMap<u64, Digest>) -> SpoolError {
    let mut spool = match Spool::open_keeping(folder, keeping(Bounds::default())) {
        Ok(spool) => spool,
        Err(error) => return error,
    };
    loop {
        match spool.append(|head| Ok::<_, String>(run(head, head.map_or(0, |head| head.seq) + 1, 20_000))) {
            Ok((head, _)) => drop(known.insert(head.seq, head.digest)),
            Err(error) => return error,
        }
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(folder.path(), "size=1m") else { return };
    let mut known = BTreeMap::new();
    for _ in 0..3 {
        let error = fill(folder.path(), &mut known);
        assert!(error.to_string().contains("free some space"), "{error}");
    }
    assert!(known.len() > 5, "{}", known.len());
    mounted.remount("remount,size=2m");
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    assert!(spool.mended().is_none());
    assert_eq!(walk(&spool, &known).runs.len(), known.len());
    spool.append(|head| Ok::<_, String>(run(head, 9_999, 20_000))).unwrap();
}

#[test]
fn a_read_only_folder_is_a_clear_error_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mounted) = Mounted::new(folder.path(), "size=4m") else { return };
    mounted.remount("remount,ro");
    let error = Spool::open_keeping(folder.path(), keeping(Bounds::default())).err().unwrap();
    assert!(error.to_string().contains("needs to write its state folder"), "{error}");
    mounted.remount("remount,rw");
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    let (head, _) = spool.append(|head| Ok::<_, String>(run(head, 1, 30))).unwrap();
    drop(spool);
    mounted.remount("remount,ro");
    let error = Spool::open_keeping(folder.path(), keeping(Bounds::default()))
        .and_then(|mut spool| spool.append(|head| Ok::<_, String>(run(head, 2, 30))))
        .err()
        .unwrap();
    assert!(error.to_string().contains("needs to write its state folder"), "{error}");
    mounted.remount("remount,rw");
    let spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    assert_eq!(walk(&spool, &BTreeMap::from([(1, head.digest)])).head, 1);
}

#[test]
fn a_run_that_saw_nothing_new_costs_the_disk_less_than_three_times_its_size() {
    costs_no_more_than("as before", [3.0, 3.0]);
}

/// As the service does it; a process for each audit with its upload puts the same few pages into place every time.
#[test]
fn so_does_one_that_is_also_handed_over_with_all_that_proves_it() {
    costs_no_more_than("handed over", [3.0, 5.0]);
}

/// `times` is the most by one process for all runs, and by one for each.
fn costs_no_more_than(sort: &str, times: [f64; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let (log, spool, plain) = (folder.path().join("log"), folder.path().join("spool"), folder.path().join("plain"));
    fs::create_dir(&spool).unwrap();
    fs::create_dir(&plain).unwrap();
    // Blocks are counted without the log of the shim, which is on the same disk.
    let output = work(&plain, sort, &[]);
    let blocks: Vec<u64> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("END ")?.split_once(' ')?.1.parse().ok())
        .collect();
    let (output, _) = faulty(&spool, sort, 0, EIO, Some(&log));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let log = fs::read(log).unwrap();
    let (mut rest, mut disk, mut written, mut syncs, mut measured) = (log.as_slice(), Disk::default(), 0, 0, 0);
    while !rest.is_empty() {
        let line = String::from_utf8_lossy(&rest[..rest.iter().position(|&byte| byte == b'\n').unwrap()]).into_owned();
        if line.starts_with("W ") {
            written += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
        }
        syncs += u64::from(line.starts_with("S "));
        let printed = String::from_utf8_lossy(disk.step(&mut rest).unwrap_or_default()).into_owned();
        if printed.starts_with("BEGIN") {
            (written, syncs) = (0, 0);
        }
        if let Some(figures) = printed.strip_prefix("END ") {
            let compressed: u64 = figures.split(' ').next().unwrap().parse().unwrap();
            let how = ["one process for all", "one process for each"][measured];
            let per =
                |bytes: u64| format!("{} B ({:.2} times)", bytes / MEASURED_RUNS, bytes as f64 / compressed as f64);
            println!(
                "{sort}, {how}: evidence {} B compressed, written {}, in blocks {}, {:.1} syncs",
                compressed / MEASURED_RUNS,
                per(written),
                per(blocks[measured]),
                syncs as f64 / MEASURED_RUNS as f64,
            );
            let most = times[measured] * compressed as f64;
            assert!(written as f64 <= most, "{sort}, {how}: {written} bytes for {compressed}");
            measured += 1;
        }
    }
    assert_eq!((measured, blocks.len()), (2, 2));
}
