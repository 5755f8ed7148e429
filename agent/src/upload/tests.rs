//! Answers are believed only with receipts that fit and a log that goes on; everything else leaves the runs where they were.

mod driver;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::spool::{Bounds, Counts, Keeping, Refused as Quarantined};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::log::{ConsistencyProof, InclusionProof, LogError, LogHash, NodeId};
use gatepost_evidence::receipt::Receipt;
use gatepost_evidence::run::SignedRun;
use gatepost_evidence::wire::Answer;
use jiff::Timestamp;

/// A sink's log, as far as an answer needs it.
#[derive(Clone, Default)]
struct Tree {
    nodes: BTreeMap<NodeId, LogHash>,
    leaves: Vec<Digest>,
}

impl Tree {
    fn of(texts: &[&str]) -> Self {
        let mut tree = Self::default();
        texts.iter().for_each(|text| tree.append(Digest::of(text.as_bytes())));
        tree
    }

    fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    fn append(&mut self, digest: Digest) {
        let added = gatepost_evidence::log::append(self.size(), digest, |id| self.node(id)).unwrap();
        self.nodes.extend(added);
        self.leaves.push(digest);
    }

    fn node(&self, id: NodeId) -> Result<LogHash, LogError> {
        self.nodes.get(&id).copied().ok_or(LogError::TooLarge(0))
    }

    fn index(&self, digest: Digest) -> u64 {
        self.leaves.iter().position(|leaf| *leaf == digest).unwrap() as u64
    }

    fn inclusion(&self, digest: Digest) -> InclusionProof {
        let index = self.index(digest);
        gatepost_evidence::log::prove_inclusion(self.size(), index, |id| self.node(id)).unwrap()
    }

    fn consistency(&self, from: u64) -> ConsistencyProof {
        gatepost_evidence::log::prove_consistency(from, self.size(), |id| self.node(id)).unwrap()
    }

    fn checkpoint(&self, key: &SigningKey) -> String {
        let root = gatepost_evidence::log::root(self.size(), |id| self.node(id)).unwrap();
        Checkpoint::sign(root, key).note().to_owned()
    }
}

struct Field {
    folder: tempfile::TempDir,
    spool: Spool,
    sink: SigningKey,
    gateway: SigningKey,
    tree: Tree,
}

const TIME: &str = "2026-03-01T10:00:00Z";

