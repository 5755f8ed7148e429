//! The gateway service: carries telemetry from the broker to the ingest edge, and says how it fares.
//!
//! It is configured by a real file, which it looks at again before every message and every answer, so that a change is in
//! effect at once. `/health` is 200 while the broker is connected, the last delivery went through and the file can be
//! read; `/metrics` is the Prometheus text format. A message is acknowledged to the broker only after the edge took it:
//! with the broker's persistent session nothing is lost, and what comes twice carries the same event id.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use gatepost_evidence::id::Digest;
use rumqttc::{Connect, Packet, Publish};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{interval, sleep, timeout};

use crate::http::Client;
use crate::mqtt;
use crate::pki::{self, Identity};
use crate::port::Port;
use crate::tls;

/// Seconds between two packets at most (MQTT keep alive).
const KEEP_ALIVE: u16 = 20;
/// The pause before the service connects or delivers again.
const PAUSE: Duration = Duration::from_millis(25);

/// The service's configuration file, `gateway.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Guardrails about credentials.
    pub security: Security,
    /// The way to the ingest edge.
    pub uplink: Uplink,
    /// What happens to messages while the uplink is down.
    pub buffer: Buffer,
    /// How often a delivery is tried again.
    pub retry: Retry,
    /// What `/metrics` shows beyond the usual.
    pub metrics: Metrics,
    /// Where telemetry comes from.
    pub broker: Broker,
}

/// Guardrails about credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Security {
    /// Deliveries carry the token.
    pub require_auth: bool,
}

/// The way to the ingest edge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Only an `https` URL is used.
    pub tls: bool,
    /// Where events are posted.
    pub url: String,
    /// Whom to trust.
    pub ca_file: PathBuf,
    /// The bearer token.
    pub token_file: PathBuf,
}

/// What happens to messages while the uplink is down.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// They stay with the broker until they are delivered; otherwise they are dropped.
    pub enabled: bool,
}

/// How often a delivery is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The most attempts after the first.
    pub limit: u32,
}

/// What `/metrics` shows beyond the usual.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// `gateway_unsafe_defaults`, the number of guardrails that are off.
    pub unsafe_defaults: bool,
}

/// Where telemetry comes from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// The TLS listener.
    pub address: SocketAddr,
    /// Whom to trust.
    pub ca_file: PathBuf,
    /// The client certificate.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl Configuration {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not understood", path.display()))
    }

    fn unsafe_defaults(&self) -> usize {
        [!self.security.require_auth, !self.uplink.tls, !self.buffer.enabled].into_iter().filter(|off| *off).count()
    }
}

/// How the service fares.
#[derive(Debug, Clone, Default)]
struct Condition {
    connected: bool,
    /// How often the broker has accepted it.
    sessions: u64,
    forwarded: u64,
    dropped: u64,
    /// What went wrong last and has not gone right since.
    trouble: Option<String>,
}

struct Shared {
    file: PathBuf,
    condition: watch::Sender<Condition>,
}

/// A gateway service.
pub struct GatewayService {
    port: Port,
    file: PathBuf,
    runtime: Handle,
    condition: watch::Receiver<Condition>,
}

impl GatewayService {
    /// Starts the service with the configuration in `file`, served on `runtime`.
    ///
    /// # Errors
    /// When the configuration cannot be read.
    pub fn start(runtime: &Handle, file: &Path) -> Result<Self> {
        Configuration::read(file)?;
        let port = Port::reserve()?;
        let (sender, condition) = watch::channel(Condition::default());
        let shared = Arc::new(Shared { file: file.to_owned(), condition: sender });
        let routes =
            Router::new().route("/health", get(health)).route("/metrics", get(metrics)).with_state(Arc::clone(&shared));
        let _inside = runtime.enter();
        let listener = TcpListener::from_std(port.listen()?)?;
        runtime.spawn(async move { axum::serve(listener, routes).await });
        runtime.spawn(carry(shared));
        Ok(Self { port, file: file.to_owned(), runtime: runtime.clone(), condition })
    }

