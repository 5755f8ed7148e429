//! One connection of a canary's client to a broker: dialled, authenticated, and read packet by packet.
//!
//! Credentials go over TLS that verified and nowhere else: a plaintext way has none. Reading may be broken off at any time
//! without losing a packet.

use std::io;

use bytes::BytesMut;
use gatepost_evidence::check::telemetry_integrity::Protocol;
use gatepost_evidence::look::{Failure, FailureKind};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::packet::{self, Answer, Heard, Session};
use crate::http;
use crate::probe::broker::Client;
use crate::probe::tls::{self, Identity, Trusted};
use crate::probe::wire::{self, Budget, Wire};

/// How to get to a broker.
pub struct Way {
    /// `host:port`.
    pub address: String,
    /// For TLS: the broker's name, and what the client shows and trusts. Without it nothing is shown at all.
    pub tls: Option<(ServerName<'static>, Client)>,
}

impl Way {
    /// As it is recorded: `mqtts://host:port` or `mqtt://host:port`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://{}", self.address)
    }

    async fn dial(&self, budget: &Budget) -> Result<Stream, Failure> {
        let (wire, _) = wire::dial(&self.address, budget).await?;
        let Some((name, client)) = &self.tls else { return Ok(Stream::Plaintext(wire)) };
        let identity = client
            .identity
            .as_ref()
            .map(|identity| Identity { chain: identity.chain.clone(), key: identity.key.clone_key() });
        Ok(Stream::Tls(Box::new(tls::trusted(wire, name, &client.anchors, identity, budget).await?)))
    }
}

enum Stream {
    Plaintext(Wire),
    Tls(Box<Trusted>),
}

/// Both directions of a connection.
pub trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

impl Stream {
    fn both(&mut self) -> &mut dyn Both {
        match self {
            Self::Plaintext(wire) => wire,
            Self::Tls(trusted) => trusted.stream(),
        }
    }

    /// A server that demands a certificate says so in TLS 1.3 only at the first read.
    fn failure(&mut self, error: &io::Error) -> Failure {
        match self {
            Self::Plaintext(_) => Failure::new(http::io_kind(error), error),
            Self::Tls(trusted) => tls::failure(error, trusted.stream().get_ref().0),
        }
    }
}

/// A connection that the broker accepted.
pub struct Link {
    stream: Stream,
    protocol: Protocol,
    received: BytesMut,
    last_id: u16,
    budget: Budget,
    /// The broker still had the session.
    pub session_present: bool,
    /// How many messages it takes before it has acknowledged the first.
    pub receive_maximum: u16,
    /// The highest QoS it takes.
    pub highest_qos: u8,
}

