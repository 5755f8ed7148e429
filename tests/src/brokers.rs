//! Brokers that nobody here wrote, each in its own folder, on ports that are ours: a probe that knows one broker alone is none.
//!
//! Mosquitto, NATS and RabbitMQ are Debian's; rumqttd comes from PyPI, compiled into a module of Python. Each is started with a
//! configuration that its own documentation describes, so that what is true of it is known without asking the probe.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use gatepost_evidence::check::broker_transport_posture::{Check, Facts, Observation};
use gatepost_evidence::check::{Contract as _, Seen, Unknown};
use serde_json::Value;

use crate::agent::{Agent, run};
use crate::pki;
use crate::port::Port;
use crate::process::{LIMIT, Program, command, installed};
use crate::python;

/// The longest that RabbitMQ may take to come up: it is a virtual machine and a distributed database.
const SLOW: Duration = Duration::from_secs(120);

/// A broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Eclipse Mosquitto, Debian's.
    Mosquitto,
    /// NATS, Debian's: MQTT 3.1.1 alone.
    Nats,
    /// rumqttd by way of iotcore, PyPI's.
    Rumqttd,
    /// RabbitMQ with its plugin for MQTT, Debian's.
    RabbitMq,
}

/// A broker that runs, until it is dropped.
pub struct Running {
    /// Where it speaks MQTT over TCP; rumqttd has one listener for 3.1.1 and one for 5.
    pub mqtt: Vec<Port>,
    /// Where it speaks MQTT over WebSocket, and at which path.
    pub websocket: Option<(Port, &'static str)>,
    _further: Vec<Port>,
    program: Program,
    stop: Option<Stop>,
}

/// How a broker ends that is more than the process it was started as.
struct Stop {
    ctl: std::path::PathBuf,
    variables: Vec<(&'static str, String)>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        let mut command = command(&self.ctl);
        command.envs(self.variables.iter().map(|(name, value)| (name, value))).args(["stop"]);
        // It also ends when its parent does; this is the orderly way.
        let _ = run(command, SLOW);
    }
}

impl Kind {
    /// Starts it with its files in `folder`. Anybody gets in.
    ///
    /// # Errors
    /// When it is not installed or does not come up; its log is in the error.
    pub fn start(self, folder: &Path) -> Result<Running> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        match self {
            Self::Mosquitto => mosquitto(folder, "allow_anonymous true\n"),
            Self::Nats => nats(folder),
            Self::Rumqttd => rumqttd(folder),
            Self::RabbitMq => rabbitmq(folder),
        }
    }
}

/// Mosquitto with a listener for MQTT and one for WebSocket, and `lines` before them.
///
/// # Errors
/// When it is not installed or does not come up.
pub fn mosquitto(folder: &Path, lines: &str) -> Result<Running> {
    let (mqtt, websocket) = (Port::reserve()?, Port::reserve()?);
    let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
    let text = format!(
        "{lines}log_dest stderr\n{user}\nlistener {} 127.0.0.1\n\nlistener {} 127.0.0.1\nprotocol websockets\n",
        mqtt.address().port(),
        websocket.address().port()
    );
    let file = folder.join("mosquitto.conf");
    pki::write(&file, text.as_bytes(), 0o600)?;
    let mut program = Program::start(&crate::mosquitto::broker()?, ["-c".as_ref(), file.as_os_str()])?;
    program.wait_until("it runs", LIMIT, |lines| lines.iter().any(|line| line.ends_with(" running")))?;
    Ok(Running { mqtt: vec![mqtt], websocket: Some((websocket, "/mqtt")), _further: Vec::new(), program, stop: None })
}

fn nats(folder: &Path) -> Result<Running> {
    let (mqtt, client, websocket) = (Port::reserve()?, Port::reserve()?, Port::reserve()?);
    let text = format!(
        "server_name: gatepost\nlisten: \"{}\"\njetstream {{ store_dir: {:?} }}\nmqtt {{ listen: \"{}\" }}\n\
         websocket {{ listen: \"{}\", no_tls: true, same_origin: true }}\n",
        client.address(),
        folder.join("store"),
        mqtt.address(),
        websocket.address()
    );
    let file = folder.join("nats.conf");
    pki::write(&file, text.as_bytes(), 0o600)?;
    let mut program = Program::start(&installed("nats-server", "nats-server")?, ["-c".as_ref(), file.as_os_str()])?;
    program.wait_until("it is ready", LIMIT, |lines| lines.iter().any(|line| line.ends_with("Server is ready")))?;
    Ok(Running { mqtt: vec![mqtt], websocket: Some((websocket, "/mqtt")), _further: vec![client], program, stop: None })
}

fn rumqttd(folder: &Path) -> Result<Running> {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/rumqttd.txt");
    let python = python::environment("rumqttd", &requirements)?;
    let (four, five) = (Port::reserve()?, Port::reserve()?);
    let mut text = String::from(
        "id = 0\n[router]\nid = 0\nmax_connections = 100\nmax_outgoing_packet_count = 200\nmax_segment_size = 1048576\n\
         max_segment_count = 10\n",
    );
    for (version, name, port) in [("v4.1", "four", &four), ("v5.1", "five", &five)] {
        text += &format!(
            "[{version}]\nname = \"{name}\"\nlisten = \"{}\"\nnext_connection_delay_ms = 1\n[{version}.connections]\n\
             connection_timeout_ms = 5000\nmax_payload_size = 20480\nmax_inflight_count = 100\n",
            port.address()
        );
    }
    let file = folder.join("rumqttd.toml");
    pki::write(&file, text.as_bytes(), 0o600)?;
    let mut command = command(&python);
    command.args(["-I", "-m", "iotcore", "--config"]).arg(&file);
    let mut program = Program::start_command(&python, command)?;
    let listening = |lines: &[String]| lines.iter().filter(|line| line.contains("Listening for remote")).count() == 2;
    program.wait_until("it listens", LIMIT, listening)?;
    Ok(Running { mqtt: vec![four, five], websocket: None, _further: Vec::new(), program, stop: None })
}

