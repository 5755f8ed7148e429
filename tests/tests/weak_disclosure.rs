//! A domain with a sound `security.txt` and a gateway with supported software make no finding; each weakness makes its own and no
//! other. The domain is a real nginx over HTTPS, one port for each case, since RFC 9116 fixes the path.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;
use gatepost_tests::agent::Agent;
use gatepost_tests::clock::Clock;
use gatepost_tests::pki::Pki;
use gatepost_tests::port::Port;
use gatepost_tests::webserver;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// What a domain serves: its file, and what nginx does with it.
struct Case {
    name: &'static str,
    /// Changes in the sound file.
    changes: &'static [(&'static str, &'static str)],
    /// Directives in place of those that serve the file; `@PORT@` is the domain's own, `@FILE@` the file.
    serves: Option<&'static str>,
    expected: &'static [&'static str],
}

const fn text(
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    expected: &'static [&'static str],
) -> Case {
    Case { name, changes, serves: None, expected }
}

const fn served(name: &'static str, serves: &'static str, expected: &'static [&'static str]) -> Case {
    Case { name, changes: &[], serves: Some(serves), expected }
}

const SOUND: &str = "\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

# where to report
Contact: mailto:security@example.com
Contact: https://example.com/report
Expires: @SOON@
Encryption: https://example.com/key.asc
Preferred-Languages: en, de-CH
Canonical: https://localhost:@PORT@/.well-known/security.txt
Policy: https://example.com/policy
Acknowledgments: https://example.com/thanks
-----BEGIN PGP SIGNATURE-----

iQ==
-----END PGP SIGNATURE-----
";

const SERVES: &str =
    "location = /.well-known/security.txt { default_type \"text/plain; charset=utf-8\"; alias @FILE@; }";
const MISSING: &[&str] = &["security_txt_missing"];
const FLAWED: &[&str] = &["security_txt_flawed"];
const ELSEWHERE: &[&str] = &["security_txt_elsewhere"];
const DIFFERS: &[&str] = &["security_txt_canonical_differs"];
const PLACE: &str = "Canonical: https://localhost:@PORT@/.well-known/security.txt\n";

const CASES: &[Case] = &[
    text("sound", &[], &[]),
    text("no canonical", &[(PLACE, "")], &[]),
    served("none", "", MISSING),
    served("forbidden", "location / { return 403; }", MISSING),
    served("broken", "location / { return 500; }", MISSING),
    text("expired", &[("@SOON@", "2026-01-01T00:00:00Z")], &["security_txt_expired"]),
    text("for ever", &[("@SOON@", "2099-01-01T00:00:00Z")], &["security_txt_expires_late"]),
    text("no end", &[("Expires: @SOON@\n", "")], FLAWED),
    text("an end that is none", &[("@SOON@", "tomorrow")], FLAWED),
    text("two ends", &[("Policy", "Expires: @SOON@\nPolicy")], FLAWED),
    text("no contact", &[("Contact: mailto:security@example.com\nContact: https://example.com/report\n", "")], FLAWED),
    text("a contact that is no URI", &[("mailto:security", "security")], FLAWED),
    text("a contact in plaintext", &[("https://example.com/report", "http://example.com/report")], FLAWED),
    text("a key in plaintext", &[("https://example.com/key", "http://example.com/key")], FLAWED),
    text("a policy in plaintext, beside one that is not", &[("Policy", "Policy: http://a.example/\nPolicy")], FLAWED),
    text("languages that are none", &[("en, de-CH", "en; de_CH")], FLAWED),
    text("languages twice", &[("Policy", "Preferred-Languages: fr\nPolicy")], FLAWED),
    text("a line that is no field", &[("# where", "where")], FLAWED),
    text("a page", &[("Hash: SHA256\n\n", "Hash: SHA256\n\n<html>\n")], FLAWED),
    text(
        "something outside of the signature",
        &[("-----BEGIN PGP SIGNED", "Hiring: https://a.example/\n-----BEGIN PGP SIGNED")],
        FLAWED,
    ),
    text("no policy", &[("Policy: https://example.com/policy\n", "")], &["security_txt_policy_missing"]),
    text("it belongs elsewhere", &[("localhost:@PORT@", "other.example")], DIFFERS),
    text(
        "unsigned",
        &[
            ("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n", ""),
            ("-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n", ""),
        ],
        &["security_txt_unsigned"],
    ),
    text(
        "a signature that breaks off",
        &[("-----END PGP SIGNATURE-----\n", "")],
        &["security_txt_flawed", "security_txt_unsigned"],
    ),
    served(
        "as a page",
        "location = /.well-known/security.txt { default_type \"text/html; charset=utf-8\"; alias @FILE@; }",
        FLAWED,
    ),
    served(
        "in another alphabet",
        "location = /.well-known/security.txt { default_type \"text/plain; charset=iso-8859-1\"; alias @FILE@; }",
        FLAWED,
    ),
    served("in no alphabet", "location = /.well-known/security.txt { default_type text/plain; alias @FILE@; }", FLAWED),
    Case {
        name: "at the old place",
        changes: &[(PLACE, "")],
        serves: Some("location = /security.txt { default_type \"text/plain; charset=utf-8\"; alias @FILE@; }"),
        expected: &["security_txt_old_place"],
    },
    served(
        "led to the old place",
        "location = /.well-known/security.txt { return 301 /security.txt; }\n\
         location = /security.txt { default_type \"text/plain; charset=utf-8\"; alias @FILE@; }",
        &[],
    ),
    served(
        "led to another host",
        "location = /.well-known/security.txt { return 302 https://127.0.0.1:@PORT@/there; }\n\
         location = /there { default_type \"text/plain; charset=utf-8\"; alias @FILE@; }",
        ELSEWHERE,
    ),
];

