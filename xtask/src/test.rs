//! `cargo xtask test`: everything that has to hold, cheapest first.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{
    self, BUSYBOX, CC, CXX, DNSMASQ, DOCKER, FAKETIME, HAPROXY, IPROUTE2, LIBC, MBEDTLS, MICROSOCKS, MMDEBSTRAP,
    MOSQUITTO, MOSQUITTO_CLIENTS, NATS, NFTABLES, NGINX, NSPAWN, OPENSSL, PATCHELF, RABBITMQ, SSHD, SSLSCAN, TINYPROXY,
};
use crate::step::{self, Failed, cargo};
use crate::{agreement, fuzz};

/// What `--full` adds: too long for every change, meant for a night or a release.
struct Long {
    title: &'static str,
    /// How long it takes on two cores, and what more it does than the usual tests.
    what: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

/// Tests that are about a broker, which is a Mosquitto.
const WITH_A_BROKER: &[&str] = &[
    "test",
    "-p",
    "gatepost-tests",
    "--test",
    "brokers",
    "--test",
    "weaknesses",
    "--test",
    "weak_mqtt",
    "--test",
    "weak_acl",
    "--test",
    "weak_clients",
    "--test",
    "weak_config",
    "--test",
    "weak_certificate_files",
    "--test",
    "weak_ingest",
    "--test",
    "stapled",
    "--test",
    "telemetry",
    "--test",
    "wire",
    "--test",
    "story",
    "--test",
    "lab",
];

/// In this order.
const FULL: &[Long] = &[
    Long {
        title: "conservation, 5,000 seeds",
        what: "about an hour: the flagship test (tests/tests/conservation.rs) with 5,000 schedules instead of 200",
        arguments: &["test", "--release", "-p", "gatepost-tests", "--test", "conservation", "--", "--nocapture"],
        variables: &[("GATEPOST_SEEDS", "5000")],
    },
    Long {
        title: "Debian 13",
        what: "five minutes: a system container of Debian 13 is read like one of Debian 12 (tests/tests/system_container.rs)",
        arguments: &["test", "-p", "gatepost-tests", "--test", "system_container", "--", "--ignored"],
        variables: &[],
    },
    Long {
        title: "every word of Mosquitto 2.0.11",
        what: "two minutes: each word of the broker's program, in every place, is taken as we say (tests/tests/config_mosquitto.rs)",
        arguments: &["test", "-p", "gatepost-tests", "--test", "config_mosquitto", "--", "--ignored"],
        variables: &[],
    },
    Long {
        title: "every word of Mosquitto 2.0.21, of Debian 13",
        what: "two minutes: the same, and its configurations",
        arguments: &["test", "-p", "gatepost-tests", "--test", "config_mosquitto", "--", "--include-ignored"],
        variables: &[("GATEPOST_MOSQUITTO", "trixie")],
    },
    Long {
        title: "every word of Mosquitto 2.1, of Debian's testing",
        what: "two minutes: the same, and its configurations",
        arguments: &["test", "-p", "gatepost-tests", "--test", "config_mosquitto", "--", "--include-ignored"],
        variables: &[("GATEPOST_MOSQUITTO", "forky")],
    },
    Long {
        title: "Mosquitto 2.1",
        what: "three minutes: the tests that are about a broker, with one of 2.1",
        arguments: WITH_A_BROKER,
        variables: &[("GATEPOST_MOSQUITTO", "forky")],
    },
    Long {
        title: "Docker",
        what: "a minute: Docker's own daemon, and what the agent sees of it (tests/tests/docker.rs)",
        arguments: &["test", "-p", "gatepost-tests", "--test", "docker", "--", "--ignored"],
        variables: &[],
    },
    Long {
        title: "RabbitMQ",
        what: "a minute: what the probe of the broker sees of one that is slow to start (tests/tests/brokers.rs)",
        arguments: &["test", "-p", "gatepost-tests", "--test", "brokers", "--", "--ignored"],
        variables: &[],
    },
];

/// Tests that make namespaces and boot a system of their own, which takes root and a kernel that lets it.
const IN_NAMESPACES: &[&str] = &[
    "a_hardened_system_has_no_findings_and_each_weakening_alone_its_own",
    "the_unit_of_the_gateways_service_is_asked_of_systemd",
    "the_service_sees_what_its_unit_lets_it_and_says_what_it_needs_for_the_rest",
    "with_two_uplinks_the_second_one_carries_what_the_first_one_cannot",
    "another_authority_than_the_last_time_is_told_once_and_another_key_than_the_pinned_one_always",
    "an_outage_is_remembered_and_measured",
    "a_name_server_of_the_link_itself_is_asked",
    "a_sound_link_gives_no_finding_and_each_weakness_exactly_its_own",
    "a_peer_that_is_slow_or_speaks_something_else_is_told",
];

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    let full = match arguments.first().map(String::as_str) {
        None => false,
        Some("--full") if arguments.len() == 1 => true,
        Some("--help" | "-h") => {
            println!("cargo xtask test [--full]\n\nEverything that has to hold. --full adds:\n");
            FULL.iter().for_each(|long| println!("  {}\n      {}", long.title, long.what));
            println!("  fuzzing\n      more than half an hour: each target of `cargo xtask fuzz` for a minute");
            println!(
                "  agreement\n      ten minutes: the survey of TLS beside three other scanners, on 38 servers, certificates beside badkeys and openssl verify, and hosts beside lynis and ssh-audit"
            );
            return Ok(());
        }
        Some(other) => return Err(Failed::CouldNot(format!("test takes no {other:?}, only --full"))),
    };
    machine::provide(&[&CC, &LIBC, &MBEDTLS])?;
    machine::provide(&[&CXX, &MOSQUITTO, &MOSQUITTO_CLIENTS, &OPENSSL, &FAKETIME, &SSLSCAN, &TINYPROXY, &MICROSOCKS])?;
    machine::provide(&[&NGINX, &HAPROXY, &NATS, &SSHD, &IPROUTE2, &NFTABLES, &DNSMASQ, &NSPAWN, &MMDEBSTRAP])?;
    if full {
        machine::provide(&[&RABBITMQ, &PATCHELF, &DOCKER, &BUSYBOX])?;
    }
    machine::provide_venv()?;
    step::run("format", cargo(["fmt", "--all", "--check"]))?;
    step::run("lints", cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    fuzz::check()?;
    step::run("build", cargo(["build", "--quiet", "--workspace"]))?;
    let namespaces = may_make_namespaces();
    step::run("tests", tests(namespaces))?;
    step::run("rule vectors", step::program(step::binaries().join("gatepost"), ["rules", "test"]))?;
    dependencies()?;
    if full {
        // A debug agent spends most of its time on loading the rule pack, 100,000 times over.
        let programs = ["build", "--release", "-p", "gatepost", "-p", "gatepost-sink"];
        step::run("build optimised", cargo(programs))?;
    }
    for long in FULL.iter().filter(|_| full) {
        let mut command = cargo(long.arguments.iter().copied());
        command.envs(long.variables.iter().copied());
        step::run(long.title, command)?;
    }
    if full {
        fuzz::all_for_a_minute()?;
        agreement::compare(false)?;
    }
    if namespaces {
        println!("\neverything holds");
    } else {
        println!(
            "\neverything that was run holds; NOT RUN, for want of root or of namespaces: {}",
            IN_NAMESPACES.join(", ")
        );
    }
    Ok(())
}

/// Schema drift and golden vectors are tests of the evidence crate and of `tests`.
fn tests(namespaces: bool) -> Command {
    let mut tests = cargo(["test", "--workspace"]);
    if !namespaces {
        println!("==> no namespaces can be made here (it takes root): the tests that need them are NOT RUN");
        tests.arg("--").args(IN_NAMESPACES.iter().flat_map(|test| ["--skip", *test]));
    }
    tests
}

/// Whether this user, on this kernel, may do what the network namespaces and the system container of the tests need.
fn may_make_namespaces() -> bool {
    let tried =
        Command::new("unshare").args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}

/// Licences, bans and sources need no network once the crates are fetched; advisories need a database that is not fetched.
fn dependencies() -> Result<(), Failed> {
    let tools = step::binaries().with_file_name("tools");
    let own = tools.join("bin/cargo-deny");
    let runs =
        |program: &Path| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let deny = if runs(Path::new("cargo-deny")) { PathBuf::from("cargo-deny") } else { own };
    if !runs(&deny) {
        println!("==> cargo-deny is missing: it reads the dependencies' licences (built once, some minutes)");
        let mut install = cargo(["install", "--quiet", "--locked", "cargo-deny", "--root"]);
        install.arg(&tools);
        step::run("cargo install cargo-deny", install)?;
    }
    step::run("fetch the crates of every platform", cargo(["fetch", "--quiet", "--locked"]))?;
    let check = |what: &[&str]| step::program(&deny, ["--offline", "--log-level", "error", "check"].iter().chain(what));
    step::run("licences, bans, sources", check(&["licenses", "bans", "sources"]))?;
    if advisories_at_hand() {
        return step::run("advisories", check(&["advisories"]));
    }
    println!("==> advisories: SKIPPED, there is no advisory database on this machine and none is fetched");
    Ok(())
}

/// Whether cargo-deny has ever fetched the advisory database on this machine.
fn advisories_at_hand() -> bool {
    let Some(home) = std::env::var_os("HOME") else { return false };
    let folders = std::fs::read_dir(Path::new(&home).join(".cargo/advisory-dbs"));
    folders.into_iter().flatten().flatten().any(|entry| entry.path().join(".git").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_that_may_be_left_out_exists() {
        let folder = step::root().join("tests/tests");
        let text: String = ["weak_host.rs", "system_container.rs", "link.rs", "weak_link.rs"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(folder.join(file)).ok())
            .collect();
        for test in IN_NAMESPACES {
            assert!(text.contains(&format!("fn {test}(")), "{test}");
        }
    }
}
