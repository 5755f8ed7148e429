//! The facts that follow from what stands in configuration files.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::check::broker_transport_posture::Scope;
use crate::look::{Failure, FailureKind, Look};

fn seen() -> Seen {
    Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None }
}

fn broker(text: &str) -> BrokerFacts {
    let directives = text
        .lines()
        .zip(1..)
        .filter_map(|(text, line)| {
            let (key, value) = text.trim().split_once(' ')?;
            Some(Directive { file: "m.conf".into(), line, key: key.into(), value: value.into() })
        })
        .collect();
    let broker = Broker { path: "m.conf".into(), directives, ..Broker::default() };
    let observation = Observation { service: None, broker: Some(broker) };
    Check::normalise(&observation, &seen(), &mut Unknown::default()).broker.unwrap()
}

fn service(value: Option<Value>) -> (ServiceFacts, Unknown) {
    let pointers = BTreeMap::from([("auth_enforced".into(), Pointed { pointer: "/auth".into(), value })]);
    let file = ConfigurationFile { path: "s.toml".into(), mode: "0640".into(), pointers };
    let service = Service { configuration: Some(Look::Seen(file)), ..Service::default() };
    let mut unknown = Unknown::default();
    let observation = Observation { service: Some(service), broker: None };
    (Check::normalise(&observation, &seen(), &mut unknown).service.unwrap(), unknown)
}

#[test]
fn directives_after_a_listener_belong_to_it() {
    let facts = broker(
        "allow_anonymous false\nlistener 8883\ncafile /ca\ncertfile /c\nkeyfile /k\nrequire_certificate true\n\
         listener 1883 127.0.0.1\nlistener_allow_anonymous true\n",
    );
    let tls = &facts.listeners["8883"];
    assert_eq!((tls.scope, tls.tls, tls.client_certificate_required), (Scope::Public, true, true));
    assert!(!tls.anonymous_allowed);
    let plain = &facts.listeners["1883@127.0.0.1"];
    assert_eq!((plain.scope, plain.tls, plain.anonymous_allowed), (Scope::Loopback, false, true));
    assert_eq!(facts.anonymous_allowed, Some(true));
}

#[test]
fn settings_per_listener_stay_with_their_listener() {
    let facts = broker("per_listener_settings true\nlistener 8883\nlistener 1883 127.0.0.1\nallow_anonymous 1\n");
    assert!(!facts.listeners["8883"].anonymous_allowed);
    assert!(facts.listeners["1883@127.0.0.1"].anonymous_allowed);
    let facts = broker("listener 8883\nlistener 1883 127.0.0.1\nallow_anonymous 1\n");
    assert!(facts.listeners.values().all(|listener| listener.anonymous_allowed), "without them it is global");
}

#[test]
fn without_a_listener_mosquitto_is_local_and_open() {
    assert_eq!(broker("persistence true\n").anonymous_allowed, Some(true));
    // Debian 12's takes no notice of that before there is a listener.
    assert_eq!(broker("allow_anonymous false\n").anonymous_allowed, Some(true));
    assert_eq!(broker("listener 1883\n").anonymous_allowed, Some(false));
}

#[test]
fn one_insecure_bridge_among_several_is_one_too_many() {
    let two = |first, second| {
        let text = format!("connection a\nbridge_insecure {first}\nconnection b\nbridge_insecure {second}\n");
        broker(&text).bridge_insecure
    };
    assert_eq!(two("true", "false"), Some(true));
    assert_eq!(two("false", "true"), Some(true));
    assert_eq!(two("false", "false"), Some(false));
}

#[test]
fn a_file_out_of_sight_leaves_everything_unknown() {
    let unreadable = BTreeMap::from([("/etc/x".to_owned(), Failure::new(FailureKind::Denied, "no"))]);
    let broker = Broker { path: "m.conf".into(), unreadable, ..Broker::default() };
    let mut unknown = Unknown::default();
    let facts = Check::normalise(&Observation { service: None, broker: Some(broker) }, &seen(), &mut unknown);
    assert_eq!(facts.broker.unwrap().anonymous_allowed, None);
    assert_eq!(unknown.reason("/broker/anonymous_allowed"), Some("/etc/x: denied: no"));
}

