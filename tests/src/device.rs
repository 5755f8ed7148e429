//! Devices as an STM32 would be met: a C program on Debian's mbedTLS, the stack that STM32Cube ships (`tests/device/`).
//!
//! It has a TLS server that presents the device's certificate, and an MQTT client that publishes readings and answers
//! Gatepost's challenges. Keys and certificates are made by mbedTLS as well, so that handshakes and encodings are those of
//! a board. The program is compiled once for each state of its sources, into the folder of the running test's binaries,
//! and ends when this process does: by the end of its standard input, by drop, by the kernel.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use gatepost_evidence::id::Digest;
use jiff::Timestamp;

use crate::agent::run;
use crate::pki::Identity;
use crate::port::Port;
use crate::process::{LIMIT, Program, command};

/// The sources; `challenge.c` is what firmware would take.
const SOURCES: [&str; 6] = ["main.c", "device.c", "challenge.c", "mqtt.c", "provision.c", "vectors.c"];
/// mbedTLS, and the threads of the TLS server.
const LIBRARIES: [&str; 4] = ["-lmbedtls", "-lmbedx509", "-lmbedcrypto", "-lpthread"];

/// The simulator, compiled.
///
/// # Errors
/// When there is no C compiler or no mbedTLS, or the sources have a warning.
pub fn simulator() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).as_ref();
    built.map(PathBuf::as_path).map_err(|error| anyhow!("the device simulator was not built: {error}"))
}

fn build() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("device");
    let mut text = Vec::new();
    let mut names: Vec<_> = fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    for name in &names {
        text.extend(fs::read(name).with_context(|| format!("{} cannot be read", name.display()))?);
    }
    let here = std::env::current_exe().context("where this program stands is unknown")?;
    let place = here.parent().context("this program stands nowhere")?;
    let program = place.join(format!("gatepost-device-{}", Digest::of(&text).short()));
    if program.is_file() {
        return Ok(program);
    }
    // Beside it first: other tests may be doing the same.
    let beside = program.with_extension(std::process::id().to_string());
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&beside);
    cc.args(SOURCES.map(|source| folder.join(source))).args(LIBRARIES);
    let compiled = cc.output().context("cc cannot be run; install it: apt-get install gcc libc6-dev")?;
    if !compiled.status.success() {
        let words = String::from_utf8_lossy(&compiled.stderr).into_owned();
        bail!("cc ended with {}; libmbedtls-dev is needed:\n{words}", compiled.status);
    }
    fs::rename(&beside, &program)?;
    Ok(program)
}

/// What a certificate is to say. Everything but the name may be as the program has it.
#[derive(Debug, Clone, Default)]
pub struct Wanted<'a> {
    /// Common name.
    pub name: &'a str,
    /// Certificate and key of the issuer; self-signed without.
    pub issuer: Option<(&'a Path, &'a Path)>,
    /// Further options of `gatepost-device provision`, name and value.
    pub options: Vec<(&'a str, String)>,
}

impl<'a> Wanted<'a> {
    /// A sound certificate for the device called `id`: for clients and servers, since yesterday, for 397 days.
    #[must_use]
    pub fn of(id: &'a str, issuer: Option<(&'a Path, &'a Path)>) -> Self {
        let options =
            vec![("alternative", id.to_owned()), ("usage", "both".to_owned()), ("from", day(-1)), ("to", day(397))];
        Self { name: id, issuer, options }
    }

    /// The same, but with `value` for the option called `name`.
    #[must_use]
    pub fn with(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.options.retain(|(known, _)| *known != name);
        self.options.push((name, value.into()));
        self
    }

    /// The same without the option called `name`.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.options.retain(|(known, _)| *known != name);
        self
    }
}

/// The moment that is `days` from now, as mbedTLS writes it.
#[must_use]
pub fn day(days: i64) -> String {
    let at = Timestamp::now().as_second() + days * 86_400;
    let at = Timestamp::from_second(at).unwrap_or(Timestamp::UNIX_EPOCH).to_string();
    at.chars().filter(char::is_ascii_digit).take(14).collect()
}

/// Makes a key, unless `file`.key is there, and a certificate for it.
///
/// # Errors
/// When mbedTLS does not make it.
pub fn provision(folder: &Path, file: &str, wanted: &Wanted<'_>) -> Result<Identity> {
    let identity =
        Identity { certificate: folder.join(format!("{file}.pem")), key: folder.join(format!("{file}.key")) };
    let mut command = Command::new(simulator()?);
    command.arg("provision").arg("--key").arg(&identity.key).arg("--certificate").arg(&identity.certificate);
    command.args(["--name", wanted.name]);
    if let Some((certificate, key)) = wanted.issuer {
        command.arg("--issuer-certificate").arg(certificate).arg("--issuer-key").arg(key);
    }
    for (name, value) in &wanted.options {
        command.arg(format!("--{name}")).arg(value);
    }
    run(command, LIMIT)?.expect_code(0).with_context(|| format!("no certificate for {}", wanted.name))?;
    Ok(identity)
}

/// Where a device finds its broker.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The broker's TLS listener.
    pub broker: SocketAddr,
    /// Who vouches for it.
    pub ca: &'a Path,
}

/// One device.
pub struct Device {
    id: String,
    identity: Identity,
    port: Port,
    program: Mutex<Program>,
}

impl Device {
    /// A device called `id` that presents `identity` on a port of its own and is connected to the broker of `site`.
    /// `options` are further ones of `gatepost-device run`, above all `misbehave`.
    ///
    /// # Errors
    /// When it does not come up; its words are in the error.
    pub fn start(id: &str, identity: &Identity, site: Option<Site<'_>>, options: &[(&str, &str)]) -> Result<Self> {
        let port = Port::reserve()?;
        let binary = simulator()?;
        let mut command = command(binary);
        command.arg("run").args(["--id", id, "--listen", &port.address().to_string()]);
        command.arg("--certificate").arg(&identity.certificate).arg("--key").arg(&identity.key);
        if let Some(Site { broker, ca }) = site {
            command.args(["--broker", &broker.to_string()]).arg("--authorities").arg(ca);
        }
        for (name, value) in options {
            command.args([&format!("--{name}"), *value]);
        }
        let mut program = Program::start_listening(binary, command)?;
        let ready = |lines: &[String]| {
            let said = |word: &str| lines.iter().any(|line| line == word);
            said("serving") && (site.is_none() || said("connected"))
        };
        program.wait_until("it serves and is connected", LIMIT, ready)?;
        Ok(Self { id: id.to_owned(), identity: identity.clone(), port, program: Mutex::new(program) })
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

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.lock().unwrap_or_else(PoisonError::into_inner).log()
    }

    /// Publishes a reading with QoS 1 on `telemetry/<id>` and waits until the broker has acknowledged it.
    ///
    /// # Errors
    /// When the broker does not take it within `limit`.
    pub fn publish(&self, reading: &serde_json::Value, limit: Duration) -> Result<()> {
        let mut program = self.program.lock().unwrap_or_else(PoisonError::into_inner);
        let before = program.lines();
        program.tell(&format!("publish telemetry/{} {reading}", self.id))?;
        let published = |lines: &[String]| lines[before.min(lines.len())..].iter().any(|line| line == "published");
        program.wait_until("the broker has its reading", limit, published)
    }
}
