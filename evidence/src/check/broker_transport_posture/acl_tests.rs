//! The table of rights, and what an access control list declares.

use super::*;

fn rule(user: Option<&str>, pattern: bool, access: Access, topic: &str) -> Rule {
    Rule { line: 1, user: user.map(str::to_owned), pattern, access, topic: topic.into() }
}

#[test]
fn filters_match_as_the_standard_says() {
    for (filter, topic, expected) in [
        ("#", "a/b", true),
        ("#", "$SYS/a", false),
        ("$SYS/#", "$SYS/a/b", true),
        ("$SYS/#", "a", false),
        ("a/#", "a", true),
        ("a/#", "ab", false),
        ("a/+", "a/b", true),
        ("a/+", "a/b/c", false),
        ("a/+", "a", false),
        ("+/b", "a/b", true),
        ("+", "a", true),
        ("+", "$a", false),
        ("a/+/c", "a//c", true),
        ("a", "a", true),
        ("a", "a/", false),
    ] {
        assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
    }
}

#[test]
fn a_list_is_evaluated_as_mosquitto_does() {
    use Access::{Deny, Read, Readwrite, Write};
    let rules = [
        rule(None, false, Read, "public/#"),
        rule(Some("a"), false, Readwrite, "telemetry/#"),
        rule(Some("a"), false, Deny, "telemetry/secret"),
        rule(None, true, Write, "devices/%u/%c"),
        rule(None, true, Read, "all/%c"),
        rule(None, true, Deny, "all/evil"),
    ];
    let may = |user: Option<&str>, id: &str, write: bool, topic: &str| {
        permission(&rules, user, id, write, topic).0 == Permission::Allow
    };
    assert!(may(None, "i", false, "public/x") && !may(None, "i", true, "public/x"));
    // The first section is for clients without a name alone.
    assert!(!may(Some("a"), "i", false, "public/x") && !may(Some("b"), "i", false, "telemetry/x"));
    assert!(may(Some("a"), "i", true, "telemetry/x") && !may(Some("a"), "i", true, "telemetry/secret"));
    assert!(may(Some("b"), "i", true, "devices/b/i") && !may(Some("b"), "i", true, "devices/a/i"));
    assert!(!may(None, "i", true, "devices//i"), "a pattern with %u needs a name");
    assert!(may(None, "i", false, "all/i") && !may(None, "evil", false, "all/evil"));
    assert!(!may(Some("#"), "i", false, "all/i") && !may(None, "+", false, "all/+"));
}

fn spot(subscribe: u8, publish: Option<u8>, reached: &[Who]) -> Option<Spot> {
    let reached = reached.iter().copied().collect();
    Some(Spot { subscribe: Look::Seen(subscribe), publish: Look::Seen(publish), reached, gone: None })
}

fn client(who: Who, canary: Option<Spot>, foreign: Option<Spot>) -> Client {
    Client {
        client: who,
        id: "gatepost-canary-1".into(),
        username: None,
        common_name: Some("gateway".into()),
        by_way_of: None,
        connect: Look::Seen(Connected { level: 5, code: 0 }),
        canary,
        foreign,
        everything: None,
        sys: None,
        will: None,
    }
}

fn acl(clients: Vec<Client>) -> Acl {
    let list = List {
        entries: 2,
        rules: vec![
            rule(Some("gateway"), false, Access::Readwrite, "gatepost/canary/#"),
            rule(Some("gateway"), false, Access::Read, "$SYS/broker/load/#"),
        ],
    };
    let directives = [("use_identity_as_username".to_owned(), "true".to_owned())].into();
    let declared = Some(Look::Seen(Declared { directives, list: Some(Look::Seen(list)) }));
    Acl { connections: 1, connection_limit: 20, declared, clients }
}

fn table(acl: Acl) -> (BTreeMap<String, Right>, Unknown) {
    let listener = Listener {
        address: "h:1".into(),
        bind: None,
        transport: super::super::Transport::Tls,
        source: super::super::Source::Configured,
        dial: Look::Seen(super::super::Dialled { micros: 1 }),
        versions: Vec::new(),
        anonymous: None,
        authenticated: None,
        survey: None,
        mqtt: None,
        resumption: None,
        websocket: None,
        battery: None,
        acl: Some(Look::Seen(acl)),
    };
    let (mut table, mut unknown) = (BTreeMap::new(), Unknown::default());
    rows(&listener, Scope::Loopback, &mut table, &mut unknown);
    (table, unknown)
}

const ALLOW: Option<Permission> = Some(Permission::Allow);
const DENY: Option<Permission> = Some(Permission::Deny);