impl Field {
    /// A gateway with the runs `one` and `two`, which the sink's log has already.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let gateway = SigningKey::from_seed(&[1; 32]).unwrap();
        let keeping =
            Keeping { identity: Arc::new(SigningKey::from_seed(&[1; 32]).unwrap().into()), bounds: Bounds::default() };
        let spool = Spool::open_keeping(folder.path(), keeping).unwrap();
        let sink = SigningKey::from_seed(&[2; 32]).unwrap();
        let mut field = Self { folder, spool, sink, gateway, tree: Tree::of(&["one", "two"]) };
        field.audit("one");
        field.audit("two");
        field
    }

    fn audit(&mut self, text: &str) {
        let signed = SignedRun {
            digest: Digest::of(text.as_bytes()),
            envelope: Envelope::sign("text/plain", text.as_bytes(), &self.gateway).to_json(),
        };
        self.spool.append(|_| Ok::<_, String>(signed)).unwrap();
    }

    /// Makes every stored envelope unreadable, as a worn-out card does.
    fn damage(&self) {
        let database = rusqlite::Connection::open(self.folder.path().join(crate::spool::FILE)).unwrap();
        database.execute("UPDATE runs SET content = x'00'", []).unwrap();
    }

    fn receipt(&self, seq: u64, digest: Digest) -> Envelope {
        let accepted_at: Timestamp = TIME.parse().unwrap();
        let gateway = self.gateway.public().id();
        Receipt { gateway, seq, digest, accepted_at }.sign(&self.sink).unwrap()
    }

    fn accepted(&self, seq: u64, digest: Digest) -> Answer {
        let (index, inclusion) = (self.tree.index(digest), self.tree.inclusion(digest));
        Answer::Accepted { digest, receipt: self.receipt(seq, digest), index, inclusion }
    }

    /// What an honest sink with this tree answers to whoever saw `seen` leaves.
    fn honest(&self, answers: Vec<Answer>, seen: u64) -> Answers {
        let consistency = self.tree.consistency(seen);
        Answers { answers, time: TIME.parse().unwrap(), checkpoint: self.tree.checkpoint(&self.sink), consistency }
    }

    fn enrolment(&self) -> Enrolment {
        Enrolment { url: "https://sink".into(), sink_key: self.sink.public().clone() }
    }

    fn lines(&self) -> Vec<Line> {
        lines::waiting(&self.spool, Ask { lines: 10, bytes: 1 << 20, tombstones: true, dictionary: false }).unwrap()
    }

    /// What the uploader makes of `answers` to what waits.
    fn take(&mut self, answers: Answers) -> Result<Sent, UploadError> {
        let known = log::known(&self.spool, &self.enrolment()).unwrap();
        self.take_knowing(known, answers)
    }

    fn take_knowing(&mut self, known: Option<Checkpoint>, answers: Answers) -> Result<Sent, UploadError> {
        let (enrolment, ring, lines) = (self.enrolment(), Keyring::new(self.gateway.public().clone()), self.lines());
        let sink = Sink { url: enrolment.url.clone(), ..Sink::default() };
        let mut upload = Upload { spool: &mut self.spool, sink: &sink, ring: &ring, lines, dictionary: false };
        let came = upload.take(&enrolment, known.as_ref(), answers).unwrap_or_else(Came::Failed);
        let then = Core::default().heard(std::time::Duration::ZERO, 0, came.heard(upload.lines.len(), false));
        upload.settle(came, then)
    }

    fn answer(&mut self, answers: Vec<Answer>) -> Result<Sent, UploadError> {
        self.take(self.honest(answers, 0))
    }

    fn disputes(&self) -> Vec<dispute::Dispute> {
        let kept = dispute::list(self.spool.folder()).unwrap().into_iter();
        kept.map(|(_, dispute)| dispute.unwrap()).collect()
    }
}

fn counts(pending: u64, acknowledged: u64, quarantined: u64) -> Counts {
    Counts { pending, acknowledged, quarantined }
}

#[test]
fn a_fitting_receipt_acknowledges_and_a_rejection_quarantines() {
    let mut field = Field::new();
    let digest = Digest::of(b"one");
    let rejected = Answer::Rejected { reason: "fork".into(), detail: "another run has this place".into() };
    let sent = field.answer(vec![field.accepted(1, digest), rejected]).unwrap();
    assert_eq!(sent, Sent { acknowledged: 1, quarantined: 1, tombstones: 0 });
    assert_eq!(field.spool.counts().unwrap(), counts(0, 1, 1));
    let refused: Vec<_> = field.spool.quarantined().unwrap().into_iter().map(|run| (run.seq, run.reason)).collect();
    assert_eq!(refused, [(2, "fork: another run has this place".to_owned())]);
    // What an auditor needs later is beside the run.
    let word = field.spool.acknowledgement(1).unwrap().unwrap();
    let checkpoint = word.log.unwrap().verify(digest, field.sink.public()).unwrap();
    assert_eq!(field.spool.checkpoint().unwrap().as_deref(), Some(checkpoint.note()));
    assert_eq!(Receipt::open(&word.receipt, field.sink.public()).unwrap().seq, 1);
    assert_eq!(field.spool.sink_time().unwrap().unwrap().to_string(), TIME);
}

#[test]
fn what_the_sink_says_is_short_and_cannot_drive_a_terminal() {
    let mut field = Field::new();
    let rejected = |detail: String| Answer::Rejected { reason: format!("\u{1b}[2J{}", "x".repeat(10_000)), detail };
    field.answer(vec![rejected("\u{7}\nfake line".into()), rejected("\u{9b}31m".into())]).unwrap();
    for Quarantined { reason, .. } in field.spool.quarantined().unwrap() {
        assert!(reason.chars().count() <= 300 && !reason.contains(char::is_control), "{reason}");
    }
}

