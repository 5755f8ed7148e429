//! MQTT 3.1.1 and 5 as one: what a canary's client says and hears, written and read by rumqttc's codecs.
//!
//! No I/O. What is heard is reduced to what the look needs; a refusal keeps the broker's reason by its name.

use bytes::{Bytes, BytesMut};
use gatepost_evidence::check::telemetry_integrity::Protocol;
use gatepost_evidence::look::{Failure, FailureKind};
use rumqttc::v5::mqttbytes as m5;
use rumqttc::{mqttbytes as m3, mqttbytes::v4 as v3};

use crate::probe::mqtt::Credentials;

/// The largest packet that is read: a canary is far smaller.
const MAX_PACKET: u16 = 4096;

/// How many seconds a broker of MQTT 5 keeps a canary that nobody takes; longer than any look waits.
const EXPIRY_SECONDS: u32 = 120;

/// How a client presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The client id.
    pub id: String,
    /// Whatever the broker still has under that id goes.
    pub clean: bool,
    /// How many seconds the broker is to keep the session when the connection ends; MQTT 3.1.1 knows no seconds.
    pub keep: Option<u32>,
    /// No message larger than a canary is wanted (MQTT 5).
    pub small: bool,
}

/// What a broker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// CONNACK.
    Connected {
        /// Why not, if not.
        refused: Option<String>,
        /// The broker still had the session.
        session_present: bool,
        /// How many messages it takes before it has acknowledged the first.
        receive_maximum: u16,
        /// The highest QoS it takes.
        highest_qos: u8,
    },
    /// SUBACK: the QoS granted for each filter; none where it was refused.
    Subscribed(Vec<Option<u8>>),
    /// PUBLISH.
    Message { payload: Bytes, qos: u8, id: u16, again: bool },
    /// PUBACK, with the reason of a refusal.
    Acknowledged(u16, Option<String>),
    /// PUBREC, with the reason of a refusal.
    Received(u16, Option<String>),
    /// PUBREL.
    Released(u16),
    /// PUBCOMP.
    Completed(u16),
    /// PINGRESP.
    Alive,
    /// DISCONNECT from the broker, which MQTT 5 alone has.
    Ended(String),
    /// Anything else.
    Other,
}

/// The four acknowledgements, which both versions write alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Acknowledge(u16),
    Received(u16),
    Release(u16),
    Complete(u16),
}

fn defect(error: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Error, format_args!("a packet cannot be written: {error}"))
}

/// CONNECT, with a keep-alive longer than any look.
pub fn connect(protocol: Protocol, session: &Session, credentials: Option<&Credentials>) -> Result<BytesMut, Failure> {
    const KEEP_ALIVE: u16 = 120;
    let mut bytes = BytesMut::new();
    let login = credentials.map(|it| (it.username.clone(), it.password.as_ref().map_or("", |word| word.expose())));
    match protocol {
        Protocol::V311 => {
            let mut packet = v3::Connect::new(session.id.clone());
            packet.keep_alive = KEEP_ALIVE;
            packet.clean_session = session.clean;
            packet.login = login.map(|(name, password)| v3::Login::new(name, password));
            packet.write(&mut bytes).map_err(defect)?;
        }
        Protocol::V5 => {
            let mut properties = m5::v5::ConnectProperties::new();
            properties.session_expiry_interval = session.keep;
            properties.max_packet_size = session.small.then_some(u32::from(MAX_PACKET));
            let packet = m5::v5::Connect {
                keep_alive: KEEP_ALIVE,
                client_id: session.id.clone(),
                clean_start: session.clean,
                properties: Some(properties),
            };
            let login = login.map(|(name, password)| m5::v5::Login::new(name, password));
            packet.write(&None, &login, &mut bytes).map_err(defect)?;
        }
    }
    Ok(bytes)
}

/// SUBSCRIBE to `filters` with QoS `qos`.
pub fn subscribe(protocol: Protocol, id: u16, filters: &[String], qos: u8) -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    match protocol {
        Protocol::V311 => {
            let qos = m3::qos(qos).map_err(defect)?;
            let filters = filters.iter().map(|filter| v3::SubscribeFilter::new(filter.clone(), qos));
            let mut packet = v3::Subscribe::new_many(filters);
            packet.pkid = id;
            packet.write(&mut bytes).map_err(defect)?;
        }
        Protocol::V5 => {
            let qos = m5::qos(qos).ok_or_else(|| defect("no such QoS"))?;
            let filters = filters.iter().map(|filter| m5::v5::Filter::new(filter.clone(), qos));
            let mut packet = m5::v5::Subscribe::new_many(filters, None);
            packet.pkid = id;
            packet.write(&mut bytes).map_err(defect)?;
        }
    }
    Ok(bytes)
}

/// PUBLISH, never retained; `id` counts for QoS 1 and 2.
pub fn publish(protocol: Protocol, topic: &str, qos: u8, id: u16, payload: &str) -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    match protocol {
        Protocol::V311 => {
            let mut packet = v3::Publish::new(topic, m3::qos(qos).map_err(defect)?, payload);
            packet.pkid = id;
            packet.write(&mut bytes).map_err(defect)?;
        }
        Protocol::V5 => {
            let qos = m5::qos(qos).ok_or_else(|| defect("no such QoS"))?;
            // Whatever becomes of it, in a queue or a loop: after a while it is gone.
            let expiry = m5::v5::PublishProperties {
                message_expiry_interval: Some(EXPIRY_SECONDS),
                ..m5::v5::PublishProperties::default()
            };
            let mut packet = m5::v5::Publish::new(topic, qos, payload.to_owned(), Some(expiry));
            packet.pkid = id;
            packet.write(&mut bytes).map_err(defect)?;
        }
    }
    Ok(bytes)
}

