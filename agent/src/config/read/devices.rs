//! `[devices]`: the devices that are expected, and how those that are challenged over MQTT are.

use std::time::Duration;

use gatepost_evidence::challenge::{MAX_ID, PREFIX, is_id, is_prefix};

use super::values::is_address;
use crate::config::table::Table;
use crate::config::{Challenge, Device, Devices};

/// The bounds of the time that a device has to answer a challenge: a run has to end.
const SHORTEST_ANSWER: Duration = Duration::from_secs(1);
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

pub(super) fn devices(mut table: Table<'_>) -> Devices {
    let mut expected: Vec<Device> = Vec::new();
    let (ca_file, registry) = (table.path("ca_file"), table.path("registry"));
    let crl_file = table.path("crl_file");
    let challenge = challenge(table.table("challenge"));
    for mut device in table.tables("device") {
        let id = device.string("id");
        let endpoint = device.string("endpoint");
        let challenged = device.flag("challenge");
        let contact_every = device.duration("contact_every");
        if endpoint.as_deref().is_some_and(|endpoint| !is_address(endpoint)) {
            device.object("endpoint", "is not host:port, such as \"192.168.7.21:8443\"");
        }
        match id {
            Some(id) if expected.iter().any(|device| device.id == id) => {
                device.object("id", format!("{id:?} stands here twice"));
            }
            Some(id) => {
                if endpoint.is_none() && registry.is_none() && !challenged {
                    let message = "has neither an `endpoint` nor a `devices.registry` to look in, nor is it challenged";
                    device.object("id", message);
                }
                if challenged && !is_id(&id) {
                    let message = format!(
                        "{id:?} cannot be challenged: that takes 1 to {MAX_ID} printable ASCII characters without space, /, + and #"
                    );
                    device.object("challenge", message);
                }
                expected.push(Device { id, endpoint, challenge: challenged, contact_every });
            }
            None => device.missing("id", "is needed"),
        }
        device.finish();
    }
    table.finish();
    Devices { ca_file, crl_file, registry, expected, challenge, gateway: None }
}

fn challenge(mut table: Table<'_>) -> Challenge {
    let default = Challenge::default();
    let prefix = table.string("prefix").unwrap_or(default.prefix);
    if !is_prefix(&prefix) {
        table.object("prefix", format!("{prefix:?} cannot begin a topic; such as \"{PREFIX}\" is expected"));
    }
    let timeout = table.duration("timeout").unwrap_or(default.timeout);
    if !(SHORTEST_ANSWER..=LONGEST_ANSWER).contains(&timeout) {
        let (least, most) = (SHORTEST_ANSWER.as_secs(), LONGEST_ANSWER.as_secs());
        table.object("timeout", format!("is not between {least}s and {most}s"));
    }
    table.finish();
    Challenge { prefix, timeout }
}
