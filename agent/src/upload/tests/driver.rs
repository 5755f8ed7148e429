//! The uploader over real HTTP on loopback, against a sink whose every answer is scripted.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gatepost_evidence::batch::Coded;
use gatepost_evidence::bound::RequestName;
use gatepost_evidence::look::Bytes;
use gatepost_evidence::tombstone::Tombstone;
use gatepost_evidence::wire::{ANSWER_HEADER, LOG_REWOUND, REQUEST_HEADER};

use super::super::backoff;
use super::*;

/// A request that came in.
#[derive(Debug, Clone)]
struct Request {
    /// Which connection it came over, from 0.
    connection: usize,
    path: String,
    /// What the sender calls it.
    name: Option<RequestName>,
    /// The size of the log that the sender saw.
    seen: u64,
    /// The envelopes it had.
    lines: Vec<Envelope>,
}

type Reply = (&'static str, String);

/// Runs `client` against a sink that answers each request with what `answer` gives; gives every request that came.
fn against<T>(mut answer: impl FnMut(&Request) -> Reply + Send, client: impl FnOnce(&Sink) -> T) -> (T, Vec<Request>) {
    against_who_signs(
        |request| {
            let (head, body) = answer(request);
            let signature = request.name.map(|name| signed(name, head, &body, 2));
            (head, body, signature)
        },
        client,
    )
}

/// The signature of the key of `seed` over an answer to the request of this name.
fn signed(name: RequestName, head: &str, body: &str, seed: u8) -> String {
    name.sign(head[..3].parse().unwrap(), body.as_bytes(), &SigningKey::from_seed(&[seed; 32]).unwrap())
}

/// The same with an answer that has the signature that `answer` gives, too.
fn against_who_signs<T>(
    mut answer: impl FnMut(&Request) -> (&'static str, String, Option<String>) + Send,
    client: impl FnOnce(&Sink) -> T,
) -> (T, Vec<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let mut requests = Vec::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().unwrap();
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let mut stream = BufReader::new(stream);
                while let Some(request) = read(&mut stream, connection) {
                    let (head, body, signature) = answer(&request);
                    requests.push(request);
                    let signature = signature.map(|signature| format!("{ANSWER_HEADER}: {signature}\r\n"));
                    let (signature, length) = (signature.unwrap_or_default(), body.len());
                    let reply = format!("HTTP/1.1 {head}\r\n{signature}content-length: {length}\r\n\r\n{body}");
                    stream.get_mut().write_all(reply.as_bytes()).unwrap();
                }
            }
            requests
        });
        let result = client(&Sink { url: format!("http://{address}"), ..Sink::default() });
        over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(address).unwrap());
        (result, serving.join().unwrap())
    })
}

fn read(stream: &mut BufReader<TcpStream>, connection: usize) -> Option<Request> {
    let (mut path, mut length, mut seen, mut encoding, mut called) = (None, 0, 0, None, None);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("content-encoding", value)) => encoding = Some(value.to_owned()),
            Some((name, value)) if name == LOG_SIZE_HEADER => seen = value.parse().unwrap(),
            Some((name, value)) if name == REQUEST_HEADER => called = RequestName::parse(value),
            Some(_) => {}
            None if line.is_empty() => break,
            None => path = path.or(line.split(' ').nth(1).map(str::to_owned)),
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let lines = encoding.map_or_else(Vec::new, |encoding| decode(&encoding, &body));
    Some(Request { connection, path: path.unwrap(), name: called, seen, lines })
}

/// The envelopes of a body, for a sink that has every run that there ever was here.
fn decode(encoding: &str, body: &[u8]) -> Vec<Envelope> {
    let coded = Coded::parse(encoding.as_bytes(), body).unwrap();
    let texts = ["one".to_owned(), "two".to_owned()].into_iter().chain((3..).map(|seq| format!("run {seq}")));
    let dictionary = coded
        .dictionary()
        .map(|digest| texts.take(1_000).find(|text| Digest::of(text.as_bytes()) == digest).unwrap().into_bytes());
    let lines = coded.decode(dictionary.as_deref()).unwrap();
    lines.iter().map(|line| Envelope::parse(line).unwrap()).collect()
}

