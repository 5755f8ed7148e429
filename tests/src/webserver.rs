//! HTTP servers and brokers that nobody here wrote, as the ingest edge of a customer: nginx and HAProxy in front of the
//! lab's own edge, Mosquitto and NATS as a broker in the cloud.
//!
//! Each is an ordinary process in a folder of its own, on ports that were reserved for it, and ends with its owner. It is
//! started with exactly the configuration that a test gives, and there is one once it accepts connections.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::pki;
use crate::port::Port;
use crate::process::{LIMIT, Program, command, installed};

/// A server that runs, until it is dropped.
pub struct Running {
    program: Program,
}

impl Running {
    /// What it has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }
}

/// nginx with the directives `http` in its `http` block.
///
/// # Errors
/// When it is not installed or does not come up; its log is in the error.
pub fn nginx(folder: &Path, http: &str, listens: &[&Port]) -> Result<Running> {
    let text = format!(
        "worker_processes 1;\ndaemon off;\n# One process, which ends with the test.\nmaster_process off;\n\
         error_log stderr notice;\npid {0}/nginx.pid;\nevents {{ worker_connections 128; }}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {0}/body;\n  proxy_temp_path {0}/proxy;\n  fastcgi_temp_path {0}/fastcgi;\n  \
         uwsgi_temp_path {0}/uwsgi;\n  scgi_temp_path {0}/scgi;\n{http}\n}}\n",
        folder.display()
    );
    let file = folder.join("nginx.conf");
    pki::write(&file, text.as_bytes(), 0o600)?;
    let binary = installed("nginx", "nginx-light")?;
    let mut started = command(&binary);
    started.arg("-p").arg(folder).arg("-c").arg(&file).args(["-e", "stderr"]);
    start(&binary, started, listens)
}

/// HAProxy with this configuration.
///
/// # Errors
/// As [`nginx`].
pub fn haproxy(folder: &Path, text: &str, listens: &[&Port]) -> Result<Running> {
    let file = folder.join("haproxy.cfg");
    pki::write(&file, text.as_bytes(), 0o600)?;
    let binary = installed("haproxy", "haproxy")?;
    let mut started = command(&binary);
    started.arg("-db").arg("-f").arg(&file);
    start(&binary, started, listens)
}

/// Mosquitto with this configuration.
///
/// # Errors
/// As [`nginx`].
pub fn mosquitto(folder: &Path, text: &str, listens: &[&Port]) -> Result<Running> {
    // Started as root, Mosquitto would become its own user, who cannot read a folder that belongs to root alone.
    let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
    let file = folder.join("mosquitto.conf");
    pki::write(&file, format!("{user}log_dest stderr\n{text}").as_bytes(), 0o600)?;
    let binary = crate::mosquitto::broker()?;
    let mut started = command(&binary);
    started.arg("-c").arg(&file);
    start(&binary, started, listens)
}

/// A password file for Mosquitto with one user.
///
/// # Errors
/// When mosquitto_passwd(1) does not make it.
pub fn mosquitto_passwords(file: &Path, user: &str, password: &str) -> Result<()> {
    let mut command = Command::new(installed("mosquitto_passwd", "mosquitto")?);
    command.args(["-b", "-c"]).arg(file).args([user, password]);
    crate::agent::run(command, LIMIT)?.expect_code(0).map(drop)
}

/// NATS with this configuration.
///
/// # Errors
/// As [`nginx`].
pub fn nats(folder: &Path, text: &str, listens: &[&Port]) -> Result<Running> {
    let file = folder.join("nats.conf");
    pki::write(&file, text.as_bytes(), 0o600)?;
    let binary = installed("nats-server", "nats-server")?;
    let mut started = command(&binary);
    started.arg("-c").arg(&file);
    start(&binary, started, listens)
}

fn start(binary: &Path, command: Command, listens: &[&Port]) -> Result<Running> {
    let mut program = Program::start_command(binary, command)?;
    let accepts = |port: &&Port| TcpStream::connect(port.address()).is_ok();
    program.wait_until("it accepts connections", LIMIT, |_| listens.iter().all(accepts))?;
    Ok(Running { program })
}
