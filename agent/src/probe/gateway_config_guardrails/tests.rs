//! The probe against real files and a real HTTP server on loopback.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use gatepost_evidence::check::Unknown;
use gatepost_evidence::check::gateway_config_guardrails::Facts;
use gatepost_evidence::run::Status;

use super::*;

fn service() -> config::Service {
    config::Service::default()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn look_at(service: &config::Service) -> Observation {
    serde_json::from_value(look_at_service(Some(service), Path::new("/")).unwrap()).unwrap()
}

fn facts(observation: &Observation) -> Facts {
    let seen = gatepost_evidence::check::Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    Check::normalise(observation, &seen, &mut Unknown::default())
}

/// Answers every request with `response` and returns the server's address. It ends with the test's process.
fn serve(response: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            // The client hangs up early when it has seen enough.
            let _ = stream.write_all(&response);
        }
    });
    address
}

fn answer(status: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into_bytes()
}

fn pointed(name: &str, text: &str, pointers: &[(&str, &str)]) -> Look<ConfigurationFile> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    look_at(&config::Service { configuration_file: Some(path), pointers: map(pointers), ..service() })
        .service
        .unwrap()
        .configuration
        .unwrap()
}

#[test]
fn only_what_is_pointed_at_is_recorded() {
    let toml =
        "key = 'hunter2'\n[auth]\nenforced = true\nusers = ['hunter2']\nsince = 2026-01-01\n[uplink]\nretries = 5\n";
    let yaml = "key: hunter2\nauth: {enforced: true, users: [hunter2], since: 2026-01-01}\nuplink:\n  retries: 5\n";
    let json =
        r#"{"key":"hunter2","auth":{"enforced":true,"users":["hunter2"],"since":"2026-01-01"},"uplink":{"retries":5}}"#;
    let pointers = [
        ("auth_enforced", "/auth/enforced"),
        ("buffering_enabled", "/auth/users"),
        ("retry_limit", "/uplink/retries"),
        ("since", "/auth/since"),
        ("tls_enforced", "/auth"),
        ("unset", "/nothing"),
    ];
    for (name, text) in [("s.toml", toml), ("s.json", json), ("s.yaml", yaml), ("s.yml", yaml)] {
        let file = pointed(name, text, &pointers);
        let file = file.seen().unwrap();
        assert!(!format!("{file:?}").contains("hunter2"), "{file:?}");
        assert_eq!(file.mode, "0640");
        let values: Vec<_> = file.pointers.values().map(|pointed| pointed.value.clone()).collect();
        let list = |kind: &str| Some(Value::from(kind));
        assert_eq!(values, [Some(true.into()), list("(list)"), Some(5.into()), list("(text)"), list("(table)"), None]);
    }
}

#[test]
fn a_number_that_evidence_cannot_hold_is_recorded_as_text() {
    let json = r#"{"a": 1e16, "b": 9007199254740993, "c": -1e18, "d": 0.5, "e": 1e300, "f": 18446744073709551615}"#;
    let file = pointed("s.json", json, &[("a", "/a"), ("b", "/b"), ("c", "/c"), ("d", "/d"), ("e", "/e"), ("f", "/f")]);
    let file = file.seen().unwrap();
    let texts = file.pointers.values().map(|pointed| pointed.value.as_ref().unwrap().is_string()).collect::<Vec<_>>();
    assert_eq!(texts, [true, true, true, false, false, true]);
    assert!(gatepost_evidence::canonical::is_canonical(&gatepost_evidence::canonical::to_vec(file).unwrap()));
}

#[test]
fn environment_files_are_read_and_texts_left_out() {
    let text = "# service\nexport AUTH=\"on\"\nRETRIES=3\nLONG=hunter2\nAUTH='off'\n";
    let file = pointed("s.env", text, &[("auth_enforced", "/AUTH"), ("long", "/LONG"), ("retry_limit", "/RETRIES")]);
    let file = file.seen().unwrap();
    assert_eq!(file.pointers["auth_enforced"].value, Some("off".into()));
    assert_eq!(file.pointers["long"].value, Some("(text)".into()), "it may be a password");
    assert_eq!(file.pointers["retry_limit"].value, Some("3".into()));
}

