//! `disclosure_readiness`: can a weakness be reported and mended: `security.txt`, supported releases, an inventory of software.
//!
//! The facts name release lines and the day of the look; until when a line is supported stands in a dated table of the rule pack
//! (`tables.support_ends`, `tables.upstream_ends`), so that a verdict belongs to a pack and not to a version of this program.

pub mod security_txt;

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{SignedDuration, Span, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contract, Seen, Unknown};
use crate::id::Digest;
use crate::look::{Bytes, Look};
use security_txt::SecurityTxt;

/// The contract of this check.
pub struct Check;

/// The programs whose versions are recorded from the package database, beside the whole list's digest; a name that ends in `*`
/// stands for all that begin so.
pub const COMPONENTS: [&str; 8] =
    ["gatepost", "libssl1.1", "libssl3*", "mosquitto", "openssh-server", "openssl", "rpi-eeprom", "systemd"];

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// The domain where weaknesses are reported, as configured; null when none is.
    pub domain: Option<String>,
    /// The answer of its `/.well-known/security.txt`; null when no domain is configured.
    pub security_txt: Option<Look<Answer>>,
    /// The answer of its `/security.txt`, where files stood before RFC 9116; asked only where there is none at the first place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub security_txt_top: Option<Look<Answer>>,
    /// os-release(5): `ID`, `VERSION_ID`, `VERSION_CODENAME`, `PRETTY_NAME`.
    pub os_release: Look<BTreeMap<String, String>>,
    /// The kernel's release; null when it could not be told.
    pub kernel: Option<String>,
    /// The package database of dpkg(1).
    pub packages: Look<Packages>,
}

/// An answer over HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The URLs that were asked, each led to by a redirect of the one before; the last one answered.
    pub urls: Vec<String>,
    /// Its status.
    pub status: u16,
    /// Its `Content-Type`.
    pub content_type: Option<String>,
    /// The beginning of its body, at most 32 KiB; empty unless the status is 200.
    pub body: Bytes,
}

/// The packages that dpkg(1) calls installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// How many.
    pub installed: u64,
    /// SHA-256 of the lines `package TAB version TAB architecture LF` of all of them, sorted by bytes.
    pub digest: Digest,
    /// Versions of those of [`COMPONENTS`], by package.
    pub versions: BTreeMap<String, String>,
}

/// Facts about disclosure and support.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    /// The day of the look in UTC, `YYYY-MM-DD`; missing when the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_on: Option<String>,
    /// The day half a year later, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_a_year_on: Option<String>,
    /// `security.txt` of the declared domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_txt: Option<SecurityTxtFacts>,
    /// The operating system's release line, such as `debian 12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// By program: the release line it belongs to.
    pub components: BTreeMap<String, Component>,
    /// There is a package database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inventory: Option<bool>,
    /// How many packages are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<u64>,
    /// Digest of the list of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages_digest: Option<Digest>,
}

/// Facts about a `security.txt`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecurityTxtFacts {
    /// Something is there: the status is 200.
    pub present: bool,
    /// The status.
    pub status: u16,
    /// It came from another host than the one that was asked.
    pub elsewhere: bool,
    /// The URL that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// It stands at `/security.txt` alone, where readers look only after `/.well-known/security.txt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_top: Option<bool>,
    /// It has expired; missing when it is not there, does not say, or the clock is not believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expired: Option<bool>,
    /// It expires more than a year after the look; missing as above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_beyond_year: Option<bool>,
    /// When it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Ways to make contact, in the order of preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contacts: Option<Vec<String>>,
    /// What does not follow RFC 9116, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mistakes: Option<Vec<String>>,
    /// It says where it should be found, and that is not where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canonical_differs: Option<bool>,
    /// There is an OpenPGP cleartext signature around it; not verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<bool>,
    /// It names a disclosure policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<bool>,
    /// It names a key to encrypt reports with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<bool>,
    /// Languages that are preferred for reports; missing when it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Vec<String>>,
}

/// A program and its release line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// Its version.
    pub version: String,
    /// Its release line as its makers count, such as `kernel 6.12`.
    pub line: String,
    /// It was built by the distribution, which mends it for as long as the release is supported.
    pub of_distribution: bool,
}

