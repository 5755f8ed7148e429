//! A Debian 12, or 13, with its own systemd, booted on this machine by systemd-nspawn(1), and what the agent finds in it.
//!
//! The root file system is made once by `tests/container/rootfs.sh` and hardened by `tests/container/harden.sh`; it lies in the
//! target folder by the hash of what it was made from. A container writes to memory alone, has no network but its own
//! loopback, and ends with its owner: by drop, by panic, or because the test process was killed.
//!
//! A container shares the kernel. What is the whole machine's (`/proc/sys/kernel`, `/proc/sys/fs`, modules, command line,
//! flaws of the processor, disks, watchdogs) must never be changed by a test and differs from machine to machine, so copies
//! of the files in `fixtures/hosts` are mounted over it inside the container. Everything else is real.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::agent::{Finished, run};
use crate::kept::{MAKING, by_script, kept, store};
use crate::process::{LIMIT, Program, built, command, installed};
use crate::systemd::Manager;

/// How long a command inside may take.
const COMMAND: Duration = Duration::from_secs(120);

const ROOTFS: &str = include_str!("../container/rootfs.sh");
const HARDEN: &str = include_str!("../container/harden.sh");
const AGENT: &str = include_str!("../container/gatepost.toml");

/// What of the kernel is the whole machine's: folders and files that are mounted over, where this machine has them.
pub const OF_THE_MACHINE: [&str; 12] = [
    "/proc/sys/kernel",
    "/proc/sys/fs",
    "/proc/modules",
    "/proc/cmdline",
    "/proc/swaps",
    "/sys/kernel/security",
    "/sys/devices/system/cpu/vulnerabilities",
    "/sys/block",
    "/sys/fs/ext4",
    "/sys/class/watchdog",
    "/sys/class/thermal",
    "/sys/class/hwmon",
];
/// Where the copies lie inside.
pub const COPIES: &str = "/run/of-the-machine";

/// On a busy machine the kernel may give up a unit's control group while systemd starts the unit into it (`ENODEV`). What that
/// happened to is started again; fails when it happened to nothing.
const LOST_GROUP: &str = "found=1; for unit in $(systemctl --failed --no-legend --plain | cut -d ' ' -f 1); do \
                          if journalctl --no-pager -o cat -u $unit | grep -q 'Failed to attach to cgroup'; \
                          then systemctl restart $unit; found=0; fi; done; exit $found";

/// A booted system.
pub struct Container {
    // Dropped in this order: first what runs, then the folder.
    nspawn: Program,
    leader: u32,
    folder: TempDir,
}

/// How a system is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// As Debian 12's packages leave it, with the kernel settings of `fixtures/hosts/broken`.
    AsInstalled,
    /// The same of Debian 13.
    AsInstalled13,
    /// Debian 12 by `tests/container/harden.sh`, with those of `fixtures/hosts/hardened`.
    Hardened,
}

impl Setting {
    fn fixture(self) -> &'static str {
        match self {
            Self::AsInstalled | Self::AsInstalled13 => "broken",
            Self::Hardened => "hardened",
        }
    }

    fn suite(self) -> &'static str {
        match self {
            Self::AsInstalled | Self::Hardened => "bookworm",
            Self::AsInstalled13 => "trixie",
        }
    }
}

/// The root file system, made if it is not there yet.
fn rootfs(setting: Setting) -> Result<PathBuf> {
    let (folder, _lock) = store()?;
    let base = kept(&folder, &format!("{ROOTFS}{}", setting.suite()), |place| {
        by_script(ROOTFS, place, setting.suite()).context("tests/container/rootfs.sh")
    })?;
    if setting != Setting::Hardened {
        return Ok(base);
    }
    kept(&folder, &format!("{ROOTFS}{HARDEN}"), |place| {
        let mut copy = command(Path::new("/bin/cp"));
        copy.arg("--archive").arg(&base).arg(place);
        run(copy, MAKING)?.expect_code(0)?;
        fs::write(place.join("harden.sh"), HARDEN)?;
        let mut chroot = command(Path::new("/usr/sbin/chroot"));
        chroot.arg(place).args(["/bin/sh", "/harden.sh"]).env_clear();
        run(chroot, COMMAND)?.expect_code(0).context("tests/container/harden.sh")?;
        fs::remove_file(place.join("harden.sh"))?;
        Ok(())
    })
}

