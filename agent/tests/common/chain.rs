//! Real runs to fill a spool with, and the auditor who walks a spool's chain from its first place to its last.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatepost::spool::{Bounds, Head, Keeping, Spool, open_tombstone, verify};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::run::{
    Agent, BundleRef, Clock, Gateway, Host, Record, Run, SignedRun, Stage, Status, Target, TargetKind,
};
use gatepost_evidence::tombstone::{Tombstone, fold};

/// The gateway's key.
pub fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[1; 32]).unwrap())
}

/// What a spool is kept with.
pub fn keeping(bounds: Bounds) -> Keeping {
    Keeping { identity: Arc::new(SigningKey::from_seed(&[1; 32]).unwrap().into()), bounds }
}

/// A run that follows `head` and saw what the one before it saw, about as much as an audit of every check sees; `salt` is
/// in its times only.
pub fn run_as_before(head: Option<Head>, salt: u64) -> SignedRun {
    signed(head, salt, &(0..60_u64).map(|n| Digest::of(&n.to_be_bytes()).to_string()).collect::<Vec<_>>().concat())
}

/// A run that follows `head`; `salt` and `bytes` decide what it saw and how much of that does not compress.
pub fn run(head: Option<Head>, salt: u64, bytes: usize) -> SignedRun {
    let noise = |n: u64| Digest::of(&[salt.to_be_bytes(), n.to_be_bytes()].concat()).to_string();
    let noise: String = (0..bytes.div_ceil(32) as u64).map(noise).collect();
    signed(head, salt, &noise)
}

fn signed(head: Option<Head>, salt: u64, noise: &str) -> SignedRun {
    let at = jiff::Timestamp::from_second(1_772_000_000 + i64::try_from(salt).unwrap()).unwrap();
    let id = key().public().id();
    let run = Run {
        gateway: Gateway { id, name: "pump-house".into(), labels: BTreeMap::new() },
        seq: head.map_or(1, |head| head.seq + 1),
        prev: head.map(|head| head.digest),
        stage: Stage::Retainer,
        bundle: BundleRef { name: "audit-baseline".into(), version: "1.0.0".into() },
        agent: Agent { version: "0.1.0".into() },
        host: Host { os: None, kernel: None, architecture: "aarch64".into(), model: None },
        clock: Clock { boot_id: None, uptime_ms: salt, synchronised: Some(true), source: None, sink_time: None },
        started_at: at,
        finished_at: at,
        records: vec![Record {
            check: "ingest_auth".into(),
            contract: 1,
            target: Target::new(TargetKind::IngestEdge, "ingest"),
            status: Status::Observed,
            detail: None,
            observed_at: at,
            duration_ms: salt,
            observation: Some(serde_json::json!({ "noise": noise })),
        }],
    };
    run.sign(&key()).unwrap()
}

/// What stands at each place of a chain that was found whole.
#[derive(Debug, Default)]
pub struct Walked {
    pub runs: BTreeMap<u64, Digest>,
    pub tombstones: Vec<Tombstone>,
    pub head: u64,
}

impl Walked {
    pub fn tombstone_of(&self, seq: u64) -> Option<&Tombstone> {
        self.tombstones.iter().find(|tombstone| tombstone.covers(seq))
    }
}

/// Walks the chain: every place has a run that verifies or a tombstone that stands for it, and each follows the one before.
/// `known` are digests of runs that are known from elsewhere, for the folds of tombstones.
pub fn walk(spool: &Spool, known: &BTreeMap<u64, Digest>) -> Walked {
    let key = key();
    let opened = spool.tombstones().unwrap();
    let tombstones: Vec<_> = opened.iter().map(|buried| open_tombstone(buried, key.public()).unwrap()).collect();
    let mut walked = Walked { tombstones, head: spool.head().unwrap().map_or(0, |head| head.seq), ..Walked::default() };
    let mut link: Option<Digest> = None;
    let mut seq = 1;
    while seq <= walked.head {
        if let Some(tombstone) = walked.tombstones.iter().find(|tombstone| tombstone.covers(seq)) {
            assert_eq!(tombstone.from_seq, seq, "two tombstones overlap");
            assert!(tombstone.prev.is_none() || tombstone.prev == link, "{tombstone:?} does not follow {link:?}");
            let folded =
                known.range(seq..=tombstone.to_seq).fold(None, |so_far, (_, digest)| Some(fold(so_far, *digest)));
            let all = known.range(seq..=tombstone.to_seq).count() as u64 == tombstone.to_seq - seq + 1;
            assert!(!all || tombstone.digest.is_none() || tombstone.digest == folded, "{tombstone:?}");
            link = Some(tombstone.link().unwrap());
            seq = tombstone.to_seq + 1;
            continue;
        }
        let run = spool.get(seq).unwrap().unwrap_or_else(|| panic!("nothing stands at {seq}"));
        let verified = verify(&run, key.public()).unwrap();
        assert_eq!((verified.run().seq, verified.run().prev), (seq, link), "run {seq}");
        assert!(known.get(&seq).is_none_or(|digest| *digest == run.digest), "run {seq} is another one");
        walked.runs.insert(seq, run.digest);
        link = Some(run.digest);
        seq += 1;
    }
    assert_eq!(spool.head().unwrap().map(|head| head.digest), link);
    walked
}
