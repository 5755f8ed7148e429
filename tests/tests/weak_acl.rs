//! Each way to give clients more, or less, than an access control list should, on a real Mosquitto, and the findings that it
//! alone makes; and that lists are evaluated as Mosquitto evaluates them.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use anyhow::Result;
use gatepost_tests::weak::{Field, look_at_all};

#[test]
fn each_weak_list_alone_makes_its_own_findings() -> Result<()> {
    let sound = Field::sound;
    let gateway = "topic readwrite telemetry/#\n";
    let plaintext = |name: &str| sound(name)
        .with("allow_anonymous false", "allow_anonymous true")
        .with("use_identity_as_username true\n", "use_identity_as_username true\nlistener {front} 127.0.0.1\n");
    let mut stale = sound("list-not-loaded");
    stale.changed = Some(stale.list.replace("gatepost/canary/#", "gatepost/elsewhere/#"));
    let mut early = sound("list-of-tomorrow");
    early.changed = Some(early.list.replace(gateway, "topic readwrite gatepost/foreign/#\n"));
    let cases: Vec<(Field, &[&str])> = vec![
        (sound("sound"), &[]),
        (sound("everything").with_list(gateway, "topic readwrite #\n"), &["acl_grants_everything", "everything_readable", "foreign_write_possible"]),
        (sound("everything-to-read").with_list(gateway, "topic read #\n"), &["acl_grants_everything", "everything_readable"]),
        (sound("everything-to-write").with_list(gateway, "topic write #\n"), &["acl_grants_everything", "foreign_write_possible"]),
        (sound("everything-for-another").with_list("user gateway\n", "user ops\ntopic #\n\nuser gateway\n"), &["acl_grants_everything"]),
        (sound("no-list").with("acl_file {folder}/acl\n", ""), &["everything_readable", "foreign_write_possible", "sys_readable"]),
        (sound("by-client-id").with_list(gateway, "pattern readwrite devices/%c/#\n"), &["client_id_not_bound"]),
        (sound("figures-granted").with_list(gateway, "topic read $SYS/#\n"), &[]),
        (stale, &["right_not_declared"]),
        (early, &["right_not_in_effect"]),
        (plaintext("anonymous"), &["anonymous_access"]),
        (plaintext("anonymous-everything").with_list("user gateway\n", "topic #\n\nuser gateway\n"), &["acl_grants_everything", "anonymous_access", "everything_readable", "foreign_write_possible"]),
        (plaintext("anonymous-figures").with_list("user gateway\n", "topic read $SYS/#\n\nuser gateway\n"), &["anonymous_access"]),
    ];
    let (fields, expected): (Vec<Field>, Vec<&[&str]>) = cases.into_iter().unzip();
    for ((field, expected), found) in fields.iter().zip(expected).zip(look_at_all(&fields)?) {
        println!("== {}\n{:?} expected {expected:?}\n{:#?}", field.name, found.findings, found.gaps);
        if std::env::var_os("SHOW").is_some() { println!("{}\n{}", serde_json::to_string_pretty(&found.observation["listeners"][0])?, found.log); }
    }
    Ok(())
}
