//! One gateway with its configuration: a real Mosquitto with a folder of included files, passwords, a bridge and rights, and a
//! service that says over HTTP and in files how it fares. Everything about it can be turned, one thing at a time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use gatepost::bundle::Bundle;
use gatepost::config::read;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::run::{Run, Stage};
use gatepost_rules::assess::{Assessment, Outcome, assess};
use gatepost_rules::pack::Pack;

use crate::mosquitto;
use crate::pki::write;
use crate::port::Port;
use crate::process::{LIMIT, Program, command};
use crate::weak::Keys;

/// The main file of a broker of 2.0 that has nothing to be found.
const BROKER: &str = "per_listener_settings true
persistence true
persistence_location {folder}/store/
autosave_interval 300
max_queued_messages 1000
max_packet_size 1048576
max_keepalive 600
log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
include_dir {folder}/conf.d
listener {tls} 127.0.0.1
cafile {keys}/ca.pem
certfile {keys}/broker.pem
keyfile {keys}/broker.pem
crlfile {keys}/crl.pem
require_certificate true
use_identity_as_username true
allow_anonymous false
acl_file {folder}/acl
listener {passwords} 127.0.0.1
certfile {keys}/broker.pem
keyfile {keys}/broker.pem
ciphers ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL
allow_anonymous false
password_file {folder}/passwd
acl_file {folder}/acl
";

/// Its bridge, in a file of its own. It is lazy and nothing is published on its topic, so that it never dials.
pub const BRIDGE: &str = "connection cloud
address 192.0.2.1:8883
start_type lazy
topic gatepost/nothing out
remote_username gateway
remote_password hunter2
bridge_cafile {keys}/ca.pem
bridge_tls_version tlsv1.2
";

const LIST: &str = "user gateway\ntopic readwrite telemetry/#\n";
/// A hash of nobody's password; 2.1 refuses what has not the length of one.
pub const HASH: &str =
    "c2FsdHNhbHRzYWx0$QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==";

const SERVICE: &str = "security: {require_auth: true}\nuplink:\n  tls: yes\n  token: hunter2\nbuffer: {enabled: true}\nretry: {limit: 8}\n";

/// A gateway.
pub struct Gateway {
    folder: PathBuf,
    ports: [Port; 2],
    program: Option<Program>,
    service: Arc<Stand>,
    address: String,
    keys: PathBuf,
    plugins: PathBuf,
}

/// What the service says.
struct Stand {
    forwarded: AtomicU64,
    /// How much the counter rises from one look to the next.
    step: AtomicU64,
    health: AtomicU64,
}

/// What is turned.
pub struct Weak {
    /// What it is called.
    pub name: &'static str,
    /// Lines of the broker's main file that are replaced.
    pub broker: &'static [(&'static str, &'static str)],
    /// Lines of its bridge's file.
    pub bridge: &'static [(&'static str, &'static str)],
    /// Lines of the service's file.
    pub service: &'static [(&'static str, &'static str)],
    /// Files in the gateway's folder that get another content.
    pub content: &'static [(&'static str, &'static str)],
    /// Files that get another mode.
    pub mode: &'static [(&'static str, u32)],
    /// Something else.
    pub turn: Turn,
    /// The findings it makes, each `key` or `key[item]`, sorted.
    pub findings: &'static [&'static str],
}

/// What else may be turned.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Nothing.
    Nothing,
    /// The broker does not run.
    Stopped,
    /// The broker does not start with what stands there, and the one that ran before goes on.
    Refused,
    /// The main file is changed after the broker was started, and has nothing weak in it.
    Edited,
    /// A file belongs to somebody else (takes root).
    Owner(&'static str),
    /// The service is not healthy.
    Sick,
    /// The counter of messages stands still.
    Still,
    /// The service has ended.
    Ended,
}

impl Weak {
    /// Nothing is turned.
    pub const NOTHING: Self = Self {
        name: "nothing",
        broker: &[],
        bridge: &[],
        service: &[],
        content: &[],
        mode: &[],
        turn: Turn::Nothing,
        findings: &[],
    };
}

/// The main file in the words of the broker that is tested: in those of 2.1 each listener has its own without a word for it.
fn main_file() -> Result<String> {
    let text =
        BROKER.replace("\nallow_anonymous", "\nlistener_allow_anonymous").replace("per_listener_settings true\n", "");
    Ok(if mosquitto::is_two_one()? { text } else { BROKER.to_owned() })
}

fn replaced(text: &str, changes: &[(&str, &str)]) -> String {
    changes.iter().fold(text.to_owned(), |text, (line, other)| {
        assert!(text.contains(line), "{line} is not there");
        text.replacen(line, other, 1)
    })
}

