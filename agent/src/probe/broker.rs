//! Which of the broker's listeners there are to look at, and with what: shared by the checks that look at the live broker.
//!
//! Reads configuration and files, dials nothing. A listener is tried once, however many places name it; what each place
//! knows of it is put together.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use gatepost_evidence::check::broker_transport_posture::{Scope, Source, Transport};
use gatepost_evidence::check::gateway_config_guardrails;
use gatepost_evidence::check::gateway_config_guardrails::broker::resolved;
use gatepost_evidence::check::gateway_config_guardrails::resolve::Section;
use gatepost_evidence::check::host_guardrails::Socket;
use gatepost_evidence::look::{Bytes, Failure, FailureKind};

use super::host::root::Root;
use super::host::sockets;
use super::mqtt::Credentials;
use super::tls::Identity;
use super::{Missed, mosquitto};
use crate::config::{Broker, Config};
use crate::files;

/// The most listeners that are tried.
const MAX_LISTENERS: usize = 16;

/// A listener to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where to dial, `host:port`.
    pub address: String,
    /// What to speak.
    pub transport: Transport,
    /// Who named it.
    pub source: Source,
    /// The address that the broker's configuration binds it to, `*` for every interface; or that it is seen to listen on.
    pub bind: Option<String>,
    /// The certificate file that the broker's configuration gives it.
    pub certificate_file: Option<PathBuf>,
    /// The key file that the broker's configuration gives it.
    pub key_file: Option<PathBuf>,
    /// What is spoken over TCP or TLS.
    pub protocol: Protocol,
}

/// What is spoken to a listener over TCP or TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT.
    Mqtt,
    /// MQTT over WebSocket, at this path.
    WebSocket(String),
    /// HTTP: Mosquitto's API.
    HttpApi,
}

impl Candidate {
    fn new(address: impl Into<String>, transport: Transport, source: Source) -> Self {
        Self {
            address: address.into(),
            transport,
            source,
            bind: None,
            certificate_file: None,
            key_file: None,
            protocol: Protocol::Mqtt,
        }
    }

    /// One that the agent's configuration names by a URL, which was checked when it was read.
    fn at(url: &str) -> Self {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        let transport = if matches!(scheme, "wss" | "https") { Transport::Tls } else { Transport::Plaintext };
        let protocol = match scheme {
            "ws" | "wss" => Protocol::WebSocket(format!("/{path}")),
            _ => Protocol::HttpApi,
        };
        Self { protocol, ..Self::new(address, transport, Source::Configured) }
    }
}

/// The path at which MQTT over WebSocket is looked for when nobody says where; Mosquitto takes any.
const WEBSOCKET_PATH: &str = "/mqtt";
/// Where Mosquitto 2.1 opens its HTTP API when it has no configuration.
const HTTP_API: &str = "127.0.0.1:9883";

/// As [`every_candidate`], but only what speaks MQTT over TCP or TLS itself.
///
/// # Errors
/// As [`every_candidate`].
pub fn candidates(config: &Config) -> Result<Vec<Candidate>, Missed> {
    let mut found = every_candidate(config)?;
    found.retain(|candidate| candidate.protocol == Protocol::Mqtt);
    match found.is_empty() {
        true => Err(Missed::skipped("the broker's configuration names no listener for MQTT over TCP")),
        false => Ok(found),
    }
}

/// What is dialled on loopback may listen on every interface, and without a configuration to say so the kernel does. A socket
/// of loopback alone takes the connection before one of every interface.
fn seen_to_listen(open: &[Socket], candidates: &mut [Candidate]) {
    for candidate in candidates.iter_mut().filter(|candidate| candidate.bind.is_none()) {
        let Some((host, port)) = candidate.address.rsplit_once(':') else { continue };
        let at = || {
            let own = open.iter().filter(|socket| port == socket.port.to_string());
            own.filter_map(|socket| socket.address.parse::<IpAddr>().ok())
        };
        let everywhere = at().any(|address| address.is_unspecified()) && !at().any(|address| address.is_loopback());
        if everywhere && Scope::of(host) == Scope::Loopback {
            candidate.bind = Some("*".to_owned());
        }
    }
}

