//! A Mosquitto with one plaintext listener on loopback and whatever else a test writes into its configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::pki;
use crate::port::Port;
use crate::process::{LIMIT, Program};

/// A Mosquitto.
pub struct Mosquitto {
    program: Option<Program>,
    configuration: PathBuf,
    port: Port,
}

impl Mosquitto {
    /// Starts one that keeps its files in `folder`, anonymous and in plaintext, with `further` lines of configuration.
    ///
    /// # Errors
    /// When it does not come up; its log is in the error.
    pub fn start(folder: &Path, further: &str) -> Result<Self> {
        let store = folder.join("store");
        std::fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
        let port = Port::reserve()?;
        let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
        let text = format!(
            "log_dest stderr\nlog_type all\nallow_anonymous true\npersistence_location {}/\n{user}\
             listener {} 127.0.0.1\n{further}\n",
            store.display(),
            port.address().port()
        );
        let configuration = folder.join("mosquitto.conf");
        pki::write(&configuration, text.as_bytes(), 0o600)?;
        let mut broker = Self { program: None, configuration, port };
        broker.run()?;
        Ok(broker)
    }

    fn run(&mut self) -> Result<()> {
        let binary = crate::mosquitto::broker()?;
        let mut program = Program::start(&binary, ["-c".as_ref(), self.configuration.as_os_str()])?;
        program
            .wait_until("it said that it runs", LIMIT, |lines| lines.iter().any(|line| line.ends_with(" running")))?;
        self.program = Some(program);
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// What it has written since it was started last.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.as_ref().map(Program::log).unwrap_or_default()
    }

    /// Waits until a line of its log has `words` in it.
    ///
    /// # Errors
    /// When that does not come.
    pub fn wait_for(&mut self, words: &str) -> Result<()> {
        let program = self.program.as_mut().context("it does not run")?;
        program.wait_until(words, LIMIT, |lines| lines.iter().any(|line| line.contains(words)))
    }

    /// Stops it in order and starts it again.
    ///
    /// # Errors
    /// When it does not end or come back.
    pub fn restart(&mut self) -> Result<()> {
        if let Some(program) = self.program.take() {
            program.stop()?;
        }
        self.run()
    }
}
