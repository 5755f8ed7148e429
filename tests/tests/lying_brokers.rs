//! Brokers that lie to the look at rights and to the battery: floods, endless messages, garbage, silence. Each ends in time,
//! keeps nothing, and grants and denies nobody anything that was not seen.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use gatepost::config::Broker;
use gatepost::probe::acl::{Ground, look};
use gatepost::probe::battery;
use gatepost::probe::wire::Limits;
use gatepost_evidence::check::broker_transport_posture::acl::{Acl, Who};
use gatepost_evidence::check::broker_transport_posture::battery::Member;
use gatepost_evidence::look::{FailureKind, Look};

/// Short enough for a test, long enough for a busy machine to answer in.
fn limits() -> Limits {
    let second = Duration::from_secs(1);
    Limits { dial: second, handshake: second, answer: second, ..Limits::default() }
}

/// A broker that accepts everybody in the first version that is asked for, and answers each packet that follows with what
/// `answer` makes of its first byte and its packet identifier.
fn broker(answer: impl Fn(u8, [u8; 2]) -> Vec<u8> + Clone + Send + 'static) -> SocketAddr {
    broker_that(&[0x20, 3, 0, 0, 0], answer)
}

/// As [`broker`], with this CONNACK for whatever opens.
fn broker_that(accepts: &'static [u8], answer: impl Fn(u8, [u8; 2]) -> Vec<u8> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let answer = answer.clone();
            std::thread::spawn(move || serve(&mut stream, accepts, answer));
        }
    });
    address
}

fn serve(stream: &mut TcpStream, accepts: &[u8], answer: impl Fn(u8, [u8; 2]) -> Vec<u8>) -> Option<()> {
    loop {
        let mut header = [0; 2];
        stream.read_exact(&mut header).ok()?;
        // Every packet of such a client is shorter than 128 bytes.
        let mut body = vec![0; usize::from(header[1])];
        stream.read_exact(&mut body).ok()?;
        let id = match header[0] >> 4 {
            // Behind the topic.
            3 => {
                let size = usize::from(u16::from_be_bytes([body[0], body[1]]));
                [body[2 + size], body[3 + size]]
            }
            8 => [body[0], body[1]],
            _ => [0, 0],
        };
        let bytes = if header[0] == 0x10 { accepts.to_vec() } else { answer(header[0], id) };
        stream.write_all(&bytes).ok()?;
    }
}

fn anonymous(address: SocketAddr) -> (Acl, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (address, broker) = (address.to_string(), Broker::default());
    let ground =
        Ground { address: &address, name: None, broker: &broker, clients: &[Who::Anonymous], guests: &[], home: None };
    let begin = Instant::now();
    let budget = runtime.block_on(async { limits().start() });
    let acl = runtime.block_on(look(&ground, None, &budget)).unwrap();
    (acl, begin.elapsed())
}

/// What a sound broker answers.
fn sound(kind: u8, [one, two]: [u8; 2]) -> Vec<u8> {
    match kind >> 4 {
        3 => vec![0x40, 2, one, two],
        8 => vec![0x90, 4, one, two, 0, 0],
        12 => vec![0xd0, 0],
        _ => Vec::new(),
    }
}

#[test]
fn a_flood_is_counted_to_its_bound_and_no_further() {
    let flood = |kind: u8, id: [u8; 2]| {
        let mut bytes = sound(kind, id);
        if kind >> 4 == 12 {
            let message = [0x30, 9, 0, 4, b'$', b'S', b'Y', b'S', 0, b'p', b'!'];
            bytes = message.iter().copied().cycle().take(message.len() * 5000).chain(bytes).collect();
        }
        bytes
    };
    let (acl, took) = anonymous(broker(flood));
    let client = &acl.clients[0];
    assert_eq!(client.sys.as_ref().unwrap().seen().unwrap().others, 1000);
    assert!(took < Duration::from_secs(120), "{took:?}");
    assert!(!serde_json::to_string(&acl).unwrap().contains("$SYS"));
}

