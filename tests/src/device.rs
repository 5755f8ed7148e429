//! Devices as an STM32 would be met: a TLS server that presents the device's certificate, and an MQTT client that
//! publishes telemetry with the same certificate.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rumqttc::Connect;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::mqtt;
use crate::pki::Identity;
use crate::port::Port;
use crate::tls;

/// The longest that a device talks to one client.
const PATIENCE: Duration = Duration::from_secs(5);

/// One device.
pub struct Device {
    id: String,
    identity: Identity,
    port: Port,
    runtime: Handle,
}

impl Device {
    /// A device called `id` that presents `identity` on a port of its own, served on `runtime`.
    ///
    /// # Errors
    /// When the certificate cannot be read.
    pub fn start(runtime: &Handle, id: &str, identity: &Identity) -> Result<Self> {
        let port = Port::reserve()?;
        let acceptor = TlsAcceptor::from(tls::server(identity)?);
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(port.listen()?)?;
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(timeout(PATIENCE, meet(acceptor.clone(), stream)));
            }
        });
        Ok(Self { id: id.to_owned(), identity: identity.clone(), port, runtime: runtime.clone() })
    }

    /// Its id, which is also its certificate's common name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Where its TLS server is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its certificate and key.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Publishes a reading with QoS 1 on `telemetry/<id>` and waits until `broker` has acknowledged it.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub fn publish(&self, broker: SocketAddr, ca: &Path, reading: &serde_json::Value) -> Result<()> {
        let tls = tls::client(ca, Some(&self.identity))?;
        self.runtime.block_on(async {
            let mut client = mqtt::Client::accepted(broker, Some(tls), Connect::new(&self.id)).await?;
            client.publish(&format!("telemetry/{}", self.id), reading.to_string().as_bytes()).await?;
            Ok(client.disconnect().await?)
        })
    }
}

/// Shakes hands and listens to whatever the client has to say, which is nothing a device would answer.
async fn meet(acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut ignored = [0; 256];
    while stream.read(&mut ignored).await? > 0 {}
    stream.shutdown().await
}