#[test]
fn receipts_for_another_run_or_by_another_key_acknowledge_nothing() {
    let mut field = Field::new();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let swapped = vec![field.accepted(2, two), field.accepted(1, one)];
    assert!(matches!(field.answer(swapped), Err(UploadError::NotBelieved(_))));
    field.sink = SigningKey::from_seed(&[9; 32]).unwrap();
    let forged = field.accepted(1, one);
    field.sink = SigningKey::from_seed(&[2; 32]).unwrap();
    let answers = vec![forged, Answer::Rejected { reason: "x".into(), detail: "y".into() }];
    assert!(matches!(field.answer(answers), Err(UploadError::NotBelieved(_))));
    let half = vec![field.accepted(1, one), field.accepted(1, one)];
    assert!(matches!(field.answer(half), Err(UploadError::NotBelieved(_))), "as a whole or not at all");
    assert!(matches!(field.answer(vec![]), Err(UploadError::NotBelieved(_))));
    assert_eq!(field.spool.counts().unwrap(), counts(2, 0, 0));
    assert_eq!((field.spool.checkpoint().unwrap(), field.spool.sink_time().unwrap()), (None, None));
}

/// After the sink's log of two leaves was verified, with `three` waiting.
fn later() -> Field {
    let mut field = Field::new();
    let answers = vec![field.accepted(1, Digest::of(b"one")), field.accepted(2, Digest::of(b"two"))];
    field.answer(answers).unwrap();
    field.audit("three");
    field
}

#[test]
fn a_log_that_goes_on_is_believed() {
    let mut field = later();
    ["other", "three", "more"].iter().for_each(|text| field.tree.append(Digest::of(text.as_bytes())));
    let answers = field.honest(vec![field.accepted(3, Digest::of(b"three"))], 2);
    field.take(answers).unwrap();
    assert_eq!(field.spool.counts().unwrap(), counts(0, 3, 0));
    assert_eq!(log::known(&field.spool, &field.enrolment()).unwrap().unwrap().size(), 5);
    assert_eq!(field.disputes(), []);
}

#[test]
fn a_log_that_drops_rewrites_forks_or_rewinds_is_caught_with_evidence_and_nothing_is_acknowledged() {
    let three = Digest::of(b"three");
    for (tree, reason) in [
        (Tree::of(&["two", "three", "four"]), "not_consistent"),
        (Tree::of(&["one", "TWO", "three"]), "not_consistent"),
        (Tree::of(&["two", "one", "three"]), "not_consistent"),
        (Tree::of(&["three"]), "log_shrunk"),
    ] {
        let mut field = later();
        let known = field.spool.checkpoint().unwrap();
        field.tree = tree;
        // The best proof the sink can make.
        let answers = field.honest(vec![field.accepted(3, three)], field.tree.size().min(2));
        let error = field.take(answers).unwrap_err();
        assert!(matches!(error, UploadError::StartedOver(_)) && error.is_temporary(), "{error}");
        assert!(error.to_string().contains("log-dispute-"), "{error}");
        assert_eq!(field.spool.counts().unwrap(), counts(3, 0, 0), "what it may have lost is handed over again");
        assert_eq!(field.spool.checkpoint().unwrap(), None);
        assert_eq!(field.spool.started_over().unwrap().unwrap().why, reason);
        let dispute = field.disputes().remove(0);
        assert_eq!((dispute.reason.as_str(), &dispute.known), (reason, &known));
        // Whoever has the file can check it without believing this agent.
        let open = |note: Option<String>| Checkpoint::open(&note.unwrap(), &dispute.sink_key).unwrap().root();
        let (known, claimed) = (open(dispute.known.clone()), open(dispute.claimed.clone()));
        assert!(dispute.consistency.clone().unwrap().verify(&known, &claimed).is_err());
        // It gets everything; the evidence stays.
        let held: Vec<_> = ["one", "two", "three"].iter().map(|text| Digest::of(text.as_bytes())).collect();
        for digest in &held {
            if !field.tree.leaves.contains(digest) {
                field.tree.append(*digest);
            }
        }
        let answers = held.iter().zip(1..).map(|(digest, seq)| field.accepted(seq, *digest)).collect();
        field.answer(answers).unwrap();
        assert_eq!(field.spool.counts().unwrap(), counts(0, 3, 0));
        assert_eq!(field.disputes().len(), 1);
    }
}

