//! A system container as the agent finds it: by its own unit, of another release of Debian, and with a service whose unit
//! systemd is asked for. What it finds when the container is weakened is in `weak_host`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use gatepost_tests::container::{Container, Setting};

/// What is unknown in a container of Debian 13 as its packages leave it: nothing was put in by itself yet, its login.defs sets no
/// UMASK, and there is no kernel of its own.
const UNKNOWN_IN_13: &[&str] = &["automatic_updates_stalled", "loose_umask", "newer_kernel_installed"];

#[test]
#[ignore = "makes a Debian 13, which takes minutes and the archive: cargo xtask test --full"]
fn debian_13_is_read_like_12() -> Result<()> {
    let [twelve, thirteen] = [Setting::AsInstalled, Setting::AsInstalled13].map(|setting| {
        let container = Container::boot(setting)?;
        container.audit()
    });
    let (twelve, thirteen) = (twelve?, thirteen?);
    // How far auditd gets in a container, which has no right to audit, is a matter of when it is looked at.
    let settled =
        |found: &[String]| -> Vec<String> { found.iter().filter(|key| !key.starts_with("unit_")).cloned().collect() };
    assert_eq!(settled(&thirteen.findings), settled(&twelve.findings));
    let unknown: Vec<_> = thirteen.unknown.keys().map(String::as_str).collect();
    assert_eq!(unknown, UNKNOWN_IN_13, "{:?}", thirteen.unknown);
    Ok(())
}

#[test]
fn the_unit_of_the_gateways_service_is_asked_of_systemd() -> Result<()> {
    let container = Container::boot(Setting::Hardened)?;
    let unit = |lines: &str| {
        format!("printf '[Service]\\n{lines}' > /run/systemd/system/weak.service; systemctl daemon-reload")
    };
    // The first start, and three more.
    let restarts = "Restart=always\\nRestartSec=0\\nExecStart=/bin/sh -c \"if [ -e /run/weak.3 ]; then exec sleep infinity; \
                    elif [ -e /run/weak.2 ]; then touch /run/weak.3; elif [ -e /run/weak.1 ]; then touch /run/weak.2; \
                    else touch /run/weak.1; fi\"\\n";
    for (apply, expected) in [
        (unit("ExecStart=/bin/sleep infinity\\n") + "; systemctl start weak", &[][..]),
        (unit("ExecStart=/bin/sleep infinity\\n"), &["gateway_config_guardrails.service_inactive"]),
        (
            unit(restarts) + "; systemctl start weak; until [ $(systemctl show -P NRestarts weak) -ge 3 ]; do :; done",
            &["gateway_config_guardrails.service_restarting"],
        ),
    ] {
        container.sh(&apply)?;
        let outcomes = container.audit_of_its_service("gateway_config_guardrails")?;
        container.sh("systemctl stop weak; rm /run/systemd/system/weak.service")?;
        let failed = outcomes.iter().filter(|(_, outcome)| *outcome == "fail");
        let failed: Vec<_> = failed.map(|(key, _)| format!("gateway_config_guardrails.{key}")).collect();
        assert_eq!(failed, expected, "{apply}: {outcomes:?}");
        let known = |key: &str| outcomes.get(key).is_some_and(|outcome| outcome == "pass" || outcome == "fail");
        assert!(known("service_inactive") && known("service_restarting"), "{apply}: {outcomes:?}");
    }
    Ok(())
}

/// What the agent lacks in its own unit, and what each says that it needs.
const NEEDS: &[(&str, &str)] = &[
    ("empty_password", "needs root or the group shadow"),
    ("etc_world_writable", "needs root"),
    ("firewall_accepts_by_default", "needs CAP_NET_ADMIN"),
    ("firewall_accepts_everything", "needs CAP_NET_ADMIN"),
    ("firewall_family_unfiltered", "needs CAP_NET_ADMIN"),
    ("firewall_forwards", "needs CAP_NET_ADMIN"),
    ("firewall_missing", "needs CAP_NET_ADMIN"),
    ("firewall_not_at_boot", "needs CAP_NET_ADMIN"),
    ("home_writable_by_others", "needs root"),
    ("listener_of_another_program[tcp/22@0.0.0.0]", "needs root, or CAP_SYS_PTRACE"),
    ("listener_of_another_program[tcp/22@::]", "needs root, or CAP_SYS_PTRACE"),
    ("listener_of_another_program[tcp/8883@0.0.0.0]", "needs root, or CAP_SYS_PTRACE"),
    ("listener_of_another_program[tcp/8883@::]", "needs root, or CAP_SYS_PTRACE"),
    ("private_key_readable", "needs root"),
    ("root_has_password", "needs root or the group shadow"),
    ("ssh_", "needs root, or read access to /etc/ssh"),
    ("sudo_without_password", "needs root"),
    ("trust_file", "needs root"),
    ("weak_password_hash", "needs root or the group shadow"),
];

#[test]
fn the_service_sees_what_its_unit_lets_it_and_says_what_it_needs_for_the_rest() -> Result<()> {
    let container = Container::boot(Setting::Hardened)?;
    let unit =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd").join(name));
    container.write("/etc/systemd/system/gatepost.service", &unit("gatepost.service")?, 0o644)?;
    // What it sees is asked here, not how patient it is beside all that a test machine does at the same time.
    let copies = format!("{}Nice=0\nCPUQuota=\n", container.copies_for_a_unit());
    container.write("/etc/systemd/system/gatepost.service.d/of-the-machine.conf", &copies, 0o644)?;
    container.write("/etc/sysusers.d/gatepost.conf", &unit("gatepost.sysusers")?, 0o644)?;
    container.sh(
        "systemd-sysusers; chgrp gatepost /etc/gatepost/gatepost.toml; chmod 0640 /etc/gatepost/gatepost.toml; \
         printf '[schedule]\\nbundle = \"host-hardening\"\\nevery = \"1h\"\\njitter = \"0s\"\\n' >> /etc/gatepost/gatepost.toml",
    )?;
    let fenced = container.first_run_of_the_service()?;
    assert_eq!(fenced.findings, [""; 0]);
    let needs =
        |key: &str| NEEDS.iter().find(|(known, _)| key == *known || (known.ends_with('_') && key.starts_with(known)));
    for (key, why) in &fenced.unknown {
        let (_, needs) = needs(key).unwrap_or_else(|| panic!("{key} is unknown: {why}"));
        assert!(why.contains(needs), "{key}: {why}");
    }
    for (key, _) in NEEDS {
        assert!(fenced.unknown.keys().any(|unknown| unknown.starts_with(key)), "{key} is known without what it needs");
    }
    container.sh("systemd-analyze --no-pager --threshold=20 security gatepost.service > /dev/null")?;

    // With the three capabilities beside it, it sees what root sees.
    container.write("/etc/systemd/system/gatepost.service.d/host.conf", &unit("gatepost-host.conf")?, 0o644)?;
    let whole = container.first_run_of_the_service()?;
    assert_eq!((whole.findings, whole.unknown), (vec![], BTreeMap::new()));
    Ok(())
}
