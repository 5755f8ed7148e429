//! Whether a time service says that the clock is synchronised.
//!
//! Only what a service leaves in `/run` for everyone is looked at. A service that would have to be asked is a failed look,
//! and so is the absence of any: the clock is then of unknown quality, not good.

use std::path::Path;

use gatepost_evidence::look::{Failure, FailureKind, Look};

use super::root::Root;

/// Where systemd-timesyncd keeps its state while it runs; the file inside appears with the first synchronisation.
const TIMESYNCD: &str = "/run/systemd/timesync";
/// Services that do not say in a file whether the clock is synchronised, by what they leave while they run.
const SILENT: [(&str, &str); 4] = [
    ("/run/chrony", "chrony"),
    ("/run/ntpd.pid", "ntpd"),
    ("/run/ntpsec", "ntpsec"),
    ("/run/openntpd.pid", "openntpd"),
];

/// Whether the clock of the host below `root` is synchronised, and the time service that says so or not.
#[must_use]
pub fn clock_synchronised(root: &Path) -> (Look<bool>, Option<String>) {
    synchronised(&Root::new(root))
}

/// As [`clock_synchronised`], of a root that is there already.
#[must_use]
pub fn synchronised(root: &Root) -> (Look<bool>, Option<String>) {
    match timesyncd(root) {
        Ok(Some(synchronised)) => return (Look::Seen(synchronised), Some("systemd-timesyncd".into())),
        Ok(None) => {}
        Err(failure) => return (Look::Failed(failure), None),
    }
    for (place, service) in SILENT {
        match root.exists(Path::new(place)) {
            Ok(true) => {
                let detail = format!("{service} keeps the clock, but does not let unprivileged programs see its state");
                return (Look::Failed(Failure::new(FailureKind::Denied, detail)), None);
            }
            Ok(false) => {}
            Err(failure) => return (Look::Failed(failure), None),
        }
    }
    (Look::Failed(Failure::new(FailureKind::NotFound, "no time service was found")), None)
}

fn timesyncd(root: &Root) -> Result<Option<bool>, Failure> {
    let folder = Path::new(TIMESYNCD);
    if root.exists(&folder.join("synchronized"))? {
        return Ok(Some(true));
    }
    Ok(root.exists(folder)?.then_some(false))
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn each_time_service_is_told_apart() {
        let look = |files: &[(&str, &str)]| clock_synchronised(snapshot(files).path());
        let timesyncd = Some("systemd-timesyncd".to_owned());
        assert_eq!(look(&[("run/systemd/timesync/synchronized", "")]), (Look::Seen(true), timesyncd.clone()));
        assert_eq!(look(&[("run/systemd/timesync/x", "")]), (Look::Seen(false), timesyncd));
        let (chrony, source) = look(&[("run/chrony/chronyd.pid", "1")]);
        assert_eq!((chrony.failure().unwrap().kind, source), (FailureKind::Denied, None));
        let (none, source) = look(&[("run/x", "")]);
        assert_eq!(none.failure().unwrap().to_string(), "not found: no time service was found");
        assert_eq!(source, None);
    }
}
