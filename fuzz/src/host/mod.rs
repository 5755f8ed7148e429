//! The readers of a host, as the probe of `host_guardrails` uses them: the agent's own files, over a [`root::Root`] in memory.
//!
//! What the readers share in `agent/src/probe/host/mod.rs` stands here a second time, since that file brings the real root.

#![allow(dead_code, reason = "what is not attacked by one surface is by another, or only reads a real machine")]
#![allow(missing_docs, reason = "the agent documents its own")]

pub mod root;

#[path = "../../../agent/src/probe/host/accounts.rs"]
pub mod accounts;
#[path = "../../../agent/src/probe/host/board.rs"]
pub mod board;
#[path = "../../../agent/src/probe/host/clock.rs"]
pub mod clock;
#[path = "../../../agent/src/probe/host/containers.rs"]
pub mod containers;
#[path = "../../../agent/src/probe/host/etc.rs"]
pub mod etc;
#[path = "../../../agent/src/probe/host/firewall.rs"]
pub mod firewall;
#[path = "../../../agent/src/probe/host/helper.rs"]
pub mod helper;
#[path = "../../../agent/src/probe/host/kernel.rs"]
pub mod kernel;
#[path = "../../../agent/src/probe/host/ledger.rs"]
pub mod ledger;
#[path = "../../../agent/src/probe/host/logs.rs"]
pub mod logs;
#[path = "../../../agent/src/probe/host/sockets.rs"]
pub mod sockets;
#[path = "../../../agent/src/probe/host/ssh.rs"]
pub mod ssh;
#[path = "../../../agent/src/probe/host/storage.rs"]
pub mod storage;
#[path = "../../../agent/src/probe/host/sudo.rs"]
pub mod sudo;
#[path = "../../../agent/src/probe/host/system.rs"]
pub mod system;
#[path = "../../../agent/src/probe/host/units.rs"]
pub mod units;
#[path = "../../../agent/src/probe/host/updates.rs"]
pub mod updates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gatepost_evidence::look::{Failure, FailureKind};

use self::root::Root;

pub(crate) const MAX_CHARS: usize = 200;
const MAX_SNIPPETS: usize = 200;

pub(crate) fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_CHARS).collect()
}

pub(crate) fn if_there<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure { kind: FailureKind::NotFound, .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

pub(crate) fn snippets(root: &Root, folder: &Path, ending: &str) -> Result<Vec<PathBuf>, Failure> {
    let names = if_there(root.list(folder))?.unwrap_or_default();
    let found: Vec<_> = names.iter().filter(|name| name.ends_with(ending)).map(|name| folder.join(name)).collect();
    if found.len() > MAX_SNIPPETS {
        return Err(Failure::new(FailureKind::TooLarge, format_args!("{} has too many files", folder.display())));
    }
    Ok(found)
}

fn systemd_options(root: &Root, name: &str) -> Result<BTreeMap<String, String>, Failure> {
    let mut options = BTreeMap::new();
    let Some(text) = if_there(root.read_text(&Path::new("/etc/systemd").join(name)))? else { return Ok(options) };
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '['])) {
        if let Some((key, value)) = line.split_once('=') {
            options.insert(shorten(key.trim()), shorten(value.trim()));
        }
    }
    Ok(options)
}

/// Whether what was seen can be written down and read again as the same, as every piece of evidence must.
///
/// # Panics
/// When it cannot.
pub fn can_be_evidence<T>(seen: &T)
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let value = serde_json::to_value(seen).expect("evidence is JSON");
    assert!(gatepost_evidence::canonical::to_vec(&value).is_ok(), "evidence that has no canonical form: {value}");
    let again: T = serde_json::from_value(value).expect("evidence is read as it was written");
    assert_eq!(&again, seen, "evidence that reads as another");
}
