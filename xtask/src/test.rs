//! `cargo xtask test`: everything that has to hold, cheapest first.

use std::process::Command;

use crate::machine::{self, MOSQUITTO, MOSQUITTO_CLIENTS, OPENSSL};
use crate::step::{self, Failed, cargo};

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    if let Some(other) = arguments.first() {
        return Err(Failed::CouldNot(format!("test takes no {other:?}")));
    }
    machine::provide(&[&MOSQUITTO, &MOSQUITTO_CLIENTS, &OPENSSL])?;
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

/// Licences, bans and sources need no network; advisories need a database that may not be there.
fn dependencies() -> Result<(), Failed> {
    let installed = Command::new("cargo-deny").arg("--version").output().is_ok_and(|output| output.status.success());
    if !installed {
        println!("==> dependencies: SKIPPED, cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    }
    step::run("licences, bans, sources", cargo(["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    let database =
        std::env::var_os("HOME").is_some_and(|home| std::path::Path::new(&home).join(".cargo/advisory-dbs").exists());
    if database {
        return step::run("advisories", cargo(["deny", "--offline", "check", "advisories"]));
    }
    println!("==> advisories: SKIPPED, there is no advisory database on this machine and none is fetched");
    Ok(())
}
