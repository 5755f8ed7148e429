//! Answers are believed only with a receipt that fits; everything else leaves the run where it was.

use super::*;
use crate::spool::Counts;
use gatepost_evidence::run::SignedRun;
use jiff::Timestamp;

struct Field {
    folder: tempfile::TempDir,
    spool: Spool,
    sink: SigningKey,
    gateway: SigningKey,
}

impl Field {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(folder.path()).unwrap();
        let gateway = SigningKey::from_seed(&[1; 32]).unwrap();
        for text in ["one", "two"] {
            let signed = SignedRun {
                digest: Digest::of(text.as_bytes()),
                envelope: Envelope::sign("text/plain", text.as_bytes(), &gateway).to_json(),
            };
            spool.append(|_| Ok::<_, String>(signed)).unwrap();
        }
        Self { folder, spool, sink: SigningKey::from_seed(&[2; 32]).unwrap(), gateway }
    }

    /// Makes every stored envelope unreadable, as a worn-out card does.
    fn damage(&self) {
        let database = rusqlite::Connection::open(self.folder.path().join(crate::spool::FILE)).unwrap();
        database.execute("UPDATE runs SET envelope = x'00'", []).unwrap();
    }

    fn receipt(&self, seq: u64, digest: Digest) -> Envelope {
        let accepted_at: Timestamp = "2026-03-01T10:00:00Z".parse().unwrap();
        let gateway = self.gateway.public().id();
        Receipt { gateway, seq, digest, accepted_at }.sign(&self.sink).unwrap()
    }

    fn answer(&mut self, answers: Vec<Answer>) -> Result<Sent, UploadError> {
        let batch = self.spool.pending(10, 1 << 20).unwrap();
        let enrolment = Enrolment { url: "https://sink".into(), sink_key: self.sink.public().clone() };
        let answers = Answers { answers, time: "2026-03-01T10:00:00Z".parse().unwrap() };
        let mut sent = Sent::default();
        take(&mut self.spool, &enrolment, self.gateway.public().id(), &batch, answers, &mut sent).map(|()| sent)
    }
}

fn counts(pending: u64, acknowledged: u64, quarantined: u64) -> Counts {
    Counts { pending, acknowledged, quarantined }
}

#[test]
fn a_fitting_receipt_acknowledges_and_a_rejection_quarantines() {
    let mut field = Field::new();
    let digest = Digest::of(b"one");
    let receipt = field.receipt(1, digest);
    let rejected = Answer::Rejected { reason: "fork".into(), detail: "another run has this place".into() };
    let sent = field.answer(vec![Answer::Accepted { digest, receipt }, rejected]).unwrap();
    assert_eq!(sent, Sent { acknowledged: 1, quarantined: 1 });
    assert_eq!(field.spool.counts().unwrap(), counts(0, 1, 1));
    assert_eq!(field.spool.quarantined().unwrap(), [(2, "fork: another run has this place".to_owned())]);
}

#[test]
fn what_the_sink_says_is_short_and_cannot_drive_a_terminal() {
    let mut field = Field::new();
    let rejected = |detail: String| Answer::Rejected { reason: format!("\u{1b}[2J{}", "x".repeat(10_000)), detail };
    field.answer(vec![rejected("\u{7}\nfake line".into()), rejected("\u{9b}31m".into())]).unwrap();
    for (_, reason) in field.spool.quarantined().unwrap() {
        assert!(reason.chars().count() <= 300 && !reason.contains(char::is_control), "{reason}");
    }
}

#[test]
fn receipts_for_another_run_or_by_another_key_acknowledge_nothing() {
    let mut field = Field::new();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    let swapped = vec![
        Answer::Accepted { digest: two, receipt: field.receipt(2, two) },
        Answer::Accepted { digest: one, receipt: field.receipt(1, one) },
    ];
    assert!(matches!(field.answer(swapped), Err(UploadError::NotBelieved(_))));
    field.sink = SigningKey::from_seed(&[9; 32]).unwrap();
    let forged = field.receipt(1, one);
    field.sink = SigningKey::from_seed(&[2; 32]).unwrap();
    let answers = vec![
        Answer::Duplicate { digest: one, receipt: forged },
        Answer::Rejected { reason: "x".into(), detail: "y".into() },
    ];
    assert!(matches!(field.answer(answers), Err(UploadError::NotBelieved(_))));
    assert!(matches!(field.answer(vec![]), Err(UploadError::NotBelieved(_))));
    assert_eq!(field.spool.counts().unwrap(), counts(2, 0, 0));
}

#[test]
fn a_run_that_cannot_be_read_back_is_set_aside_and_holds_nothing_back() {
    let mut field = Field::new();
    let sink = Sink { url: "https://127.0.0.1:1".into(), ca_file: None };
    let sink_key = field.sink.public().clone();
    field.spool.set_enrolment(&Enrolment { url: sink.url.clone(), sink_key }).unwrap();
    field.damage();
    let sent = drain(&mut field.spool, &sink, field.gateway.public().id()).unwrap();
    assert_eq!((sent.quarantined, field.spool.counts().unwrap()), (2, counts(0, 0, 2)));
}

#[test]
fn a_run_of_the_gateway_that_this_one_was_before_is_acknowledged() {
    let mut field = Field::new();
    let digest = Digest::of(b"one");
    let receipts = vec![field.receipt(1, digest), field.receipt(2, Digest::of(b"two"))];
    // A new key, the old spool.
    field.gateway = SigningKey::from_seed(&[7; 32]).unwrap();
    let answers = receipts.into_iter().map(|receipt| Answer::Accepted { digest, receipt }).collect();
    assert_eq!(field.answer(answers).unwrap(), Sent { acknowledged: 2, quarantined: 0 });
}

#[test]
fn a_gateway_that_is_not_enrolled_sends_nothing() {
    let mut field = Field::new();
    let sink = Sink { url: "https://127.0.0.1:1".into(), ca_file: None };
    let error = drain(&mut field.spool, &sink, field.gateway.public().id()).unwrap_err();
    assert!(matches!(error, UploadError::NotEnrolled(_)) && error.to_string().contains("gatepost enroll"));
    assert!(!error.is_temporary());
}

#[test]
fn every_run_is_one_line_whatever_is_in_it() {
    assert_eq!(line("{\"a\":\r\n 1}"), "{\"a\":   1}");
    assert_eq!((line("").as_str(), line("\n").as_str()), (" ", " "));
}
