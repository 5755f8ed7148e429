//! Each misconfiguration that lets a throw-away client in, alone, on a real Mosquitto (with HAProxy in front where Mosquitto
//! itself cannot be made that careless), and the findings that it alone makes.
//!
//! `disable_client_cert_date_checks` is an option of Mosquitto 2.1, which Debian 12 does not have. What it does, a wrong clock
//! does, too: that is how certificates out of their time are let in here.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::{Agent, run};
use gatepost_tests::process::{built, command};
use gatepost_tests::weak::{Field, Found, Keys, look_at_all, until_2099};
use serde_json::Value;

/// HAProxy that ends TLS as careless as it can be told to, and hands on to an anonymous listener.
const FRONT: &str = "global
  log stderr format raw local0
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend mqtts
  bind 127.0.0.1:{front} ssl crt {keys}/broker.pem ca-file {keys}/ca.pem verify required crt-ignore-err all ca-ignore-err all
  default_backend mqtt
backend mqtt
  server broker 127.0.0.1:{port}
";

const NONE: &[&str] = &[];

fn behind_a_proxy() -> Field {
    let tls = "cafile {keys}/ca.pem\ncertfile {keys}/broker.pem\nkeyfile {keys}/broker.pem\ncrlfile {keys}/crl.pem\n\
               require_certificate true\nuse_identity_as_username true\n";
    let mut field = Field::sound("proxy-takes-anything")
        .with("allow_anonymous false", "allow_anonymous true")
        .with(tls, "")
        // Behind the proxy nobody has a name.
        .with_list("user gateway\n", "");
    field.client = field.client.replace("configuration_file = \"{folder}/mosquitto.conf\"\n", "");
    field.front = Some(FRONT.into());
    field
}

fn sound(name: &str) -> Field {
    Field::sound(name)
}

/// With the certificate of another authority to be tried.
fn with_another_ca(mut field: Field) -> Field {
    field.battery.push_str("wrong_ca = \"{keys}/other-client.pem\"\n");
    field
}

/// A broker that takes certificates of two authorities, revoked ones too, and asks everybody for a password besides.
fn wants_a_password() -> Field {
    let mut field = with_another_ca(sound("wants-a-password"))
        .with("cafile {keys}/ca.pem", "cafile {keys}/both.pem")
        .with("crlfile {keys}/crl.pem\n", "")
        .with("use_identity_as_username true\n", "")
        .with("allow_anonymous false\n", "allow_anonymous false\npassword_file {keys}/passwords\n");
    field.client.push_str("username = \"gateway\"\npassword_file = \"{keys}/password\"\n");
    field
}

fn at(mut field: Field, clock: i64) -> Field {
    field.clock = clock;
    field
}

/// The trial of `member`, as it was observed at the only listener.
fn answer(found: &Found, member: &str) -> Result<Value> {
    let trials = found.observation["listeners"][0]["battery"]["seen"]["trials"].as_array().context("no battery")?;
    let trial = trials.iter().find(|trial| trial["member"] == member).with_context(|| format!("no {member}"))?;
    assert_eq!(trial["shown"], true, "{member}");
    Ok(trial["answer"].clone())
}

