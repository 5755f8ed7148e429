//! The spool keeps a chain, gives out the oldest first, and never moves a run backwards.

mod bounds;
#[path = "../../tests/common/chain.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "helpers of tests, not all used here")]
mod chain;
mod mend;
mod old;

use super::*;
use gatepost_evidence::key::SigningKey;

fn sign(text: &str) -> impl Fn(Option<Head>) -> Result<SignedRun, String> + '_ {
    move |head| {
        let payload = format!("{text} after {:?}", head.map(|head| head.seq));
        let key = SigningKey::from_seed(&[1; 32]).unwrap();
        let envelope = Envelope::sign("text/plain", payload.as_bytes(), &key);
        Ok(SignedRun { digest: Digest::of(payload.as_bytes()), envelope: envelope.to_json() })
    }
}

fn receipt() -> Envelope {
    Envelope::sign("text/plain", b"kept", &SigningKey::from_seed(&[2; 32]).unwrap())
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
    spool.acknowledge(digests[0], &receipt()).unwrap();
    spool.quarantine(digests[2], "fork").unwrap();
    let seqs = |runs: Vec<Spooled>| runs.iter().map(|run| run.seq).collect::<Vec<_>>();
    assert_eq!(seqs(spool.pending(10, 1 << 20).unwrap()), [2, 4]);
    assert_eq!(seqs(spool.pending(1, 1 << 20).unwrap()), [2]);
    assert_eq!(seqs(spool.pending(10, 1).unwrap()), [2], "one that is too large alone still goes");
    assert_eq!(spool.quarantined().unwrap()[0].reason.as_deref(), Some("fork"));
    assert_eq!(spool.counts().unwrap(), Counts { pending: 2, acknowledged: 1, quarantined: 1 });
    // A state once reached is final.
    spool.quarantine(digests[0], "late").unwrap();
    spool.acknowledge(digests[2], &receipt()).unwrap();
    assert_eq!(spool.counts().unwrap(), Counts { pending: 2, acknowledged: 1, quarantined: 1 });
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
}