/// One of the acknowledgements.
pub fn answer(answer: Answer) -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    match answer {
        Answer::Acknowledge(id) => v3::PubAck::new(id).write(&mut bytes),
        Answer::Received(id) => v3::PubRec::new(id).write(&mut bytes),
        Answer::Release(id) => v3::PubRel::new(id).write(&mut bytes),
        Answer::Complete(id) => v3::PubComp::new(id).write(&mut bytes),
    }
    .map_err(defect)?;
    Ok(bytes)
}

/// PINGREQ.
pub fn ping() -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    v3::PingReq.write(&mut bytes).map_err(defect)?;
    Ok(bytes)
}

/// DISCONNECT.
pub fn disconnect() -> Result<BytesMut, Failure> {
    let mut bytes = BytesMut::new();
    v3::Disconnect.write(&mut bytes).map_err(defect)?;
    Ok(bytes)
}

/// Takes the next packet off `received`; none when it is not there as a whole.
///
/// # Errors
/// When what is there is not MQTT, or too large for an answer to a canary.
pub fn read(protocol: Protocol, received: &mut BytesMut) -> Result<Option<Heard>, Failure> {
    let not_mqtt = |error: &dyn std::fmt::Display| Failure::new(FailureKind::Protocol, error);
    match protocol {
        Protocol::V311 => match v3::Packet::read(received, usize::from(MAX_PACKET)) {
            Ok(packet) => Ok(Some(heard_3(packet))),
            Err(m3::Error::InsufficientBytes(_)) => Ok(None),
            Err(m3::Error::InvalidConnectReturnCode(code)) => Err(not_mqtt(&format_args!("CONNACK with code {code}"))),
            Err(error) => Err(not_mqtt(&error)),
        },
        Protocol::V5 => match m5::v5::Packet::read(received, Some(u32::from(MAX_PACKET))) {
            Ok(packet) => Ok(Some(heard_5(packet))),
            Err(m5::Error::InsufficientBytes(_)) => Ok(None),
            Err(error) => Err(not_mqtt(&error)),
        },
    }
}

fn heard_3(packet: v3::Packet) -> Heard {
    match packet {
        v3::Packet::ConnAck(connack) => Heard::Connected {
            refused: (connack.code != v3::ConnectReturnCode::Success).then(|| format!("{:?}", connack.code)),
            session_present: connack.session_present,
            receive_maximum: u16::MAX,
            highest_qos: 2,
        },
        v3::Packet::SubAck(suback) => {
            let granted = suback.return_codes.iter().map(|code| match code {
                v3::SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                v3::SubscribeReasonCode::Failure => None,
            });
            Heard::Subscribed(granted.collect())
        }
        v3::Packet::Publish(publish) => {
            Heard::Message { payload: publish.payload, qos: publish.qos as u8, id: publish.pkid, again: publish.dup }
        }
        v3::Packet::PubAck(answer) => Heard::Acknowledged(answer.pkid, None),
        v3::Packet::PubRec(answer) => Heard::Received(answer.pkid, None),
        v3::Packet::PubRel(answer) => Heard::Released(answer.pkid),
        v3::Packet::PubComp(answer) => Heard::Completed(answer.pkid),
        v3::Packet::PingResp => Heard::Alive,
        _ => Heard::Other,
    }
}

fn heard_5(packet: m5::v5::Packet) -> Heard {
    use m5::v5::{Packet, PubAckReason, PubRecReason, SubscribeReasonCode};
    match packet {
        Packet::ConnAck(connack) => {
            let properties = connack.properties.as_ref();
            Heard::Connected {
                refused: (connack.code != m5::v5::ConnectReturnCode::Success).then(|| format!("{:?}", connack.code)),
                session_present: connack.session_present,
                receive_maximum: properties.and_then(|it| it.receive_max).unwrap_or(u16::MAX),
                highest_qos: properties.and_then(|it| it.max_qos).unwrap_or(2),
            }
        }
        Packet::SubAck(suback) => {
            let granted = suback.return_codes.iter().map(|code| match code {
                SubscribeReasonCode::Success(qos) => Some(*qos as u8),
                _ => None,
            });
            Heard::Subscribed(granted.collect())
        }
        Packet::Publish(publish) => {
            Heard::Message { payload: publish.payload, qos: publish.qos as u8, id: publish.pkid, again: publish.dup }
        }
        // That nobody subscribes is no refusal.
        Packet::PubAck(answer) => {
            let taken = matches!(answer.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            Heard::Acknowledged(answer.pkid, (!taken).then(|| format!("{:?}", answer.reason)))
        }
        Packet::PubRec(answer) => {
            let taken = matches!(answer.reason, PubRecReason::Success | PubRecReason::NoMatchingSubscribers);
            Heard::Received(answer.pkid, (!taken).then(|| format!("{:?}", answer.reason)))
        }
        Packet::PubRel(answer) => Heard::Released(answer.pkid),
        Packet::PubComp(answer) => Heard::Completed(answer.pkid),
        Packet::PingResp(_) => Heard::Alive,
        Packet::Disconnect(disconnect) => Heard::Ended(format!("{:?}", disconnect.reason_code)),
        _ => Heard::Other,
    }
}
