//! Stapled OCSP answers (RFC 6960, RFC 6066 section 8), made by `openssl ocsp` and sent by nginx: one that holds
//! finds nothing, and each defect alone makes its own finding of `broker_certificate_identity`, and that of `ingest_auth`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::{Agent, run};
use gatepost_tests::clock::Clock;
use gatepost_tests::pki::{Identity, Pki};
use gatepost_tests::port::Port;
use gatepost_tests::process::{LIMIT, command, installed};
use gatepost_tests::webserver;

fn openssl() -> Result<Command> {
    Ok(command(&installed("openssl", "openssl")?))
}

/// An authority as a responder, and what it answers about.
struct Answer<'a> {
    authority: &'a Pki,
    about: &'a Identity,
    revoked: bool,
    /// The responder's clock, where it is not the right one.
    clock: Option<&'a Clock>,
}

impl Answer<'_> {
    /// The answer in a file of `folder`, good for two days.
    fn make(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let Self { authority, about, .. } = self;
        let mut serial = openssl()?;
        serial.args(["x509", "-noout", "-serial", "-in"]).arg(&about.certificate);
        let serial = run(serial, LIMIT)?.expect_code(0)?.stdout;
        let serial = serial.trim().strip_prefix("serial=").context("no serial number")?.to_owned();
        let (state, since) = if self.revoked { ("R", "260101000000Z") } else { ("V", "") };
        let index = folder.join(format!("{name}.txt"));
        fs::write(&index, format!("{state}\t491231235959Z\t{since}\t{serial}\tunknown\t/CN=localhost\n"))?;
        let file = folder.join(format!("{name}.der"));
        let mut answer = openssl()?;
        answer.args(["ocsp", "-noverify", "-ndays", "2", "-index"]).arg(index);
        for option in ["-CA", "-issuer", "-rsigner"] {
            answer.arg(option).arg(&authority.ca);
        }
        answer.arg("-rkey").arg(&authority.ca_key).arg("-cert").arg(&about.certificate).arg("-respout").arg(&file);
        answer.envs(self.clock.map(Clock::variables).unwrap_or_default());
        run(answer, LIMIT)?.expect_code(0)?;
        Ok(file)
    }
}

/// What is found of the certificate of a broker, and of an ingest edge, that staples the contents of `file`.
fn findings(folder: &Path, pki: &Pki, file: &Path) -> Result<BTreeSet<String>> {
    let port = Port::reserve()?;
    let configuration = format!(
        "server {{ listen {} ssl; ssl_certificate {}; ssl_certificate_key {}; ssl_stapling on; ssl_stapling_file {}; }}",
        port.address(),
        pki.broker.certificate.display(),
        pki.broker.key.display(),
        file.display()
    );
    let _server = webserver::nginx(folder, &configuration, &[&port])?;
    let text = format!(
        "[state]\ndirectory = {:?}\n\n[broker]\nserver_name = \"localhost\"\ntls = [\"{address}\"]\nca_file = {:?}\n\n\
         [ingest]\nurl = \"https://{address}/events\"\nca_file = {:?}\n",
        folder.join("state"),
        pki.ca,
        pki.ca,
        address = port.address(),
    );
    let agent = Agent::configured(&folder.join("gatepost.toml"), &text)?;
    let report = agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
    let rows = report["findings"].as_array().into_iter().flatten();
    let keys = rows.filter_map(|row| row["key"].as_str());
    let of_certificates = keys
        .filter(|key| key.starts_with("broker_certificate_identity.") || key.starts_with("ingest_auth.certificate_"));
    Ok(of_certificates.map(str::to_owned).collect())
}

const REVOKED: [&str; 2] =
    ["broker_certificate_identity.stapled_revocation", "ingest_auth.certificate_revoked_by_staple"];
const UNUSABLE: [&str; 2] = ["broker_certificate_identity.staple_unusable", "ingest_auth.certificate_staple_unusable"];

#[test]
fn an_answer_that_holds_finds_nothing_and_each_defect_its_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let own = Pki::create(&folder.path().join("own"))?;
    let foreign = Pki::create(&folder.path().join("foreign"))?;
    fs::create_dir(folder.path().join("clock"))?;
    let last_week = Clock::off_by(&folder.path().join("clock"), -7 * 86_400)?;
    let good = Answer { authority: &own, about: &own.broker, revoked: false, clock: None };
    for (name, answer, expected) in [
        ("good", Answer { ..good }, &[][..]),
        ("revoked", Answer { revoked: true, ..good }, &REVOKED),
        ("overdue", Answer { clock: Some(&last_week), ..good }, &UNUSABLE),
        ("of-another", Answer { about: &own.gateway, ..good }, &UNUSABLE),
        ("by-another", Answer { authority: &foreign, ..good }, &UNUSABLE),
    ] {
        let file = answer.make(folder.path(), name)?;
        let found = findings(folder.path(), &own, &file).context(name)?;
        assert_eq!(found, expected.iter().map(|key| (*key).to_owned()).collect(), "{name}");
    }
    Ok(())
}