#[test]
fn a_pointer_is_read_as_people_write_booleans() {
    for (value, expected) in [
        (Some(Value::Bool(false)), Some(false)),
        (Some("Yes".into()), Some(true)),
        (Some("off".into()), Some(false)),
        (Some(1.into()), Some(true)),
        (Some("maybe".into()), None),
        (None, None),
    ] {
        let (facts, unknown) = service(value);
        assert_eq!(facts.auth_enforced, expected);
        assert_eq!(unknown.reason("/service/auth_enforced").is_some(), expected.is_none());
        assert_eq!(facts.declared, ["auth_enforced"]);
    }
}

#[test]
fn a_metric_that_is_not_there_is_not_observable_but_a_silent_endpoint_is_unknown() {
    let facts = |metrics| {
        let service = Service { metrics: Some(metrics), ..Service::default() };
        let mut unknown = Unknown::default();
        let observation = Observation { service: Some(service), broker: None };
        let facts = Check::normalise(&observation, &seen(), &mut unknown).service.unwrap();
        (facts.unsafe_defaults_observable, unknown.reason("/service/unsafe_defaults_observable").is_some())
    };
    let metrics = |status, lines: &[&str]| {
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let samples = MetricSamples { metric: "unsafe".into(), lines };
        let samples = BTreeMap::from([("unsafe_defaults".into(), samples)]);
        Look::Seen(Metrics { url: "http://x/metrics".into(), status, samples, later: None })
    };
    assert_eq!(facts(metrics(200, &["unsafe 0"])), (Some(true), false));
    assert_eq!(facts(metrics(200, &[])), (Some(false), false));
    assert_eq!(facts(metrics(500, &[])), (None, true));
    assert_eq!(facts(Look::Failed(Failure::new(FailureKind::Refused, "no"))), (None, true));
}

/// A broker's files: `==NAME` begins one, and the first is what the broker is started with.
fn files(release: &str, text: &str) -> BrokerFacts {
    let mut directives = Vec::new();
    let mut file = String::from("m.conf");
    let mut number = 0;
    for line in text.lines() {
        number += 1;
        if let Some(name) = line.strip_prefix("==") {
            file = name.to_owned();
            // What was read of the main file before does not count again.
            number = if name == "m.conf" { 100 } else { 0 };
            continue;
        }
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        directives.push(Directive { file: file.clone(), line: number, key: key.into(), value: value.into() });
    }
    let release = Some(Look::Seen(release.to_owned()));
    let broker = Broker { path: "m.conf".into(), directives, release, ..Broker::default() };
    let observation = Observation { service: None, broker: Some(broker) };
    Check::normalise(&observation, &seen(), &mut Unknown::default()).broker.unwrap()
}

const TLS: &str = "certfile /c\nkeyfile /k\ncafile /ca\n";

#[test]
fn every_included_file_begins_on_the_default_listener() {
    let text = "listener 8883\ninclude_dir /d\n==/d/a.conf\nallow_anonymous true\nrequire_certificate true\n==m.conf\n";
    let facts = files("2.0.11", &format!("per_listener_settings true\n{text}{TLS}"));
    let names: Vec<_> = facts.listeners.keys().cloned().collect();
    assert_eq!(names, ["1883", "8883"], "the included options open one on the port of the default");
    assert!(facts.listeners["1883"].anonymous_allowed && !facts.listeners["1883"].tls);
    assert!(facts.listeners["8883"].tls && !facts.listeners["8883"].anonymous_allowed);
    assert_eq!(
        facts.ignored_directives.unwrap(),
        ["require_certificate has no effect without certfile and keyfile (/d/a.conf:2)"]
    );
    // 2.1 has no listener there to begin on.
    let facts = files("2.1.2", &format!("per_listener_settings true\n{text}{TLS}"));
    assert!(facts.rejected_lines.unwrap()[0].starts_with("allow_anonymous needs a `listener` before it"));
}

#[test]
fn half_a_certificate_is_plaintext_or_refused() {
    let half = "listener 8883\ncafile /ca\ncertfile /c\nrequire_certificate true\nallow_anonymous true\n";
    let old = files("2.0.11", half);
    let listener = &old.listeners["8883"];
    assert!(!listener.tls && !listener.client_certificate_required && listener.admits_anybody);
    assert_eq!((old.ignored_directives.unwrap().len(), old.rejected_lines.unwrap().len()), (3, 0));
    let new = files("2.0.21", half);
    assert_eq!(new.rejected_lines.unwrap(), ["certfile, keyfile and cafile do not stand together (m.conf:3)"]);
}