impl Gateway {
    /// A gateway in `folder`, with keys of its own.
    ///
    /// # Errors
    /// When something cannot be made.
    pub fn make(folder: &Path) -> Result<Self> {
        let keys = folder.join("keys");
        Keys::make(&keys)?;
        for name in ["conf.d", "store"] {
            fs::create_dir_all(folder.join(name))?;
        }
        let service =
            Arc::new(Stand { forwarded: AtomicU64::new(0), step: AtomicU64::new(1), health: AtomicU64::new(200) });
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let stand = Arc::clone(&service);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who hangs up early has seen enough.
                let _ = stand.answer(&stream);
            }
        });
        let ports = [Port::reserve()?, Port::reserve()?];
        Ok(Self {
            folder: folder.to_owned(),
            ports,
            program: None,
            service,
            address,
            keys,
            plugins: mosquitto::plugins()?,
        })
    }

    fn fill(&self, text: &str) -> String {
        text.replace("{plugins}", &self.plugins.display().to_string())
            .replace("{keys}", &self.keys.display().to_string())
            .replace("{folder}", &self.folder.display().to_string())
            .replace("{tls}", &self.ports[0].address().port().to_string())
            .replace("{passwords}", &self.ports[1].address().port().to_string())
    }

    /// The agent's configuration.
    #[must_use]
    pub fn agent_config(&self) -> String {
        let (folder, url) = (self.folder.display(), &self.address);
        let tls = self.ports[0].address();
        self.fill(&format!(
            "[broker]\nserver_name = \"localhost\"\ntls = [\"{tls}\"]\nca_file = \"{{keys}}/ca.pem\"\n\
             client_certificate = \"{{keys}}/client.pem\"\nclient_key = \"{{keys}}/client.pem\"\n\
             configuration_file = \"{folder}/mosquitto.conf\"\n\n\
             [service]\nconfiguration_file = \"{folder}/gateway.yaml\"\nmetrics_url = \"http://{url}/metrics\"\n\
             health_url = \"http://{url}/health\"\npid_file = \"{folder}/gateway.pid\"\nlog_file = \"{folder}/gateway.log\"\n\
             \n\
             [service.pointers]\nauth_enforced = \"/security/require_auth\"\ntls_enforced = \"/uplink/tls\"\n\
             buffering_enabled = \"/buffer/enabled\"\nretry_limit = \"/retry/limit\"\n\n\
             [service.metrics]\nmessages = \"gateway_forwarded_total\"\n\n\
             [service.log]\nunsafe_defaults = \"unsafe defaults in effect: \"\n"
        ))
    }

    /// Sets everything up with `weak` turned, looks, and returns what is found by the pack that ships.
    ///
    /// # Errors
    /// When the broker does not do what was to be expected, or the look fails.
    pub fn look(&mut self, weak: &Weak, checks: &[&str], pack: &Pack) -> Result<(Run, Assessment)> {
        let path = |name: &str| self.folder.join(name);
        let main = path("mosquitto.conf");
        let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
        let sound = [
            ("conf.d/bridge.conf", self.fill(&replaced(BRIDGE, weak.bridge))),
            ("mosquitto.conf", user.to_owned() + &self.fill(&replaced(&main_file()?, weak.broker))),
            ("acl", LIST.to_owned()),
            ("passwd", format!("gateway:$7$20000${HASH}\n")),
            ("gateway.yaml", replaced(SERVICE, weak.service)),
            ("gateway.log", "started\nunsafe defaults in effect: 0\n".to_owned()),
            ("gateway.pid", format!("{}\n", std::process::id())),
        ];
        if weak.turn != Turn::Refused {
            drop(self.program.take());
        }
        for (name, text) in &sound {
            // In its place, so that what a test did to owner and mode is gone.
            let _ = fs::remove_file(path(name));
            write(&path(name), text.as_bytes(), 0o600)?;
        }
        for name in ["broker", "client", "ca", "crl"] {
            fs::set_permissions(self.keys.join(format!("{name}.pem")), fs::Permissions::from_mode(0o600))?;
        }
        fs::set_permissions(path("conf.d"), fs::Permissions::from_mode(0o755))?;
        for (name, text) in weak.content {
            fs::write(path(name), self.fill(&text.replace("{hash}", HASH)))?;
        }
        for (name, mode) in weak.mode {
            fs::set_permissions(path(name), fs::Permissions::from_mode(*mode))?;
        }
        if !matches!(weak.turn, Turn::Stopped | Turn::Refused) {
            self.program = Some(self.start(&main)?);
        }
        self.service.step.store(u64::from(weak.turn != Turn::Still), Ordering::Relaxed);
        self.service.health.store(if weak.turn == Turn::Sick { 503 } else { 200 }, Ordering::Relaxed);
        match weak.turn {
            Turn::Edited => {
                let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
                fs::File::options().write(true).open(&main)?.set_modified(later)?;
            }
            Turn::Owner(name) => chown(path(name), Some(65_534), None)?,
            Turn::Ended => fs::remove_file(path("gateway.pid"))?,
            _ => {}
        }
        self.audit(checks, pack)
    }

    /// Starts Mosquitto with `configuration`.
    fn start(&self, configuration: &Path) -> Result<Program> {
        let binary = mosquitto::broker()?;
        let mut broker = command(&binary);
        broker.arg("-c").arg(configuration);
        let mut program = Program::start_command(&binary, broker)?;
        // One that keeps no log is asked.
        let address = self.ports[0].address();
        let silent = fs::read_to_string(configuration)?.contains("log_dest none");
        program.wait_until("it runs", LIMIT, |lines| match silent {
            true => TcpStream::connect(address).is_ok(),
            false => lines.iter().any(|line| line.ends_with(" running")),
        })?;
        Ok(program)
    }

    /// Starts the broker with other lines than those that stay in its file, so that what runs is not what is declared.
    ///
    /// # Errors
    /// When it does not start.
    pub fn run_something_else(&mut self, changes: &[(&str, &str)]) -> Result<()> {
        drop(self.program.take());
        let main = self.folder.join("mosquitto.conf");
        let declared = fs::read(&main)?;
        let changed = fs::metadata(&main)?.modified()?;
        let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
        write(&main, (user.to_owned() + &self.fill(&replaced(&main_file()?, changes))).as_bytes(), 0o600)?;
        self.program = Some(self.start(&main)?);
        write(&main, &declared, 0o600)?;
        // As a backup that is played back leaves it.
        fs::File::options().write(true).open(&main)?.set_modified(changed)?;
        Ok(())
    }

    /// Ends the broker.
    pub fn stop(&mut self) {
        drop(self.program.take());
    }

    /// Looks, and judges.
    ///
    /// # Errors
    /// When the agent's configuration is not understood.
    pub fn audit(&self, checks: &[&str], pack: &Pack) -> Result<(Run, Assessment)> {
        let file = self.folder.join("gatepost.toml");
        fs::write(&file, self.agent_config())?;
        let mut config = read::file(&file)?;
        // The stand-in's counter rises with every look.
        config.service.as_mut().context("no [service]")?.flow_wait = std::time::Duration::from_millis(1);
        let config = Arc::new(config);
        let bundle = Bundle {
            name: "configuration".into(),
            version: "1.0.0".into(),
            purpose: "one check".into(),
            checks: checks.iter().map(|check| (*check).to_owned()).collect(),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let gateway = GatewayId::new(Digest::of(b"a gateway"));
        let execution =
            runtime.block_on(gatepost::runner::execute(config, gateway, &bundle, Stage::Audit, None, |_| {}));
        let mut run = execution.into_run(None);
        for observation in run.records.iter_mut().filter_map(|record| record.observation.as_mut()) {
            // What dpkg would tell where the broker that is tested is the host's own.
            if let Some(release) = observation.pointer_mut("/broker/release") {
                *release = serde_json::json!({ "seen": mosquitto::release()? });
            }
        }
        let assessment = assess(&run, Digest::of(b"a payload"), pack);
        Ok((run, assessment))
    }
}

