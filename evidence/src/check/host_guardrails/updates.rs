//! Updates: where packages come from, and whether updates are put in.
//!
//! Whether the release is still looked after is `disclosure_readiness`'s to say, by the dated tables of the pack.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ask, take};
use crate::check::{Seen, Unknown};
use crate::look::Look;

/// What was seen of packages and their sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// Packages as dpkg(1) has them.
    pub packages: Look<Packages>,
    /// Package sources.
    pub sources: Look<Vec<PackageSource>>,
    /// `APT::Periodic::*` and `Unattended-Upgrade::*` options of apt.conf(5), by their name in lower case.
    pub periodic: Look<BTreeMap<String, String>>,
    /// When the package lists last changed.
    pub lists_changed: Look<Timestamp>,
    /// When unattended-upgrade(8) last ran to its end.
    pub unattended_ran: Look<Timestamp>,
    /// Installed packages for which a security archive has a newer version.
    pub security_pending: Look<Vec<Pending>>,
}

/// Packages as dpkg(1) has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// How many are installed.
    pub installed: u64,
    /// SHA-256 over `name version architecture` lines of those, sorted.
    pub digest: String,
    /// Packages that are kept from being updated.
    pub held: Vec<String>,
    /// Packages whose installation broke off, with their state.
    pub broken: Vec<String>,
    /// Versions of the packages that facts are about, such as `openssh-server`.
    pub versions: BTreeMap<String, String>,
}

/// One source of packages (sources.list(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackageSource {
    /// The file.
    pub file: String,
    /// Where from, without user and password.
    pub uri: String,
    /// The suite, such as `bookworm-security`.
    pub suite: String,
    /// Signatures are not asked for (`trusted=yes`, `allow-insecure=yes`).
    pub unsigned: bool,
}

/// A package with a newer version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pending {
    /// The package.
    pub name: String,
    /// What is installed.
    pub installed: String,
    /// What there is.
    pub available: String,
}

/// Facts about updates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateFacts {
    /// Some source is a security archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_source: Option<bool>,
    /// Sources whose signatures are not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsigned_sources: Option<Vec<String>>,
    /// Security updates are put in without anyone asking: unattended-upgrades is there, switched on, its timer is
    /// enabled, and the service that the timer starts is not masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub automatic: Option<bool>,
    /// Whole days since the package lists changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lists_age_days: Option<i64>,
    /// Whole days since updates were last put in by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unattended_age_days: Option<i64>,
    /// Installed packages for which a security archive has a newer version, as of the package lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_pending: Option<Vec<String>>,
    /// Packages that are kept from being updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<Vec<String>>,
    /// Packages whose installation broke off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Vec<String>>,
    /// How many packages are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<u64>,
    /// SHA-256 of the list of packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<String>,
}

/// What decides whether the timer of the upgrades does anything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timers<'a> {
    /// Units that are switched on.
    pub(super) enabled: &'a Option<Look<Vec<String>>>,
    /// Units that are masked.
    pub(super) masked: &'a Option<Look<Vec<String>>>,
}

pub(super) fn facts(
    seen: &Option<Updates>,
    timers: Timers<'_>,
    at: &Seen,
    unknown: &mut Unknown,
) -> Option<UpdateFacts> {
    let seen = seen.as_ref()?;
    let today = days_believed(at, &["lists_age_days", "unattended_age_days"], unknown);
    let packages = take(&seen.packages, &["/updates/held", "/updates/broken", "/updates/automatic"], "", unknown);
    let sources = take(&seen.sources, &["/updates/security_source", "/updates/unsigned_sources"], "", unknown);
    let periodic = take(&seen.periodic, &["/updates/automatic"], "", unknown);
    let enabled = ask(timers.enabled, &["/updates/automatic"], "", unknown);
    let masked = match timers.masked {
        None => Some(&[][..]),
        Some(masked) => take(masked, &["/updates/automatic"], "", unknown).map(Vec::as_slice),
    };
    let lists = take(&seen.lists_changed, &["/updates/lists_age_days"], "", unknown);
    let ran = take(&seen.unattended_ran, &["/updates/unattended_age_days"], "", unknown);
    let pending = take(&seen.security_pending, &["/updates/security_pending"], "", unknown);
    let age = |then: Option<&Timestamp>| {
        let (then, today) = (then?, today?);
        Some((day(*then) - today).get_days()).map(|days| i64::from(-days))
    };
    Some(UpdateFacts {
        security_source: sources.map(|sources| {
            let named = |one: &PackageSource| one.suite.contains("-security") || one.suite.ends_with("/updates");
            sources.iter().any(|one| named(one) || one.uri.contains("security."))
        }),
        unsigned_sources: sources.map(|sources| {
            sources.iter().filter(|one| one.unsigned).map(|one| format!("{} {}", one.uri, one.suite)).collect()
        }),
        automatic: packages.zip(periodic).zip(enabled).zip(masked).map(|(((packages, periodic), enabled), masked)| {
            let has = |units: &[String], name| units.iter().any(|unit| unit == name);
            let on = |name: &str| periodic.get(name).is_some_and(|value| !matches!(value.as_str(), "0" | "" | "false"));
            let at_all = !periodic.contains_key("apt::periodic::enable") || on("apt::periodic::enable");
            at_all
                && packages.versions.contains_key("unattended-upgrades")
                && on("apt::periodic::unattended-upgrade")
                && has(enabled, "apt-daily-upgrade.timer")
                && !has(masked, "apt-daily-upgrade.service")
        }),
        lists_age_days: age(lists),
        unattended_age_days: age(ran),
        security_pending: pending.map(|pending| pending.iter().map(|one| one.name.clone()).collect()),
        held: packages.map(|packages| packages.held.clone()),
        broken: packages.map(|packages| packages.broken.clone()),
        installed: packages.map(|packages| packages.installed),
        inventory: packages.map(|packages| packages.digest.clone()),
    })
}