/// The listeners to look at: the configured ones (TLS, plaintext, WebSocket, HTTP API), those of the broker's configuration file in its
/// order, and with neither the registered ports of MQTT on this machine. Blocking.
///
/// # Errors
/// When there is none, with the reason.
pub fn every_candidate(config: &Config) -> Result<Vec<Candidate>, Missed> {
    let (broker, root) = (&config.broker, &config.host.root);
    let tls = broker.tls.iter().map(|address| Candidate::new(address, Transport::Tls, Source::Configured));
    let plaintext =
        broker.plaintext.iter().map(|address| Candidate::new(address, Transport::Plaintext, Source::Configured));
    let urls = broker.websockets.iter().chain(&broker.http_api).map(|url| Candidate::at(url));
    let nothing_configured = broker.tls.is_empty()
        && broker.plaintext.is_empty()
        && broker.websockets.is_empty()
        && broker.configuration_file.is_none();
    let default = nothing_configured.then_some(Path::new(mosquitto::DEFAULT_PATH));
    // That a file cannot be read is told by gateway_config_guardrails; here it only names no listener.
    let read = broker.configuration_file.as_deref().or(default).map(|path| mosquitto::read(root, path));
    let declared = read.iter().flatten().flat_map(|broker| declared(broker, root));
    let well_known = [("127.0.0.1:1883", Transport::Plaintext), ("127.0.0.1:8883", Transport::Tls)]
        .into_iter()
        .map(|(address, transport)| Candidate::new(address, transport, Source::WellKnown))
        .chain([Candidate {
            protocol: Protocol::HttpApi,
            ..Candidate::new(HTTP_API, Transport::Plaintext, Source::WellKnown)
        }])
        .filter(|_| nothing_configured);

    let mut found: Vec<Candidate> = Vec::new();
    for candidate in tls.chain(plaintext).chain(urls).chain(declared).chain(well_known) {
        match found.iter().position(|known| same_address(&known.address, &candidate.address)) {
            Some(index) => {
                let known = &mut found[index];
                known.bind = known.bind.take().or(candidate.bind);
                known.certificate_file = known.certificate_file.take().or(candidate.certificate_file);
                known.key_file = known.key_file.take().or(candidate.key_file);
                // The broker's own configuration knows what is spoken there; a list of addresses does not.
                if known.protocol == Protocol::Mqtt {
                    known.protocol = candidate.protocol;
                }
            }
            None => found.push(candidate),
        }
    }
    let host = Root::new(root);
    if host.is_live() {
        seen_to_listen(&sockets::tcp(&host).unwrap_or_default(), &mut found);
    }
    if found.len() > MAX_LISTENERS {
        let detail = format!("the broker has {} listeners; at most {MAX_LISTENERS} are looked at", found.len());
        return Err(Missed::error(detail));
    }
    match (found.is_empty(), read) {
        (false, _) => Ok(found),
        (true, Some(Err(failure))) => Err(failure.into()),
        (true, _) => Err(Missed::skipped("the broker's configuration names no listener on TCP")),
    }
}

/// `localhost` is the loopback address here, so that one listener is not looked at under two names.
fn same_address(one: &str, other: &str) -> bool {
    let plain = |address: &str| address.replacen("localhost:", "127.0.0.1:", 1);
    plain(one) == plain(other)
}

/// The name devices use for the broker: the configured one, or the host part of the first listener.
#[must_use]
pub fn server_name(broker: &Broker, candidates: &[Candidate]) -> String {
    let host = |candidate: &Candidate| {
        let host = candidate.address.rsplit_once(':').map_or(candidate.address.as_str(), |(host, _)| host);
        host.trim_start_matches('[').trim_end_matches(']').to_owned()
    };
    broker.server_name.clone().or_else(|| candidates.first().map(host)).unwrap_or_else(|| "localhost".into())
}

