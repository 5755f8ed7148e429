//! What our reader makes of a configuration, held against what the running Mosquitto then does: for each listener whether TLS is
//! spoken, which versions, whether a client certificate is demanded, and whether a client that shows nothing gets in; and for
//! configurations that we say it would not start with, that it does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use gatepost::probe::mosquitto;
use gatepost_evidence::check::gateway_config_guardrails::{BrokerFacts, Check, Observation};
use gatepost_evidence::check::{Contract as _, Seen, Unknown};
use gatepost_evidence::look::Look;
use gatepost_tests::agent::{Finished, run};
use gatepost_tests::mosquitto::{broker as mosquitto_binary, release};
use gatepost_tests::port::Port;
use gatepost_tests::process::{LIMIT, Program, command, installed};
use gatepost_tests::weak::Keys;

/// A configuration: what it is called, the main file, files of its `include_dir`, and arguments of the broker.
struct Case {
    name: &'static str,
    text: &'static str,
    included: &'static [(&'static str, &'static str)],
    arguments: &'static [&'static str],
}

const fn case(name: &'static str, text: &'static str) -> Case {
    Case { name, text, included: &[], arguments: &[] }
}

const TLS: &str = "cafile {keys}/ca.pem\ncertfile {keys}/broker.pem\nkeyfile {keys}/broker.pem\n";

/// Configurations that Debian 12's broker starts with.
const TAKEN: &[Case] = &[
    case("anonymous", "listener {a} 127.0.0.1\nallow_anonymous true\n"),
    case("nothing said", "listener {a} 127.0.0.1\n"),
    case("a comment behind a value", "listener {a} 127.0.0.1 # here\nallow_anonymous true # for now\n"),
    Case {
        name: "no listener, and nobody anonymous",
        text: "allow_anonymous false\n",
        included: &[],
        arguments: &["-p", "{a}"],
    },
    case("global, wherever it stands", "listener {a} 127.0.0.1\nlistener {b} 127.0.0.1\nallow_anonymous true\n"),
    case(
        "each its own",
        "per_listener_settings true\nlistener {a} 127.0.0.1\nallow_anonymous true\nlistener {b} 127.0.0.1\nallow_anonymous false\n",
    ),
    case(
        "each its own, the first before any listener",
        "per_listener_settings true\nport {b}\nbind_address 127.0.0.1\nallow_anonymous false\nlistener {a} 127.0.0.1\nallow_anonymous true\n",
    ),
    case(
        "each its own, and nothing said",
        "per_listener_settings true\nport {b}\nbind_address 127.0.0.1\nlistener {a} 127.0.0.1\n",
    ),
    case(
        "each its own, taken back",
        "per_listener_settings true\nlistener {a} 127.0.0.1\nallow_anonymous true\nper_listener_settings false\n",
    ),
    case("the port said twice", "port {b}\nport {a}\nbind_address 127.0.0.1\nallow_anonymous true\n"),
    case("a tab for a space", "listener {a}\t127.0.0.1\nallow_anonymous true\n"),
    case("spaces before and between", "   listener   {a}   127.0.0.1\n  allow_anonymous   1   \n     \n"),
    case("mutual TLS", "listener {a} 127.0.0.1\n{tls}require_certificate true\nuse_identity_as_username true\n"),
    case("mutual TLS, whoever it is", "listener {a} 127.0.0.1\n{tls}require_certificate true\nallow_anonymous true\n"),
    case("TLS for anybody", "listener {a} 127.0.0.1\n{tls}allow_anonymous true\n"),
    case("TLS for nobody", "listener {a} 127.0.0.1\n{tls}"),
    case(
        "TLS with names from certificates that are not demanded",
        "allow_anonymous true\nlistener {a} 127.0.0.1\n{tls}use_identity_as_username true\n",
    ),
    case("TLS 1.3 alone", "allow_anonymous true\nlistener {a} 127.0.0.1\n{tls}tls_version tlsv1.3\n"),
    case("TLS 1.2 and later", "allow_anonymous true\nlistener {a} 127.0.0.1\n{tls}tls_version tlsv1.2\n"),
    case(
        "plaintext beside TLS",
        "allow_anonymous true\nlistener {a} 127.0.0.1\n{tls}require_certificate true\nlistener {b} 127.0.0.1\n",
    ),
    case(
        "a CA and no certificate",
        "allow_anonymous true\nlistener {a} 127.0.0.1\ncafile {keys}/ca.pem\nrequire_certificate true\n",
    ),
    case(
        "a certificate and no key",
        "allow_anonymous true\nlistener {a} 127.0.0.1\ncertfile {keys}/broker.pem\nrequire_certificate true\n",
    ),
    case(
        "TLS of the default listener",
        "port {a}\nbind_address 127.0.0.1\n{tls}require_certificate true\nlistener {b} 127.0.0.1\nallow_anonymous true\n",
    ),
    Case {
        name: "the last of the included files counts",
        text: "listener {a} 127.0.0.1\ninclude_dir {folder}/conf.d\n",
        included: &[("B.conf", "allow_anonymous false\n"), ("a.conf", "allow_anonymous true\n"), ("c.txt", "junk\n")],
        arguments: &[],
    },
    Case {
        name: "what stands behind an include belongs to the listener before it",
        text: "per_listener_settings true\nlistener {a} 127.0.0.1\ninclude_dir {folder}/conf.d\nallow_anonymous true\n",
        included: &[
            ("a.conf", "port {b}\nbind_address 127.0.0.1\n"),
            // What 2.0.11 does behind an include that adds a listener is left to what its memory holds by then.
            ("b.conf", "allow_anonymous false\n"),
        ],
        arguments: &[],
    },
    Case {
        name: "an included file that includes",
        text: "include_dir {folder}/conf.d\nlistener {a} 127.0.0.1\n",
        included: &[("a.conf", "include_dir {folder}/conf.d\nallow_anonymous true\n")],
        arguments: &[],
    },
];

