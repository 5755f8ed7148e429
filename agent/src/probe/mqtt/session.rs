//! One MQTT session: CONNECT and its answer, and packets back and forth, each within the budget.

use gatepost_evidence::check::broker_transport_posture::Connack;
use gatepost_evidence::check::broker_transport_posture::mqtt::{Announced, Ping};
use gatepost_evidence::look::{Failure, FailureKind};
use tokio::time::{Duration, Instant};

use super::Credentials;
use super::link::Link;
use super::packet::{self, Connect, Level, Packet, Reader};
use crate::probe::wire::{Budget, micros_since};

/// With whose user name and password a session is opened.
#[derive(Debug, Clone, Copy)]
pub enum Login<'a> {
    /// Without any.
    Nobody,
    /// With made-up ones, which may go anywhere.
    MadeUp(&'a str, &'a str),
    /// With those of the configuration, which go to an authenticated server only.
    Configured(&'a Credentials),
}

/// What a session is opened with.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The client id.
    pub client_id: &'a str,
    /// Seconds; 0 for none.
    pub keep_alive: u16,
    /// Seconds; MQTT 5 only.
    pub session_expiry: Option<u32>,
}

impl<'a> Opening<'a> {
    /// Opens as `client_id`, for longer than a look takes.
    #[must_use]
    pub fn new(client_id: &'a str) -> Self {
        Self { client_id, keep_alive: 30, session_expiry: None }
    }
}

/// How a server ended a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By DISCONNECT with a reason code.
    Disconnected(u8),
    /// Without a word.
    Closed,
}

/// The session.
pub struct Session {
    link: Link,
    reader: Reader,
    level: Level,
    last_id: u16,
}

impl Session {
    /// Speaks `level` over `link`.
    #[must_use]
    pub fn new(link: Link, level: Level) -> Self {
        Self { link, reader: Reader::new(level), level, last_id: 0 }
    }

    /// The level that is spoken.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// A packet id that was not used in this session.
    pub fn id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Sends CONNECT and waits for CONNACK; with it, what MQTT 5 announced.
    ///
    /// # Errors
    /// When no CONNACK comes, with what came instead; when credentials would go to a server that is not authenticated.
    pub async fn connect(
        &mut self,
        opening: &Opening<'_>,
        login: Login<'_>,
        budget: &Budget,
    ) -> Result<(Connack, Announced), Failure> {
        let login = match login {
            Login::Nobody => None,
            Login::MadeUp(name, password) => Some((name, password)),
            Login::Configured(_) if !self.link.is_trusted() => {
                let detail = "credentials are not sent to a broker that is not authenticated";
                return Err(Failure::new(FailureKind::Error, detail));
            }
            Login::Configured(Credentials { username, password }) => {
                Some((username.as_str(), password.as_ref().map_or("", |password| password.expose())))
            }
        };
        let Opening { client_id, keep_alive, session_expiry } = *opening;
        let connect = Connect { keep_alive, session_expiry, login, ..Connect::new(self.level, client_id) };
        let (connack, mut announced) = self.open(&connect.write(), budget).await?;
        announced.asked_keep_alive = keep_alive;
        announced.asked_session_expiry = session_expiry.unwrap_or(0);
        Ok((connack, announced))
    }

    /// Sends `bytes` first of all, and waits for a CONNACK.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn open(&mut self, bytes: &[u8], budget: &Budget) -> Result<(Connack, Announced), Failure> {
        let begin = Instant::now();
        let exchange = async {
            self.link.send(bytes).await?;
            self.next().await
        };
        match budget.wait("the answer to MQTT CONNECT", budget.limits().answer, exchange).await? {
            Packet::Connack { code, announced } => Ok((Connack { code, micros: micros_since(begin) }, announced)),
            other => Err(Failure::new(
                FailureKind::Protocol,
                format_args!("the answer to CONNECT is not a CONNACK but {other:?}"),
            )),
        }
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// When the connection is gone, or the server does not take it in time.
    pub async fn send(&mut self, bytes: &[u8], budget: &Budget) -> Result<(), Failure> {
        budget.wait("the server to take a packet", budget.limits().answer, self.link.send(bytes)).await
    }

