//! The survey within its bounds, against peers that lie, hang up, drip or never end. Time is paused: a sleep here takes none.

use super::*;
use crate::probe::wire::Limits;
use gatepost_evidence::check::broker_transport_posture::TlsVersion;
use gatepost_evidence::look::Look;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::net::TcpListener;

fn bounds() -> Bounds {
    Bounds { pause: Duration::ZERO, ..Bounds::default() }
}

/// A peer that reads a little, says `answer` (again and again if `endless`), and closes; with the number of its connections.
async fn peer(answer: &'static [u8], endless: bool) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let count = Arc::new(AtomicU32::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut hello = [0; 4096];
                let _ = stream.read(&mut hello).await;
                while stream.write_all(answer).await.is_ok() && endless {}
                // Closing with something unread would be a reset.
                let _ = stream.shutdown().await;
                let _ = stream.read(&mut hello).await;
            });
        }
    });
    (address, count)
}

async fn look(address: &str, bounds: Bounds) -> Result<Survey, Failure> {
    survey(address, Some("localhost"), bounds, &Limits::default().start()).await
}

#[tokio::test]
async fn a_peer_that_speaks_no_tls_is_not_surveyed() {
    for (answer, kind) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], FailureKind::Protocol),
        (b"", FailureKind::Closed),
        (b"\x16\x03\x03", FailureKind::Closed),
        (b"\x16\x03\x03\xff\xff", FailureKind::Protocol),
    ] {
        let (address, count) = peer(answer, false).await;
        let failure = look(&address, bounds()).await.unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(count.load(Ordering::SeqCst) <= 10);
    }
    let (address, _) = peer(b"\x16\x03\x03\x00\x00", true).await;
    let failure = look(&address, bounds()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TooLarge, "{failure}");
}

#[tokio::test]
async fn a_peer_that_is_silent_twice_is_left_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let bounds = Bounds { answer: Duration::from_millis(200), ..bounds() };
    let failure = look(&address, bounds).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    let mut made = 0;
    while let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await {
        made += 1;
    }
    assert_eq!(made, 2);
}

#[tokio::test]
async fn refusals_of_everything_are_refusals_and_not_many() {
    let (address, count) = peer(b"\x15\x03\x03\x00\x02\x02\x28", false).await;
    let survey = look(&address, bounds()).await.unwrap();
    assert_eq!(survey.connections, count.load(Ordering::SeqCst));
    assert!(survey.connections < 16, "{}", survey.connections);
    for version in TlsVersion::ALL {
        assert_eq!(survey.accepted(version), Ok(false), "{version:?}");
    }
    assert_eq!((survey.fallback, survey.alpn), (None, None));
}

/// Always TLS 1.2 with one suite, whatever is offered: a liar, and bounded like everybody else.
#[tokio::test]
async fn a_server_that_chooses_what_was_not_offered_is_not_believed() {
    const HELLO: &[u8] = b"\x16\x03\x03\x00\x2a\x02\x00\x00\x26\x03\x03\
        aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x00\x00\x9c\x00";
    let (address, _) = peer(HELLO, false).await;
    let survey = look(&address, bounds()).await.unwrap();
    let tls12 = &survey.versions[3];
    assert_eq!(tls12.suites.len(), 1);
    let failure = tls12.end.failure().unwrap();
    assert!(failure.kind == FailureKind::Protocol && failure.detail.contains("not offered"), "{failure}");
    // An answer in another version is a refusal of the one that was offered.
    assert_eq!(survey.accepted(TlsVersion::Tls10), Ok(false));
}

#[tokio::test]
async fn connections_are_bounded_and_what_was_cut_off_is_told() {
    let (address, count) = peer(b"\x15\x03\x03\x00\x02\x02\x28", false).await;
    let survey = look(&address, Bounds { connections: 3, ..bounds() }).await.unwrap();
    assert_eq!((survey.connections, count.load(Ordering::SeqCst)), (3, 3));
    let Look::Failed(failure) = &survey.versions[0].end else { panic!("{:?}", survey.versions[0]) };
    assert!(failure.detail.contains("all 3 connections"), "{failure}");
    assert!(survey.accepted(TlsVersion::Ssl3).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_slow_drip_ends_when_the_time_for_one_answer_is_up() {
    let (mut near, mut far) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        let mut hello = [0; 4096];
        let _ = far.read(&mut hello).await;
        // A ServerHello that would take a day.
        for byte in [22_u8, 3, 3, 0x40, 0].into_iter().chain(std::iter::repeat_n(0, 0x4000)) {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if far.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    });
    let budget = Limits { total: Duration::from_secs(3600), ..Limits::default() }.start();
    let begin = Instant::now();
    let asking = exchange(&mut near, b"hello");
    let failure = budget.wait("the answer to a ClientHello", Duration::from_secs(12), asking).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert_eq!(begin.elapsed(), Duration::from_secs(12));
}

#[tokio::test]
async fn offers_keep_their_distance() {
    let (address, _) = peer(b"\x15\x03\x03\x00\x02\x02\x46", false).await;
    let begin = Instant::now();
    let bounds = Bounds { pause: Duration::from_millis(20), ..Bounds::default() };
    let survey = look(&address, bounds).await.unwrap();
    // One offer per version: protocol_version needs no second.
    assert_eq!(survey.connections, 5);
    assert!(begin.elapsed() >= Duration::from_millis(80));
}
