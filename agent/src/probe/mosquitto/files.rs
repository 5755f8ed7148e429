//! The files that Mosquitto's configuration names: owner and mode of each, and how the passwords in them are kept.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::check::gateway_config_guardrails::broker::{FileState, NamedFile, Use};
use gatepost_evidence::check::gateway_config_guardrails::{Broker, Directive};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use jiff::Timestamp;

use super::passwords::passwords;
use crate::probe::host::root::Root;

/// The most files that are recorded.
const MAX_FILES: usize = 100;

/// What a directive's value names, if it names a file.
fn use_of(key: &str) -> Option<Use> {
    Some(match key {
        "include_dir" => Use::Folder,
        "password_file" => Use::Passwords,
        "acl_file" => Use::Rights,
        "psk_file" => Use::PreSharedKeys,
        "keyfile" | "bridge_keyfile" => Use::Key,
        "certfile" | "bridge_certfile" => Use::Certificate,
        "cafile" | "bridge_cafile" => Use::Authorities,
        "crlfile" => Use::Revocations,
        "plugin" | "auth_plugin" | "global_plugin" => Use::Plugin,
        _ => return None,
    })
}

/// The configuration's files and those that it names, by path.
pub(super) fn named(root: &Root, broker: &Broker) -> BTreeMap<String, NamedFile> {
    let mut uses: BTreeMap<String, Vec<Use>> = BTreeMap::from([(broker.path.clone(), vec![Use::Configuration])]);
    for Directive { file, key, value, .. } in &broker.directives {
        let named = use_of(key).map(|it| (value.trim(), it));
        for (path, it) in [Some((file.as_str(), Use::Configuration)), named].into_iter().flatten() {
            let new = !uses.contains_key(path);
            if !new || uses.len() < MAX_FILES {
                uses.entry(path.to_owned()).or_default().push(it);
            }
        }
    }
    uses.into_iter()
        .map(|(path, mut uses)| {
            uses.sort_unstable();
            uses.dedup();
            let named = look(root, &path, uses);
            (path, named)
        })
        .collect()
}

fn look(root: &Root, path: &str, uses: Vec<Use>) -> NamedFile {
    let place = Path::new(path);
    if !place.is_absolute() {
        let words =
            format!("{path}: a relative path depends on the folder the broker was started in; make it absolute");
        let failure = Failure::new(FailureKind::Error, words);
        let passwords = uses.contains(&Use::Passwords).then(|| Look::Failed(failure.clone()));
        return NamedFile { uses, state: Look::Failed(failure), passwords };
    }
    let state = root.state(place).and_then(|state| {
        let changed = Timestamp::from_second(state.changed)
            .map_err(|error| Failure::new(FailureKind::Unparseable, format_args!("{path}: {error}")))?;
        Ok(FileState { mode: format!("{:04o}", state.mode & 0o7777), uid: state.uid, gid: state.gid, changed })
    });
    let passwords = uses.contains(&Use::Passwords).then(|| root.read_text(place).map(|text| passwords(&text)).into());
    NamedFile { uses, state: state.into(), passwords }
}
