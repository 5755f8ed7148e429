//! What is written is read by rumqttc's codec as it was meant; what is read is what servers say, and nothing else.

use super::packet::*;
use bytes::BytesMut;
use gatepost_evidence::check::broker_transport_posture::mqtt::Announced;
use gatepost_evidence::look::{Failure, FailureKind};
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;

fn all(level: Level, bytes: &[u8]) -> Result<Vec<Packet>, Failure> {
    let mut reader = Reader::new(level);
    let mut packets = Vec::new();
    // Byte by byte: a whole packet is told at its last byte, and never before.
    for byte in bytes {
        reader.feed(&[*byte]);
        packets.extend(reader.whole()?);
    }
    assert!(!reader.within_a_packet(), "{bytes:02x?} is not whole");
    Ok(packets)
}

#[test]
fn another_codec_reads_what_is_written_in_311() {
    let read = |bytes: Vec<u8>| v4::Packet::read(&mut BytesMut::from(bytes.as_slice()), 1 << 20).unwrap();
    let login = Some(("user", "pass"));
    let v4::Packet::Connect(connect) = read(Connect { login, ..Connect::new(Level::V311, "canary") }.write()) else {
        panic!("no CONNECT")
    };
    assert_eq!((connect.client_id.as_str(), connect.keep_alive, connect.clean_session), ("canary", 10, true));
    assert_eq!(connect.login, Some(v4::Login::new("user", "pass")));
    let v4::Packet::Publish(publish) = read(publish(Level::V311, 7, "a/b", b"xy", true)) else { panic!("no PUBLISH") };
    assert_eq!((publish.topic.as_str(), publish.pkid, publish.qos), ("a/b", 7, QoS::AtLeastOnce));
    assert!(publish.retain && publish.payload.as_ref() == b"xy");
    let v4::Packet::Subscribe(subscribe) = read(subscribe(Level::V311, 8, "a/#")) else { panic!("no SUBSCRIBE") };
    assert_eq!((subscribe.pkid, subscribe.filters[0].path.as_str()), (8, "a/#"));
    let v4::Packet::Unsubscribe(large) = read(large_unsubscribe(Level::V311, 9, "a", 100_000)) else { panic!("none") };
    assert!(large.topics.len() > 10 && large.topics.iter().all(|topic| topic.starts_with("a/xxx")));
    assert_eq!(read(puback(9)), v4::Packet::PubAck(v4::PubAck::new(9)));
    assert_eq!((read(pingreq()), read(disconnect(Level::V311))), (v4::Packet::PingReq, v4::Packet::Disconnect));
}

#[test]
fn another_codec_reads_what_is_written_in_5() {
    let read = |bytes: Vec<u8>| v5::Packet::read(&mut BytesMut::from(bytes.as_slice()), Some(1 << 20)).unwrap();
    let connect = Connect { session_expiry: Some(86_400), keep_alive: 0, ..Connect::new(Level::V5, "canary") };
    let v5::Packet::Connect(connect, None, None) = read(connect.write()) else { panic!("no CONNECT") };
    assert_eq!((connect.client_id.as_str(), connect.keep_alive, connect.clean_start), ("canary", 0, true));
    assert_eq!(connect.properties.unwrap().session_expiry_interval, Some(86_400));
    let v5::Packet::Publish(publish) = read(publish(Level::V5, 7, "a/b", b"xy", false)) else { panic!("no PUBLISH") };
    assert!(!publish.retain && publish.payload.as_ref() == b"xy" && publish.topic.as_ref() == b"a/b");
    let v5::Packet::Subscribe(subscribe) = read(subscribe(Level::V5, 8, "a/#")) else { panic!("no SUBSCRIBE") };
    assert_eq!(subscribe.filters[0].path, "a/#");
    let v5::Packet::Unsubscribe(large) = read(large_unsubscribe(Level::V5, 9, "a", 100_000)) else { panic!("none") };
    assert!(large.filters == ["a"] && large.properties.unwrap().user_properties.len() > 10);
    let v5::Packet::Disconnect(end) = read(disconnect(Level::V5)) else { panic!("no DISCONNECT") };
    assert_eq!(end.properties.unwrap().session_expiry_interval, Some(0));
}

