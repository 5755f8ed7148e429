//! A rotation that is broken off after any of its steps is finished or undone, and there is one key at every moment.

use std::cell::Cell;
use std::sync::Arc;

use gatepost_evidence::canonical;
use gatepost_evidence::id::Digest;
use gatepost_evidence::rotation::PAYLOAD_TYPE;
use gatepost_evidence::run::SignedRun;

use super::*;
use crate::identity::{FILE, NEXT};
use crate::spool::{Bounds, Head, Keeping, State};

struct Field {
    folder: tempfile::TempDir,
    first: Identity,
}

/// An identity with its spool, as a command opens them.
struct Open {
    identity: Arc<Identity>,
    spool: Spool,
}

impl Field {
    /// A gateway with one run.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let first = identity::load_or_create(folder.path()).unwrap();
        let field = Self { folder, first };
        field.open().unwrap().append();
        field
    }

    fn at(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn keeping(&self, identity: Arc<Identity>) -> Spool {
        Spool::open_keeping(self.at(), Keeping { identity, bounds: Bounds::default() }).unwrap()
    }

    fn open(&self) -> Result<Open, RotateError> {
        let mut identity = Arc::new(identity::load(self.at())?);
        let mut spool = self.keeping(Arc::clone(&identity));
        if let Some(settled) = settle(&mut spool, &identity)? {
            identity = Arc::new(settled);
            spool = self.keeping(Arc::clone(&identity));
        }
        Ok(Open { identity, spool })
    }
}

impl Open {
    fn append(&mut self) -> Head {
        let key = self.identity.key();
        let sign = |head: Option<Head>| {
            let payload = canonical::to_vec(&head.map(|head| head.digest)).unwrap();
            let envelope = gatepost_evidence::envelope::Envelope::sign("text/plain", &payload, key).to_json();
            Ok::<_, String>(SignedRun { digest: Digest::of(&payload), envelope })
        };
        self.spool.append(sign).unwrap().0
    }
}

fn now() -> Timestamp {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

fn broken_off() -> RotateError {
    RotateError::Spool(SpoolError::Unsigned("the machine lost power".into()))
}

#[test]
fn a_rotation_that_is_broken_off_is_finished_or_undone() {
    for (stop, happened) in [(Step::Prepared, false), (Step::Committed, true), (Step::Replaced, true)] {
        let field = Field::new();
        let mut open = field.open().unwrap();
        let after = |step| if step == stop { Err(broken_off()) } else { Ok(()) };
        rotate_to(&mut open.spool, &open.identity, now(), after).unwrap_err();
        assert_eq!(field.at().join(NEXT).exists(), stop != Step::Replaced);
        drop(open);
        // Twice: what was put in order stays so.
        for _ in 0..2 {
            let open = field.open().unwrap();
            assert_eq!(open.identity.gateway(), field.first.gateway());
            assert_eq!(open.identity.ring().rotations().len(), usize::from(happened), "{stop:?}");
            assert_eq!(open.spool.rotations().unwrap().len(), usize::from(happened), "{stop:?}");
            assert!(!field.at().join(NEXT).exists(), "{stop:?}");
            let old = open.identity.key().public() == field.first.key().public();
            assert_eq!(old, !happened, "{stop:?}");
        }
        let mut open = field.open().unwrap();
        assert_eq!(open.append().seq, 2);
        let signer = spool_signer(&open, 2);
        assert_eq!(signer, open.identity.key().public().digest());
        // And it goes on from there.
        rotate(&mut open.spool, &open.identity, now()).unwrap();
        let again = field.open().unwrap();
        assert_eq!(again.identity.ring().rotations().last().unwrap().rotation().seq, 3);
    }
}

fn spool_signer(open: &Open, seq: u64) -> Digest {
    let envelope = open.spool.get(seq).unwrap().unwrap().envelope;
    let envelope = gatepost_evidence::envelope::Envelope::parse(envelope.as_bytes()).unwrap();
    envelope.claimed_signer().unwrap().digest()
}

#[test]
fn a_rotation_follows_the_head_and_waits_for_the_sink() {
    let field = Field::new();
    let mut open = field.open().unwrap();
    let head = open.spool.head().unwrap().unwrap();
    let next = rotate(&mut open.spool, &open.identity, now()).unwrap();
    let [stored] = open.spool.pending_rotations().unwrap().try_into().unwrap();
    assert_eq!((stored.seq, stored.state), (2, State::Pending));
    let envelope = gatepost_evidence::envelope::Envelope::parse(stored.envelope.as_bytes()).unwrap();
    let payload = envelope.open(PAYLOAD_TYPE, field.first.key().public()).unwrap();
    assert_eq!(Digest::of(&payload), stored.digest);
    assert_eq!(next.ring().rotations()[0].rotation().prev, Some(head.digest));
    open.spool.refuse_rotation(stored.digest, "fork: no").unwrap();
    assert!(open.spool.pending_rotations().unwrap().is_empty());
    assert_eq!(open.spool.rotations().unwrap()[0].reason.as_deref(), Some("fork: no"));
    // Two rotations without a run between would be for one place.
    let mut open = field.open().unwrap();
    let error = rotate(&mut open.spool, &open.identity, now()).unwrap_err();
    assert!(error.to_string().contains("places only grow"), "{error}");
}

#[test]
fn nobody_signs_with_a_key_that_was_given_up_meanwhile() {
    let field = Field::new();
    let (mut one, mut two) = (field.open().unwrap(), field.open().unwrap());
    rotate(&mut two.spool, &two.identity, now()).unwrap();
    let signed = Cell::new(false);
    let refused = one.spool.append(|_| {
        signed.set(true);
        Err("never")
    });
    assert!(matches!(refused, Err(SpoolError::KeyRotated)) && !signed.get(), "{refused:?}");
    assert!(matches!(rotate(&mut one.spool, &one.identity, now()), Err(RotateError::Spool(SpoolError::KeyRotated))));
    assert_eq!(field.open().unwrap().append().seq, 2);
}

#[test]
fn an_older_copy_of_the_key_is_refused_and_one_of_the_spool_learns() {
    let field = Field::new();
    let (key, spool) = (field.at().join(FILE), field.at().join(crate::spool::FILE));
    let (old_key, old_spool) = (std::fs::read(&key).unwrap(), std::fs::read(&spool).unwrap());
    let mut open = field.open().unwrap();
    let next = rotate(&mut open.spool, &open.identity, now()).unwrap();
    drop(open);
    let new_key = std::fs::read(&key).unwrap();
    std::fs::write(&key, &old_key).unwrap();
    let error = field.open().err().unwrap();
    assert!(matches!(error, RotateError::Lost { seq: 2, .. }), "{error}");
    std::fs::write(&key, &new_key).unwrap();
    assert_eq!(field.open().unwrap().identity.ring(), next.ring());
    // The spool from before: it goes on where its key does.
    std::fs::write(&spool, &old_spool).unwrap();
    let mut open = field.open().unwrap();
    assert_eq!(open.spool.pending_rotations().unwrap().len(), 1);
    assert_eq!(open.append().seq, 2);
    // No spool at all: nothing is signed for a place that was another key's.
    drop(open);
    std::fs::remove_file(&spool).unwrap();
    let mut open = field.open().unwrap();
    assert_eq!(open.append().seq, 2);
}
