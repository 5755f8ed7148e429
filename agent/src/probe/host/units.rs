//! Services as systemd has them: those that failed, those that keep being restarted, and the fences of those that are watched.
//!
//! What is switched on for every boot lies in folders; how a service fares only systemd knows, so systemctl(1) is asked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gatepost_evidence::check::host_guardrails::units::{PROPERTIES, Unit, Units};
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::{helper, if_there, shorten, snippets};

/// The most units that are recorded.
pub const MAX_UNITS: usize = 200;
const SYSTEM: &str = "/etc/systemd/system";
const RUNTIME: &str = "/run/systemd/system";

/// Names of the units that are switched on: links in folders `*.wants` and `*.requires` to units that are not masked.
///
/// # Errors
/// When a folder can not be listed.
pub fn enabled(root: &Root) -> Result<Vec<String>, Failure> {
    let system = Path::new(SYSTEM);
    let names = root.list(system)?;
    let mut found = BTreeSet::new();
    for name in names.iter().filter(|name| name.ends_with(".wants") || name.ends_with(".requires")) {
        found.extend(root.list(&system.join(name))?.iter().map(|name| shorten(name)));
        if found.len() > 2000 {
            return Err(Failure::new(FailureKind::TooLarge, format_args!("{SYSTEM} has more than 2000 units")));
        }
    }
    // Nobody starts a unit that is masked.
    let masked = masked(root)?;
    Ok(found.into_iter().filter(|name| !masked.contains(name)).collect())
}