/// Between the fixed header and the client id stands what makes an opening sound or not.
#[test]
fn an_opening_is_as_wrong_as_it_is_meant_to_be() {
    let sound = Connect::new(Level::V311, "id");
    assert_eq!(sound.write()[2..10], *b"\x00\x04MQTT\x04\x02");
    assert_eq!(Connect::new(Level::V31, "id").write()[2..12], *b"\x00\x06MQIsdp\x03\x02");
    assert_eq!(Connect { reserved_flag: true, ..sound }.write()[9], 0x03);
    assert_eq!(Connect { protocol: Some(("GPST", 9)), ..sound }.write()[4..9], *b"GPST\x09");
}

#[test]
fn what_servers_say_is_read() {
    let accepted = |announced| Packet::Connack { code: 0, announced };
    assert_eq!(all(Level::V311, &[0x20, 2, 0, 0]).unwrap(), [accepted(Announced::default())]);
    let refused = Packet::Connack { code: 1, announced: Announced::default() };
    // A server that knows no MQTT 5 answers as it can.
    assert_eq!(all(Level::V5, &[0x20, 2, 0, 1]).unwrap(), [refused]);
    // Mosquitto 2.1.2, asked for a level that does not exist; nothing else is answered so before MQTT 5.
    let unsupported = Packet::Connack { code: 0x84, announced: Announced::default() };
    assert_eq!(all(Level::V311, &[0x20, 3, 0, 0x84, 0]).unwrap(), [unsupported]);
    assert!(all(Level::V311, &[0x20, 3, 0, 0, 0]).is_err());
    // Mosquitto 2.0.11, asked for no keep alive.
    let said = [0x20, 0x0c, 0, 0, 9, 0x22, 0, 0x0a, 0x13, 0xff, 0xff, 0x21, 0, 0x14];
    let announced = Announced {
        topic_alias_maximum: Some(10),
        server_keep_alive: Some(65535),
        receive_maximum: Some(20),
        ..Announced::default()
    };
    assert_eq!(all(Level::V5, &said).unwrap(), [accepted(announced)]);
    let five = [
        (&[0xe0u8, 1, 0x8e][..], Packet::Disconnect(0x8e)),
        (&[0xe0, 0], Packet::Disconnect(0)),
        (&[0xe0, 7, 0x95, 5, 31, 0, 2, b'n', b'o'], Packet::Disconnect(0x95)),
        (&[0x40, 2, 0, 7], Packet::Puback(7, 0)),
        (&[0x40, 3, 0, 7, 0x87], Packet::Puback(7, 0x87)),
        (&[0x40, 4, 0, 7, 0x10, 0], Packet::Puback(7, 0x10)),
        (&[0x90, 4, 0, 7, 0, 1], Packet::Suback(7, 1)),
        (&[0xb0, 4, 0, 7, 0, 0x11], Packet::Unsuback(7)),
        (&[0xd0, 0], Packet::Pingresp),
        (
            &[0x31, 6, 0, 1, b'a', 0, b'x', b'y'],
            Packet::Publish { topic: b"a".to_vec(), payload: b"xy".to_vec(), retain: true, id: None },
        ),
    ];
    for (bytes, packet) in five {
        assert_eq!(all(Level::V5, bytes).unwrap(), [packet]);
    }
    let before = [
        (&[0x90u8, 3, 0, 7, 0x80][..], Packet::Suback(7, 0x80)),
        (&[0xb0, 2, 0, 7], Packet::Unsuback(7)),
        (
            &[0x32, 6, 0, 1, b'a', 0, 9, b'x'],
            Packet::Publish { topic: b"a".to_vec(), payload: b"x".to_vec(), retain: false, id: Some(9) },
        ),
    ];
    for (bytes, packet) in before {
        assert_eq!(all(Level::V311, bytes).unwrap(), [packet]);
    }
}

