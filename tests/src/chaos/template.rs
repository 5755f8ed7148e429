//! A gateway that is enrolled with a sink, made once by the real programs and copied for every seed: what is enrolled is not
//! what conservation is about.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use gatepost_evidence::key::{PublicKey, SigningKey};
use rusqlite::Connection;
use tempfile::TempDir;

use super::schedule::SpoolKind;
use crate::agent::{Agent, run};
use crate::pki;
use crate::port::Port;
use crate::process::{LIMIT, Program, built, command};
use crate::spool::OpenSpool;

/// Bytes that a small spool has for runs: a few of the larger ones.
const SMALL: u64 = 80 * 1024;
/// The least that the configuration allows as `max_bytes`.
pub(super) const LEAST_BYTES: u64 = 4 * 1024 * 1024;

/// What every seed begins with.
pub struct Template {
    folder: TempDir,
    /// The gateway's public key.
    pub gateway: PublicKey,
    /// The sink's public key.
    pub sink: PublicKey,
    /// For the sink's API.
    pub operator_token: String,
}

/// A folder in memory where there is one: what a disk does is not tested here, and thousands of seeds would wear it.
pub(super) fn folder(prefix: &str) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let in_memory = Path::new("/dev/shm");
    let made = builder.prefix(prefix).tempdir_in(in_memory).or_else(|_| builder.tempdir());
    made.context("no folder for a field")
}

impl Template {
    /// Enrols a gateway with a sink.
    ///
    /// # Errors
    /// When the binaries have not been built or do not do it.
    pub fn make() -> Result<Self> {
        let folder = folder("gatepost-template-")?;
        let (state, data) = (folder.path().join("state"), folder.path().join("data"));
        let binary = built("gatepost-sink")?;
        let port = Port::reserve()?;
        let mut serve = command(&binary);
        serve.arg("serve").arg("--data").arg(&data).args(["--listen", &port.address().to_string()]);
        let mut sink = Program::start_command(&binary, serve)?;
        sink.wait_until("it listens", LIMIT, |lines| lines.iter().any(|line| line.starts_with("listening on ")))?;
        let sink_says = |words: &[&str]| -> Result<String> {
            let mut says = command(&binary);
            says.args(words).arg("--data").arg(&data);
            Ok(run(says, LIMIT)?.expect_code(0)?.stdout.trim().to_owned())
        };
        let token = sink_says(&["token", "create"])?;
        let operator_token = sink_says(&["operator-token"])?;
        let url = format!("http://{}", port.address());
        let text = configuration(&state, folder.path(), &url, SpoolKind::Roomy);
        let agent = Agent::configured(&folder.path().join("gatepost.toml"), &text)?;
        agent.enroll(&token)?.expect_code(0)?;
        let beside = configuration(&folder.path().join("beside"), folder.path(), &url, SpoolKind::Roomy);
        let neighbour = Agent::configured(&folder.path().join("neighbour.toml"), &beside)?;
        neighbour.enroll(&sink_says(&["token", "create"])?)?.expect_code(0)?;
        ensure!(sink.stop()?.success(), "the sink does not end well");
        let gateway = SigningKey::from_pem(&fs::read_to_string(state.join("identity.pem"))?)?.public().clone();
        let template = Self { gateway, sink: OpenSpool::open(&state)?.sink_key()?, operator_token, folder };
        template.make_small_spool()?;
        Ok(template)
    }

    /// A spool that is all but full of something that is not a run.
    fn make_small_spool(&self) -> Result<()> {
        let small = self.folder.path().join("small");
        copy(&self.folder.path().join("state"), &small)?;
        let database = Connection::open(small.join("spool.db"))?;
        let used = fs::metadata(small.join("spool.db"))?.len();
        database.execute_batch(&format!(
            "CREATE TABLE ballast (filler BLOB); INSERT INTO ballast VALUES (zeroblob({}));",
            LEAST_BYTES - SMALL - used
        ))?;
        database.close().map_err(|(_, error)| error)?;
        Ok(())
    }

    /// Copies the gateway's state and the sink's data into `folder`, for a sink at `url`, where the other
    /// gateway finds it at `direct`.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn copy_to(&self, folder: &Path, url: &str, direct: &str, spool: SpoolKind) -> Result<Places> {
        let places = Places {
            state: folder.join("state"),
            data: folder.join("data"),
            registry: folder.join("registry"),
            neighbour: folder.join("neighbour.toml"),
        };
        let beside = folder.join("beside");
        copy(&self.folder.path().join("beside"), &beside)?;
        OpenSpool::open(&beside)?.set_sink_url(direct)?;
        let text = configuration(&beside, folder, direct, SpoolKind::Roomy);
        pki::write(&places.neighbour, text.as_bytes(), 0o600)?;
        let state = if spool == SpoolKind::Small { "small" } else { "state" };
        copy(&self.folder.path().join(state), &places.state)?;
        copy(&self.folder.path().join("data"), &places.data)?;
        OpenSpool::open(&places.state)?.set_sink_url(url)?;
        fs::create_dir(&places.registry)?;
        pki::write(&places.registry.join("pump.der"), b"0", 0o600)?;
        pki::write(&folder.join("gatepost.toml"), configuration(&places.state, folder, url, spool).as_bytes(), 0o600)?;
        Ok(places)
    }
}

/// The folders of one field.
pub(super) struct Places {
    pub(super) state: PathBuf,
    pub(super) data: PathBuf,
    pub(super) registry: PathBuf,
    /// The other gateway's configuration.
    pub(super) neighbour: PathBuf,
}

/// An agent that looks at one folder of certificates, which costs little.
fn configuration(state: &Path, folder: &Path, url: &str, spool: SpoolKind) -> String {
    let bounds = match spool {
        SpoolKind::Roomy => String::new(),
        SpoolKind::Small => format!("max_bytes = {LEAST_BYTES}\n"),
        SpoolKind::ShortLived => "max_age = \"1h\"\n".to_owned(),
    };
    format!(
        "[gateway]\nname = \"pump-house-7\"\n\n[state]\ndirectory = {state:?}\n{bounds}\n[devices]\nregistry = {:?}\n\n\
         [sink]\nurl = \"{url}\"\n\n[schedule]\nevery = \"1h\"\njitter = \"0s\"\nbundle = \"certificate-hygiene\"\n",
        folder.join("registry")
    )
}

/// Copies the files of a folder into a new one.
pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("cannot make {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