/// What the configured client needs to connect.
pub struct Client {
    /// What the server must show.
    pub anchors: Vec<Bytes>,
    /// Its certificate and key, if it has them.
    pub identity: Option<Identity>,
    /// Its user name and password, if it has them.
    pub credentials: Option<Credentials>,
}

/// Whether there is a configured client at all.
#[must_use]
pub fn client_configured(broker: &Broker) -> bool {
    broker.client_certificate.is_some() || broker.username.is_some()
}

/// Reads what the configured client needs. Blocking.
///
/// # Errors
/// When a file cannot be read, or there are no anchors: without them credentials go nowhere.
pub fn client(broker: &Broker) -> Result<Client, Failure> {
    let Some(ca_file) = &broker.ca_file else {
        let detail = "ca_file of [broker] is not set: without it the broker cannot be authenticated, and credentials are \
                      not sent to a broker that is not";
        return Err(Failure::new(FailureKind::Error, detail));
    };
    let anchors = files::read_certificates(ca_file)?;
    let identity = match (&broker.client_certificate, &broker.client_key) {
        (Some(certificate), Some(key)) => {
            Some(Identity { chain: files::read_certificates(certificate)?, key: files::read_private_key(key)? })
        }
        (None, _) => None,
        (Some(_), None) => {
            return Err(Failure::new(FailureKind::NotFound, "client_key of [broker] is not set"));
        }
    };
    let credentials = match &broker.username {
        Some(username) => {
            let password = broker.password_file.as_deref().map(files::read_secret).transpose()?;
            Some(Credentials { username: username.clone(), password })
        }
        None => None,
    };
    Ok(Client { anchors, identity, credentials })
}

/// `path` below `root`.
#[must_use]
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The listeners that the broker's own configuration opens, as Mosquitto resolves it. Unix sockets are not over TCP and left out.
fn declared(broker: &gateway_config_guardrails::Broker, root: &Path) -> Vec<Candidate> {
    let (resolved, _) = resolved(broker);
    resolved.listeners.iter().filter_map(|section| candidate(section, root)).collect()
}

fn candidate(section: &Section, root: &Path) -> Option<Candidate> {
    let text = |name: &str| section.options.get(name).map(|setting| setting.value.as_str());
    let file = |name: &str| text(name).map(|path| below(root, Path::new(path)));
    let protocol = match text("protocol") {
        None | Some("mqtt") => Protocol::Mqtt,
        Some("websockets") => Protocol::WebSocket(WEBSOCKET_PATH.into()),
        Some("http_api") => Protocol::HttpApi,
        Some(_) => return None,
    };
    let bind = match (text("bind_interface"), section.host.as_deref()) {
        _ if section.port == 0 => return None,
        (Some(interface), _) => address_of(interface)?,
        (None, Some("localhost")) if section.default => "127.0.0.1".into(),
        (None, Some("0.0.0.0" | "::") | None) => "*".to_owned(),
        (None, Some(host)) => host.to_owned(),
    };
    let host = match bind.as_str() {
        "*" => "127.0.0.1".into(),
        bind if bind.contains(':') => format!("[{bind}]"),
        bind => bind.to_owned(),
    };
    let transport = if section.tls() { Transport::Tls } else { Transport::Plaintext };
    Some(Candidate {
        bind: Some(bind),
        certificate_file: file("certfile"),
        key_file: file("keyfile"),
        protocol,
        ..Candidate::new(format!("{host}:{}", section.port), transport, Source::BrokerConfiguration)
    })
}

