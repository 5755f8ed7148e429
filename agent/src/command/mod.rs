//! One file per command; each returns the [`Outcome`] that becomes the exit code.

pub(crate) mod audit;
mod battery;
mod compare;
mod config;
mod enroll;
mod export;
mod history;
mod init;
mod probes;
mod rotate_key;
mod rules;
mod show;
mod snapshot;
mod status;
mod upload;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use crate::cli::{Cli, Command, ConfigCommand, RulesCommand};
use crate::config::{Config, read};
use crate::identity::{self, Identity};
use crate::spool::{self, Bounds, Keeping, Spool, Spooled};
use crate::{daemon, rotate};

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
    pub(crate) identity: Arc<Identity>,
    pub(crate) spool: Spool,
}

impl Place {
    /// For commands that make a gateway of this machine if it is none yet.
    fn open(config: Config) -> anyhow::Result<Self> {
        let folder = &config.state.directory;
        let found = identity::load_or_create(folder)
            .with_context(|| format!("no identity in {}; --state DIR names another folder", folder.display()))?;
        let (identity, spool) = open_spool(&config, found).context("the spool cannot be opened")?;
        Ok(Self { config: Arc::new(config), identity, spool })
    }

    /// Goes on with the key that signs now, if somebody rotated it.
    pub(crate) fn renew(&mut self) -> anyhow::Result<()> {
        if self.spool.check_key(&self.identity).is_err() {
            let found = identity::load(&self.config.state.directory)?;
            (self.identity, self.spool) = open_spool(&self.config, found).context("the spool cannot be opened")?;
        }
        Ok(())
    }

    /// For commands that only have something to say of what is there: asked of the wrong folder, they make nothing.
    fn find(config: Config) -> anyhow::Result<Self> {
        let none = || {
            let folder = config.state.directory.display();
            format!("there is no gateway state in {folder}; run `gatepost audit` first, or as the agent's user")
        };
        anyhow::ensure!(is_there(&config), none());
        Self::open(config)
    }

    /// The run at `seq`, or why there is none.
    fn kept(&self, seq: u64) -> anyhow::Result<Spooled> {
        if let Some(run) = self.spool.get(seq)? {
            return Ok(run);
        }
        let Some(buried) = self.spool.tombstone_of(seq)? else { anyhow::bail!("there is no run {seq} in the spool") };
        let tombstone = spool::open_tombstone(&buried, self.identity.ring())
            .with_context(|| format!("run {seq} is gone, and so is the word of why"))?;
        anyhow::bail!("run {seq} is no longer in the spool: {}, {}", tombstone.cause, tombstone.at)
    }
}

/// Whether there is a gateway's state in the configured folder, as far as this user can see.
fn is_there(config: &Config) -> bool {
    let folder = &config.state.directory;
    let there = |found: std::io::Result<bool>| found.is_ok_and(|found| found);
    there(folder.join(identity::FILE).try_exists()) && there(spool::is_there(folder))
}

/// Opens the configured spool, to be kept in order as configured, for the identity that was found; a key rotation that was cut
/// short is finished or undone first.
pub(crate) fn open_spool(config: &Config, found: Identity) -> Result<(Arc<Identity>, Spool), rotate::RotateError> {
    let folder = &config.state.directory;
    let bounds = Bounds { max_age: config.state.max_age, max_bytes: config.state.max_bytes };
    let open =
        |identity: &Arc<Identity>| Spool::open_keeping(folder, Keeping { identity: Arc::clone(identity), bounds });
    let mut identity = Arc::new(found);
    let mut spool = open(&identity)?;
    if let Some(settled) = rotate::settle(&mut spool, &identity)? {
        identity = Arc::new(settled);
        drop(spool);
        spool = open(&identity)?;
    }
    Ok((identity, spool))
}

/// Runs the command.
///
/// # Errors
/// What kept it from running; the exit code is then 2.
pub fn run(cli: Cli) -> anyhow::Result<Outcome> {
    let Cli { config: file, state, command } = cli;
    let load = || load(file.as_deref(), state.clone());
    let (open, find) = (|| Place::open(load()?), || Place::find(load()?));
    match command {
        Command::Audit(options) => audit::run(open()?, &options),
        Command::Run => daemon::run(open()?),
        Command::Enroll(options) => enroll::run(open()?, &options),
        Command::RotateKey => rotate_key::run(find()?),
        Command::Upload => upload::run(find()?),
        Command::Status(output) => status::run(&find()?, output.format),
        Command::Show(options) => show::run(&find()?, &options),
        Command::Compare(options) => compare::run(&find()?, &options),
        Command::Export(options) => export::run(&find()?, &options),
        Command::Verify(options) => verify::run(&options),
        Command::Snapshot(options) => snapshot::run(load()?, &options),
        Command::Probes(output) => {
            let config = load()?;
            let place = if is_there(&config) { Some(Place::find(config.clone())?) } else { None };
            probes::run(&config, place.as_ref(), output.format)
        }
        Command::Init(options) => init::run(&options),
        Command::Battery(options) => battery::run(&options),
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
