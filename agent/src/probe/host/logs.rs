//! What logs, keeps time and audits: running programs by name, journald's options, and where messages are sent to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use gatepost_evidence::check::host_guardrails::logs::{AUDITORS, CLOCKS, LOGGERS, Logs};
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::{if_there, shorten, snippets, systemd_options};

/// The most processes whose names are read.
const MAX_PROCESSES: usize = 20_000;
/// The most lines about other machines that are recorded.
const MAX_REMOTE: usize = 20;

/// What is to be seen of logs and time.
#[must_use]
pub fn logs(root: &Root) -> Logs {
    Logs {
        programs: programs(root).into(),
        journal: systemd_options(root, "journald.conf").into(),
        journal_folder: root.exists(Path::new("/var/log/journal")).into(),
        remote: remote(root).into(),
    }
}

/// Running programs of those that are told. A process that ends meanwhile is passed over.
fn programs(root: &Root) -> Result<Vec<String>, Failure> {
    let known: BTreeSet<_> = LOGGERS.iter().chain(CLOCKS).chain(AUDITORS).copied().collect();
    let mut found = BTreeSet::new();
    let names = root.list(Path::new("/proc"))?;
    let mut any = false;
    for id in names.iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).take(MAX_PROCESSES) {
        let Ok(name) = root.word(&Path::new("/proc").join(id).join("comm")) else { continue };
        any = true;
        if known.contains(name.as_str()) {
            found.insert(name);
        }
    }
    if !any {
        return Err(Failure::new(FailureKind::NotFound, "/proc shows no process"));
    }
    Ok(found.into_iter().collect())
}

/// Lines that send messages to another machine: of rsyslog and syslog-ng, and the address of systemd-journal-upload.
fn remote(root: &Root) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    let mut rsyslog: Vec<PathBuf> = vec!["/etc/rsyslog.conf".into()];
    rsyslog.extend(snippets(root, Path::new("/etc/rsyslog.d"), ".conf")?);
    let mut ng: Vec<PathBuf> = vec!["/etc/syslog-ng/syslog-ng.conf".into()];
    ng.extend(snippets(root, Path::new("/etc/syslog-ng/conf.d"), ".conf")?);
    let of_rsyslog = |line: &str| {
        let target = line.split_whitespace().nth(1).unwrap_or_default();
        target.trim_start_matches('-').starts_with('@') || line.contains("\"omfwd\"") || line.contains("\"omrelp\"")
    };
    let of_ng = |line: &str| {
        let words = ["tcp(", "udp(", "network(", "syslog("];
        line.starts_with("destination") && words.iter().any(|word| line.contains(word))
    };
    for (files, sends) in [(rsyslog, &of_rsyslog as &dyn Fn(&str) -> bool), (ng, &of_ng)] {
        for path in files {
            let Some(text) = if_there(root.read_text(&path))? else { continue };
            let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#') && sends(line));
            found.extend(lines.take(MAX_REMOTE).map(shorten));
        }
    }
    if let Some(address) = systemd_options(root, "journal-upload.conf")?.remove("URL").filter(|url| !url.is_empty()) {
        found.push(format!("journal-upload {address}"));
    }
    found.truncate(MAX_REMOTE);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn programs_and_other_machines_are_found() {
        let folder = snapshot(&[
            ("proc/1/comm", "systemd\n"),
            ("proc/30/comm", "systemd-journal\n"),
            ("proc/31/comm", "chronyd\n"),
            ("proc/sys/x", ""),
            ("etc/rsyslog.conf", "# *.* @old\n*.* -/var/log/syslog\n*.* @@logs.example:6514\n"),
            ("etc/rsyslog.d/a.conf", "action(type=\"omfwd\" target=\"x\")\n"),
            (
                "etc/syslog-ng/syslog-ng.conf",
                "destination d { file(\"/var/log/x\"); };\ndestination r { syslog(\"x\"); };\n",
            ),
            ("etc/systemd/journal-upload.conf", "[Upload]\n# URL=\nURL=https://logs.example\n"),
        ]);
        let logs = logs(&Root::new(folder.path()));
        assert_eq!(logs.programs.seen().unwrap(), &["chronyd", "systemd-journal"]);
        assert_eq!(logs.remote.seen().unwrap().len(), 4, "{:?}", logs.remote);
        assert_eq!(logs.journal_folder.seen(), Some(&false));
    }
}
