//! `cargo xtask bench`: build optimised, then let `gatepost-bench` measure on the lab.

use crate::machine::{self, CC, LIBC, LYNIS, MBEDTLS, MOSQUITTO, OPENSSL, SSH_AUDIT, SSHD, SSLSCAN, TESTSSL};
use crate::step::{self, Failed, cargo};

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    machine::provide(&[&MOSQUITTO, &OPENSSL, &SSLSCAN, &TESTSSL, &LYNIS, &SSH_AUDIT, &SSHD, &CC, &LIBC, &MBEDTLS])?;
    machine::provide_venv()?;
    step::run("build, optimised", cargo(["build", "--quiet", "--release", "--workspace"]))?;
    let release = step::binaries().with_file_name("release");
    let mut command = step::program(release.join("gatepost-bench"), arguments);
    command.env("GATEPOST_BIN_DIR", &release);
    step::run("measurements", command)
}