#[test]
fn a_file_that_can_not_be_understood_says_where_but_not_what() {
    for (name, text, expected) in [
        ("s.toml", "a = 1\nb = hunter2\n", "not valid TOML at line 2"),
        ("s.json", "{\"a\": hunter2}", "not valid JSON at line 1"),
        ("s.conf", "A=1\n[section] hunter2\n", "line 2 is not KEY=value"),
        ("s.yaml", "a: 1\na: hunter2\n", "line 2 has a key that stands there twice"),
        ("s.yml", "a: [hunter2", "is not valid YAML"),
        ("s.ini", "a: hunter2", "it must be .toml, .json"),
        ("s", "a: hunter2", "it must be .toml, .json"),
    ] {
        let file = pointed(name, text, &[("auth_enforced", "/a")]);
        let failure = file.failure().unwrap();
        assert_eq!(failure.kind, FailureKind::Unparseable);
        assert!(failure.detail.contains(expected), "{failure}");
        assert!(!failure.detail.contains("hunter2"), "{failure}");
    }
}

#[test]
fn metrics_and_health_are_asked_once() {
    let body = format!(
        "# HELP unsafe_defaults hunter2\nunsafe_defaults_total 9\nunsafe_defaults{{name=\"a\"}} 0\n{}\nother 1\n",
        "unsafe_defaults 1\n".repeat(20)
    );
    let service = config::Service {
        metrics_url: Some(format!("http://user:hunter2@{}/metrics?token=hunter2", serve(answer("200 OK", &body)))),
        metrics: map(&[("unsafe_defaults", "unsafe_defaults")]),
        health_url: Some(format!("http://{}/health", serve(answer("503 Busy", "")))),
        ..service()
    };
    let seen = look_at(&service).service.unwrap();
    assert_eq!(seen.health, Some(Look::Seen(503)));
    let metrics = seen.metrics.unwrap();
    assert!(!format!("{metrics:?}").contains("hunter2"), "{metrics:?}");
    let metrics = metrics.seen().unwrap();
    assert!(metrics.url.ends_with("/metrics"), "{}", metrics.url);
    let lines = &metrics.samples["unsafe_defaults"].lines;
    assert_eq!((lines.len(), lines[0].as_str()), (MAX_SAMPLES, "unsafe_defaults{name=\"a\"} 0"));
}

#[test]
fn endpoints_that_misbehave_are_failed_looks() {
    let metrics = |url: String| {
        let service =
            config::Service { metrics_url: Some(url), metrics: map(&[("unsafe_defaults", "m")]), ..service() };
        look_at(&service).service.unwrap().metrics.unwrap()
    };
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 2 * 1024 * 1024]].concat();
    let kind = |look: &Look<Metrics>| look.failure().unwrap().kind;
    assert_eq!(kind(&metrics(format!("http://{closed}/"))), FailureKind::Refused);
    assert_eq!(kind(&metrics(format!("http://{}/", serve(endless)))), FailureKind::TooLarge);
    assert_eq!(kind(&metrics(format!("http://{}/", serve(b"\x00\xff junk\r\n\r\n".to_vec())))), FailureKind::Protocol);
    let bad = metrics("http://user:hunter2@ /".into());
    assert!(!format!("{bad:?}").contains("hunter2"), "{bad:?}");
    let denied = metrics(format!("http://{}/", serve(answer("401 Unauthorized", "m 1"))));
    assert_eq!(denied.seen().unwrap().status, 401);
    assert!(denied.seen().unwrap().samples["unsafe_defaults"].lines.is_empty());
}