/// Names of the units that are masked, for good or until the next boot: links to `/dev/null` and empty files. What lies in the
/// first folder hides what has its name in the second (systemd.unit(5)).
///
/// # Errors
/// When a folder can not be listed or a link not be read, or there are too many.
pub fn masked(root: &Root) -> Result<Vec<String>, Failure> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for folder in [SYSTEM, RUNTIME].map(Path::new) {
        for name in if_there(root.list(folder))?.unwrap_or_default() {
            if !seen.insert(name.clone()) {
                continue;
            }
            let path = folder.join(&name);
            match root.link(&path) {
                Ok(to) if to == Path::new("/dev/null") => found.push(shorten(&name)),
                Err(failure) if failure.kind == FailureKind::Denied => return Err(failure),
                // A file that is empty is to systemd what a link to nothing is.
                Ok(_) | Err(_) => {
                    if is_unit(&name) && root.beginning(&path, 1).is_ok_and(|begin| begin.is_empty()) {
                        found.push(shorten(&name));
                    }
                }
            }
        }
        if seen.len() > 2000 {
            return Err(Failure::new(FailureKind::TooLarge, format_args!("{SYSTEM} has more than 2000 units")));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether it is named as a unit, and not as a folder beside one (`x.service.d`, `x.target.wants`).
fn is_unit(name: &str) -> bool {
    let kinds = ["service", "timer", "socket", "mount", "automount", "swap", "path", "slice", "target"];
    name.rsplit_once('.').is_some_and(|(_, kind)| kinds.contains(&kind))
}

/// What is to be seen of services; `watched` are recorded whatever they do.
#[must_use]
pub fn units(root: &Root, watched: &[String]) -> Units {
    let property = format!("--property={}", PROPERTIES.join(","));
    let answer = helper::ask(
        root,
        "systemctl",
        &["/usr/bin/systemctl", "/bin/systemctl"],
        &["show", "--no-pager", &property, "*.service", "*.timer", "*.socket", "*.mount"],
    );
    Units {
        units: answer.and_then(|text| parse(&text, watched)).into(),
        watched: watched.to_vec(),
        autologin: autologin(root).into(),
    }
}

/// The units of `systemctl show`: of all those that failed or were restarted, and those that are watched.
///
/// # Errors
/// When it is not that, or there are too many.
pub fn parse(text: &str, watched: &[String]) -> Result<Vec<Unit>, Failure> {
    let mut found = Vec::new();
    let mut any = false;
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let lines = paragraph.lines().filter_map(|line| line.split_once('='));
        let properties: BTreeMap<String, String> = lines
            .filter(|(name, _)| PROPERTIES.contains(name))
            .map(|(name, value)| (name.to_owned(), shorten(value)))
            .collect();
        let get = |name: &str| properties.get(name).map(String::as_str).unwrap_or_default();
        if get("Id").is_empty() {
            return Err(Failure::new(FailureKind::Unparseable, "systemctl prints a unit without a name"));
        }
        any = true;
        let restarted = !matches!(get("NRestarts"), "" | "0") || get("SubState") == "auto-restart";
        if get("ActiveState") == "failed" || restarted || watched.iter().any(|name| name == get("Id")) {
            let name = get("Id").to_owned();
            let fields = properties.into_iter().filter(|(name, _)| name != "Id");
            found.push(Unit { name, properties: fields.collect() });
        }
        if found.len() > MAX_UNITS {
            return Err(Failure::new(
                FailureKind::TooLarge,
                format_args!("more than {MAX_UNITS} units are of interest"),
            ));
        }
    }
    if !any {
        return Err(Failure::new(FailureKind::Unparseable, "systemctl prints no unit"));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Files that let getty(8) log somebody in without asking, as an image of Raspberry Pi OS may have them.
fn autologin(root: &Root) -> Result<Vec<String>, Failure> {
    let system = Path::new(SYSTEM);
    let mut found = Vec::new();
    let names = if_there(root.list(system))?.unwrap_or_default();
    let gettys =
        |name: &&String| name.contains("getty") && (name.ends_with(".service") || name.ends_with(".service.d"));
    for name in names.iter().filter(gettys) {
        let path = system.join(name);
        let files = if name.ends_with(".d") { snippets(root, &path, ".conf")? } else { vec![path] };
        for file in files {
            let Some(text) = if_there(root.read_text(&file))? else { continue };
            let asks_nobody = |line: &str| {
                line.trim_start().starts_with("ExecStart=")
                    && (line.contains("--autologin") || line.split_whitespace().any(|word| word == "-a"))
            };
            if text.lines().any(asks_nobody) {
                found.push(shorten(&file.display().to_string()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn units_of_interest_are_kept() {
        let text = "Id=a.service\nActiveState=failed\nSecret=x\n\nId=b.service\nActiveState=active\nNRestarts=0\n\n\
            Id=c.service\nActiveState=active\nNRestarts=7\n\nId=mosquitto.service\nActiveState=active\nNRestarts=0\n";
        let units = parse(text, &["mosquitto.service".into()]).unwrap();
        let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
        assert_eq!(names, ["a.service", "c.service", "mosquitto.service"]);
        assert!(!units[0].properties.contains_key("Secret"));
        assert_eq!(parse("", &[]).unwrap_err().kind, FailureKind::Unparseable);
        assert_eq!(parse("ActiveState=failed\n", &[]).unwrap_err().kind, FailureKind::Unparseable);
        let many = "Id=a.service\nActiveState=failed\n\n".repeat(MAX_UNITS + 1);
        assert_eq!(parse(&many, &[]).unwrap_err().kind, FailureKind::TooLarge);
    }

    #[test]
    fn what_is_switched_on_lies_in_folders() {
        let folder = snapshot(&[
            ("etc/systemd/system/multi-user.target.wants/ssh.service", ""),
            ("etc/systemd/system/sysinit.target.requires/x.service", ""),
            (
                "etc/systemd/system/getty@tty1.service.d/autologin.conf",
                "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin pi --noclear %I $TERM\n",
            ),
            ("etc/systemd/system/getty@tty2.service.d/quiet.conf", "[Service]\nExecStart=-/sbin/agetty %I\n"),
        ]);
        let root = Root::new(folder.path());
        assert_eq!(enabled(&root).unwrap(), ["ssh.service", "x.service"]);
        assert_eq!(masked(&root).unwrap(), Vec::<String>::new());
        assert_eq!(autologin(&root).unwrap(), ["/etc/systemd/system/getty@tty1.service.d/autologin.conf"]);
        std::fs::create_dir_all(folder.path().join("run/systemd/system")).unwrap();
        std::fs::write(folder.path().join("etc/systemd/system/own.service"), "[Service]\n").unwrap();
        for masked in ["etc/systemd/system/y.service", "run/systemd/system/x.service", "run/systemd/system/own.service"]
        {
            std::os::unix::fs::symlink("/dev/null", folder.path().join(masked)).unwrap();
        }
        let root = Root::new(folder.path());
        assert_eq!(masked(&root).unwrap(), ["x.service", "y.service"]);
        std::fs::write(folder.path().join("etc/systemd/system/empty.timer"), "").unwrap();
        assert_eq!(masked(&root).unwrap(), ["empty.timer", "x.service", "y.service"]);
        assert_eq!(enabled(&root).unwrap(), ["ssh.service"]);
    }
}
