//! The spool keeps a chain, gives out the oldest first, and never moves a run backwards.

mod again;
mod bounds;
#[path = "../../tests/common/chain.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "helpers of tests, not all used here")]
mod chain;
mod log;
mod mend;
mod old;
mod wal;

use std::collections::BTreeMap;

use gatepost_evidence::key::SigningKey;
use gatepost_evidence::receipt::Acknowledgement;

use super::*;

fn sign(text: &str) -> impl Fn(Option<Head>) -> Result<SignedRun, String> + '_ {
    move |head| {
        let payload = format!("{text} after {:?}", head.map(|head| head.seq));
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let envelope = Envelope::sign("text/plain", payload.as_bytes(), &key);
        Ok(SignedRun { digest: Digest::of(payload.as_bytes()), envelope: envelope.to_json() })
    }
}

fn word() -> Acknowledgement {
    let receipt = Envelope::sign("text/plain", b"kept", &SigningKey::from_seed(&[2; 32]).unwrap());
    Acknowledgement { receipt, log: None }
}

#[test]
fn runs_are_numbered_from_one_and_survive_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    assert_eq!(spool.head().unwrap(), None);
    let (first, signed) = spool.append(sign("a")).unwrap();
    assert_eq!((first.seq, first.digest), (1, signed.digest));
    drop(spool);
    let mut spool = Spool::open(folder.path()).unwrap();
    assert_eq!(spool.head().unwrap(), Some(first));
    assert_eq!(spool.append(sign("b")).unwrap().0.seq, 2);
    assert_eq!(spool.get(1).unwrap().unwrap().envelope, signed.envelope);
    assert_eq!(spool.get(3).unwrap(), None);
}

#[test]
fn a_run_that_cannot_be_signed_leaves_the_chain_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    spool.append(sign("a")).unwrap();
    assert!(matches!(spool.append(|_| Err("no")), Err(SpoolError::Unsigned(_))));
    assert_eq!(spool.head().unwrap().unwrap().seq, 1);
}

#[test]
fn two_agents_on_one_spool_do_not_fork_it() {
    let folder = tempfile::tempdir().unwrap();
    Spool::open(folder.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut spool = Spool::open(folder.path()).unwrap();
                for _ in 0..10 {
                    spool.append(sign("x")).unwrap();
                }
            });
        }
    });
    let spool = Spool::open(folder.path()).unwrap();
    assert_eq!(spool.head().unwrap().unwrap().seq, 40);
    assert_eq!(spool.counts().unwrap().pending, 40);
}

#[test]
fn the_oldest_pending_go_first_and_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    let digests: Vec<_> = ["a", "b", "c", "d"].map(|text| spool.append(sign(text)).unwrap().0.digest).into();
    spool.acknowledge(digests[0], &word()).unwrap();
    spool.quarantine(digests[2], "fork").unwrap();
    let seqs = |runs: Vec<Spooled>| runs.iter().map(|run| run.seq).collect::<Vec<_>>();
    assert_eq!(seqs(spool.pending(10, 1 << 20).unwrap()), [2, 4]);
    assert_eq!(seqs(spool.pending(1, 1 << 20).unwrap()), [2]);
    assert_eq!(seqs(spool.pending(10, 1).unwrap()), [2], "one that is too large alone still goes");
    let refused = Refused { seq: 3, digest: digests[2], reason: "fork".to_owned() };
    assert_eq!(spool.quarantined().unwrap(), [refused]);
    assert_eq!(spool.counts().unwrap(), Counts { pending: 2, acknowledged: 1, quarantined: 1 });
    assert_eq!((spool.acknowledgement(1).unwrap(), spool.acknowledgement(2).unwrap()), (Some(word()), None));
    // A state once reached is final.
    spool.quarantine(digests[0], "late").unwrap();
    spool.acknowledge(digests[2], &word()).unwrap();
    assert_eq!(spool.counts().unwrap(), Counts { pending: 2, acknowledged: 1, quarantined: 1 });
}

#[test]
fn a_run_that_no_reader_would_accept_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    let large = "x".repeat(MAX_ENVELOPE_BYTES);
    assert!(matches!(spool.append(sign(&large)), Err(SpoolError::TooLarge(_))));
    assert_eq!(spool.append(sign("a")).unwrap().0.seq, 1);
}

