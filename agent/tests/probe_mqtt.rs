//! What MQTT is asked of a real Mosquitto, over TCP, TLS and WebSocket, and of peers that lie: each lie is a failure with its
//! reason, in bounded time.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Mosquitto, Pki, short};
use gatepost::config::Config;
use gatepost::probe::broker_transport_posture;
use gatepost::probe::wire::Limits;
use gatepost_evidence::check::broker_transport_posture::mqtt::{FirstClient, PacketEnd, Speaker};
use gatepost_evidence::check::broker_transport_posture::{Check, Facts, Observation, Scope};
use gatepost_evidence::check::{Contract, Seen, Unknown};
use gatepost_evidence::look::{FailureKind, Look};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

async fn look(config: Config, limits: Limits) -> (Observation, Facts, Unknown) {
    let observation = broker_transport_posture::observe(Arc::new(config), limits).await.unwrap();
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let facts = Check::normalise(&observation, &seen, &mut unknown);
    (observation, facts, unknown)
}

/// A configuration with the agent's own certificate.
fn with_client(pki: &Pki) -> Config {
    let mut config = pki.config();
    config.broker.ca_file = Some(pki.path("ca.pem"));
    config.broker.client_certificate = Some(pki.path("client.pem"));
    config.broker.client_key = Some(pki.path("client.key"));
    config.broker.server_name = Some("localhost".into());
    config
}

#[tokio::test]
async fn a_hardened_mosquitto_is_asked_as_the_configured_client_and_nothing_stays_behind() {
    let pki = Pki::new();
    let rights = pki.write("acl", "user gateway\ntopic readwrite gatepost/canary/#\n");
    let lines = format!(
        "{}require_certificate true\nuse_identity_as_username true\nacl_file {}\nmax_packet_size 100000\n\
         max_keepalive 600\nmax_inflight_messages 7\nmax_topic_alias 3\nmax_qos 1\n",
        pki.tls_lines(),
        rights.display()
    );
    let broker = Mosquitto::start(pki.folder.path(), &lines);
    let mut config = with_client(&pki);
    config.broker.tls = vec![broker.address()];
    let (observation, facts, unknown) = look(config, Limits::default()).await;
    let mqtt = observation.listeners[0].mqtt.as_ref().unwrap().seen().unwrap();
    assert_eq!(mqtt.speaker, Speaker::Client);
    assert!(mqtt.connections <= 14 && mqtt.connections <= mqtt.connection_limit, "{}", mqtt.connections);
    // Where the rest of the packet is on its way, the word may be lost with the connection.
    let end = mqtt.large_packet.as_ref().unwrap().seen().unwrap().end;
    assert!(matches!(end, PacketEnd::Disconnected(0x95) | PacketEnd::Closed), "{end:?}");
    // Mosquitto 2.0.11 does not say why.
    assert_eq!(mqtt.takeover.as_ref().unwrap().seen().unwrap().first, FirstClient::Closed);
    let listener = facts.listeners.into_values().next().unwrap();
    let mqtt = listener.mqtt.unwrap();
    assert_eq!((mqtt.mqtt31, mqtt.mqtt311, mqtt.mqtt5), (Some(true), Some(true), Some(true)));
    assert_eq!((mqtt.maximum_packet_size, mqtt.keep_alive_seconds), (Some(100_000), Some(600)));
    assert_eq!((mqtt.receive_maximum, mqtt.topic_alias_maximum, mqtt.maximum_qos), (Some(7), Some(3), Some(1)));
    assert_eq!((mqtt.retained_canary, mqtt.retained_canary_cleared), (Some(true), Some(true)));
    assert_eq!((mqtt.takeover, mqtt.takeover_reason, mqtt.takeover_tried), (Some(true), None, None));
    assert_eq!((mqtt.malformed_accepted, mqtt.password_in_plaintext), (Some(vec![]), None));
    assert!(mqtt.ping_micros.is_some());
    let tickets = listener.resumption.unwrap();
    assert_eq!((tickets.tickets, tickets.resumed, tickets.early_data), (Some(2), Some(true), Some(false)));
    let address = gatepost_evidence::check::segment(&broker.address());
    let reason = unknown.reason(&format!("/listeners/{address}/mqtt/silent_client_ended")).unwrap();
    assert!(reason.contains("try_keep_alive"), "{reason}");
}

#[tokio::test]
async fn a_client_that_may_not_use_its_canary_topic_is_told_so() {
    let pki = Pki::new();
    let rights = pki.write("acl", "user gateway\ntopic read telemetry/#\n");
    let lines = format!(
        "{}require_certificate true\nuse_identity_as_username true\nacl_file {}\n",
        pki.tls_lines(),
        rights.display()
    );
    let broker = Mosquitto::start(pki.folder.path(), &lines);
    let mut config = with_client(&pki);
    config.broker.tls = vec![broker.address()];
    let (_, facts, unknown) = look(config, Limits::default()).await;
    assert_eq!(facts.listeners.into_values().next().unwrap().mqtt.unwrap().retained_canary, None);
    let address = gatepost_evidence::check::segment(&broker.address());
    let reason = unknown.reason(&format!("/listeners/{address}/mqtt/retained_canary")).unwrap();
    assert!(reason.contains("PUBACK 0x87"), "{reason}");
}

