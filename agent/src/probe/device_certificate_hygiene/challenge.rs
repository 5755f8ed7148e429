//! The challenge over MQTT (docs/device-challenge.md): a nonce goes out on the device's topic, its certificate and a
//! signature come back on another.
//!
//! One connection of its own to the broker for each device, by the configured client, over TLS that verified: what one
//! device sends disturbs the look at no other. One subscription, one message, never retained; what comes on the answer
//! topic is read and nothing else. Nothing is concluded here: nonce, certificates and signature are the evidence.

use std::time::Duration;

use gatepost_evidence::challenge::{Answer, Challenge as Question, NONCE_BYTES, answer_topic, challenge_topic};
use gatepost_evidence::check::device_certificate_hygiene::{Asked, Challenge, Source, SourceKind};
use gatepost_evidence::id::GatewayId;
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::packet::{self, MAX_PACKET, NoPacket, Packet, Version};
use crate::config::{Challenge as Settings, Config};
use crate::probe::tls::{self, Trusted};
use crate::probe::wire::{self, Budget, micros_since};
use crate::probe::{blocking, broker, canary};

/// The most messages on the answer topic that are looked at: one is the answer, the rest is of somebody who has another
/// idea of it.
const MAX_MESSAGES: u32 = 16;

/// Challenges the device called `id`.
pub(super) async fn challenged(config: &Config, id: &str, budget: &Budget) -> Source {
    let settings = config.devices.challenge.clone();
    let topic = answer_topic(&settings.prefix, id);
    let source = |chain: Look<Vec<Bytes>>, challenge: Option<Challenge>| Source {
        kind: SourceKind::Challenge,
        location: topic.clone(),
        chain,
        possession: false,
        challenge,
    };
    let mut nonce = [0; NONCE_BYTES];
    let random = getrandom::fill(&mut nonce).map_err(|error| Failure::new(FailureKind::Error, error));
    let gateway = config.devices.gateway.ok_or_else(|| Failure::new(FailureKind::Error, "the gateway has no identity"));
    let gateway = match random.and(gateway) {
        Ok(gateway) => gateway,
        Err(failure) => return source(Look::Failed(failure), None),
    };
    let mut asking = Asking::new(gateway, nonce, settings, id);
    let result = asking.ask(config, budget).await;
    let Asking { mut record, answer, asked, .. } = asking;
    let chain = match (answer, result) {
        (Some(answer), _) => {
            record.signature = Some(Bytes(answer.signature));
            Look::Seen(answer.certificates.into_iter().map(Bytes).collect())
        }
        (None, Err(failure)) => Look::Failed(failure),
        (None, Ok(())) => Look::Failed(asking_was_in_vain(&record)),
    };
    record.asked = match asked {
        Some(asked) => Look::Seen(asked),
        None => Look::Failed(chain.failure().cloned().unwrap_or_else(|| Failure::new(FailureKind::Error, "not asked"))),
    };
    source(chain, Some(record))
}

/// The device had its time.
fn asking_was_in_vain(record: &Challenge) -> Failure {
    match (record.stale, record.malformed) {
        (0, 0) => Failure::new(FailureKind::TimedOut, "no answer came in time"),
        (stale, malformed) => {
            let words =
                format!("{stale} answers to other challenges and {malformed} messages that are no answers came");
            Failure::new(FailureKind::Protocol, words)
        }
    }
}

/// One challenge on its way.
struct Asking<'a> {
    question: Question,
    settings: Settings,
    id: &'a str,
    record: Challenge,
    answer: Option<Answer>,
    /// There once the broker took the challenge and the device had its time.
    asked: Option<Asked>,
}

impl<'a> Asking<'a> {
    fn new(gateway: GatewayId, nonce: [u8; NONCE_BYTES], settings: Settings, id: &'a str) -> Self {
        let record = Challenge {
            gateway,
            nonce: Bytes(nonce.to_vec()),
            topic: answer_topic(&settings.prefix, id),
            asked: Look::Failed(Failure::new(FailureKind::Error, "not asked")),
            signature: None,
            stale: 0,
            malformed: 0,
            malformed_because: None,
        };
        Self { question: Question { gateway, nonce }, settings, id, record, answer: None, asked: None }
    }