impl Stand {
    fn answer(&self, mut stream: &std::net::TcpStream) -> Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().context("nothing was asked")??;
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let (status, body) = if first.contains("/health") {
            (self.health.load(Ordering::Relaxed), String::new())
        } else {
            let step = self.step.load(Ordering::Relaxed);
            (200, format!("gateway_forwarded_total {}\n", self.forwarded.fetch_add(step, Ordering::Relaxed)))
        };
        write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
        Ok(())
    }
}

/// Rows of the check with this outcome, as `key`, or `key[item]` for an entry of a map.
#[must_use]
pub fn rows(assessment: &Assessment, outcome: Outcome) -> Vec<String> {
    let of_check = |key: &str| key.strip_prefix("gateway_config_guardrails.").map(str::to_owned);
    let mut found: Vec<String> = assessment
        .rows
        .iter()
        .filter(|row| row.outcome == outcome)
        .filter_map(|row| {
            let key = of_check(&row.key)?;
            Some(match row.subject.split_once('/') {
                Some((_, item)) => format!("{key}[{item}]"),
                None => key,
            })
        })
        .collect();
    found.sort();
    found
}

impl Gateway {
    /// `text` with this gateway's own folder, keys and ports in it, so that expectations can name them.
    #[must_use]
    pub fn here(&self, text: &str) -> String {
        self.fill(text)
    }

    /// Everything that was observed, as text.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn told(run: &Run) -> Result<String> {
        let records: BTreeMap<_, _> = run
            .records
            .iter()
            .map(|record| (format!("{}/{}", record.check, record.target.name), &record.observation))
            .collect();
        Ok(serde_json::to_string(&records)?)
    }
}