/// Configurations that it does not start with; some of them a later one does.
const REFUSED: &[Case] = &[
    case("a value that is none", "listener {a} 127.0.0.1\nallow_anonymous yes\n"),
    case("a name that is none", "listener {a} 127.0.0.1\nallow_anonymus true\n"),
    case("a name of 2.1", "listener {a} 127.0.0.1\nlistener_allow_anonymous true\n"),
    case("capital letters", "Listener {a} 127.0.0.1\n"),
    case("a comment behind a space", "listener {a} 127.0.0.1\n # no\n"),
    case("a tab alone", "listener {a} 127.0.0.1\n\t\n"),
    case("a tab behind a name", "listener {a} 127.0.0.1\nallow_anonymous\ttrue\n"),
    Case {
        name: "one file named twice",
        text: "listener {a} 127.0.0.1\nacl_file {folder}/conf.d/x\nacl_file {folder}/conf.d/y\n",
        included: &[("x", ""), ("y", "")],
        arguments: &[],
    },
    case("settings of each too late", "allow_anonymous true\nper_listener_settings true\nlistener {a} 127.0.0.1\n"),
    case("one port for two", "listener {a} 127.0.0.1\nlistener {a} 127.0.0.1\n"),
    case("no port", "listener {a} 127.0.0.1\nlistener 0\n"),
    case("a bridge's option without a bridge", "listener {a} 127.0.0.1\nbridge_insecure true\n"),
    case("a bridge to nowhere", "listener {a} 127.0.0.1\nconnection x\ntopic # out\n"),
    case("a bridge for nothing", "listener {a} 127.0.0.1\nconnection x\naddress 127.0.0.1:1\nstart_type lazy\n"),
    case("a protocol that is none", "listener {a} 127.0.0.1\nprotocol coap\n"),
    case("a family that is none", "listener {a} 127.0.0.1\nsocket_domain ipx\n"),
    case("a log that is none", "listener {a} 127.0.0.1\nlog_dest nowhere\n"),
    case("an option of no plugin", "listener {a} 127.0.0.1\nplugin_opt_abc x\n"),
    case("no value", "listener {a} 127.0.0.1\npersistence\n"),
];