    /// `http://127.0.0.1:<port>/health`.
    #[must_use]
    pub fn health_url(&self) -> String {
        format!("http://{}/health", self.port.address())
    }

    /// `http://127.0.0.1:<port>/metrics`.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("http://{}/metrics", self.port.address())
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration_file(&self) -> &Path {
        &self.file
    }

    /// How often the broker has accepted it so far.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.condition.borrow().sessions
    }

    /// Waits until it is connected in a session later than `sessions`, and nothing is wrong.
    ///
    /// # Errors
    /// When that takes longer than `limit`; what is wrong is in the error.
    pub fn wait_healthy(&self, sessions: u64, limit: Duration) -> Result<()> {
        let mut condition = self.condition.clone();
        let well = |now: &Condition| now.connected && now.sessions > sessions && now.trouble.is_none();
        match self
            .runtime
            .block_on(async { timeout(limit, condition.wait_for(well)).await.map(|waited| waited.is_ok()) })
        {
            Ok(true) => Ok(()),
            _ => bail!("the gateway service is not well: {:?}", *self.condition.borrow()),
        }
    }
}

/// Writes the configuration of the lab's gateway service.
///
/// # Errors
/// When the file cannot be written.
pub fn write_configuration(file: &Path, configuration: &Configuration) -> Result<()> {
    let Configuration { security, uplink, buffer, retry, metrics, broker } = configuration;
    let text = format!(
        "# The gateway service of the pump house. Read again whenever it changes.\n\
         [security]\nrequire_auth = {}\n\n\
         [uplink]\ntls = {}\nurl = {:?}\nca_file = {:?}\ntoken_file = {:?}\n\n\
         [buffer]\nenabled = {}\n\n\
         [retry]\nlimit = {}\n\n\
         [metrics]\nunsafe_defaults = {}\n\n\
         [broker]\naddress = \"{}\"\nca_file = {:?}\ncertificate_file = {:?}\nkey_file = {:?}\n",
        security.require_auth,
        uplink.tls,
        uplink.url,
        uplink.ca_file,
        uplink.token_file,
        buffer.enabled,
        retry.limit,
        metrics.unsafe_defaults,
        broker.address,
        broker.ca_file,
        broker.certificate_file,
        broker.key_file,
    );
    pki::write(file, text.as_bytes(), 0o640)
}

async fn health(State(shared): State<Arc<Shared>>) -> (StatusCode, axum::Json<Value>) {
    let condition = shared.condition.borrow().clone();
    let trouble = match Configuration::read(&shared.file) {
        Err(error) => Some(format!("{error:#}")),
        Ok(_) => condition.trouble.clone(),
    };
    let well = condition.connected && trouble.is_none();
    let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": if well { "ok" } else { "not well" },
        "broker_connected": condition.connected,
        "forwarded": condition.forwarded,
        "trouble": trouble,
    });
    (status, axum::Json(body))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    let condition = shared.condition.borrow().clone();
    let configuration = match Configuration::read(&shared.file) {
        Ok(configuration) => configuration,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")),
    };
    let mut text = String::new();
    let mut add = |name: &str, kind: &str, help: &str, value: u64| {
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    add("gateway_broker_connected", "gauge", "Whether the broker is connected.", u64::from(condition.connected));
    add("gateway_forwarded_total", "counter", "Messages that the ingest edge took.", condition.forwarded);
    add("gateway_dropped_total", "counter", "Messages that were given up.", condition.dropped);
    if configuration.metrics.unsafe_defaults {
        let off = configuration.unsafe_defaults() as u64;
        add("gateway_unsafe_defaults", "gauge", "Guardrails that are switched off.", off);
    }
    (StatusCode::OK, text)
}