#[test]
fn a_run_that_cannot_be_read_back_is_told_when_it_is_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    let digests: Vec<_> = ["a", "b", "c"].map(|text| spool.append(sign(text)).unwrap().0.digest).into();
    spool.connection.execute("UPDATE runs SET content = x'00' WHERE seq = 2", []).unwrap();
    let seqs =
        |spool: &Spool| spool.pending(10, 1 << 20).map(|runs| runs.iter().map(|run| run.seq).collect::<Vec<_>>());
    assert_eq!(seqs(&spool).unwrap(), [1]);
    spool.acknowledge(digests[0], &word()).unwrap();
    assert!(matches!(seqs(&spool), Err(SpoolError::Unreadable { seq: 2, .. })));
    drop(spool);
    // With a key for tombstones it is set aside, and holds nothing back.
    let spool = Spool::open_keeping(folder.path(), chain::keeping(Bounds::default())).unwrap();
    assert_eq!(seqs(&spool).unwrap(), [3]);
    assert_eq!(spool.unreadable(), 1);
    let refused = spool.quarantined().unwrap();
    assert_eq!((refused.len(), refused[0].seq, refused[0].digest), (1, 2, digests[1]));
    assert!(refused[0].reason.starts_with("unreadable: "), "{refused:?}");
    assert_eq!(spool.tombstone_of(2).unwrap().unwrap().from_seq, 2);
}

#[test]
fn an_envelope_too_large_for_the_sink_is_still_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    let key = SigningKey::from_seed(&[1; 32]).unwrap();
    let mut store = |bytes: usize| {
        let (head, _) = spool.append(sign("a")).unwrap();
        let payload = vec![b'x'; bytes];
        let envelope = Envelope::sign("text/plain", &payload, &key).to_json();
        let content = pack::pack(&envelope, None).unwrap();
        let sql = "UPDATE runs SET digest = ?2, content = ?3 WHERE seq = ?1";
        let digest = Digest::of(&payload);
        spool.connection.execute(sql, params![head.seq, digest.as_bytes(), content]).unwrap();
        spool.get(head.seq).map(|run| run.unwrap().envelope == envelope)
    };
    assert!(store(MAX_ENVELOPE_BYTES * 2).unwrap());
    assert!(store(pack::MAX_READ).is_err());
}

#[test]
fn changes_made_at_once_are_made_all_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    let digest = spool.append(sign("a")).unwrap().0.digest;
    let failed = spool.at_once(|spool| {
        spool.set_checkpoint("note")?;
        spool.acknowledge(digest, &word())?;
        Err::<(), _>(SpoolError::Unsigned("no".into()))
    });
    assert!(matches!(failed, Err(SpoolError::Unsigned(_))));
    assert_eq!((spool.checkpoint().unwrap(), spool.counts().unwrap().pending), (None, 1));
    spool.at_once(|spool| spool.set_checkpoint("note")).unwrap();
    assert_eq!(spool.checkpoint().unwrap().as_deref(), Some("note"));
    assert_eq!(spool.append(sign("b")).unwrap().0.seq, 2);
}

#[test]
fn a_later_schema_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Spool::open(folder.path()).unwrap());
    let connection = Connection::open(folder.path().join(FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(Spool::open(folder.path()), Err(SpoolError::TooNew { found: 99, .. })));
}

#[test]
fn what_is_no_database_is_an_error_that_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(FILE), "this is not a database at all, not even nearly one".repeat(100)).unwrap();
    let error = Spool::open(folder.path()).err().unwrap();
    assert!(error.to_string().contains(FILE), "{error}");
}

#[test]
fn the_sink_is_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path()).unwrap();
    assert_eq!((spool.enrolment().unwrap(), spool.sink_time().unwrap()), (None, None));
    let sink_key = SigningKey::from_seed(&[3; 32]).unwrap().public().clone();
    let enrolment = Enrolment { url: "https://sink".into(), sink_key };
    spool.set_enrolment(&enrolment).unwrap();
    let time = "2026-03-01T10:00:00Z".parse().unwrap();
    spool.heard_from_sink(time).unwrap();
    assert_eq!((spool.enrolment().unwrap(), spool.sink_time().unwrap()), (Some(enrolment), Some(time)));
    assert_eq!(spool.checkpoint().unwrap(), None);
    spool.set_checkpoint("note").unwrap();
    assert_eq!(spool.checkpoint().unwrap().as_deref(), Some("note"));
    spool.forget_checkpoint().unwrap();
    assert_eq!(spool.checkpoint().unwrap(), None);
    assert_eq!(spool.folder(), folder.path());
}
