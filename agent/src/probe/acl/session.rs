//! One MQTT session of a look at rights: requests with their answers, and which canary messages came meanwhile.
//!
//! Of messages that are not this look's own, a number is all that is kept.

use std::collections::BTreeSet;
use std::time::Duration;

use gatepost_evidence::look::{Failure, FailureKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use super::packet::{self, DISCONNECT, Hello, Incoming, PING, Reader, V4, V5};
use crate::http;
use crate::probe::tls::{self, Trusted, Unauthenticated};
use crate::probe::wire::{Budget, Wire};

/// The most messages that are not this look's own: one more ends the session.
pub const MAX_OTHERS: u32 = 1000;
/// Bytes that are read at once.
const CHUNK: usize = 4096;
/// How long a message that everybody else had may take to arrive: brokers that are not single-threaded acknowledge first.
const GRACE: Duration = Duration::from_millis(150);

/// What a session runs over.
pub enum Channel {
    /// No TLS.
    Plaintext(Wire),
    /// TLS to whoever answered.
    Unauthenticated(Unauthenticated),
    /// TLS to the broker.
    Trusted(Trusted),
}

impl Channel {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        let stream = match self {
            Self::Plaintext(wire) => {
                return wire.read(buffer).await.map_err(|error| Failure::new(http::io_kind(&error), error));
            }
            Self::Unauthenticated(stream) => stream.stream(),
            Self::Trusted(stream) => stream.stream(),
        };
        let read = stream.read(buffer).await;
        read.map_err(|error| tls::failure(&error, stream.get_ref().0))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let stream = match self {
            Self::Plaintext(wire) => {
                return wire.write_all(bytes).await.map_err(|error| Failure::new(http::io_kind(&error), error));
            }
            Self::Unauthenticated(stream) => stream.stream(),
            Self::Trusted(stream) => stream.stream(),
        };
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        written.await.map_err(|error| tls::failure(&error, stream.get_ref().0))
    }
}

/// A session.
pub struct Session {
    channel: Channel,
    reader: Reader,
    level: u8,
    last_id: u16,
    /// The broker hung up.
    ended: bool,
    /// This look's own topics begin with one of these.
    own: [String; 2],
    /// Its own topics that came.
    pub heard: BTreeSet<String>,
    /// Topics that are nobody's canary, counted, and how many of them [`Session::beyond`] is about.
    pub others: u32,
    /// Messages on `$SYS`.
    pub sys: u32,
    /// How many of the others the client should not have had, if that can be told.
    pub beyond: u32,
    /// Tells whether a topic is one that the client may read.
    declared: Box<dyn Fn(&str) -> bool + Send>,
}

impl Session {
    /// Sends CONNECT at `level` over `channel`; the session and the code of CONNACK. `own` are the beginnings of this look's
    /// topics, and `declared` tells which topics the client may read.
    ///
    /// # Errors
    /// When no CONNACK comes.
    pub async fn open(
        channel: Channel,
        level: u8,
        hello: &Hello<'_>,
        own: [String; 2],
        declared: Box<dyn Fn(&str) -> bool + Send>,
        budget: &Budget,
    ) -> Result<(Self, u8), Failure> {
        let mut session = Self {
            channel,
            reader: Reader::new(level),
            level,
            last_id: 0,
            ended: false,
            own,
            heard: BTreeSet::new(),
            others: 0,
            sys: 0,
            beyond: 0,
            declared,
        };
        let connect = packet::connect(level, hello);
        let code = session.ask("CONNECT", &connect, budget, |incoming| match incoming {
            Incoming::Connack(code) => Some(*code),
            _ => None,
        });
        let code = code.await?;
        Ok((session, code))
    }

    /// Whether `level` is a version of the protocol that a server with this answer does not speak.
    #[must_use]
    pub fn other_version(level: u8, answer: Result<u8, &Failure>) -> bool {
        level != V4
            && match answer {
                Ok(code) => matches!(code, 1 | 0x84),
                Err(failure) => matches!(failure.kind, FailureKind::Closed | FailureKind::Protocol),
            }
    }

    /// Subscribes to `filter` with QoS 0; the code of SUBACK.
    ///
    /// # Errors
    /// When none comes.
    pub async fn subscribe(&mut self, filter: &str, budget: &Budget) -> Result<u8, Failure> {
        let id = self.next_id();
        let bytes = packet::subscribe(self.level, id, filter);
        let answer = self.ask("SUBSCRIBE", &bytes, budget, |incoming| match incoming {
            Incoming::Suback(answered, code) if *answered == id => Some(*code),
            _ => None,
        });
        answer.await
    }