impl Link {
    /// Connects in the version of MQTT that the broker speaks: 5, or else 3.1.1.
    ///
    /// # Errors
    /// As [`Link::open`]; of the two attempts the second one's.
    pub async fn first(way: &Way, session: &Session, budget: &Budget) -> Result<(Self, Protocol), Failure> {
        match Self::open(way, Protocol::V5, session, budget).await {
            Ok(link) => Ok((link, Protocol::V5)),
            // A broker that knows 3.1.1 only answers with a CONNACK of that version, or hangs up.
            Err(failure)
                if matches!(failure.kind, FailureKind::Protocol | FailureKind::Closed)
                    || failure.detail.contains("ProtocolVersion") =>
            {
                Ok((Self::open(way, Protocol::V311, session, budget).await?, Protocol::V311))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// When the broker is not reached, is not who it should be, or does not accept ([`FailureKind::Denied`]).
    pub async fn open(way: &Way, protocol: Protocol, session: &Session, budget: &Budget) -> Result<Self, Failure> {
        let stream = way.dial(budget).await?;
        let credentials = way.tls.as_ref().and_then(|(_, client)| client.credentials.as_ref());
        let connect = packet::connect(protocol, session, credentials)?;
        let mut link = Self {
            stream,
            protocol,
            received: BytesMut::with_capacity(1024),
            last_id: 0,
            budget: *budget,
            session_present: false,
            receive_maximum: 0,
            highest_qos: 0,
        };
        let exchange = async {
            link.write(&connect).await?;
            link.hear().await
        };
        match budget.wait("the answer to MQTT CONNECT", budget.limits().answer, exchange).await? {
            Heard::Connected { refused: Some(why), .. } => {
                Err(Failure::new(FailureKind::Denied, format_args!("{} does not accept this client: {why}", way.url())))
            }
            Heard::Connected { refused: None, session_present, receive_maximum, highest_qos } => {
                link.session_present = session_present;
                link.receive_maximum = receive_maximum;
                link.highest_qos = highest_qos;
                Ok(link)
            }
            _ => Err(Failure::new(FailureKind::Protocol, "the answer to CONNECT is not a CONNACK")),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let stream = self.stream.both();
        let written = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        match written.await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.stream.failure(&error)),
        }
    }

    /// Writes `bytes`, within the time for an answer.
    ///
    /// # Errors
    /// When the connection is gone, or does not take them.
    pub async fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let budget = self.budget;
        budget.wait("writing to the broker", budget.limits().answer, self.write(bytes)).await
    }

    /// Writes an acknowledgement.
    ///
    /// # Errors
    /// As [`Link::say`].
    pub async fn answer(&mut self, answer: Answer) -> Result<(), Failure> {
        self.say(&packet::answer(answer)?).await
    }

    /// Publishes and gives the packet id.
    ///
    /// # Errors
    /// As [`Link::say`].
    pub async fn publish(&mut self, topic: &str, qos: u8, payload: &str) -> Result<u16, Failure> {
        let id = if qos == 0 { 0 } else { self.next_id() };
        self.say(&packet::publish(self.protocol, topic, qos, id, payload)?).await?;
        Ok(id)
    }

    /// Subscribes to `filters` and gives the QoS that was granted for each; with it what came before the answer.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn subscribe(&mut self, filters: &[String], qos: u8) -> Result<(Vec<Option<u8>>, Vec<Heard>), Failure> {
        let id = self.next_id();
        self.say(&packet::subscribe(self.protocol, id, filters, qos)?).await?;
        let budget = self.budget;
        let mut early = Vec::new();
        let answered = async {
            loop {
                match self.hear().await? {
                    Heard::Subscribed(granted) => return Ok(granted),
                    other => early.push(other),
                }
            }
        };
        let granted = budget.wait("the answer to MQTT SUBSCRIBE", budget.limits().answer, answered).await?;
        Ok((granted, early))
    }

    /// The next packet. Nothing is lost when this is cancelled.
    ///
    /// # Errors
    /// When the connection ends or what comes is not MQTT.
    pub async fn hear(&mut self) -> Result<Heard, Failure> {
        loop {
            match packet::read(self.protocol, &mut self.received)? {
                Some(Heard::Ended(why)) => {
                    return Err(Failure::new(FailureKind::Closed, format_args!("the broker ended the session: {why}")));
                }
                Some(heard) => return Ok(heard),
                None => {}
            }
            match self.stream.both().read_buf(&mut self.received).await {
                Ok(0) => return Err(Failure::new(FailureKind::Closed, "the broker closed the connection")),
                Ok(_) => {}
                Err(error) => return Err(self.stream.failure(&error)),
            }
        }
    }

    /// What was read and not yet understood; for who reads on by himself.
    pub fn take_received(&mut self) -> BytesMut {
        self.received.split()
    }

    /// The bytes as they come; for who reads by himself.
    pub fn raw(&mut self) -> &mut (dyn Both + '_) {
        self.stream.both()
    }

    /// Says goodbye and closes; a peer that does not listen any more changes nothing.
    pub async fn leave(mut self) {
        if let Ok(bytes) = packet::disconnect() {
            let _ = self.say(&bytes).await;
        }
        let budget = self.budget;
        let closing = async {
            // Mosquitto ends the connection when it has dealt with DISCONNECT; only then is the session surely put away.
            while self.stream.both().read_buf(&mut self.received).await? > 0 {
                self.received.clear();
            }
            Ok::<_, io::Error>(())
        };
        let closed = async { closing.await.map_err(|error| Failure::new(http::io_kind(&error), error)) };
        let _ = budget.wait("the end of the connection", budget.limits().answer, closed).await;
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}
