//! Spools of earlier versions open, and give back what was signed.

use gatepost_evidence::receipt::Receipt;

use super::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

#[test]
fn a_spool_of_version_1_is_brought_to_this_one_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixtures().join("spool/v1.db"), folder.path().join(FILE)).unwrap();
    for reopened in [false, true] {
        let spool = Spool::open(folder.path()).unwrap();
        assert_eq!(spool.counts().unwrap(), Counts { pending: 1, acknowledged: 1, quarantined: 1 }, "{reopened}");
        let gateway = SigningKey::from_seed(b"gatepost golden gateway test key").unwrap();
        let sink = SigningKey::from_seed(b"gatepost golden sinkkey test key").unwrap();
        let states = [State::Acknowledged, State::Quarantined, State::Pending];
        let mut prev = None;
        for (seq, state) in (1..).zip(states) {
            let run = spool.get(seq).unwrap().unwrap();
            let golden = std::fs::read_to_string(fixtures().join(format!("golden/chain-{seq}.json"))).unwrap();
            assert_eq!((run.envelope.as_str(), run.state), (golden.trim_end(), state));
            let verified = verify(&run, gateway.public()).unwrap();
            assert_eq!((verified.run().seq, verified.run().prev), (seq, prev));
            prev = Some(run.digest);
            assert!(run.stored_at.starts_with("20"), "{}", run.stored_at);
        }
        assert_eq!(spool.head().unwrap().map(|head| (head.seq, Some(head.digest))), Some((3, prev)));
        assert_eq!(spool.quarantined().unwrap()[0].reason, "fork: another run has this place");
        let word = spool.acknowledgement(1).unwrap().unwrap();
        assert_eq!(word.log, None, "it is from before sinks kept a log");
        let receipt = Receipt::open(&word.receipt, sink.public()).unwrap();
        assert_eq!((receipt.seq, receipt.digest), (1, spool.get(1).unwrap().unwrap().digest));
        let enrolment = spool.enrolment().unwrap().unwrap();
        assert_eq!((enrolment.url.as_str(), &enrolment.sink_key), ("https://sink.example", sink.public()));
        assert!(spool.sink_time().unwrap().is_some());
    }
}

#[test]
fn a_spool_of_version_1_with_a_run_that_cannot_be_read_is_mended() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    std::fs::copy(fixtures().join("spool/v1.db"), &file).unwrap();
    let connection = Connection::open(&file).unwrap();
    connection.execute("UPDATE runs SET envelope = x'00' WHERE seq = 2", []).unwrap();
    connection.close().unwrap();
    assert!(matches!(Spool::open(folder.path()), Err(SpoolError::Damaged { .. })));
    let seed = || SigningKey::from_seed(b"gatepost golden gateway test key").unwrap();
    let (gateway, identity) = (seed(), Arc::new(seed().into()));
    let keeping = Keeping { identity, bounds: Bounds::default() };
    let spool = Spool::open_keeping(folder.path(), keeping).unwrap();
    let mended = spool.mended().unwrap();
    assert_eq!((mended.saved, mended.lost), (2, Some(1)), "{mended}");
    assert_eq!(spool.counts().unwrap(), Counts { pending: 1, acknowledged: 1, quarantined: 0 });
    let tombstone = open_tombstone(&spool.tombstones().unwrap()[0], gateway.public()).unwrap();
    let prev = verify(&spool.get(3).unwrap().unwrap(), gateway.public()).unwrap().run().prev;
    assert_eq!((tombstone.from_seq, tombstone.to_seq, tombstone.last_digest), (2, 2, prev));
    // The old one lies beside it as it was.
    let aside = Connection::open(&mended.aside).unwrap();
    assert_eq!(aside.query_row("SELECT count(*) FROM runs", [], |row| row.get::<_, u64>(0)).unwrap(), 3);
}

/// Opens a copy of the spool of version 2.
fn version_2() -> (tempfile::TempDir, Spool) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(fixtures().join("spool/v2.db"), folder.path().join(FILE)).unwrap();
    let spool = Spool::open(folder.path()).unwrap();
    (folder, spool)
}

#[test]
fn a_spool_of_version_2_is_brought_to_this_one_and_loses_nothing() {
    let (folder, mut spool) = version_2();
    let gateway = SigningKey::from_seed(b"gatepost golden gateway test key").unwrap();
    let sink = SigningKey::from_seed(b"gatepost golden sinkkey test key").unwrap();
    for reopened in [false, true] {
        assert_eq!(spool.counts().unwrap(), Counts { pending: 1, acknowledged: 2, quarantined: 1 }, "{reopened}");
        let tombstones = spool.tombstones().unwrap();
        assert_eq!((tombstones.len(), tombstones[0].from_seq, tombstones[0].to_seq), (1, 1, 1));
        let mut prev = open_tombstone(&tombstones[0], gateway.public()).unwrap().last_digest;
        let states = [State::Acknowledged, State::Quarantined, State::Acknowledged, State::Pending];
        for (seq, state) in (2..).zip(states) {
            let run = spool.get(seq).unwrap().unwrap();
            let verified = verify(&run, gateway.public()).unwrap();
            assert_eq!((run.state, verified.run().seq, verified.run().prev), (state, seq, prev));
            if seq <= 3 {
                let golden = std::fs::read_to_string(fixtures().join(format!("golden/chain-{seq}.json"))).unwrap();
                assert_eq!(run.envelope, golden.trim_end());
            }
            prev = Some(run.digest);
        }
        assert_eq!(spool.head().unwrap().map(|head| (head.seq, Some(head.digest))), Some((5, prev)));
        for (seq, size) in [(2, 3), (4, 5)] {
            let word = spool.acknowledgement(seq).unwrap().unwrap();
            assert_eq!(Receipt::open(&word.receipt, sink.public()).unwrap().seq, seq);
            let digest = spool.get(seq).unwrap().unwrap().digest;
            assert_eq!(word.log.unwrap().verify(digest, sink.public()).unwrap().size(), size);
        }
        // The one checkpoint that was remembered is the first that others can be linked to.
        let seen = spool.checkpoints().unwrap();
        assert_eq!(seen.iter().map(|seen| (seen.continues, seen.size)).collect::<Vec<_>>(), [(0, 5)]);
        assert_eq!(Some(&seen[0].note), spool.checkpoint().unwrap().as_ref());
        assert_eq!(spool.sink_time().unwrap().unwrap().to_string(), "2026-03-04T10:00:00Z");
        assert_eq!(spool.enrolment().unwrap().unwrap().sink_key, *sink.public());
        drop(spool);
        spool = Spool::open(folder.path()).unwrap();
    }
}
