//! `gatepost snapshot`: a folder or archive that can be audited instead of the machine it was made on.
//!
//! The probes of host and link look at the machine once, with everything they read written down: so the snapshot holds what
//! they need and no more, and an audit of it sees the same. What cannot be seen in a snapshot is listed in it. Secrets are
//! taken out before anything is written, and what was taken out is listed, too; see [`redact`].

pub mod redact;
pub mod tar;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use gatepost_evidence::check::host_guardrails::Observation;

use crate::config::Config;
use crate::probe::host::ledger::{FILE, Recorder, Written};
use crate::probe::host::root::Root;
use crate::probe::host_guardrails::see_at;
use crate::probe::link_posture;

/// The most bytes of a snapshot's files.
pub const MAX_BYTES: usize = 128 * 1024 * 1024;

/// What is seen on a running machine only, and why.
pub const LIVE_ONLY: &[&str] = &[
    "the way to ingest edge and sink, what resolvers and time servers say, captive portals (link_posture /peers, /name_servers, \
     /names, /time_servers, /captive_portal): a snapshot has no network",
    "when evidence had to wait for the sink (link_posture /outages): that stands in the agent's own state",
    "the broker's, devices', ingest edge's and gateway service's checks: they talk to what runs, and are no part of a snapshot",
];

/// A snapshot that was made and not yet written.
#[derive(Debug)]
pub struct Snapshot {
    /// By path below the root: the files, the ledger among them.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// What was taken out, in words.
    pub redacted: Vec<String>,
    /// What could not be read, in words.
    pub hidden: Vec<String>,
    /// What was seen of the host while it was made.
    pub observation: Observation,
}

/// Looks at the host that `config` names and takes down everything that is read.
///
/// # Errors
/// When its ledger cannot be written as JSON, or it is more than [`MAX_BYTES`].
pub fn take(config: &Config) -> io::Result<Snapshot> {
    let recorder = Arc::new(Recorder::default());
    let root = Root::new(&config.host.root).recorded(Arc::clone(&recorder));
    let observation = see_at(&root, config);
    let _ = link_posture::see_at(&root, config);
    // Asked for by the run itself, not by a probe.
    for path in ["/proc/uptime", "/proc/sys/kernel/random/boot_id", "/etc/hostname"] {
        let _ = root.read(Path::new(path));
    }
    let (mut ledger, read) = recorder.finish();
    let mut files = BTreeMap::new();
    let mut redacted = Vec::new();
    for (path, bytes) in read {
        let (bytes, words) = redact::file(&path, bytes);
        redacted.extend(words.map(|words| format!("{}: {words}", path.display())));
        files.insert(below(&path), bytes);
    }
    for (name, answer) in &mut ledger.answers {
        if let Ok(text) = answer
            && redact::text(text)
        {
            redacted.push(format!("answer {name}: passwords in addresses"));
        }
    }
    let hidden = ledger.refused_words();
    ledger.redacted.clone_from(&redacted);
    ledger.about = about(&observation);
    let mut json = serde_json::to_vec_pretty::<Written>(&ledger)?;
    json.push(b'\n');
    files.insert(FILE.into(), json);
    let size: usize = files.values().map(Vec::len).sum();
    if size > MAX_BYTES {
        return Err(io::Error::other(format!("the snapshot would have {size} bytes, more than {MAX_BYTES}")));
    }
    Ok(Snapshot { files, redacted, hidden, observation })
}

fn about(observation: &Observation) -> BTreeMap<String, String> {
    let mut about = BTreeMap::from([
        ("gatepost".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("live_only".to_owned(), LIVE_ONLY.join("; ")),
    ]);
    about.extend(observation.kernel.clone().map(|kernel| ("kernel".to_owned(), kernel)));
    about
}

/// The path without its root; parents are dropped, so that nothing leads out of the snapshot.
fn below(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

impl Snapshot {
    /// Writes it into a folder, which must not be there or be empty. Only the owner may read it.
    ///
    /// # Errors
    /// When the folder is not empty or something cannot be written.
    pub fn write_folder(&self, folder: &Path) -> io::Result<()> {
        use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
        let mut make = fs::DirBuilder::new();
        make.recursive(true).mode(0o700);
        make.create(folder)?;
        if fs::read_dir(folder)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the folder is not empty"));
        }
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            if let Some(parent) = path.parent() {
                make.create(parent)?;
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
        }
        Ok(())
    }

    /// Writes it into one file, a tar archive compressed by zstd, which must not be there.
    ///
    /// # Errors
    /// When the file is there or cannot be written.
    pub fn write_archive(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mut encoder = zstd::stream::write::Encoder::new(file, 9)?;
        tar::write(&mut encoder, &self.files)?;
        encoder.finish()?.sync_all()
    }
}

#[cfg(test)]
mod tests;
