//! Each way to give clients more, or less, than an access control list should, on a real Mosquitto, and the findings that it
//! alone makes; and that lists are evaluated as Mosquitto evaluates them: declared and effective agree on every row.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use gatepost_evidence::check::broker_transport_posture::acl::Permission::{self, Allow, Deny};
use gatepost_evidence::check::broker_transport_posture::{Check, Facts};
use gatepost_evidence::check::{Contract as _, Seen, Unknown};
use gatepost_tests::weak::{Field, Found, look_at_all};

/// The gateway's own topics, which a case replaces.
const ROLE: &str = "topic readwrite telemetry/#\n";

fn sound(name: &str) -> Field {
    Field::sound(name)
}

/// With a plaintext listener beside, where nobody is asked who he is.
fn open(name: &str) -> Field {
    sound(name)
        .with("allow_anonymous false", "allow_anonymous true")
        .with("use_identity_as_username true\n", "use_identity_as_username true\nlistener {front} 127.0.0.1\n")
}

fn facts(found: &Found) -> Result<Facts> {
    let observation = serde_json::from_value(found.observation.clone())?;
    let seen = Seen { at: jiff::Timestamp::now(), distrust: None };
    Ok(Check::normalise(&observation, &seen, &mut Unknown::default()))
}

/// By action and topic, declared and effective.
type Rights = BTreeMap<String, (Option<Permission>, Option<Permission>)>;

/// The table of one client, declared against effective, by action and topic.
fn table(found: &Found, client: &str) -> Result<Rights> {
    let rows = facts(found)?.acl.into_iter().filter_map(|(key, row)| {
        let key = key.split_once(' ')?.1.strip_prefix(client)?.trim_start().to_owned();
        Some((key, (row.declared, row.effective)))
    });
    Ok(rows.collect())
}

#[test]
fn each_weak_list_alone_makes_its_own_findings() -> Result<()> {
    let mut stale = sound("list-not-loaded");
    stale.changed = Some(stale.list.replace("gatepost/canary/#", "gatepost/elsewhere/#"));
    let mut early = sound("list-of-tomorrow");
    early.changed = Some(early.list.replace(ROLE, "topic readwrite gatepost/foreign/#\n"));
    let everything = ["acl_grants_everything", "everything_readable", "foreign_write_possible"];
    // Two controls of MQTT itself speak of every listener that lets anybody in.
    let anonymous = ["anonymous_access", "client_id_takeover"];
    let cases: Vec<(Field, Vec<&str>)> = vec![
        (sound("sound"), vec![]),
        (sound("everything").with_list(ROLE, "topic readwrite #\n"), everything.to_vec()),
        (
            sound("everything-to-read").with_list(ROLE, "topic read #\n"),
            vec!["acl_grants_everything", "everything_readable"],
        ),
        (
            sound("everything-to-write").with_list(ROLE, "topic write #\n"),
            vec!["acl_grants_everything", "foreign_write_possible"],
        ),
        (
            sound("everything-for-another").with_list("user gateway\n", "user ops\ntopic #\n\nuser gateway\n"),
            vec!["acl_grants_everything"],
        ),
        (
            sound("no-list").with("acl_file {folder}/acl\n", ""),
            vec!["everything_readable", "foreign_write_possible", "sys_readable"],
        ),
        (sound("by-client-id").with_list(ROLE, "pattern readwrite devices/%c/#\n"), vec!["client_id_not_bound"]),
        (sound("figures-granted").with_list(ROLE, "topic read $SYS/#\n"), vec![]),
        (stale, vec!["right_not_declared"]),
        (early, vec!["right_not_in_effect"]),
        (open("anonymous"), anonymous.to_vec()),
        (
            open("anonymous-everything").with_list("user gateway\n", "topic #\n\nuser gateway\n"),
            [&anonymous[..], &everything[..]].concat(),
        ),
        (
            open("anonymous-figures").with_list("user gateway\n", "topic read $SYS/#\n\nuser gateway\n"),
            anonymous.to_vec(),
        ),
    ];
    let (fields, expected): (Vec<Field>, Vec<Vec<&str>>) = cases.into_iter().unzip();
    let looked = look_at_all(&fields)?;
    for ((field, expected), found) in fields.iter().zip(expected).zip(&looked) {
        let expected: BTreeSet<String> = expected.into_iter().map(str::to_owned).collect();
        assert_eq!(found.findings, expected, "{}: {:#?}", field.name, found.gaps);
        // Where everybody may do everything, rights do not tell who is who; nothing else is hidden anywhere.
        let hidden: Vec<_> = found.gaps.iter().filter(|gap| !gap.contains("rights do not tell who is who")).collect();
        assert!(hidden.is_empty(), "{}: {hidden:#?}", field.name);
    }
    let all = |declared, effective| (Some(declared), Some(effective));
    let expected: BTreeMap<String, _> = [
        ("read #", all(Deny, Deny)),
        ("read $SYS/#", all(Deny, Deny)),
        ("read gatepost/canary", all(Allow, Allow)),
        ("read gatepost/foreign", all(Deny, Deny)),
        ("will gatepost/foreign", all(Deny, Deny)),
        ("write gatepost/canary", all(Allow, Allow)),
        ("write gatepost/foreign", all(Deny, Deny)),
    ]
    .into_iter()
    .map(|(key, row)| (key.to_owned(), row))
    .collect();
    assert_eq!(table(&looked[0], "configured")?, expected);
    let open = table(&looked[1], "configured")?;
    assert_eq!((open["read #"], open["will gatepost/foreign"]), (all(Allow, Allow), all(Allow, Allow)));
    assert_eq!(table(&looked[5], "configured")?["read $SYS/#"], all(Allow, Allow));
    assert_eq!(table(&looked[7], "configured")?["read $SYS/#"], all(Allow, Allow));
    assert_eq!(table(&looked[8], "configured")?["write gatepost/canary"], all(Deny, Allow));
    assert_eq!(table(&looked[9], "configured")?["write gatepost/foreign"], all(Allow, Deny));
    assert_eq!(table(&looked[10], "anonymous")?["write gatepost/canary"], all(Deny, Deny));
    assert_eq!(table(&looked[11], "anonymous")?["read #"], all(Allow, Allow));
    Ok(())
}