#[tokio::test]
async fn without_a_client_a_listener_that_demands_one_is_not_asked() {
    let pki = Pki::new();
    let broker = Mosquitto::start(pki.folder.path(), &format!("{}require_certificate true\n", pki.tls_lines()));
    let mut config = pki.config();
    config.broker.tls = vec![broker.address()];
    let (observation, facts, _) = look(config, Limits::default()).await;
    assert_eq!(observation.listeners[0].mqtt, None);
    assert_eq!(facts.listeners.into_values().next().unwrap().mqtt, None);
}

#[tokio::test]
async fn a_guest_on_one_listener_takes_the_id_of_the_client_on_another() {
    let pki = Pki::new();
    let tls = format!("{}require_certificate true\n", pki.tls_lines());
    let plain = common::held_port();
    let lines = format!("{tls}\nlistener {plain} 127.0.0.1\nallow_anonymous true\n");
    let broker = Mosquitto::start(pki.folder.path(), &format!("allow_anonymous true\n{lines}"));
    let mut config = with_client(&pki);
    config.broker.tls = vec![broker.address()];
    config.broker.plaintext = vec![format!("127.0.0.1:{plain}")];
    let (_, facts, _) = look(config, Limits::default()).await;
    let tried: Vec<_> = facts
        .listeners
        .values()
        .map(|listener| listener.mqtt.as_ref().unwrap())
        .map(|mqtt| (mqtt.speaker, mqtt.takeover_without_credentials))
        .collect();
    assert!(tried.contains(&(Some(Speaker::Anonymous), Some(true))), "{tried:?}");
    assert!(tried.contains(&(Some(Speaker::Client), None)), "{tried:?}");
}

#[tokio::test]
async fn a_silent_client_is_tried_only_where_the_operator_wants_it() {
    let pki = Pki::new();
    let broker = Mosquitto::start(pki.folder.path(), "allow_anonymous true\n");
    let mut config = pki.config();
    config.broker.plaintext = vec![broker.address()];
    config.broker.try_keep_alive = true;
    let (observation, facts, _) = look(config, Limits::default()).await;
    let silence = observation.listeners[0].mqtt.as_ref().unwrap().seen().unwrap().silence.clone().unwrap();
    assert_eq!(facts.listeners.into_values().next().unwrap().mqtt.unwrap().silent_client_ended, Some(true));
    let silence = silence.seen().unwrap();
    assert!((1_500..8_000).contains(&silence.millis), "{silence:?}");
}

/// A server that answers every GET in the same way, as Mosquitto 2.1 has it, which Debian does not have yet.
async fn api(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 4096];
            let _ = stream.read(&mut heard).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

#[tokio::test]
async fn an_http_api_is_judged_by_what_it_shows_to_anybody() {
    let open = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\n{}";
    let closed = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"Mosquitto API\"\r\n\r\n";
    for (answer, shown, any) in [(open, 3, true), (closed, 0, false)] {
        let pki = Pki::new();
        let address = api(answer).await;
        let mut config = pki.config();
        let port = address.rsplit_once(':').unwrap().1;
        // Bound to every interface by the broker's word, and dialled here.
        pki.write("m.conf", format!("listener {port}\nprotocol http_api\n"));
        config.host.root = "/".into();
        config.broker.configuration_file = Some(pki.path("m.conf"));
        let (observation, facts, _) = look(config, Limits::default()).await;
        assert!(observation.listeners.is_empty());
        let api = facts.http_apis.into_values().next().unwrap();
        assert_eq!((api.open, api.scope), (Some(true), Scope::Public));
        assert_eq!((api.shown_to_anybody.unwrap().len(), api.readable_by_any_page), (shown, Some(any)));
    }
}

/// How a peer lies.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Says this to each connection, then nothing more, and keeps it open.
    Once(&'static [u8]),
    /// Accepts any CONNECT, and says this over and over again as fast as it can.
    Endless(&'static [u8]),
    /// Says this, a byte each 20 ms, over and over again.
    Drip(&'static [u8]),
    /// Says this and closes.
    Close(&'static [u8]),
}

async fn liar(lie: Lie) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(tokio::spawn(tell(stream, lie)));
        }
    });
    address
}