#[test]
fn each_misconfiguration_alone_lets_its_own_clients_in() -> Result<()> {
    let no_crl = |field: Field| field.with("crlfile {keys}/crl.pem\n", "");
    let no_name = |name: &str| {
        sound(name)
            .with("use_identity_as_username true\n", "")
            .with("allow_anonymous false", "allow_anonymous true")
            .with_list("user gateway\n", "")
    };
    let cases: Vec<(Field, &[&str])> = vec![
        (sound("sound"), &[]),
        (with_another_ca(sound("sound-beside-another-ca")), &[]),
        (no_crl(sound("no-crlfile")), &["revoked_client_accepted"]),
        // The other authority has no CRL, so that a broker which trusts both can have none.
        (
            no_crl(with_another_ca(sound("wide-bundle").with("cafile {keys}/ca.pem", "cafile {keys}/both.pem"))),
            &["foreign_ca_client_accepted", "revoked_client_accepted"],
        ),
        (at(sound("clock-behind"), -2 * 3600), &["expired_client_accepted"]),
        // In 2099 its CRL is long over; with one nobody gets in.
        (
            at(no_crl(sound("clock-in-2099")), until_2099()),
            &["not_yet_valid_client_accepted", "revoked_client_accepted"],
        ),
        (
            sound("no-certificate").with("require_certificate true", "require_certificate false"),
            &["client_certificate_not_required", "configured_client_refused"],
        ),
        (sound("no-identity").with("use_identity_as_username true\n", ""), &["configured_client_refused"]),
        (no_name("no-identity-anonymous"), &["identity_not_bound"]),
        (
            behind_a_proxy(),
            &[
                "copied_issuer_client_accepted",
                "expired_client_accepted",
                "foreign_ca_client_accepted",
                "identity_not_bound",
                "not_yet_valid_client_accepted",
                "revoked_client_accepted",
                "self_signed_client_accepted",
                "server_certificate_accepted_as_client",
            ],
        ),
    ];
    let (fields, expected): (Vec<Field>, Vec<&[&str]>) = cases.into_iter().chain([(wants_a_password(), NONE)]).unzip();
    let looked = look_at_all(&fields)?;
    for ((field, expected), found) in fields.iter().zip(expected).zip(&looked) {
        let expected: BTreeSet<String> = expected.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(found.findings, expected, "{}: {:#?}", field.name, found.gaps);
    }
    // A broker that is right: nothing unknown, and each client turned away by name.
    let none = BTreeSet::new();
    assert_eq!((&looked[0].gaps, &looked[1].gaps), (&none, &none));
    for (member, detail) in [
        ("self_signed", "unknown_ca (48)"),
        ("wrong_ca", "unknown_ca (48)"),
        ("copied_issuer", "decrypt_error (51)"),
        ("expired", "certificate_expired (45)"),
        ("not_yet_valid", "bad_certificate (42)"),
        ("server_only", "unsupported_certificate (43)"),
        ("revoked", "certificate_revoked (44)"),
    ] {
        let answer = answer(&looked[0], member)?;
        assert_eq!(answer["failed"]["kind"], "tls_alert", "{member}: {answer}");
        assert_eq!(answer["failed"]["detail"], detail, "{member}");
    }
    assert_eq!(answer(&looked[0], "canary")?["seen"]["code"], 0);
    assert_eq!(answer(&looked[4], "expired")?["seen"]["code"], 0);
    let listener = &looked[0].observation["listeners"][0];
    assert_eq!(
        (&listener["battery"]["seen"]["connections"], &listener["acl"]["seen"]["connections"]),
        (&8.into(), &6.into())
    );
    // One that wants a password beside the certificate has turned nobody away for it.
    let password = looked.last().unwrap();
    for key in ["revoked_client_accepted", "foreign_ca_client_accepted"] {
        let gap =
            password.gaps.iter().find(|gap| gap.starts_with(key)).with_context(|| format!("{:#?}", password.gaps))?;
        assert!(gap.contains("for want of a user name"), "{gap}");
    }
    // What a broker that refuses everybody refuses proves nothing.
    let refused: Vec<_> = looked[7].gaps.iter().filter(|gap| gap.starts_with("expired_client_accepted")).collect();
    assert!(refused[0].contains("no sound client is known to be let in"), "{refused:?}");
    Ok(())
}

#[test]
fn what_cannot_be_tried_is_unknown_and_says_what_it_needs() -> Result<()> {
    let mut bare = sound("no-battery");
    bare.battery = String::new();
    let mut unsigned = sound("no-crl-anywhere").with("crlfile {keys}/crl.pem\n", "");
    unsigned.battery = String::new();
    let mut stale = sound("another-ca");
    stale.battery = "expired = \"{keys}/other-client.pem\"\nserver_only = \"{keys}/nowhere.pem\"\n".into();
    let looked = look_at_all(&[bare, unsigned, stale])?;
    let gap = |found: &Found, key: &str| {
        let gap = found.gaps.iter().find(|gap| gap.starts_with(&format!("{key}[")));
        gap.cloned().unwrap_or_default()
    };
    for (key, member) in [
        ("expired_client_accepted", "expired"),
        ("not_yet_valid_client_accepted", "not_yet_valid"),
        ("server_certificate_accepted_as_client", "server_only"),
        ("revoked_client_accepted", "revoked"),
    ] {
        let gap = gap(&looked[0], key);
        assert!(gap.contains(&format!("needs `{member}` of [broker.battery]")), "{key}: {:#?}", looked[0].gaps);
    }
    for found in &looked {
        assert_eq!(found.findings, BTreeSet::new());
    }
    // Where nobody revokes, it is no question; and what is made on the spot needs nothing.
    assert_eq!(gap(&looked[1], "revoked_client_accepted"), "");
    for key in ["self_signed_client_accepted", "foreign_ca_client_accepted", "copied_issuer_client_accepted"] {
        assert_eq!(gap(&looked[0], key), "");
    }
    assert!(gap(&looked[2], "expired_client_accepted").contains("make the battery anew"), "{:#?}", looked[2].gaps);
    assert!(gap(&looked[2], "server_certificate_accepted_as_client").contains("nowhere.pem"));
    // Nobody is there who might write outside the role, so that reading there cannot be seen.
    assert!(gap(&looked[0], "everything_readable").contains("needs canary of [broker.battery]"));
    Ok(())
}

