//! Looks at the operating system below the configured root: files and `/proc` only, nothing asked of any service.
//!
//! Each part is its own look, so that one that needs a privilege the agent lacks does not hide the others.

use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::host_guardrails::{Check, Observation};
use gatepost_evidence::run::{Target, TargetKind};

use super::host::root::Root;
use super::host::{accounts, sockets, ssh, storage, system};
use super::{Looking, Probe, blocking, observed};
use crate::config::Config;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "reads os-release, sshd_config, passwd, shadow, tables and settings in /proc, and asks mounted file systems how full \
              they are",
    needs: "the group shadow for empty passwords; read access to /etc/ssh/sshd_config.d; CAP_SYS_PTRACE and \
            CAP_DAC_READ_SEARCH for the names of other users' programs",
    targets: |_| vec![Target::new(TargetKind::Host, "host")],
    look,
};

fn look(config: Arc<Config>, _: Target) -> Looking {
    Box::pin(blocking(move || observed(&see(&config))))
}

fn see(config: &Config) -> Observation {
    let root = Root::new(&config.host.root);
    Observation {
        os_release: system::os_release(&root).into(),
        kernel: system::kernel(&root),
        sshd: ssh::sshd(&root).into(),
        sockets: sockets::sockets(&root).into(),
        allowed_ports: config.host.allowed_ports.clone(),
        accounts: accounts::accounts(&root).into(),
        empty_passwords: accounts::empty_passwords(&root).into(),
        sysctls: system::sysctls(&root),
        reboot_required: system::reboot_required(&root),
        storage: storage::storage(&root).into(),
    }
}

#[cfg(test)]
#[path = "host_guardrails_tests.rs"]
mod tests;
