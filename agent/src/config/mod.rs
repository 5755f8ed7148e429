//! The agent's configuration: what it is told to look at.
//!
//! Every part is optional. Without any configuration the agent audits the machine it stands on. A file is read by
//! [`read::file`], which reports all mistakes at once; secrets are named by file and never stand in the configuration.

mod mistakes;
pub mod read;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gatepost_evidence::check::broker_transport_posture::battery::Member;
use gatepost_evidence::id::GatewayId;
pub use mistakes::{Mistake, Mistakes};

use crate::http::pin::Pin;

/// The agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `[gateway]`: what the gateway is called.
    pub gateway: Gateway,
    /// `[state]`: where identity and spool are kept.
    pub state: State,
    /// `[broker]`: the local MQTT broker; well-known ports on this machine when it is not named.
    pub broker: Broker,
    /// `[ingest]`: the cloud ingest edge.
    pub ingest: Option<Ingest>,
    /// `[ingest.mqtt]`: an ingest edge that takes events by MQTT.
    pub ingest_mqtt: Option<IngestMqtt>,
    /// `[service]`: the gateway service.
    pub service: Option<Service>,
    /// `[devices]`: the devices' certificates.
    pub devices: Devices,
    /// `[host]`: the operating system.
    pub host: Host,
    /// `[telemetry]`: canaries, and counting without payloads.
    pub telemetry: Telemetry,
    /// `[link]`: what is asked about the way to the cloud.
    pub link: Link,
    /// `[disclosure]`: where weaknesses are reported.
    pub disclosure: Option<Disclosure>,
    /// `[sink]`: where runs are handed to.
    pub sink: Option<Sink>,
    /// `[schedule]`: what `gatepost run` does when.
    pub schedule: Schedule,
}

/// `[gateway]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Its name, for people; the host name by default.
    pub name: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// `[state]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where identity and spool are kept.
    pub directory: PathBuf,
    /// Runs older than this leave the spool; up to a day later.
    pub max_age: Duration,
    /// The most bytes of the spool's file.
    pub max_bytes: u64,
}

/// `[broker]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Broker {
    /// The name devices use for it; the host part of the first listener by default.
    pub server_name: Option<String>,
    /// TLS listeners, `host:port`.
    pub tls: Vec<String>,
    /// Plaintext listeners, `host:port`; named here so that it is seen when one opens.
    pub plaintext: Vec<String>,
    /// WebSocket listeners, `ws://host:port/path` or `wss://host:port/path`.
    pub websockets: Vec<String>,
    /// HTTP APIs of the broker, `http://host:port` or `https://host:port`.
    pub http_api: Vec<String>,
    /// Whether a client falls silent to see whether the broker ends it, which takes some seconds.
    pub try_keep_alive: bool,
    /// Anchors that devices trust for the broker, PEM.
    pub ca_file: Option<PathBuf>,
    /// The client certificate chain to connect with, PEM.
    pub client_certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Option<PathBuf>,
    /// The MQTT user name to connect with.
    pub username: Option<String>,
    /// The file that holds its password.
    pub password_file: Option<PathBuf>,
    /// The broker's own certificate on disk.
    pub certificate_file: Option<PathBuf>,
    /// Revocation lists for the broker's certificate, PEM or DER.
    pub crl_file: Option<PathBuf>,
    /// The broker's own key on disk; only its mode and its public half are recorded.
    pub key_file: Option<PathBuf>,
    /// The broker's configuration file (mosquitto.conf(5)).
    pub configuration_file: Option<PathBuf>,
    /// `[broker.battery]`: the certificates of clients that must be turned away.
    pub battery: Battery,
}

/// `[broker.battery]`: what only the owner of the broker's CA can make. Each file is PEM with a certificate chain and its key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Battery {
    /// The folder that `gatepost battery` wrote; the files below go before it.
    pub folder: Option<PathBuf>,
    /// An expired one.
    pub expired: Option<PathBuf>,
    /// One that is not yet valid.
    pub not_yet_valid: Option<PathBuf>,
    /// One for TLS servers only.
    pub server_only: Option<PathBuf>,
    /// One that is on the CRL.
    pub revoked: Option<PathBuf>,
    /// A sound one, under a name that nothing else has.
    pub canary: Option<PathBuf>,
    /// One of a CA that vouches for others than the broker's clients; never looked for in the folder.
    pub wrong_ca: Option<PathBuf>,
}