fn day(at: Timestamp) -> Date {
    at.to_zoned(jiff::tz::TimeZone::UTC).date()
}

/// Today, if the clock is believed.
pub(super) fn days_believed(at: &Seen, facts: &[&str], unknown: &mut Unknown) -> Option<Date> {
    if let Some(reason) = at.distrust {
        for fact in facts {
            unknown.because(format!("/updates/{fact}"), reason);
        }
        return None;
    }
    Some(day(at.at))
}

/// Compares two versions as dpkg(1) does (deb-version(7)).
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (a_epoch, a_rest) = epoch(a);
    let (b_epoch, b_rest) = epoch(b);
    let (a_upstream, a_revision) = a_rest.rsplit_once('-').unwrap_or((a_rest, ""));
    let (b_upstream, b_revision) = b_rest.rsplit_once('-').unwrap_or((b_rest, ""));
    a_epoch
        .cmp(&b_epoch)
        .then_with(|| compare_part(a_upstream.as_bytes(), b_upstream.as_bytes()))
        .then_with(|| compare_part(a_revision.as_bytes(), b_revision.as_bytes()))
}

fn epoch(version: &str) -> (u64, &str) {
    match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    }
}

/// Letters before other signs, `~` before everything and the end; digits as numbers.
fn compare_part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let rank = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        Some(byte) if byte.is_ascii_digit() => 0,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte) + 256,
    };
    while !a.is_empty() || !b.is_empty() {
        while a.first().is_some_and(|byte| !byte.is_ascii_digit())
            || b.first().is_some_and(|byte| !byte.is_ascii_digit())
        {
            let order = rank(a.first()).cmp(&rank(b.first()));
            if order != Ordering::Equal {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (a_digits, a_rest) = digits(a);
        let (b_digits, b_rest) = digits(b);
        let order = a_digits.len().cmp(&b_digits.len()).then_with(|| a_digits.cmp(b_digits));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

/// The digits at the start without leading zeros, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let start = digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
    (&digits[start..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_dpkg_does() {
        let rising = [
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0-1+deb12u10",
            "1.0-2~bpo12+1",
            "1.0-2",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.2-1",
            "1.10-1",
            "1:0.1-1",
        ];
        for (index, a) in rising.iter().enumerate() {
            for (other, b) in rising.iter().enumerate() {
                assert_eq!(compare_versions(a, b), index.cmp(&other), "{a} {b}");
            }
        }
        assert_eq!(compare_versions("1.00", "1.0"), Ordering::Equal);
        assert_eq!(compare_versions("", ""), Ordering::Equal);
    }

    #[test]
    fn ages_are_counted_from_the_day_of_the_look() {
        let failed = || crate::look::Failure::new(crate::look::FailureKind::NotFound, "none");
        let updates = Updates {
            packages: Look::Failed(failed()),
            sources: Look::Seen(vec![]),
            periodic: Look::Seen(BTreeMap::new()),
            lists_changed: Look::Seen("2026-08-01T23:00:00Z".parse().unwrap()),
            unattended_ran: Look::Failed(failed()),
            security_pending: Look::Seen(vec![]),
        };
        let at = |day: &str, distrust| Seen { at: format!("{day}T10:00:00Z").parse().unwrap(), distrust };
        let mut unknown = Unknown::default();
        let enabled = Some(Look::Seen(vec![]));
        let timers = Timers { enabled: &enabled, masked: &None };
        let seen = facts(&Some(updates.clone()), timers, &at("2026-09-01", None), &mut unknown).unwrap();
        assert_eq!((seen.lists_age_days, seen.unattended_age_days), (Some(31), None));
        assert_eq!((seen.security_source, seen.automatic), (Some(false), None));
        let seen = facts(&Some(updates), timers, &at("1970-01-02", Some("no clock")), &mut unknown).unwrap();
        assert_eq!(seen.lists_age_days, None);
        assert_eq!(unknown.reason("/updates/lists_age_days"), Some("no clock"));
    }
}