/// A sink that takes everything, as far as what it says is concerned.
struct Taker {
    field: Field,
    places: BTreeMap<Digest, u64>,
}

impl Taker {
    fn answers(&mut self, request: &Request) -> Reply {
        let digests: Vec<_> = request.lines.iter().map(digest).collect();
        for digest in &digests {
            if !self.field.tree.leaves.contains(digest) {
                self.field.tree.append(*digest);
            }
        }
        let answers = digests.iter().map(|digest| self.field.accepted(self.places[digest], *digest)).collect();
        ("200 OK", serde_json::to_string(&self.field.honest(answers, request.seen)).unwrap())
    }
}

fn digest(envelope: &Envelope) -> Digest {
    let payload: Bytes = serde_json::from_value(envelope.payload.clone().into()).unwrap();
    Digest::of(&payload.0)
}

fn problem(head: &'static str, reason: &str) -> Reply {
    (head, serde_json::json!({ "reason": reason, "detail": "in words" }).to_string())
}

/// A spool with `runs` runs, and the sink that takes them.
fn waiting(runs: u64) -> (tempfile::TempDir, Spool, Taker) {
    let mut field = Field { tree: Tree::default(), ..Field::new() };
    for seq in 3..=runs {
        field.audit(&format!("run {seq}"));
    }
    let text = |seq| if seq < 3 { ["one", "two"][seq as usize - 1].to_owned() } else { format!("run {seq}") };
    let places = (1..=runs.max(2)).map(|seq| (Digest::of(text(seq).as_bytes()), seq)).collect();
    let folder = std::mem::replace(&mut field.folder, tempfile::tempdir().unwrap());
    let keeping =
        Keeping { identity: Arc::new(SigningKey::from_seed(&[1; 32]).unwrap().into()), bounds: Bounds::default() };
    let spool = Spool::open_keeping(folder.path(), keeping).unwrap();
    (folder, spool, Taker { field, places })
}

/// One connection of `uploader` to `sink`.
fn connect(uploader: &mut Uploader, spool: &mut Spool, sink: &Sink) -> Result<Sent, UploadError> {
    let sink_key = SigningKey::from_seed(&[2; 32]).unwrap().public().clone();
    spool.set_enrolment(&Enrolment { url: sink.url.clone(), sink_key }).unwrap();
    uploader.connect(spool, sink, &Keyring::new(SigningKey::from_seed(&[1; 32]).unwrap().public().clone()))
}

/// An uploader that has failed so often that its next wait is not over before the test looks.
fn patient() -> Uploader {
    let mut uploader = Uploader::default();
    for _ in 0..20 {
        let _ = uploader.core.heard(Duration::ZERO, 0, Heard::Doubted("not_consistent"));
    }
    uploader
}

fn rest(uploader: &mut Uploader) -> Duration {
    match uploader.due() {
        Next::Rest(rest) => rest,
        due => panic!("{due:?} instead of a rest"),
    }
}

#[test]
fn batches_share_a_connection() {
    let (_folder, mut spool, mut taker) = waiting(130);
    let mut uploader = Uploader::default();
    let (sent, requests) = against(|request| taker.answers(request), |sink| connect(&mut uploader, &mut spool, sink));
    assert_eq!(sent.unwrap().acknowledged, 130);
    let seen: Vec<_> = requests.iter().map(|request| (request.connection, request.lines.len(), request.seen)).collect();
    assert_eq!(seen, [(0, 64, 0), (0, 64, 64), (0, 2, 128)]);
    assert_eq!(uploader.due(), Next::Idle);
    assert_eq!(spool.counts().unwrap(), counts(0, 130, 0));
}

