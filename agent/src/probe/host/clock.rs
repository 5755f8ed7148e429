//! Whether a time service says that the clock is synchronised.
//!
//! What a service leaves in `/run` for everyone is looked at; chrony, which leaves nothing there, is asked by its own client.
//! Another that would have to be asked is a failed look, and so is the absence of any: the clock is then of unknown quality,
//! not good.

use std::path::Path;

use gatepost_evidence::look::{Failure, FailureKind, Look};

use super::helper;
use super::root::Root;

/// Where systemd-timesyncd keeps its state while it runs; the file inside appears with the first synchronisation.
const TIMESYNCD: &str = "/run/systemd/timesync";
/// Services that do not say in a file whether the clock is synchronised, by what they leave while they run.
const SILENT: [(&str, &str); 3] =
    [("/run/ntpd.pid", "ntpd"), ("/run/ntpsec", "ntpsec"), ("/run/openntpd.pid", "openntpd")];

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
    match chrony(root) {
        Ok(Some(synchronised)) => return (Look::Seen(synchronised), Some("chrony".into())),
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

/// What chronyd tells everyone on this machine, by chronyc(1); None where it does not run.
fn chrony(root: &Root) -> Result<Option<bool>, Failure> {
    if !root.exists(Path::new("/run/chrony"))? {
        return Ok(None);
    }
    let text = helper::ask(root, "chronyc", &["/usr/bin/chronyc"], &["-n", "-c", "tracking"])?;
    // `7F7F0101,,0,...,Not synchronised`: the leap status comes last, and is that of the source that is followed.
    let fields: Vec<_> = text.trim().split(',').collect();
    match fields.last() {
        Some(&("Normal" | "Insert second" | "Delete second")) if fields.len() > 10 => Ok(Some(true)),
        Some(&"Not synchronised") if fields.len() > 10 => Ok(Some(false)),
        _ => Err(Failure::new(FailureKind::Unparseable, "chronyc does not print what it follows")),
    }
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
        let chrony = |words: &str| {
            let answer =
                format!("A1B2C3D4,192.0.2.1,3,1763800000.1,0.01,-0.02,0.03,-1.5,0.01,0.2,0.03,0.001,64.5,{words}\\n");
            let ledger = format!(r#"{{"answers": {{"chronyc": {{"Ok": "{answer}"}}}}}}"#);
            look(&[("run/chrony/chronyd.pid", "1"), (".gatepost/ledger.json", &ledger)])
        };
        assert_eq!(chrony("Normal"), (Look::Seen(true), Some("chrony".into())));
        assert_eq!(chrony("Not synchronised"), (Look::Seen(false), Some("chrony".into())));
        assert_eq!(chrony("Perhaps").0.failure().unwrap().kind, FailureKind::Unparseable);
        let (unasked, source) = look(&[("run/chrony/chronyd.pid", "1")]);
        assert!(unasked.failure().unwrap().detail.contains("only the running machine"), "{unasked:?}");
        assert_eq!(source, None);
        let (ntpd, source) = look(&[("run/ntpd.pid", "1")]);
        assert_eq!((ntpd.failure().unwrap().kind, source), (FailureKind::Denied, None));
        let (none, source) = look(&[("run/x", "")]);
        assert_eq!(none.failure().unwrap().to_string(), "not found: no time service was found");
        assert_eq!(source, None);
    }
}