#[test]
fn lies_are_failures_and_never_rights() {
    let endless = |kind: u8, id| match kind >> 4 {
        8 => vec![0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b'x'],
        _ => sound(kind, id),
    };
    let garbage = |kind: u8, id| if kind >> 4 == 8 { vec![0xff; 200] } else { sound(kind, id) };
    let other_id = |kind: u8, [one, two]: [u8; 2]| sound(kind, [one, two.wrapping_add(1)]);
    let silent = |_: u8, _| Vec::new();
    for (name, address, kind) in [
        ("endless", broker(endless), FailureKind::Protocol),
        ("garbage", broker(garbage), FailureKind::Protocol),
        ("another packet's answer", broker(other_id), FailureKind::TimedOut),
        ("silence", broker(silent), FailureKind::TimedOut),
    ] {
        let (acl, took) = anonymous(address);
        let spot = acl.clients[0].canary.as_ref().unwrap();
        assert_eq!(spot.subscribe.failure().map(|failure| failure.kind), Some(kind), "{name}: {spot:?}");
        assert!(took < Duration::from_secs(120), "{name}: {took:?}");
        for wide in [&acl.clients[0].everything, &acl.clients[0].sys] {
            assert!(wide.as_ref().is_none_or(|wide| wide.failure().is_some()), "{name}: {wide:?}");
        }
    }
}

/// Some brokers end the session of who does what he may not. What he does next was not refused by that.
#[test]
fn a_broker_that_hangs_up_refuses_that_one_thing() {
    let hangs_up = |kind: u8, id: [u8; 2]| match (kind >> 4, id) {
        (8, [_, 2]) => vec![0xe0, 1, 0x87],
        _ => sound(kind, id),
    };
    let (acl, _) = anonymous(broker(hangs_up));
    let kind = |look: Option<&gatepost_evidence::look::Failure>| look.map(|failure| failure.kind);
    let (canary, foreign) = (acl.clients[0].canary.as_ref().unwrap(), acl.clients[0].foreign.as_ref().unwrap());
    assert_eq!((canary.subscribe.seen(), kind(foreign.subscribe.failure())), (Some(&0), Some(FailureKind::Closed)));
    for spot in [canary, foreign] {
        assert_eq!(kind(spot.publish.failure()), Some(FailureKind::Error));
    }
}

/// A peer that never answers is left alone after two members, and the rest says so.
#[test]
fn a_silent_listener_is_left_alone_by_the_battery() {
    let peer = gatepost_tests::peer::Peer::hanging().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let address = peer.address().to_string();
    let name = gatepost::probe::tls::server_name("localhost").unwrap();
    let (broker, begin) = (Broker::default(), Instant::now());
    let ground = battery::Ground { address: &address, name: &name, broker: &broker, crl: None };
    let budget = runtime.block_on(async { limits().start() });
    let seen = runtime.block_on(battery::look(&ground, &budget));
    assert_eq!(seen.connections, 2);
    let trial = |member: Member| seen.trials.iter().find(|trial| trial.member == member).unwrap();
    let kind = |member| match &trial(member).answer {
        Look::Failed(failure) => failure.kind,
        Look::Seen(_) => panic!("{member} was answered"),
    };
    assert_eq!((kind(Member::SelfSigned), kind(Member::WrongCa)), (FailureKind::TimedOut, FailureKind::TimedOut));
    assert_eq!(kind(Member::Expired), FailureKind::NotFound);
    assert!(begin.elapsed() < Duration::from_secs(120));
}

/// What the standard tells a broker to refuse is taken by one that looks at nothing.
#[test]
fn a_broker_that_takes_every_opening_is_found_out() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let address = broker_that(&[0x20, 2, 0, 0], sound);
    let state = folder.path().join("state");
    let text = format!("[state]\ndirectory = {state:?}\n\n[broker]\nplaintext = [\"{address}\"]\n");
    let agent = gatepost_tests::Agent::configured(&folder.path().join("gatepost.toml"), &text)?;
    let report = agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
    let mut rows = report["findings"].as_array().into_iter().flatten();
    assert!(rows.any(|row| row["key"] == "broker_transport_posture.malformed_connect_accepted"), "{report}");
    Ok(())
}
