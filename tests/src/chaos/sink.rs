//! The sink's program with its data, under the library for faults.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::PATIENCE;
use super::fault::{Control, Fault};
use crate::agent::Finished;
use crate::port::Port;
use crate::process::{Program, command};

/// The sink's program with its data.
pub(super) struct SinkProcess {
    pub(super) binary: PathBuf,
    pub(super) data: PathBuf,
    pub(super) port: Port,
    pub(super) control: Control,
    pub(super) fault: Fault,
    pub(super) program: Option<Program>,
    pub(super) log: String,
}

impl SinkProcess {
    pub(super) fn ask_for(&mut self, fault: Fault) -> Result<()> {
        self.fault = fault;
        self.control.set_fault(fault)
    }

    /// Everything it wrote.
    pub(super) fn log(&self) -> String {
        let now = self.program.as_ref().map(Program::log).unwrap_or_default();
        format!("{}{now}", self.log)
    }

    /// Starts it, unless it runs; whether it came up.
    pub(super) fn start(&mut self) -> Result<bool> {
        if self.program.is_some() {
            return Ok(true);
        }
        let mut serve = command(&self.binary);
        serve.args(["serve", "--listen", &self.port.address().to_string()]).arg("--data").arg(&self.data);
        self.control.over(&mut serve)?;
        let mut program = Program::start_command(&self.binary, serve)?;
        let listens = |lines: &[String]| lines.iter().any(|line| line.starts_with("listening on "));
        if program.wait_until("it listens", PATIENCE, listens).is_err() {
            program.wait(PATIENCE).context("the sink neither listens nor ends")?;
            self.log += &(program.log() + "\n");
            return Ok(false);
        }
        self.program = Some(program);
        Ok(true)
    }

    /// Runs another of its commands.
    pub(super) fn command(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command: Command = command(&self.binary);
        command.args(arguments).arg("--data").arg(&self.data);
        crate::agent::run(command, PATIENCE)
    }
}
