//! Each way to weaken the configuration of a hardened gateway, on a real Mosquitto that is restarted with it and a service that
//! answers, and the finding that it alone makes.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use anyhow::{Context as _, Result};
use gatepost_rules::assess::Outcome;
use gatepost_rules::pack::Pack;
use gatepost_tests::mosquitto::is_two_one;
use gatepost_tests::weak_config::{Gateway, Turn, Weak, rows};

const CHECK: &[&str] = &["gateway_config_guardrails"];
const NONE: [&str; 0] = [];

const fn broker(
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    finding: &'static [&'static str],
) -> Weak {
    Weak { name, broker: changes, findings: finding, ..Weak::NOTHING }
}

const fn bridge(
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    finding: &'static [&'static str],
) -> Weak {
    Weak { name, bridge: changes, findings: finding, ..Weak::NOTHING }
}

const fn service(
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    finding: &'static [&'static str],
) -> Weak {
    Weak { name, service: changes, findings: finding, ..Weak::NOTHING }
}

const fn content(
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    finding: &'static [&'static str],
) -> Weak {
    Weak { name, content: changes, findings: finding, ..Weak::NOTHING }
}

const fn mode(name: &'static str, changes: &'static [(&'static str, u32)], finding: &'static [&'static str]) -> Weak {
    Weak { name, mode: changes, findings: finding, ..Weak::NOTHING }
}

const fn turn(name: &'static str, turn: Turn, finding: &'static [&'static str]) -> Weak {
    Weak { name, turn, findings: finding, ..Weak::NOTHING }
}

const WEAK: &[Weak] = &[
    broker(
        "anybody gets in",
        &[("allow_anonymous false\npassword_file", "allow_anonymous true\npassword_file")],
        &["broker_anonymous_allowed"],
    ),
    broker(
        "plaintext to the network",
        &[(
            "listener {passwords} 127.0.0.1\ncertfile {keys}/broker.pem\nkeyfile {keys}/broker.pem\nciphers ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL\n",
            "listener {passwords} 0.0.0.0\n",
        )],
        &["broker_plaintext_listener_exposed[{passwords}@0.0.0.0]"],
    ),
    broker(
        "half a certificate, and everything about TLS is passed over",
        &[("keyfile {keys}/broker.pem\nciphers", "ciphers")],
        &["broker_directive_ignored"],
    ),
    broker(
        "a withdrawn version of TLS",
        &[("ciphers ECDHE", "tls_version tlsv1.1\nciphers ECDHE")],
        &["broker_legacy_tls_declared[{passwords}@127.0.0.1]"],
    ),
    broker("weak suites", &[(":!aNULL", ":DES-CBC3-SHA")], &["broker_weak_ciphers[{passwords}@127.0.0.1]"]),
    broker(
        "no rights",
        &[("acl_file {folder}/acl\nlistener", "listener"), ("acl_file {folder}/acl\n", "")],
        &["broker_access_control_missing"],
    ),
    broker("nothing is kept", &[("persistence true", "persistence false")], &["broker_persistence_disabled"]),
    broker("written only at the end", &[("autosave_interval 300", "autosave_interval 0")], &["broker_autosave_off"]),
    broker(
        "queues without bound",
        &[("max_queued_messages 1000", "max_queued_messages 0")],
        &["broker_queue_unbounded"],
    ),
    broker("silent for hours", &[("max_keepalive 600", "max_keepalive 65535")], &["broker_keepalive_unbounded"]),
    broker("no log", &[("log_dest stderr", "log_dest none")], &["broker_log_nowhere"]),
    broker(
        "certificates asked for and not demanded",
        &[("require_certificate true\n", "")],
        &["broker_client_certificate_optional[{tls}@127.0.0.1]"],
    ),
    broker(
        "certificates of whomever",
        &[("use_identity_as_username true\n", "")],
        &["broker_certificate_not_identity[{tls}@127.0.0.1]"],
    ),
    broker("nothing is revoked", &[("crlfile {keys}/crl.pem\n", "")], &["broker_revocation_missing[{tls}@127.0.0.1]"]),
    broker(
        "what will be removed",
        &[("max_queued_messages 1000", "message_size_limit 1000")],
        &["broker_directive_deprecated"],
    ),
    broker(
        "what was removed",
        &[("max_keepalive 600", "max_keepalive 600\nretry_interval 20")],
        &["broker_directive_ignored"],
    ),
    bridge(
        "a peer of any name",
        &[("remote_username", "bridge_insecure true\nremote_username")],
        &["broker_bridge_insecure"],
    ),
    bridge(
        "a bridge in plaintext",
        &[("bridge_cafile {keys}/ca.pem\nbridge_tls_version tlsv1.2\n", "")],
        &["broker_bridge_plaintext[cloud]"],
    ),
    bridge("a bridge of old", &[("tlsv1.2", "tlsv1.1")], &["broker_bridge_legacy_tls[cloud]"]),
    bridge(
        "a bridge of nobody",
        &[("remote_username gateway\nremote_password hunter2\n", "")],
        &["broker_bridge_unauthenticated[cloud]"],
    ),
    bridge(
        "a file that includes",
        &[("connection cloud", "include_dir {folder}/conf.d\nconnection cloud")],
        &["broker_directive_ignored"],
    ),
    content(
        "passwords hashed once",
        &[("passwd", "gateway:$7$20000${hash}\nold:$6${hash}\n")],
        &["broker_password_fast_hash[{folder}/passwd]"],
    ),
    content(
        "passwords hashed a hundred times",
        &[("passwd", "gateway:$7$101${hash}\n")],
        &["broker_password_fast_hash[{folder}/passwd]"],
    ),
    content(
        "passwords in the clear",
        &[("passwd", "gateway:$7$20000${hash}\nold:hunter2\n")],
        &["broker_password_plain[{folder}/passwd]"],
    ),
    mode("rights that anybody writes", &[("acl", 0o602)], &["broker_file_writable[{folder}/acl]"]),
    mode("a folder that anybody fills", &[("conf.d", 0o777)], &["broker_file_writable[{folder}/conf.d]"]),
    mode("passwords that anybody reads", &[("passwd", 0o604)], &["broker_secret_readable[{folder}/passwd]"]),
    mode("a key that anybody reads", &[("keys/broker.pem", 0o644)], &["broker_secret_readable[{keys}/broker.pem]"]),
    mode(
        "a bridge's password that anybody reads",
        &[("conf.d/bridge.conf", 0o644)],
        &["broker_secret_readable[{folder}/conf.d/bridge.conf]"],
    ),
    turn("no broker", Turn::Stopped, &["broker_not_running"]),
    turn("an edited file", Turn::Edited, &["broker_changed_since_start"]),
    service("no credentials asked", &[("require_auth: true", "require_auth: false")], &["auth_enforcement_disabled"]),
    service("TLS as one likes", &[("tls: yes", "tls: no")], &["tls_enforcement_disabled"]),
    service("nothing is buffered", &[("enabled: true", "enabled: 0")], &["buffering_disabled"]),
    service("tried for ever", &[("limit: 8", "limit: -1")], &["retry_unbounded"]),
    content("nobody is told of unsafe defaults", &[("gateway.log", "started\n")], &["unsafe_defaults_not_observable"]),
    mode("a service that anybody configures", &[("gateway.yaml", 0o666)], &["config_writable_by_others"]),
    turn("the service is sick", Turn::Sick, &["service_unhealthy"]),
    turn("the service has ended", Turn::Ended, &["service_inactive"]),
    turn("the service is well and carries nothing", Turn::Still, &["messages_not_flowing"]),
];

/// What only 2.1 has.
const WEAK_IN_2_1: &[Weak] = &[
    broker(
        "certificates of any date",
        &[("crlfile", "disable_client_cert_date_checks true\ncrlfile")],
        &["broker_client_dates_unchecked[{tls}@127.0.0.1]"],
    ),
    broker(
        "pages of any origin",
        &[("listener {passwords} 127.0.0.1\n", "listener {passwords} 127.0.0.1\nprotocol websockets\n")],
        &["broker_any_origin[{passwords}@127.0.0.1]"],
    ),
    broker(
        "settings of each listener by the old word",
        &[("persistence true", "per_listener_settings false\npersistence true")],
        &["broker_directive_deprecated"],
    ),
    broker(
        "rights by a plugin",
        &[
            (
                "listener {tls} 127.0.0.1\n",
                "global_plugin {plugins}/mosquitto_acl_file.so\nplugin_opt_acl_file {folder}/acl\nlistener {tls} 127.0.0.1\n",
            ),
            ("acl_file {folder}/acl\nlistener {passwords}", "listener {passwords}"),
            ("passwd\nacl_file {folder}/acl\n", "passwd\n"),
        ],
        &[],
    ),
];

#[test]
fn a_hardened_configuration_has_no_findings_and_each_weakening_exactly_its_own() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::make(folder.path())?;
    let pack = Pack::builtin();
    let two_one = is_two_one()?;
    let mut weak: Vec<&Weak> = vec![&Weak::NOTHING];
    // 2.1 does not start with half a certificate, and in its words all listeners share the passwords, which a listener without
    // certificates then asks for.
    let of_2_0 = [
        "half a certificate, and everything about TLS is passed over",
        "certificates asked for and not demanded",
        "certificates of whomever",
        "a file that includes",
    ];
    weak.extend(WEAK.iter().filter(|weak| !two_one || !of_2_0.contains(&weak.name)));
    weak.extend(WEAK_IN_2_1.iter().filter(|_| two_one));
    let owned =
        turn("rights that are somebody else's", Turn::Owner("acl"), &["broker_file_foreign_owner[{folder}/acl]"]);
    if nix::unistd::geteuid().is_root() {
        weak.push(&owned);
    }
    for weak in weak {
        let (run, assessment) = gateway.look(weak, CHECK, &pack).with_context(|| weak.name)?;
        let expected: Vec<String> = weak.findings.iter().map(|finding| gateway.here(finding)).collect();
        assert_eq!(rows(&assessment, Outcome::Fail), expected, "{}", weak.name);
        let gaps = rows(&assessment, Outcome::Unknown);
        let expected: &[&str] = if weak.turn == Turn::Stopped { &["broker_changed_since_start"] } else { &NONE };
        assert_eq!(gaps, expected, "{}", weak.name);
        assert!(!Gateway::told(&run)?.contains("hunter2"), "{}: a secret is in the evidence", weak.name);
    }
    Ok(())
}

#[test]
fn what_the_broker_would_not_start_with_is_found_while_the_old_one_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::make(folder.path())?;
    let pack = Pack::builtin();
    gateway.look(&Weak::NOTHING, CHECK, &pack)?;
    for (changes, finding) in [
        (&[("max_keepalive 600", "max_keepalives 600\nmax_keepalive 600")], "broker_directive_unknown"),
        (
            // In 2.1 it is known, behind a listener.
            &[("max_keepalive 600", "disable_client_cert_date_checks true\nmax_keepalive 600")],
            if is_two_one()? { "broker_configuration_refused" } else { "broker_directive_unknown" },
        ),
        (&[("persistence true", "persistence yes\npersistence true")], "broker_configuration_refused"),
    ] {
        let weak = Weak { broker: changes, turn: Turn::Refused, ..Weak::NOTHING };
        let (_, assessment) = gateway.look(&weak, CHECK, &pack)?;
        let mut found = rows(&assessment, Outcome::Fail);
        // The file is newer than the broker, if the test took longer than the grace.
        found.retain(|key| key != "broker_changed_since_start");
        assert_eq!(found, [finding], "{changes:?}");
    }
    Ok(())
}

#[test]
fn a_broker_that_runs_with_something_else_contradicts_its_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut gateway = Gateway::make(folder.path())?;
    let pack = Pack::builtin();
    let checks = ["broker_transport_posture", "gateway_config_guardrails"];
    let strict = Weak { broker: &[("crlfile", "tls_version tlsv1.3\ncrlfile")], ..Weak::NOTHING };
    let (_, assessment) = gateway.look(&strict, &checks, &pack)?;
    assert_eq!(rows(&assessment, Outcome::Fail), NONE, "as it is declared");
    assert_eq!(rows(&assessment, Outcome::Unknown), NONE);
    let tls = gateway.here("{tls}@127.0.0.1");
    for (changes, what) in [
        (&[("require_certificate true\n", "")][..], &["client certificate"][..]),
        (&[("crlfile", "crlfile")], &["oldest TLS"]),
        (
            &[("max_packet_size 1048576", "max_packet_size 9048576"), ("crlfile", "tls_version tlsv1.3\ncrlfile")],
            &["largest packet"],
        ),
        (
            &[
                ("require_certificate true\nuse_identity_as_username true\n", ""),
                ("allow_anonymous false", "allow_anonymous true"),
                ("crlfile", "tls_version tlsv1.3\ncrlfile"),
            ],
            &["anonymous", "client certificate"],
        ),
    ] {
        let changes = [
            changes,
            if what == ["client certificate"] { &[("crlfile", "tls_version tlsv1.3\ncrlfile")][..] } else { &[] },
        ]
        .concat();
        gateway.run_something_else(&changes)?;
        let (_, assessment) = gateway.audit(&checks, &pack)?;
        let expected: Vec<_> = what.iter().map(|what| format!("broker_declared_not_in_effect[{tls} {what}]")).collect();
        assert_eq!(rows(&assessment, Outcome::Fail), expected, "{changes:?}");
    }
    gateway.stop();
    let (_, assessment) = gateway.audit(&checks, &pack)?;
    // Nobody answers, and so there is nothing to hold against the file.
    assert_eq!(rows(&assessment, Outcome::Fail), ["broker_not_running"]);
    Ok(())
}
