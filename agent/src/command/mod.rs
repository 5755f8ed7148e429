//! One file per command; each returns the [`Outcome`] that becomes the exit code.

pub(crate) mod audit;
mod compare;
mod config;
mod enroll;
mod export;
mod init;
mod rules;
mod show;
mod status;
mod upload;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use gatepost_evidence::key::SigningKey;

use crate::cli::{Cli, Command, ConfigCommand, RulesCommand};
use crate::config::{Config, read};
use crate::spool::Spool;
use crate::{daemon, identity};

/// What a command came to, as documented in the help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// 0
    Clean,
    /// 1
    Findings,
    /// 2
    CannotRun,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Clean => 0,
            Outcome::Findings => 1,
            Outcome::CannotRun => 2,
        })
    }
}

/// What most commands need: the configuration, the identity and the spool.
pub(crate) struct Place {
    pub(crate) config: Arc<Config>,
    pub(crate) key: SigningKey,
    pub(crate) spool: Spool,
}

impl Place {
    fn open(config: Config) -> anyhow::Result<Self> {
        let folder = &config.state.directory;
        let key = identity::load_or_create(folder)
            .with_context(|| format!("no identity in {}; --state DIR names another folder", folder.display()))?;
        let spool = Spool::open(folder).context("the spool cannot be opened")?;
        Ok(Self { config: Arc::new(config), key, spool })
    }
}

/// Runs the command.
///
/// # Errors
/// What kept it from running; the exit code is then 2.
pub fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { config: file, state, command } = cli;
    let load = || load(file.as_deref(), state.clone());
    let open = || Place::open(load()?);
    match command {
        Command::Audit(options) => audit::run(open()?, &options),
        Command::Run => daemon::run(open()?),
        Command::Enroll(options) => enroll::run(open()?, &options),
        Command::Upload => upload::run(open()?),
        Command::Status(output) => status::run(&open()?, output.format),
        Command::Show(options) => show::run(&open()?, &options),
        Command::Compare(options) => compare::run(&open()?, &options),
        Command::Export(options) => export::run(&open()?, &options),
        Command::Verify(options) => verify::run(&options),
        Command::Init(options) => init::run(&options),
        Command::Config { command: ConfigCommand::Check } => config::check(file.as_deref()),
        Command::Rules { command: RulesCommand::Test { pack } } => rules::test(pack.as_deref()),
    }
}

fn load(file: Option<&Path>, state: Option<PathBuf>) -> anyhow::Result<Config> {
    let system = Path::new(read::SYSTEM_FILE);
    let mut config = match file {
        Some(file) => read::file(file)?,
        None if system.exists() => read::file(system)?,
        None => Config::default(),
    };
    if let Some(directory) = state {
        config.state.directory = std::path::absolute(&directory)?;
    }
    Ok(config)
}

/// Prints `value` as indented JSON.
pub(crate) fn print_json<T: serde::Serialize>(value: &T) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Prints `text`; a reader that went away is not an error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