#[test]
fn the_default_listener_of_old_releases_lets_everybody_in() {
    let facts = files("2.0.11", "per_listener_settings true\nport 1884\nlistener 1885\n");
    assert!(facts.listeners["1884"].anonymous_allowed && !facts.listeners["1885"].anonymous_allowed);
    let facts = files("2.1.0", "per_listener_settings true\nport 1884\nlistener 1885\n");
    assert!(facts.listeners.values().all(|listener| !listener.anonymous_allowed));
    let facts = files("2.0.11", "use_username_as_clientid true\nlistener 1885\n");
    assert_eq!(facts.listeners.keys().collect::<Vec<_>>(), ["1883", "1885"]);
}

#[test]
fn what_the_broker_would_not_start_with_is_named() {
    for (line, words) in [
        ("allow_anonymous yes", "allow_anonymous is neither true nor false (m.conf:2)"),
        ("acl_file /a\nacl_file /b", "acl_file stands twice (m.conf:3)"),
        ("allow_anonymous true\nper_listener_settings true", "per_listener_settings stands after a security"),
        ("bridge_insecure true", "bridge_insecure stands before any `connection`"),
        ("connection x\naddress a", "connection x has no topic (m.conf:2)"),
        ("listener 8883", "listener takes a port that another listener has"),
        ("listener 0", "listener names no port"),
        ("protocol coap", "protocol names no protocol"),
        ("log_dest nowhere", "log_dest names no destination"),
        ("plugin_opt_x y", "plugin_opt_x stands before any `plugin`"),
        ("persistence", "persistence has no value"),
    ] {
        let facts = files("2.0.11", &format!("listener 8883\n{line}\n"));
        let told = facts.rejected_lines.unwrap();
        assert!(told.len() == 1 && told[0].starts_with(words), "{line}: {told:?}");
        assert!(facts.unknown_directives.unwrap().is_empty(), "{line}");
    }
    let old = files("2.0.11", "listener 8883\nlistener_allow_anonymous true\nallow_anonymus false\n#\n");
    assert_eq!(
        old.unknown_directives.unwrap(),
        ["listener_allow_anonymous is known from 2.1.0 on (m.conf:2)", "allow_anonymus (m.conf:3)", "# (m.conf:4)"]
    );
    let new = files("2.1.0", "listener 8883\nlistener_allow_anonymous true\nport 1883\nretry_interval 5\n");
    assert!(new.unknown_directives.unwrap().is_empty() && new.listeners["8883"].anonymous_allowed);
    assert_eq!(new.deprecated_directives.unwrap(), ["port (m.conf:3)"]);
    assert_eq!(new.ignored_directives.unwrap(), ["retry_interval has no effect any more (m.conf:4)"]);
}

#[test]
fn numbers_are_read_as_the_release_reads_them() {
    let facts = files("2.0.11", "max_queued_messages 12x\nmax_keepalive 60x\nmax_packet_size 1048576 # 1 MiB\n");
    assert_eq!(
        (facts.max_queued_messages, facts.max_keepalive, facts.max_packet_size),
        (Some(12), Some(60), Some(1_048_576))
    );
    let facts = files("2.1.0", "max_keepalive 0x10\nmax_queued_messages 12x\n");
    assert_eq!((facts.max_keepalive, facts.max_packet_size), (Some(16), Some(2_000_000)));
    assert!(facts.rejected_lines.unwrap()[0].starts_with("max_queued_messages is no number"));
}

#[test]
fn a_tab_is_no_space() {
    // The probe writes control characters as U+FFFD, so that they stay what they are: part of a word.
    let facts = files("2.0.11", "listener 1883\u{FFFD}127.0.0.1\n");
    assert_eq!(facts.listeners["1883"].scope, Scope::Public);
}

#[test]
fn cipher_lists_are_searched_for_what_is_weak() {
    let weak = |list: &str| {
        files("2.0.11", &format!("listener 8883\n{TLS}ciphers {list}\n")).listeners["8883"].weak_ciphers.clone()
    };
    assert!(weak("ECDHE+AESGCM:!aNULL:!MD5:-3DES").is_empty());
    assert_eq!(weak("HIGH:DES-CBC3-SHA:eNULL"), ["DES-CBC3-SHA", "ENULL"]);
    assert_eq!(weak("ALL"), ["ALL"]);
    assert!(weak("ALL:!aNULL").is_empty());
    assert_eq!(weak("DEFAULT@SECLEVEL=0:@SECLEVEL=0"), ["@SECLEVEL=0"]);
}