impl Container {
    /// Boots a system, and waits until systemd says that everything is up, which a hardened one has to be without a failure.
    ///
    /// # Errors
    /// When this machine cannot (not root, no systemd-nspawn), with what is missing, or the system does not come up.
    pub fn boot(setting: Setting) -> Result<Self> {
        if !nix::unistd::getuid().is_root() {
            bail!("NOT RUN: a system container takes root to be booted; run the tests as root, as CI does");
        }
        let nspawn = installed("systemd-nspawn", "systemd-container")?;
        installed("mmdebstrap", "mmdebstrap")?;
        let rootfs = rootfs(setting)?;
        let folder = tempfile::Builder::new().prefix("gatepost-container-").tempdir()?;
        let mut manager = Manager::listen(folder.path())?;
        let mut boot = command(&nspawn);
        boot.arg("--directory").arg(&rootfs);
        boot.args(["--boot", "--quiet", "--volatile=overlay", "--private-network", "--register=no", "--keep-unit"]);
        boot.args(["--console=read-only", "--notify-ready=yes", "--link-journal=no", "--machine=gateway"]);
        boot.arg(format!("--bind-ro={}:/usr/bin/gatepost", built("gatepost")?.display()));
        boot.env("NOTIFY_SOCKET", manager.path());
        let nspawn = Program::start_command(&nspawn, boot)?;
        let told =
            manager.wait_for("READY=1", LIMIT * 3).with_context(|| format!("the container says:\n{}", nspawn.log()))?;
        let leader = told.iter().find_map(|line| line.strip_prefix("X_NSPAWN_LEADER_PID=")?.parse().ok());
        let leader = leader.with_context(|| format!("systemd-nspawn does not name the first process: {told:?}"))?;
        let container = Self { nspawn, leader, folder };
        container.cover(setting)?;
        container.write("/etc/gatepost/gatepost.toml", AGENT, 0o600)?;
        // It has no network to hear the time from, and the machine's clock, which others keep.
        container.sh("mkdir -p /run/systemd/timesync; touch /run/systemd/timesync/synchronized")?;
        let running = || container.run("/usr/bin/systemctl", &["is-system-running", "--wait"]);
        let mut state = running()?;
        if state.code != Some(0) && container.sh(LOST_GROUP).is_ok() {
            state = running()?;
        }
        if setting == Setting::Hardened && state.code != Some(0) {
            let failed = container
                .sh("systemctl --failed --no-legend --plain; journalctl --no-pager -p warning -o cat -n 50")?;
            bail!("the hardened system is {} and has units that failed:\n{failed}", state.stdout.trim());
        }
        Ok(container)
    }

