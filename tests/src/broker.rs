//! The broker: Debian's Mosquitto with a configuration that the lab writes.
//!
//! Sound from the start: one TLS listener that demands client certificates, nobody anonymous, an access control list with
//! one entry for each client. [`Broker::open_plaintext`] is the mistake that act four of the demo makes: an anonymous
//! plaintext listener, on a port that the lab has held since it began.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::pki::{self, Pki};
use crate::port::Port;
use crate::process::{LIMIT, Program};

/// A Mosquitto.
pub struct Broker {
    program: Option<Program>,
    binary: PathBuf,
    folder: PathBuf,
    configuration: PathBuf,
    base: String,
    tls: Port,
    plaintext: Port,
    open: bool,
}

impl Broker {
    /// Starts a broker that keeps its files in `folder`, which must not exist yet.
    ///
    /// # Errors
    /// When Mosquitto is not installed or does not come up; its log is in the error.
    pub fn start(folder: &Path, pki: &Pki) -> Result<Self> {
        let binary = crate::mosquitto::broker()?;
        let store = folder.join("store");
        fs::create_dir_all(&store).with_context(|| format!("cannot make {}", store.display()))?;
        let (tls, plaintext) = (Port::reserve()?, Port::reserve()?);
        let rights = folder.join("acl");
        pki::write(&rights, access_control().as_bytes(), 0o600)?;
        let base = configuration(tls.address(), &store, &rights, pki);
        let configuration = folder.join("mosquitto.conf");
        let folder = folder.to_owned();
        let mut broker = Self { program: None, binary, folder, configuration, base, tls, plaintext, open: false };
        broker.run()?;
        Ok(broker)
    }

    /// Where the TLS listener is.
    #[must_use]
    pub fn tls_address(&self) -> SocketAddr {
        self.tls.address()
    }

    /// Where the plaintext listener is when it is open; refused when it is not.
    #[must_use]
    pub fn plaintext_address(&self) -> SocketAddr {
        self.plaintext.address()
    }

    /// Its configuration file.
    #[must_use]
    pub fn configuration_file(&self) -> &Path {
        &self.configuration
    }

    /// The folder with its configuration, its access control list and its store.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
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

    /// Opens an anonymous plaintext listener: rewrites the configuration and restarts the broker.
    ///
    /// # Errors
    /// When the broker does not come back.
    pub fn open_plaintext(&mut self) -> Result<()> {
        self.restart(true)
    }

    /// Takes [`Self::open_plaintext`] back.
    ///
    /// # Errors
    /// When the broker does not come back.
    pub fn close_plaintext(&mut self) -> Result<()> {
        self.restart(false)
    }

    /// Stops the broker in order, so that it stores its sessions. Its ports stay reserved, and refuse.
    ///
    /// # Errors
    /// When it does not end in time; then it has been killed.
    pub fn stop(&mut self) -> Result<()> {
        match self.program.take() {
            Some(program) => program.stop().map(drop),
            None => Ok(()),
        }
    }

    /// Starts it again, with the configuration it had.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        self.restart(self.open)
    }

    fn restart(&mut self, open: bool) -> Result<()> {
        self.stop()?;
        self.open = open;
        self.run()
    }

    fn run(&mut self) -> Result<()> {
        let mut text = self.base.clone();
        if self.open {
            let address = self.plaintext.address();
            text = text.replace("allow_anonymous false", "allow_anonymous true");
            // Writing to a string cannot fail.
            let _ = write!(text, "\n# opened in a hurry\nlistener {} {}\n", address.port(), address.ip());
        }
        pki::write(&self.configuration, text.as_bytes(), 0o600)?;
        let mut program = Program::start(&self.binary, ["-c".as_ref(), self.configuration.as_os_str()])?;
        // It says so after all its listeners are open.
        program
            .wait_until("it said that it runs", LIMIT, |lines| lines.iter().any(|line| line.ends_with(" running")))
            .with_context(|| format!("the broker does not run with {}", self.configuration.display()))?;
        self.program = Some(program);
        Ok(())
    }
}

fn configuration(tls: SocketAddr, store: &Path, rights: &Path, pki: &Pki) -> String {
    // Started as root, Mosquitto would become its own user, who cannot read a folder that belongs to root alone.
    let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
    format!(
        "# Written by the lab.\n\
         per_listener_settings false\n\
         allow_anonymous false\n\
         acl_file {rights}\n\
         max_packet_size 1048576\n\
         max_keepalive 600\n\
         persistence true\n\
         persistence_location {store}/\n\
         log_dest stderr\n\
         {user}\n\
         listener {port} {ip}\n\
         cafile {ca}\n\
         crlfile {crl}\n\
         certfile {certificate}\n\
         keyfile {key}\n\
         require_certificate true\n\
         use_identity_as_username true\n",
        rights = rights.display(),
        store = store.display(),
        port = tls.port(),
        ip = tls.ip(),
        ca = pki.ca.display(),
        crl = pki.crl.display(),
        certificate = pki.broker.certificate.display(),
        key = pki.broker.key.display(),
    )
}

fn access_control() -> String {
    let mut text = "user gateway\ntopic readwrite telemetry/#\ntopic readwrite gatepost/canary/#\n\
                    topic write gatepost/device/+/challenge\ntopic read gatepost/device/+/answer\n\n\
                    user gatepost-canary\ntopic readwrite gatepost/foreign/#\n"
        .to_owned();
    for id in pki::DEVICES {
        let _ = write!(
            text,
            "\nuser {id}\ntopic readwrite telemetry/{id}\ntopic read gatepost/device/{id}/challenge\n\
             topic write gatepost/device/{id}/answer\n"
        );
    }
    text
}