impl Battery {
    /// The file of `member`, if one is configured.
    #[must_use]
    pub fn file(&self, member: Member) -> Option<PathBuf> {
        let named = match member {
            Member::Expired => &self.expired,
            Member::NotYetValid => &self.not_yet_valid,
            Member::ServerOnly => &self.server_only,
            Member::Revoked => &self.revoked,
            Member::Canary => &self.canary,
            Member::WrongCa => return self.wrong_ca.clone(),
            Member::SelfSigned | Member::CopiedIssuer => return None,
        };
        named.clone().or_else(|| self.folder.as_ref().map(|folder| folder.join(format!("{member}.pem"))))
    }
}

/// `[ingest]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// Where events are posted.
    pub url: String,
    /// The same without TLS, to see that it is closed. By default `http` on port 80 of the same host.
    pub plaintext_url: Option<String>,
    /// Anchors for the edge's certificate; the system's by default.
    pub ca_file: Option<PathBuf>,
    /// Revocation lists for it.
    pub crl_file: Option<PathBuf>,
    /// The file that holds the bearer token.
    pub token_file: Option<PathBuf>,
    /// The file that holds a bearer token that was good once and has expired, to see that it is refused.
    pub expired_token_file: Option<PathBuf>,
    /// The client certificate chain to connect with, PEM.
    pub client_certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Option<PathBuf>,
    /// Ask every question, not only the first four.
    pub thorough: bool,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            url: String::new(),
            plaintext_url: None,
            ca_file: None,
            crl_file: None,
            token_file: None,
            expired_token_file: None,
            client_certificate: None,
            client_key: None,
            thorough: true,
        }
    }
}

/// `[ingest.mqtt]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IngestMqtt {
    /// Its TLS listener, `host:port`.
    pub address: String,
    /// The same without TLS, `host:port`, to see that it is closed.
    pub plaintext: Option<String>,
    /// The name that its certificate should carry; the host part of the address by default.
    pub server_name: Option<String>,
    /// Anchors for its certificate; the system's by default.
    pub ca_file: Option<PathBuf>,
    /// Revocation lists for it.
    pub crl_file: Option<PathBuf>,
    /// The client certificate chain to connect with, PEM.
    pub client_certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub client_key: Option<PathBuf>,
    /// The MQTT user name to connect with.
    pub username: Option<String>,
    /// The file that holds its password.
    pub password_file: Option<PathBuf>,
}

/// `[service]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Service {
    /// Its configuration file; TOML, JSON, YAML or `KEY=value` lines by its ending.
    pub configuration_file: Option<PathBuf>,
    /// Where it shows its configuration, if there is no file: JSON, or what the path's ending says.
    pub configuration_url: Option<String>,
    /// Its metrics in the Prometheus text format.
    pub metrics_url: Option<String>,
    /// Its health endpoint.
    pub health_url: Option<String>,
    /// By guardrail: JSON pointer into the configuration file.
    pub pointers: BTreeMap<String, String>,
    /// By guardrail: name of a metric.
    pub metrics: BTreeMap<String, String>,
    /// Its log.
    pub log_file: Option<PathBuf>,
    /// By guardrail: words that a line of the log has.
    pub log: BTreeMap<String, String>,
    /// Its unit, such as `gateway.service`.
    pub unit: Option<String>,
    /// The file with its process id.
    pub pid_file: Option<PathBuf>,
    /// The time between two looks at the counter of messages.
    pub flow_wait: Duration,
}

/// `[devices]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    /// Anchors that device certificates should lead to.
    pub ca_file: Option<PathBuf>,
    /// Revocation lists of the device CA, PEM or DER.
    pub crl_file: Option<PathBuf>,
    /// A folder with one certificate file per device, named after it.
    pub registry: Option<PathBuf>,
    /// `[devices.challenge]`: how those that are challenged over MQTT are.
    pub challenge: Challenge,
    /// The gateway that challenges them; not from the file, but from the identity that the run is made under.
    pub gateway: Option<GatewayId>,
    /// `[[devices.device]]`: the devices that are expected.
    pub expected: Vec<Device>,
}