    /// Mounts copies over what is the whole machine's.
    fn cover(&self, setting: Setting) -> Result<()> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hosts").join(setting.fixture());
        for place in OF_THE_MACHINE {
            if place == "/sys/fs/ext4" {
                // systemd-nspawn hides it, in a file system of the container's own.
                self.sh("mount -o remount,bind,rw /sys; mkdir -p /sys/fs/ext4; mount -o remount,bind,ro /sys")?;
            }
            let (here, copy) = (self.inside(place), self.inside(&format!("{COPIES}{place}")));
            if !here.exists() {
                continue;
            }
            if here.is_dir() {
                fs::create_dir_all(&copy)?;
                // Programs inside go on reading what no fixture has, such as the kernel's largest process id.
                if place.starts_with("/proc/sys/") {
                    copy_readable(&here, &copy)?;
                }
            } else {
                fs::create_dir_all(copy.parent().context("a file has a folder")?)?;
            }
            copy_readable(&fixture.join(place.trim_start_matches('/')), &copy)?;
            self.sh(&format!("mount --bind {COPIES}{place} {place}"))?;
        }
        Ok(())
    }

    /// Where `path` of the container is for this process.
    #[must_use]
    pub fn inside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// Whether `path` is the container's own copy of what belongs to the machine.
    #[must_use]
    pub fn covers(&self, path: &Path) -> bool {
        OF_THE_MACHINE.iter().any(|place| path.starts_with(place) && self.inside(&format!("{COPIES}{place}")).exists())
    }

    /// Lines for a unit of the container, to which systemd gives a `/proc` of its own: the same copies over it.
    #[must_use]
    pub fn copies_for_a_unit(&self) -> String {
        let of_proc =
            OF_THE_MACHINE.iter().filter(|place| place.starts_with("/proc/") && self.covers(Path::new(place)));
        let lines: String = of_proc.map(|place| format!("BindReadOnlyPaths={COPIES}{place}:{place}\n")).collect();
        format!("[Service]\n{lines}")
    }

    /// The folder that goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A command that will run inside, as root, with no environment but a path.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = command(Path::new("/usr/bin/nsenter"));
        command.args(["--target", &self.leader.to_string(), "--all", "--wdns=/", "--", program]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command
    }

    /// Runs a program inside to its end.
    ///
    /// # Errors
    /// When it does not end in time. Any exit code is an answer.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Finished> {
        let mut command = self.command(program);
        command.args(arguments);
        run(command, COMMAND).with_context(|| format!("{program} {}", arguments.join(" ")))
    }

    /// Runs a program of this machine in the container's network, to its end.
    ///
    /// # Errors
    /// When it does not end in time. Any exit code is an answer.
    pub fn from_its_network(&self, program: &Path, arguments: &[&str]) -> Result<Finished> {
        let mut command = command(Path::new("/usr/bin/nsenter"));
        command.args(["--target", &self.leader.to_string(), "--net", "--"]).arg(program).args(arguments);
        run(command, COMMAND).with_context(|| format!("{} {}", program.display(), arguments.join(" ")))
    }

    /// Runs a script of sh(1) inside; its first failure ends it.
    ///
    /// # Errors
    /// When it fails, with everything it said.
    pub fn sh(&self, script: &str) -> Result<String> {
        let finished = self.run("/bin/sh", &["-euc", script])?;
        Ok(finished.expect_code(0).with_context(|| format!("inside the container: {script}"))?.stdout)
    }

    /// Writes a file inside.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &str, text: &str, mode: u32) -> Result<()> {
        let place = self.inside(path);
        fs::create_dir_all(place.parent().context("a file has a folder")?)?;
        fs::write(&place, text).with_context(|| format!("{path} inside the container"))?;
        Ok(fs::set_permissions(&place, fs::Permissions::from_mode(mode))?)
    }

    /// What the agent inside finds as root.
    ///
    /// # Errors
    /// When it fails, or its report is none.
    pub fn audit(&self) -> Result<Found> {
        let arguments =
            ["audit", "--bundle", "host-hardening", "--format", "json", "--config", "/etc/gatepost/gatepost.toml"];
        Ok(Found::of(&self.run("/usr/bin/gatepost", &arguments)?.json()?))
    }

    /// The outcome of each control of `check` that speaks of the gateway's service, by its name, for a service that is the unit
    /// `weak.service`.
    ///
    /// # Errors
    /// When the agent fails, or its report is none.
    pub fn audit_of_its_service(&self, check: &str) -> Result<BTreeMap<String, String>> {
        self.write("/etc/gatepost/service.toml", "[service]\nunit = \"weak.service\"\n", 0o644)?;
        let arguments =
            ["audit", "--bundle", "audit-baseline", "--format", "json", "--config", "/etc/gatepost/service.toml"];
        let report = self.run("/usr/bin/gatepost", &arguments)?.json()?;
        let rows = report["rows"].as_array().into_iter().flatten();
        let of = |row: &Value| {
            let key = row["key"].as_str()?.strip_prefix(check)?.strip_prefix('.')?;
            key.starts_with("service_")
                .then(|| (key.to_owned(), row["outcome"].as_str().unwrap_or_default().to_owned()))
        };
        Ok(rows.filter_map(of).collect())
    }

    /// Starts the agent by its own unit, as its own user, with nothing in its state folder, and waits for its first run.
    ///
    /// # Errors
    /// When it does not start, or has no run within the limit; its log is in the error.
    pub fn first_run_of_the_service(&self) -> Result<Found> {
        self.sh(
            "systemctl daemon-reload; systemctl stop gatepost; rm -rf /var/lib/gatepost; systemctl start gatepost",
        )?;
        let as_agent =
            ["--reuid=gatepost", "--regid=gatepost", "--clear-groups", "/usr/bin/gatepost", "show", "--format", "json"];
        let deadline = Instant::now() + COMMAND;
        loop {
            let shown = self.run("/usr/bin/setpriv", &as_agent)?;
            if shown.code == Some(0) {
                return Ok(Found::of(&shown.json()?));
            }
            if Instant::now() > deadline {
                let log = self.sh("systemctl status --no-pager gatepost || true; journalctl --no-pager -u gatepost")?;
                bail!("the service has no run within {} s: {}\n{log}", COMMAND.as_secs(), shown.stderr);
            }
        }
    }

    /// What the container wrote to its console.
    #[must_use]
    pub fn log(&self) -> String {
        self.nspawn.log()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // With the first process everything inside ends. Its number is its own as long as systemd-nspawn, which would have
        // to reap it, is there.
        if let Ok(id) = i32::try_from(self.leader) {
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
            let _ = self.nspawn.wait(LIMIT);
        }
    }
}