    async fn ask(&mut self, config: &Config, budget: &Budget) -> Result<(), Failure> {
        let mut session = match Session::open(config, Version::V5, budget).await {
            Err(failure) if failure.kind == FailureKind::Protocol => Session::open(config, Version::V4, budget).await?,
            result => result?,
        };
        session.subscribe(&self.record.topic).await?;
        let topic = challenge_topic(&self.settings.prefix, self.id);
        session.publish(&topic, &self.question.to_bytes(), self.settings.timeout).await?;
        let begin = Instant::now();
        let waited = tokio::time::timeout(self.settings.timeout, self.listen(&mut session)).await;
        // A connection that ended before the device had its time says nothing of the device.
        if let Ok(Err(failure)) = waited {
            return Err(failure);
        }
        let subscribed = session.subscribed;
        self.asked = Some(Asked { subscribed, micros: self.answer.as_ref().map(|_| micros_since(begin)) });
        session.leave().await;
        Ok(())
    }

    /// Until the answer is there, or enough of what is none.
    async fn listen(&mut self, session: &mut Session) -> Result<(), Failure> {
        while self.answer.is_none() && self.record.stale + self.record.malformed < MAX_MESSAGES {
            match session.next().await {
                Ok(Packet::Message { topic, payload, id }) => {
                    if let Some(id) = id {
                        session.send(&packet::acknowledge(id)).await?;
                    }
                    if topic == self.record.topic.as_bytes() {
                        self.hear(&payload);
                    }
                }
                Ok(Packet::Published(code)) => session.published(code)?,
                Ok(Packet::Disconnected(code)) => {
                    let words = format!("the broker ended the session with reason {code:#04x}");
                    return Err(Failure::new(FailureKind::Closed, words));
                }
                Ok(_) => {}
                // On this connection nothing can follow.
                Err(Broken::Packet(why @ NoPacket::TooLarge(_))) => {
                    self.malformed(why);
                    return Ok(());
                }
                Err(broken) => return Err(broken.into()),
            }
        }
        Ok(())
    }

    fn hear(&mut self, payload: &[u8]) {
        match Answer::parse(payload) {
            Ok(answer) if answer.nonce == self.question.nonce => self.answer = Some(answer),
            Ok(_) => self.record.stale += 1,
            Err(why) => self.malformed(why),
        }
    }

    fn malformed(&mut self, why: impl std::fmt::Display) {
        self.record.malformed += 1;
        self.record.malformed_because.get_or_insert_with(|| why.to_string());
    }
}

/// Why nothing can be read any more.
enum Broken {
    Packet(NoPacket),
    Failure(Failure),
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Packet(why) => Failure::new(FailureKind::Protocol, format_args!("the broker sent {why}")),
            Broken::Failure(failure) => failure,
        }
    }
}

/// A session with the broker.
struct Session {
    stream: Trusted,
    version: Version,
    received: Vec<u8>,
    budget: Budget,
    /// Messages that came before they were expected.
    early: Vec<Packet>,
    subscribed: Option<bool>,
}

impl Session {
    /// Connects as the configured client to the first TLS listener.
    ///
    /// # Errors
    /// What went wrong; [`FailureKind::Protocol`] when the broker does not speak this version.
    async fn open(config: &Config, version: Version, budget: &Budget) -> Result<Self, Failure> {
        let (settings, whole) = (config.broker.clone(), config.clone());
        let looked = blocking(move || {
            use gatepost_evidence::check::broker_transport_posture::Transport;
            let candidates = broker::candidates(&whole)?;
            let name = broker::server_name(&settings, &candidates);
            let listener = candidates.into_iter().find(|candidate| candidate.transport == Transport::Tls);
            Ok((listener, name, broker::client(&settings)?))
        });
        let (listener, name, client) =
            looked.await.map_err(|missed| Failure::new(FailureKind::Error, missed.detail))?;
        let listener = listener.ok_or_else(|| {
            let words = "the broker has no TLS listener; challenges go over TLS alone";
            Failure::new(FailureKind::NotFound, words)
        })?;
        let (wire, _) = wire::dial(&listener.address, budget).await?;
        let stream = tls::trusted(wire, &tls::server_name(&name)?, &client.anchors, client.identity, budget).await?;
        let mut session =
            Self { stream, version, received: Vec::new(), budget: *budget, early: Vec::new(), subscribed: None };
        let credentials = client.credentials.as_ref().map(|credentials| {
            (credentials.username.as_str(), credentials.password.as_ref().map_or("", |password| password.expose()))
        });
        session.send(&packet::connect(version, &canary::name()?, credentials)).await?;
        match session.awaited("the answer to MQTT CONNECT").await? {
            Packet::Connected(0) => Ok(session),
            // Unacceptable protocol version: 1 before MQTT 5, 0x84 since.
            Packet::Connected(code @ (1 | 0x84)) => {
                let words = format!("the broker does not speak this version of MQTT ({code:#04x})");
                Err(Failure::new(FailureKind::Protocol, words))
            }
            Packet::Connected(code) => {
                Err(Failure::new(FailureKind::Denied, format_args!("the broker answered CONNECT with {code:#04x}")))
            }
            other => Err(Failure::new(FailureKind::Error, format_args!("{other:?} is no answer to CONNECT"))),
        }
    }