#[test]
fn without_a_proof_that_a_log_goes_on_it_does_not() {
    let mut field = later();
    field.tree.append(Digest::of(b"three"));
    let mut answers = field.honest(vec![field.accepted(3, Digest::of(b"three"))], 2);
    answers.consistency = ConsistencyProof::default();
    assert!(matches!(field.take(answers), Err(UploadError::StartedOver(_))));
    assert_eq!(field.disputes()[0].reason, "not_consistent");
}

#[test]
fn a_past_is_not_let_go_while_the_evidence_cannot_be_kept() {
    let mut field = later();
    let known = field.spool.checkpoint().unwrap();
    field.tree = Tree::of(&["three"]);
    let answers = field.honest(vec![field.accepted(3, Digest::of(b"three"))], 1);
    // Where the draft of the evidence would be.
    std::fs::create_dir(field.folder.path().join(format!(".log-dispute-{}", std::process::id()))).unwrap();
    let error = field.take(answers).unwrap_err();
    assert!(matches!(error, UploadError::NotBelieved(_)), "{error}");
    assert!(error.to_string().contains("could not be kept"), "{error}");
    assert_eq!((field.spool.checkpoint().unwrap(), field.spool.counts().unwrap()), (known, counts(1, 2, 0)));
}

#[test]
fn answers_that_were_held_to_another_past_are_not_used() {
    let mut field = later();
    field.tree.append(Digest::of(b"three"));
    let answers = field.honest(vec![field.accepted(3, Digest::of(b"three"))], 2);
    let known = log::known(&field.spool, &field.enrolment()).unwrap();
    // Another upload of this gateway finds out meanwhile that the sink lost its log.
    Spool::open(field.folder.path()).unwrap().hand_over_again("log_rewound").unwrap();
    field.spool.quarantine(Digest::of(b"one"), "x: not sent").unwrap();
    field.spool.quarantine(Digest::of(b"two"), "x: not sent").unwrap();
    let taken = field.take_knowing(known, answers);
    assert!(matches!(taken, Err(UploadError::Later(_))), "{taken:?}");
    assert_eq!((field.spool.counts().unwrap(), field.spool.checkpoint().unwrap()), (counts(1, 0, 2), None));
}

#[test]
fn a_gateway_that_the_sink_does_not_know_keeps_its_runs_and_says_what_to_do() {
    let mut field = Field::new();
    let unknown = || Answer::Rejected { reason: "unknown_key".into(), detail: "no such gateway".into() };
    let error = field.answer(vec![unknown(), unknown()]).unwrap_err();
    assert!(matches!(error, UploadError::Forgotten(_)) && error.to_string().contains("gatepost enroll"), "{error}");
    assert!(!error.is_temporary());
    assert_eq!(field.spool.counts().unwrap(), counts(2, 0, 0));
    // What else is in the answer counts.
    let known = field.spool.checkpoint().unwrap();
    assert!(known.is_some());
    let answers = field.honest(vec![field.accepted(1, Digest::of(b"one")), unknown()], 2);
    assert!(matches!(field.take(answers), Err(UploadError::Forgotten(_))));
    assert_eq!(field.spool.counts().unwrap(), counts(1, 1, 0));
    // A run that another key signed is refused for good: this gateway's enrolment does not change that.
    field.gateway = SigningKey::from_seed(&[7; 32]).unwrap();
    let answers = field.honest(vec![unknown()], 2);
    field.take(answers).unwrap();
    assert_eq!(field.spool.counts().unwrap(), counts(0, 1, 1));
}

