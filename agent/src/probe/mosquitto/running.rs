//! The broker that runs, and the release that is installed: from `/proc` and dpkg's database, without starting anything.

use std::path::Path;

use gatepost_evidence::check::gateway_config_guardrails::broker::Process;
use gatepost_evidence::look::{Failure, FailureKind};
use jiff::Timestamp;

use crate::probe::host::root::Root;

/// The most processes that are recorded.
const MAX_PROCESSES: usize = 16;
/// The most bytes of a command line that are read.
const MAX_COMMAND: u64 = 4096;
/// Clock ticks in a second, as Linux tells them to programs on every architecture (USER_HZ).
const TICKS: i64 = 100;

/// The installed release, without what the distribution adds.
///
/// # Errors
/// When dpkg's database cannot be read, or has no broker of that name.
pub(super) fn release(root: &Root) -> Result<String, Failure> {
    let (mut here, mut found) = (false, None);
    root.lines(Path::new("/var/lib/dpkg/status"), |line| {
        match line.split_once(": ") {
            Some(("Package", name)) => here = name == "mosquitto",
            Some(("Version", version)) if here => found = Some(version.to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let version = found.ok_or_else(|| Failure::new(FailureKind::NotFound, "dpkg knows no package mosquitto"))?;
    // Without epoch and Debian's own revision.
    let version = version.rsplit_once(':').map_or(version.as_str(), |(_, version)| version);
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    Ok(version[..end].chars().take(40).collect())
}

/// The processes that are called mosquitto.
///
/// # Errors
/// When `/proc` cannot be read or does not show everybody's processes.
pub(super) fn processes(root: &Root) -> Result<Vec<Process>, Failure> {
    let proc = Path::new("/proc");
    let names = root.list(proc)?;
    if !names.iter().any(|name| name == "1") {
        return Err(Failure::new(FailureKind::Denied, "/proc does not show other users' processes (hidepid)"));
    }
    let mut found = Vec::new();
    for name in names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())) {
        let folder = proc.join(name);
        // One that has ended since is none.
        let Ok(called) = root.word(&folder.join("comm")) else { continue };
        if called != "mosquitto" || found.len() == MAX_PROCESSES {
            continue;
        }
        let Ok(command) = root.beginning(&folder.join("cmdline"), MAX_COMMAND) else { continue };
        let Ok(state) = root.state(&folder) else { continue };
        let Ok(started) = started(root, name) else { continue };
        let configuration = configuration(&command);
        let known_here = configuration
            .as_deref()
            .map(Path::new)
            .is_some_and(|path| path.is_absolute() && root.exists(path).unwrap_or(false));
        // Who has ended in the meantime may have taken his file with him.
        if !known_here && root.word(&folder.join("comm")).is_err() {
            continue;
        }
        found.push(Process { uid: state.uid, started, configuration, known_here });
    }
    Ok(found)
}

/// The file behind `-c` on a command line.
fn configuration(command: &[u8]) -> Option<String> {
    let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    words.find(|word| word == "-c" || word == "--config-file")?;
    words.next().map(|path| path.chars().take(300).collect())
}

/// When the process `id` was started (proc_pid_stat(5)).
///
/// # Errors
/// `not_found` when there is none, or when the kernel's words are not understood.
pub fn started(root: &Root, id: &str) -> Result<Timestamp, Failure> {
    let path = Path::new("/proc").join(id).join("stat");
    let text = root.read_text(&path)?;
    let odd = || Failure::new(FailureKind::Unparseable, format_args!("{} has no start time", path.display()));
    // The name may hold anything, brackets too; after it come numbers.
    let ticks: i64 = text
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19)?.parse().ok())
        .ok_or_else(odd)?;
    let boot = Path::new("/proc/stat");
    let mut booted: Option<i64> = None;
    root.lines(boot, |line| {
        booted = line.strip_prefix("btime ").and_then(|seconds| seconds.trim().parse().ok()).or(booted);
        Ok(())
    })?;
    let booted = booted
        .ok_or_else(|| Failure::new(FailureKind::Unparseable, "/proc/stat does not say when the host was booted"))?;
    Timestamp::from_second(booted.saturating_add(ticks / TICKS)).map_err(|_| odd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::host::tests::snapshot;

    #[test]
    fn the_release_is_that_of_the_package() {
        let status = "Package: a\nVersion: 9\n\nPackage: mosquitto\nStatus: install ok installed\nVersion: 1:2.0.11-1.2+deb12u2\n\n\
                      Package: mosquitto-clients\nVersion: 3\n";
        let folder = snapshot(&[("var/lib/dpkg/status", status)]);
        assert_eq!(release(&Root::new(folder.path())).unwrap(), "2.0.11");
        let folder = snapshot(&[("var/lib/dpkg/status", "Package: a\nVersion: 9\n")]);
        assert_eq!(release(&Root::new(folder.path())).unwrap_err().kind, FailureKind::NotFound);
    }

    #[test]
    fn a_start_is_told_whatever_the_process_calls_itself() {
        let stat = "7 (a) R) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 12345 999";
        let folder = snapshot(&[
            ("proc/7/stat", stat),
            ("proc/stat", "cpu 1 2\nbtime 1700000000\n"),
            ("proc/8/stat", "8 (x) S 1"),
        ]);
        let root = Root::new(folder.path());
        assert_eq!(started(&root, "7").unwrap().as_second(), 1_700_000_123);
        assert_eq!(started(&root, "8").unwrap_err().kind, FailureKind::Unparseable);
        assert_eq!(started(&root, "9").unwrap_err().kind, FailureKind::NotFound);
        let own = started(&Root::new(Path::new("/")), "self").unwrap();
        assert!((Timestamp::now().as_second() - own.as_second()).abs() < 24 * 3600);
    }

    #[test]
    fn a_command_line_names_its_configuration() {
        assert_eq!(configuration(b"/usr/sbin/mosquitto\0-c\0/etc/m.conf\0").as_deref(), Some("/etc/m.conf"));
        assert_eq!(configuration(b"mosquitto\0-d\0"), None);
        assert_eq!(configuration(b"\xff\0-c\0").as_deref(), Some(""));
    }

    #[test]
    fn processes_that_are_hidden_are_not_none() {
        let folder = snapshot(&[("proc/77/comm", "mosquitto\n")]);
        assert_eq!(processes(&Root::new(folder.path())).unwrap_err().kind, FailureKind::Denied);
    }
}
