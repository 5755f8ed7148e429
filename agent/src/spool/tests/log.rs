//! How the sink's log went on is kept in few bytes, goes with the runs that need it, and survives what the spool survives.

use gatepost_evidence::checkpoint::Checkpoint;
use gatepost_evidence::log::{ConsistencyProof, LogHash, LogRoot};

use super::chain::{keeping, run};
use super::*;

/// A checkpoint of a log of `size` leaves; `salt` tells one log from another.
fn checkpoint(size: u64, salt: u8) -> Checkpoint {
    let root = LogRoot::new(size, LogHash::new([salt; 32])).unwrap();
    Checkpoint::sign(root, &SigningKey::from_seed(&[2; 32]).unwrap())
}

fn proof(hashes: u8) -> ConsistencyProof {
    ConsistencyProof::new((0..hashes).map(|n| LogHash::new(*Digest::of(&[n]).as_bytes())).collect())
}

fn take(spool: &mut Spool, before: Option<&Checkpoint>, next: &Checkpoint, consistency: &ConsistencyProof) {
    spool.set_checkpoint(next.note()).unwrap();
    spool.keep_proof(before.map(Checkpoint::note), next.note(), consistency).unwrap();
}

fn sizes(spool: &Spool) -> Vec<(u64, u64)> {
    spool.checkpoints().unwrap().iter().map(|seen| (seen.continues, seen.size)).collect()
}

#[test]
fn each_checkpoint_that_moved_the_log_on_is_kept_once_with_its_proof() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    assert_eq!(spool.checkpoints().unwrap(), []);
    let (one, two, three) = (checkpoint(3, 1), checkpoint(9, 2), checkpoint(12, 3));
    take(&mut spool, None, &one, &proof(0));
    take(&mut spool, Some(&one), &two, &proof(4));
    take(&mut spool, Some(&two), &two, &proof(0));
    assert_eq!(sizes(&spool), [(0, 3), (3, 9)]);
    // A new beginning is told from what goes on.
    spool.forget_checkpoint().unwrap();
    take(&mut spool, None, &three, &proof(0));
    drop(spool);
    let spool = Spool::open(folder.path()).unwrap();
    assert_eq!(sizes(&spool), [(0, 3), (3, 9), (0, 12)]);
    let seen = &spool.checkpoints().unwrap()[1];
    assert_eq!((seen.note.as_str(), &seen.consistency), (two.note(), &proof(4)));
}

#[test]
fn what_no_run_needs_any_more_goes_with_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { max_bytes: 60_000, ..Bounds::default() };
    let mut spool = Spool::open_keeping(folder.path(), keeping(bounds)).unwrap();
    let mut before: Option<Checkpoint> = None;
    for salt in 1..=60 {
        let (head, _) = spool.append(|head| Ok::<_, String>(run(head, salt, 1_000))).unwrap();
        let next = checkpoint(head.seq * 10, 1);
        take(&mut spool, before.as_ref(), &next, &proof(12));
        spool.acknowledge(head.digest, &word()).unwrap();
        before = Some(next);
    }
    let first = spool.tombstones().unwrap().last().unwrap().to_seq + 1;
    let kept = sizes(&spool);
    assert!(first > 20 && kept.len() as u64 == 60 - first + 1, "{first}: {kept:?}");
    assert_eq!((kept[0].1, kept.last().unwrap().1), (first * 10, 600));
    assert!(kept.windows(2).all(|pair| pair[1].0 == pair[0].1), "{kept:?}");
    assert!(spool.used_bytes().unwrap() <= 60_000 + 8 * 1024);
}

#[test]
fn a_damaged_spool_keeps_what_can_be_read_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    let mut before: Option<Checkpoint> = None;
    for salt in 1..=40 {
        let (head, _) = spool.append(|head| Ok::<_, String>(run(head, salt, 20))).unwrap();
        let next = checkpoint(head.seq * 10, 1);
        take(&mut spool, before.as_ref(), &next, &proof(12));
        before = Some(next);
    }
    drop(spool);
    let connection = Connection::open(&file).unwrap();
    // A row in the middle of the table lies in the page that is overwritten.
    let sql = "SELECT content FROM checkpoints WHERE id = 20";
    let content: Vec<u8> = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    connection.execute("DELETE FROM settings WHERE key = 'checked'", []).unwrap();
    connection.close().unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(64).position(|part| part == &content[content.len() - 64..]).unwrap() / 1024 * 1024;
    bytes[at..at + 1024].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    let mended = spool.mended().unwrap();
    assert_eq!((mended.saved, mended.lost), (40, Some(0)), "{mended}");
    let kept = sizes(&spool);
    assert!(kept.len() >= 36 && kept.len() < 40, "{kept:?}");
    assert_eq!((kept[0], *kept.last().unwrap()), ((0, 10), (390, 400)));
    // It goes on from the last one.
    take(&mut spool, before.as_ref(), &checkpoint(410, 1), &proof(3));
    assert_eq!(sizes(&spool).last(), Some(&(400, 410)));
}

#[test]
fn when_all_of_them_are_lost_the_next_one_still_continues_the_one_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    spool.append(|head| Ok::<_, String>(run(head, 1, 20))).unwrap();
    take(&mut spool, None, &checkpoint(10, 1), &proof(0));
    drop(spool);
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.execute_batch("DROP TABLE checkpoints").unwrap();
    connection.close().unwrap();
    let spool = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    assert!(spool.mended().is_some());
    assert_eq!(sizes(&spool), [(0, 10)]);
}
