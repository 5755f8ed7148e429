//! Answers of TLS servers, read from recordings of a real one and from whatever a hostile one may send: cut, flipped, endless.

use super::*;

/// An answer that was recorded from `openssl s_server`; fixtures/tls/README.md says how.
fn recorded(name: &str) -> Vec<u8> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tls").join(format!("{name}.bin"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(bytes: &[u8]) -> Result<Option<Reply>, Failure> {
    Reader::default().feed(bytes)
}

fn hello(name: &str) -> Hello {
    read(&recorded(name)).unwrap().unwrap().hello.unwrap()
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    record.extend(body);
    record
}

#[test]
fn answers_of_a_real_server_are_read() {
    let modern = hello("tls12-ecdhe");
    assert_eq!((modern.version, modern.suite, modern.group), (0x0303, 0xc02b, Some(29)));
    assert_eq!(modern.protocol.as_deref(), Some("mqtt"));
    for extension in [23, 35, 0xff01] {
        assert!(modern.extensions.contains(&extension), "{:?}", modern.extensions);
    }
    assert!(modern.downgrade_mark && modern.compression == 0);
    let fixed = hello("tls12-static-rsa");
    assert_eq!((fixed.suite, fixed.group, fixed.dh), (0x009c, None, None));
    let weak = hello("tls12-dhe-1024");
    assert_eq!((weak.suite, weak.dh.unwrap().bits), (0x009e, 1024));
    let anonymous = hello("tls12-dh-anon");
    assert_eq!(anonymous.suite, 0x00a6);
    // What OpenSSL takes of its own accord for an anonymous suite of 128 bits.
    assert_eq!(anonymous.dh.unwrap().bits, 1024);
    let old = hello("tls10-cbc");
    assert_eq!((old.version, old.suite), (0x0301, 0xc014));
    assert!(old.extensions.contains(&22), "encrypt-then-MAC: {:?}", old.extensions);
    let retry = hello("tls13-retry");
    assert_eq!((retry.version, retry.suite, retry.group), (0x0304, 0x1301, Some(29)));
    assert!(!retry.session_id && !retry.downgrade_mark);
    assert_eq!(hello("tls13-retry-p384").group, Some(24));
    let alert = |name| read(&recorded(name)).unwrap().unwrap().answer;
    assert_eq!(alert("alert-no-suite"), Answer::Alert { level: 2, description: 40 });
    assert_eq!(alert("alert-internal-error"), Answer::Alert { level: 2, description: 80 });
}

#[test]
fn it_makes_no_difference_how_the_bytes_arrive() {
    for name in ["tls12-ecdhe", "tls12-dhe-1024", "tls13-retry", "alert-no-suite"] {
        let bytes = recorded(name);
        let whole = read(&bytes).unwrap().unwrap();
        let mut reader = Reader::default();
        let mut reply = None;
        for byte in &bytes {
            reply = reader.feed(&[*byte]).unwrap();
            if reply.is_some() {
                break;
            }
        }
        assert_eq!(reply, Some(whole), "{name}");
    }
}

#[test]
fn messages_may_lie_across_records() {
    let whole = recorded("tls13-retry");
    // The first record is the HelloRetryRequest; what follows it is for middleboxes.
    let length = usize::from(u16::from_be_bytes([whole[3], whole[4]]));
    let cut: Vec<u8> = whole[5..5 + length].chunks(7).flat_map(|part| record(22, part)).collect();
    assert_eq!(read(&cut).unwrap(), read(&whole).unwrap());
}

/// A cut answer is one that is still to come; what it means that the peer closed there is told.
#[test]
fn an_answer_that_is_cut_off_is_never_an_answer() {
    for name in ["tls12-ecdhe", "tls12-dhe-1024", "tls12-static-rsa", "tls13-retry", "alert-no-suite"] {
        let bytes = recorded(name);
        let mut reader = Reader::default();
        let needed = (1..=bytes.len()).find(|count| reader.feed(&bytes[count - 1..*count]).unwrap().is_some()).unwrap();
        for count in 0..needed {
            let mut reader = Reader::default();
            assert_eq!(reader.feed(&bytes[..count]).unwrap(), None, "{name} at {count}");
            assert_eq!(reader.closed().kind, FailureKind::Closed);
        }
    }
    assert!(Reader::default().closed().detail.contains("without a word"));
}

#[test]
fn every_changed_byte_gives_an_answer_or_a_failure_in_bounded_space() {
    for name in ["tls12-ecdhe", "tls12-dhe-1024", "tls13-retry"] {
        let bytes = recorded(name);
        for place in 0..bytes.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[place] ^= change;
                let mut reader = Reader::default();
                let _ = reader.feed(&bytes);
                assert!(reader.bytes.len() <= MAX_BYTES && reader.handshake.len() <= MAX_BYTES);
            }
        }
    }
}