/// Configurations with what came in 2.1.
const NEWER: &[Case] = &[
    case("a listener's own word", "listener {a} 127.0.0.1\nlistener_allow_anonymous true\nlistener {b} 127.0.0.1\n"),
    case(
        "a listener's own word against everybody's",
        "allow_anonymous true\nlistener {a} 127.0.0.1\nlistener_allow_anonymous false\nlistener {b} 127.0.0.1\n",
    ),
    case(
        "a listener's own word, each its own",
        "per_listener_settings true\nlistener {a} 127.0.0.1\nlistener_allow_anonymous true\nlistener {b} 127.0.0.1\n",
    ),
    case("a listener's own word before any", "listener_allow_anonymous true\nlistener {a} 127.0.0.1\n"),
    case(
        "TLS without dates",
        "listener {a} 127.0.0.1\n{tls}require_certificate true\ndisable_client_cert_date_checks true\n",
    ),
    case(
        "origins",
        "listener {a} 127.0.0.1\nallow_anonymous true\nlistener {b} 127.0.0.1\nprotocol websockets\nwebsockets_origin https://example.com\n",
    ),
    case("an HTTP API", "listener {a} 127.0.0.1\nallow_anonymous true\nlistener {b} 127.0.0.1\nprotocol http_api\n"),
    case("versions", "listener {a} 127.0.0.1\nallow_anonymous true\naccept_protocol_versions 4,5\n"),
    case("a limit for everybody", "global_max_clients 10\nlistener {a} 127.0.0.1\n"),
    case("a number with something behind it", "max_keepalive 12x\nlistener {a} 127.0.0.1\n"),
    case(
        "the rest of OpenSSL's suites",
        "allow_anonymous true\nlistener {a} 127.0.0.1\n{tls}ciphers_tls1.3 TLS_AES_256_GCM_SHA384\n",
    ),
    case("a mount point behind a listener", "listener {a} 127.0.0.1\nallow_anonymous true\nmount_point x/\n"),
    case("a mount point behind a port", "port {a}\nbind_address 127.0.0.1\nmount_point x/\nallow_anonymous true\n"),
    case("a mount point before any", "mount_point x/\nlistener {a} 127.0.0.1\nallow_anonymous true\n"),
    case("an option for a bridge of later", "listener {a} 127.0.0.1\nbridge_tls_use_os_certs true\n"),
    case("the control API", "listener {a} 127.0.0.1\nenable_control_api true\n"),
];

/// OpenSSL without TLS 1.3.
const NOT_NEWER: &str = "openssl_conf = all\n[all]\nssl_conf = of_tls\n[of_tls]\nsystem_default = of_everybody\n\
                         [of_everybody]\nMaxProtocol = TLSv1.2\n";

/// What a listener does, as a stranger finds out.
#[derive(Debug, PartialEq, Eq)]
struct Listener {
    tls: bool,
    /// TLS 1.2 is spoken.
    tls12: bool,
    certificate_required: bool,
    admits_anybody: bool,
}

struct Site<'a> {
    keys: &'a Keys,
    folder: &'a Path,
    ports: [Port; 3],
}

