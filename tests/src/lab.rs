//! The lab as a whole: one temporary folder, one runtime, everything that a gateway site has.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::broker::Broker;
use crate::clock::Clock;
use crate::device::{Device, Site};
use crate::ingest::IngestEdge;
use crate::pki::{DEVICES, Pki};
use crate::process::LIMIT;
use crate::service::{self, Configuration, GatewayService};
use crate::sink::{Sink, SinkInfo};

/// What a gateway does when nobody is in a hurry.
const SCHEDULE: &str = "[schedule]\nevery = \"1h\"\njitter = \"5m\"\nbundle = \"field-self-audit\"\n";

/// The two states of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The ingest edge takes anything from anybody, also in plaintext; the gateway service sends no credentials and
    /// does not show its unsafe defaults.
    Exposed,
    /// The ingest edge demands the token and closes its HTTP port; the gateway service sends the token and shows
    /// `gateway_unsafe_defaults 0`.
    Hardened,
}

/// A gateway site on loopback. Everything ends, and every file goes, when it is dropped.
pub struct Lab {
    // `drop` ends the runtime and with it everything in this process; then these go in order, the folder last.
    broker: Broker,
    devices: Vec<Device>,
    service: GatewayService,
    ingest: IngestEdge,
    pki: Pki,
    state: State,
    runtime: Option<Runtime>,
    folder: TempDir,
}