    async fn subscribe(&mut self, topic: &str) -> Result<(), Failure> {
        self.send(&packet::subscribe(self.version, topic)).await?;
        loop {
            match self.awaited("the answer to MQTT SUBSCRIBE").await? {
                Packet::Subscribed(code) if code < 0x80 => return Ok(()),
                Packet::Subscribed(code) => {
                    let words = format!("the broker does not let this client read {topic} ({code:#04x})");
                    return Err(Failure::new(FailureKind::Denied, words));
                }
                early @ Packet::Message { .. } => self.early.push(early),
                _ => {}
            }
        }
    }

    /// Publishes, and waits until the broker has it.
    async fn publish(&mut self, topic: &str, payload: &[u8], timeout: Duration) -> Result<(), Failure> {
        let expires = u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX);
        self.send(&packet::publish(self.version, topic, payload, expires)).await?;
        loop {
            match self.awaited("the answer to MQTT PUBLISH").await? {
                Packet::Published(code) => return self.published(code),
                // A quick device is before the broker's acknowledgement.
                early @ Packet::Message { .. } => self.early.push(early),
                _ => {}
            }
        }
    }

    fn published(&mut self, code: u8) -> Result<(), Failure> {
        const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
        if self.version == Version::V5 {
            self.subscribed = Some(code != NO_MATCHING_SUBSCRIBERS);
        }
        match code {
            0 | NO_MATCHING_SUBSCRIBERS => Ok(()),
            code => {
                let words = format!("the broker does not let this client write the challenge ({code:#04x})");
                Err(Failure::new(FailureKind::Denied, words))
            }
        }
    }

    async fn awaited(&mut self, what: &str) -> Result<Packet, Failure> {
        let budget = self.budget;
        // What has come early stays where it is.
        let next = async { self.read().await.map_err(Failure::from) };
        budget.wait(what, budget.limits().answer, next).await
    }

    /// The next packet, those that came early first. Nothing is lost when this is cancelled.
    async fn next(&mut self) -> Result<Packet, Broken> {
        match self.early.is_empty() {
            false => Ok(self.early.remove(0)),
            true => self.read().await,
        }
    }

    async fn read(&mut self) -> Result<Packet, Broken> {
        loop {
            if let Some((packet, taken)) = packet::read(&self.received, self.version).map_err(Broken::Packet)? {
                self.received.drain(..taken);
                return Ok(packet);
            }
            // Bounded: what is not whole after this many bytes was refused above.
            let mut chunk = [0; 4096];
            let room = (MAX_PACKET + 8).saturating_sub(self.received.len()).clamp(1, chunk.len());
            let stream = self.stream.stream();
            match stream.read(&mut chunk[..room]).await {
                Ok(0) => {
                    let words = "the broker closed the connection";
                    return Err(Broken::Failure(Failure::new(FailureKind::Closed, words)));
                }
                Ok(count) => self.received.extend_from_slice(&chunk[..count]),
                Err(error) => return Err(Broken::Failure(tls::failure(&error, stream.get_ref().0))),
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let budget = self.budget;
        let stream = self.stream.stream();
        let sent = async {
            let written = async {
                stream.write_all(bytes).await?;
                stream.flush().await
            };
            written.await.map_err(|error| Failure::new(crate::http::io_kind(&error), error))
        };
        budget.wait("sending to the broker", budget.limits().answer, sent).await
    }

    /// A broker that does not let us leave politely changes nothing.
    async fn leave(mut self) {
        if self.send(&packet::disconnect()).await.is_ok() {
            let (budget, stream) = (self.budget, self.stream.stream());
            let closing = async { stream.shutdown().await.map_err(|error| Failure::new(FailureKind::Error, error)) };
            let _ = budget.wait("closing", budget.limits().answer, closing).await;
        }
    }
}