impl Site<'_> {
    fn fill(&self, text: &str) -> String {
        let folder = self.keys.file("ca");
        let mut text = text.replace("{tls}", TLS);
        for (name, port) in ["{a}", "{b}", "{c}"].iter().zip(&self.ports) {
            text = text.replace(name, &port.address().port().to_string());
        }
        text.replace("{keys}", &folder.parent().unwrap().display().to_string())
            .replace("{folder}", &self.folder.display().to_string())
    }

    /// Writes the files of `case` and returns what we make of them, and the running broker or what it said instead.
    fn start(&self, case: &Case) -> Result<(BrokerFacts, Result<Program>)> {
        let included = self.folder.join("conf.d");
        fs::create_dir_all(&included)?;
        for (name, text) in case.included {
            fs::write(included.join(name), self.fill(text))?;
        }
        let path = self.folder.join("mosquitto.conf");
        let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
        fs::write(&path, self.fill(case.text) + user)?;
        let binary = mosquitto_binary()?;
        let mut broker = command(&binary);
        broker.arg("-c").arg(&path).args(case.arguments.iter().map(|argument| self.fill(argument)));
        let mut program = Program::start_command(&binary, broker)?;
        let runs = program.wait_until("it runs", LIMIT, |lines| lines.iter().any(|line| line.ends_with(" running")));
        Ok((facts(&path)?, runs.map(|()| program)))
    }

    fn publish(&self, port: u16, options: &[&str]) -> Result<Finished> {
        self.publish_with(port, options, None)
    }

    /// By a client with this configuration of OpenSSL, since `--tls-version` sets the oldest version alone.
    fn publish_with(&self, port: u16, options: &[&str], openssl: Option<&Path>) -> Result<Finished> {
        let mut publish = command(&installed("mosquitto_pub", "mosquitto-clients")?);
        publish.args(["-h", "localhost", "-p", &port.to_string(), "-t", "gatepost/canary", "-m", "x", "-q", "1"]);
        publish.args(options);
        publish.envs(openssl.map(|path| ("OPENSSL_CONF", path)));
        run(publish, LIMIT)
    }

    /// Whether MQTT answered: the client was let in, or told that it is not.
    fn answered(finished: &Finished) -> bool {
        finished.code == Some(0)
            || finished.stderr.contains("Connection Refused")
            || finished.stderr.contains("not authorised")
    }

    fn ask(&self, port: u16) -> Result<Listener> {
        let bare = self.publish(port, &[])?;
        if Self::answered(&bare) {
            let admits_anybody = bare.code == Some(0);
            return Ok(Listener { tls: false, tls12: false, certificate_required: false, admits_anybody });
        }
        let (ca, client) = (self.keys.file("ca"), self.keys.file("client"));
        let (ca, client) = (ca.to_str().unwrap(), client.to_str().unwrap());
        let trusting = ["--cafile", ca];
        let known = [&trusting[..], &["--cert", client, "--key", client]].concat();
        let newest = self.publish(port, &[&known[..], &["--tls-version", "tlsv1.3"]].concat())?;
        assert!(Self::answered(&newest), "neither plaintext nor TLS: {bare:?} {newest:?}");
        let openssl = self.folder.join("openssl.cnf");
        fs::write(&openssl, NOT_NEWER)?;
        let older = self.publish_with(port, &known, Some(&openssl))?;
        let stranger = self.publish(port, &trusting)?;
        Ok(Listener {
            tls: true,
            tls12: Self::answered(&older),
            certificate_required: !Self::answered(&stranger),
            admits_anybody: stranger.code == Some(0),
        })
    }
}

fn facts(path: &Path) -> Result<BrokerFacts> {
    let mut broker = mosquitto::look(Path::new("/"), path, Path::new("/"))?;
    // What dpkg would tell where this broker is the host's own.
    broker.release = Some(Look::Seen(release()?.to_owned()));
    let observation = Observation { service: None, broker: Some(broker) };
    let seen = Seen { at: jiff::Timestamp::now(), distrust: None };
    Check::normalise(&observation, &seen, &mut Unknown::default()).broker.context("no facts")
}

