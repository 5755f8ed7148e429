//! `[service]`: where the gateway service keeps and shows its settings, and what the agent may look at there.

use std::path::PathBuf;
use std::time::Duration;

use gatepost_evidence::check::gateway_config_guardrails::{LOGS, METRICS, POINTERS};

use super::values::web_address;
use crate::config::Service;
use crate::config::table::Table;

/// The time between two looks at the counter of messages, and the longest that a look may wait for it.
const FLOW_WAIT: Duration = Duration::from_secs(3);
const LONGEST_FLOW_WAIT: Duration = Duration::from_secs(10);

pub(super) fn service(mut table: Table<'_>) -> Option<Service> {
    let service = Service {
        configuration_file: table.path("configuration_file"),
        configuration_url: web_address(&mut table, "configuration_url", &["http", "https"]),
        metrics_url: web_address(&mut table, "metrics_url", &["http", "https"]),
        health_url: web_address(&mut table, "health_url", &["http", "https"]),
        pointers: table.texts_of("pointers", POINTERS),
        metrics: table.texts_of("metrics", METRICS),
        log_file: table.path("log_file"),
        log: table.texts_of("log", LOGS),
        unit: table.string("unit"),
        // Not a file that must be there: it comes and goes with the service.
        pid_file: table.string("pid_file").map(PathBuf::from),
        flow_wait: table.duration("flow_wait").unwrap_or(FLOW_WAIT),
    };
    if service.flow_wait.is_zero() || service.flow_wait > LONGEST_FLOW_WAIT {
        table.object("flow_wait", format!("is not between 1s and {}s", LONGEST_FLOW_WAIT.as_secs()));
    }
    if service.pid_file.as_ref().is_some_and(|path| !path.is_absolute()) {
        table.object("pid_file", "is not an absolute path");
    }
    let named = |unit: &str| {
        unit.ends_with(".service") && unit.bytes().all(|c| c.is_ascii_alphanumeric() || b"@._-\\:".contains(&c))
    };
    if service.unit.as_deref().is_some_and(|unit| !named(unit) || unit.starts_with('-')) {
        table.object("unit", "is not the name of a service, such as \"gateway.service\"");
    }
    if service.configuration_file.is_some() && service.configuration_url.is_some() {
        table.object("configuration_url", "stands beside `configuration_file`; one of them says what is in effect");
    }
    if service.log.values().any(String::is_empty) {
        table.object("log", "has empty words, which every line has");
    }
    if service.log.is_empty() != service.log_file.is_none() {
        let (one, other) = if service.log.is_empty() { ("log_file", "log") } else { ("log", "log_file") };
        table.object(one, format!("needs `{other}` beside it"));
    }
    for (name, pointer) in &service.pointers {
        if !pointer.starts_with('/') {
            let message = format!("{name} is {pointer:?}; a JSON pointer starts with /, such as \"/security/auth\"");
            table.object("pointers", message);
        }
    }
    if !service.pointers.is_empty() && service.configuration_file.is_none() && service.configuration_url.is_none() {
        table.object("pointers", "need `configuration_file` or `configuration_url` beside them");
    }
    if !service.metrics.is_empty() && service.metrics_url.is_none() {
        table.object("metrics", "need `metrics_url` beside them");
    }
    let present = table.present();
    table.finish();
    present.then_some(service)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, read};

    #[test]
    fn what_a_service_shows_is_named_without_contradiction() {
        let good = "[service]\nconfiguration_url = \"http://127.0.0.1:1/c\"\nunit = \"gateway@1.service\"\npid_file = \"/run/g.pid\"\n\
                    log_file = \"l\"\nflow_wait = \"1s\"\n[service.pointers]\nretry_limit = \"/r\"\n[service.log]\n\
                    unsafe_defaults = \"unsafe\"\n[service.metrics]\n";
        assert_eq!(read(good).service.unwrap().flow_wait.as_secs(), 1);
        for (text, expected) in [
            (
                "configuration_file = \"a\"\nconfiguration_url = \"http://h/\"",
                "3:service.configuration_url: stands beside",
            ),
            ("unit = \"gateway\"", "2:service.unit: is not the name of a service"),
            ("unit = \"--all.service\"", "2:service.unit: is not the name of a service"),
            ("pid_file = \"g.pid\"", "2:service.pid_file: is not an absolute path"),
            ("flow_wait = \"1h\"", "2:service.flow_wait: is not between 1s and 10s"),
            ("log_file = \"l\"", "2:service.log_file: needs `log` beside it"),
        ] {
            let found = mistakes(&format!("[service]\n{text}\n"));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn guardrails_have_known_names() {
        let found = mistakes("[service]\nconfiguration_file = \"a\"\n[service.pointers]\nauth_enforce = \"/a\"\n");
        assert!(found[0].starts_with("4:service.pointers.auth_enforce: is not known; did you mean `auth_enforced`"));
    }
}