/// Redirects that lead to nothing that may be used: nothing is known then.
const NOWHERE: &[(&str, &str)] = &[
    ("led to plaintext", "return 301 http://localhost:@PORT@/x;"),
    ("led in a circle", "return 301 https://localhost:@PORT@/.well-known/security.txt;"),
    ("led with a password", "return 301 https://me:hunter2@localhost:@PORT@/x;"),
];

/// What an audit says of `disclosure_readiness`: findings, and what is unknown.
fn audit(folder: &Path, text: &str, clock: Option<&Clock>) -> Result<(BTreeSet<String>, BTreeSet<String>, Value)> {
    fs::create_dir_all(folder)?;
    let text = format!("[state]\ndirectory = {:?}\n{text}", folder.join("state"));
    let agent = Agent::configured(&folder.join("gatepost.toml"), &text)?;
    let agent = match clock {
        Some(clock) => agent.under(clock),
        None => agent,
    };
    let report = agent.run(&["audit", "--bundle", "field-self-audit", "--format", "json"])?.json()?;
    let keys = |rows: &str| {
        let rows = report[rows].as_array().into_iter().flatten();
        rows.filter_map(|row| row["key"].as_str()?.strip_prefix("disclosure_readiness.").map(str::to_owned)).collect()
    };
    Ok((keys("findings"), keys("gaps"), report.clone()))
}

const OS: &str = "ID=debian\nVERSION_ID=\"13\"\n";
const STATUS: &str = "Package: mosquitto\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2.0.21-1+deb13u1\n\n\
                      Package: openssl\nStatus: install ok installed\nArchitecture: arm64\nVersion: 3.5.1-1+deb13u1\n";

/// A gateway's root folder.
fn root(folder: &Path, os: &str, kernel: &str, status: Option<&str>) -> Result<()> {
    let files =
        [("etc/os-release", Some(os)), ("proc/sys/kernel/osrelease", Some(kernel)), ("var/lib/dpkg/status", status)];
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap())?;
        if let Some(text) = text {
            fs::write(path, text)?;
        }
    }
    Ok(())
}