#[test]
fn too_much_at_once_is_cut_down_and_a_full_connection_is_followed_by_a_pause() {
    let (_folder, mut spool, mut taker) = waiting(70);
    let mut uploader = Uploader::default();
    let answer = |request: &Request| match request.lines.len() {
        ..=8 => taker.answers(request),
        _ => problem("413 Payload Too Large", "too_large"),
    };
    let (sent, requests) = against(answer, |sink| connect(&mut uploader, &mut spool, sink));
    let lines: Vec<_> = requests.iter().map(|request| request.lines.len()).collect();
    assert_eq!(lines, [64, 32, 16, 8, 16, 8, 16, 8]);
    assert_eq!(sent.unwrap().acknowledged, 24);
    assert!(rest(&mut uploader) > backoff::PAUSE - Duration::from_secs(1));
}

#[test]
fn a_line_that_is_too_large_alone_holds_nothing_back() {
    let (_folder, mut spool, mut taker) = waiting(5);
    let mut uploader = Uploader::default();
    let large = Digest::of(b"two");
    let answer = |request: &Request| match request.lines.iter().any(|line| digest(line) == large) {
        false => taker.answers(request),
        true => problem("413 Payload Too Large", "too_large"),
    };
    let (sent, _) = against(answer, |sink| connect(&mut uploader, &mut spool, sink));
    assert_eq!(sent.unwrap(), Sent { acknowledged: 4, quarantined: 1, tombstones: 0 });
    let refused = spool.quarantined().unwrap();
    assert!(refused[0].seq == 2 && refused[0].reason.starts_with("too_large: "), "{refused:?}");
}

#[test]
fn a_wait_that_the_sink_asks_for_is_waited() {
    let (_folder, mut spool, _) = waiting(2);
    for (header, least) in [
        ("503 Busy\r\nretry-after: 120", 120),
        ("429 Slow\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:59:37 GMT", 600),
    ] {
        let mut uploader = Uploader::default();
        let busy = |_: &Request| problem(header, "busy");
        let (error, requests) = against(busy, |sink| connect(&mut uploader, &mut spool, sink).unwrap_err());
        assert!(matches!(&error, UploadError::Later(detail) if detail.contains("busy")), "{error}");
        let rest = rest(&mut uploader);
        assert!(rest > Duration::from_secs(least - 1) && rest < Duration::from_secs(least + 6), "{rest:?}");
        // News of another run change nothing.
        uploader.news();
        let (sent, more) = against(busy, |sink| connect(&mut uploader, &mut spool, sink));
        assert_eq!((sent.unwrap(), requests.len(), more.len()), (Sent::default(), 1, 0));
    }
}

/// A spool whose two runs the sink has, with a third that waits.
fn two_taken() -> (tempfile::TempDir, Spool, Taker) {
    let (folder, mut spool, mut taker) = waiting(2);
    let (sent, _) =
        against(|request| taker.answers(request), |sink| connect(&mut Uploader::default(), &mut spool, sink));
    assert_eq!(sent.unwrap().acknowledged, 2);
    let third = SignedRun {
        digest: Digest::of(b"three"),
        envelope: Envelope::sign("text/plain", b"three", &taker.field.gateway).to_json(),
    };
    spool.append(|_| Ok::<_, String>(third)).unwrap();
    taker.places.insert(Digest::of(b"three"), 3);
    (folder, spool, taker)
}

/// What comes of an upload that the sink refuses because its log is smaller, when asked for its newest checkpoint it says
/// `shown`.
fn rewound(spool: &mut Spool, shown: &Reply) -> UploadError {
    let answer = |request: &Request| match request.path.as_str() {
        "/v1/runs" => problem("409 Conflict", LOG_REWOUND),
        _ => shown.clone(),
    };
    let mut uploader = patient();
    let (error, requests) = against(answer, |sink| connect(&mut uploader, spool, sink).unwrap_err());
    assert_eq!((requests[0].seen, requests[1].path.as_str(), requests.len()), (2, "/v1/log/checkpoint", 2));
    assert!(rest(&mut uploader) > Duration::ZERO);
    error
}