#[test]
fn every_property_of_a_connack_is_read() {
    let mut properties = vec![17, 0, 0, 0, 60, 33, 0, 9, 36, 1, 37, 0, 39, 0, 1, 0, 0, 18, 0, 1, b'c', 34, 0, 3];
    properties.extend([31, 0, 1, b'r', 38, 0, 1, b'k', 0, 1, b'v', 38, 0, 1, b'k', 0, 1, b'v', 40, 0, 41, 1, 42, 0]);
    properties.extend([19, 0, 30, 26, 0, 0, 28, 0, 0, 21, 0, 0, 22, 0, 0]);
    let count = u8::try_from(properties.len()).unwrap();
    let said = [&[0x20, count + 3, 1, 0, count][..], &properties].concat();
    let announced = Announced {
        session_expiry: Some(60),
        receive_maximum: Some(9),
        maximum_qos: Some(1),
        retain_available: Some(false),
        maximum_packet_size: Some(65536),
        client_id_assigned: true,
        topic_alias_maximum: Some(3),
        wildcard_subscription_available: Some(false),
        subscription_identifiers_available: Some(true),
        shared_subscription_available: Some(false),
        server_keep_alive: Some(30),
        ..Announced::default()
    };
    assert_eq!(all(Level::V5, &said).unwrap(), [Packet::Connack { code: 0, announced }]);
}

#[test]
fn what_no_server_may_say_is_told_with_its_first_bytes() {
    for (level, bytes) in [
        // Packets that only clients send, or nobody.
        (Level::V311, &b"HTTP/1.1 400"[..]),
        (Level::V311, &[0x10, 0]),
        (Level::V311, &[0x00, 0]),
        (Level::V311, &[0xe0, 0]),
        (Level::V311, &[0x21, 2, 0, 0]),
        (Level::V311, &[0x36, 3, 0, 1, b'a']),
        // Lengths that do not end, or do not fit.
        (Level::V311, &[0x20, 0xff, 0xff, 0xff, 0xff, 0x01]),
        (Level::V311, &[0x20, 0]),
        (Level::V311, &[0x20, 3, 0, 0, 0]),
        (Level::V311, &[0x20, 2, 2, 0]),
        (Level::V311, &[0xd0, 1, 0]),
        (Level::V311, &[0x40, 3, 0, 7, 0]),
        (Level::V311, &[0x90, 4, 0, 7, 0, 0]),
        (Level::V311, &[0xb0, 3, 0, 7, 0]),
        (Level::V311, &[0x30, 2, 0, 9]),
        (Level::V311, &[0x32, 3, 0, 1, b'a']),
        // Properties: behind each other, cut off, unknown, twice, or with values that there are not.
        (Level::V5, &[0x20, 2, 0, 0]),
        (Level::V5, &[0x20, 4, 0, 0, 0, 0]),
        (Level::V5, &[0x20, 4, 0, 0, 9, 0]),
        (Level::V5, &[0x20, 5, 0, 0, 2, 99, 0]),
        (Level::V5, &[0x20, 5, 0, 0, 2, 255, 0]),
        (Level::V5, &[0x20, 5, 0, 0, 2, 36, 2]),
        (Level::V5, &[0x20, 5, 0, 0, 2, 37, 2]),
        (Level::V5, &[0x20, 6, 0, 0, 3, 33, 0, 0]),
        (Level::V5, &[0x20, 8, 0, 0, 5, 39, 0, 0, 0, 0]),
        (Level::V5, &[0x20, 7, 0, 0, 4, 36, 1, 36, 1]),
        (Level::V5, &[0x20, 7, 0, 0, 4, 31, 0, 9, b'r']),
        (Level::V5, &[0xe0, 3, 0x8e, 9, 0]),
        (Level::V5, &[0xb0, 3, 0, 7, 0]),
    ] {
        let failure = all(level, bytes).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Protocol, "{bytes:02x?}");
        assert!(failure.detail.contains(&format!("{:02x}", bytes[0])), "{failure}");
    }
    let long = all(Level::V311, &[0x30, 0xff, 0xff, 0xff, 0x7f]).unwrap_err();
    assert_eq!((long.kind, long.detail.contains("268435455 bytes")), (FailureKind::TooLarge, true));
}
