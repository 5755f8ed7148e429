//! Files below `/etc` that lie open: those that everyone may change, and private keys that others may read.
//!
//! The walk is bounded in entries and depth and follows no links. Of a file that looks like a key only the beginning is
//! read, and only where others may read it anyway.

use std::path::{Path, PathBuf};

use gatepost_evidence::check::host_guardrails::storage::EtcScan;
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::shorten;

/// The most entries that are looked at.
pub const MAX_ENTRIES: usize = 20_000;
/// Folders within folders.
const MAX_DEPTH: usize = 12;
/// The most paths that are recorded of one kind.
const MAX_FOUND: usize = 100;
/// The most bytes of a file that are looked through for a key.
const MAX_KEY_BYTES: u64 = 16 * 1024;

/// Looks through `/etc`.
///
/// # Errors
/// When it can not be listed, or is too large.
pub fn scan(root: &Root) -> Result<EtcScan, Failure> {
    let mut found = EtcScan::default();
    let mut folders = vec![(PathBuf::from("/etc"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        let names = match root.list(&folder) {
            Ok(names) => names,
            Err(failure) if depth == 0 => return Err(failure),
            // It went away meanwhile.
            Err(Failure { kind: FailureKind::NotFound, .. }) => continue,
            Err(_) => {
                push(&mut found.hidden, shorten(&folder.display().to_string()));
                continue;
            }
        };
        for name in names {
            found.entries += 1;
            if found.entries > MAX_ENTRIES as u64 {
                let detail = format!("/etc has more than {MAX_ENTRIES} files and folders");
                return Err(Failure::new(FailureKind::TooLarge, detail));
            }
            let path = folder.join(&name);
            let state = match root.link_state(&path) {
                Ok(state) => state,
                Err(Failure { kind: FailureKind::NotFound, .. }) if root.is_live() => continue,
                Err(failure) => return Err(failure),
            };
            if state.is_link() {
                continue;
            }
            let sticky_folder = state.is_folder() && state.mode & 0o1000 != 0;
            if state.mode & 0o002 != 0 && !sticky_folder {
                push(&mut found.world_writable, state.as_evidence(&path));
            }
            if state.is_file() && state.mode & 0o004 != 0 && is_key(root, &path, &name) {
                push(&mut found.readable_keys, state.as_evidence(&path));
            }
            if state.is_folder() && depth < MAX_DEPTH {
                folders.push((path, depth + 1));
            }
        }
    }
    found.world_writable.sort_by(|a, b| a.path.cmp(&b.path));
    found.readable_keys.sort_by(|a, b| a.path.cmp(&b.path));
    found.hidden.sort_unstable();
    Ok(found)
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() < MAX_FOUND {
        list.push(item);
    }
}

fn is_key(root: &Root, path: &Path, name: &str) -> bool {
    let ending = name.rsplit('.').next().unwrap_or_default();
    if ["p12", "pfx", "jks", "keystore"].contains(&ending) {
        return true;
    }
    let like_a_key = ["key", "pem"].contains(&ending) || name.ends_with("_key") || name.starts_with("id_");
    like_a_key
        && root
            .beginning(path, MAX_KEY_BYTES)
            .is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains("PRIVATE KEY-----"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::ledger::Recorder;
    use super::*;

    /// On this machine, with nothing changed: whatever lies open is really so.
    #[test]
    fn what_is_found_on_this_machine_is_so() {
        let found = scan(&Root::new(Path::new("/"))).unwrap();
        assert!(found.entries > 50);
        for file in &found.world_writable {
            let mode = std::fs::symlink_metadata(&file.path).unwrap().permissions().mode();
            assert!(mode & 0o002 != 0, "{file:?}");
        }
        drop(Recorder::default());
    }
}
