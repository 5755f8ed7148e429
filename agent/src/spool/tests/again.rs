//! Starting over: everything the sink acknowledged is pending once more, at once and for whoever has the spool open; what was
//! let go meanwhile is told of again.

use gatepost_evidence::rotation::Keyring;
use gatepost_evidence::tombstone::Cause;

use super::chain::{keeping, key, run, walk};
use super::*;

/// A spool with `runs` runs of about `bytes` each.
fn spool(folder: &Path, bounds: Bounds, runs: u64, bytes: usize) -> (Spool, BTreeMap<u64, Digest>) {
    let mut spool = Spool::open_keeping(folder, keeping(bounds)).unwrap();
    let mut known = BTreeMap::new();
    for salt in 1..=runs {
        let (head, _) = spool.append(|head| Ok::<_, String>(run(head, salt, bytes))).unwrap();
        known.insert(head.seq, head.digest);
    }
    (spool, known)
}

fn pending(spool: &Spool) -> Vec<u64> {
    spool.pending(100, 1 << 20).unwrap().iter().map(|run| run.seq).collect()
}

#[test]
fn what_was_acknowledged_is_pending_again_and_what_was_refused_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, known) = spool(folder.path(), Bounds::default(), 5, 100);
    assert_eq!(spool.started_over().unwrap(), None);
    for seq in [1, 2, 4] {
        spool.acknowledge(known[&seq], &word()).unwrap();
    }
    spool.quarantine(known[&3], "fork: another has its place").unwrap();
    spool.set_checkpoint("note").unwrap();
    // Somebody else, who knows that all below the fifth is done with.
    let other = Spool::open_keeping(folder.path(), keeping(Bounds::default())).unwrap();
    assert_eq!((pending(&spool), pending(&other)), (vec![5], vec![5]));
    let over = spool.hand_over_again("log_rewound").unwrap();
    assert_eq!((over.times, over.runs, over.why.as_str()), (1, 3, "log_rewound"));
    assert_eq!((pending(&spool), pending(&other)), (vec![1, 2, 4, 5], vec![1, 2, 4, 5]));
    assert_eq!((spool.checkpoint().unwrap(), spool.acknowledgement(1).unwrap()), (None, None));
    assert_eq!(spool.counts().unwrap(), Counts { pending: 4, acknowledged: 0, quarantined: 1 });
    assert_eq!(other.started_over().unwrap(), Some(over));
    spool.acknowledge(known[&1], &word()).unwrap();
    assert_eq!(spool.hand_over_again("log_shrunk").unwrap().times, 2);
    assert_eq!(pending(&other), [1, 2, 4, 5]);
}

#[test]
fn half_a_start_over_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, known) = spool(folder.path(), Bounds::default(), 2, 100);
    spool.acknowledge(known[&1], &word()).unwrap();
    spool.set_checkpoint("note").unwrap();
    spool
        .connection
        .execute_batch("CREATE TRIGGER stop BEFORE UPDATE ON settings BEGIN SELECT RAISE(ABORT, 'no'); END")
        .unwrap();
    assert!(spool.hand_over_again("log_rewound").is_err());
    assert_eq!((spool.checkpoint().unwrap().as_deref(), pending(&spool)), (Some("note"), vec![2]));
    assert!(spool.acknowledgement(1).unwrap().is_some());
}

#[test]
fn the_sink_is_told_again_of_what_was_let_go_also_when_that_grows() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Bounds { max_bytes: 256 * 1024, ..Bounds::default() };
    let (mut spool, mut known) = spool(folder.path(), bounds, 20, 4_000);
    for digest in known.values() {
        spool.acknowledge(*digest, &word()).unwrap();
    }
    let grow = |spool: &mut Spool, known: &mut BTreeMap<u64, Digest>, salts: std::ops::Range<u64>| {
        for salt in salts {
            let (head, _) = spool.append(|head| Ok::<_, String>(run(head, salt, 4_000))).unwrap();
            known.insert(head.seq, head.digest);
            spool.acknowledge(head.digest, &word()).unwrap();
        }
    };
    grow(&mut spool, &mut known, 21..81);
    let gone = spool.tombstones().unwrap();
    assert_eq!((gone.len(), spool.pending_tombstones().unwrap().len()), (1, 0), "the sink has them: {gone:?}");
    spool.hand_over_again("log_rewound").unwrap();
    assert_eq!(spool.pending_tombstones().unwrap().len(), 1);
    let first = spool.pending(1, 1).unwrap()[0].clone();
    assert_eq!(first.seq, gone[0].to_seq + 1);
    // It grows before the sink was told.
    spool.acknowledge(first.digest, &word()).unwrap();
    grow(&mut spool, &mut known, 81..121);
    let grown = spool.pending_tombstones().unwrap();
    assert!(grown[0].from_seq == 1 && grown[0].to_seq > gone[0].to_seq, "{grown:?}");
    assert_eq!(open_tombstone(&grown[0], key().public()).unwrap().cause, Cause::AcknowledgedExpired);
    spool.acknowledge_tombstone(grown[0].digest).unwrap();
    assert_eq!(spool.pending_tombstones().unwrap().iter().filter(|buried| buried.from_seq == 1).count(), 0);
    walk(&spool, &known);
}

#[test]
fn enrolling_gives_back_what_an_unknown_key_had_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, known) = spool(folder.path(), Bounds::default(), 4, 100);
    let own = Keyring::new(key().public().clone());
    let sink_key = SigningKey::from_seed(&[3; 32]).unwrap().public().clone();
    let enrolment = Enrolment { url: "https://sink".into(), sink_key };
    let time = "2026-03-01T10:00:00Z".parse().unwrap();
    assert_eq!(spool.enrolled(&own, &enrolment, time).unwrap().runs, 0);
    assert_eq!(spool.started_over().unwrap(), None, "a first enrolment starts, and not over");
    spool.acknowledge(known[&1], &word()).unwrap();
    spool.quarantine(known[&2], "unknown_key: no such gateway").unwrap();
    spool.quarantine(known[&3], "fork: unknown_key: is not the first word").unwrap();
    let other = Keyring::new(SigningKey::from_seed(&[9; 32]).unwrap().public().clone());
    spool.enrolled(&other, &enrolment, time).unwrap();
    assert_eq!(pending(&spool), [1, 4], "the key of another is not enrolled by this");
    assert_eq!(spool.enrolled(&own, &enrolment, time).unwrap().runs, 1);
    assert_eq!(pending(&spool), [1, 2, 4]);
    assert_eq!(spool.quarantined().unwrap().iter().map(|run| run.seq).collect::<Vec<_>>(), [3]);
    assert_eq!((spool.enrolment().unwrap(), spool.sink_time().unwrap()), (Some(enrolment), Some(time)));
}