/// One session with the broker after the other.
async fn carry(shared: Arc<Shared>) {
    loop {
        if let Err(error) = session(&shared).await {
            shared.condition.send_modify(|condition| {
                condition.connected = false;
                condition.trouble = Some(format!("{error:#}"));
            });
        }
        sleep(PAUSE).await;
    }
}

async fn session(shared: &Shared) -> Result<()> {
    let Configuration { broker, uplink, .. } = Configuration::read(&shared.file)?;
    let identity = Identity { certificate: broker.certificate_file, key: broker.key_file };
    let tls = tls::client(&broker.ca_file, Some(&identity))?;
    let http = Client::new(&uplink.ca_file)?;
    let connect = Connect { clean_session: false, keep_alive: KEEP_ALIVE, ..Connect::new("gateway-service") };
    let mut client = mqtt::Client::accepted(broker.address, Some(tls), connect).await?;
    client.subscribe("telemetry/#").await?;
    // Canaries that an audit follows to the edge.
    client.subscribe("gatepost/canary/+/ingest/#").await?;
    shared.condition.send_modify(|condition| {
        condition.connected = true;
        condition.sessions += 1;
        condition.trouble = None;
    });
    let mut ping = interval(Duration::from_secs(u64::from(KEEP_ALIVE) / 2));
    loop {
        let packet = tokio::select! {
            packet = client.next() => packet.context("the broker has gone")?,
            _ = ping.tick() => {
                client.send(Packet::PingReq).await?;
                continue;
            }
        };
        if let Packet::Publish(publish) = packet {
            forward(shared, &http, &publish).await?;
            client.acknowledge(&publish).await?;
        }
    }
}

/// Delivers one message, or says why it stays with the broker.
async fn forward(shared: &Shared, http: &Client, publish: &Publish) -> Result<()> {
    let mut attempt = 0;
    loop {
        let configuration = Configuration::read(&shared.file)?;
        match deliver(&configuration, http, publish).await {
            Ok(()) => {
                shared.condition.send_modify(|condition| {
                    condition.forwarded += 1;
                    condition.trouble = None;
                });
                return Ok(());
            }
            Err(error) if attempt < configuration.retry.limit => {
                attempt += 1;
                shared.condition.send_modify(|condition| condition.trouble = Some(format!("{error:#}")));
                sleep(PAUSE * attempt).await;
            }
            Err(error) if configuration.buffer.enabled => return Err(error),
            Err(error) => {
                shared.condition.send_modify(|condition| {
                    condition.dropped += 1;
                    condition.trouble = Some(format!("{error:#}"));
                });
                return Ok(());
            }
        }
    }
}

async fn deliver(configuration: &Configuration, http: &Client, publish: &Publish) -> Result<()> {
    let Uplink { tls, url, token_file, .. } = configuration.uplink.clone();
    if tls && !url.starts_with("https://") {
        bail!("the uplink demands TLS, and {url} is not https");
    }
    let token = match configuration.security.require_auth {
        true => Some(std::fs::read_to_string(&token_file).context("the ingest token cannot be read")?),
        false => None,
    };
    let event = event(publish).to_string();
    let http = http.clone();
    let answer = tokio::task::spawn_blocking(move || http.post(&url, token.as_deref().map(str::trim), &event))
        .await
        .map_err(|error| anyhow!("the delivery broke off: {error}"))??;
    match answer.status {
        200..300 => Ok(()),
        status => bail!("the ingest edge answered with status {status}"),
    }
}

/// The event of a message. The same message has the same id, however often it comes.
fn event(publish: &Publish) -> Value {
    let mut bytes = publish.topic.clone().into_bytes();
    bytes.push(0);
    bytes.extend_from_slice(&publish.payload);
    let payload = serde_json::from_slice(&publish.payload)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&publish.payload).into_owned()));
    json!({ "id": Digest::of(&bytes).to_string(), "topic": publish.topic, "payload": payload })
}