#[test]
fn the_table_holds_declared_against_effective() {
    use Who::{Canary, Configured};
    let mut configured = client(Configured, spot(0, Some(0), &[Configured]), spot(0, Some(0x87), &[]));
    let wide = |foreign, others| Wide { subscribe: 0, writer: Some(Canary), foreign, others, beyond: Some(0) };
    configured.everything = Some(Look::Seen(wide(false, 7)));
    configured.sys = Some(Look::Seen(wide(false, 3)));
    configured.will = Some(Look::Seen(Will { connect: Connected { level: 5, code: 0 }, reached: [Canary].into() }));
    let canary = client(Canary, spot(0, Some(0x87), &[]), spot(0, Some(0), &[Canary]));
    let (found, unknown) = table(acl(vec![configured, canary]));
    let of = |key: &str| {
        let row = &found[&format!("h:1 {key}")];
        (row.declared, row.effective)
    };
    assert_eq!(of("configured write gatepost/canary"), (ALLOW, ALLOW));
    assert_eq!(of("configured read gatepost/canary"), (ALLOW, ALLOW));
    assert_eq!(of("configured write gatepost/foreign"), (DENY, DENY));
    // The canary's own message was accepted, and did not come.
    assert_eq!(of("configured read gatepost/foreign"), (DENY, DENY));
    assert_eq!(of("configured will gatepost/foreign"), (DENY, ALLOW));
    assert_eq!(of("configured read #"), (DENY, DENY));
    // An entry for a part of it is a grant.
    assert_eq!(of("configured read $SYS/#"), (ALLOW, ALLOW));
    assert_eq!(of("canary write gatepost/foreign").1, ALLOW);
    assert_eq!(
        found["h:1 configured write gatepost/canary"].declared_by.as_deref(),
        Some("line 1: topic readwrite gatepost/canary/#")
    );
    assert_eq!(unknown.reason("/acl/h:1 configured write gatepost~1foreign/effective"), None);
    // What was not tried with the canary has no row at all, nor has a client that came by another listener.
    assert!(!found.contains_key("h:1 canary read #"));
    let guest =
        Client { by_way_of: Some("h:2".into()), ..client(Canary, spot(0, Some(0), &[]), spot(0, Some(0), &[])) };
    assert!(table(acl(vec![guest])).0.is_empty());
}

#[test]
fn an_acknowledgement_of_mqtt_3_is_no_right_and_silence_is_no_denial() {
    use Who::{Canary, Configured};
    let alone = client(Configured, spot(0, None, &[Configured]), spot(0, None, &[]));
    let (found, unknown) = table(acl(vec![alone.clone()]));
    assert_eq!(found["h:1 configured write gatepost/canary"].effective, ALLOW);
    for action in ["read", "write"] {
        assert_eq!(found[&format!("h:1 configured {action} gatepost/foreign")].effective, None);
        let reason = unknown.reason(&format!("/acl/h:1 configured {action} gatepost~1foreign/effective"));
        assert!(reason.unwrap().contains("needs canary of [broker.battery]"), "{action}");
    }
    let watching = client(Canary, spot(0, None, &[]), spot(0, None, &[Canary]));
    let (found, _) = table(acl(vec![alone, watching]));
    assert_eq!(found["h:1 configured write gatepost/foreign"].effective, DENY);
    assert_eq!(found["h:1 configured read gatepost/foreign"].effective, DENY);
}

/// What did not come to somebody who was not there any more.
#[test]
fn whoever_is_gone_is_neither_refused_nor_a_witness() {
    use Who::{Canary, Configured};
    let gone =
        |spot: Option<Spot>| spot.map(|spot| Spot { gone: Some(Failure::new(FailureKind::TimedOut, "8 s")), ..spot });
    let reader = client(Configured, None, gone(spot(0, None, &[])));
    let writer = client(Canary, None, spot(0, None, &[Canary]));
    let (found, unknown) = table(acl(vec![reader, writer]));
    assert_eq!(found["h:1 configured read gatepost/foreign"].effective, None);
    let reason = unknown.reason("/acl/h:1 configured read gatepost~1foreign/effective").unwrap();
    assert!(reason.contains("gone before the end"), "{reason}");
    let other = client(Configured, None, spot(0, None, &[]));
    let witness = client(Canary, None, gone(spot(0, None, &[Canary])));
    let (found, _) = table(acl(vec![other, witness]));
    assert_eq!(found["h:1 configured write gatepost/foreign"].effective, None);
}

#[test]
fn refusals_by_code_or_by_hanging_up_are_denials_and_other_failures_are_not() {
    use Who::Configured;
    let closed = |kind| Failure::new(kind, "as told");
    for (publish, expected) in [
        (Look::Seen(Some(0x10)), ALLOW),
        (Look::Seen(Some(0x87)), DENY),
        (Look::Failed(closed(FailureKind::Closed)), DENY),
        (Look::Failed(closed(FailureKind::TimedOut)), None),
        (Look::Failed(closed(FailureKind::Protocol)), None),
    ] {
        let tried = Some(Spot { subscribe: Look::Seen(0x80), publish, reached: BTreeSet::new(), gone: None });
        let (found, _) = table(acl(vec![client(Configured, tried, None)]));
        assert_eq!(found["h:1 configured write gatepost/canary"].effective, expected);
        assert_eq!(found["h:1 configured read gatepost/canary"].effective, DENY);
    }
}