#[test]
fn a_configuration_may_be_asked_for_over_http() {
    let ask = |response: Vec<u8>, path: &str| {
        let service = config::Service {
            configuration_url: Some(format!("http://{}{path}", serve(response))),
            pointers: map(&[("auth_enforced", "/auth"), ("retry_limit", "/retry")]),
            ..service()
        };
        let seen = look_at(&service);
        (facts(&seen).service.unwrap(), seen.service.unwrap())
    };
    let (found, seen) = ask(answer("200 OK", r#"{"auth": true, "retry": "hunter2"}"#), "/config?token=hunter2");
    assert_eq!((found.auth_enforced, found.retry_limit, found.file_declared), (Some(true), None, false));
    assert_eq!(found.file_writable_by_others, None);
    assert!(!format!("{seen:?}").contains("hunter2"), "{seen:?}");
    let (found, _) = ask(answer("200 OK", "auth: off\nretry: 3\n"), "/config.yaml");
    assert_eq!((found.auth_enforced, found.retry_limit), (Some(false), Some(3)));
    let (_, seen) = ask(answer("403 Forbidden", "{}"), "/config");
    assert_eq!(seen.configuration.unwrap().failure().unwrap().kind, FailureKind::Denied);
    let (_, seen) = ask(answer("200 OK", "<html>hunter2</html>"), "/config");
    let failure = seen.configuration.unwrap().failure().unwrap().clone();
    assert!(failure.kind == FailureKind::Unparseable && !failure.detail.contains("hunter2"), "{failure}");
    let endless = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'['; 2 * 1024 * 1024]].concat();
    let (_, seen) = ask(endless, "/config");
    assert_eq!(seen.configuration.unwrap().failure().unwrap().kind, FailureKind::TooLarge);
}

#[test]
fn a_counter_is_looked_at_twice() {
    let service = config::Service {
        metrics_url: Some(format!("http://{}/metrics", serve(answer("200 OK", "sent 5\nunsafe 0\n")))),
        metrics: map(&[("messages", "sent"), ("unsafe_defaults", "unsafe")]),
        flow_wait: Duration::from_millis(1),
        ..service()
    };
    let seen = look_at(&service);
    let found = facts(&seen).service.unwrap();
    assert_eq!((found.messages_flowing, found.unsafe_defaults_observable), (Some(false), Some(true)));
    let metrics = seen.service.unwrap().metrics.unwrap();
    let later = metrics.seen().unwrap().later.as_ref().unwrap().seen().unwrap();
    assert_eq!(later.samples.keys().collect::<Vec<_>>(), ["messages"]);
}

#[test]
fn what_is_not_configured_says_what_to_write() {
    let nothing = look_at_service(None, Path::new("/")).unwrap_err();
    assert_eq!(nothing.status, Status::Skipped);
    assert!(nothing.detail.contains("[service]"), "{nothing}");
    assert_eq!(look_at_service(Some(&service()), Path::new("/")).unwrap_err().status, Status::Skipped);

    let dangling =
        config::Service { pointers: map(&[("auth_enforced", "/a")]), metrics: map(&[("x", "y")]), ..service() };
    let seen = look_at(&dangling).service.unwrap();
    assert!(seen.configuration.unwrap().failure().unwrap().detail.contains("configuration_file"));
    assert!(seen.metrics.unwrap().failure().unwrap().detail.contains("metrics_url"));
}

#[test]
fn the_broker_is_read_from_its_default_or_configured_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = crate::probe::host::tests::config(folder.path());
    let missed = look_at_broker(&config).unwrap_err();
    assert_eq!(missed.status, Status::Skipped);
    assert!(missed.detail.contains("[broker] configuration_file"), "{missed}");

    std::fs::create_dir_all(folder.path().join("etc/mosquitto")).unwrap();
    std::fs::write(folder.path().join("etc/mosquitto/mosquitto.conf"), "persistence true\n").unwrap();
    let seen: Observation = serde_json::from_value(look_at_broker(&config).unwrap()).unwrap();
    assert_eq!(seen.broker.as_ref().unwrap().path, mosquitto::DEFAULT_PATH);
    assert_eq!(facts(&seen).broker.unwrap().persistence, Some(true));

    let own = folder.path().join("own.conf");
    std::fs::write(&own, "listener 8883\n").unwrap();
    config.broker.configuration_file = Some(own.clone());
    let seen: Observation = serde_json::from_value(look_at_broker(&config).unwrap()).unwrap();
    assert_eq!(seen.broker.unwrap().path, own.display().to_string());
    config.broker.configuration_file = Some(folder.path().join("gone.conf"));
    assert_eq!(look_at_broker(&config).unwrap_err().status, Status::Error);
}
