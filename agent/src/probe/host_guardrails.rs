//! Looks at the operating system below the configured root: files, `/proc` and `/sys`, and a few programs for what no file
//! knows (docs/decisions/0019-host-readers.md).
//!
//! Each part is its own look, so that one that needs a privilege the agent lacks does not hide the others.

use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::host_guardrails::{Check, Observation};
use gatepost_evidence::run::{Target, TargetKind};

use super::host::root::Root;
use super::host::{accounts, board, containers, firewall, kernel, logs, sockets, ssh, storage, system, units, updates};
use super::{Looking, Probe, blocking, observed};
use crate::config::Config;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(30),
    touches: "reads files of /etc, of dpkg, apt and Docker, tables and settings in /proc and /sys; asks mounted file systems how \
              full they are; runs nft or iptables-save where a packet filter is loaded, systemctl show, apt-helper where package \
              lists are packed, chronyc where chrony runs, and on a Raspberry Pi vcgencmd, each for at most 5 s",
    needs: "root for sudoers, home folders and Docker's containers; the group shadow for passwords; read access to \
            /etc/ssh/sshd_config.d; CAP_NET_ADMIN for the packet filter; CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH for the \
            names of other users' programs; the group video for vcgencmd",
    targets: |_| vec![Target::new(TargetKind::Host, "host")],
    look,
};

fn look(config: Arc<Config>, _: Target) -> Looking {
    Box::pin(blocking(move || observed(&see(&config))))
}

fn see(config: &Config) -> Observation {
    see_at(&Root::new(&config.host.root), config)
}

/// Services whose fences are told, beside those that the configuration names.
const WATCHED: [&str; 6] =
    ["mosquitto.service", "emqx.service", "nanomq.service", "nginx.service", "docker.service", "gatepost.service"];

/// The whole observation of the host below `root`.
#[must_use]
pub fn see_at(root: &Root, config: &Config) -> Observation {
    let sshd = ssh::sshd(root);
    let host_keys = sshd.as_ref().ok().map(|directives| ssh::host_keys(root, directives).into());
    let (updates, openssh) = updates::updates(root);
    let watched: Vec<_> = WATCHED.iter().map(|name| (*name).to_owned()).chain(config.host.units.clone()).collect();
    Observation {
        os_release: system::os_release(root).into(),
        kernel: system::kernel(root),
        sockets: sockets::sockets(root).into(),
        allowed_ports: config.host.allowed_ports.clone(),
        accounts: accounts::accounts(root).into(),
        empty_passwords: accounts::empty_passwords(root).into(),
        sysctls: system::sysctls(root),
        reboot_required: system::reboot_required(root),
        storage: storage::storage(root).into(),
        openssh: sshd.is_ok().then(|| openssh.into()),
        host_keys,
        sshd: sshd.into(),
        firewall: Some(firewall::firewall(root)),
        account_details: Some(accounts::details(root)),
        kernel_state: Some(kernel::kernel(root)),
        updates: Some(updates),
        media: Some(storage::media(root)),
        enabled_units: Some(units::enabled(root).into()),
        masked_units: Some(units::masked(root).into()),
        units: Some(units::units(root, &watched)),
        docker: Some(containers::docker(root)),
        logs: Some(logs::logs(root)),
        board: Some(board::board(root)),
        container: system::container(root),
        expected_programs: config.host.expected_programs.clone(),
    }
}

#[cfg(test)]
#[path = "host_guardrails_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "host_guardrails_findings.rs"]
mod findings;
