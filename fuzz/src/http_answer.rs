//! Answers of HTTP servers, as the probe of `ingest_auth` reads them from whoever answers.
//!
//! The reader stands in the agent, which this workspace does not build; it is one file that needs nothing else of it.

#[path = "../../agent/src/probe/ingest_auth/answer.rs"]
mod answer;

use answer::{Head, MAX_BODY, MAX_HEAD, Progress, Reader};
use gatepost_evidence::look::FailureKind;

use crate::Seeds;

/// What came of an answer: its head and body, and how it ended.
type Read = (Option<Head>, Vec<u8>, Option<FailureKind>);

/// The first byte says how large the pieces are in which the rest is fed, and whether it answers HEAD.
///
/// # Panics
/// When the size of the pieces makes a difference, a bound is passed, or a head that was read is none.
pub fn attack(data: &[u8]) {
    let Some((how, bytes)) = data.split_first() else { return };
    let bodiless = how & 1 == 1;
    let whole = read(bytes, bytes.len().max(1), bodiless);
    let pieces = read(bytes, usize::from(how >> 1).max(1), bodiless);
    let (head, body, end) = &whole;
    assert!(body.len() <= MAX_BODY);
    assert_eq!(head, &pieces.0, "the size of the pieces changes the head");
    assert_eq!(body, &pieces.1, "the size of the pieces changes the body");
    // Which of two faults is met first may depend on how much was seen at once; whether there is one may not.
    assert_eq!(end.is_none(), pieces.2.is_none(), "{end:?} and {:?}", pieces.2);
    if bodiless && head.is_some() {
        assert!(body.is_empty());
    }
    if let Some(head) = head {
        assert!((200..600).contains(&head.status));
        let mut again = format!("HTTP/1.1 {} \r\n", head.status).into_bytes();
        for (name, value) in &head.fields {
            assert_eq!(name, &name.to_ascii_lowercase());
            again.extend_from_slice(name.as_bytes());
            again.extend_from_slice(b": ");
            again.extend_from_slice(value);
            again.extend_from_slice(b"\r\n");
        }
        again.extend_from_slice(b"\r\n");
        if again.len() <= MAX_HEAD {
            assert_eq!(read(&again, again.len(), true).0.as_ref(), Some(head), "written again it is another");
        }
    }
}

fn read(bytes: &[u8], size: usize, bodiless: bool) -> Read {
    let mut reader = Reader::new(bodiless);
    let mut end = None;
    for piece in bytes.chunks(size) {
        match reader.feed(piece) {
            Ok(Progress::Whole) => return (reader.head().cloned(), reader.body().to_vec(), None),
            Ok(_) => {}
            Err(failure) => {
                end = Some(failure.kind);
                break;
            }
        }
    }
    if end.is_none() {
        end = reader.closed().err().map(|failure| failure.kind);
    }
    (reader.head().cloned(), reader.body().to_vec(), end)
}

/// Answers of real servers, and lies.
pub fn seeds() -> Seeds {
    let answers: [(&str, &[u8]); 10] = [
        (
            "nginx-401",
            b"HTTP/1.1 401 Unauthorized\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\
              Connection: close\r\nWWW-Authenticate: Bearer\r\n\r\n<html></html",
        ),
        ("chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
        (
            "long-chunk-line",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
              xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
              xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\na\r\n0\r\n\r\n",
        ),
        ("interim", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\nok"),
        ("old", b"HTTP/1.0 500 Oops\nServer: x\n\nTraceback (most recent call last):\n"),
        ("no-content", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("two-lengths", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd"),
        ("cut", b"HTTP/1.1 202 Accepted\r\ncontent-length: 99\r\n\r\nabc"),
        ("tls", b"\x15\x03\x03\x00\x02\x02\x46"),
        ("bad-chunk", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
    ];
    let with = |how: u8, bytes: &[u8]| [&[how], bytes].concat();
    let one = answers.iter().map(|(name, bytes)| ((*name).to_owned(), with(2, bytes)));
    let head = answers.iter().map(|(name, bytes)| (format!("{name}-head"), with(7, bytes)));
    one.chain(head).collect()
}
