//! `gatepost init`: look around on this machine and write a commented configuration.
//!
//! What was found is written as settings, what could not be known as comments to fill in. The result is a configuration
//! that the agent reads without a mistake.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use gatepost_evidence::check::gateway_config_guardrails::{Broker, Directive};

use super::{Outcome, print};
use crate::cli::Init;
use crate::config::Config;
use crate::probe::mosquitto;

/// Where Debian's package keeps the broker's configuration.
const MOSQUITTO: &str = "/etc/mosquitto/mosquitto.conf";

pub(super) fn run(options: &Init) -> anyhow::Result<Outcome> {
    let text = text(&Config::default(), &look_around());
    let Some(path) = &options.output else {
        print(&text)?;
        return Ok(Outcome::Clean);
    };
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    match file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => {
            print(&format!(
                "Wrote {0}; look through it, then run `gatepost config check --config {0}`.\n",
                path.display()
            ))?;
            Ok(Outcome::Clean)
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            anyhow::bail!("{} exists and is not replaced; move it away, or write elsewhere", path.display())
        }
        Err(error) => Err(error).with_context(|| format!("{} cannot be written", path.display())),
    }
}

/// What was found on this machine.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// Open listeners of the broker, `host:port`.
    tls: Vec<String>,
    plaintext: Vec<String>,
    /// The broker's configuration, if there is one.
    configuration: Option<String>,
    /// Directives of the TLS listener that the agent can use: `cafile`, `certfile`, `keyfile`.
    files: BTreeMap<String, String>,
}

fn look_around() -> Found {
    let broker = mosquitto::read(Path::new("/"), Path::new(MOSQUITTO)).ok();
    let mut found = broker.as_ref().map(declared).unwrap_or_default();
    for (list, address) in [(&mut found.plaintext, "127.0.0.1:1883"), (&mut found.tls, "127.0.0.1:8883")] {
        if list.is_empty() && answers(address) {
            list.push(address.to_owned());
        }
    }
    found
}

fn answers(address: &str) -> bool {
    address
        .parse::<SocketAddr>()
        .is_ok_and(|address| TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok())
}

/// The listeners and files that the broker's own configuration names.
fn declared(broker: &Broker) -> Found {
    let mut found = Found { configuration: Some(broker.path.clone()), ..Found::default() };
    let starts: Vec<usize> = (0..broker.directives.len()).filter(|&i| broker.directives[i].key == "listener").collect();
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(broker.directives.len());
        let (listener, own) = (&broker.directives[start], &broker.directives[start + 1..end]);
        let Some(address) = address(listener) else { continue };
        let value = |key: &str| own.iter().find(|directive| directive.key == key).map(|directive| &directive.value);
        // Those of WebSocket and HTTP are found through the broker's configuration.
        if value("protocol").is_some_and(|protocol| protocol != "mqtt") {
            continue;
        }
        if value("certfile").is_some() && value("keyfile").is_some() {
            found.tls.push(address);
            for key in ["cafile", "certfile", "keyfile"] {
                if let Some(path) = value(key) {
                    found.files.entry(key.to_owned()).or_insert_with(|| path.clone());
                }
            }
        } else {
            found.plaintext.push(address);
        }
    }
    found
}

fn address(listener: &Directive) -> Option<String> {
    let mut words = listener.value.split_whitespace();
    let port: u16 = words.next()?.parse().ok().filter(|&port| port > 0)?;
    // A listener on every interface is reached on loopback; a Unix socket is not reached at all.
    match words.next() {
        Some(path) if path.starts_with('/') => None,
        Some("0.0.0.0" | "::") | None => Some(format!("127.0.0.1:{port}")),
        Some(host) if host.contains(':') => Some(format!("[{host}]:{port}")),
        Some(host) => Some(format!("{host}:{port}")),
    }
}

