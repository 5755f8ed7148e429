//! Facts of MQTT from what was seen: what is spoken, what holds where nothing is announced, and what a failed trial hides.

use super::*;

fn connack(code: u8) -> Look<Connack> {
    Look::Seen(Connack { code, micros: 1 })
}

fn failed<T>(kind: FailureKind) -> Look<T> {
    Look::Failed(Failure::new(kind, "as told"))
}

fn seen() -> Mqtt {
    let levels = [3, 4, 5].map(|level| LevelOffer { level, answer: connack(0) }).to_vec();
    Mqtt {
        speaker: Speaker::Client,
        connections: 12,
        connection_limit: 24,
        millis: 40,
        levels,
        announced: Some(Announced { asked_session_expiry: 86_400, ..Announced::default() }),
        ping: Some(Look::Seen(Ping { micros: 70 })),
        large_packet: Some(Look::Seen(LargePacket { bytes: 262_200, end: PacketEnd::Acknowledged })),
        retained: Some(Look::Seen(Retained { publish: 0, subscribe: Some(1), came_back: true, cleared: true })),
        takeover: Some(Look::Seen(Takeover { second: 0, first: FirstClient::Disconnected(0x8e) })),
        takeover_without_credentials: None,
        silence: Some(failed(FailureKind::Error)),
        malformed: Malformed::ALL.map(|what| MalformedTrial { what, answer: failed(FailureKind::Closed) }).to_vec(),
        made_up_credentials: None,
    }
}

fn read(mqtt: &Mqtt) -> (MqttFacts, Unknown) {
    let mut unknown = Unknown::default();
    let facts = facts(&Look::Seen(mqtt.clone()), "/mqtt", &mut unknown);
    (facts, unknown)
}

#[test]
fn where_nothing_is_announced_the_standards_default_holds() {
    let (facts, unknown) = read(&seen());
    assert_eq!((facts.mqtt31, facts.mqtt311, facts.mqtt5), (Some(true), Some(true), Some(true)));
    assert_eq!((facts.maximum_packet_size, facts.receive_maximum), (Some(LARGEST_PACKET), Some(65535)));
    assert_eq!((facts.maximum_qos, facts.topic_alias_maximum), (Some(2), Some(0)));
    let all = [facts.retain_available, facts.wildcard_subscriptions, facts.shared_subscriptions];
    assert_eq!((all, facts.subscription_identifiers), ([Some(true); 3], Some(true)));
    assert_eq!((facts.keep_alive_seconds, facts.session_expiry_seconds), (Some(0), Some(86_400)));
    assert_eq!((facts.large_packet_accepted, facts.large_packet_bytes), (Some(true), Some(262_200)));
    assert_eq!((facts.retained_canary, facts.retained_canary_cleared), (Some(true), Some(true)));
    assert_eq!(
        (facts.takeover, facts.takeover_reason, facts.takeover_without_credentials),
        (Some(true), Some(0x8e), None)
    );
    assert_eq!((facts.malformed_accepted, facts.password_in_plaintext), (Some(vec![]), None));
    assert_eq!(facts.silent_client_ended, None);
    assert_eq!(unknown.reason("/mqtt/silent_client_ended"), Some("error: as told"));
    assert_eq!(unknown.reason("/mqtt/password_in_plaintext"), None);
}

#[test]
fn what_is_announced_holds() {
    let announced = Announced {
        asked_session_expiry: 86_400,
        session_expiry: Some(60),
        receive_maximum: Some(20),
        maximum_qos: Some(1),
        retain_available: Some(false),
        maximum_packet_size: Some(1024),
        topic_alias_maximum: Some(10),
        wildcard_subscription_available: Some(false),
        subscription_identifiers_available: Some(false),
        shared_subscription_available: Some(false),
        server_keep_alive: Some(60),
        ..Announced::default()
    };
    let (facts, _) = read(&Mqtt { announced: Some(announced), ..seen() });
    assert_eq!((facts.maximum_packet_size, facts.receive_maximum), (Some(1024), Some(20)));
    assert_eq!(
        (facts.maximum_qos, facts.retain_available, facts.topic_alias_maximum),
        (Some(1), Some(false), Some(10))
    );
    assert_eq!((facts.keep_alive_seconds, facts.session_expiry_seconds), (Some(60), Some(60)));
    assert_eq!((facts.wildcard_subscriptions, facts.shared_subscriptions), (Some(false), Some(false)));
}