/// Lists with all that Mosquitto knows. The broker decides; that every row agrees says that we read and evaluate as it does.
#[test]
fn lists_are_evaluated_as_mosquitto_evaluates_them() -> Result<()> {
    let lists = [
        "user gateway\ntopic readwrite gatepost/#\ntopic deny gatepost/foreign/#\n",
        "user gateway\ntopic deny gatepost/#\ntopic readwrite gatepost/foreign/+/+\n",
        "topic readwrite gatepost/#\nuser gateway\ntopic read gatepost/canary/#\n",
        "pattern readwrite gatepost/canary/#\npattern deny gatepost/canary/#\n",
        "pattern write gatepost/foreign/#\nuser gateway\ntopic read +/+/#\n",
        "user gateway\npattern deny gatepost/foreign/#\ntopic gatepost/foreign/#\n",
        "user gateway\n topic  readwrite gatepost/canary/#  \n# topic deny #\ntopic read $SYS/broker/uptime\n",
        "user other\ntopic readwrite gatepost/#\nuser gateway\ntopic write gatepost/+/+/+\nuser gateway\ntopic read gatepost/canary/#\n",
        "# nothing\n",
        "user gateway\n",
        "pattern readwrite gatepost/canary/%u/#\npattern read gatepost/%c/#\n",
    ];
    let canary = "\nuser gatepost-canary\ntopic readwrite gatepost/foreign/#\n";
    let mut fields = Vec::new();
    for (number, list) in lists.iter().enumerate() {
        let mut field = sound(&format!("list-{number}"));
        field.list = format!("{list}{}", if number == 8 { "" } else { canary });
        fields.push(field);
    }
    let mut rows = 0;
    for (list, found) in lists.iter().zip(look_at_all(&fields)?) {
        for (key, row) in facts(&found)?.acl {
            if let (Some(declared), Some(effective)) = (row.declared, row.effective) {
                assert_eq!(declared, effective, "{key} under\n{list}\n{:?}\n{}", row.declared_by, found.log);
                rows += 1;
            }
        }
    }
    assert!(rows > 100, "{rows} rows were compared");
    Ok(())
}

/// A retained message of somebody else, readable by all: it is counted, and neither its topic nor its content is kept.
#[test]
fn other_peoples_messages_are_counted_and_not_kept() -> Result<()> {
    let mut field = sound("not-ours").with("acl_file {folder}/acl\n", "");
    field.planted = Some(("private/wing-b/door".into(), "the code is 4711".into()));
    let found = look_at_all(&[field])?.remove(0);
    let wide = &found.observation["listeners"][0]["acl"]["seen"]["clients"][0]["everything"]["seen"];
    assert_eq!((&wide["others"], &wide["foreign"]), (&1.into(), &true.into()));
    let evidence = format!("{}{}", found.observation, found.report);
    for secret in ["wing-b", "4711"] {
        assert!(!evidence.contains(secret), "{secret} is kept");
    }
    Ok(())
}
