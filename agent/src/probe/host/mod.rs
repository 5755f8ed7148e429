//! The parts of the look at a host: one file per thing that is looked at.
//!
//! Everything is read below a [`root::Root`], so that a snapshot of a gateway is read by the same code as a live one.
//! Every file is text that others wrote: what is read and what is kept of it are bounded, and what can not be read or
//! understood is a failed look that says so.

pub mod accounts;
pub mod board;
pub mod clock;
pub mod containers;
pub mod etc;
pub mod firewall;
pub mod helper;
pub mod kernel;
pub mod ledger;
pub mod logs;
pub mod root;
pub mod sockets;
pub mod ssh;
pub mod storage;
pub mod sudo;
pub mod system;
pub mod units;
pub mod updates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gatepost_evidence::look::{Failure, FailureKind};

pub(crate) use self::kernel::speaks_of_a_secret;
use self::root::Root;

/// The most characters of one name or value that are recorded.
const MAX_CHARS: usize = 200;

/// `text` as it goes into evidence: cut short and without control characters.
pub(in crate::probe) fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}

/// The value, or None when there is nothing there.
pub(in crate::probe) fn if_there<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure { kind: FailureKind::NotFound, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The most files of a folder of snippets that are read.
const MAX_SNIPPETS: usize = 200;

/// The files in `folder` whose names end with `ending`, sorted; none when there is no such folder.
pub(in crate::probe) fn snippets(root: &Root, folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Failure> {
    let names = if_there(root.list(folder))?.unwrap_or_default();
    let found: Vec<_> = names.iter().filter(|name| name.ends_with(ending)).map(|name| folder.join(name)).collect();
    if found.len() > MAX_SNIPPETS {
        let detail = format!("{} has more than {MAX_SNIPPETS} files", folder.display());
        return Err(Failure::new(FailureKind::TooLarge, detail));
    }
    Ok(found)
}

/// Options of one of systemd's own configuration files with its drop-ins, as systemd merges them (systemd-system.conf(5)): the
/// last that is met counts, and of drop-ins of the same name that in `/etc`.
fn systemd_options(root: &Root, name: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in ["/usr/lib/systemd", "/etc/systemd"] {
        files.push(Path::new(folder).join(name));
    }
    let mut drop_ins = BTreeMap::new();
    for folder in ["/usr/lib/systemd", "/run/systemd", "/etc/systemd"] {
        for path in snippets(root, &Path::new(folder).join(format!("{name}.d")), ".conf")? {
            drop_ins.insert(path.file_name().map(|name| name.to_owned()), path);
        }
    }
    files.extend(drop_ins.into_values());
    let mut options = BTreeMap::new();
    for path in files {
        let Some(text) = if_there(root.read_text(&path))? else { continue };
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '['])) {
            if let Some((key, value)) = line.split_once('=') {
                options.insert(shorten(key.trim()), shorten(value.trim()));
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
pub mod tests {
    //! What the tests of several probes share.

    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use crate::config::{Broker, Config, Devices, Gateway, Host, Schedule, State};

    /// A host in a folder of its own, made of these files.
    pub fn snapshot(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    /// The root of a host in `fixtures/hosts`.
    pub fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hosts").join(name)
    }

    /// A configuration that names nothing but the host's root.
    pub fn config(root: &Path) -> Config {
        Config {
            gateway: Gateway { name: "gw".into(), labels: BTreeMap::new() },
            state: State { directory: "/nowhere".into(), ..Config::default().state },
            broker: Broker::default(),
            ingest: None,
            ingest_mqtt: None,
            service: None,
            devices: Devices::default(),
            host: Host {
                allowed_ports: vec![],
                expected_programs: BTreeMap::new(),
                units: vec![],
                root: root.to_owned(),
            },
            telemetry: Config::default().telemetry,
            link: Config::default().link,
            disclosure: None,
            sink: None,
            schedule: Schedule { every: Duration::ZERO, jitter: Duration::ZERO, bundle: String::new() },
        }
    }
}
