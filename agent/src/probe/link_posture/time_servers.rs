//! Which time servers the gateway's own time service is told to follow, and whether a clock runs on without power: from files.

use std::path::{Path, PathBuf};

use gatepost_evidence::look::{Failure, FailureKind};

use crate::probe::host::root::Root;
use crate::probe::host::{if_there, shorten, snippets};

/// Which servers there are, and where that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// The file, or `configuration`.
    pub source: Option<String>,
    /// Their names.
    pub names: Result<Vec<String>, Failure>,
}

/// Those that are `configured` (`[link] time_servers`), or else those of the host's time service.
#[must_use]
pub fn servers(root: &Root, configured: &[String]) -> Servers {
    if !configured.is_empty() {
        return Servers { source: Some("configuration".into()), names: Ok(configured.to_vec()) };
    }
    for find in [chrony, timesyncd, ntpd] {
        match find(root) {
            Ok(Some((source, names))) => return Servers { source: Some(source), names: Ok(names) },
            Ok(None) => {}
            Err(failure) => return Servers { source: None, names: Err(failure) },
        }
    }
    Servers { source: None, names: Ok(Vec::new()) }
}

type Found = Result<Option<(String, Vec<String>)>, Failure>;

/// The words behind `server`, `pool` or `servers` (chrony.conf(5), ntp.conf(5), ntpd.conf(5)).
fn listed(root: &Root, files: &[PathBuf]) -> Found {
    let (mut source, mut names) = (None, Vec::new());
    for file in files {
        let Some(text) = if_there(root.read_text(file))? else { continue };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("server" | "servers" | "pool" | "peer"), Some(name)) = (words.next(), words.next()) {
                names.push(shorten(name));
                source.get_or_insert_with(|| file.display().to_string());
            }
        }
    }
    Ok(source.map(|source| (source, names)))
}

fn chrony(root: &Root) -> Found {
    let mut files = vec![PathBuf::from("/etc/chrony/chrony.conf")];
    for (folder, ending) in
        [("/etc/chrony/conf.d", ".conf"), ("/etc/chrony/sources.d", ".sources"), ("/run/chrony-dhcp", ".sources")]
    {
        files.extend(snippets(root, Path::new(folder), ending)?);
    }
    listed(root, &files)
}

fn ntpd(root: &Root) -> Found {
    listed(root, &["/etc/ntpsec/ntp.conf", "/etc/ntp.conf", "/etc/openntpd/ntpd.conf"].map(PathBuf::from))
}

/// systemd-timesyncd (timesyncd.conf(5)): `NTP=`, what the network gave out, or the fallback, which stands as a comment in the
/// file that it comes with.
fn timesyncd(root: &Root) -> Found {
    let main = PathBuf::from("/etc/systemd/timesyncd.conf");
    let mut files = vec![main];
    for folder in
        ["/usr/lib/systemd/timesyncd.conf.d", "/run/systemd/timesyncd.conf.d", "/etc/systemd/timesyncd.conf.d"]
    {
        files.extend(snippets(root, Path::new(folder), ".conf")?);
    }
    let (mut source, mut names) = (None, Vec::new());
    let mut fallback: Option<(PathBuf, Vec<String>)> = None;
    for file in files {
        let Some(text) = if_there(root.read_text(&file))? else { continue };
        for line in text.lines().map(str::trim) {
            let listed = |value: &str| value.split_ascii_whitespace().map(shorten).collect::<Vec<_>>();
            if let Some(value) = line.strip_prefix("NTP=") {
                // An empty one forgets those before it.
                if value.trim().is_empty() {
                    names.clear();
                }
                names.extend(listed(value));
                source = Some(file.clone());
            } else if let Some(value) = line.trim_start_matches('#').strip_prefix("FallbackNTP=") {
                fallback = Some((file.clone(), listed(value)));
            }
        }
    }
    if names.is_empty()
        && let Some(text) = if_there(root.read_text(Path::new("/run/systemd/netif/state")))?
    {
        let given = text.lines().filter_map(|line| line.strip_prefix("NTP=")).flat_map(str::split_ascii_whitespace);
        names.extend(given.map(shorten));
        source = Some(PathBuf::from("/run/systemd/netif/state"));
    }
    if names.is_empty()
        && root.exists(Path::new("/run/systemd/timesync"))?
        && let Some((file, listed)) = fallback
    {
        (source, names) = (Some(file), listed);
    }
    let source = source.filter(|_| !names.is_empty());
    Ok(source.map(|source| (source.display().to_string(), names)))
}

/// Names of the clocks in sysfs that run on without power.
///
/// # Errors
/// When there is no sysfs, or it cannot be read.
pub fn clocks(root: &Root) -> Result<Vec<String>, Failure> {
    let folder = Path::new("/sys/class/rtc");
    let names = if_there(root.list(folder))?.unwrap_or_default();
    // Where there is no sysfs at all nothing can be said.
    if names.is_empty() && !root.exists(Path::new("/sys/class"))? {
        return Err(Failure::new(FailureKind::NotFound, "/sys/class is not there"));
    }
    let name = |name: &String| root.word(&folder.join(name).join("name")).unwrap_or_else(|_| shorten(name));
    Ok(names.iter().take(8).map(name).collect())
}

/// Whether a device tree describes the machine.
///
/// # Errors
/// When that cannot be read.
pub fn board(root: &Root) -> Result<bool, Failure> {
    root.exists(Path::new("/proc/device-tree/model"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::host::tests::snapshot;

    fn found(files: &[(&str, &str)]) -> (Option<String>, Vec<String>) {
        let folder = snapshot(files);
        let servers = servers(&Root::new(folder.path()), &[]);
        (servers.source, servers.names.unwrap())
    }

    #[test]
    fn the_servers_are_those_of_the_time_service() {
        let debian = "[Time]\n#NTP=\n#FallbackNTP=0.debian.pool.ntp.org 1.debian.pool.ntp.org\n";
        let conf = ("etc/systemd/timesyncd.conf", debian);
        assert_eq!(found(&[conf]), (None, vec![]));
        let runs = found(&[conf, ("run/systemd/timesync/synchronized", "")]);
        assert_eq!(runs.0.as_deref(), Some("/etc/systemd/timesyncd.conf"));
        assert_eq!(runs.1, ["0.debian.pool.ntp.org", "1.debian.pool.ntp.org"]);
        let network = found(&[conf, ("run/systemd/netif/state", "OPER_STATE=routable\nNTP=192.168.1.1\n")]);
        assert_eq!(network.1, ["192.168.1.1"]);
        let drop_in = ("etc/systemd/timesyncd.conf.d/site.conf", "[Time]\nNTP=\nNTP=time.site\n");
        assert_eq!(found(&[("etc/systemd/timesyncd.conf", "NTP=old.site\n"), drop_in]).1, ["time.site"]);
        let chrony = [
            ("etc/chrony/chrony.conf", "pool 2.debian.pool.ntp.org iburst\n#server no\nsourcedir /run/chrony-dhcp\n"),
            ("run/chrony-dhcp/eth0.sources", "server 192.168.1.1 iburst\n"),
            conf,
        ];
        assert_eq!(found(&chrony).1, ["2.debian.pool.ntp.org", "192.168.1.1"]);
        assert_eq!(found(&[("etc/openntpd/ntpd.conf", "servers pool.ntp.org\n")]).1, ["pool.ntp.org"]);
    }
}