#[test]
fn a_level_is_spoken_by_whoever_refuses_for_another_reason() {
    let with = |answers: [Look<Connack>; 3]| {
        let levels = [3, 4, 5].into_iter().zip(answers);
        let levels = levels.map(|(level, answer)| LevelOffer { level, answer }).collect();
        let (facts, unknown) = read(&Mqtt { levels, announced: None, ..seen() });
        let reason = unknown.reason("/mqtt/maximum_packet_size").unwrap().to_owned();
        ([facts.mqtt31, facts.mqtt311, facts.mqtt5], reason)
    };
    let (levels, reason) = with([connack(5), connack(5), connack(0x87)]);
    assert_eq!((levels, reason.contains("no client was let in")), ([Some(true); 3], true));
    let (levels, reason) = with([connack(1), connack(0), connack(1)]);
    assert_eq!((levels, reason.contains("is not spoken")), ([Some(false), Some(true), Some(false)], true));
    let (levels, _) = with([failed(FailureKind::Closed), connack(0), connack(0x84)]);
    assert_eq!(levels, [Some(false), Some(true), Some(false)]);
    // Closed throughout, or silent: nothing was seen to speak MQTT, and nothing to refuse a level.
    let (levels, _) = with([failed(FailureKind::Closed), failed(FailureKind::Closed), failed(FailureKind::TimedOut)]);
    assert_eq!(levels, [None; 3]);
}

#[test]
fn trials_end_in_what_was_seen_or_in_the_reason() {
    let large = |end| Mqtt { large_packet: Some(Look::Seen(LargePacket { bytes: 9, end })), ..seen() };
    for (end, accepted) in
        [(PacketEnd::Acknowledged, true), (PacketEnd::Disconnected(0x95), false), (PacketEnd::Closed, false)]
    {
        assert_eq!(read(&large(end)).0.large_packet_accepted, Some(accepted));
    }
    let takeover = |second, first| Some(Look::Seen(Takeover { second, first }));
    for (trial, taken) in [
        (takeover(0, FirstClient::Closed), true),
        (takeover(0, FirstClient::Alive), false),
        (takeover(0x85, FirstClient::Alive), false),
    ] {
        let (facts, _) = read(&Mqtt { takeover: trial.clone(), takeover_without_credentials: trial, ..seen() });
        assert_eq!((facts.takeover, facts.takeover_without_credentials), (Some(taken), Some(taken)));
    }
    let (facts, unknown) = read(&Mqtt { takeover_without_credentials: Some(failed(FailureKind::TimedOut)), ..seen() });
    assert_eq!((facts.takeover_tried, facts.takeover_without_credentials), (Some(true), None));
    assert!(unknown.reason("/mqtt/takeover_without_credentials").is_some());
    let retained = |publish, subscribe, came_back| {
        let retained = Retained { publish, subscribe, came_back, cleared: true };
        read(&Mqtt { retained: Some(Look::Seen(retained)), ..seen() })
    };
    assert_eq!(retained(0x10, Some(1), false).0.retained_canary, Some(false));
    for (publish, subscribe, word) in [(0x87, None, "write"), (0, Some(0x80), "read")] {
        let (facts, unknown) = retained(publish, subscribe, false);
        assert_eq!((facts.retained_canary, facts.retained_canary_cleared), (None, None));
        assert!(unknown.reason("/mqtt/retained_canary").unwrap().contains(word));
    }
    let nobody = Mqtt { ping: None, large_packet: None, retained: None, takeover: None, silence: None, ..seen() };
    let (facts, unknown) = read(&nobody);
    assert_eq!((facts.ping_micros, facts.takeover), (None, None));
    assert_eq!(unknown.reason("/mqtt/takeover"), Some("no client was let in to try it"));
}

#[test]
fn malformed_openings_are_refused_by_a_code_or_a_closed_connection_and_by_nothing_else() {
    let with = |answer: Look<Connack>| {
        let mut mqtt = seen();
        mqtt.malformed[0].answer = answer;
        read(&mqtt)
    };
    assert_eq!(with(connack(1)).0.malformed_accepted, Some(vec![]));
    assert_eq!(with(connack(0)).0.malformed_accepted, Some(vec!["reserved_flag".into()]));
    let (facts, unknown) = with(failed(FailureKind::TimedOut));
    assert_eq!(facts.malformed_accepted, None);
    assert_eq!(unknown.reason("/mqtt/malformed_accepted"), Some("timed out: as told"));
}

#[test]
fn a_server_that_judges_made_up_credentials_wants_true_ones() {
    let with = |answer| read(&Mqtt { made_up_credentials: Some(answer), ..seen() }).0.password_in_plaintext;
    for code in [4, 5, 0x86, 0x87] {
        assert_eq!(with(connack(code)), Some(true));
    }
    assert_eq!((with(connack(0)), with(connack(3)), with(failed(FailureKind::Closed))), (Some(false), None, None));
}

/// That it was asked for stays visible, so that rules are unknown and not passed over.
#[test]
fn a_look_that_failed_hides_every_fact_with_its_reason() {
    let mut unknown = Unknown::default();
    assert_eq!(facts(&failed(FailureKind::Protocol), "/mqtt", &mut unknown), MqttFacts::default());
    assert_eq!(unknown.reason("/mqtt/maximum_packet_size"), Some("not the protocol: as told"));
}