    /// The next packet.
    ///
    /// # Errors
    /// [`FailureKind::Closed`] when the server closes instead.
    pub async fn packet(&mut self, what: &str, budget: &Budget) -> Result<Packet, Failure> {
        budget.wait(what, budget.limits().answer, self.next()).await
    }

    /// The next packet, if one comes before `deadline`.
    ///
    /// # Errors
    /// As [`Self::packet`], and when no time was left for it.
    pub async fn linger(&mut self, deadline: Instant, budget: &Budget) -> Result<Option<Packet>, Failure> {
        if budget.left().is_zero() {
            return Err(Failure::new(FailureKind::TimedOut, "no time was left for another packet"));
        }
        match tokio::time::timeout_at(deadline.min(Instant::now() + budget.left()), self.next()).await {
            Ok(packet) => packet.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Nothing is lost when this is cancelled.
    async fn next(&mut self) -> Result<Packet, Failure> {
        let mut bytes = Vec::new();
        loop {
            if let Some(packet) = self.reader.whole()? {
                return Ok(packet);
            }
            let open = self.link.receive(&mut bytes).await?;
            self.reader.feed(&bytes);
            bytes.clear();
            if !open {
                return Err(match self.reader.within_a_packet() {
                    true => Failure::new(FailureKind::Protocol, "the peer closed the connection within a packet"),
                    false => Failure::new(FailureKind::Closed, "the peer closed the connection without an answer"),
                });
            }
        }
    }

    /// PINGREQ and PINGRESP. What comes between goes to `other`.
    ///
    /// # Errors
    /// When the server ends the session instead, or says nothing in time.
    pub async fn ping(&mut self, budget: &Budget, mut other: impl FnMut(Packet)) -> Result<Ping, Failure> {
        let begin = Instant::now();
        self.send(&packet::pingreq(), budget).await?;
        loop {
            match self.packet("the answer to PINGREQ", budget).await? {
                Packet::Pingresp => return Ok(Ping { micros: micros_since(begin) }),
                Packet::Disconnect(code) => return Err(disconnected(code)),
                packet => other(packet),
            }
        }
    }

    /// How the server ended the session, if it did: asked by PINGREQ, and waited for a moment longer.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn ended(&mut self, budget: &Budget) -> Result<Option<Ended>, Failure> {
        /// For servers that do two things at once.
        const MOMENT: Duration = Duration::from_millis(300);
        if let Err(failure) = self.send(&packet::pingreq(), budget).await {
            return if failure.kind == FailureKind::Closed { Ok(Some(Ended::Closed)) } else { Err(failure) };
        }
        let mut answered = None;
        loop {
            let next = match answered {
                Some(deadline) => self.linger(deadline, budget).await,
                None => self.packet("the answer to PINGREQ", budget).await.map(Some),
            };
            match next {
                Ok(None) => return Ok(None),
                Ok(Some(Packet::Disconnect(code))) => return Ok(Some(Ended::Disconnected(code))),
                Ok(Some(Packet::Pingresp)) => answered = answered.or(Some(Instant::now() + MOMENT)),
                Ok(Some(_)) => {}
                Err(failure) if failure.kind == FailureKind::Closed => return Ok(Some(Ended::Closed)),
                Err(failure) => return Err(failure),
            }
        }
    }

    /// DISCONNECT, and the end of the connection. The answers have been seen; a peer that does not let us leave politely
    /// changes nothing about them.
    pub async fn leave(mut self, budget: &Budget) {
        let leaving = async {
            self.link.send(&packet::disconnect(self.level)).await?;
            self.link.close().await
        };
        let _ = budget.wait("MQTT DISCONNECT", budget.limits().answer, leaving).await;
    }
}

/// A session that the server ended by DISCONNECT, as a failure.
#[must_use]
pub fn disconnected(code: u8) -> Failure {
    Failure::new(FailureKind::Closed, format_args!("the server ended the session with reason 0x{code:02x}"))
}
