//! Each defect of a device's certificate alone, in certificates that mbedTLS wrote, and the findings that it alone makes;
//! what devices share; and the registry folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::Agent;
use gatepost_tests::device::{Wanted, day, provision};
use gatepost_tests::pki::{Identity, Pki};
use serde_json::Value;

/// Every device here is a file in the registry and nothing more, which is a finding of its own.
const ALWAYS: &str = "possession_unproven";

/// A CA, a registry folder, and the configuration so far.
struct Registry {
    folder: tempfile::TempDir,
    pki: Pki,
    devices: String,
}

impl Registry {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::create(&folder.path().join("pki"))?;
        fs::create_dir(folder.path().join("registry"))?;
        fs::create_dir(folder.path().join("made"))?;
        Ok(Self { folder, pki, devices: String::new() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn wanted<'a>(&'a self, name: &'a str) -> Wanted<'a> {
        Wanted::of(name, Some((&self.pki.ca, &self.pki.ca_key)))
    }

    fn expect(&mut self, id: &str, more: &str) {
        self.devices += &format!("[[devices.device]]\nid = \"{id}\"\n{more}\n");
    }

    /// A certificate, made with the key of `key` and not registered yet.
    fn make(&self, key: &str, wanted: &Wanted<'_>) -> Result<Identity> {
        provision(&self.path("made"), key, wanted)
    }

    /// Registers what was made as `name` in the folder.
    fn register(&self, identity: &Identity, name: &str) -> Result<()> {
        fs::copy(&identity.certificate, self.path("registry").join(name)).map(drop)?;
        Ok(())
    }

    /// The keys of the findings by subject, and the report.
    fn found(&self, more: &str) -> Result<(BTreeMap<String, BTreeSet<String>>, Value)> {
        let text = format!(
            "[state]\ndirectory = {:?}\n\n[devices]\nca_file = {:?}\nregistry = {:?}\n{more}\n\n{}",
            self.path("state"),
            self.pki.ca,
            self.path("registry"),
            self.devices
        );
        let agent = Agent::configured(&self.path("gatepost.toml"), &text)?;
        let report = agent.run(&["audit", "--bundle", "certificate-hygiene", "--format", "json"])?.json()?;
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for row in report["findings"].as_array().context("no findings")? {
            let key = row["key"].as_str().and_then(|key| key.strip_prefix("device_certificate_hygiene.")).unwrap();
            found.entry(row["subject"].as_str().unwrap().to_owned()).or_default().insert(key.to_owned());
        }
        Ok((found, report))
    }
}

fn set(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// Id, what is changed about a sound certificate, and what is found.
type Defect = (&'static str, fn(Wanted<'_>) -> Wanted<'_>, &'static [&'static str]);

const DEFECTS: &[Defect] = &[
    ("sound", |it| it, &[]),
    ("expired", |it| it.with("from", day(-100)).with("to", day(-1)), &["expired"]),
    ("expiring", |it| it.with("to", day(20)), &["expiring_30d"]),
    ("early", |it| it.with("from", day(2)), &["not_yet_valid"]),
    ("old", |it| it.with("from", day(-367)).with("to", day(90)), &["old_365d"]),
    ("clock-2000", |it| it.with("from", "20000101000000"), &["clock_never_set"]),
    ("clock-2001", |it| it.with("from", "20010101000000"), &["clock_never_set"]),
    ("clock-1970", |it| it.with("from", "19700101000000"), &["clock_never_set"]),
    ("for-ever", |it| it.with("to", "99991231235959"), &["absurd_end"]),
    // Whatever ends before it begins has ended.
    ("backwards", |it| it.with("from", day(-1)).with("to", day(-2)), &["absurd_end", "expired"]),
    ("outlives", |it| it.with("to", day(3700)), &["outlives_issuer"]),
    ("self-signed", |it| Wanted { issuer: None, ..it }, &["untrusted_chain"]),
    ("another-name", |it| Wanted { name: "somebody", ..it }.with("alternative", "somebody"), &["identity_mismatch"]),
    ("two-names", |it| it.with("alternative", "sound"), &["names_another_device"]),
    ("rsa-1024", |it| it.with("rsa", "1024"), &["weak_key"]),
    ("p-192", |it| it.with("curve", "secp192r1"), &["weak_key"]),
    ("brainpool", |it| it.with("curve", "brainpoolP256r1"), &["curve_not_allowed"]),
    ("sha-1", |it| it.with("hash", "SHA1"), &["weak_signature"]),
    ("ca-true", |it| it.with("authority", "leaf"), &["leaf_is_ca"]),
    ("server-only", |it| it.with("usage", "server"), &["not_client_auth"]),
    ("not-signing", |it| it.with("signing", "no"), &["not_for_signing"]),
    ("serial-0", |it| it.with("serial", "00"), &["malformed_serial"]),
];

#[test]
fn each_defect_of_a_certificate_alone_makes_its_own_findings() -> Result<()> {
    let mut registry = Registry::new()?;
    for (id, change, _) in DEFECTS {
        let identity = registry.make(id, &change(registry.wanted(id)))?;
        registry.register(&identity, &format!("{id}.pem"))?;
        registry.expect(id, "");
    }
    let broken = fs::read(&registry.pki.devices[0].certificate)?;
    fs::write(registry.path("registry/broken.der"), [&b"\x30\x82\x01\x00\x30\x82\x00\x80\x02"[..], &broken].concat())?;
    registry.expect("broken", "");
    registry.expect("contact", "contact_every = \"400d\"");
    let identity = registry.make("contact", &registry.wanted("contact"))?;
    registry.register(&identity, "contact.crt")?;

    let (mut found, report) = registry.found("")?;
    let mut expected: Vec<(&str, &[&str])> = DEFECTS.iter().map(|(id, _, keys)| (*id, *keys)).collect();
    expected.push(("contact", &["expires_before_contact"]));
    for (id, keys) in expected {
        let mut keys = set(keys);
        keys.insert(ALWAYS.into());
        assert_eq!(found.remove(id).unwrap_or_default(), keys, "{id}\n{report:#}");
    }
    assert_eq!(found.remove("broken"), Some(set(&["unparseable"])));
    assert_eq!(found, BTreeMap::new());
    Ok(())
}

#[test]
fn what_devices_share_is_critical_and_names_them_all() -> Result<()> {
    let mut registry = Registry::new()?;
    for id in ["one-image", "same-image", "key-a", "key-b", "serial-a", "serial-b", "alone"] {
        registry.expect(id, "");
    }
    let image = registry.make("image", &registry.wanted("one-image").with("alternative", "same-image"))?;
    registry.register(&image, "one-image.pem")?;
    registry.register(&image, "same-image.pem")?;
    for id in ["key-a", "key-b"] {
        registry.register(&registry.make("shared", &registry.wanted(id))?, &format!("{id}.pem"))?;
    }
    for id in ["serial-a", "serial-b"] {
        let identity = registry.make(id, &registry.wanted(id).with("serial", "4711"))?;
        registry.register(&identity, &format!("{id}.pem"))?;
    }
    registry.register(&registry.make("alone", &registry.wanted("alone"))?, "alone.pem")?;
    let (found, report) = registry.found("")?;
    for (ids, key) in [
        (["one-image", "same-image"], "shared_certificate"),
        (["key-a", "key-b"], "shared_key"),
        (["serial-a", "serial-b"], "duplicate_serial"),
    ] {
        for id in ids {
            assert_eq!(found[id], set(&[key, ALWAYS]), "{id}\n{report:#}");
        }
    }
    assert_eq!(found["alone"], set(&[ALWAYS]));
    let row = report["findings"].as_array().unwrap().iter().find(|row| row["subject"] == "key-a").unwrap();
    assert_eq!(row["severity"], "critical");
    assert!(row["evidence"].to_string().contains("key-b"), "{row:#}");
    Ok(())
}

#[test]
fn a_renewal_is_held_against_what_was_before() -> Result<()> {
    let mut registry = Registry::new()?;
    for (id, old_key) in [("kept", "kept"), ("renewed", "renewed-before")] {
        registry.expect(id, "");
        registry.register(
            &registry.make(old_key, &registry.wanted(id).with("from", day(-30)))?,
            &format!("{id}.old.pem"),
        )?;
        registry.register(&registry.make(id, &registry.wanted(id))?, &format!("{id}.pem"))?;
    }
    registry.expect("two-files", "");
    for (ending, key) in [("pem", "a"), ("crt", "b")] {
        registry.register(&registry.make(key, &registry.wanted("two-files"))?, &format!("two-files.{ending}"))?;
    }
    let (found, report) = registry.found("")?;
    assert_eq!(found["kept"], set(&["key_reused", ALWAYS]), "{report:#}");
    assert_eq!(found["renewed"], set(&[ALWAYS]));
    assert_eq!(found["two-files"], set(&["sources_disagree", ALWAYS]));
    Ok(())
}

#[test]
fn revocation_lists_are_believed_when_the_issuer_signed_them() -> Result<()> {
    let mut registry = Registry::new()?;
    for (id, serial) in [("good", "0a"), ("withdrawn", "0b")] {
        registry.expect(id, "");
        let identity = registry.make(id, &registry.wanted(id).with("serial", serial))?;
        registry.register(&identity, &format!("{id}.pem"))?;
    }
    let crl = registry.path("devices.crl");
    let configured = format!("crl_file = {crl:?}");
    registry.pki.revocation_list(&crl, &[0x0b], (-1, 30))?;
    let (found, report) = registry.found(&configured)?;
    assert_eq!(found["good"], set(&[ALWAYS]), "{report:#}");
    assert_eq!(found["withdrawn"], set(&["revoked", ALWAYS]));
    registry.pki.revocation_list(&crl, &[], (-30, -1))?;
    let (found, _) = registry.found(&configured)?;
    assert_eq!(found["good"], set(&["revocation_list_stale", ALWAYS]));
    let foreign = Pki::create(&registry.path("another"))?;
    foreign.revocation_list(&crl, &[], (-1, 30))?;
    let (found, report) = registry.found(&configured)?;
    assert_eq!(found["good"], set(&["revocation_list_unusable", ALWAYS]), "{report:#}");
    Ok(())
}

#[test]
fn the_registry_tells_who_is_missing_who_is_not_expected_and_what_else_lies_there() -> Result<()> {
    let registry_subject = "registry";
    type Case = (&'static str, fn(&mut Registry) -> Result<()>, &'static [&'static str]);
    let all: [Case; 5] = [
        ("nothing", |_| Ok(()), &[]),
        (
            "missing",
            |it| {
                it.expect("absent", "");
                Ok(())
            },
            &["registry_missing_device"],
        ),
        (
            "unexpected",
            |it| it.register(&it.make("stranger", &it.wanted("stranger"))?, "stranger.pem"),
            &["registry_unexpected_device"],
        ),
        (
            "unreadable",
            |it| Ok(fs::write(it.path("registry/here.der"), "no certificate at all")?),
            &["registry_file_unreadable"],
        ),
        (
            "a key",
            |it| Ok(fs::copy(it.path("made/here.key"), it.path("registry/here.key")).map(drop)?),
            &["registry_private_key"],
        ),
    ];
    for (name, change, expected) in all {
        let mut registry = Registry::new()?;
        registry.expect("here", "");
        registry.register(&registry.make("here", &registry.wanted("here"))?, "here.pem")?;
        fs::write(registry.path("registry/README.txt"), "who put these here, and when")?;
        change(&mut registry)?;
        let (found, report) = registry.found("")?;
        assert_eq!(found.get(registry_subject).cloned().unwrap_or_default(), set(expected), "{name}\n{report:#}");
        assert!(!report.to_string().contains("PRIVATE KEY-----"), "{name}");
    }
    Ok(())
}

/// The limit of one look, and one device more.
#[test]
fn a_registry_that_is_too_large_for_one_look_says_so() -> Result<()> {
    let registry = Registry::new()?;
    let identity = registry.make("device", &registry.wanted("device"))?;
    let covered = |registry: &Registry| -> Result<bool> {
        let (_, report) = registry.found("")?;
        let rows = report["findings"].as_array().context("no findings")?;
        Ok(!rows.iter().any(|row| row["key"] == "device_certificate_hygiene.registry_not_covered"))
    };
    for number in 0..2000 {
        registry.register(&identity, &format!("device-{number}.pem"))?;
    }
    assert!(covered(&registry)?, "as many as there is room for");
    registry.register(&identity, "one-more.pem")?;
    assert!(!covered(&registry)?);
    Ok(())
}
