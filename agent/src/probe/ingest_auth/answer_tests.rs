//! Answers of honest servers, and of peers that lie.

use super::*;

/// The answer, fed in pieces of `size` bytes and then closed.
fn read(bytes: &[u8], size: usize) -> (Reader, Result<(), Failure>) {
    let mut reader = Reader::new(false);
    for piece in bytes.chunks(size) {
        match reader.feed(piece) {
            Ok(Progress::Whole) => return (reader, Ok(())),
            Ok(_) => {}
            Err(failure) => return (reader, Err(failure)),
        }
    }
    let closed = reader.closed();
    (reader, closed)
}

fn whole(bytes: &[u8]) -> (Head, Vec<u8>) {
    let mut seen = None;
    for size in [1, 3, bytes.len()] {
        let (reader, end) = read(bytes, size);
        end.unwrap();
        let this = (reader.head().unwrap().clone(), reader.body().to_vec());
        assert_eq!(*seen.get_or_insert(this.clone()), this, "in pieces of {size}");
    }
    seen.unwrap()
}

fn failed(bytes: &[u8]) -> Failure {
    let mut seen: Option<Failure> = None;
    for size in [1, bytes.len()] {
        let (_, end) = read(bytes, size);
        let this = end.unwrap_err();
        assert_eq!(seen.get_or_insert(this.clone()).kind, this.kind, "in pieces of {size}");
    }
    seen.unwrap()
}

#[test]
fn a_body_ends_where_its_framing_says() {
    let (head, body) = whole(b"HTTP/1.1 202 Accepted\r\nServer: edge\r\ncontent-length: 2\r\n\r\nokGARBAGE");
    assert_eq!((head.status, head.field("server").unwrap(), &body[..]), (202, &b"edge"[..], &b"ok"[..]));
    let chunks = b"HTTP/1.1 401 \r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(whole(chunks).1, b"abcde");
    assert_eq!(whole(b"HTTP/1.0 500 no\n\nuntil the end").1, b"until the end");
    assert_eq!(whole(b"HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\n").1, b"");
    let mut reader = Reader::new(true);
    assert_eq!(reader.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n").unwrap(), Progress::Whole);
}

#[test]
fn interim_answers_are_passed_over_up_to_a_limit() {
    let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(8);
    bytes.extend(b"HTTP/1.1 103 Early Hints\r\nlink: </>\r\n\r\n");
    let failure = failed(&bytes);
    assert!(failure.detail.contains("interim"), "{failure}");
    let mut bytes = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(8);
    bytes.extend(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(whole(&bytes).0.status, 202);
    assert!(failed(b"HTTP/1.1 101 Switching Protocols\r\n\r\n").detail.contains("switched"));
}

#[test]
fn what_is_not_http_is_told_by_its_first_bytes() {
    let failure = read(b"\x15\x03\x03\x00\x02\x02\x46", 7).1.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Protocol);
    assert!(failure.detail.contains("1503"), "{failure}");
    for wrong in [
        &b"HTTP/2 200\r\n\r\n"[..],
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/1.1 600 x\r\n\r\n",
        b"HTTP/1.1 2000\r\n\r\n",
        b"HTTP/1.1  200 x\r\n\r\n",
        b"HTTP/1.1 200 x\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 x\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 x\r\nspace : x\r\n\r\n",
        b"HTTP/1.1 200 x\r\nnul: \0\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ] {
        assert_eq!(failed(wrong).kind, FailureKind::Protocol, "{:?}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn an_answer_that_ends_too_early_is_told_with_where() {
    assert!(failed(b"HTTP/1.1 200 OK\r\nx: y\r\n").detail.contains("within the head"));
    let failure = failed(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    assert!(failure.kind == FailureKind::Closed && failure.detail.contains("7 bytes before"), "{failure}");
    assert!(failed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab").detail.contains("last chunk"));
    assert!(Reader::new(false).closed().unwrap_err().detail.contains("without an answer"));
}

#[test]
fn nothing_is_without_bounds() {
    let long = [b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'a'; MAX_HEAD]].concat();
    assert_eq!(read(&long, 1000).1.unwrap_err().kind, FailureKind::TooLarge);
    let many = [b"HTTP/1.1 200 OK\r\n".to_vec(), b"a: b\r\n".repeat(129), b"\r\n".to_vec()].concat();
    assert_eq!(read(&many, 1000).1.unwrap_err().kind, FailureKind::TooLarge);
    for start in ["", "content-length: 99999999999\r\n"] {
        let endless = [format!("HTTP/1.1 200 OK\r\n{start}\r\n").into_bytes(), vec![b'a'; 2 * MAX_BODY]].concat();
        let (reader, end) = read(&endless, 1000);
        assert_eq!(end.unwrap_err().kind, FailureKind::TooLarge);
        assert_eq!((reader.head().unwrap().status, reader.body().len()), (200, MAX_BODY));
    }
}

#[test]
fn framing_that_cannot_be_is_a_broken_body_of_an_answer_that_counts() {
    for wrong in [
        &b"HTTP/1.1 200 x\r\ncontent-length: -1\r\n\r\n"[..],
        b"HTTP/1.1 200 x\r\ncontent-length: +5\r\n\r\n",
        b"HTTP/1.1 200 x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"HTTP/1.1 200 x\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
    ] {
        let (reader, end) = read(wrong, 7);
        assert_eq!(end.unwrap_err().kind, FailureKind::Protocol, "{:?}", String::from_utf8_lossy(wrong));
        assert_eq!(reader.head().unwrap().status, 200);
    }
}

#[test]
fn the_line_of_a_chunk_is_as_long_as_it_may_be_and_no_longer() {
    let answer = |extension: usize| {
        let mut bytes = b"HTTP/1.1 200 x\r\ntransfer-encoding: chunked\r\n\r\n1;".to_vec();
        bytes.extend(b"x".repeat(extension));
        bytes.extend(b"\r\na\r\n0\r\n\r\n");
        bytes
    };
    assert_eq!(whole(&answer(MAX_CHUNK_LINE - 3)).1, b"a");
    assert!(failed(&answer(MAX_CHUNK_LINE - 2)).detail.contains("does not end"));
}
