//! Proxies that nobody here wrote, from Debian: tinyproxy, which carries connections by `CONNECT`, and microsocks, which speaks
//! SOCKS 5. Both ask who one is.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::pki;
use crate::port::Port;
use crate::process::{LIMIT, Program, command, installed};

/// The user that it knows.
pub const USER: &str = "gateway";
/// That user's password.
pub const PASSWORD: &str = "s3cret-of-the-proxy";

/// A proxy that runs.
pub struct Proxy {
    program: Program,
    port: Port,
}

impl Proxy {
    /// Starts a tinyproxy that keeps its files in `folder` and lets [`USER`] through.
    ///
    /// # Errors
    /// When tinyproxy is not installed or does not come up; its log is in the error.
    pub fn start(folder: &Path) -> Result<Self> {
        let binary = installed("tinyproxy", "tinyproxy-bin")?;
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let port = Port::reserve()?;
        let file = folder.join("tinyproxy.conf");
        let address = port.address();
        let configuration = format!(
            "Port {}\nListen {}\nTimeout 60\nMaxClients 16\nLogLevel Info\nBasicAuth {USER} {PASSWORD}\n",
            address.port(),
            address.ip()
        );
        pki::write(&file, configuration.as_bytes(), 0o600)?;
        let mut command = command(&binary);
        command.arg("-d").arg("-c").arg(&file);
        let mut program = Program::start_command(&binary, command)?;
        let up = |log: &[String]| log.iter().any(|line| line.contains("Accepting connections"));
        program.wait_until("it accepts connections", LIMIT, up)?;
        Ok(Self { program, port })
    }

    /// Starts a microsocks that lets [`USER`] through.
    ///
    /// # Errors
    /// When it is not installed or does not come up.
    pub fn start_socks() -> Result<Self> {
        let binary = installed("microsocks", "microsocks")?;
        let port = Port::reserve()?;
        let address = port.address();
        let mut command = command(&binary);
        command.args(["-i", &address.ip().to_string(), "-p", &address.port().to_string(), "-u", USER, "-P", PASSWORD]);
        let mut program = Program::start_command(&binary, command)?;
        program.wait_until("it listens", LIMIT, |_| TcpStream::connect(address).is_ok())?;
        Ok(Self { program, port })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// What it has written: a line for each connection that it was asked for.
    #[must_use]
    pub fn log(&self) -> String {
        self.program.log()
    }
}