#[test]
fn everything_is_read_when_something_from_outside_the_role_comes() {
    let wide = |subscribe, writer, foreign, beyond| Look::Seen(Wide { subscribe, writer, foreign, others: 9, beyond });
    for (look, expected) in [
        (wide(0, Some(Who::Canary), true, Some(0)), Ok(Permission::Allow)),
        (wide(0, None, false, Some(2)), Ok(Permission::Allow)),
        (wide(0, Some(Who::Canary), false, Some(0)), Ok(Permission::Deny)),
        (wide(0x80, None, false, None), Ok(Permission::Deny)),
    ] {
        assert_eq!(reads_everything(Some(&look)), expected);
    }
    assert!(reads_everything(Some(&wide(0, None, false, None))).unwrap_err().unwrap().contains("needs canary"));
    assert_eq!(reads_everything(None), Err(None));
}

#[test]
fn what_is_not_declared_in_a_list_is_said() {
    let with = |change: fn(&mut Declared)| {
        let mut acl = acl(vec![client(Who::Configured, spot(0, Some(0), &[]), spot(0, Some(0), &[]))]);
        let Some(Look::Seen(declared)) = &mut acl.declared else { panic!("no declaration") };
        change(declared);
        acl
    };
    let key = "h:1 configured write gatepost/foreign";
    let place = "/acl/h:1 configured write gatepost~1foreign/declared";
    let (found, _) = table(with(|declared| declared.list = None));
    assert_eq!((found[key].declared, found[key].granted), (ALLOW, Some(false)));
    assert_eq!(found[key].declared_by.as_deref(), Some("no acl_file"));
    let (found, unknown) = table(with(|declared| {
        declared.list = Some(Look::Failed(Failure::new(FailureKind::Denied, "acl")));
    }));
    assert_eq!((found[key].declared, unknown.reason(place)), (None, Some("denied: acl")));
    let (_, unknown) = table(with(|declared| {
        declared.directives.insert("plugin".into(), "/dynsec.so".into());
    }));
    assert!(unknown.reason(place).unwrap().starts_with("plugin: "));
    let mut none = with(|_| {});
    none.declared = None;
    let (found, unknown) = table(none);
    assert_eq!((found[key].declared, found[key].configuration_known, unknown.reason(place)), (None, false, None));
    let (found, _) = table(with(|declared| {
        declared.directives.clear();
    }));
    // Without use_identity_as_username the client has no name, and the list nothing for it.
    assert_eq!(found["h:1 configured write gatepost/canary"].declared, DENY);
}

#[test]
fn a_borrowed_name_is_told_by_the_rights_it_brings() {
    use Who::{Configured, OtherUser};
    let own = || client(Configured, spot(0, Some(0), &[Configured]), spot(0, Some(0x87), &[]));
    let other = |canary, foreign| client(OtherUser, canary, foreign);
    let same = other(spot(0, Some(0), &[]), spot(0, Some(0x87), &[]));
    assert_eq!(bound(&acl(vec![own(), same])), Ok(true));
    let another = other(spot(0, Some(0x87), &[]), spot(0, Some(0x87), &[]));
    assert_eq!(bound(&acl(vec![own(), another])), Ok(false));
    let refused = Client { connect: Look::Seen(Connected { level: 5, code: 0x86 }), ..other(None, None) };
    assert_eq!(bound(&acl(vec![own(), refused])), Ok(true));
    let everybody = other(spot(0, Some(0), &[]), spot(0, Some(0), &[]));
    assert!(bound(&acl(vec![own(), everybody])).unwrap_err().unwrap().contains("do not tell"));
    assert_eq!(bound(&acl(vec![own()])), Err(None));
}

#[test]
fn what_the_list_grants_to_others_is_named() {
    let mut acl = acl(Vec::new());
    let mut unknown = Unknown::default();
    let found = identities(&acl, "/l", &mut unknown);
    assert_eq!((found.bare_wildcards, found.rights_by_client_id), (Some(vec![]), Some(false)));
    let Some(Look::Seen(declared)) = &mut acl.declared else { panic!("no declaration") };
    let Some(Look::Seen(list)) = &mut declared.list else { panic!("no list") };
    list.rules.extend([
        rule(Some("ops"), false, Access::Read, "#"),
        rule(None, false, Access::Deny, "#"),
        rule(None, true, Access::Readwrite, "devices/%c/#"),
    ]);
    let found = identities(&acl, "/l", &mut unknown);
    assert_eq!(found.bare_wildcards, Some(vec!["line 1: topic read # (user ops)".to_owned()]));
    assert_eq!(found.rights_by_client_id, Some(true));
    let Some(Look::Seen(declared)) = &mut acl.declared else { panic!("no declaration") };
    declared.directives.insert("use_username_as_clientid".into(), "true".into());
    assert_eq!(identities(&acl, "/l", &mut unknown).rights_by_client_id, Some(false));
}
