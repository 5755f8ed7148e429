//! One broker with one weakness: a real Mosquitto, a certificate authority that lives as long as it has to, and what the agent
//! finds there.
//!
//! Unlike the lab's, everything about it can be turned: its configuration, its access control list, its clock, and what
//! stands in front of it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use gatepost::probe::battery::certificate::{self, Key, Plan, Purpose};
use gatepost::probe::battery::mint::{Authority, Revocation, pem};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;

use crate::agent::{Agent, run};
use crate::clock::Clock;
use crate::pki::write;
use crate::port::Port;
use crate::process::{LIMIT, Program, command, installed};
use crate::webserver::mosquitto_passwords;

/// A certificate authority with the certificates that a broker and its clients need, valid from 2000 to 2150.
pub struct Keys {
    folder: PathBuf,
    authority: Key,
}

fn at(year: u16) -> Timestamp {
    format!("{year}-01-01T00:00:00Z").parse().unwrap_or_default()
}

impl Keys {
    /// Makes them in `folder`: `ca.pem`, `broker.pem`, `client.pem`, `other.pem` (another authority), `other-client.pem` and
    /// `battery/`; each file but the authorities' has its key in it. With them comes a password of `gateway`, in `password` and
    /// for the broker in `passwords`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let keys = Self { folder: folder.to_owned(), authority: Key::make()? };
        let other = Key::make()?;
        for (name, common_name, authority) in [("ca", "A CA", &keys.authority), ("other", "Another CA", &other)] {
            let subject = certificate::name(common_name);
            let plan = Plan { purpose: Purpose::Authority, ..keys.plan(&subject, &subject) };
            let (der, _) =
                certificate::issue(&plan, &certificate::public_key(authority.signing())?, authority.signing())?;
            write(&keys.file(name), pem("CERTIFICATE", &der).as_bytes(), 0o644)?;
        }
        keys.issue("broker", "localhost", Purpose::Server, "A CA", &keys.authority)?;
        keys.issue("client", "gateway", Purpose::Client, "A CA", &keys.authority)?;
        keys.issue("other-client", "somebody", Purpose::Client, "Another CA", &other)?;
        let chain = gatepost::files::read_certificates(&keys.file("ca"))?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(keys.authority.private()));
        let authority = Authority::new(&chain.first().context("no CA")?.0, &private)?;
        // Long enough for a broker that believes to live in 2099.
        let minted = authority.mint(&Revocation::New, 120 * 365, Timestamp::now())?;
        fs::create_dir_all(folder.join("battery"))?;
        for (member, text) in &minted.members {
            write(&folder.join(format!("battery/{member}.pem")), text.as_bytes(), 0o600)?;
        }
        write(&keys.file("crl"), minted.crl.context("no CRL")?.as_bytes(), 0o644)?;
        let both = [fs::read(keys.file("ca"))?, fs::read(keys.file("other"))?].concat();
        write(&keys.file("both"), &both, 0o644)?;
        write(&folder.join("password"), b"of the gateway", 0o600)?;
        mosquitto_passwords(&folder.join("passwords"), "gateway", "of the gateway")?;
        Ok(keys)
    }

    fn plan<'a>(&self, subject: &'a [u8], issuer: &'a [u8]) -> Plan<'a> {
        let (from, to) = (at(2000), at(2150));
        Plan { subject, issuer, issuer_key: None, dns_name: None, from, to, purpose: Purpose::Client }
    }

    fn issue(&self, file: &str, common_name: &str, purpose: Purpose, issuer: &str, by: &Key) -> Result<()> {
        let key = Key::make()?;
        let (subject, issuer) = (certificate::name(common_name), certificate::name(issuer));
        // A server's certificate that lasts for ever is another check's affair.
        let plan = Plan { dns_name: Some(common_name), purpose, ..self.plan(&subject, &issuer) };
        let (der, _) = certificate::issue(&plan, &certificate::public_key(key.signing())?, by.signing())?;
        let text = pem("CERTIFICATE", &der) + &pem("PRIVATE KEY", key.private());
        write(&self.file(file), text.as_bytes(), 0o600)
    }

    /// The file called `name`.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pem"))
    }
}