#[test]
fn a_sink_that_shows_that_it_lost_its_log_gets_everything_back() {
    // All of it, a part of it, and one that took something else in its place.
    for left in [Tree::default(), Tree::of(&["one"]), Tree::of(&["one", "three"])] {
        let (_folder, mut spool, mut taker) = two_taken();
        let known = spool.checkpoint().unwrap();
        let claimed = left.checkpoint(&taker.field.sink);
        let error = rewound(&mut spool, &("200 OK", claimed.clone()));
        assert!(matches!(error, UploadError::StartedOver(_)), "{error}");
        let dispute = dispute::list(spool.folder()).unwrap().remove(0).1.unwrap();
        assert_eq!((dispute.reason.as_str(), dispute.known, dispute.claimed), (LOG_REWOUND, known, Some(claimed)));
        assert_eq!((spool.counts().unwrap(), spool.checkpoint().unwrap()), (counts(3, 0, 0), None));
        taker.field.tree = left;
        let mut uploader = Uploader::default();
        let (sent, requests) =
            against(|request| taker.answers(request), |sink| connect(&mut uploader, &mut spool, sink));
        assert_eq!((sent.unwrap().acknowledged, requests[0].seen), (3, 0));
    }
}

#[test]
fn a_sink_that_only_says_that_it_lost_its_log_changes_nothing() {
    let (_folder, mut spool, taker) = two_taken();
    let (sink, known) = (&taker.field.sink, spool.checkpoint().unwrap());
    let other = SigningKey::from_seed(&[9; 32]).unwrap();
    let went_on = Tree::of(&["one", "two", "three"]);
    for (shown, why) in [
        (("503 Busy", String::new()), "it shows none"),
        (("404 Not Found", Tree::of(&["one"]).checkpoint(sink)), "it shows none"),
        (("200 OK", "nonsense".to_owned()), "not its own"),
        (("200 OK", Tree::of(&["one"]).checkpoint(&other)), "not its own"),
        (("200 OK", known.clone().unwrap()), "2 leaves are known, and it shows 2"),
        (("200 OK", went_on.checkpoint(sink)), "2 leaves are known, and it shows 3"),
    ] {
        let error = rewound(&mut spool, &shown);
        assert!(matches!(error, UploadError::NotBelieved(_)), "{error}");
        let said = error.to_string();
        assert!(said.contains("no checkpoint that says so") && said.contains(why), "{why}: {said}");
        assert_eq!((spool.counts().unwrap(), spool.checkpoint().unwrap()), (counts(1, 2, 0), known.clone()), "{why}");
        assert!((1..=2).all(|seq| spool.acknowledgement(seq).unwrap().is_some()), "{why}: the receipts stay");
        assert!(spool.started_over().unwrap().is_none() && dispute::list(spool.folder()).unwrap().is_empty(), "{why}");
    }
}

#[test]
fn tombstones_go_first_and_one_that_is_not_taken_holds_no_run_back() {
    let (folder, mut spool, mut taker) = waiting(4);
    let database = rusqlite::Connection::open(folder.path().join(crate::spool::FILE)).unwrap();
    database.execute("UPDATE runs SET content = x'00' WHERE seq = 2", []).unwrap();
    // Found out, and buried.
    assert_eq!(spool.pending(10, 1 << 20).unwrap().len(), 3);
    let of_tombstone = |line: &Envelope| line.payload_type == gatepost_evidence::tombstone::PAYLOAD_TYPE;
    let run_lines = |request: &Request| request.lines.iter().filter(|line| !of_tombstone(line)).cloned().collect();
    for (reason, refused) in [("payload_type", false), ("overlap", true)] {
        let mut uploader = Uploader::default();
        let answer = |request: &Request| {
            assert!(request.lines.iter().skip(1).all(|line| !of_tombstone(line)), "tombstones first");
            let (head, body) = taker.answers(&Request { lines: run_lines(request), ..request.clone() });
            let mut answers: Answers = serde_json::from_str(&body).unwrap();
            if of_tombstone(&request.lines[0]) {
                answers.answers.insert(0, Answer::Rejected { reason: reason.into(), detail: "no".into() });
            }
            (head, serde_json::to_string(&answers).unwrap())
        };
        let (sent, requests) = against(answer, |sink| connect(&mut uploader, &mut spool, sink));
        let sent = sent.unwrap();
        assert_eq!((sent.tombstones, sent.quarantined), (0, u64::from(refused)), "{reason}");
        assert!(of_tombstone(&requests[0].lines[0]) && requests.len() == 1, "{requests:?}");
        let tombstone = &spool.tombstones().unwrap()[0];
        assert_eq!((tombstone.pending, tombstone.refused), (!refused, refused), "{reason}");
    }
    assert_eq!(spool.counts().unwrap(), counts(0, 3, 1));
    // Starting over, it is told again, and this time taken.
    spool.hand_over_again("log_rewound").unwrap();
    let buried = spool.tombstones().unwrap()[0].clone();
    let tombstone =
        Tombstone::open(&Envelope::parse(buried.envelope.as_bytes()).unwrap(), taker.field.gateway.public());
    taker.places.insert(buried.digest, tombstone.unwrap().to_seq);
    let mut uploader = Uploader::default();
    let (sent, _) = against(|request| taker.answers(request), |sink| connect(&mut uploader, &mut spool, sink));
    assert_eq!(sent.unwrap(), Sent { acknowledged: 3, quarantined: 0, tombstones: 1 });
    assert!(spool.pending_tombstones().unwrap().is_empty());
}

