//! `cargo xtask demo`: build, then let `gatepost-demo` tell the story on the lab.

use crate::machine::{self, CC, LIBC, MBEDTLS, MOSQUITTO};
use crate::step::{self, Failed};

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    machine::provide(&[&MOSQUITTO, &CC, &LIBC, &MBEDTLS])?;
    step::run(
        "build agent, sink and lab (a few minutes the first time)",
        step::cargo(["build", "--quiet", "--workspace"]),
    )?;
    let mut command = step::program(step::binaries().join("gatepost-demo"), arguments);
    // Relative folders are the user's own.
    if let Ok(here) = std::env::current_dir() {
        command.current_dir(here);
    }
    step::run("the story", command)
}