#[test]
fn what_is_not_tls_is_told_with_its_first_bytes() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\x20\x02\x00\x05", b"\x80\x2e\x01", b"H"] {
        let failure = read(bytes).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Protocol);
        assert!(failure.detail.contains(&hex(&bytes[..bytes.len().min(16)])), "{failure}");
    }
    for (bytes, words) in [
        (vec![22, 3, 3, 0xff, 0xff], "65535 bytes"),
        (vec![22, 2, 0, 0, 1], "version 0200"),
        (record(22, &[2, 0xff, 0xff, 0xff]), "16777215 bytes"),
        (record(22, &[2, 0, 0, 2, 3, 3]), "ServerHello"),
        (record(22, &[16, 0, 0, 0]), "out of its turn"),
        (record(21, &[2]), "alert of 1 bytes"),
        (record(20, &[1]), "type 20"),
        (record(23, &[1]), "type 23"),
    ] {
        let failure = read(&bytes).unwrap_err();
        assert!(failure.kind == FailureKind::Protocol && failure.detail.contains(words), "{failure}");
    }
}

#[test]
fn records_without_end_end() {
    for endless in [record(22, &[]), record(21, &[1, 112]), record(22, &[11, 0, 0xf0, 0])] {
        let mut reader = Reader::default();
        let failure = (0..100_000).find_map(|_| reader.feed(&endless).err()).unwrap();
        assert!(matches!(failure.kind, FailureKind::TooLarge | FailureKind::Protocol), "{failure}");
        assert!(reader.bytes.len() <= MAX_BYTES);
    }
}

#[test]
fn a_warning_may_be_followed_by_the_answer() {
    let mut bytes = record(21, &[1, 112]);
    bytes.extend(recorded("tls13-retry"));
    assert!(matches!(read(&bytes).unwrap().unwrap().answer, Answer::Hello { .. }));
    let mut reader = Reader::default();
    assert_eq!(reader.feed(&record(21, &[1, 40])).unwrap(), None);
    assert!(reader.closed().detail.contains("warning alert 40"));
}

#[test]
fn a_server_that_chose_and_could_not_go_on_is_told_by_its_alert() {
    let whole = recorded("tls12-dhe-1024");
    let length = usize::from(u16::from_be_bytes([whole[3], whole[4]]));
    let mut bytes = whole[..5 + length].to_vec();
    bytes.extend(record(21, &[2, 40]));
    let reply = read(&bytes).unwrap().unwrap();
    assert_eq!(reply.answer, Answer::Alert { level: 2, description: 40 });
    assert_eq!(reply.hello.unwrap().suite, 0x009e);
}

/// Names and properties that another table gives to the same suites.
#[test]
fn the_table_of_suites_agrees_with_that_of_tls_parser() {
    use tls_parser::{
        TlsCipherAu as Au, TlsCipherEnc as Enc, TlsCipherEncMode as Mode, TlsCipherKx as Kx, TlsCipherSuite,
    };
    let mut compared = 0;
    for (code, name) in gatepost_evidence::check::broker_transport_posture::code::SUITES.iter() {
        let Some(other) = TlsCipherSuite::from_id(*code) else { continue };
        compared += 1;
        let ours = properties(name).unwrap();
        // It calls suites with numbers of its drafts by other names, and knows no integrity-only suites.
        assert_eq!(*name, other.name);
        assert_eq!(ours.rc4, other.enc == Enc::Rc4, "{name}");
        assert_eq!(ours.cbc, other.enc_mode == Mode::Cbc, "{name}");
        let small = matches!(other.enc, Enc::Des | Enc::TripleDes | Enc::Rc2 | Enc::Idea);
        assert_eq!(ours.small_block, small, "{name}");
        assert_eq!(ours.null, other.enc == Enc::Null, "{name}");
        if !ours.tls13 {
            let anonymous = other.au == Au::Null && !ours.shared_key;
            assert_eq!(ours.anonymous, anonymous, "{name}");
            // Two suites of RFC 6655 have their exchange the other way round in their names, and are DHE_PSK.
            let turned = matches!(*code, 0xc0aa | 0xc0ab);
            let ephemeral = turned || matches!(other.kx, Kx::Dhe | Kx::Ecdhe | Kx::Aecdh | Kx::Eccpwd);
            assert_eq!(ours.forward_secrecy && !ours.anonymous, ephemeral && other.au != Au::Null, "{name}");
        }
    }
    assert!(compared > 300, "{compared}");
}
