//! A small MQTT 3.1.1 client on `rumqttc`'s codec, over TCP or TLS.
//!
//! `rumqttc` itself connects with a TLS stack of its own, which would be a second one in the tree; its codec does not
//! care where the bytes come from, and a test can see every packet.

use std::collections::VecDeque;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use rumqttc::{Connect, ConnectReturnCode, Packet, PubAck, Publish, QoS, Subscribe};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The largest packet that is read or written, in bytes.
const MAX_PACKET: usize = 64 * 1024;
/// The time for a connection and for each answer.
const LIMIT: Duration = Duration::from_secs(5);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection that speaks MQTT.
pub struct Client {
    stream: Box<dyn Stream>,
    received: BytesMut,
    /// Messages that came before the answer to a subscription.
    early: VecDeque<Packet>,
    last_id: u16,
}

impl Client {
    /// Connects to `address`, over TLS to `localhost` when `tls` is there.
    ///
    /// # Errors
    /// When TCP or TLS does not come about.
    pub async fn dial(address: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Result<Self> {
        let stream = within("TCP", TcpStream::connect(address)).await?;
        stream.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from("localhost").context("localhost is no server name")?;
                Box::new(within("TLS", TlsConnector::from(config).connect(name, stream)).await?)
            }
        };
        Ok(Self { stream, received: BytesMut::with_capacity(4096), early: VecDeque::new(), last_id: 0 })
    }

    /// Sends CONNECT and returns what CONNACK says.
    ///
    /// # Errors
    /// When the broker ends the connection instead.
    pub async fn connect(&mut self, connect: Connect) -> Result<ConnectReturnCode> {
        self.send(Packet::Connect(connect)).await?;
        match within("CONNACK", self.next()).await? {
            Packet::ConnAck(answer) => Ok(answer.code),
            other => bail!("the broker answered CONNECT with {other:?}"),
        }
    }

    /// Dials and connects, and is satisfied with nothing but acceptance.
    ///
    /// # Errors
    /// When the broker does not accept.
    pub async fn accepted(address: SocketAddr, tls: Option<Arc<ClientConfig>>, connect: Connect) -> Result<Self> {
        let mut client = Self::dial(address, tls).await?;
        match client.connect(connect).await? {
            ConnectReturnCode::Success => Ok(client),
            code => bail!("the broker refused the connection: {code:?}"),
        }
    }

    /// Subscribes with QoS 1 and waits for SUBACK. Messages that come before it are kept for [`Self::next`].
    ///
    /// # Errors
    /// When the broker does not acknowledge.
    pub async fn subscribe(&mut self, filter: &str) -> Result<()> {
        let mut subscribe = Subscribe::new(filter, QoS::AtLeastOnce);
        subscribe.pkid = self.next_id();
        self.send(Packet::Subscribe(subscribe)).await?;
        loop {
            match within("SUBACK", self.read()).await? {
                Packet::SubAck(_) => return Ok(()),
                early @ Packet::Publish(_) => self.early.push_back(early),
                other => bail!("the broker answered SUBSCRIBE with {other:?}"),
            }
        }
    }

    /// Publishes with QoS 1 and waits for PUBACK.
    ///
    /// # Errors
    /// When the broker does not acknowledge.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, payload);
        publish.pkid = self.next_id();
        let expected = PubAck::new(publish.pkid);
        self.send(Packet::Publish(publish)).await?;
        match within("PUBACK", self.next()).await? {
            Packet::PubAck(answer) if answer == expected => Ok(()),
            other => bail!("the broker answered PUBLISH with {other:?}"),
        }
    }

    /// Acknowledges a message that came with QoS 1.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn acknowledge(&mut self, publish: &Publish) -> std::io::Result<()> {
        match publish.qos {
            QoS::AtMostOnce => Ok(()),
            _ => self.send(Packet::PubAck(PubAck::new(publish.pkid))).await,
        }
    }

    /// Says goodbye and closes.
    ///
    /// # Errors
    /// When the connection is gone already.
    pub async fn disconnect(mut self) -> std::io::Result<()> {
        self.send(Packet::Disconnect).await?;
        self.stream.shutdown().await
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, packet: Packet) -> std::io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, MAX_PACKET).map_err(|error| Error::new(ErrorKind::InvalidInput, error))?;
        self.stream.write_all(&bytes).await?;
        self.stream.flush().await
    }

    /// The next packet. Nothing is lost when this is cancelled.
    ///
    /// # Errors
    /// When the connection ends or what comes is not MQTT.
    pub async fn next(&mut self) -> std::io::Result<Packet> {
        match self.early.pop_front() {
            Some(packet) => Ok(packet),
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> std::io::Result<Packet> {
        loop {
            match Packet::read(&mut self.received, MAX_PACKET) {
                Ok(packet) => return Ok(packet),
                Err(rumqttc::mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => return Err(Error::new(ErrorKind::InvalidData, error)),
            }
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

async fn within<T>(what: &str, work: impl Future<Output = std::io::Result<T>>) -> Result<T> {
    match timeout(LIMIT, work).await {
        Ok(result) => result.with_context(|| format!("no {what}")),
        Err(_) => bail!("no {what} within {} s", LIMIT.as_secs()),
    }
}
