//! What the agent sees of Docker, on Docker's own daemon with a container that runs: each weakness alone, and the finding that it
//! makes. Files and sockets that Docker would make are in `weak_host`; this holds that it makes them so.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::agent::run;
use gatepost_tests::process::{built, command, installed};

const SCRIPT: &str = include_str!("../container/docker.sh");
const CONTAINER: &str = "--network none";
const NOTHING: &str = ":";

/// What is turned: arguments of the daemon and of the container, a command at the end; and what is found.
type Weakness = (&'static str, &'static str, &'static str, &'static [&'static str]);

const WEAK: [Weakness; 10] = [
    ("", "", NOTHING, &[]),
    ("", "--mount type=bind,source=/etc,target=/e,readonly", NOTHING, &[]),
    ("-H tcp://0.0.0.0:2375", "", NOTHING, &["docker_api_on_network"]),
    ("", "", "chmod 0666 /run/docker.sock", &["docker_socket_open"]),
    ("", "--cap-add SYS_ADMIN", NOTHING, &["container_privileged"]),
    ("--data-root /srv/docker", "--cap-add SYS_ADMIN", NOTHING, &["container_privileged"]),
    // The configuration is read when the daemon starts.
    ("--config-file /srv/daemon.json", "--cap-add SYS_ADMIN", NOTHING, &["container_privileged"]),
    ("", "--volume /:/host", NOTHING, &["container_mounts_host"]),
    ("", "--volume /var/run/docker.sock:/socket:ro", NOTHING, &["container_mounts_host"]),
    ("", "--pid host", NOTHING, &["container_sees_processes"]),
];

fn findings(folder: &Path, (daemon, container, end, _): Weakness) -> Result<Vec<String>> {
    let script = folder.join("docker.sh");
    std::fs::write(&script, SCRIPT)?;
    let configuration = folder.join("gatepost.toml");
    std::fs::write(&configuration, format!("[state]\ndirectory = {:?}\n", folder.join("agent")))?;
    let mut unshare = command(&installed("unshare", "util-linux")?);
    unshare.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "/bin/sh"]);
    unshare.arg(&script).arg(built("gatepost")?).arg(&configuration);
    unshare.args([daemon, &format!("{CONTAINER} {container}"), end]);
    let finished = run(unshare, Duration::from_secs(120))?;
    ensure!(matches!(finished.code, Some(0 | 1)), "{finished:?}");
    let report = finished.json()?;
    let rows = report["findings"].as_array().context("no findings")?.iter();
    let names = rows.filter_map(|row| row["key"].as_str()?.strip_prefix("host_guardrails."));
    let ours = names.filter(|name| name.starts_with("docker_") || name.starts_with("container_"));
    Ok(ours.map(str::to_owned).collect())
}

#[test]
#[ignore = "two minutes, with Docker's daemon: cargo xtask test --full"]
fn each_weakness_of_docker_makes_its_own_finding() -> Result<()> {
    for (program, package) in [("dockerd", "docker.io"), ("docker", "docker.io"), ("busybox", "busybox-static")] {
        installed(program, package)?;
    }
    for weak in WEAK {
        let folder = tempfile::tempdir()?;
        let found = findings(folder.path(), weak).with_context(|| format!("{weak:?}"))?;
        assert_eq!(found, weak.3, "{weak:?}");
    }
    Ok(())
}
