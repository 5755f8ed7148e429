//! What time it is, and how far that can be believed: the only place of the agent that asks the clock for evidence.

use std::path::Path;
use std::time::Duration;

use gatepost_evidence::run::Clock;
use jiff::Timestamp;

use crate::probe::link_posture::clock_synchronised;

/// Now, in whole milliseconds: evidence needs no more, and canonical JSON stays short.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now)
}

/// How far the clock of the machine below `root` can be believed; `sink_time` is the last time heard from the sink.
#[must_use]
pub fn trust(root: &Path, sink_time: Option<Timestamp>) -> Clock {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    let (synchronised, source) = clock_synchronised(root);
    Clock {
        boot_id: read("proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()),
        uptime_ms: read("proc/uptime").and_then(|text| uptime_ms(&text)).unwrap_or(0),
        synchronised: synchronised.seen().copied(),
        source,
        sink_time,
    }
}

/// The first number of `/proc/uptime` (proc(5)), seconds with two decimals.
fn uptime_ms(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    let uptime =
        Duration::from_secs(seconds.parse().ok()?) + Duration::from_millis(10 * hundredths.parse::<u64>().ok()?);
    u64::try_from(uptime.as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_read_in_milliseconds() {
        assert_eq!(uptime_ms("350735.47 234388.90\n"), Some(350_735_470));
        assert_eq!(uptime_ms("garbage"), None);
    }

    #[test]
    fn a_machine_that_says_nothing_is_not_believed_to_be_synchronised() {
        let root = tempfile::tempdir().unwrap();
        let clock = trust(root.path(), None);
        assert_eq!((clock.boot_id, clock.uptime_ms, clock.synchronised), (None, 0, None));
    }
}
