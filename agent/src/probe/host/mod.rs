//! The parts of the look at a host: one file per thing that is looked at.
//!
//! Everything is read below a [`root::Root`], so that a snapshot of a gateway is read by the same code as a live one.
//! Every file is text that others wrote: what is read and what is kept of it are bounded, and what can not be read or
//! understood is a failed look that says so.

pub mod root;

#[cfg(test)]
pub mod tests {
    //! What the tests of several probes share.

    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use crate::config::{Broker, Config, Devices, Gateway, Host, Schedule, State};

    /// A configuration that names nothing but the host's root.
    pub fn config(root: &Path) -> Config {
        Config {
            gateway: Gateway { name: "gw".into(), labels: BTreeMap::new() },
            state: State { directory: "/nowhere".into(), max_age: Duration::ZERO, max_bytes: 0 },
            broker: Broker::default(),
            ingest: None,
            service: None,
            devices: Devices::default(),
            host: Host { allowed_ports: vec![], root: root.to_owned() },
            sink: None,
            schedule: Schedule { every: Duration::ZERO, jitter: Duration::ZERO, bundle: String::new() },
        }
    }
}