    /// Publishes an empty message to `topic` with QoS 1, not retained; the reason code of PUBACK, none in MQTT 3.1.1.
    ///
    /// # Errors
    /// When none comes.
    pub async fn publish(&mut self, topic: &str, budget: &Budget) -> Result<Option<u8>, Failure> {
        let id = self.next_id();
        let bytes = packet::publish(self.level, id, topic);
        let answer = self.ask("PUBLISH", &bytes, budget, |incoming| match incoming {
            Incoming::Puback(answered, code) if *answered == id => Some(*code),
            _ => None,
        });
        answer.await
    }

    /// Waits until everything that the broker had for this client when it was called has come.
    ///
    /// # Errors
    /// When PINGREQ is not answered.
    pub async fn fence(&mut self, budget: &Budget) -> Result<(), Failure> {
        self.ask("PINGREQ", PING, budget, |incoming| (*incoming == Incoming::Pong).then_some(())).await
    }

    /// Waits for `topic` a little, once the fence has been passed without it.
    pub async fn wait_for(&mut self, topic: &str, budget: &Budget) {
        let end = Instant::now() + GRACE;
        while !self.heard.contains(topic) {
            let left = end.saturating_duration_since(Instant::now());
            // Whatever ends the waiting: it did not come.
            match budget.wait("a message", left, self.next()).await {
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Leaves in order.
    pub async fn leave(mut self, budget: &Budget) {
        // The look is over; a peer that does not let us leave politely changes nothing about it.
        let _ = budget.wait("DISCONNECT", budget.limits().answer, self.channel.write(DISCONNECT)).await;
    }

    /// Breaks the connection without DISCONNECT, so that the broker publishes the will (section 3.1.2.5).
    pub fn break_off(self) {
        drop(self);
    }

    async fn ask<T>(
        &mut self,
        what: &str,
        bytes: &[u8],
        budget: &Budget,
        mut wanted: impl FnMut(&Incoming) -> Option<T>,
    ) -> Result<T, Failure> {
        if self.ended {
            // Only what made the broker hang up was refused by that.
            return Err(Failure::new(FailureKind::Error, "not tried, since the broker had ended the session"));
        }
        let exchange = async {
            self.channel.write(bytes).await?;
            loop {
                if let Some(answer) = wanted(&self.next().await?) {
                    return Ok(answer);
                }
            }
        };
        let answer = budget.wait(&format!("the answer to {what}"), budget.limits().answer, exchange).await;
        self.ended |= answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::Closed);
        answer
    }

    /// The next packet, noted if it is a message. Nothing is lost when this is cancelled.
    async fn next(&mut self) -> Result<Incoming, Failure> {
        loop {
            match self.reader.next_packet() {
                Ok(Some(incoming)) => {
                    self.note(&incoming)?;
                    return Ok(incoming);
                }
                Ok(None) => {}
                Err(words) => return Err(Failure::new(FailureKind::Protocol, words)),
            }
            let mut chunk = [0; CHUNK];
            match self.channel.read(&mut chunk).await? {
                0 => return Err(Failure::new(FailureKind::Closed, "the broker ended the connection")),
                count => self.reader.feed(&chunk[..count]),
            }
        }
    }

    fn note(&mut self, incoming: &Incoming) -> Result<(), Failure> {
        let topic = match incoming {
            Incoming::Message(topic) => topic,
            Incoming::Disconnect(code) => {
                return Err(Failure::new(FailureKind::Closed, format_args!("DISCONNECT with reason {code}")));
            }
            _ => return Ok(()),
        };
        if self.own.iter().any(|own| topic.starts_with(own)) {
            self.heard.insert(topic.clone());
            return Ok(());
        }
        // Canaries of other looks are nobody's secret.
        if topic.starts_with("gatepost/") {
            return Ok(());
        }
        if self.others + self.sys == MAX_OTHERS {
            return Err(Failure::new(FailureKind::TooLarge, format_args!("more than {MAX_OTHERS} messages came")));
        }
        match topic.starts_with("$SYS") {
            true => self.sys += 1,
            false => self.others += 1,
        }
        if !(self.declared)(topic) {
            self.beyond += 1;
        }
        Ok(())
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// The level it is spoken at.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.level
    }
}

/// The versions of the protocol in the order in which they are tried.
pub const LEVELS: [u8; 2] = [V5, V4];