/// `[[devices.device]]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Device {
    /// Its id, which its certificate should carry.
    pub id: String,
    /// Its own TLS server, `host:port`, if it has one.
    pub endpoint: Option<String>,
    /// Whether it is challenged over MQTT.
    pub challenge: bool,
    /// The longest time between two contacts with it.
    pub contact_every: Option<Duration>,
}

/// `[devices.challenge]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Where the topics begin.
    pub prefix: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

impl Default for Challenge {
    fn default() -> Self {
        Self { prefix: gatepost_evidence::challenge::PREFIX.into(), timeout: Duration::from_secs(5) }
    }
}

/// `[host]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Ports that are expected to be open beyond loopback, such as `tcp/22`.
    pub allowed_ports: Vec<String>,
    /// By such a port: the program that is expected to hold it, written `tcp/22 sshd`.
    pub expected_programs: BTreeMap<String, String>,
    /// Services whose fences are looked at, beside those of well-known brokers and the agent.
    pub units: Vec<String>,
    /// The root folder that is looked at; `/` but for tests and snapshots.
    pub root: PathBuf,
}

/// `[telemetry]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// How many canaries are published on each path with each QoS; none, where it is 0.
    pub canaries: u32,
    /// The QoS levels they are published with, ascending.
    pub qos: Vec<u8>,
    /// The longest wait for canaries after the last one was published.
    pub wait: Duration,
    /// Another broker to which a bridge leads: `mqtts://host:port`, or `mqtt://host:port` without credentials.
    pub bridged_url: Option<String>,
    /// Where the ingest edge tells which canaries it has; `{run}` stands for what the canaries of a run have in common.
    pub ingest_readback_url: Option<String>,
    /// Everybody's messages are counted, without payloads.
    pub passive: bool,
    /// For how long.
    pub passive_time: Duration,
    /// On which topics (MQTT topic filters).
    pub topics: Vec<String>,
}

/// `[link]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Names that resolvers are asked for, beside those of ingest edge and sink.
    pub names: Vec<String>,
    /// A domain without names: below it a name is made up that resolvers must not know.
    pub absent_domain: String,
    /// Time servers, by name or address; by default those of the host's own time service.
    pub time_servers: Vec<String>,
    /// What is asked for in plain HTTP, to see who answers; by default `/` of the ingest edge, or of the sink, on port 80.
    pub portal_url: Option<String>,
    /// The status that is expected there; anything else is somebody in between.
    pub portal_status: u16,
    /// Interfaces of tunnels that have to be there.
    pub tunnels: Vec<String>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            // RFC 6761, section 6.4: no such name exists, and nobody may make one.
            absent_domain: "invalid".into(),
            time_servers: Vec::new(),
            portal_url: None,
            portal_status: 204,
            tunnels: Vec::new(),
        }
    }
}

/// `[disclosure]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disclosure {
    /// The domain whose `/.well-known/security.txt` says how (RFC 9116); with a port if it is another than 443.
    pub domain: String,
    /// Anchors for its certificate; the system's by default.
    pub ca_file: Option<PathBuf>,
}

/// `[sink]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sink {
    /// Its URL; `https`, or `http` on loopback.
    pub url: String,
    /// Anchors for its certificate; by default the system's, or none where keys are pinned.
    pub ca_file: Option<PathBuf>,
    /// The keys that its certificate may have (RFC 7469); any, where the list is empty.
    pub pin_sha256: Vec<Pin>,
    /// The proxy on the way to it: `http` (CONNECT), `socks5` or `socks5h`, with its port.
    pub proxy: Option<String>,
    /// The file that holds the proxy's user, a colon and the password.
    pub proxy_credentials_file: Option<PathBuf>,
}

/// `[schedule]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Time between runs.
    pub every: Duration,
    /// Up to this much is added to each interval, at random.
    pub jitter: Duration,
    /// The bundle that is run.
    pub bundle: String,
}