/// Answers and refusals that the sink did give, or somebody else, but not to this request.
#[test]
fn an_answer_to_another_request_changes_nothing_and_accuses_nobody() {
    let (_folder, mut spool, mut taker) = waiting(2);
    let (sent, requests) =
        against(|request| taker.answers(request), |sink| connect(&mut Uploader::default(), &mut spool, sink));
    assert_eq!(sent.unwrap().acknowledged, 2);
    let (earlier, known) = (requests[0].name.unwrap(), spool.checkpoint().unwrap());
    taker.field.tree.append(Digest::of(b"somebody else's"));
    let third = SignedRun {
        digest: Digest::of(b"run 3"),
        envelope: Envelope::sign("text/plain", b"run 3", &taker.field.gateway).to_json(),
    };
    spool.append(|_| Ok::<_, String>(third)).unwrap();
    let field = &taker.field;
    let reject = |reason: &str| vec![Answer::Rejected { reason: reason.into(), detail: "no".into() }];
    let honest = |seen| field.honest(reject("fork"), seen);
    let shrunk = Answers { checkpoint: Tree::of(&["one"]).checkpoint(&field.sink), ..honest(2) };
    let answers = |answers: Answers| ("200 OK", serde_json::to_string(&answers).unwrap());
    let replies = [
        // It would be believed; it would be a dispute, twice; it would be quarantined; and everything would start over.
        answers(honest(2)),
        answers(honest(0)),
        answers(shrunk),
        problem("413 Payload Too Large", "too_large"),
        problem("409 Conflict", LOG_REWOUND),
    ];
    for (head, body) in &replies {
        // As it was signed for an earlier request, by another sink for this one, as nonsense, and not at all.
        for way in 0..4 {
            let reply = |request: &Request| {
                let signature = match way {
                    0 => Some(signed(earlier, head, body, 2)),
                    1 => Some(signed(request.name.unwrap(), head, body, 3)),
                    2 => Some("AAAA".to_owned()),
                    _ => None,
                };
                (*head, body.clone(), signature)
            };
            let mut uploader = patient();
            let (came, requests) = against_who_signs(reply, |sink| connect(&mut uploader, &mut spool, sink));
            let error = came.unwrap_err();
            assert_ne!(requests[0].name, Some(earlier), "a name is used once");
            assert_eq!(requests.len(), 1, "{head}, {way}: it is tried again later: {error}");
            assert!(rest(&mut uploader) > Duration::ZERO);
            assert_eq!(error.to_string().contains("not the answer to this upload"), head.starts_with("200"), "{error}");
            let (counted, seen) = (spool.counts().unwrap(), spool.checkpoint().unwrap());
            assert_eq!((counted, &seen), (counts(1, 2, 0), &known), "{head}, {way}");
            assert!(dispute::list(spool.folder()).unwrap().is_empty(), "{head}, {way}");
        }
    }
}