fn text(default: &Config, found: &Found) -> String {
    let mut out = String::new();
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let setting = |out: &mut String, key: &str, value: Option<&String>, example: &str| {
        let _ = match value {
            Some(value) => writeln!(out, "{key} = {}", quoted(value)),
            None => writeln!(out, "# {key} = {}", quoted(example)),
        };
    };
    let list = |out: &mut String, key: &str, values: &[String], example: &str| {
        let values: Vec<_> = values.iter().map(|value| quoted(value)).collect();
        let _ = match values.as_slice() {
            [] => writeln!(out, "# {key} = [{}]", quoted(example)),
            values => writeln!(out, "{key} = [{}]", values.join(", ")),
        };
    };
    out.push_str(
        "# Gatepost's configuration. Lines that start with # are suggestions; what is set was found on this machine.\n\
         # `gatepost config check` reports every mistake at once. Secrets stand in files of their own, never here.\n\n\
         [gateway]\n",
    );
    setting(&mut out, "name", Some(&default.gateway.name), "");
    out.push_str("# labels = { site = \"north\", customer = \"example\" }\n\n[state]\n# Identity and spool; keep it on the data partition.\n");
    setting(&mut out, "directory", Some(&default.state.directory.display().to_string()), "");
    out.push_str(
        "# Runs leave the spool when they are older, or when its file would grow larger; the sink's own first. Whatever leaves\n\
         # is named by a signed tombstone.\n",
    );
    let state = &default.state;
    let _ = writeln!(out, "max_age = \"{}d\"\nmax_bytes = {}", state.max_age.as_secs() / 86_400, state.max_bytes);
    out.push_str("\n[broker]\n# The name devices use for the broker; its certificate must carry it.\n# server_name = \"broker.local\"\n");
    list(&mut out, "tls", &found.tls, "127.0.0.1:8883");
    out.push_str("# Listeners without TLS that should be closed; named here so that one that opens is seen.\n");
    let watched = if found.plaintext.is_empty() { vec!["127.0.0.1:1883".to_owned()] } else { found.plaintext.clone() };
    list(&mut out, "plaintext", &watched, "");
    out.push_str(
        "# Listeners for browsers, and Mosquitto's HTTP API; those in its configuration_file need not be named.\n\
         # websockets = [\"wss://127.0.0.1:9001/mqtt\"]\n# http_api = [\"http://127.0.0.1:9883\"]\n\
         # Whether a client of the agent's own falls silent to see that the broker ends it: some seconds for each listener.\n\
         # try_keep_alive = true\n",
    );
    setting(&mut out, "ca_file", found.files.get("cafile"), "/etc/gatepost/ca.pem");
    out.push_str(
        "# A client of the broker's own, so that accepted can be told from refused.\n\
         # client_certificate = \"/etc/gatepost/client.pem\"\n# client_key = \"/etc/gatepost/client.key\"\n\
         # username = \"gatepost\"\n# password_file = \"/etc/gatepost/broker.password\"\n",
    );
    setting(&mut out, "certificate_file", found.files.get("certfile"), "/etc/mosquitto/certs/broker.pem");
    out.push_str("# Revocation lists for it, PEM or DER.\n# crl_file = \"/etc/gatepost/broker.crl\"\n");
    setting(&mut out, "key_file", found.files.get("keyfile"), "/etc/mosquitto/certs/broker.key");
    setting(&mut out, "configuration_file", found.configuration.as_ref(), MOSQUITTO);
    out.push_str(
        "# Clients that it must turn away: what `gatepost battery` made where the CA's key is (docs/mqtt-battery.md).\n\
         # [broker.battery]\n# folder = \"/etc/gatepost/battery\"\n",
    );
    out.push_str(
        "\n# The cloud ingest edge that telemetry goes to.\n# [ingest]\n# url = \"https://ingest.example/v1/events\"\n\
         # plaintext_url = \"http://ingest.example/v1/events\"\n# ca_file = \"/etc/gatepost/ingest-ca.pem\"\n\
         # Revocation lists for its certificate, PEM or DER.\n# crl_file = \"/etc/gatepost/ingest.crl\"\n\
         # token_file = \"/etc/gatepost/ingest.token\"\n\
         # A token of this gateway's that has expired, to see that it is refused; without it that is unknown.\n\
         # expired_token_file = \"/etc/gatepost/ingest.expired\"\n\
         # For an edge that asks for a client certificate, with a token or without.\n\
         # client_certificate = \"/etc/gatepost/ingest-client.pem\"\n# client_key = \"/etc/gatepost/ingest-client.key\"\n\
         # Some 45 canary events, most of them without credentials, in each audit; false makes four of them.\n\
         # thorough = true\n\
         # The same for an edge that takes events by MQTT, beside url or instead of it.\n# [ingest.mqtt]\n\
         # address = \"mqtt.example:8883\"\n# plaintext = \"mqtt.example:1883\"\n\
         # ca_file = \"/etc/gatepost/mqtt-ca.pem\"\n# crl_file = \"/etc/gatepost/mqtt.crl\"\n# username = \"gateway-7\"\n\
         # password_file = \"/etc/gatepost/mqtt.password\"\n\
         \n# The service that carries telemetry from the broker to the edge.\n# [service]\n\
         # configuration_file = \"/etc/gateway/gateway.toml\"\n# metrics_url = \"http://127.0.0.1:9100/metrics\"\n\
         # health_url = \"http://127.0.0.1:9100/health\"\n# unit = \"gateway.service\"\n\
         # log_file = \"/var/log/gateway.log\"\n# [service.pointers]      # where its file says so (JSON pointer)\n\
         # auth_enforced = \"/security/require_auth\"\n# tls_enforced = \"/uplink/tls\"\n\
         # buffering_enabled = \"/buffer/enabled\"\n# retry_limit = \"/retry/limit\"\n\
         # [service.metrics]       # which metric says so\n# unsafe_defaults = \"gateway_unsafe_defaults\"\n\
         # messages = \"gateway_forwarded_total\"   # rises within flow_wait (3s) while telemetry flows\n\
         # [service.log]           # which words of its log say so\n# unsafe_defaults = \"unsafe defaults in effect: \"\n\
         \n# The devices' certificates: each from its own TLS server, from its answer over MQTT, from a folder of files.\n# [devices]\n\
         # ca_file = \"/etc/gatepost/devices-ca.pem\"\n# crl_file = \"/etc/gatepost/devices.crl\"\n# registry = \"/etc/gatepost/devices\"\n# [[devices.device]]\n\
         # id = \"stm32-01\"\n# endpoint = \"192.168.7.21:8443\"\n\
         # challenge = true        # asked over MQTT to prove its key, docs/device-challenge.md\n\
         # contact_every = \"30d\"   # the longest time until it is met again\n\
         # [devices.challenge]     # topics PREFIX/ID/challenge and PREFIX/ID/answer at the broker above\n\
         # prefix = \"gatepost/device\"\n# timeout = \"5s\"\n\
         \n[host]\n# Ports that may be open beyond loopback; every other one is a finding.\nallowed_ports = [\"tcp/22\"",
    );
    for address in &found.tls {
        if let Some((_, port)) = address.rsplit_once(':') {
            let _ = write!(out, ", \"tcp/{port}\"");
        }
    }
    out.push_str(
        "]\n\n# Canaries under gatepost/canary/ show whether messages arrive, once and in time; with 0 canaries none are sent.\n\
         # [telemetry]\n# canaries = 10\n# qos = [0, 1, 2]\n# wait = \"5s\"\n\
         # Another broker, to which a bridge carries gatepost/canary/#.\n# bridged_url = \"mqtts://10.0.0.2:8883\"\n\
         # Where the ingest edge tells which canaries it has, if the service carries gatepost/canary/+/ingest/#.\n\
         # ingest_readback_url = \"https://ingest.example/v1/canaries/{run}\"\n\
         # Count everybody's messages by topic, never payloads, for some seconds of each run.\n\
         # passive = true\n# passive_time = \"10s\"\n# topics = [\"telemetry/#\"]\n\
         \n# What is asked about the way to the cloud, beyond what the sections above name (docs/decisions/0021).\n# [link]\n\
         # Further names that resolvers are asked for.\n# names = [\"updates.example\"]\n\
         # Time servers to compare with, instead of those of the machine's own time service.\n\
         # time_servers = [\"192.168.4.1\"]\n\
         # A page in plain HTTP whose status is known, to see who answers in its place.\n\
         # portal_url = \"http://probe.example/generate_204\"\n# portal_status = 204\n\
         # Tunnels that have to be there.\n# tunnels = [\"wg0\"]\n\
         \n# Where weaknesses of the product are reported: the domain with /.well-known/security.txt (RFC 9116).\n# [disclosure]\n\
         # domain = \"example.com\"\n\n# Where evidence is handed to; `gatepost enroll` makes this gateway known there.\n# [sink]\n\
         # url = \"https://sink.example\"\n# Who vouches for its certificate, which key that must have, or both; `gatepost enroll`\n\
         # says the pin. A pin without a ca_file is enough, for a sink that signed its certificate itself.\n\
         # ca_file = \"/etc/gatepost/sink-ca.pem\"\n\
         # pin_sha256 = [\"r/mIkG3eEpVdm+u/ko/cwxzOMo1bk4TyHIlByibiA5E=\"]\n\
         # The proxy on the way to it: http (CONNECT), socks5 or socks5h. The environment is not asked for one. The file\n\
         # holds user:password, which the proxy gets in the clear.\n\
         # proxy = \"http://proxy.example:3128\"\n\
         # proxy_credentials_file = \"/etc/gatepost/proxy.credentials\"\n\
         \n[schedule]\nevery = \"1h\"\njitter = \"5m\"\nbundle = \"field-self-audit\"\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read;

    fn directive(key: &str, value: &str) -> Directive {
        Directive { file: MOSQUITTO.into(), line: 1, key: key.into(), value: value.into() }
    }

    fn broker() -> Broker {
        let directives = vec![
            directive("listener", "8883"),
            directive("cafile", "/c/ca.pem"),
            directive("certfile", "/c/broker.pem"),
            directive("keyfile", "/c/broker.key"),
            directive("listener", "1884 192.168.7.1"),
            directive("listener", "0 /run/mosquitto.sock"),
        ];
        Broker { path: MOSQUITTO.into(), directives, unreadable: BTreeMap::new(), ..Broker::default() }
    }

    #[test]
    fn the_brokers_own_file_says_where_it_listens_and_with_what() {
        let found = declared(&broker());
        assert_eq!((found.tls, found.plaintext), (vec!["127.0.0.1:8883".into()], vec!["192.168.7.1:1884".into()]));
        assert_eq!(found.files["certfile"], "/c/broker.pem");
    }

    #[test]
    fn what_is_written_is_read_without_a_mistake() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gatepost.toml");
        for found in [Found::default(), declared(&broker())] {
            std::fs::write(&path, text(&Config::default(), &found)).unwrap();
            let config = read::file(&path).unwrap();
            assert_eq!(config.broker.tls, found.tls);
        }
        // And with every suggestion taken.
        let suggestions = text(&Config::default(), &Found::default());
        let taken: Vec<_> = suggestions
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") || setting.starts_with('[') => setting,
                _ => line,
            })
            .collect();
        std::fs::write(&path, taken.join("\n")).unwrap();
        read::file(&path).unwrap();
    }

    #[test]
    fn a_file_that_exists_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gatepost.toml");
        std::fs::write(&path, "precious").unwrap();
        let error = run(&Init { output: Some(path.clone()) }).unwrap_err();
        assert!(error.to_string().contains("not replaced"));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
