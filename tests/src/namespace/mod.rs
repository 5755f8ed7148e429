//! Network namespaces that a test makes: an own network with own interfaces, routes, name servers and firewall, in which real
//! programs run as on a machine of their own.
//!
//! They are made with ip(8), have names that no other process uses, and are gone with their owner, who has to be root. Inside one
//! `/sys/class/net`, `/proc/net` and `/proc/sys/net` are its own, and `/etc/resolv.conf` is what [`Namespace::resolvers`] wrote.
//! [`site::Site`] is a gateway, the road to the cloud, and the cloud.

pub mod site;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::agent::{Finished, run};
use crate::pki;
use crate::process::{LIMIT, Program, command, installed};

/// Where ip(8) looks for files that a namespace has in place of `/etc`'s.
const ETC: &str = "/etc/netns";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace, until it is dropped.
pub struct Namespace {
    name: String,
    ip: PathBuf,
    /// Files that commands of its own need.
    files: tempfile::TempDir,
}

impl Namespace {
    /// A new one with nothing but loopback.
    ///
    /// # Errors
    /// When the caller is not root, or ip(8) is not installed or fails.
    pub fn make(label: &str) -> Result<Self> {
        anyhow::ensure!(nix::unistd::geteuid().is_root(), "network namespaces can be made by root only");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gatepost-{}-{number}-{label}", std::process::id());
        let made = Self { name, ip: installed("ip", "iproute2")?, files: tempfile::tempdir()? };
        made.outside(&["netns", "add", &made.name])?;
        made.ip(&["link", "set", "lo", "up"])?;
        Ok(made)
    }

    /// Its name, for ip(8).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn outside(&self, arguments: &[&str]) -> Result<()> {
        let mut ip = command(&self.ip);
        ip.args(arguments);
        run(ip, LIMIT)?.expect_code(0).map(drop).with_context(|| format!("ip {}", arguments.join(" ")))
    }

    /// Runs ip(8) on it.
    ///
    /// # Errors
    /// When it fails; its words are in the error.
    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        self.outside(&[&["-n", &self.name], arguments].concat())
    }

    /// A command for `program` that runs inside, and dies with this process.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = command(&self.ip);
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs the program called `name`, of the Debian package `package`, to its end.
    ///
    /// # Errors
    /// When it is not installed or does not end well.
    pub fn run(&self, name: &str, package: &str, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.command(&installed(name, package)?);
        command.args(arguments);
        run(command, LIMIT)?.expect_code(0).with_context(|| format!("{name} {}", arguments.join(" ")))
    }

    /// Starts `program`, which goes on until it is dropped.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, program: &Path, arguments: &[&str]) -> Result<Program> {
        let mut command = self.command(program);
        command.args(arguments);
        Program::start_command(program, command)
    }

    /// Sets a value below `/proc/sys`, by its name for sysctl(8).
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<()> {
        // Written by a shell, since sysctl(8) is in a package of its own.
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        self.run("sh", "dash", &["-c", &format!("echo {value} > {path}")]).map(drop)
    }

    /// Waits until the kernel says of `interface` that it is `up`, or that it is not: it tells of carriers with a delay of its own.
    ///
    /// # Errors
    /// When that does not come to be in time.
    pub fn wait_until_up(&self, interface: &str, up: bool) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let path = format!("/sys/class/net/{interface}/operstate");
        loop {
            let state = self.run("cat", "coreutils", &[&path])?.stdout;
            if (state.trim() == "up") == up {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{interface} is still {}", state.trim());
        }
    }

    /// Waits until a TCP server at `address` (`host/port`, as bash names it) takes a connection: a wire that is up again has to
    /// find its neighbours first.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub fn wait_until_answered(&self, address: &str) -> Result<()> {
        let deadline = Instant::now() + LIMIT;
        let connect = format!("exec 3<>/dev/tcp/{address}");
        while self.run("bash", "bash", &["-c", &connect]).is_err() {
            anyhow::ensure!(Instant::now() < deadline, "nobody answers at {address}");
        }
        Ok(())
    }

    /// Gives it firewall rules (nft(8)).
    ///
    /// # Errors
    /// When nft refuses them.
    pub fn nft(&self, rules: &str) -> Result<()> {
        let file = self.files.path().join("rules.nft");
        pki::write(&file, rules.as_bytes(), 0o600)?;
        let file = file.to_str().context("the path of the rules is not UTF-8")?;
        self.run("nft", "nftables", &["-f", file]).map(drop).with_context(|| rules.to_owned())
    }

    /// Names the servers of its `/etc/resolv.conf`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn resolvers(&self, servers: &[&str]) -> Result<()> {
        let folder = Path::new(ETC).join(&self.name);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        let mut text = servers.iter().map(|server| format!("nameserver {server}\n")).collect::<String>();
        // What the system's own resolver asks, too, comes to an end soon.
        text.push_str("options timeout:1 attempts:1\n");
        fs::write(folder.join("resolv.conf"), text).context("resolv.conf of a namespace")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Programs inside hold it until they end, which they do with their owners.
        let _ = self.outside(&["netns", "del", &self.name]);
        let folder = Path::new(ETC).join(&self.name);
        let _ = fs::remove_file(folder.join("resolv.conf"));
        let _ = fs::remove_dir(&folder);
        let _ = fs::remove_dir(ETC);
    }
}

/// A pair of interfaces between two namespaces, each with its address.
///
/// # Errors
/// When ip(8) fails.
pub fn connect(one: (&Namespace, &str, &str), other: (&Namespace, &str, &str)) -> Result<()> {
    let pair = ["link", "add", one.1, "type", "veth", "peer", "name", other.1, "netns", other.0.name()];
    one.0.ip(&pair)?;
    for (namespace, interface, address) in [one, other] {
        namespace.ip(&["addr", "add", address, "dev", interface])?;
        namespace.ip(&["link", "set", interface, "up"])?;
    }
    [one, other].iter().try_for_each(|(namespace, interface, _)| namespace.wait_until_up(interface, true))
}
