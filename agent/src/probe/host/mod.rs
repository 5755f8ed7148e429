//! The parts of the look at a host: one file per thing that is looked at.
//!
//! Everything is read below a [`root::Root`], so that a snapshot of a gateway is read by the same code as a live one.
//! Every file is text that others wrote: what is read and what is kept of it are bounded, and what can not be read or
//! understood is a failed look that says so.

pub mod accounts;
pub mod clock;
pub mod network;
pub mod root;
pub mod sockets;
pub mod ssh;
pub mod storage;
pub mod system;

/// The most characters of one name or value that are recorded.
const MAX_CHARS: usize = 200;

/// `text` as it goes into evidence: cut short and without control characters.
fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
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
            host: Host { allowed_ports: vec![], root: root.to_owned() },
            telemetry: Config::default().telemetry,
            disclosure: None,
            sink: None,
            schedule: Schedule { every: Duration::ZERO, jitter: Duration::ZERO, bundle: String::new() },
        }
    }
}
