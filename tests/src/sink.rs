//! The sink, as an operator would run it: the built `gatepost-sink` binary with its data folder.
//!
//! Its port is held for as long as the [`Sink`] lives, so that it goes away and comes back at the same address.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::agent::{Finished, run};
use crate::clock::Clock;
use crate::http::{Answer, Client};
use crate::peer::Peer;
use crate::pki::{Identity, Pki};
use crate::port::Port;
use crate::process::{LIMIT, Program, built, command};

/// What an agent must know of a sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkInfo {
    /// `https://127.0.0.1:<port>`.
    pub url: String,
    /// Whom to trust.
    pub ca_file: PathBuf,
}

/// A `gatepost-sink`.
pub struct Sink {
    program: Option<Program>,
    clock: Vec<(OsString, OsString)>,
    binary: PathBuf,
    folder: PathBuf,
    /// None when it serves in plaintext.
    identity: Option<Identity>,
    port: Port,
    info: SinkInfo,
    client: Client,
}

impl Sink {
    /// Starts a sink that keeps its files in `folder`.
    ///
    /// # Errors
    /// When the binary has not been built or does not come up; its log is in the error.
    pub fn start(folder: &Path, pki: &Pki) -> Result<Self> {
        Self::start_as(folder, pki, Some(pki.sink.clone()), None)
    }

    /// As [`Self::start`], under another clock than the machine's.
    ///
    /// # Errors
    /// When the binary has not been built or does not come up; its log is in the error.
    pub fn start_under(folder: &Path, pki: &Pki, clock: Option<&Clock>) -> Result<Self> {
        Self::start_as(folder, pki, Some(pki.sink.clone()), clock)
    }

