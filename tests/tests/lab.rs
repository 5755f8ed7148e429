//! The lab is what it says: the broker sound until it is opened, both states real and switched at run time, telemetry
//! carried all the way, and nothing left when it ends.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gatepost_tests::agent::{Finished, run};
use gatepost_tests::http::Client;
use gatepost_tests::pki::{DEVICES, Identity};
use gatepost_tests::process::Program;
use gatepost_tests::{Lab, State};

const LIMIT: Duration = Duration::from_secs(10);

/// Debian's own client, with these arguments, against `address`.
fn mosquitto(tool: &str, address: SocketAddr, arguments: &[&str]) -> Finished {
    let mut command = Command::new(tool);
    command.args(["-h", "localhost", "-p", &address.port().to_string()]).args(arguments);
    run(command, LIMIT).unwrap()
}

fn publish(address: SocketAddr, topic: &str, arguments: &[&str]) -> Finished {
    mosquitto("mosquitto_pub", address, &[&["-t", topic, "-m", "42", "-q", "1"], arguments].concat())
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn with<'a>(ca: &'a Path, identity: &'a Identity) -> [&'a str; 6] {
    ["--cafile", path(ca), "--cert", path(&identity.certificate), "--key", path(&identity.key)]
}

fn refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn the_broker_takes_certificates_and_nothing_else_until_it_is_opened() {
    let mut lab = Lab::start().unwrap();
    let (tls, plaintext) = (lab.broker().tls_address(), lab.broker().plaintext_address());
    let (ca, gateway) = (lab.pki().ca.clone(), lab.pki().gateway.clone());
    let sound = |lab: &Lab| {
        let taken = publish(tls, "gatepost/canary/1", &with(&ca, &gateway));
        assert_eq!(taken.code, Some(0), "{taken:?}\n{}", lab.broker().log());
        let bare = publish(tls, "gatepost/canary/1", &["--cafile", path(&ca)]);
        assert_ne!(bare.code, Some(0), "{bare:?}");
    };
    let stranger = {
        let leaf = gatepost_tests::pki::Leaf {
            common_name: "gateway",
            names: &["gateway"],
            usages: &[rcgen::ExtendedKeyUsagePurpose::ClientAuth],
            from_day: -1,
            to_day: 30,
        };
        gatepost_tests::pki::foreign(lab.folder(), "stranger", &leaf).unwrap()
    };
    sound(&lab);
    assert_ne!(publish(tls, "gatepost/canary/1", &with(&ca, &stranger)).code, Some(0));
    assert!(refused(plaintext));
    assert_ne!(publish(plaintext, "gatepost/canary/1", &[]).code, Some(0));

    for _ in 0..2 {
        lab.open_plaintext().unwrap();
        let anonymous = publish(plaintext, "gatepost/canary/1", &[]);
        assert_eq!(anonymous.code, Some(0), "{anonymous:?}\n{}", lab.broker().log());
        sound(&lab);

        lab.close_plaintext().unwrap();
        assert!(refused(plaintext));
        sound(&lab);
    }

    lab.stop_broker().unwrap();
    assert!(refused(tls));
    lab.start_broker().unwrap();
    sound(&lab);
}

#[test]
fn a_device_may_write_to_its_own_topic_only() {
    let lab = Lab::start().unwrap();
    let device = &lab.pki().devices[0];
    // MQTT 3.1.1 acknowledges what it drops, so the proof is in what arrives; messages keep their order.
    for topic in ["telemetry/stm32-02", "telemetry/stm32-01/other", "telemetry/stm32-01"] {
        publish(lab.broker().tls_address(), topic, &with(&lab.pki().ca, device));
    }
    let events = lab.ingest().wait_for(LIMIT, |events| !events.accepted.is_empty()).unwrap();
    let topics: Vec<_> = events.accepted.iter().map(|event| event["topic"].as_str().unwrap()).collect();
    assert_eq!(topics, ["telemetry/stm32-01"]);
}

