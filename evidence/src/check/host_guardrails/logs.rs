//! Logs and time: what is written down, where it goes, and what keeps the clock.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::take;
use crate::check::Unknown;
use crate::look::Look;

/// What was seen of logs and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logs {
    /// Running programs that log, keep time or audit, by name.
    pub programs: Look<Vec<String>>,
    /// Options of journald.conf(5), the last that is met.
    pub journal: Look<BTreeMap<String, String>>,
    /// `/var/log/journal` is there.
    pub journal_folder: Look<bool>,
    /// Where messages are sent to: lines of rsyslog and the like, and `URL=` of journal-upload.conf(5).
    pub remote: Look<Vec<String>>,
}

/// Facts about logs and time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogFacts {
    /// Programs that take messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub daemons: Option<Vec<String>>,
    /// Messages outlive a reboot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<bool>,
    /// A flood of messages is cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limited: Option<bool>,
    /// `SystemMaxUse=`, when it is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_limit: Option<String>,
    /// Messages are also sent to another machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<bool>,
    /// Events are recorded by the audit daemon, now or from the next boot on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audit: Option<bool>,
    /// Programs that keep the clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_services: Option<Vec<String>>,
}

/// Programs that take messages, by the name the kernel knows (15 characters).
pub const LOGGERS: &[&str] = &["systemd-journal", "rsyslogd", "syslog-ng", "syslogd", "metalog"];
/// Programs that keep the clock.
pub const CLOCKS: &[&str] = &["systemd-timesyn", "chronyd", "ntpd", "ntpsec", "openntpd"];
/// Programs that record events.
pub const AUDITORS: &[&str] = &["auditd"];

pub(super) fn facts(seen: &Option<Logs>, enabled: Option<&Vec<String>>, unknown: &mut Unknown) -> Option<LogFacts> {
    let seen = seen.as_ref()?;
    let programs = take(&seen.programs, &["/logs/daemons", "/logs/audit", "/logs/time_services"], "", unknown);
    let journal = take(&seen.journal, &["/logs/persistent", "/logs/rate_limited"], "", unknown);
    let folder = take(&seen.journal_folder, &["/logs/persistent"], "", unknown);
    let remote = take(&seen.remote, &["/logs/remote"], "root", unknown);
    let among = |known: &[&str]| {
        programs.map(|programs| {
            programs.iter().filter(|name| known.contains(&name.as_str())).map(|name| full(name)).collect::<Vec<_>>()
        })
    };
    let daemons = among(LOGGERS);
    let option = |name: &str| journal.and_then(|journal| journal.get(name)).map(String::as_str);
    let enabled_audit = enabled.is_some_and(|units| units.iter().any(|unit| unit == "auditd.service"));
    Some(LogFacts {
        // Another daemon that takes messages writes them to files.
        persistent: daemons.as_ref().zip(journal).zip(folder).map(|((daemons, _), folder)| {
            let files = daemons.iter().any(|name| name != "systemd-journald");
            let journal = match option("Storage") {
                Some("volatile" | "none") => false,
                Some("persistent") => true,
                _ => *folder,
            };
            files || journal
        }),
        rate_limited: journal.map(|_| {
            let off =
                |name| option(name).is_some_and(|value| value.trim_start_matches('0').trim_end_matches('s').is_empty());
            !off("RateLimitBurst") && !off("RateLimitIntervalSec")
        }),
        journal_limit: option("SystemMaxUse").map(str::to_owned),
        remote: remote.map(|remote| !remote.is_empty()),
        audit: among(AUDITORS).map(|running| !running.is_empty() || enabled_audit),
        time_services: among(CLOCKS),
        daemons,
    })
}

/// The whole name of what the kernel cuts to 15 characters.
fn full(name: &str) -> String {
    match name {
        "systemd-journal" => "systemd-journald",
        "systemd-timesyn" => "systemd-timesyncd",
        name => name,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(programs: &[&str], journal: &[(&str, &str)], folder: bool) -> LogFacts {
        let seen = Logs {
            programs: Look::Seen(programs.iter().map(|name| (*name).to_owned()).collect()),
            journal: Look::Seen(journal.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()),
            journal_folder: Look::Seen(folder),
            remote: Look::Seen(vec![]),
        };
        facts(&Some(seen), None, &mut Unknown::default()).unwrap()
    }

    #[test]
    fn what_outlives_a_reboot() {
        let journald = &["systemd-journal"][..];
        assert_eq!(of(journald, &[], true).persistent, Some(true));
        assert_eq!(of(journald, &[], false).persistent, Some(false));
        assert_eq!(of(journald, &[("Storage", "volatile")], true).persistent, Some(false));
        assert_eq!(of(&["systemd-journal", "rsyslogd"], &[("Storage", "volatile")], true).persistent, Some(true));
        assert_eq!(of(journald, &[("RateLimitBurst", "0")], true).rate_limited, Some(false));
        assert_eq!(of(journald, &[("RateLimitIntervalSec", "30s")], true).rate_limited, Some(true));
        let told = of(&["systemd-timesyn", "chronyd", "bash"], &[], true);
        assert_eq!(told.time_services.unwrap(), ["systemd-timesyncd", "chronyd"]);
        assert_eq!((told.daemons, told.audit), (Some(vec![]), Some(false)));
    }
}
