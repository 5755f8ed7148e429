//! `cargo xtask test`: everything that has to hold, cheapest first.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{self, FAKETIME, MICROSOCKS, MOSQUITTO, MOSQUITTO_CLIENTS, OPENSSL, SSLSCAN, TINYPROXY};
use crate::step::{self, Failed, cargo};

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    if let Some(other) = arguments.first() {
        return Err(Failed::CouldNot(format!("test takes no {other:?}")));
    }
    machine::provide(&[&MOSQUITTO, &MOSQUITTO_CLIENTS, &OPENSSL, &FAKETIME, &SSLSCAN, &TINYPROXY, &MICROSOCKS])?;
    machine::provide_venv()?;
    step::run("format", cargo(["fmt", "--all", "--check"]))?;
    step::run("lints", cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    step::run("build", cargo(["build", "--quiet", "--workspace"]))?;
    // Schema drift and golden vectors are tests of the evidence crate and of `tests`.
    step::run("tests", cargo(["test", "--workspace"]))?;
    step::run("rule vectors", step::program(step::binaries().join("gatepost"), ["rules", "test"]))?;
    dependencies()?;
    println!("\neverything holds");
    Ok(())
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
