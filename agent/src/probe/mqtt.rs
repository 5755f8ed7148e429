//! One MQTT 3.1.1 CONNECT and its answer, with rumqttc's codec over a probe's own connection.
//!
//! Nothing is published and nothing subscribed to: a clean session is opened and, if it was accepted, closed with
//! DISCONNECT. At most [`MAX_ANSWER`] bytes of the answer are read. A user name and password go over [`tls::Trusted`]
//! only.

use std::io;

use bytes::BytesMut;
use gatepost_evidence::check::broker_transport_posture::Connack;
use gatepost_evidence::look::{Failure, FailureKind};
use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::{Connect, Disconnect, Login, Packet};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::canary;
use super::tls::{self, Trusted, Unauthenticated};
use super::wire::{Budget, Wire, hex, micros_since};
use crate::http;
use crate::secret::Secret;

/// The most bytes of an answer that are read; a CONNACK has four.
const MAX_ANSWER: usize = 64;
/// Seconds; the look is over long before.
const KEEP_ALIVE: u16 = 10;
/// Fixed header of every CONNACK (MQTT 3.1.1, section 3.2.1).
const CONNACK_HEADER: [u8; 2] = [0x20, 0x02];

/// A user name and its password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
}

/// Connects without user name and password, in plaintext.
///
/// # Errors
/// When no CONNACK comes, with what came instead.
pub async fn anonymous_plaintext(mut wire: Wire, budget: &Budget) -> Result<Connack, Failure> {
    connect(&mut wire, None, budget).await
}

/// Connects without user name and password, over TLS.
///
/// # Errors
/// As [`anonymous_plaintext`]; a server that demands a certificate in TLS 1.3 says so only here.
pub async fn anonymous_tls(mut stream: Unauthenticated, budget: &Budget) -> Result<Connack, Failure> {
    connect(stream.stream(), None, budget).await
}

/// Connects with `credentials` over a connection whose server is authenticated.
///
/// # Errors
/// As [`anonymous_tls`].
pub async fn authenticated(
    mut stream: Trusted,
    credentials: Option<Credentials>,
    budget: &Budget,
) -> Result<Connack, Failure> {
    connect(stream.stream(), credentials, budget).await
}

/// A stream that can say what an error on it means.
trait Spoken: AsyncRead + AsyncWrite + Unpin {
    fn failure(&self, error: &io::Error) -> Failure;
}

impl Spoken for Wire {
    fn failure(&self, error: &io::Error) -> Failure {
        Failure::new(http::io_kind(error), error)
    }
}

impl Spoken for TlsStream<Wire> {
    fn failure(&self, error: &io::Error) -> Failure {
        tls::failure(error, self.get_ref().0)
    }
}

async fn connect(
    stream: &mut impl Spoken,
    credentials: Option<Credentials>,
    budget: &Budget,
) -> Result<Connack, Failure> {
    let mut packet = Connect::new(canary::name()?);
    packet.keep_alive = KEEP_ALIVE;
    packet.login = credentials.map(|Credentials { username, password }| {
        Login::new(username, password.as_ref().map_or("", |password| password.expose()))
    });
    let mut bytes = BytesMut::new();
    packet.write(&mut bytes).map_err(|error| Failure::new(FailureKind::Error, error))?;
    let begin = Instant::now();
    let exchange = async {
        send(stream, &bytes).await?;
        answer(stream).await
    };
    let code = budget.wait("the answer to MQTT CONNECT", budget.limits().answer, exchange).await?;
    let connack = Connack { code, micros: micros_since(begin) };
    if code == 0 {
        // The answer has been seen; a peer that does not let us leave politely changes nothing about it.
        let _ = budget.wait("MQTT DISCONNECT", budget.limits().answer, leave(stream)).await;
    }
    Ok(connack)
}

async fn send(stream: &mut impl Spoken, bytes: &[u8]) -> Result<(), Failure> {
    let sent = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    sent.await.map_err(|error| stream.failure(&error))
}

async fn leave(stream: &mut impl Spoken) -> Result<(), Failure> {
    let mut bytes = BytesMut::new();
    Disconnect.write(&mut bytes).map_err(|error| Failure::new(FailureKind::Error, error))?;
    send(stream, &bytes).await?;
    stream.shutdown().await.map_err(|error| stream.failure(&error))
}

/// The return code of the CONNACK that comes next.
async fn answer(stream: &mut impl Spoken) -> Result<u8, Failure> {
    let mut received = BytesMut::with_capacity(MAX_ANSWER);
    loop {
        let mut chunk = [0; MAX_ANSWER];
        let count = match stream.read(&mut chunk).await {
            Ok(count) => count,
            Err(error) => return Err(stream.failure(&error)),
        };
        if count == 0 && received.is_empty() {
            return Err(Failure::new(
                FailureKind::Closed,
                "the peer closed the connection without an answer to CONNECT",
            ));
        }
        let not_mqtt = |words: &str, received: &[u8]| {
            let first = hex(&received[..received.len().min(16)]);
            Failure::new(FailureKind::Protocol, format_args!("{words}; it begins with {first}"))
        };
        received.extend_from_slice(&chunk[..count]);
        let header = received.len().min(CONNACK_HEADER.len());
        // Looked at before the codec does, which would wait for the rest of a long packet that is none.
        if received[..header] != CONNACK_HEADER[..header] {
            return Err(not_mqtt("the answer to CONNECT is not a CONNACK", &received));
        }
        match Packet::read(&mut received.clone(), MAX_ANSWER) {
            Ok(Packet::ConnAck(connack)) => return Ok(connack.code as u8),
            // Codes above 5 are reserved, but a CONNACK they are, and no acceptance.
            Err(mqttbytes::Error::InvalidConnectReturnCode(code)) => return Ok(code),
            Err(mqttbytes::Error::InsufficientBytes(_)) if count > 0 => {}
            Err(mqttbytes::Error::InsufficientBytes(_)) => {
                return Err(not_mqtt("the peer closed the connection within a CONNACK", &received));
            }
            Ok(_) => return Err(not_mqtt("the answer to CONNECT is not a CONNACK", &received)),
            Err(error) => return Err(not_mqtt(&error.to_string(), &received)),
        }
    }
}
