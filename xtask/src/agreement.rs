//! `cargo xtask agreement`: the probe's survey of TLS beside three scanners on every server, and the facts of certificates
//! beside `openssl` and `badkeys`, written into `docs/agreement.md`. Takes five minutes or more, and the package index for
//! `sslyze` and `badkeys`.

use crate::machine::{self, MOSQUITTO, OPENSSL, SSLSCAN, TESTSSL};
use crate::step::{self, Failed, cargo};

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    if let Some(other) = arguments.first() {
        return Err(Failed::CouldNot(format!("agreement takes no {other:?}")));
    }
    compare(true)
}

/// Compares, and writes the document if `write` says so. Every disagreement without an explanation is a failure.
pub fn compare(write: bool) -> Result<(), Failed> {
    machine::provide(&[&MOSQUITTO, &OPENSSL, &SSLSCAN, &TESTSSL])?;
    machine::provide_venv()?;
    step::run("build", cargo(["build", "--quiet", "--package", "gatepost"]))?;
    for (title, test) in
        [("agreement with other scanners", "agreement"), ("agreement about certificates", "agreement_certificates")]
    {
        let mut whole =
            cargo(["test", "--package", "gatepost-tests", "--test", test, "--", "--ignored", "--nocapture"]);
        if write {
            whole.env("GATEPOST_BLESS", "1");
        }
        step::run(title, whole)?;
    }
    Ok(())
}