/// Copies the files below `from` that can be read, or `from` itself; what one lacks is not missed.
fn copy_readable(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)?.flatten() {
            copy_readable(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if let Ok(bytes) = fs::read(from) {
        fs::write(to, bytes)?;
    } else if !to.exists() {
        // A pipe's counter part that may only be written, say.
        fs::write(to, "")?;
    }
    Ok(())
}

/// What the agent found of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Findings: the control's name without its check, and its subject in brackets if it is not the host.
    pub findings: Vec<String>,
    /// Controls that are unknown, with the reason.
    pub unknown: BTreeMap<String, String>,
    /// Controls that do not apply.
    pub not_applicable: Vec<String>,
    /// How many hold.
    pub passed: usize,
    /// Names of algorithms of SSH that findings are about.
    pub weak_algorithms: BTreeSet<String>,
}

impl Found {
    /// From the report that `gatepost audit --format json` prints.
    #[must_use]
    pub fn of(report: &Value) -> Self {
        let mut found = Self {
            findings: vec![],
            unknown: BTreeMap::new(),
            not_applicable: vec![],
            passed: 0,
            weak_algorithms: BTreeSet::new(),
        };
        for row in report["rows"].as_array().into_iter().flatten() {
            let text = |name: &str| row[name].as_str().unwrap_or_default();
            let Some(key) = text("key").strip_prefix("host_guardrails.") else { continue };
            let name = match text("subject").strip_prefix("host/") {
                Some(item) => format!("{key}[{item}]"),
                None => key.to_owned(),
            };
            match text("outcome") {
                "fail" => {
                    if name.starts_with("ssh_weak_") {
                        let named = row["evidence"].as_object().into_iter().flat_map(|evidence| evidence.values());
                        let names = named.flat_map(|names| names.as_array().into_iter().flatten());
                        found.weak_algorithms.extend(names.filter_map(Value::as_str).map(str::to_owned));
                    }
                    found.findings.push(name);
                }
                "unknown" => {
                    found.unknown.insert(name, text("reason").to_owned());
                }
                "not_applicable" => found.not_applicable.push(name),
                _ => found.passed += 1,
            }
        }
        found.findings.sort();
        found.not_applicable.sort();
        found
    }
}
