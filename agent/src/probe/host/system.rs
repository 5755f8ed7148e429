//! Release, kernel, kernel settings, and whether a reboot is pending.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gatepost_evidence::check::host_guardrails::SYSCTLS;
use gatepost_evidence::look::{Failure, FailureKind, Look};

use super::root::Root;
use super::shorten;

/// The keys of os-release(5) that are recorded.
const RELEASE_KEYS: [&str; 4] = ["ID", "VERSION_ID", "VERSION_CODENAME", "PRETTY_NAME"];

/// What os-release(5) says, by the keys that are recorded.
///
/// # Errors
/// When neither of its two places can be read, or nothing that is recorded stands there.
pub fn os_release(root: &Root) -> Result<BTreeMap<String, String>, Failure> {
    let first = Path::new("/etc/os-release");
    let (path, text) = match root.read_text(first) {
        Err(Failure { kind: FailureKind::NotFound, .. }) => {
            let second = Path::new("/usr/lib/os-release");
            (second, root.read_text(second)?)
        }
        result => (first, result?),
    };
    let found: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(key, _)| RELEASE_KEYS.contains(key))
        .map(|(key, value)| (key.to_owned(), shorten(unquote(value.trim()))))
        .collect();
    if found.is_empty() {
        let detail = format!("{} names no operating system", path.display());
        return Err(Failure::new(FailureKind::Unparseable, detail));
    }
    Ok(found)
}

fn unquote(value: &str) -> &str {
    let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    quoted.unwrap_or(value)
}

/// The kernel's release.
#[must_use]
pub fn kernel(root: &Root) -> Option<String> {
    let text = root.read_text(Path::new("/proc/sys/kernel/osrelease")).ok()?;
    Some(shorten(text.trim())).filter(|release| !release.is_empty())
}

/// The kernel settings of [`SYSCTLS`], each its own look.
#[must_use]
pub fn sysctls(root: &Root) -> BTreeMap<String, Look<String>> {
    let read = |name: &&str| {
        let path: PathBuf = ["/proc/sys", &name.replace('.', "/")].iter().collect();
        let look = root.read_text(&path).map(|text| shorten(text.trim()));
        ((*name).to_owned(), look.into())
    };
    SYSCTLS.iter().map(read).collect()
}

/// Whether a package asked for a reboot, as Debian's and Ubuntu's do.
#[must_use]
pub fn reboot_required(root: &Root) -> Look<bool> {
    root.exists(Path::new("/run/reboot-required")).into()
}

/// What holds this system, if it is a container: systemd writes it down at its start.
#[must_use]
pub fn container(root: &Root) -> Option<String> {
    root.word(Path::new("/run/systemd/container")).ok().filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn the_release_is_read_from_either_place_and_unquoted() {
        let folder =
            snapshot(&[("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\nNAME='no'\nPRETTY_NAME='Debian 12'\n")]);
        let release = os_release(&Root::new(folder.path())).unwrap();
        assert_eq!(release.keys().collect::<Vec<_>>(), ["ID", "PRETTY_NAME", "VERSION_ID"]);
        assert_eq!((release["VERSION_ID"].as_str(), release["PRETTY_NAME"].as_str()), ("12", "Debian 12"));
    }

    #[test]
    fn what_is_not_there_is_not_made_up() {
        let folder = snapshot(&[("etc/os-release", "garbage\n")]);
        let root = Root::new(folder.path());
        assert_eq!(os_release(&root).unwrap_err().kind, FailureKind::Unparseable);
        assert_eq!(kernel(&root), None);
        assert_eq!(reboot_required(&root).seen(), Some(&false));
        let sysctls = sysctls(&root);
        assert_eq!(sysctls.len(), SYSCTLS.len());
        assert!(sysctls.values().all(|look| look.failure().unwrap().kind == FailureKind::NotFound), "{sysctls:?}");
    }
}