/// The first IPv4 address of a network interface.
fn address_of(interface: &str) -> Option<String> {
    nix::ifaddrs::getifaddrs().ok()?.filter(|entry| entry.interface_name == interface).find_map(|entry| {
        let address = entry.address?;
        Some(address.as_sockaddr_in()?.ip().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Candidate> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("m.conf"), text).unwrap();
        declared(&mosquitto::read(folder.path(), Path::new("/m.conf")).unwrap(), Path::new("/"))
    }

    fn addresses(text: &str) -> Vec<(String, Transport)> {
        read(text).into_iter().map(|found| (found.address, found.transport)).collect()
    }

    #[test]
    fn what_listens_everywhere_is_not_on_loopback_alone() {
        let socket = |address: &str, port| Socket {
            protocol: "tcp".into(),
            address: address.into(),
            port,
            uid: 0,
            program: None,
        };
        let open = [socket("0.0.0.0", 1883), socket("::", 1884), socket("::", 1885), socket("127.0.0.1", 1885)];
        for (address, expected) in [
            ("127.0.0.1:1883", Some("*")),
            ("localhost:1884", Some("*")),
            ("127.0.0.1:1885", None),
            ("127.0.0.1:1886", None),
            ("192.168.4.1:1883", None),
        ] {
            let mut candidates = [Candidate::new(address, Transport::Plaintext, Source::Configured)];
            seen_to_listen(&open, &mut candidates);
            assert_eq!(candidates[0].bind.as_deref(), expected, "{address}");
        }
    }

    #[test]
    fn listeners_are_read_with_their_addresses_and_their_tls() {
        let text = "# a comment\nlistener 1884 192.168.1.2\n\nlistener 8883\ncertfile /etc/c.pem\nkeyfile /etc/k.pem\n\
                    listener 8884 ::1\npsk_hint x\nlistener 9001\nprotocol websockets\nlistener 0 /run/socket\n\
                    listener 1885\nbind_interface lo\nlistener 9883 10.0.0.1\nprotocol http_api\nlistener 1886\nprotocol mqtt-sn";
        assert_eq!(
            addresses(text),
            [
                ("192.168.1.2:1884".into(), Transport::Plaintext),
                ("127.0.0.1:8883".into(), Transport::Tls),
                ("[::1]:8884".into(), Transport::Tls),
                ("127.0.0.1:9001".into(), Transport::Plaintext),
                ("127.0.0.1:1885".into(), Transport::Plaintext),
                ("10.0.0.1:9883".into(), Transport::Plaintext),
            ]
        );
        assert_eq!(read(text)[3].protocol, Protocol::WebSocket("/mqtt".into()));
        assert_eq!(read(text)[5].protocol, Protocol::HttpApi);
        assert_eq!(read(text)[1].certificate_file.as_deref(), Some(Path::new("/etc/c.pem")));
        assert_eq!(read(text)[1].key_file.as_deref(), Some(Path::new("/etc/k.pem")));
    }

    #[test]
    fn the_default_listener_is_there_when_named_or_when_there_is_no_other() {
        assert_eq!(addresses("port 1999\nbind_address 10.0.0.1"), [("10.0.0.1:1999".into(), Transport::Plaintext)]);
        assert_eq!(addresses("allow_anonymous true"), [("127.0.0.1:1883".into(), Transport::Plaintext)]);
        assert_eq!(addresses("listener 1884"), [("127.0.0.1:1884".into(), Transport::Plaintext)]);
    }

    #[test]
    fn a_listener_on_every_interface_is_dialled_here_and_known_to_be_open_there() {
        let binds = |text: &str| read(text).into_iter().map(|found| found.bind.unwrap()).collect::<Vec<_>>();
        assert_eq!(binds("listener 1883\nlistener 1884 0.0.0.0\nlistener 1885 127.0.0.1"), ["*", "*", "127.0.0.1"]);
    }

    #[test]
    fn a_url_says_what_is_spoken() {
        let at = |url: &str| {
            let found = Candidate::at(url);
            (found.address, found.transport, found.protocol)
        };
        assert_eq!(at("ws://h:1"), ("h:1".into(), Transport::Plaintext, Protocol::WebSocket("/".into())));
        assert_eq!(at("wss://h:1/a/b"), ("h:1".into(), Transport::Tls, Protocol::WebSocket("/a/b".into())));
        assert_eq!(at("https://h:1/"), ("h:1".into(), Transport::Tls, Protocol::HttpApi));
    }

    #[test]
    fn localhost_and_its_address_are_one() {
        assert!(same_address("localhost:1883", "127.0.0.1:1883"));
        assert!(!same_address("localhost:1883", "127.0.0.1:18830"));
    }
}