#[test]
fn each_weakness_of_a_domain_is_told_as_what_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pki = Pki::create(&folder.path().join("pki"))?;
    let gateway = folder.path().join("gateway");
    root(&gateway, OS, "6.12.30+deb13-arm64", Some(STATUS))?;
    let soon = (Timestamp::now() + SignedDuration::from_hours(100 * 24)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let nowhere: Vec<_> = NOWHERE
        .iter()
        .map(|(name, redirect)| (*name, format!("location = /.well-known/security.txt {{ {redirect} }}")))
        .collect();
    let mut ports = Vec::new();
    let mut servers = String::new();
    let mut serve = |number: usize, body: &str, directives: &str| -> Result<()> {
        let port = Port::reserve()?;
        let own = port.address().port().to_string();
        let file = folder.path().join(format!("{number}.body"));
        fs::write(&file, body.replace("@SOON@", &soon).replace("@PORT@", &own))?;
        let directives = directives.replace("@PORT@", &own).replace("@FILE@", &file.display().to_string());
        let _ = writeln!(
            servers,
            "server {{ listen 127.0.0.1:{own} ssl; ssl_certificate {}; ssl_certificate_key {}; types {{ }}\n{directives}\n}}",
            pki.ingest.certificate.display(),
            pki.ingest.key.display()
        );
        ports.push(port);
        Ok(())
    };
    for (number, case) in CASES.iter().enumerate() {
        let mut body = SOUND.to_owned();
        for (from, to) in case.changes {
            assert!(body.contains(from), "{}: {from}", case.name);
            body = body.replace(from, to);
        }
        // A file that is served from another place says so.
        if case.name.starts_with("led") {
            body = body.replace(PLACE, "");
        }
        serve(number, &body, case.serves.unwrap_or(SERVES))?;
    }
    for (number, (_, directives)) in nowhere.iter().enumerate() {
        serve(CASES.len() + number, SOUND, directives)?;
    }
    let _nginx = webserver::nginx(folder.path(), &servers, &ports.iter().collect::<Vec<_>>())?;
    let look = |number: usize, ca: &Path| {
        let text = format!(
            "[host]\nroot = {gateway:?}\n[disclosure]\ndomain = \"localhost:{}\"\nca_file = {ca:?}\n",
            ports[number].address().port()
        );
        audit(&folder.path().join(format!("agent-{number}")), &text, None)
    };
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let (found, gaps, _) = look(number, &pki.ca)?;
        let expected: BTreeSet<String> = case.expected.iter().map(|key| (*key).to_owned()).collect();
        if found != expected || (expected.is_empty() && !gaps.is_empty()) {
            wrong.push(format!("{}: {found:?} instead of {expected:?}; gaps {gaps:?}", case.name));
        }
    }
    for (number, (name, _)) in nowhere.iter().enumerate() {
        let (found, gaps, report) = look(CASES.len() + number, &pki.ca)?;
        if !found.is_empty() || !gaps.contains("security_txt_missing") || report.to_string().contains("hunter2") {
            wrong.push(format!("{name}: {found:?}, gaps {gaps:?}"));
        }
    }
    // A certificate that nobody vouches for is no reason to believe what is behind it.
    let (found, gaps, _) = look(0, &pki.devices[0].certificate)?;
    if !found.is_empty() || !gaps.contains("security_txt_missing") {
        wrong.push(format!("untrusted: {found:?}, gaps {gaps:?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[test]
fn each_end_of_support_is_told_as_what_it_is() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // On this day Debian 12 has four months left.
    let day: Timestamp = "2028-03-01T00:00:00Z".parse()?;
    let clock = Clock::off_by(folder.path(), day.as_second() - Timestamp::now().as_second())?;
    let own =
        "Package: mosquitto\nStatus: install ok installed\nArchitecture: arm64\nVersion: 1.6.12-0mosquitto1~focal1\n";
    // Name, os-release, kernel, inventory, and what is found.
    type Case<'c> = (&'c str, &'c str, &'c str, Option<&'c str>, &'c [&'c str]);
    let cases: [Case<'_>; 6] = [
        ("sound", OS, "6.12.30+deb13-arm64", Some(STATUS), &[]),
        ("over", "ID=debian\nVERSION_ID=\"10\"\n", "6.12.30+deb13-arm64", Some(STATUS), &["release_unsupported"]),
        ("soon", "ID=debian\nVERSION_ID=\"12\"\n", "6.12.30+deb13-arm64", Some(STATUS), &["release_ends_soon"]),
        ("a kernel of one's own", OS, "5.4.300", Some(STATUS), &["component_unsupported"]),
        ("a broker of its makers", OS, "6.12.30+deb13-arm64", Some(own), &["component_unsupported"]),
        ("no inventory", OS, "6.12.30+deb13-arm64", None, &["inventory_missing"]),
    ];
    for (number, (name, os, kernel, status, expected)) in cases.into_iter().enumerate() {
        let gateway = folder.path().join(format!("gateway-{number}"));
        root(&gateway, os, kernel, status)?;
        let text = format!("[host]\nroot = {gateway:?}\n");
        let (found, gaps, _) = audit(&folder.path().join(format!("agent-{number}")), &text, Some(&clock))?;
        let expected: BTreeSet<String> = expected.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(found, expected, "{name}; gaps {gaps:?}");
    }
    Ok(())
}