fn rabbitmq(folder: &Path) -> Result<Running> {
    installed("rabbitmq-server", "rabbitmq-server")?;
    // What stands in the path changes to a user of its own, who has no way into this folder.
    let scripts = Path::new("/usr/lib/rabbitmq/bin");
    let server = scripts.join("rabbitmq-server");
    let (mqtt, amqp, websocket, distribution) =
        (Port::reserve()?, Port::reserve()?, Port::reserve()?, Port::reserve()?);
    let node = format!("gatepost-{}@localhost", mqtt.address().port());
    let text = format!(
        "listeners.tcp.1 = {}\nmqtt.listeners.tcp.1 = {}\nmqtt.allow_anonymous = true\nweb_mqtt.tcp.listener = {}\n\
         loopback_users = none\nlog.console = true\nlog.file = false\n",
        amqp.address(),
        mqtt.address(),
        websocket.address()
    );
    let file = folder.join("rabbitmq.conf");
    pki::write(&file, text.as_bytes(), 0o644)?;
    pki::write(&folder.join("enabled_plugins"), b"[rabbitmq_mqtt,rabbitmq_web_mqtt].\n", 0o644)?;
    let place = |name: &str| folder.join(name).display().to_string();
    let variables = vec![
        ("RABBITMQ_NODENAME", node),
        ("RABBITMQ_CONFIG_FILE", file.display().to_string()),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", place("enabled_plugins")),
        ("RABBITMQ_MNESIA_BASE", place("mnesia")),
        ("RABBITMQ_LOG_BASE", place("log")),
        ("RABBITMQ_PID_FILE", place("pid")),
        ("RABBITMQ_DIST_PORT", distribution.address().port().to_string()),
        ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ("ERL_CRASH_DUMP", place("crash.dump")),
        ("HOME", folder.display().to_string()),
    ];
    let mut command = command(&server);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut program = Program::start_command(&server, command)?;
    program.wait_until("it has started", SLOW, |lines| {
        lines.iter().any(|line| line.contains("Server startup complete") || line.contains("completed with"))
    })?;
    let stop = Stop { ctl: scripts.join("rabbitmqctl"), variables };
    Ok(Running {
        mqtt: vec![mqtt],
        websocket: Some((websocket, "/ws")),
        _further: vec![amqp, distribution],
        program,
        stop: Some(stop),
    })
}

impl Running {
    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// The lines of `[broker]` that name its listeners, all of them in plaintext.
    #[must_use]
    pub fn listeners(&self) -> String {
        let addresses: Vec<String> = self.mqtt.iter().map(|port| format!("\"{}\"", port.address())).collect();
        let mut text = format!("plaintext = [{}]\n", addresses.join(", "));
        if let Some((port, path)) = &self.websocket {
            text += &format!("websockets = [\"ws://{}{path}\"]\n", port.address());
        }
        text
    }

    /// Ends it in order.
    pub fn stop(mut self) {
        self.stop.take();
    }
}

/// The built agent in `folder`, with these lines of `[broker]` and nothing else.
///
/// # Errors
/// When its configuration cannot be written or it has not been built.
pub fn agent(folder: &Path, name: &str, broker: &str) -> Result<Agent> {
    let state = folder.join(format!("state-{name}"));
    let text = format!(
        "[gateway]\nname = \"{name}\"\n\n[state]\ndirectory = {state:?}\n\n[broker]\nserver_name = \"localhost\"\n{broker}"
    );
    Agent::configured(&folder.join(format!("agent-{name}.toml")), &text)
}

/// What `agent` sees of its broker, the facts that follow, and why facts are missing.
///
/// # Errors
/// When the agent does not run or nothing was observed.
pub fn look(agent: &Agent) -> Result<(Observation, Facts, Unknown)> {
    // Whatever it finds is not asked here.
    let finished = agent.run(&["audit", "--bundle", "audit-baseline"])?;
    let envelope = agent.run(&["show", "--envelope"])?.expect_code(0).with_context(|| format!("{finished:?}"))?;
    let payload = envelope.json()?["payload"].as_str().map(str::to_owned).context("an envelope without a payload")?;
    let run: Value = serde_json::from_slice(&base64::engine::general_purpose::STANDARD.decode(payload)?)?;
    let records = run["predicate"]["records"].as_array().context("a run without records")?;
    let record = records.iter().find(|record| record["check"] == Check::CHECK).context("the check was not made")?;
    let observation: Observation = serde_json::from_value(record["observation"].clone())
        .with_context(|| format!("nothing was observed: {}", record["detail"]))?;
    let mut unknown = Unknown::default();
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse()?, distrust: None };
    let facts = Check::normalise(&observation, &seen, &mut unknown);
    Ok((observation, facts, unknown))
}