#[test]
fn a_run_that_is_not_where_the_sink_says_is_caught() {
    let three = Digest::of(b"three");
    let mut field = later();
    ["three", "four"].iter().for_each(|text| field.tree.append(Digest::of(text.as_bytes())));
    let inclusion = field.tree.inclusion(three);
    let wrong = [
        (3, inclusion.clone()),
        (4, inclusion.clone()),
        (u64::MAX, inclusion.clone()),
        (2, InclusionProof::new(vec![])),
        (2, field.tree.inclusion(Digest::of(b"four"))),
    ];
    for (index, inclusion) in wrong {
        let answer = Answer::Duplicate { digest: three, receipt: field.receipt(3, three), index, inclusion };
        let error = field.take(field.honest(vec![answer], 2)).unwrap_err();
        assert!(error.to_string().contains("run 3 is not where the sink says"), "{error}");
    }
    assert_eq!(field.spool.counts().unwrap(), counts(1, 2, 0));
    let disputes = field.disputes();
    assert_eq!(disputes.len(), 5);
    let run = disputes[0].run.clone().unwrap();
    assert_eq!((run.seq, run.digest), (3, three));
    assert!(Receipt::open(&run.receipt, field.sink.public()).is_ok(), "the sink did promise it");
}

#[test]
fn a_checkpoint_by_another_key_is_not_the_sinks_word() {
    let mut field = later();
    field.tree.append(Digest::of(b"three"));
    let mut answers = field.honest(vec![field.accepted(3, Digest::of(b"three"))], 2);
    answers.checkpoint = field.tree.checkpoint(&SigningKey::from_seed(&[9; 32]).unwrap());
    assert!(matches!(field.take(answers.clone()), Err(UploadError::NotBelieved(_))));
    answers.checkpoint = "nonsense".into();
    assert!(matches!(field.take(answers), Err(UploadError::NotBelieved(_))));
    assert_eq!(field.spool.counts().unwrap(), counts(1, 2, 0));
    assert!(field.disputes().iter().all(|dispute| dispute.reason == "bad_checkpoint"));
}

#[test]
fn a_damaged_memory_of_the_log_is_not_a_new_beginning() {
    let mut field = later();
    field.spool.set_checkpoint("damaged").unwrap();
    let error = log::known(&field.spool, &field.enrolment()).unwrap_err();
    assert!(error.to_string().contains("enrol again"), "{error}");
    field.spool.forget_checkpoint().unwrap();
    assert_eq!(log::known(&field.spool, &field.enrolment()).unwrap(), None);
}

#[test]
fn a_run_that_cannot_be_read_back_is_set_aside_and_holds_nothing_back() {
    let mut field = Field::new();
    let sink = Sink { url: "https://127.0.0.1:1".into(), ..Sink::default() };
    let sink_key = field.sink.public().clone();
    field.spool.set_enrolment(&Enrolment { url: sink.url.clone(), sink_key }).unwrap();
    field.damage();
    let sent = drain(&mut field.spool, &sink, &Keyring::new(field.gateway.public().clone())).unwrap();
    assert_eq!((sent.quarantined, field.spool.counts().unwrap()), (2, counts(0, 0, 2)));
}

#[test]
fn a_run_of_the_gateway_that_this_one_was_before_is_acknowledged() {
    let mut field = Field::new();
    let digest = Digest::of(b"one");
    let answers = vec![field.accepted(1, digest), field.accepted(2, Digest::of(b"two"))];
    // A new key, the old spool.
    field.gateway = SigningKey::from_seed(&[7; 32]).unwrap();
    assert_eq!(field.answer(answers).unwrap(), Sent { acknowledged: 2, quarantined: 0, tombstones: 0 });
}

#[test]
fn a_gateway_that_is_not_enrolled_sends_nothing() {
    let mut field = Field::new();
    let sink = Sink { url: "https://127.0.0.1:1".into(), ..Sink::default() };
    let error = drain(&mut field.spool, &sink, &Keyring::new(field.gateway.public().clone())).unwrap_err();
    assert!(matches!(error, UploadError::NotEnrolled(_)) && error.to_string().contains("gatepost enroll"));
    assert!(!error.is_temporary());
}