impl Contract for Check {
    const CHECK: &'static str = "disclosure_readiness";
    const VERSION: u32 = 1;
    type Observation = Observation;
    type Facts = Facts;
    const VOLATILE: &'static [&'static str] = &["/looked_on", "/half_a_year_on"];

    fn normalise(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Facts {
        let day = seen.at.to_zoned(TimeZone::UTC).date();
        let later = day.checked_add(Span::new().days(183)).unwrap_or(Date::MAX);
        if let Some(why) = seen.distrust {
            unknown.because("/looked_on", why);
            unknown.because("/half_a_year_on", why);
        }
        let mut components = BTreeMap::new();
        let kernel = observation.kernel.as_deref();
        components.extend(kernel.and_then(kernel_line).map(|found| ("kernel".to_owned(), found)));
        let (mut inventory, mut packages) = (None, None);
        match &observation.packages {
            Look::Seen(found) => {
                inventory = Some(true);
                components.extend(found.versions.iter().filter_map(|(name, version)| package_line(name, version)));
                packages = Some(found);
            }
            Look::Failed(failure) if failure.kind == crate::look::FailureKind::NotFound => inventory = Some(false),
            Look::Failed(failure) => unknown.because("/inventory", failure),
        }
        Facts {
            looked_on: seen.clock_believed().then(|| day.to_string()),
            half_a_year_on: seen.clock_believed().then(|| later.to_string()),
            security_txt: security_txt(observation, seen, unknown),
            release: release(&observation.os_release, unknown),
            components,
            inventory,
            packages: packages.map(|found| found.installed),
            packages_digest: packages.map(|found| found.digest),
        }
    }
}

fn release(os: &Look<BTreeMap<String, String>>, unknown: &mut Unknown) -> Option<String> {
    match os {
        Look::Failed(failure) => {
            unknown.because("/release", failure);
            None
        }
        Look::Seen(keys) => {
            let found = keys.get("ID").zip(keys.get("VERSION_ID")).map(|(id, version)| format!("{id} {version}"));
            if found.is_none() {
                unknown.because("/release", "os-release names no release (testing and unstable have none)");
            }
            found
        }
    }
}

fn security_txt(observation: &Observation, seen: &Seen, unknown: &mut Unknown) -> Option<SecurityTxtFacts> {
    let first = match &observation.security_txt {
        None => {
            unknown.because("/security_txt", "no domain is declared; name it with domain under [disclosure]");
            return None;
        }
        Some(Look::Failed(failure)) => {
            unknown.because("/security_txt", failure);
            return None;
        }
        Some(Look::Seen(answer)) => answer,
    };
    let (answer, at_top) = match &observation.security_txt_top {
        Some(Look::Seen(top)) if first.status != 200 && top.status == 200 => (top, true),
        Some(Look::Failed(failure)) if first.status != 200 => {
            let status = first.status;
            unknown.because(
                "/security_txt",
                format!("status {status} at the first place, and at /security.txt {failure}"),
            );
            return None;
        }
        _ => (first, false),
    };
    let mut facts = SecurityTxtFacts {
        present: answer.status == 200,
        status: answer.status,
        elsewhere: answer.urls.first().map(|url| host(url)) != answer.urls.last().map(|url| host(url)),
        url: answer.urls.last().cloned(),
        at_top: None,
        expired: None,
        expires_beyond_year: None,
        expires: None,
        contacts: None,
        mistakes: None,
        canonical_differs: None,
        signed: None,
        policy: None,
        encryption: None,
        languages: None,
    };
    if !facts.present {
        unknown.because("/security_txt", format!("there is none: status {}", answer.status));
        return Some(facts);
    }
    let mut read = SecurityTxt::of(&answer.body.0);
    if let Some(words) = odd_type(answer.content_type.as_deref().unwrap_or_default()) {
        read.mistakes.insert(0, words);
    }
    facts.at_top = Some(at_top);
    facts.expires = read.expires.map(|at| at.to_string());
    match (read.expires, seen.distrust) {
        (_, Some(why)) => {
            unknown.because("/security_txt/expired", why);
            unknown.because("/security_txt/expires_beyond_year", why);
        }
        (Some(at), None) => {
            facts.expired = Some(at <= seen.at);
            // A leap year and the hours of a time zone are no matter.
            facts.expires_beyond_year = Some(at.duration_since(seen.at) > SignedDuration::from_hours(367 * 24));
        }
        (None, None) => {
            unknown.because("/security_txt/expired", "it does not say when");
            unknown.because("/security_txt/expires_beyond_year", "it does not say when it expires");
        }
    }
    facts.canonical_differs =
        Some(!read.canonical.is_empty() && !answer.urls.iter().any(|url| read.canonical.contains(url)));
    facts.signed = Some(read.signed);
    facts.policy = Some(!read.policies.is_empty());
    facts.encryption = Some(!read.encryption.is_empty());
    facts.languages = Some(read.languages).filter(|languages| !languages.is_empty());
    facts.contacts = Some(read.contacts);
    facts.mistakes = Some(read.mistakes);
    Some(facts)
}

