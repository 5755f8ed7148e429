//! Whether the service runs: its unit as systemd has it, its process by its PID file, and what its log says. Lines of the log
//! are counted and never recorded.

use std::collections::BTreeMap;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use gatepost_evidence::canonical::whole_number;
use gatepost_evidence::check::gateway_config_guardrails::service::{Log, Process, Unit};
use gatepost_evidence::look::{Failure, FailureKind};

use crate::files;
use crate::probe::host::helper;
use crate::probe::host::root::Root;
use crate::probe::mosquitto;

/// The last part of a log that is searched, in bytes.
const LOG_BYTES: u64 = 1024 * 1024;
const PROPERTIES: &str = "--property=ActiveState,SubState,NRestarts,LoadState";

/// The unit called `name`, by systemctl(1).
///
/// # Errors
/// When systemctl is not there or does not know the unit.
pub fn unit(root: &Root, name: &str) -> Result<Unit, Failure> {
    let places = ["/usr/bin/systemctl", "/bin/systemctl"];
    let text =
        helper::ask(root, &format!("systemctl {name}"), &places, &["show", "--no-pager", PROPERTIES, "--", name])?;
    parse_unit(&text, name)
}

fn parse_unit(text: &str, name: &str) -> Result<Unit, Failure> {
    let properties: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |property: &str| properties.get(property).map(|value| value.trim().chars().take(40).collect::<String>());
    if get("LoadState").as_deref() == Some("not-found") {
        return Err(Failure::new(FailureKind::NotFound, format_args!("systemd knows no unit {name}")));
    }
    let odd = || Failure::new(FailureKind::Unparseable, format_args!("systemctl does not say how {name} fares"));
    Ok(Unit {
        name: name.to_owned(),
        active_state: get("ActiveState").filter(|state| !state.is_empty()).ok_or_else(odd)?,
        sub_state: get("SubState").unwrap_or_default(),
        restarts: get("NRestarts").and_then(|number| whole_number(&number)),
    })
}

/// The process that the PID file `path` names.
///
/// # Errors
/// When the file is there and cannot be read, or holds no number. Without a file there is no process.
pub fn process(root: &Root, path: &Path) -> Result<Process, Failure> {
    let shown = path.display().to_string();
    let text = match files::read_text(path) {
        Ok(text) => text,
        Err(Failure { kind: FailureKind::NotFound, .. }) => return Ok(Process { path: shown, started: None }),
        Err(failure) => return Err(failure),
    };
    let id = text.trim();
    if id.is_empty() || id.len() > 10 || !id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Failure::new(FailureKind::Unparseable, format_args!("{shown} holds no process id")));
    }
    match mosquitto::started(root, id) {
        Ok(started) => Ok(Process { path: shown, started: Some(started) }),
        Err(Failure { kind: FailureKind::NotFound, .. }) => Ok(Process { path: shown, started: None }),
        Err(failure) => Err(failure),
    }
}

/// In how many lines of the last part of the log at `path` the words of each guardrail stand.
///
/// # Errors
/// When it cannot be read.
pub fn log(path: &Path, words: &BTreeMap<String, String>) -> Result<Log, Failure> {
    let failed = |error: std::io::Error| files::failure(path, &error);
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(Failure::new(FailureKind::Error, format_args!("{} is not a regular file", path.display())));
    }
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES))).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let count = |words: &String| u32::try_from(text.lines().filter(|line| line.contains(words.as_str())).count());
    let lines = words.iter().map(|(name, words)| (name.clone(), count(words).unwrap_or(u32::MAX)));
    Ok(Log { path: path.display().to_string(), lines: lines.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_what_systemd_says() {
        let unit =
            parse_unit("ActiveState=active\nSubState=running\nNRestarts=3\nLoadState=loaded\n", "g.service").unwrap();
        assert_eq!(
            (unit.active_state.as_str(), unit.sub_state.as_str(), unit.restarts),
            ("active", "running", Some(3))
        );
        let none = parse_unit("ActiveState=inactive\nSubState=dead\nLoadState=not-found\n", "g.service").unwrap_err();
        assert_eq!(none.kind, FailureKind::NotFound);
        assert_eq!(parse_unit("junk", "g.service").unwrap_err().kind, FailureKind::Unparseable);
    }

    #[test]
    fn a_process_runs_or_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (root, path) = (Root::new(Path::new("/")), folder.path().join("pid"));
        assert_eq!(process(&root, &path).unwrap().started, None);
        std::fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        assert!(process(&root, &path).unwrap().started.is_some());
        // Beyond what Linux gives out.
        std::fs::write(&path, "4194305\n").unwrap();
        assert_eq!(process(&root, &path).unwrap().started, None);
        std::fs::write(&path, "../self\n").unwrap();
        assert_eq!(process(&root, &path).unwrap_err().kind, FailureKind::Unparseable);
    }

    #[test]
    fn of_a_log_only_the_number_of_lines_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let text = format!("{}start unsafe_defaults=0 hunter2\nunsafe_defaults=1\n", "x\n".repeat(1_000_000));
        std::fs::write(&path, text).unwrap();
        let words = BTreeMap::from([("unsafe_defaults".to_owned(), "unsafe_defaults=".to_owned())]);
        let found = log(&path, &words).unwrap();
        assert_eq!(found.lines["unsafe_defaults"], 2);
        assert!(!format!("{found:?}").contains("hunter2"));
        assert_eq!(log(&folder.path().join("gone"), &words).unwrap_err().kind, FailureKind::NotFound);
    }
}
