//! The agent, as a person or systemd would run it: the built `gatepost` binary with a configuration file.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::clock::Clock;
use crate::pki;
use crate::process::{Program, built, command};

/// The longest that one command may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A `gatepost` binary with its configuration file.
#[derive(Debug, Clone)]
pub struct Agent {
    binary: PathBuf,
    configuration: PathBuf,
    clock: Vec<(OsString, OsString)>,
}

/// A command that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Finished {
    /// Standard output as JSON.
    ///
    /// # Errors
    /// When it is not JSON; everything that was written is in the error.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not JSON on standard output: {self:?}"))
    }

    /// This, if the exit code is `code`.
    ///
    /// # Errors
    /// When it is another; everything that was written is in the error.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.code != Some(code) {
            let Self { stdout, stderr, .. } = &self;
            bail!("exit code {:?} instead of {code}\nstdout:\n{stdout}\nstderr:\n{stderr}", self.code);
        }
        Ok(self)
    }
}

impl Agent {
    /// An agent whose configuration file is `configuration`.
    ///
    /// # Errors
    /// When the binary has not been built.
    pub fn new(configuration: &Path) -> Result<Self> {
        Ok(Self { binary: built("gatepost")?, configuration: configuration.to_owned(), clock: Vec::new() })
    }

    /// The same agent, with whatever it runs from now on under `clock`.
    #[must_use]
    pub fn under(self, clock: &Clock) -> Self {
        Self { clock: clock.variables(), ..self }
    }

    /// An agent whose configuration file is written from `text`, mode 0600.
    ///
    /// # Errors
    /// When the file cannot be written or the binary has not been built.
    pub fn configured(configuration: &Path, text: &str) -> Result<Self> {
        pki::write(configuration, text.as_bytes(), 0o600)?;
        Self::new(configuration)
    }

    /// The configuration file.
    #[must_use]
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs a command to its end, with `--config` added after `arguments`.
    ///
    /// # Errors
    /// When it does not start, or does not end within a minute (then it is killed). Any exit code is an answer.
    pub fn run(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = command(&self.binary);
        command.args(arguments).arg("--config").arg(&self.configuration).envs(self.clock.iter().cloned());
        run(command, LIMIT).with_context(|| format!("gatepost {}", arguments.join(" ")))
    }

    /// Starts a command that goes on, such as `run`, with `--config` added after `arguments`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(&self, arguments: &[&str]) -> Result<Program> {
        self.start_with(arguments, &[])
    }

    /// As [`Self::start`], with `variables` in its environment.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_with(&self, arguments: &[&str], variables: &[(&str, &Path)]) -> Result<Program> {
        let mut command = command(&self.binary);
        command.args(arguments).arg("--config").arg(&self.configuration);
        command.envs(self.clock.iter().cloned()).envs(variables.iter().copied());
        Program::start_command(&self.binary, command)
    }

    /// Enrols with the sink in the configuration; `token` is put into a file beside it.
    ///
    /// # Errors
    /// When the file cannot be written or the command does not end. Any exit code is an answer.
    pub fn enroll(&self, token: &str) -> Result<Finished> {
        let file = self.configuration.with_extension("token");
        pki::write(&file, token.as_bytes(), 0o600)?;
        self.run(&["enroll", "--token-file", file.to_str().context("the path of the token is not UTF-8")?])
    }

    /// What `gatepost status` says.
    ///
    /// # Errors
    /// When it does not succeed.
    pub fn status(&self) -> Result<serde_json::Value> {
        self.run(&["status", "--format", "json"])?.expect_code(0)?.json()
    }
}

/// Runs `command` to its end, keeping its outputs apart. It runs in a thread of its own, so that a command that hangs
/// can be given up.
///
/// # Errors
/// When it does not start, or does not end within `limit`; then it is killed.
pub fn run(mut command: Command, limit: Duration) -> Result<Finished> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let child = crate::process::spawn(command)?;
    let id = i32::try_from(child.id()).context("the process id is out of range")?;
    let (sender, ended) = sync_channel(1);
    std::thread::spawn(move || {
        // Nobody waits any more when the limit has passed.
        let _ = sender.send(child.wait_with_output());
    });
    let Ok(output) = ended.recv_timeout(limit) else {
        // The thread above has not reaped it yet, or it has ended in this very moment and nothing is lost.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), nix::sys::signal::Signal::SIGKILL);
        let output = ended.recv().context("the killed command cannot be waited for")??;
        bail!(
            "it did not end within {} s and was killed; it wrote:\n{}\n{}",
            limit.as_secs(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let output = output.context("the command cannot be waited for")?;
    Ok(Finished {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: began.elapsed(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut shell = command(Path::new("/bin/sh"));
        shell.args(["-c", script]);
        shell
    }

    #[test]
    fn outputs_and_exit_code_are_kept_apart() {
        let finished = run(shell("echo out; echo err >&2; exit 3"), LIMIT).unwrap();
        assert_eq!((finished.code, finished.stdout.as_str(), finished.stderr.as_str()), (Some(3), "out\n", "err\n"));
        let error = finished.expect_code(0).unwrap_err().to_string();
        assert!(error.contains("instead of 0") && error.contains("err"), "{error}");
        assert_eq!(run(shell("kill -9 $$"), LIMIT).unwrap().code, None);
    }

    #[test]
    fn a_command_that_hangs_is_killed_and_shown() {
        let limit = Duration::from_millis(200);
        let error = run(shell("echo so far; exec cat /dev/zero > /dev/null"), limit).unwrap_err().to_string();
        assert!(error.contains("was killed") && error.contains("so far"), "{error}");
    }

    #[test]
    fn the_configuration_goes_with_every_command() {
        let agent = Agent { binary: "/bin/echo".into(), configuration: "/etc/gatepost.toml".into(), clock: vec![] };
        assert_eq!(agent.run(&["config", "check"]).unwrap().stdout, "config check --config /etc/gatepost.toml\n");
        let mut going_on = agent.start(&["run"]).unwrap();
        assert!(going_on.wait(LIMIT).unwrap().success());
        assert_eq!(going_on.log(), "run --config /etc/gatepost.toml");
    }
}
