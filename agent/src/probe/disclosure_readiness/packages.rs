//! The inventory of software: what dpkg(1) calls installed, from the lines of its database. Pure, and bounded whatever they hold.

use std::collections::{BTreeMap, BTreeSet};

use gatepost_evidence::check::disclosure_readiness::{COMPONENTS, Packages};
use gatepost_evidence::id::Digest;
use gatepost_evidence::look::{Failure, FailureKind};

/// Where dpkg keeps it.
pub const PATH: &str = "/var/lib/dpkg/status";
/// The most packages that are counted.
const PACKAGES: usize = 100_000;
/// The most versions that are recorded.
const VERSIONS: usize = 50;
/// The most characters of a field that are kept.
const FIELD: usize = 200;
const WANTED: [&str; 4] = ["Package", "Version", "Architecture", "Status"];

/// Gives a line to whoever reads.
pub type Each<'a> = &'a mut dyn FnMut(&str) -> Result<(), Failure>;

/// The inventory of a database whose lines `lines` gives one by one.
///
/// # Errors
/// What `lines` failed with, when no package is installed, which no Debian is without, or when there are too many.
pub fn read(lines: impl FnOnce(Each<'_>) -> Result<(), Failure>) -> Result<Packages, Failure> {
    let mut found = Found::default();
    lines(&mut |line| {
        found.line(line);
        Ok(())
    })?;
    found.close();
    if found.too_many {
        return Err(Failure::new(FailureKind::TooLarge, format_args!("more than {PACKAGES} packages")));
    }
    if found.lines.is_empty() {
        return Err(Failure::new(FailureKind::Unparseable, format_args!("{PATH} names no installed package")));
    }
    let all: String = found.lines.iter().map(String::as_str).collect();
    Ok(Packages { installed: found.lines.len() as u64, digest: Digest::of(all.as_bytes()), versions: found.versions })
}

#[derive(Default)]
struct Found {
    /// The fields of the present paragraph.
    fields: BTreeMap<&'static str, String>,
    lines: BTreeSet<String>,
    versions: BTreeMap<String, String>,
    too_many: bool,
}

impl Found {
    fn line(&mut self, line: &str) {
        if line.is_empty() {
            self.close();
        } else if let Some((name, value)) = line.split_once(": ")
            && let Some(wanted) = WANTED.iter().find(|wanted| **wanted == name)
        {
            self.fields.insert(wanted, value.chars().take(FIELD).collect());
        }
    }

    /// The paragraph is over. A package is installed when the third word of its `Status` says so (dpkg-query(1)).
    fn close(&mut self) {
        let mut take = |name| self.fields.remove(name).unwrap_or_default();
        let (name, version, architecture, status) =
            (take("Package"), take("Version"), take("Architecture"), take("Status"));
        if status.split(' ').nth(2) != Some("installed") || name.is_empty() {
            return;
        }
        self.too_many |= self.lines.len() >= PACKAGES;
        if self.too_many {
            return;
        }
        if COMPONENTS.iter().any(|known| matches(known, &name)) && self.versions.len() < VERSIONS {
            self.versions.insert(name.clone(), version.clone());
        }
        self.lines.insert(format!("{name}\t{version}\t{architecture}\n"));
    }
}

fn matches(known: &str, name: &str) -> bool {
    known.strip_suffix('*').map_or(known == name, |start| name.starts_with(start))
}