fn each(cases: &[Case], mut look: impl FnMut(&Site<'_>, &Case) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let keys = Keys::make(&folder.path().join("keys"))?;
    for (number, case) in cases.iter().enumerate() {
        let own = folder.path().join(number.to_string());
        fs::create_dir(&own)?;
        let ports = [Port::reserve()?, Port::reserve()?, Port::reserve()?];
        look(&Site { keys: &keys, folder: &own, ports }, case).with_context(|| case.name)?;
    }
    Ok(())
}

/// Whether the broker starts, and then what each listener does.
fn hold(site: &Site<'_>, case: &Case) -> Result<bool> {
    let (facts, program) = site.start(case)?;
    let (rejected, unknown) = (facts.rejected_lines.unwrap(), facts.unknown_directives.unwrap());
    let told = [rejected, unknown].concat();
    if let [told] = told.as_slice() {
        assert!(program.is_err(), "{}: it starts, and we say {told}", case.name);
        return Ok(false);
    }
    assert!(told.is_empty(), "{}: {told:?}", case.name);
    let program = program?;
    assert_eq!((facts.running, facts.changed_since_start), (Some(true), Some(vec![])), "{}", case.name);
    // The one that is there without any listener is moved to a free port by an argument.
    let moved = if case.arguments.is_empty() { 0 } else { site.ports[0].address().port() };
    let port = |declared: u16| if moved > 0 && declared == 1883 { moved } else { declared };
    let declared: BTreeMap<u16, _> = facts.listeners.values().map(|it| (port(it.port), it)).collect();
    let opened: BTreeSet<u16> = program
        .log()
        .lines()
        .filter_map(|line| line.split_once("listen socket on port ")?.1.trim_end_matches('.').parse().ok())
        .collect();
    assert_eq!(declared.keys().copied().collect::<BTreeSet<_>>(), opened, "{}: {}", case.name, program.log());
    for (port, declared) in declared.into_iter().filter(|(_, declared)| declared.protocol == "mqtt") {
        let ours = Listener {
            tls: declared.tls,
            tls12: declared.tls_floor.as_deref().is_some_and(|floor| floor <= "tls1.2"),
            certificate_required: declared.client_certificate_required,
            admits_anybody: declared.admits_anybody,
        };
        assert_eq!(ours, site.ask(port)?, "{}, port {port}: {}", case.name, program.log());
    }
    Ok(true)
}

#[test]
fn the_running_broker_does_what_our_reader_says() -> Result<()> {
    let (mut starts, mut refused) = (0, 0);
    for cases in [TAKEN, REFUSED, NEWER] {
        each(cases, |site, case| {
            let starting = hold(site, case)?;
            *if starting { &mut starts } else { &mut refused } += 1;
            Ok(())
        })?;
    }
    assert!(starts >= 20 && refused >= 15, "{starts} start and {refused} do not");
    Ok(())
}

#[test]
fn debian_12s_broker_starts_with_these_and_not_with_those() -> Result<()> {
    if release()? != "2.0.11" {
        // The other test holds what is asked of every release.
        return Ok(());
    }
    for (cases, expected) in [(TAKEN, true), (REFUSED, false)] {
        each(cases, |site, case| {
            assert_eq!(hold(site, case)?, expected, "{}", case.name);
            Ok(())
        })?;
    }
    Ok(())
}

/// What stands before a directive: nothing, a listener, one that has its own settings, a bridge, a plugin.
const BEFORE: [&str; 5] = [
    "",
    "listener 1883\n",
    "per_listener_settings true\nlistener 1883\n",
    "listener 1883\nconnection x\naddress 127.0.0.1:1\ntopic # out\n",
    "listener 1883\nplugin /none\n",
];
const VALUES: [&str; 8] = ["1", "x", "", "true y", "-1", "0", "70000", "300000000"];
/// No release knows it, so that the broker stops where it stands, if not before.
const END: &str = "gatepost_ends_here";

const OURS: &[u8] = include_bytes!("../../evidence/src/check/gateway_config_guardrails/directives.rs");

/// Every word that may be the name of a directive.
fn words(bytes: &[u8]) -> BTreeSet<String> {
    let of_a_name = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || [b'_', b'.'].contains(byte);
    let words = bytes.split(|byte| !of_a_name(byte));
    // `include_dir` reads other files.
    let words =
        words.filter(|word| (3..40).contains(&word.len()) && word[0].is_ascii_lowercase() && *word != b"include_dir");
    words.map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// The line that the broker does not take.
fn stops_at(binary: &Path, path: &Path) -> Result<usize> {
    let mut broker = command(binary);
    broker.arg("-c").arg(path);
    let said = run(broker, LIMIT)?;
    let words = format!("{}{}", said.stdout, said.stderr);
    let line = words.rsplit_once(&format!("Error found at {}:", path.display()));
    let line = line.and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    line.with_context(|| format!("the broker does not say where it stops: {words}"))
}

/// The first line that we say it would not take.
fn we_say(path: &Path) -> Result<usize> {
    let facts = facts(path)?;
    let told = [facts.rejected_lines.unwrap(), facts.unknown_directives.unwrap()].concat();
    let line = |words: &String| words.rsplit_once(':')?.1.trim_end_matches(')').parse::<usize>().ok();
    told.iter().filter_map(line).min().with_context(|| format!("no line in {told:?}"))
}

/// Lines with values of their own, behind a listener and a bridge.
const LINES: [&str; 54] = [
    "topic \"\" out 0 b/",
    "topic \"\" out 0 \"\" b/",
    "topic \"\" in 0 \"\" b/",
    "topic a/#/b out 0 x/ y/",
    "topic a+ out 0 \"\" y/",
    "topic a+ out 0 x/ \"\"",
    "topic a+ in 0 x/ y/",
    "topic a/#/b out",
    "topic # OUT",
    "topic # out 0 local remote",
    "topic \"\" out",
    "topic \"\" out 0 a/ b/",
    "topic # out 0 a# b",
    "topic # out 3",
    "topic \"a b/#\" both",
    "topic \"a",
    "topic",
    "topic a",
    "topic a sideways",
    "topic a in 2 \"\" b/",
    "topic a in 2 + b/",
    "persistent_client_expiration 14day",
    "persistent_client_expiration 1month",
    "persistent_client_expiration 1.5d",
    "persistent_client_expiration +1h",
    "persistent_client_expiration 1hh",
    "persistent_client_expiration 2weeks",
    "persistent_client_expiration 5s",
    "persistent_client_expiration 0d",
    "persistent_client_expiration d",
    "persistent_client_expiration 1",
    "persistent_client_expiration -1d",
    "persistent_client_expiration 1 d",
    "bridge_protocol_version mqttv311 x",
    "bridge_protocol_version mqttv311",
    "bridge_protocol_version mqttv50",
    "mount_point a/#",
    "mount_point a/",
    "restart_timeout 5 3",
    "restart_timeout 0 1",
    "restart_timeout 5",
    "restart_timeout 3 5",
    "start_type automatic",
    "start_type manual",
    "start_type lazy x",
    "bridge_tcp_keepalive 1 2 3",
    "bridge_tcp_keepalive 1 2",
    "bridge_reload_type immediate",
    "max_keepalive 9",
    "max_keepalive +60",
    "max_keepalive 0x20",
    "max_keepalive 0b101",
    "max_packet_size 19",
    "max_packet_size 20",
];

#[test]
fn each_line_of_its_own_kind_is_taken_as_we_say() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (binary, path) = (mosquitto_binary()?, folder.path().join("mosquitto.conf"));
    let mut wrong = Vec::new();
    for line in LINES {
        fs::write(&path, format!("{}{line}\n{END}\n", BEFORE[3]))?;
        let (broker, ours) = (stops_at(&binary, &path)?, we_say(&path)?);
        if broker != ours {
            wrong.push(format!("{line}: it stops at {broker}, we say {ours}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

/// What the broker asks for only when everything is read, or of the machine: that a bridge has an address, that a certificate has
/// its key, that a name resolves and a folder is there. And what is not in evidence: a digest of a password.
const BEYOND_A_LINE: [&str; 8] =
    ["connection", "cafile", "capath", "certfile", "keyfile", "bind_address", "http_dir", "tls_engine_kpass_sha1"];

/// Writes each name with each value behind each beginning, and tells where the broker stops at another line than we say.
fn differences(names: &[String], before: &[&str], values: &[&str]) -> Result<Vec<String>> {
    let binary = mosquitto_binary()?;
    let lane = |names: &[String]| -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("mosquitto.conf");
        let mut wrong = Vec::new();
        for name in names.iter().filter(|name| !BEYOND_A_LINE.contains(&name.as_str())) {
            for (before, value) in before.iter().flat_map(|before| values.iter().map(move |value| (before, value))) {
                fs::write(&path, format!("{before}{name} {value}\n{END}\n"))?;
                let (broker, ours) = (stops_at(&binary, &path)?, we_say(&path)?);
                if broker != ours {
                    wrong.push(format!("{before:?} {name} {value:?}: it stops at {broker}, we say {ours}"));
                }
            }
        }
        Ok(wrong)
    };
    let lanes = std::thread::available_parallelism()?.get();
    std::thread::scope(|scope| {
        let lanes = names.chunks(names.len().div_ceil(lanes)).map(|names| scope.spawn(move || lane(names)));
        let lanes: Vec<_> = lanes.collect();
        let found = lanes.into_iter().map(|lane| lane.join().unwrap()).collect::<Result<Vec<_>>>()?;
        Ok(found.concat())
    })
}

#[test]
fn each_directive_that_we_know_is_taken_behind_a_listener_as_we_say() -> Result<()> {
    let names: Vec<_> = words(OURS).into_iter().collect();
    let wrong = differences(&names, &BEFORE[1..2], &VALUES[..1])?;
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
#[ignore = "starts a broker some ten thousand times, which takes minutes: cargo xtask test --full"]
fn each_word_of_the_broker_is_taken_everywhere_as_we_say() -> Result<()> {
    let program = words(&fs::read(mosquitto_binary()?)?);
    let all: Vec<_> = program.union(&words(OURS)).cloned().collect();
    assert!(all.len() > 500, "{all:?}");
    let wrong = differences(&all, &BEFORE[1..2], &VALUES[..1])?;
    assert!(wrong.is_empty(), "names: {wrong:#?}");
    let wrong = differences(&words(OURS).into_iter().collect::<Vec<_>>(), &BEFORE, &VALUES)?;
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