/// A broker with its agent.
pub struct Field {
    /// What it is called, for messages.
    pub name: String,
    /// mosquitto.conf, with `{keys}`, `{port}` and `{folder}` where these go.
    pub configuration: String,
    /// The access control list.
    pub list: String,
    /// What stands in the list's file once the broker has read it, if that is something else.
    pub changed: Option<String>,
    /// Topic and content of a retained message that somebody else left there.
    pub planted: Option<(String, String)>,
    /// How far the broker's clock is off, in seconds.
    pub clock: i64,
    /// Lines for `[broker]` of the agent's configuration.
    pub client: String,
    /// Lines for `[broker.battery]`.
    pub battery: String,
    /// haproxy.cfg of a proxy that ends TLS in front of the broker, if there is one; `{front}` is its port.
    pub front: Option<String>,
}

/// A broker's configuration that has nothing to be found.
const SOUND: &str = "allow_anonymous false
acl_file {folder}/acl
log_dest stderr
log_type all
max_packet_size 1048576
listener {port} 127.0.0.1
cafile {keys}/ca.pem
certfile {keys}/broker.pem
keyfile {keys}/broker.pem
crlfile {keys}/crl.pem
require_certificate true
use_identity_as_username true
";

/// A list that gives everybody what his role needs.
const LIST: &str = "user gateway
topic readwrite telemetry/#
topic readwrite gatepost/canary/#

user gatepost-canary
topic readwrite gatepost/foreign/#
";

/// What the agent found.
#[derive(Debug)]
pub struct Found {
    /// Keys of findings of `broker_transport_posture`, without the check's name.
    pub findings: BTreeSet<String>,
    /// Of controls that are unknown, with their subjects and reasons.
    pub gaps: BTreeSet<String>,
    /// The report.
    pub report: Value,
    /// The observation of the check.
    pub observation: Value,
    /// The broker's log.
    pub log: String,
}

impl Field {
    /// One without any weakness.
    #[must_use]
    pub fn sound(name: &str) -> Self {
        Self {
            name: name.into(),
            configuration: SOUND.into(),
            list: LIST.into(),
            changed: None,
            planted: None,
            clock: 0,
            client: "ca_file = \"{keys}/ca.pem\"\nclient_certificate = \"{keys}/client.pem\"\n\
                     client_key = \"{keys}/client.pem\"\nconfiguration_file = \"{folder}/mosquitto.conf\"\n"
                .into(),
            battery: "folder = \"{keys}/battery\"\n".into(),
            front: None,
        }
    }

    /// With `line` of the broker's configuration replaced.
    #[must_use]
    pub fn with(mut self, line: &str, replacement: &str) -> Self {
        assert!(self.configuration.contains(line), "{line} is not there");
        self.configuration = self.configuration.replace(line, replacement);
        self
    }

    /// With `entry` of the list replaced.
    #[must_use]
    pub fn with_list(mut self, entry: &str, replacement: &str) -> Self {
        assert!(self.list.contains(entry), "{entry} is not there");
        self.list = self.list.replace(entry, replacement);
        self
    }

