//! Running against configured, on a real Mosquitto: what the broker serves, what lies on disk, and what a reload makes of it.
//!
//! What Mosquitto 2.0 does on SIGHUP was tried, and is held to here: a renewed pair is served from then on; a certificate with
//! a key that is not its own leaves a listener that refuses every handshake; a certificate file that cannot be read leaves
//! everything as it was.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::Result;
use gatepost_tests::agent::Agent;
use gatepost_tests::pki::{self, Leaf, Pki};
use gatepost_tests::port::Port;
use gatepost_tests::process::{LIMIT, Program};
use nix::sys::signal::Signal;
use rcgen::ExtendedKeyUsagePurpose;

struct Site {
    pki: Pki,
    broker: Program,
    agent: Agent,
    reloads: usize,
}

impl Site {
    fn start(folder: &Path) -> Result<Self> {
        let pki = Pki::create(&folder.join("pki"))?;
        let port = Port::reserve()?;
        let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
        let configuration = folder.join("mosquitto.conf");
        let address = port.address();
        let text = format!(
            "log_dest stderr\nallow_anonymous false\n{user}listener {} {}\ncafile {}\ncertfile {}\nkeyfile {}\n\
             require_certificate true\nuse_identity_as_username true\n",
            address.port(),
            address.ip(),
            pki.ca.display(),
            pki.broker.certificate.display(),
            pki.broker.key.display(),
        );
        fs::write(&configuration, text)?;
        let arguments = ["-c".as_ref(), configuration.as_os_str()];
        let mut broker = Program::start(&gatepost_tests::mosquitto::broker()?, arguments)?;
        broker.wait_until("it runs", LIMIT, |lines| lines.iter().any(|line| line.ends_with(" running")))?;
        let state = folder.join("state");
        let text = format!(
            "[gateway]\nname = \"files\"\n\n[state]\ndirectory = {state:?}\n\n[broker]\nserver_name = \"localhost\"\n\
             tls = [\"{address}\"]\nca_file = {:?}\ncertificate_file = {:?}\nkey_file = {:?}\n",
            pki.ca, pki.broker.certificate, pki.broker.key,
        );
        let agent = Agent::configured(&folder.join("gatepost.toml"), &text)?;
        Ok(Self { pki, broker, agent, reloads: 0 })
    }

    /// Issues a new certificate with a new key in the place of those on disk.
    fn renew(&self) -> Result<()> {
        let leaf = Leaf {
            common_name: "localhost",
            names: &["localhost", "127.0.0.1"],
            usages: &[ExtendedKeyUsagePurpose::ServerAuth],
            from_day: -1,
            to_day: 200,
        };
        self.pki.issue("broker", &leaf).map(drop)
    }

    /// SIGHUP, and the broker has said that it heard it. It does everything in one thread, so what it was told is done before
    /// it takes the next connection.
    fn reload(&mut self) -> Result<()> {
        self.reloads += 1;
        let wanted = self.reloads;
        self.broker.signal(Signal::SIGHUP)?;
        self.broker.wait_until("it reloads", LIMIT, |lines| {
            lines.iter().filter(|line| line.contains("Reloading config")).count() == wanted
        })
    }

    /// The findings about the broker's certificate.
    fn findings(&self) -> Result<BTreeSet<String>> {
        let report = self.agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
        let rows = report["findings"].as_array().into_iter().flatten();
        let keys = rows.filter_map(|row| row["key"].as_str()?.strip_prefix("broker_certificate_identity."));
        Ok(keys.map(str::to_owned).collect())
    }

    fn expect(&self, when: &str, findings: &[&str]) -> Result<()> {
        let expected: BTreeSet<String> = findings.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(self.findings()?, expected, "{when}\n{}", self.broker.log());
        Ok(())
    }
}

#[test]
fn a_renewal_is_told_until_it_is_loaded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut site = Site::start(folder.path())?;
    site.expect("at the start", &[])?;
    site.renew()?;
    site.expect("renewed and not loaded", &["served_differs_from_file"])?;
    site.reload()?;
    site.expect("renewed and loaded", &[])
}

#[test]
fn a_reload_that_did_not_take_is_told_by_what_it_left_behind() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut site = Site::start(folder.path())?;
    let key = site.pki.broker.key.clone();
    let own = fs::read(&key)?;

    // A renewal whose key was not put in place.
    site.renew()?;
    let new = fs::read(&key)?;
    pki::write(&key, &own, 0o600)?;
    site.expect("before the reload", &["next_load_fails", "served_differs_from_file"])?;
    site.reload()?;
    site.expect("after the reload", &["next_load_fails", "no_certificate_served"])?;
    pki::write(&key, &new, 0o600)?;
    site.expect("mended and not loaded", &["no_certificate_served"])?;
    site.reload()?;
    site.expect("mended and loaded", &[])?;

    // A key that is none, and one that is gone.
    pki::write(&key, b"garbage", 0o600)?;
    site.expect("a key that is none", &["next_load_fails"])?;
    fs::remove_file(&key)?;
    site.expect("no key", &["next_load_fails"])?;
    pki::write(&key, &new, 0o600)?;

    // A certificate that cannot be read leaves the broker as it was.
    let certificate = site.pki.broker.certificate.clone();
    let good = fs::read(&certificate)?;
    pki::write(&certificate, b"garbage", 0o644)?;
    site.reload()?;
    site.expect("a certificate that is none", &["next_load_fails"])?;
    pki::write(&certificate, &good, 0o644)?;
    site.expect("as it was", &[])
}

#[test]
fn files_open_to_everybody_are_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let site = Site::start(folder.path())?;
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    mode(&site.pki.broker.key, 0o644)?;
    site.expect("a key that all may read", &["key_file_open_to_others"])?;
    mode(&site.pki.broker.key, 0o600)?;
    mode(&site.pki.broker.certificate, 0o666)?;
    site.expect("a certificate that all may write", &["certificate_file_writable"])
}