/// As the CA's owner would: from its files to a folder for the gateway, which OpenSSL finds to be what it is called.
#[test]
fn the_battery_that_the_command_writes_is_what_openssl_takes_it_for() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let lab = gatepost_tests::pki::Pki::create(&folder.path().join("pki"))?;
    let gatepost = |arguments: &[&str]| {
        let mut command = command(&built("gatepost")?);
        command.args(["battery", "--ca-cert"]).arg(&lab.ca).arg("--ca-key").arg(&lab.ca_key).args(arguments);
        run(command, std::time::Duration::from_secs(20))
    };
    let out = folder.path().join("out");
    let path = out.to_str().unwrap();
    let told = gatepost(&["--output", path, "--crl", lab.crl.to_str().unwrap()])?.expect_code(0)?.stdout;
    assert!(told.contains("[broker.battery]") && told.contains("topic readwrite gatepost/foreign/#"), "{told}");
    let again = gatepost(&["--output", path])?.expect_code(2)?.stderr;
    assert!(again.contains("not replaced"), "{again}");
    let key = fs::read_to_string(&lab.ca_key)?;
    let verify = |member: &str| {
        let file = out.join(format!("{member}.pem"));
        let text = fs::read_to_string(&file)?;
        assert!(!text.contains(key.lines().nth(1).unwrap()), "{member} has the CA's key in it");
        let mut openssl = command(std::path::Path::new("openssl"));
        openssl.args(["verify", "-purpose", "sslclient", "-crl_check", "-CAfile"]).arg(&lab.ca);
        openssl.arg("-CRLfile").arg(out.join("crl.pem")).arg(&file);
        let finished = run(openssl, std::time::Duration::from_secs(20))?;
        anyhow::Ok(format!("{}{}", finished.stdout, finished.stderr))
    };
    for (member, words) in [
        ("canary", "OK"),
        ("expired", "certificate has expired"),
        ("not_yet_valid", "certificate is not yet valid"),
        ("server_only", "purpose"),
        ("revoked", "certificate revoked"),
    ] {
        let said = verify(member)?;
        assert!(said.to_lowercase().contains(&words.to_lowercase()), "{member}: {said}");
    }
    // The lab's own revoked one stands on the new CRL, too.
    let mut openssl = command(std::path::Path::new("openssl"));
    openssl.args(["crl", "-noout", "-text", "-in"]).arg(out.join("crl.pem"));
    let listed = run(openssl, std::time::Duration::from_secs(20))?.expect_code(0)?.stdout;
    assert_eq!(listed.matches("Serial Number:").count(), 2, "{listed}");
    assert_eq!(fs::read_dir(&out)?.count(), 6);
    let wrong = gatepost(&["--output", "/nowhere/at/all"])?.expect_code(2)?.stderr;
    assert!(wrong.contains("cannot be made"), "{wrong}");
    Ok(())
}

/// What the agent tells of a configuration with a battery that is not there.
#[test]
fn a_battery_that_is_not_there_is_a_mistake_in_the_configuration() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let _ = Keys::make(&folder.path().join("keys"))?;
    let text = "[broker]\ntls = [\"127.0.0.1:8883\"]\n[broker.battery]\nfolder = \"keys/batery\"\nexpierd = \"x\"\n";
    let agent = Agent::configured(&folder.path().join("gatepost.toml"), text)?;
    let told = agent.run(&["config", "check"])?.expect_code(1)?.stderr;
    assert!(told.contains("broker.battery.expierd: is not known; did you mean `expired`?"), "{told}");
    assert!(told.contains("broker.battery.folder") && told.contains("keys/batery"), "{told}");
    Ok(())
}
