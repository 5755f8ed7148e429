//! `cargo xtask agreement`: the probe's survey of TLS beside three scanners on every server, and the facts of certificates
//! beside `openssl` and `badkeys`, and findings about hosts beside `lynis` and `ssh-audit`, written into `docs/agreement.md`.
//! Takes ten minutes or more, and the package index for `sslyze` and `badkeys`.

use crate::machine::{
    self, CC, LIBC, LYNIS, MBEDTLS, MMDEBSTRAP, MOSQUITTO, NSPAWN, OPENSSL, SSH_AUDIT, SSHD, SSLSCAN, TESTSSL,
};
use crate::step::{self, Failed, cargo};

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    if let Some(other) = arguments.first() {
        return Err(Failed::CouldNot(format!("agreement takes no {other:?}")));
    }
    compare(true)
}

/// Compares, and writes the document if `write` says so. Every disagreement without an explanation is a failure.
pub fn compare(write: bool) -> Result<(), Failed> {
    machine::provide(&[&MOSQUITTO, &OPENSSL, &SSLSCAN, &TESTSSL, &CC, &LIBC, &MBEDTLS])?;
    machine::provide(&[&NSPAWN, &MMDEBSTRAP, &LYNIS, &SSH_AUDIT, &SSHD])?;
    machine::provide_venv()?;
    step::run("build", cargo(["build", "--quiet", "--package", "gatepost"]))?;
    // Each leaves what stands behind its own section in the document, so in this order.
    for (title, test) in [
        ("agreement with other scanners", "agreement"),
        ("agreement about certificates", "agreement_certificates"),
        ("agreement about hosts", "agreement_host"),
    ] {
        let mut whole =
            cargo(["test", "--package", "gatepost-tests", "--test", test, "--", "--ignored", "--nocapture"]);
        if write {
            whole.env("GATEPOST_BLESS", "1");
        }
        step::run(title, whole)?;
    }
    Ok(())
}