/// What is wrong with a `Content-Type`, which is to be `text/plain` in UTF-8 (RFC 9116, section 3).
fn odd_type(content_type: &str) -> Option<String> {
    let lower = content_type.to_ascii_lowercase();
    let mut parts = lower.split(';').map(str::trim);
    if parts.next() != Some("text/plain") {
        return Some(format!("it is served as `{lower}`, not as text/plain"));
    }
    let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|charset| charset.trim_matches('"'));
    match charset {
        Some("utf-8") => None,
        Some(other) => Some(format!("it is served in `{other}`, not in UTF-8")),
        None => Some("it is served without charset=utf-8".to_owned()),
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// `6.12.34+deb13-arm64` is of line `kernel 6.12`, built by Debian; so are Raspberry Pi's with `+rpt-rpi`.
fn kernel_line(release: &str) -> Option<Component> {
    let mark = ["-amd64", "-arm64", "-armmp", "-686", "-16k", "-cloud", "+deb", "+rpt", "-rpi-", "-v8"];
    Some(Component {
        version: release.to_owned(),
        line: format!("kernel {}", first_two(release)?),
        of_distribution: mark.iter().any(|mark| release.contains(mark)),
    })
}

/// The line of a package's version. What Debian and its derivatives build is mended by them; packages of a program's own makers
/// bear their name in the revision.
fn package_line(package: &str, version: &str) -> Option<(String, Component)> {
    let name = if package.starts_with("libssl") { "openssl" } else { package };
    let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
    let (upstream, revision) = upstream.rsplit_once('-').unwrap_or((upstream, ""));
    let line = format!("{name} {}", first_two(upstream)?);
    let of_distribution = !revision.is_empty() && !revision.contains(name);
    Some((package.to_owned(), Component { version: version.to_owned(), line, of_distribution }))
}

/// The first two numbers of a version.
fn first_two(version: &str) -> Option<String> {
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|number| !number.is_empty());
    let first = numbers.next()?;
    if !version.starts_with(first) {
        return None;
    }
    let second = version.get(first.len()..)?.strip_prefix('.').and_then(|_| numbers.next());
    Some(second.map_or_else(|| first.to_owned(), |second| format!("{first}.{second}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::{Failure, FailureKind};

    fn observation(status: u16, content_type: &str, body: &str) -> Observation {
        let versions = [("mosquitto", "2.0.18-0mosquitto1~bookworm1"), ("libssl3", "3.0.17-1~deb12u2")];
        Observation {
            domain: Some("example.com".into()),
            security_txt: Some(Look::Seen(Answer {
                urls: vec!["https://example.com/.well-known/security.txt".into()],
                status,
                content_type: Some(content_type.into()),
                body: Bytes(body.into()),
            })),
            security_txt_top: None,
            os_release: Look::Seen(BTreeMap::from([
                ("ID".into(), "debian".into()),
                ("VERSION_ID".into(), "12".into()),
            ])),
            kernel: Some("6.12.34+rpt-rpi-2712".into()),
            packages: Look::Seen(Packages {
                installed: 2,
                digest: Digest::of(b"two"),
                versions: versions.map(|(name, version)| (name.into(), version.into())).into(),
            }),
        }
    }

    fn facts(observation: &Observation, distrust: Option<&'static str>) -> (Facts, Unknown) {
        let mut unknown = Unknown::default();
        let seen = Seen { at: "2026-11-22T10:00:00Z".parse().unwrap(), distrust };
        (Check::normalise(observation, &seen, &mut unknown), unknown)
    }

    const FILE: &str = "Contact: mailto:a@example.com\nExpires: 2026-12-01T00:00:00Z\n";

    #[test]
    fn lines_and_days_follow_from_what_was_seen() {
        let (facts, unknown) = facts(&observation(200, "text/plain; charset=utf-8", FILE), None);
        assert_eq!(facts.release.as_deref(), Some("debian 12"));
        assert_eq!(facts.looked_on.as_deref(), Some("2026-11-22"));
        assert_eq!(facts.half_a_year_on.as_deref(), Some("2027-05-24"));
        let line = |name: &str| (facts.components[name].line.as_str(), facts.components[name].of_distribution);
        assert_eq!(line("kernel"), ("kernel 6.12", true));
        assert_eq!(line("mosquitto"), ("mosquitto 2.0", false));
        assert_eq!(line("libssl3"), ("openssl 3.0", true));
        let file = facts.security_txt.unwrap();
        assert_eq!((file.expired, file.signed, file.mistakes), (Some(false), Some(false), Some(vec![])));
        assert_eq!(unknown, Unknown::default());
        assert!(!kernel_line("6.6.31").unwrap().of_distribution);
        assert_eq!(kernel_line("next-2026"), None);
    }

    #[test]
    fn a_clock_that_is_not_believed_says_nothing_of_dates() {
        let (facts, unknown) = facts(&observation(200, "text/plain; charset=utf-8", FILE), Some("clock: never set"));
        assert_eq!((facts.looked_on, facts.half_a_year_on), (None, None));
        assert_eq!(facts.security_txt.unwrap().expired, None);
        for pointer in ["/looked_on", "/half_a_year_on", "/security_txt/expired", "/security_txt/expires_beyond_year"] {
            assert_eq!(unknown.reason(pointer), Some("clock: never set"));
        }
    }

    #[test]
    fn what_could_not_be_seen_is_missing_with_its_reason() {
        let mut blind = observation(404, "text/html", "");
        let (found, unknown) = facts(&blind, None);
        assert!(!found.security_txt.unwrap().present);
        assert_eq!(unknown.reason("/security_txt/expired"), Some("there is none: status 404"));
        blind.security_txt = None;
        blind.packages = Look::Failed(Failure::new(FailureKind::Denied, "/var/lib/dpkg/status"));
        blind.os_release = Look::Seen(BTreeMap::from([("ID".into(), "debian".into())]));
        let (found, unknown) = facts(&blind, None);
        assert_eq!((found.security_txt, found.inventory, found.release), (None, None, None));
        assert!(unknown.reason("/inventory").unwrap().contains("denied"));
        assert!(unknown.reason("/security_txt/present").unwrap().contains("[disclosure]"));
        blind.packages = Look::Failed(Failure::new(FailureKind::NotFound, "/var/lib/dpkg/status"));
        assert_eq!(facts(&blind, None).0.inventory, Some(false));
    }

    #[test]
    fn the_old_place_counts_where_the_first_has_none() {
        let mut moved = observation(404, "text/html", "");
        let urls = vec!["https://example.com/security.txt".to_owned()];
        let top = |status| Answer {
            urls: urls.clone(),
            status,
            content_type: Some("text/plain; charset=\"UTF-8\"".into()),
            body: Bytes(FILE.into()),
        };
        moved.security_txt_top = Some(Look::Seen(top(200)));
        let file = facts(&moved, None).0.security_txt.unwrap();
        assert_eq!((file.present, file.at_top, file.mistakes), (true, Some(true), Some(vec![])));
        moved.security_txt_top = Some(Look::Seen(top(404)));
        assert!(!facts(&moved, None).0.security_txt.unwrap().present);
        moved.security_txt_top = Some(Look::Failed(Failure::new(FailureKind::TimedOut, "no answer")));
        let (found, unknown) = facts(&moved, None);
        assert_eq!(found.security_txt, None);
        assert!(unknown.reason("/security_txt/present").unwrap().contains("at /security.txt"));
        // A file that is there counts, whatever is said of the other place.
        let mut there = observation(200, "text/plain; charset=utf-8", FILE);
        there.security_txt_top = Some(Look::Seen(top(200)));
        assert_eq!(facts(&there, None).0.security_txt.unwrap().at_top, Some(false));
    }

    #[test]
    fn a_year_ahead_is_enough_and_more_is_told() {
        let far = |expires: &str| {
            let text = format!("Contact: mailto:a@example.com\nExpires: {expires}\n");
            facts(&observation(200, "text/plain; charset=utf-8", &text), None).0.security_txt.unwrap()
        };
        assert_eq!(far("2027-11-22T10:00:00Z").expires_beyond_year, Some(false));
        assert_eq!(far("2027-12-01T10:00:00Z").expires_beyond_year, Some(true));
        assert_eq!(far("tomorrow").expires_beyond_year, None);
    }

    #[test]
    fn it_is_plain_text_in_utf_8() {
        assert_eq!(odd_type("text/plain; charset=utf-8"), None);
        assert_eq!(odd_type("Text/Plain;charset=\"UTF-8\""), None);
        for (odd, words) in [
            ("text/html; charset=utf-8", "not as text/plain"),
            ("", "not as text/plain"),
            ("text/plain; charset=iso-8859-1", "not in UTF-8"),
            ("text/plain", "without charset"),
        ] {
            assert!(odd_type(odd).is_some_and(|told| told.contains(words)), "{odd}");
        }
    }

    #[test]
    fn where_it_came_from_is_told() {
        let mut moved = observation(200, "text/html", "Canonical: https://other.example/x\n");
        if let Some(Look::Seen(answer)) = &mut moved.security_txt {
            answer.urls.push("https://elsewhere.example/security.txt".into());
        }
        let file = facts(&moved, None).0.security_txt.unwrap();
        assert!(file.elsewhere && file.canonical_differs == Some(true));
        assert!(file.mistakes.unwrap()[0].contains("text/html"));
    }
}