    /// As [`Self::start`], with another certificate than the lab's CA gave it. Its [`Api`] trusts that CA only.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(folder: &Path, pki: &Pki, identity: &Identity) -> Result<Self> {
        Self::start_as(folder, pki, Some(identity.clone()), None)
    }

    /// As [`Self::start`], but it serves in plaintext, for those who count the bytes.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_plaintext(folder: &Path, pki: &Pki) -> Result<Self> {
        Self::start_as(folder, pki, None, None)
    }

    fn start_as(folder: &Path, pki: &Pki, identity: Option<Identity>, clock: Option<&Clock>) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let port = Port::reserve()?;
        let scheme = if identity.is_some() { "https" } else { "http" };
        let info = SinkInfo { url: format!("{scheme}://{}", port.address()), ca_file: pki.ca.clone() };
        let mut sink = Self {
            program: None,
            clock: clock.map(Clock::variables).unwrap_or_default(),
            binary: built("gatepost-sink")?,
            folder: folder.to_owned(),
            identity,
            port,
            info,
            client: Client::new(&pki.ca)?,
        };
        sink.start_again()?;
        Ok(sink)
    }

    /// Starts it again at the same address with the same data, unless it runs.
    ///
    /// # Errors
    /// When it does not come up; its log is in the error.
    pub fn start_again(&mut self) -> Result<()> {
        if self.program.is_some() {
            return Ok(());
        }
        let address_file = self.folder.join("address");
        match fs::remove_file(&address_file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", address_file.display()));
            }
            _ => {}
        }
        let mut command = command(&self.binary);
        command.args(["serve", "--listen", &self.port.address().to_string()]);
        command.arg("--data").arg(self.data());
        if let Some(identity) = &self.identity {
            command.arg("--tls-cert").arg(&identity.certificate).arg("--tls-key").arg(&identity.key);
        }
        command.arg("--address-file").arg(&address_file).envs(self.clock.iter().cloned());
        let mut program = Program::start_command(&self.binary, command)?;
        let expected = self.port.address().to_string();
        program.wait_until("it wrote its address", LIMIT, |_| {
            fs::read_to_string(&address_file).is_ok_and(|text| text.contains(&expected))
        })?;
        self.program = Some(program);
        Ok(())
    }

    /// Stops it in order (SIGTERM). Its port stays reserved, and refuses.
    ///
    /// # Errors
    /// When it does not end in time; then it has been killed.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        self.program.take().map(Program::stop).transpose()
    }

    /// Kills it (SIGKILL). Its port stays reserved, and refuses.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> Result<Option<ExitStatus>> {
        self.program.take().map(Program::kill).transpose()
    }

    /// Kills it (SIGKILL) and puts a server in its place that takes connections and never says a word.
    ///
    /// # Errors
    /// When it cannot be killed, or its port cannot be listened on.
    pub fn hang(&mut self) -> Result<Peer> {
        self.kill()?;
        Peer::hanging_on(&self.port)
    }

    /// What an agent must know of it.
    #[must_use]
    pub fn info(&self) -> &SinkInfo {
        &self.info
    }

    /// `https://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.info.url
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Takes the run at `seq` out of its database, of every gateway, as if it had never come.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_run(&self, seq: u64) -> Result<()> {
        let database = rusqlite::Connection::open(self.data().join("sink.db"))?;
        database.busy_timeout(LIMIT)?;
        // What refers to it may stay: this is damage.
        database.pragma_update(None, "foreign_keys", false)?;
        anyhow::ensure!(database.execute("DELETE FROM runs WHERE seq = ?1", [seq])? > 0, "there is no run {seq}");
        Ok(())
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it has written since it was started last.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.as_ref().map(Program::log).unwrap_or_default()
    }

    /// Its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    /// Runs another of its commands to its end, with `--data` added after `arguments`.
    ///
    /// # Errors
    /// When it does not start or does not end.
    pub fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = command(&self.binary);
        command.args(arguments).arg("--data").arg(self.data()).envs(self.clock.iter().cloned());
        run(command, LIMIT).with_context(|| format!("gatepost-sink {}", arguments.join(" ")))
    }

    /// A new one-time token for an enrolment.
    ///
    /// # Errors
    /// When the command does not succeed.
    pub fn enrolment_token(&self) -> Result<String> {
        self.secret(&["token", "create"])
    }

    /// As [`Self::enrolment_token`], that lasts only for `expires`, such as `1s`.
    ///
    /// # Errors
    /// When the command does not succeed.
    pub fn enrolment_token_for(&self, expires: &str) -> Result<String> {
        self.secret(&["token", "create", "--expires", expires])
    }

    /// A token for the API.
    ///
    /// # Errors
    /// When the command does not succeed.
    pub fn operator_token(&self) -> Result<String> {
        self.secret(&["operator-token"])
    }

    fn secret(&self, arguments: &[&str]) -> Result<String> {
        let finished = self.run(arguments)?;
        anyhow::ensure!(
            finished.code == Some(0),
            "gatepost-sink {} ended with {:?}: {}",
            arguments.join(" "),
            finished.code,
            finished.stderr
        );
        Ok(finished.stdout.trim().to_owned())
    }

    /// A client of its API that acts as an operator.
    ///
    /// # Errors
    /// When there is no operator token.
    pub fn api(&self) -> Result<Api> {
        Ok(Api { url: self.info.url.clone(), token: Some(self.operator_token()?), client: self.client.clone() })
    }

    /// One of its pages, as somebody sees it who signed in with the operator's token.
    ///
    /// # Errors
    /// When there is no answer, or signing in fails.
    pub fn page(&self, path: &str) -> Result<Answer> {
        let token = self.operator_token()?;
        let cookie = self.client.sign_in(&format!("{}/sign-in", self.info.url), &token)?;
        let url = format!("{}{path}", self.info.url);
        self.client.get_with_cookie(&url, &cookie).with_context(|| format!("GET {url}"))
    }

    /// A client of its API without credentials.
    #[must_use]
    pub fn anonymous_api(&self) -> Api {
        Api { url: self.info.url.clone(), token: None, client: self.client.clone() }
    }
}

/// A client of a sink's API. It stays valid while the sink is away.
#[derive(Clone)]
pub struct Api {
    url: String,
    token: Option<String>,
    client: Client,
}

impl Api {
    /// GET of `path`, which begins with a slash.
    ///
    /// # Errors
    /// When there is no answer; any status is one.
    pub fn get(&self, path: &str) -> Result<Answer> {
        let url = format!("{}{path}", self.url);
        self.client.get(&url, self.token.as_deref()).with_context(|| format!("GET {url}"))
    }

    /// POST of `body` to `path`, which begins with a slash.
    ///
    /// # Errors
    /// When there is no answer; any status is one.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        let url = format!("{}{path}", self.url);
        self.client.post(&url, self.token.as_deref(), &body.to_string()).with_context(|| format!("POST {url}"))
    }

    /// GET of `path` that must be answered with 200 and JSON.
    ///
    /// # Errors
    /// When it is not; the answer is in the error.
    pub fn json(&self, path: &str) -> Result<Value> {
        let answer = self.get(path)?;
        anyhow::ensure!(answer.status == 200, "GET {path} was answered with {}: {}", answer.status, answer.body);
        answer.json()
    }
}
