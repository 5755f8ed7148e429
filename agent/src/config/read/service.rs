//! `[service]`: where the gateway service keeps and shows its settings, and what the agent may look at there.

use gatepost_evidence::check::gateway_config_guardrails::{METRICS, POINTERS};

use super::values::web_address;
use crate::config::Service;
use crate::config::table::Table;

pub(super) fn service(mut table: Table<'_>) -> Option<Service> {
    let service = Service {
        configuration_file: table.path("configuration_file"),
        metrics_url: web_address(&mut table, "metrics_url", &["http", "https"]),
        health_url: web_address(&mut table, "health_url", &["http", "https"]),
        pointers: table.texts_of("pointers", POINTERS),
        metrics: table.texts_of("metrics", METRICS),
    };
    for (name, pointer) in &service.pointers {
        if !pointer.starts_with('/') {
            let message = format!("{name} is {pointer:?}; a JSON pointer starts with /, such as \"/security/auth\"");
            table.object("pointers", message);
        }
    }
    if !service.pointers.is_empty() && service.configuration_file.is_none() {
        table.object("pointers", "need `configuration_file` beside them");
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
    use super::super::tests::mistakes;

    #[test]
    fn guardrails_have_known_names() {
        let found = mistakes("[service]\nconfiguration_file = \"a\"\n[service.pointers]\nauth_enforce = \"/a\"\n");
        assert!(found[0].starts_with("4:service.pointers.auth_enforce: is not known; did you mean `auth_enforced`"));
    }
}