async fn tell(mut stream: TcpStream, lie: Lie) -> std::io::Result<()> {
    let mut heard = [0; 4096];
    let _ = stream.read(&mut heard).await?;
    match lie {
        Lie::Once(bytes) => {
            stream.write_all(bytes).await?;
            std::future::pending().await
        }
        Lie::Endless(bytes) => {
            stream.write_all(&[0x20, 2, 0, 0]).await?;
            loop {
                stream.write_all(bytes).await?;
            }
        }
        Lie::Drip(bytes) => {
            for byte in bytes.iter().cycle() {
                stream.write_all(&[*byte]).await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        }
        Lie::Close(bytes) => stream.write_all(bytes).await,
    }
}

/// Longer than any look takes that has an end, on a machine that is as busy as can be.
const HANGS: Duration = Duration::from_secs(120);

/// Every lie ends soon, and what it hides has a reason.
#[tokio::test]
async fn peers_that_lie_are_failures_with_a_reason_in_bounded_time() {
    const ACCEPTED: &[u8] = &[0x20, 2, 0, 0];
    let lies = [
        Lie::Once(b""),
        Lie::Once(ACCEPTED),
        Lie::Once(&[0x20, 0xff, 0xff, 0xff, 0x7f]),
        Lie::Once(&[0x20, 2, 0, 0, 0x30, 0xff, 0xff, 0xff, 0x7f]),
        Lie::Once(&[0x20, 2, 0, 0, 0xff, 0xfe, 0xfd]),
        Lie::Once(&[0x20, 3, 0, 0, 0, 0xe0]),
        Lie::Once(b"\x16\x03\x01\x02\x00\x01"),
        Lie::Once(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        Lie::Endless(&[0x30, 4, 0, 1, b'a', b'b']),
        Lie::Endless(&[0xd0, 0]),
        Lie::Endless(&[0x40, 2, 0, 1]),
        Lie::Endless(b"garbage "),
        Lie::Drip(&[0x20, 0x7f, 0, 0, 0]),
        Lie::Drip(&[0xd0]),
        Lie::Close(ACCEPTED),
        Lie::Close(&[0x20, 2]),
        Lie::Close(b""),
    ];
    for lie in lies {
        let pki = Pki::new();
        let mut config = pki.config();
        config.broker.plaintext = vec![liar(lie).await];
        let begin = Instant::now();
        let (observation, facts, unknown) = look(config, short()).await;
        let took = begin.elapsed();
        assert!(took < HANGS, "{lie:?} took {took:?}");
        let mqtt = facts.listeners.into_values().next().unwrap().mqtt.unwrap();
        assert_eq!((mqtt.retained_canary, mqtt.large_packet_accepted), (None, None), "{lie:?}");
        let address = gatepost_evidence::check::segment(&observation.listeners[0].address);
        for name in ["retained_canary", "large_packet_accepted", "takeover"] {
            // Whoever answers pings for ever may look like a client that goes on, if the flood is slow enough to be read.
            let goes_on = name == "takeover" && mqtt.takeover == Some(false);
            let told = unknown.reason(&format!("/listeners/{address}/mqtt/{name}")).is_some();
            assert!(told || goes_on, "{lie:?}: {name}");
        }
    }
}

#[tokio::test]
async fn web_servers_that_lie_are_failures_with_a_reason_in_bounded_time() {
    const LONG: &[u8] =
        b"HTTP/1.1 200 OK\r\nX: 0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
    let lies = [
        (Lie::Once(b""), FailureKind::TimedOut),
        (Lie::Once(b"HTTP/1.1 101 Switching Protocols\r\n"), FailureKind::TimedOut),
        (Lie::Once(b"SSH-2.0-OpenSSH_9.2\r\n"), FailureKind::Protocol),
        (Lie::Once(&[0x20, 2, 0, 0]), FailureKind::Protocol),
        (Lie::Drip(LONG), FailureKind::TimedOut),
        (Lie::Close(b"HTTP/1.1 2"), FailureKind::Closed),
        (Lie::Close(b"HTTP/1.1 x\r\n\r\n"), FailureKind::Protocol),
    ];
    for (lie, kind) in lies {
        let pki = Pki::new();
        let mut config = pki.config();
        let address = liar(lie).await;
        config.broker.websockets = vec![format!("ws://{address}/mqtt")];
        config.broker.http_api = vec![format!("http://{}", liar(lie).await)];
        let begin = Instant::now();
        let (observation, facts, _) = look(config, short()).await;
        assert!(begin.elapsed() < HANGS, "{lie:?}");
        let websocket = observation.listeners[0].websocket.as_ref().unwrap();
        assert_eq!(websocket.upgrade.failure().unwrap().kind, kind, "{lie:?}");
        assert!(matches!(&observation.listeners[0].mqtt, Some(Look::Failed(_))), "{lie:?}");
        let answers = &observation.http_apis[0].answers;
        assert!(answers.values().all(|answer| answer.failure().unwrap().kind == kind), "{lie:?}: {answers:?}");
        assert_eq!(facts.http_apis.into_values().next().unwrap().shown_to_anybody, None);
    }
    // An upgrade that the key does not prove is none.
    let pki = Pki::new();
    let mut config = pki.config();
    let unproven =
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: AAAA\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
    config.broker.websockets = vec![format!("ws://{}/", liar(Lie::Once(unproven)).await)];
    let (_, facts, _) = look(config, short()).await;
    let websocket = facts.listeners.into_values().next().unwrap().websocket.unwrap();
    assert_eq!((websocket.upgraded, websocket.foreign_origin_accepted), (Some(false), None));
}