    /// Starts it in a folder of its own below `folder`, lets the agent look, and ends it.
    ///
    /// # Errors
    /// When a part does not come up or the agent does not answer.
    pub fn look(&self, keys: &Keys, folder: &Path) -> Result<Found> {
        let folder = folder.join(&self.name);
        fs::create_dir_all(&folder)?;
        let (port, front) = (Port::reserve()?, Port::reserve()?);
        let fill = |text: &str| {
            text.replace("{keys}", &keys.folder.display().to_string())
                .replace("{folder}", &folder.display().to_string())
                .replace("{port}", &port.address().port().to_string())
                .replace("{front}", &front.address().port().to_string())
        };
        write(&folder.join("acl"), self.list.as_bytes(), 0o600)?;
        let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
        let configuration = folder.join("mosquitto.conf");
        write(&configuration, format!("{user}{}", fill(&self.configuration)).as_bytes(), 0o600)?;
        let binary = crate::mosquitto::broker()?;
        let mut broker = command(&binary);
        broker.arg("-c").arg(&configuration);
        if self.clock != 0 {
            broker.envs(Clock::off_by(&folder, self.clock)?.variables());
        }
        let mut broker = Program::start_command(&binary, broker)?;
        broker
            .wait_until("it said that it runs", LIMIT, |lines| lines.iter().any(|line| line.ends_with(" running")))
            .with_context(|| self.name.clone())?;
        let mut address = port.address();
        let mut proxy = None;
        if let Some(text) = &self.front {
            address = front.address();
            let file = folder.join("haproxy.cfg");
            write(&file, fill(text).as_bytes(), 0o600)?;
            let binary = installed("haproxy", "haproxy")?;
            let mut program = command(&binary);
            program.arg("-f").arg(&file);
            let started = Program::start_command(&binary, program)?;
            wait_until_open(address)?;
            proxy = Some(started);
        }
        if let Some(list) = &self.changed {
            write(&folder.join("acl"), list.as_bytes(), 0o600)?;
        }
        if let Some((topic, content)) = &self.planted {
            let mut publish = command(&installed("mosquitto_pub", "mosquitto-clients")?);
            publish.args([
                "-r",
                "-q",
                "1",
                "-h",
                "localhost",
                "-p",
                &address.port().to_string(),
                "-t",
                topic,
                "-m",
                content,
            ]);
            for (option, file) in [("--cafile", "ca"), ("--cert", "client"), ("--key", "client")] {
                publish.arg(option).arg(keys.file(file));
            }
            run(publish, LIMIT)?.expect_code(0)?;
        }
        let text = format!(
            "[state]\ndirectory = {:?}\n[broker]\nserver_name = \"localhost\"\ntls = [\"{address}\"]\n{}[broker.battery]\n{}",
            folder.join("agent"),
            fill(&self.client),
            fill(&self.battery),
        );
        let agent = Agent::configured(&folder.join("gatepost.toml"), &text)?;
        let report = agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
        let envelope = agent.run(&["show", "--envelope"])?.expect_code(0)?.json()?;
        let log = broker.log();
        drop(proxy);
        found(report, &envelope, log).with_context(|| self.name.clone())
    }
}

/// A program that does not say when it is ready is asked.
fn wait_until_open(address: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while let Err(error) = TcpStream::connect(address) {
        anyhow::ensure!(Instant::now() < deadline, "nobody listens on {address}: {error}");
        std::thread::yield_now();
    }
    Ok(())
}

fn found(report: Value, envelope: &Value, log: String) -> Result<Found> {
    let rows = |name: &str| {
        let rows = report[name].as_array().into_iter().flatten();
        rows.filter_map(|row| Some((row["key"].as_str()?.strip_prefix("broker_transport_posture.")?.to_owned(), row)))
            .collect::<Vec<_>>()
    };
    let findings = rows("findings").into_iter().map(|(key, _)| key).collect();
    let gaps = rows("gaps")
        .into_iter()
        .map(|(key, row)| format!("{key}[{}]: {}", row["subject"].as_str().unwrap_or(""), row["reason"]))
        .collect();
    let payload: gatepost_evidence::look::Bytes = serde_json::from_value(envelope["payload"].clone())?;
    let statement: Value = serde_json::from_slice(&payload.0)?;
    let records = statement["predicate"]["records"].as_array().context("no records")?;
    let record = records.iter().find(|record| record["check"] == "broker_transport_posture").context("no record")?;
    let observation = record["observation"].clone();
    Ok(Found { findings, gaps, observation, report, log })
}

/// Looks at all of `fields`, two at a time, and returns what was found in their order.
///
/// # Errors
/// When one of them cannot be looked at.
pub fn look_at_all(fields: &[Field]) -> Result<Vec<Found>> {
    let folder = tempfile::tempdir()?;
    let keys = Arc::new(Keys::make(&folder.path().join("keys"))?);
    let mut found = Vec::new();
    for pair in fields.chunks(2) {
        let looked: Vec<Result<Found>> = std::thread::scope(|scope| {
            let threads: Vec<_> = pair.iter().map(|field| scope.spawn(|| field.look(&keys, folder.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| anyhow::bail!("it panicked"))).collect()
        });
        for one in looked {
            found.push(one?);
        }
    }
    Ok(found)
}

/// Seconds from now to the middle of the day on which the battery's certificate of tomorrow is valid.
#[must_use]
pub fn until_2099() -> i64 {
    (at(2099) + SignedDuration::from_hours(12)).as_second() - Timestamp::now().as_second()
}