#[test]
fn bridges_say_how_far_they_lead_and_what_they_show() {
    let text = "connection cloud\naddress 10.0.0.1:1883 mqtt.example # two\ntopic # out\nremote_password (redacted)\n\
                connection here\naddress 127.0.0.1\ntopic # out\nbridge_cafile /ca\nusername x\n";
    let facts = files("2.0.11", text);
    let cloud = &facts.bridges["cloud"];
    assert_eq!((cloud.scope, cloud.tls, cloud.credentials, cloud.password), (Scope::Name, false, false, true));
    assert_eq!(cloud.addresses, ["10.0.0.1:1883", "mqtt.example"]);
    let here = &facts.bridges["here"];
    assert_eq!((here.scope, here.tls, here.credentials, here.password), (Scope::Loopback, true, true, false));
}

#[test]
fn origins_and_dates_are_facts_of_releases_that_can_tell() {
    let text =
        format!("listener 9001\nprotocol websockets\nlistener 8883\n{TLS}disable_client_cert_date_checks true\n");
    let facts = files("2.1.0", &text);
    assert_eq!(facts.listeners["9001"].any_origin, Some(true));
    assert_eq!(facts.listeners["8883"].client_dates_checked, Some(false));
    let facts = files("2.1.0", "listener 9001\nprotocol websockets\nwebsockets_origin https://a\n");
    assert_eq!(facts.listeners["9001"].any_origin, Some(false));
    let facts = files("2.0.11", "listener 9001\nprotocol websockets\n");
    assert_eq!((facts.listeners["9001"].any_origin, facts.listeners["9001"].client_dates_checked), (None, None));
}

#[test]
fn files_are_told_with_owner_and_mode_and_changes_since_the_start() {
    let at = |seconds: i64| jiff::Timestamp::from_second(seconds).unwrap();
    let state = |mode: &str, uid, changed| {
        Look::Seen(broker::FileState { mode: mode.into(), uid, gid: 0, changed: at(changed) })
    };
    let named = |uses: &[broker::Use], state| broker::NamedFile { uses: uses.to_vec(), state, passwords: None };
    let directive =
        Directive { file: "m.conf".into(), line: 1, key: "remote_password".into(), value: broker::REDACTED.into() };
    let process =
        broker::Process { uid: 112, started: at(1000), configuration: Some("m.conf".into()), known_here: true };
    let mut observed = Broker {
        path: "m.conf".into(),
        directives: vec![directive],
        files: BTreeMap::from([
            ("m.conf".to_owned(), named(&[broker::Use::Configuration], state("0644", 112, 2000))),
            ("acl".to_owned(), named(&[broker::Use::Rights], state("0602", 1000, 1001))),
        ]),
        processes: Some(Look::Seen(vec![process])),
        ..Broker::default()
    };
    let facts = |broker: &Broker| {
        let mut unknown = Unknown::default();
        let observation = Observation { service: None, broker: Some(broker.clone()) };
        (Check::normalise(&observation, &seen(), &mut unknown).broker.unwrap(), unknown)
    };
    let (found, _) = facts(&observed);
    let file = &found.files["m.conf"];
    assert_eq!((file.secret, file.readable_by_others, file.owner_trusted), (true, Some(true), Some(true)));
    let list = &found.files["acl"];
    assert_eq!((list.secret, list.writable_by_others, list.owner_trusted), (false, Some(true), Some(false)));
    assert_eq!((found.running, found.changed_since_start), (Some(true), Some(vec!["m.conf".to_owned()])));
    observed.processes = Some(Look::Seen(Vec::new()));
    assert_eq!(facts(&observed).0.running, Some(false));
    let mut other = broker::Process { uid: 1, started: at(1), configuration: Some("n.conf".into()), known_here: true };
    observed.processes = Some(Look::Seen(vec![other.clone()]));
    assert_eq!(facts(&observed).0.running, Some(false));
    other.known_here = false;
    observed.processes = Some(Look::Seen(vec![other]));
    assert_eq!(facts(&observed).0.running, None, "it may be the same file under another name");
    observed.processes = Some(Look::Failed(Failure::new(FailureKind::Denied, "hidden")));
    let (found, unknown) = facts(&observed);
    assert_eq!((found.running, unknown.reason("/broker/running")), (None, Some("denied: hidden")));
}

