//! `[telemetry]`: canaries, and counting without payloads.

use std::time::Duration;

use super::values::{is_address, web_address};
use crate::config::Telemetry;
use crate::config::table::Table;

/// The most canaries of one QoS on one path: a look stays small beside what the gateway carries.
const MOST_CANARIES: u64 = 100;
/// The longest wait for them: a look must end, and who waits longer wants no canary but a monitor.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The longest that everybody's messages are counted in a run.
const LONGEST_PASSIVE: Duration = Duration::from_secs(60);
/// The most topic filters that are counted.
const MOST_TOPICS: usize = 8;

pub(super) fn telemetry(mut table: Table<'_>, default: Telemetry) -> Telemetry {
    let canaries = table.whole("canaries").unwrap_or(u64::from(default.canaries));
    if canaries > MOST_CANARIES {
        table
            .object("canaries", format!("is more than {MOST_CANARIES}, which tells no more and costs the broker more"));
    }
    let mut qos = table.wholes("qos").unwrap_or_else(|| default.qos.iter().copied().map(u64::from).collect());
    qos.sort_unstable();
    qos.dedup();
    if qos.is_empty() || qos.iter().any(|qos| *qos > 2) {
        table.object("qos", "is not a list of 0, 1 and 2; write canaries = 0 to publish none");
    }
    let wait = table.duration("wait").unwrap_or(default.wait);
    if wait.is_zero() || wait > LONGEST_WAIT {
        table.object("wait", format!("is not between 1s and {}s", LONGEST_WAIT.as_secs()));
    }
    let passive_time = table.duration("passive_time").unwrap_or(default.passive_time);
    if passive_time.is_zero() || passive_time > LONGEST_PASSIVE {
        table.object("passive_time", format!("is not between 1s and {}s", LONGEST_PASSIVE.as_secs()));
    }
    let telemetry = Telemetry {
        canaries: u32::try_from(canaries).unwrap_or(default.canaries),
        qos: qos.into_iter().filter_map(|qos| u8::try_from(qos).ok()).collect(),
        wait,
        bridged_url: web_address(&mut table, "bridged_url", &["mqtts", "mqtt"]),
        ingest_readback_url: web_address(&mut table, "ingest_readback_url", &["https", "http"]),
        passive: table.flag("passive"),
        passive_time,
        topics: table.strings("topics"),
    };
    let address = telemetry.bridged_url.as_deref().and_then(|url| url.split_once("://"));
    if address.is_some_and(|(_, address)| !is_address(address)) {
        table.object("bridged_url", "is not scheme://host:port and nothing else, such as \"mqtts://10.0.0.2:8883\"");
    }
    if telemetry.topics.len() > MOST_TOPICS || telemetry.topics.iter().any(|topic| !rumqttc::valid_filter(topic)) {
        table.object("topics", format!("are not at most {MOST_TOPICS} topic filters, such as [\"telemetry/#\"]"));
    }
    if telemetry.passive && telemetry.topics.is_empty() {
        table.object("passive", "needs `topics` beside it, such as [\"telemetry/#\"]");
    }
    table.finish();
    telemetry
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, read};

    #[test]
    fn canaries_are_bounded_and_counting_needs_topics() {
        let read = |text: &str| read(&format!("[telemetry]\n{text}\n")).telemetry;
        let all = read("qos = [2, 1, 1]\nwait = \"2s\"\npassive = true\ntopics = [\"telemetry/#\"]");
        assert_eq!((all.qos, all.wait.as_secs(), all.passive, all.canaries), (vec![1, 2], 2, true, 10));
        assert!(!read("").passive && read("canaries = 0").canaries == 0);
        for (text, expected) in [
            ("canaries = 101", "2:telemetry.canaries: is more than 100"),
            ("qos = [3]", "2:telemetry.qos: is not a list of 0, 1 and 2"),
            ("qos = \"1\"", "2:telemetry.qos: is string, a list of whole numbers"),
            ("wait = \"1h\"", "2:telemetry.wait: is not between 1s and 15s"),
            ("passive_time = \"2m\"", "2:telemetry.passive_time: is not between 1s and 60s"),
            ("passive = 1", "2:telemetry.passive: is integer, true or false is expected"),
            ("passive = true", "2:telemetry.passive: needs `topics` beside it"),
            ("topics = [\"a/#/b\"]", "2:telemetry.topics: are not at most 8 topic filters"),
            ("bridged_url = \"mqtts://10.0.0.2\"", "2:telemetry.bridged_url: is not scheme://host:port"),
            ("bridged_url = \"10.0.0.2:8883\"", "2:telemetry.bridged_url: is not a URL that starts with mqtts://"),
            ("ingest_readback_url = \"ftp://x\"", "2:telemetry.ingest_readback_url: is not a URL that starts"),
        ] {
            let found = mistakes(&format!("[telemetry]\n{text}\n"));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:#?}");
        }
    }
}