impl Lab {
    /// Starts a lab, exposed and healthy.
    ///
    /// # Errors
    /// When a part does not come up; the words and, for the broker, the log are in the error.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("gatepost-lab-").tempdir().context("no folder for the lab")?;
        let place = folder.path();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab")
            .enable_io()
            .enable_time()
            .build()
            .context("no runtime for the lab")?;
        let handle = runtime.handle();
        let pki = Pki::create(&place.join("pki"))?;
        let broker = Broker::start(&place.join("broker"), &pki)?;
        let ingest = IngestEdge::start(handle, place, &pki)?;
        let file = place.join("gateway.toml");
        service::write_configuration(&file, &configuration(State::Exposed, &broker, &ingest, &pki))?;
        let service = GatewayService::start(handle, &file)?;
        let mut devices = Vec::new();
        for (id, identity) in DEVICES.iter().zip(&pki.devices) {
            let site = Site { broker: broker.tls_address(), ca: &pki.ca };
            devices.push(Device::start(id, identity, Some(site), &[])?);
        }
        service.wait_healthy(0, LIMIT)?;
        Ok(Self { broker, devices, service, ingest, pki, state: State::Exposed, runtime: Some(runtime), folder })
    }

    /// Switches to [`State::Exposed`], while everything runs.
    ///
    /// # Errors
    /// When a part does not follow.
    pub fn expose(&mut self) -> Result<()> {
        self.ingest.expose()?;
        self.configure(State::Exposed)
    }

    /// Switches to [`State::Hardened`], while everything runs. No message is refused on the way: the service sends the
    /// token before the edge demands it.
    ///
    /// # Errors
    /// When a part does not follow.
    pub fn harden(&mut self) -> Result<()> {
        self.configure(State::Hardened)?;
        self.ingest.harden()
    }

    fn configure(&mut self, state: State) -> Result<()> {
        let configuration = configuration(state, &self.broker, &self.ingest, &self.pki);
        service::write_configuration(self.service.configuration_file(), &configuration)?;
        self.state = state;
        Ok(())
    }

    /// The state it is in.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Opens the broker's anonymous plaintext listener, and waits until telemetry flows again.
    ///
    /// # Errors
    /// When the broker or the gateway service does not come back.
    pub fn open_plaintext(&mut self) -> Result<()> {
        let sessions = self.service.sessions();
        self.broker.open_plaintext()?;
        self.service.wait_healthy(sessions, LIMIT)
    }

    /// Closes the broker's anonymous plaintext listener, and waits until telemetry flows again.
    ///
    /// # Errors
    /// When the broker or the gateway service does not come back.
    pub fn close_plaintext(&mut self) -> Result<()> {
        let sessions = self.service.sessions();
        self.broker.close_plaintext()?;
        self.service.wait_healthy(sessions, LIMIT)
    }

    /// Stops the broker; its ports refuse until [`Self::start_broker`].
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop_broker(&mut self) -> Result<()> {
        self.broker.stop()
    }

    /// Starts the broker again, and waits until telemetry flows again.
    ///
    /// # Errors
    /// When the broker or the gateway service does not come back.
    pub fn start_broker(&mut self) -> Result<()> {
        let sessions = self.service.sessions();
        self.broker.start_again()?;
        self.service.wait_healthy(sessions, LIMIT)
    }

    /// Publishes reading `number` from device `index` and waits until the ingest edge has it.
    ///
    /// # Errors
    /// When it does not arrive within `limit`.
    pub fn send_reading(&self, index: usize, number: u64, limit: Duration) -> Result<()> {
        let device = self.devices.get(index).with_context(|| format!("there is no device {index}"))?;
        let reading = serde_json::json!({ "device": device.id(), "number": number, "celsius": 21.5 });
        device.publish(&reading, limit)?;
        self.ingest
            .wait_for(limit, |events| events.accepted.iter().any(|event| event["payload"] == reading))
            .map(drop)
            .with_context(|| format!("reading {number} of {} does not arrive", device.id()))
    }

    /// The temporary folder, for whatever else is to vanish with the lab.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The certificates.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// The broker.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The ingest edge.
    #[must_use]
    pub fn ingest(&self) -> &IngestEdge {
        &self.ingest
    }

    /// The gateway service.
    #[must_use]
    pub fn service(&self) -> &GatewayService {
        &self.service
    }

    /// The devices, in the order of [`DEVICES`].
    #[must_use]
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// Starts a sink that keeps its files in a new folder `name` of the lab and has a certificate of the lab's CA.
    ///
    /// # Errors
    /// When the binary has not been built or does not come up; its log is in the error.
    pub fn start_sink(&self, name: &str) -> Result<Sink> {
        Sink::start(&self.folder().join(name), &self.pki)
    }

    /// As [`Self::start_sink`], in plaintext.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_plaintext_sink(&self, name: &str) -> Result<Sink> {
        Sink::start_plaintext(&self.folder.path().join(name), &self.pki)
    }

    /// As [`Self::start_sink`], under another clock than the machine's.
    ///
    /// # Errors
    /// When the binary has not been built or does not come up; its log is in the error.
    pub fn start_sink_under(&self, name: &str, clock: &Clock) -> Result<Sink> {
        Sink::start_under(&self.folder().join(name), &self.pki, Some(clock))
    }

    /// The agent's configuration for this site, as TOML. `state` is the agent's own folder.
    #[must_use]
    pub fn agent_config(&self, state: &Path, sink: Option<&SinkInfo>) -> String {
        let Self { broker, ingest, service, pki, .. } = self;
        let mut text = format!(
            "[gateway]\nname = \"pump-house-7\"\nlabels = {{ site = \"north\" }}\n\n\
             [state]\ndirectory = {state:?}\n\n\
             [broker]\nserver_name = \"localhost\"\ntls = [\"{}\"]\nplaintext = [\"{}\"]\nca_file = {:?}\n\
             client_certificate = {:?}\nclient_key = {:?}\ncertificate_file = {:?}\nkey_file = {:?}\n\
             configuration_file = {:?}\n\n",
            broker.tls_address(),
            broker.plaintext_address(),
            pki.ca,
            pki.gateway.certificate,
            pki.gateway.key,
            pki.broker.certificate,
            pki.broker.key,
            broker.configuration_file(),
        );
        text += &format!(
            "[ingest]\nurl = \"{}\"\nplaintext_url = \"{}\"\nca_file = {:?}\ntoken_file = {:?}\n\
             expired_token_file = {:?}\n\n",
            ingest.url(),
            ingest.plaintext_url(),
            pki.ca,
            ingest.token_file(),
            ingest.expired_token_file(),
        );
        text += &format!(
            "[service]\nconfiguration_file = {:?}\nmetrics_url = \"{}\"\nhealth_url = \"{}\"\n\n\
             [service.pointers]\nauth_enforced = \"/security/require_auth\"\ntls_enforced = \"/uplink/tls\"\n\
             buffering_enabled = \"/buffer/enabled\"\nretry_limit = \"/retry/limit\"\n\n\
             [service.metrics]\nunsafe_defaults = \"gateway_unsafe_defaults\"\n\n",
            service.configuration_file(),
            service.metrics_url(),
            service.health_url(),
        );
        text += &format!("[devices]\nca_file = {:?}\nregistry = {:?}\n\n", pki.ca, pki.registry);
        for device in &self.devices {
            let (id, address) = (device.id(), device.address());
            text += &format!("[[devices.device]]\nid = \"{id}\"\nendpoint = \"{address}\"\nchallenge = true\n\n");
        }
        text += &format!("[telemetry]\ningest_readback_url = \"{}\"\n\n", ingest.readback_url());
        text += "[host]\nallowed_ports = [\"tcp/22\"]\n\n";
        if let Some(sink) = sink {
            text += &format!("[sink]\nurl = \"{}\"\nca_file = {:?}\n\n", sink.url, sink.ca_file);
        }
        text += SCHEDULE;
        text
    }

    /// As [`Self::agent_config`], but `gatepost run` runs `bundle` every second.
    #[must_use]
    pub fn daemon_config(&self, state: &Path, sink: Option<&SinkInfo>, bundle: &str) -> String {
        let schedule = format!("[schedule]\nevery = \"1s\"\njitter = \"0s\"\nbundle = \"{bundle}\"\n");
        self.agent_config(state, sink).replace(SCHEDULE, &schedule)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Tasks end at once; a delivery that is on its way in a thread of its own gets a moment.
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

fn configuration(state: State, broker: &Broker, ingest: &IngestEdge, pki: &Pki) -> Configuration {
    let hardened = state == State::Hardened;
    Configuration {
        security: service::Security { require_auth: hardened },
        uplink: service::Uplink {
            tls: true,
            url: ingest.url(),
            ca_file: pki.ca.clone(),
            token_file: ingest.token_file().to_owned(),
        },
        buffer: service::Buffer { enabled: true },
        retry: service::Retry { limit: 8 },
        metrics: service::Metrics { unsafe_defaults: hardened },
        broker: service::Broker {
            address: broker.tls_address(),
            ca_file: pki.ca.clone(),
            certificate_file: pki.gateway.certificate.clone(),
            key_file: pki.gateway.key.clone(),
        },
    }
}