#[test]
fn the_edge_is_exposed_then_hardened_then_exposed_while_it_runs() {
    let mut lab = Lab::start().unwrap();
    let http = Client::new(&lab.pki().ca).unwrap();
    let (url, plaintext) = (lab.ingest().url(), lab.ingest().plaintext_url());
    let token = std::fs::read_to_string(lab.ingest().token_file()).unwrap();
    let post = |url: &str, token: Option<&str>| http.post(url, token, r#"{"kind":"canary"}"#).map(|it| it.status);
    let metric = |lab: &Lab| {
        let metrics = http.get(&lab.service().metrics_url(), None).unwrap();
        assert_eq!(metrics.status, 200);
        metrics.body.lines().find(|line| line.starts_with("gateway_unsafe_defaults")).map(str::to_owned)
    };
    for turn in 0..2 {
        assert_eq!(lab.state(), State::Exposed);
        for url in [&url, &plaintext] {
            assert_eq!(post(url, None).unwrap(), 202);
            assert_eq!(post(url, Some("wrong")).unwrap(), 202);
        }
        assert_eq!(metric(&lab), None);
        assert_eq!(http.get(&lab.service().health_url(), None).unwrap().status, 200);
        lab.send_reading(0, turn, LIMIT).unwrap();

        lab.harden().unwrap();
        assert_eq!(lab.state(), State::Hardened);
        assert_eq!(post(&url, None).unwrap(), 401);
        assert_eq!(post(&url, Some("wrong")).unwrap(), 401);
        assert_eq!(post(&url, Some(&token)).unwrap(), 202);
        assert!(post(&plaintext, None).is_err());
        assert!(refused(lab.ingest().http_address()));
        assert_eq!(metric(&lab).as_deref(), Some("gateway_unsafe_defaults 0"));
        assert_eq!(http.get(&lab.service().health_url(), None).unwrap().status, 200);
        lab.send_reading(1, turn, LIMIT).unwrap();

        lab.expose().unwrap();
    }
    assert_eq!(lab.ingest().events().refused, 4, "the gateway service itself was refused");
}

#[test]
fn an_event_that_comes_twice_is_told() {
    let lab = Lab::start().unwrap();
    let http = Client::new(&lab.pki().ca).unwrap();
    let post = |body: &str| http.post(&lab.ingest().url(), None, body).unwrap().status;
    assert_eq!((post(r#"{"id":"a"}"#), post(r#"{"id":"a"}"#), post(r#"{"id":"b"}"#)), (202, 200, 202));
    assert_eq!((post("[]"), post("{")), (400, 400));
    let events = lab.ingest().events();
    assert_eq!((events.accepted.len(), events.duplicates()), (2, 1));
}

#[test]
fn what_the_broker_acknowledged_outlives_a_restart() {
    let mut lab = Lab::start().unwrap();
    for number in 0..3 {
        lab.send_reading(2, number, LIMIT).unwrap();
    }
    lab.stop_broker().unwrap();
    lab.start_broker().unwrap();
    lab.send_reading(2, 3, LIMIT).unwrap();
    assert_eq!(lab.ingest().events().accepted.len(), 4);
}

#[test]
fn a_configuration_that_cannot_be_read_makes_the_service_unwell() {
    let mut lab = Lab::start().unwrap();
    let http = Client::new(&lab.pki().ca).unwrap();
    std::fs::write(lab.service().configuration_file(), "[security]\nrequire_auth = \n").unwrap();
    let health = http.get(&lab.service().health_url(), None).unwrap();
    assert_eq!(health.status, 503);
    assert!(health.body.contains("gateway.toml is not understood"), "{}", health.body);
    assert_eq!(http.get(&lab.service().metrics_url(), None).unwrap().status, 500);
    lab.harden().unwrap();
    assert_eq!(http.get(&lab.service().health_url(), None).unwrap().status, 200);
}

#[test]
fn devices_present_their_own_certificates() {
    let lab = Lab::start().unwrap();
    for (device, id) in lab.devices().iter().zip(DEVICES) {
        // rustls refuses the NULL that mbedTLS writes behind ecdsa-with-SHA256; OpenSSL, which Mosquitto uses, does not.
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &device.address().to_string(), "-verify_return_error"]);
        client.args(["-verify_hostname", id, "-CAfile", path(&lab.pki().ca)]);
        let seen = run(client, LIMIT).unwrap().expect_code(0).unwrap();
        assert!(seen.stdout.contains("Verification: OK") && seen.stdout.contains("TLSv1.2"), "{seen:?}");
        let registered = std::fs::read_to_string(lab.pki().registry.join(format!("{id}.pem"))).unwrap();
        assert!(seen.stdout.contains(registered.trim()), "{seen:?}\n{registered}");
    }
    assert_eq!(std::fs::read_dir(&lab.pki().registry).unwrap().count(), DEVICES.len());
}

#[test]
fn certificates_are_sound_to_openssl_and_keys_are_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = Lab::start().unwrap();
    let pki = lab.pki();
    let named = [(&pki.broker, "sslserver"), (&pki.ingest, "sslserver"), (&pki.gateway, "sslclient")];
    let devices = pki.devices.iter().flat_map(|device| [(device, "sslserver"), (device, "sslclient")]);
    for (identity, purpose) in named.into_iter().chain(devices) {
        let mut command = Command::new("openssl");
        command.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile", path(&pki.ca)]);
        let verified = run(
            {
                command.arg(&identity.certificate);
                command
            },
            LIMIT,
        )
        .unwrap();
        assert_eq!(verified.code, Some(0), "{verified:?}");
        assert_eq!(std::fs::metadata(&identity.key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut command = Command::new("openssl");
    command.args(["x509", "-checkend", &(90 * 86_400).to_string(), "-noout", "-in"]).arg(&pki.broker.certificate);
    assert_eq!(run(command, LIMIT).unwrap().code, Some(0), "the broker's certificate does not last 90 days");
}

#[test]
fn nothing_is_left_after_a_lab_even_if_the_test_panics() {
    let (sender, facts) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let lab = Lab::start().unwrap();
        let addresses = [lab.broker().tls_address(), lab.ingest().https_address(), lab.ingest().http_address()];
        let addresses: Vec<_> = addresses.into_iter().chain(lab.devices().iter().map(|it| it.address())).collect();
        assert!(!addresses.iter().any(|address| refused(*address)));
        sender.send((lab.folder().to_owned(), lab.broker().id().unwrap(), addresses)).unwrap();
        panic!("on purpose");
    })
    .join();
    assert!(panicked.is_err());
    let (folder, broker, addresses) = facts.recv().unwrap();
    assert!(!folder.exists());
    assert!(!Path::new(&format!("/proc/{broker}")).exists());
    assert!(addresses.into_iter().all(refused));
}

/// Not a test of its own: the next one runs it in a process that it then kills.
#[test]
fn a_lab_that_waits_to_be_killed() {
    if std::env::var_os(TO_BE_KILLED).is_none() {
        return;
    }
    let lab = Lab::start().unwrap();
    println!("\nbroker {}", lab.broker().id().unwrap());
    loop {
        std::thread::park();
    }
}

const TO_BE_KILLED: &str = "GATEPOST_LAB_TO_BE_KILLED";

#[test]
fn the_broker_ends_even_if_the_whole_test_process_is_killed() {
    let this = std::env::current_exe().unwrap();
    // A killed process removes nothing, so its lab stands in a folder of ours.
    let folder = tempfile::tempdir().unwrap();
    let mut command = gatepost_tests::process::command(&this);
    command.args(["--exact", "a_lab_that_waits_to_be_killed", "--nocapture"]);
    command.env(TO_BE_KILLED, "1").env("TMPDIR", folder.path());
    let mut lab = Program::start_command(&this, command).unwrap();
    let mut broker = None;
    lab.wait_until("it has a broker", LIMIT, |lines| {
        broker = lines.iter().find_map(|line| line.strip_prefix("broker ")?.parse::<u32>().ok());
        broker.is_some()
    })
    .unwrap();
    lab.kill().unwrap();
    let stat = format!("/proc/{}/stat", broker.unwrap());
    let deadline = Instant::now() + LIMIT;
    // It is nobody's child now: gone, or a zombie until init looks.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| stat.contains("(mosquitto)") && !stat.contains(") Z ")) {
        assert!(Instant::now() < deadline, "the broker outlives the process that started it");
        std::thread::yield_now();
    }
}

#[test]
fn the_agents_configuration_names_what_is_there() {
    let lab = Lab::start().unwrap();
    let sink = gatepost_tests::SinkInfo { url: "https://127.0.0.1:8443".into(), ca_file: lab.pki().ca.clone() };
    let text = lab.agent_config(Path::new("/var/lib/gatepost"), Some(&sink));
    let config: toml::Table = toml::from_str(&text).unwrap();
    let mut files = Vec::new();
    collect(&toml::Value::Table(config.clone()), &mut files);
    assert!(files.len() > 10, "{files:?}");
    for file in files.iter().filter(|file| file.as_str() != "/var/lib/gatepost") {
        // A pointer into the service's configuration also begins with a slash.
        assert!(Path::new(file).exists() || config["service"]["pointers"].to_string().contains(file), "{file}");
    }
    assert_eq!(config["devices"]["device"].as_array().unwrap().len(), 3);
    assert!(!lab.agent_config(Path::new("/x"), None).contains("[sink]"));
}

fn collect(value: &toml::Value, paths: &mut Vec<String>) {
    match value {
        toml::Value::String(text) if text.starts_with('/') => paths.push(text.clone()),
        toml::Value::Array(values) => values.iter().for_each(|value| collect(value, paths)),
        toml::Value::Table(table) => table.values().for_each(|value| collect(value, paths)),
        _ => {}
    }
}