#[test]
fn messages_flow_when_their_counter_rises() {
    let flowing = |first: &[&str], later: Option<&[&str]>| {
        let samples = |lines: &[&str]| {
            let lines = lines.iter().map(|line| (*line).to_owned()).collect();
            BTreeMap::from([("messages".to_owned(), MetricSamples { metric: "sent".into(), lines })])
        };
        let later = later.map(|lines| Look::Seen(service::Later { millis: 2000, samples: samples(lines) }));
        let metrics = Metrics { url: "http://x".into(), status: 200, samples: samples(first), later };
        let service = Service { metrics: Some(Look::Seen(metrics)), ..Service::default() };
        let mut unknown = Unknown::default();
        let observation = Observation { service: Some(service), broker: None };
        let facts = Check::normalise(&observation, &seen(), &mut unknown).service.unwrap();
        assert_eq!(facts.declared, ["messages"]);
        (facts.messages_flowing, unknown.reason("/service/messages_flowing").is_some())
    };
    assert_eq!(flowing(&["sent 5"], Some(&["sent 7"])), (Some(true), false));
    assert_eq!(flowing(&["sent{to=\"a b\"} 5", "sent{to=\"}\"} 1e1 1700"], Some(&["sent 15"])), (Some(false), false));
    assert_eq!(flowing(&["sent 5"], Some(&["sent 3"])), (None, true));
    assert_eq!(flowing(&["sent 5"], Some(&[])), (None, true));
    assert_eq!(flowing(&["sent NaN"], Some(&["sent 3"])), (None, true));
    assert_eq!(flowing(&["sent 5"], None), (None, true));
}

#[test]
fn the_running_broker_is_held_against_its_files() {
    use crate::check::broker_transport_posture as posture;
    let declared = files(
        "2.0.11",
        &format!(
            "max_packet_size 1000\nlistener 8883 127.0.0.1\n{TLS}require_certificate true\ntls_version tlsv1.3\nlistener 1883 127.0.0.1\n"
        ),
    );
    let look: posture::Observation = serde_json::from_value(serde_json::json!({
        "server_name": "x",
        "listeners": [{
            "address": "127.0.0.1:8883", "bind": null, "transport": "tls", "source": "configured",
            "dial": {"seen": {"micros": 1}},
            "versions": [
                {"version": "tls1.2", "client_certificate_requested": true, "accepted_issuers": [],
                 "handshake": {"seen": {"cipher_suite": "x", "group": null, "micros": 1}}},
                {"version": "tls1.3", "client_certificate_requested": true, "accepted_issuers": [],
                 "handshake": {"seen": {"cipher_suite": "x", "group": null, "micros": 1}}}
            ],
            "anonymous": {"seen": {"code": 0, "micros": 1}}, "authenticated": null
        }, {
            "address": "127.0.0.1:1883", "bind": null, "transport": "plaintext", "source": "configured",
            "dial": {"failed": {"kind": "refused", "detail": "no"}},
            "versions": [], "anonymous": null, "authenticated": null
        }]
    }))
    .unwrap();
    let mut live = live::Live::default();
    live.add_listeners(posture::Check::normalise(&look, &seen(), &mut Unknown::default()));
    live.sockets = Some(vec![("0.0.0.0".into(), 8883)]);
    let mut unknown = Unknown::default();
    let rows = live::rows(&declared, &live, &mut unknown);
    let contradicted: Vec<_> =
        rows.iter().filter(|(_, row)| row.contradicted == Some(true)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        contradicted,
        [
            "1883@127.0.0.1 open",
            "8883@127.0.0.1 anonymous",
            "8883@127.0.0.1 client certificate",
            "8883@127.0.0.1 oldest TLS",
            "8883@127.0.0.1 reach",
        ],
        "{rows:#?}"
    );
    assert_eq!(rows["8883@127.0.0.1 open"].contradicted, Some(false));
    assert_eq!(rows["8883@127.0.0.1 transport"].contradicted, Some(false));
}

#[test]
fn numbers_are_read_as_c_reads_them() {
    use super::values::number;
    // What `atoi` of Debian's glibc returns on a machine of 64 bits.
    for (word, expected) in [
        ("100", 100),
        ("+7x", 7),
        ("x", 0),
        ("-20", -20),
        ("4294967396", 100),
        ("7777777777777777778", 845_094_002),
        ("9999999999999999999", -1),
        ("-9999999999999999999", 0),
    ] {
        assert_eq!(number(word, false), Some(expected), "{word}");
    }
    assert_eq!((number("0x10", true), number("4294967396", true), number("7x", true)), (Some(16), None, None));
}
