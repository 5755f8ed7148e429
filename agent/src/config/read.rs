//! From a TOML file to a [`Config`], or to everything that is wrong with it.

use std::cell::{Cell, RefCell};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gatepost_evidence::challenge::{MAX_ID, PREFIX, is_id, is_prefix};
use gatepost_evidence::check::broker_transport_posture::Scope;
use gatepost_evidence::check::gateway_config_guardrails::{METRICS, POINTERS};
use toml::de::DeTable;

use super::table::{MAX_MISTAKES, Source, Table};
use super::{
    Battery, Broker, Challenge, Config, Device, Devices, Disclosure, Gateway, Host, Ingest, IngestMqtt, Link, Mistake,
    Mistakes, Schedule, Service, Sink, State, Telemetry,
};
use crate::http::pin::Pin;
use crate::spool::Bounds;
use crate::{bundle, files};

/// Where the package puts the configuration.
pub const SYSTEM_FILE: &str = "/etc/gatepost/gatepost.toml";
/// Where the package keeps state.
pub const SYSTEM_STATE: &str = "/var/lib/gatepost";
/// The shortest time that runs may be kept.
const SHORTEST_AGE: Duration = Duration::from_secs(3_600);
/// The bounds of the time that a device has to answer a challenge: a run has to end.
const SHORTEST_ANSWER: Duration = Duration::from_secs(1);
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// The most canaries of one QoS on one path: a look stays small beside what the gateway carries.
const MOST_CANARIES: u64 = 100;
/// The longest wait for them: a look must end, and who waits longer wants no canary but a monitor.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// The longest that everybody's messages are counted in a run.
const LONGEST_PASSIVE: Duration = Duration::from_secs(60);
/// The most further names that resolvers are asked for, time servers that are asked, and tunnels that are expected.
const MOST_NAMES: usize = 4;
const MOST_TIME_SERVERS: usize = 3;
const MOST_TUNNELS: usize = 8;
/// The most topic filters that are counted.
const MOST_TOPICS: usize = 8;

impl Default for Config {
    /// What is used where nothing is configured: this machine.
    fn default() -> Self {
        Self {
            gateway: Gateway { name: host_name(), labels: std::collections::BTreeMap::new() },
            state: State {
                directory: default_state(),
                max_age: Bounds::default().max_age,
                max_bytes: Bounds::default().max_bytes,
            },
            broker: Broker::default(),
            ingest: None,
            ingest_mqtt: None,
            service: None,
            devices: Devices::default(),
            host: Host {
                allowed_ports: Vec::new(),
                expected_programs: std::collections::BTreeMap::new(),
                units: Vec::new(),
                root: PathBuf::from("/"),
            },
            telemetry: Telemetry {
                canaries: 10,
                qos: vec![0, 1, 2],
                wait: Duration::from_secs(5),
                bridged_url: None,
                ingest_readback_url: None,
                passive: false,
                passive_time: Duration::from_secs(10),
                topics: Vec::new(),
            },
            link: Link::default(),
            disclosure: None,
            sink: None,
            schedule: Schedule {
                every: Duration::from_secs(3_600),
                jitter: Duration::from_secs(300),
                bundle: "field-self-audit".into(),
            },
        }
    }
}

fn host_name() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "gateway".into())
}

/// The system's folder where this user may write it, else one of the user's own (XDG base directories).
fn default_state() -> PathBuf {
    use nix::unistd::{AccessFlags, access};
    let system = Path::new(SYSTEM_STATE);
    let writable = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
    let could_make = || !system.exists() && system.parent().is_some_and(writable);
    if writable(system) || could_make() {
        return system.to_owned();
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).map_or_else(|| system.to_owned(), |folder| folder.join("gatepost"))
}

/// Reads the configuration in `path`.
///
/// # Errors
/// Everything that is wrong with it.
pub fn file(path: &Path) -> Result<Config, Mistakes> {
    read(path, false)
}

/// Reads the configuration in `path` and looks for every file it names.
///
/// # Errors
/// Everything that is wrong with it, files that are not there included.
pub fn file_thoroughly(path: &Path) -> Result<Config, Mistakes> {
    read(path, true)
}

fn read(path: &Path, thoroughly: bool) -> Result<Config, Mistakes> {
    let unreadable = |why: &dyn std::fmt::Display| Mistakes {
        path: path.to_owned(),
        mistakes: vec![Mistake {
            line: 1,
            column: 1,
            key: String::new(),
            message: format!("cannot be read: {why}; `gatepost init` writes a commented configuration"),
        }],
    };
    let bytes = files::read(path).map_err(|failure| unreadable(&failure.detail))?;
    let text = String::from_utf8(bytes).map_err(|error| unreadable(&format_args!("it is not text: {error}")))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    parse(&text, &folder, thoroughly).map_err(|mistakes| Mistakes { path: path.to_owned(), mistakes })
}

/// Reads a configuration from `text`; relative paths start at `folder`.
fn parse(text: &str, folder: &Path, thoroughly: bool) -> Result<Config, Vec<Mistake>> {
    let source = Source {
        text,
        folder: folder.to_owned(),
        mistakes: RefCell::default(),
        files: RefCell::default(),
        too_many: Cell::default(),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        source.mistake(error.span().unwrap_or(0..0), "", error.message());
    }
    let config = config(Table::root(&source, &document));
    if thoroughly {
        for (span, key, path) in source.files.take() {
            if let Err(error) = std::fs::metadata(&path) {
                source.mistake(span, key, format!("{}: {error}", path.display()));
            }
        }
    }
    let mut mistakes = source.mistakes.into_inner();
    if mistakes.is_empty() {
        return Ok(config);
    }
    mistakes.sort_by_key(|mistake| (mistake.line, mistake.column));
    mistakes.dedup();
    if let (true, Some(last)) = (source.too_many.get(), mistakes.last_mut()) {
        last.message.push_str(&format!("; there are more than these {MAX_MISTAKES} mistakes"));
    }
    Err(mistakes)
}

fn config(mut root: Table<'_>) -> Config {
    let default = Config::default();
    let (ingest, ingest_mqtt) = ingest(root.table("ingest"));
    let config = Config {
        gateway: gateway(root.table("gateway"), default.gateway),
        state: state(root.table("state"), default.state),
        broker: broker(root.table("broker")),
        ingest,
        ingest_mqtt,
        service: service(root.table("service")),
        devices: devices(root.table("devices")),
        host: host(root.table("host"), default.host),
        telemetry: telemetry(root.table("telemetry"), default.telemetry),
        link: link(root.table("link"), default.link),
        disclosure: disclosure(root.table("disclosure")),
        sink: sink(root.table("sink")),
        schedule: schedule(root.table("schedule"), default.schedule),
    };
    root.finish();
    config
}

fn gateway(mut table: Table<'_>, default: Gateway) -> Gateway {
    let gateway = Gateway { name: table.string("name").unwrap_or(default.name), labels: table.texts("labels") };
    if gateway.name.chars().count() > 100 || gateway.name.chars().any(char::is_control) {
        table.object("name", "is longer than 100 characters or has control characters in it");
    }
    table.finish();
    gateway
}

fn state(mut table: Table<'_>, default: State) -> State {
    // Not a file that must be there: the agent makes it.
    let directory = table.string("directory").map(PathBuf::from).unwrap_or(default.directory);
    if !directory.is_absolute() {
        table.object("directory", "is not an absolute path");
    }
    let max_age = table.duration("max_age").unwrap_or(default.max_age);
    if max_age < SHORTEST_AGE {
        table.object("max_age", "is less than an hour; evidence would go before anybody could look at it");
    }
    let max_bytes = table.whole("max_bytes").unwrap_or(default.max_bytes);
    if max_bytes < Bounds::LEAST_BYTES {
        table.object(
            "max_bytes",
            format!("is less than {}, which is little more than one large run", Bounds::LEAST_BYTES),
        );
    }
    table.finish();
    State { directory, max_age, max_bytes }
}

fn broker(mut table: Table<'_>) -> Broker {
    let broker = Broker {
        server_name: table.string("server_name"),
        tls: addresses(&mut table, "tls"),
        plaintext: addresses(&mut table, "plaintext"),
        websockets: endpoints(&mut table, "websockets", ["ws", "wss"]),
        http_api: endpoints(&mut table, "http_api", ["http", "https"]),
        try_keep_alive: table.flag("try_keep_alive"),
        ca_file: table.path("ca_file"),
        client_certificate: table.path("client_certificate"),
        client_key: table.path("client_key"),
        username: table.string("username"),
        password_file: table.path("password_file"),
        certificate_file: table.path("certificate_file"),
        crl_file: table.path("crl_file"),
        key_file: table.path("key_file"),
        configuration_file: table.path("configuration_file"),
        battery: battery(table.table("battery")),
    };
    pairs(
        &table,
        &[
            ("client_certificate", "client_key", broker.client_certificate.is_some(), broker.client_key.is_some()),
            ("username", "password_file", broker.username.is_some(), broker.password_file.is_some()),
        ],
    );
    table.finish();
    broker
}

fn battery(mut table: Table<'_>) -> Battery {
    let battery = Battery {
        folder: table.path("folder"),
        expired: table.path("expired"),
        not_yet_valid: table.path("not_yet_valid"),
        server_only: table.path("server_only"),
        revoked: table.path("revoked"),
        canary: table.path("canary"),
        wrong_ca: table.path("wrong_ca"),
    };
    table.finish();
    battery
}

fn addresses(table: &mut Table<'_>, name: &'static str) -> Vec<String> {
    let addresses = table.strings(name);
    for address in &addresses {
        if !is_address(address) {
            table.object(name, format!("{address:?} is not host:port, such as \"127.0.0.1:8883\""));
        }
    }
    addresses
}

/// URLs of one of two schemes with a port.
fn endpoints(table: &mut Table<'_>, name: &'static str, schemes: [&str; 2]) -> Vec<String> {
    let urls = table.strings(name);
    for url in &urls {
        let rest = url.split_once("://").filter(|(scheme, _)| schemes.contains(scheme)).map(|(_, rest)| rest);
        let good = rest.is_some_and(|rest| {
            is_address(rest.split('/').next().unwrap_or_default()) && !rest.contains(['@', '?', '#']) && rest.is_ascii()
        });
        if !good || url.contains(|c: char| c.is_whitespace() || c.is_control()) {
            let [plain, tls] = schemes;
            table.object(name, format!("{url:?} is not {plain}://host:port/path or {tls}://host:port/path"));
        }
    }
    urls
}

fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) && !host.contains(char::is_whitespace)
    })
}

fn ingest(mut table: Table<'_>) -> (Option<Ingest>, Option<IngestMqtt>) {
    let url = web_address(&mut table, "url", &["https", "http"]);
    let ingest = Ingest {
        url: url.clone().unwrap_or_default(),
        plaintext_url: web_address(&mut table, "plaintext_url", &["http"]),
        ca_file: table.path("ca_file"),
        token_file: table.path("token_file"),
        expired_token_file: table.path("expired_token_file"),
        client_certificate: table.path("client_certificate"),
        client_key: table.path("client_key"),
        thorough: table.flag("thorough") || !table.has("thorough"),
    };
    pairs(
        &table,
        &[("client_certificate", "client_key", ingest.client_certificate.is_some(), ingest.client_key.is_some())],
    );
    if ingest.expired_token_file.is_some() && ingest.token_file.is_none() {
        table.object("expired_token_file", "needs `token_file` beside it");
    }
    let mqtt = ingest_mqtt(table.table("mqtt"));
    if table.present() && !table.has("url") && !(table.has("mqtt") && table.only("mqtt")) {
        table.missing("url", "is needed, such as \"https://ingest.example/v1/events\"");
    }
    table.finish();
    (url.map(|_| ingest), mqtt)
}

fn ingest_mqtt(mut table: Table<'_>) -> Option<IngestMqtt> {
    let address = |table: &mut Table<'_>, name: &'static str| {
        let address = table.string(name)?;
        if !is_address(&address) {
            table.object(name, format!("{address:?} is not host:port, such as \"mqtt.example:8883\""));
        }
        Some(address)
    };
    let mqtt = IngestMqtt {
        address: address(&mut table, "address").unwrap_or_default(),
        plaintext: address(&mut table, "plaintext"),
        server_name: table.string("server_name"),
        ca_file: table.path("ca_file"),
        client_certificate: table.path("client_certificate"),
        client_key: table.path("client_key"),
        username: table.string("username"),
        password_file: table.path("password_file"),
    };
    pairs(
        &table,
        &[
            ("client_certificate", "client_key", mqtt.client_certificate.is_some(), mqtt.client_key.is_some()),
            ("username", "password_file", mqtt.username.is_some(), mqtt.password_file.is_some()),
        ],
    );
    if table.present() && !table.has("address") {
        table.missing("address", "is needed, such as \"mqtt.example:8883\"");
    }
    table.finish();
    (!mqtt.address.is_empty()).then_some(mqtt)
}

/// Notes settings that stand alone and need another beside them.
fn pairs(table: &Table<'_>, pairs: &[(&str, &str, bool, bool)]) {
    for (one, other, has_one, has_other) in pairs {
        match (has_one, has_other) {
            (true, false) => table.object(one, format!("needs `{other}` beside it")),
            (false, true) => table.object(other, format!("needs `{one}` beside it")),
            _ => {}
        }
    }
}

fn web_address(table: &mut Table<'_>, name: &'static str, schemes: &[&str]) -> Option<String> {
    let url = table.string(name)?;
    let good = url.split_once("://").is_some_and(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        schemes.contains(&scheme)
            && !authority.is_empty()
            && !url.contains(char::is_whitespace)
            && !authority.contains('@')
    });
    if good {
        return Some(url);
    }
    let hint = if url.contains('@') { "; name secrets by file, never in a URL" } else { "" };
    table.object(name, format!("is not a URL that starts with {}://{hint}", schemes.join(":// or ")));
    None
}

fn service(mut table: Table<'_>) -> Option<Service> {
    let service = Service {
        configuration_file: table.path("configuration_file"),
        metrics_url: web_address(&mut table, "metrics_url", &["http", "https"]),
        health_url: web_address(&mut table, "health_url", &["http", "https"]),
        pointers: table.texts_of("pointers", POINTERS),
        metrics: table.texts_of("metrics", METRICS),
    };
    for (name, pointer) in &service.pointers {
        if !pointer.starts_with('/') {
            let message = format!("{name} is {pointer:?}; a JSON pointer starts with /, such as \"/security/auth\"");
            table.object("pointers", message);
        }
    }
    if !service.pointers.is_empty() && service.configuration_file.is_none() {
        table.object("pointers", "need `configuration_file` beside them");
    }
    if !service.metrics.is_empty() && service.metrics_url.is_none() {
        table.object("metrics", "need `metrics_url` beside them");
    }
    let present = table.present();
    table.finish();
    present.then_some(service)
}

fn devices(mut table: Table<'_>) -> Devices {
    let mut expected: Vec<Device> = Vec::new();
    let (ca_file, registry) = (table.path("ca_file"), table.path("registry"));
    let crl_file = table.path("crl_file");
    let challenge = challenge(table.table("challenge"));
    for mut device in table.tables("device") {
        let id = device.string("id");
        let endpoint = device.string("endpoint");
        let challenged = device.flag("challenge");
        let contact_every = device.duration("contact_every");
        if endpoint.as_deref().is_some_and(|endpoint| !is_address(endpoint)) {
            device.object("endpoint", "is not host:port, such as \"192.168.7.21:8443\"");
        }
        match id {
            Some(id) if expected.iter().any(|device| device.id == id) => {
                device.object("id", format!("{id:?} stands here twice"));
            }
            Some(id) => {
                if endpoint.is_none() && registry.is_none() && !challenged {
                    let message = "has neither an `endpoint` nor a `devices.registry` to look in, nor is it challenged";
                    device.object("id", message);
                }
                if challenged && !is_id(&id) {
                    let message = format!(
                        "{id:?} cannot be challenged: that takes 1 to {MAX_ID} printable ASCII characters without space, /, + and #"
                    );
                    device.object("challenge", message);
                }
                expected.push(Device { id, endpoint, challenge: challenged, contact_every });
            }
            None => device.missing("id", "is needed"),
        }
        device.finish();
    }
    table.finish();
    Devices { ca_file, crl_file, registry, expected, challenge, gateway: None }
}

fn challenge(mut table: Table<'_>) -> Challenge {
    let default = Challenge::default();
    let prefix = table.string("prefix").unwrap_or(default.prefix);
    if !is_prefix(&prefix) {
        table.object("prefix", format!("{prefix:?} cannot begin a topic; such as \"{PREFIX}\" is expected"));
    }
    let timeout = table.duration("timeout").unwrap_or(default.timeout);
    if !(SHORTEST_ANSWER..=LONGEST_ANSWER).contains(&timeout) {
        let (least, most) = (SHORTEST_ANSWER.as_secs(), LONGEST_ANSWER.as_secs());
        table.object("timeout", format!("is not between {least}s and {most}s"));
    }
    table.finish();
    Challenge { prefix, timeout }
}

fn host(mut table: Table<'_>, default: Host) -> Host {
    let (mut allowed_ports, mut expected_programs) = (Vec::new(), std::collections::BTreeMap::new());
    for entry in table.strings("allowed_ports") {
        let mut words = entry.split_whitespace();
        let (port, program) = (words.next().unwrap_or_default(), words.next());
        let good = port
            .split_once('/')
            .is_some_and(|(protocol, port)| ["tcp", "udp"].contains(&protocol) && port.parse::<u16>().is_ok());
        if !good || words.next().is_some() {
            let message = format!("{entry:?} is not protocol/port or protocol/port program, such as \"tcp/22 sshd\"");
            table.object("allowed_ports", message);
        }
        if let Some(program) = program {
            expected_programs.insert(port.to_owned(), program.to_owned());
        }
        allowed_ports.push(port.to_owned());
    }
    let units = table.strings("units");
    for unit in units.iter().filter(|unit| !unit.ends_with(".service")) {
        table.object("units", format!("{unit:?} is not the name of a service, such as \"gateway.service\""));
    }
    let root = table.path("root").unwrap_or(default.root);
    table.finish();
    Host { allowed_ports, expected_programs, units, root }
}

fn telemetry(mut table: Table<'_>, default: Telemetry) -> Telemetry {
    let canaries = table.whole("canaries").unwrap_or(u64::from(default.canaries));
    if canaries > MOST_CANARIES {
        table
            .object("canaries", format!("is more than {MOST_CANARIES}, which tells no more and costs the broker more"));
    }
    let mut qos = table.wholes("qos").unwrap_or_else(|| default.qos.iter().copied().map(u64::from).collect());
    qos.sort_unstable();
    qos.dedup();
    if qos.is_empty() || qos.iter().any(|qos| *qos > 2) {
        table.object("qos", "is not a list of 0, 1 and 2; write canaries = 0 to publish none");
    }
    let wait = table.duration("wait").unwrap_or(default.wait);
    if wait.is_zero() || wait > LONGEST_WAIT {
        table.object("wait", format!("is not between 1s and {}s", LONGEST_WAIT.as_secs()));
    }
    let passive_time = table.duration("passive_time").unwrap_or(default.passive_time);
    if passive_time.is_zero() || passive_time > LONGEST_PASSIVE {
        table.object("passive_time", format!("is not between 1s and {}s", LONGEST_PASSIVE.as_secs()));
    }
    let telemetry = Telemetry {
        canaries: u32::try_from(canaries).unwrap_or(default.canaries),
        qos: qos.into_iter().filter_map(|qos| u8::try_from(qos).ok()).collect(),
        wait,
        bridged_url: web_address(&mut table, "bridged_url", &["mqtts", "mqtt"]),
        ingest_readback_url: web_address(&mut table, "ingest_readback_url", &["https", "http"]),
        passive: table.flag("passive"),
        passive_time,
        topics: table.strings("topics"),
    };
    let address = telemetry.bridged_url.as_deref().and_then(|url| url.split_once("://"));
    if address.is_some_and(|(_, address)| !is_address(address)) {
        table.object("bridged_url", "is not scheme://host:port and nothing else, such as \"mqtts://10.0.0.2:8883\"");
    }
    if telemetry.topics.len() > MOST_TOPICS || telemetry.topics.iter().any(|topic| !rumqttc::valid_filter(topic)) {
        table.object("topics", format!("are not at most {MOST_TOPICS} topic filters, such as [\"telemetry/#\"]"));
    }
    if telemetry.passive && telemetry.topics.is_empty() {
        table.object("passive", "needs `topics` beside it, such as [\"telemetry/#\"]");
    }
    table.finish();
    telemetry
}

fn link(mut table: Table<'_>, default: Link) -> Link {
    let list = |table: &mut Table<'_>, name: &'static str, most: usize, good: fn(&str) -> bool, example: &str| {
        let entries = table.strings(name);
        if entries.len() > most || !entries.iter().all(|entry| good(entry)) {
            table.object(name, format!("are not at most {most} such as \"{example}\""));
        }
        entries
    };
    let is_server =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c));
    let link = Link {
        names: list(&mut table, "names", MOST_NAMES, is_name, "updates.example.com"),
        absent_domain: table.string("absent_domain").unwrap_or(default.absent_domain),
        time_servers: list(&mut table, "time_servers", MOST_TIME_SERVERS, is_server, "time.example.com"),
        portal_url: web_address(&mut table, "portal_url", &["http"]),
        portal_status: table
            .whole("portal_status")
            .map_or(default.portal_status, |status| u16::try_from(status).unwrap_or(0)),
        tunnels: list(&mut table, "tunnels", MOST_TUNNELS, is_interface, "wg0"),
    };
    if !is_name(&link.absent_domain) {
        table.object("absent_domain", "is not a domain such as \"invalid\"");
    }
    if !(200..600).contains(&link.portal_status) {
        table.object("portal_status", "is not a status such as 204");
    }
    if table.has("portal_status") && link.portal_url.is_none() {
        table.object("portal_status", "needs `portal_url` beside it");
    }
    table.finish();
    link
}

/// Labels of letters, digits, hyphens and underscores.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    text.len() <= 200 && text.split('.').all(label)
}

/// What the kernel takes for the name of an interface.
fn is_interface(text: &str) -> bool {
    (1..16).contains(&text.len()) && !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
}

fn disclosure(mut table: Table<'_>) -> Option<Disclosure> {
    let (domain, ca_file) = (table.string("domain"), table.path("ca_file"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    if domain.as_deref().is_some_and(|domain| !domain.chars().all(plain)) {
        table.object("domain", "is not a name such as \"example.com\", without https:// and path");
    }
    if table.present() && !table.has("domain") {
        table.missing("domain", "is needed, such as \"example.com\"");
    }
    table.finish();
    Some(Disclosure { domain: domain?, ca_file })
}

fn sink(mut table: Table<'_>) -> Option<Sink> {
    let url = web_address(&mut table, "url", &["https", "http"]).map(|url| url.trim_end_matches('/').to_owned());
    let ca_file = table.path("ca_file");
    let pin_sha256 = pins(&mut table);
    let proxy = web_address(&mut table, "proxy", &["http", "socks5", "socks5h"]);
    let proxy_credentials_file = table.path("proxy_credentials_file");
    if table.present() && !table.has("url") {
        table.missing("url", "is needed, such as \"https://sink.example\"");
    }
    let plaintext = url.as_deref().is_some_and(|url| url.starts_with("http://"));
    if plaintext && !url.as_deref().is_some_and(on_loopback) {
        table.object("url", "is plaintext; evidence leaves this machine by https only");
    }
    for (name, given) in [("pin_sha256", !pin_sha256.is_empty()), ("proxy", proxy.is_some())] {
        if plaintext && given {
            table.object(name, "is for an https `url` only");
        }
    }
    if proxy.as_deref().is_some_and(|proxy| !is_address(proxy.split_once("://").map_or("", |(_, address)| address))) {
        table.object("proxy", "is not scheme://host:port and nothing else, such as \"http://proxy.example:3128\"");
    }
    if proxy_credentials_file.is_some() && !table.has("proxy") {
        table.object("proxy_credentials_file", "needs `proxy` beside it");
    }
    table.finish();
    Some(Sink { url: url?, ca_file, pin_sha256, proxy, proxy_credentials_file })
}

fn pins(table: &mut Table<'_>) -> Vec<Pin> {
    let texts = table.strings("pin_sha256");
    if table.has("pin_sha256") && texts.is_empty() {
        table.object("pin_sha256", "names no key; leave the line out to trust any that `ca_file` vouches for");
    }
    let mut pins = Vec::new();
    for text in texts {
        match text.parse() {
            Ok(pin) => pins.push(pin),
            Err(why) => table.object("pin_sha256", format!("{text:?} {why}")),
        }
    }
    pins
}

/// Whether the host of an `http` URL is this machine.
fn on_loopback(url: &str) -> bool {
    let authority = url.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if Scope::of(host) == Scope::Loopback {
        return true;
    }
    (host, 80).to_socket_addrs().is_ok_and(|mut addresses| addresses.all(|address| address.ip().is_loopback()))
}

fn schedule(mut table: Table<'_>, default: Schedule) -> Schedule {
    let schedule = Schedule {
        every: table.duration("every").unwrap_or(default.every),
        jitter: table.duration("jitter").unwrap_or(default.jitter),
        bundle: table.string("bundle").unwrap_or(default.bundle),
    };
    if schedule.every.is_zero() {
        table.object("every", "is zero");
    }
    if bundle::find(&schedule.bundle).is_none() {
        let names: Vec<_> = bundle::all().iter().map(|bundle| bundle.name.as_str()).collect();
        table.object("bundle", format!("{:?} is not a bundle; there are {}", schedule.bundle, names.join(", ")));
    }
    table.finish();
    schedule
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<String> {
        let error = parse(text, Path::new("/etc/gatepost"), false).unwrap_err();
        error.into_iter().map(|m| format!("{}:{}: {}", m.line, m.key, m.message)).collect()
    }

    #[test]
    fn the_way_to_the_sink_is_all_or_nothing() {
        let pin = format!("{}=", "A".repeat(43));
        let good = format!(
            "[sink]\nurl = \"https://sink\"\npin_sha256 = [\"{pin}\"]\nproxy = \"http://proxy:3128\"\n\
             proxy_credentials_file = \"/c\"\n"
        );
        let sink = parse(&good, Path::new("/"), false).unwrap().sink.unwrap();
        assert_eq!((sink.pin_sha256[0].to_string(), sink.proxy.as_deref()), (pin, Some("http://proxy:3128")));
        for (text, expected) in [
            ("url = \"https://sink\"\npin_sha256 = []", "3:sink.pin_sha256: names no key"),
            ("url = \"https://sink\"\npin_sha256 = [\"abc\"]", "3:sink.pin_sha256: \"abc\" is not the SHA-256"),
            ("url = \"http://127.0.0.1:1\"\nproxy = \"http://p:1\"", "3:sink.proxy: is for an https `url` only"),
            ("url = \"https://sink\"\nproxy = \"http://p\"", "3:sink.proxy: is not scheme://host:port"),
            ("url = \"https://sink\"\nproxy = \"http://p:1/x\"", "3:sink.proxy: is not scheme://host:port"),
            ("url = \"https://sink\"\nproxy = \"https://p:1\"", "3:sink.proxy: is not a URL that starts with http://"),
            ("url = \"https://sink\"\nproxy = \"http://u:p@p:1\"", "3:sink.proxy: is not a URL that starts with"),
            ("url = \"https://sink\"\nproxy_credentials_file = \"c\"", "3:sink.proxy_credentials_file: needs `proxy`"),
        ] {
            let found = mistakes(&format!("[sink]\n{text}\n"));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn canaries_are_bounded_and_counting_needs_topics() {
        let read = |text: &str| parse(&format!("[telemetry]\n{text}\n"), Path::new("/"), false).unwrap().telemetry;
        let all = read("qos = [2, 1, 1]\nwait = \"2s\"\npassive = true\ntopics = [\"telemetry/#\"]");
        assert_eq!((all.qos, all.wait.as_secs(), all.passive, all.canaries), (vec![1, 2], 2, true, 10));
        assert!(!read("").passive && read("canaries = 0").canaries == 0);
        for (text, expected) in [
            ("canaries = 101", "2:telemetry.canaries: is more than 100"),
            ("qos = [3]", "2:telemetry.qos: is not a list of 0, 1 and 2"),
            ("qos = \"1\"", "2:telemetry.qos: is string, a list of whole numbers"),
            ("wait = \"1h\"", "2:telemetry.wait: is not between 1s and 15s"),
            ("passive_time = \"2m\"", "2:telemetry.passive_time: is not between 1s and 60s"),
            ("passive = 1", "2:telemetry.passive: is integer, true or false is expected"),
            ("passive = true", "2:telemetry.passive: needs `topics` beside it"),
            ("topics = [\"a/#/b\"]", "2:telemetry.topics: are not at most 8 topic filters"),
            ("bridged_url = \"mqtts://10.0.0.2\"", "2:telemetry.bridged_url: is not scheme://host:port"),
            ("bridged_url = \"10.0.0.2:8883\"", "2:telemetry.bridged_url: is not a URL that starts with mqtts://"),
            ("ingest_readback_url = \"ftp://x\"", "2:telemetry.ingest_readback_url: is not a URL that starts"),
        ] {
            let found = mistakes(&format!("[telemetry]\n{text}\n"));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn what_is_asked_about_the_link_is_bounded() {
        let read = |text: &str| parse(&format!("[link]\n{text}\n"), Path::new("/"), false).unwrap().link;
        let all = read(
            "names = [\"updates.example\"]\nabsent_domain = \"none.example\"\ntime_servers = [\"10.0.0.1:1123\"]\n\
             portal_url = \"http://probe.example/204\"\nportal_status = 200\ntunnels = [\"wg0\"]",
        );
        assert_eq!((all.names.len(), all.portal_status, all.tunnels.len()), (1, 200, 1));
        assert_eq!(read(""), Link::default());
        for (text, expected) in [
            ("names = [\"a b\"]", "2:link.names: are not at most 4"),
            ("absent_domain = \"a b\"", "2:link.absent_domain: is not a domain"),
            ("time_servers = [\"a\", \"b\", \"c\", \"d\"]", "2:link.time_servers: are not at most 3"),
            ("portal_url = \"https://x/\"", "2:link.portal_url: is not a URL that starts with http://"),
            ("portal_url = \"http://x/\"\nportal_status = 99", "3:link.portal_status: is not a status"),
            ("portal_status = 200", "2:link.portal_status: needs `portal_url`"),
            ("tunnels = [\"a/b\"]", "2:link.tunnels: are not at most 8"),
        ] {
            let found = mistakes(&format!("[link]\n{text}\n"));
            assert!(found.len() == 1 && found[0].starts_with(expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn an_empty_file_is_this_machine() {
        assert_eq!(parse("", Path::new("/"), true), Ok(Config::default()));
    }

    #[test]
    fn every_mistake_is_told_with_line_and_key_and_near_misses_are_named() {
        let found = mistakes(
            "[gatway]\nname = \"a\"\n[broker]\ntls = \"127.0.0.1:8883\"\nplaintext = [\"127.0.0.1\", 5]\nca_fil = \"x\"\n\
             client_key = \"k\"\n[ingest]\ntoken_file = \"t\"\n[schedule]\nevery = \"often\"\nbundle = \"audit\"\n",
        );
        let expected = [
            "1:gatway: is not known; did you mean `gateway`?",
            "4:broker.tls: is string, a list of strings",
            "5:broker.plaintext: \"127.0.0.1\" is not host:port",
            "5:broker.plaintext: is integer, a string in quotes is expected",
            "6:broker.ca_fil: is not known; did you mean `ca_file`?",
            "7:broker.client_key: needs `client_certificate` beside it",
            "8:ingest.url: is needed",
            "11:schedule.every: \"often\" is not a duration",
            "12:schedule.bundle: \"audit\" is not a bundle; there are audit-baseline",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    }

    #[test]
    fn broken_toml_is_a_mistake_with_its_line_and_the_rest_is_still_read() {
        let found = mistakes("[gateway]\nname = \n[sink]\nurl = \"ftp://x\"\n");
        assert!(found.iter().any(|m| m.starts_with("2:")), "{found:#?}");
        assert!(found.iter().any(|m| m.contains("sink.url")), "{found:#?}");
    }

    #[test]
    fn a_file_that_is_no_configuration_is_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(file(&path).unwrap_err().to_string().contains("not a regular file"));
        std::fs::remove_file(&path).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert!(file(&path).unwrap_err().to_string().contains("has more than"));
        std::fs::write(&path, b"\xff\xfe").unwrap();
        assert!(file(&path).unwrap_err().to_string().contains("not text"));
        let wrong = (0..5000).map(|n| format!("k{n} = \n")).collect::<String>();
        let told = mistakes(&wrong);
        assert!(told.len() <= MAX_MISTAKES && told.last().unwrap().contains("there are more"), "{}", told.len());
    }

    #[test]
    fn evidence_does_not_leave_the_machine_in_plaintext() {
        let found = mistakes("[sink]\nurl = \"http://192.0.2.7:8080\"\n");
        assert!(found[0].contains("https only"), "{found:#?}");
        for good in ["http://127.0.0.1:8080", "http://[::1]:80", "https://sink.example"] {
            assert!(parse(&format!("[sink]\nurl = \"{good}\"\n"), Path::new("/"), false).is_ok(), "{good}");
        }
    }

    #[test]
    fn an_ingest_edge_speaks_http_or_mqtt_or_both() {
        let read = |text: &str| parse(text, Path::new("/c"), false).unwrap();
        let both = read(
            "[ingest]\nurl = \"https://edge/\"\nthorough = false\nclient_certificate = \"a\"\nclient_key = \"b\"\n\
             [ingest.mqtt]\naddress = \"mqtt.example:8883\"\nusername = \"g\"\npassword_file = \"p\"\n",
        );
        assert!(!both.ingest.unwrap().thorough);
        assert_eq!(both.ingest_mqtt.unwrap().password_file, Some("/c/p".into()));
        let mqtt = read("[ingest.mqtt]\naddress = \"mqtt.example:8883\"\n");
        assert!(mqtt.ingest.is_none() && mqtt.ingest_mqtt.is_some());
        for (text, expected) in [
            ("[ingest]\nurl = \"https://e/\"\nclient_key = \"k\"", "ingest.client_key: needs `client_certificate`"),
            ("[ingest]\nurl = \"https://e/\"\nexpired_token_file = \"k\"", "ingest.expired_token_file: needs"),
            ("[ingest]\nurl = \"https://e/\"\nthorough = \"no\"", "ingest.thorough: is string, true or false"),
            ("[ingest.mqtt]\nplaintext = \"e:1\"", "ingest.mqtt.address: is needed"),
            ("[ingest.mqtt]\naddress = \"e\"", "ingest.mqtt.address: \"e\" is not host:port"),
            ("[ingest]\nca_file = \"x\"\n[ingest.mqtt]\naddress = \"e:1\"", "ingest.url: is needed"),
        ] {
            let found = mistakes(&format!("{text}\n"));
            assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:#?}");
        }
    }

    #[test]
    fn secrets_have_no_place_in_a_url() {
        let found = mistakes("[ingest]\nurl = \"https://user:hunter2@edge/\"\n");
        assert!(found[0].contains("name secrets by file") && !found[0].contains("hunter2"), "{found:#?}");
    }

    #[test]
    fn files_are_relative_to_the_configuration_and_looked_for_on_request() {
        let text = "[broker]\nca_file = \"ca.pem\"\n";
        let config = parse(text, Path::new("/etc/gatepost"), false).unwrap();
        assert_eq!(config.broker.ca_file, Some("/etc/gatepost/ca.pem".into()));
        let error = parse(text, Path::new("/nowhere"), true).unwrap_err();
        assert_eq!((error[0].line, error[0].key.as_str()), (2, "broker.ca_file"));
    }

    #[test]
    fn the_spool_is_bounded_within_reason() {
        let read = |text: &str| parse(text, Path::new("/"), false).unwrap().state;
        let state = read("[state]\nmax_age = \"90d\"\nmax_bytes = 16777216\n");
        assert_eq!((state.max_age.as_secs(), state.max_bytes), (90 * 86_400, 16 << 20));
        assert_eq!((read("").max_age.as_secs(), read("").max_bytes), (30 * 86_400, 64 << 20));
        let found = mistakes("[state]\nmax_age = \"5m\"\nmax_bytes = 1000\n");
        assert!(found[0].starts_with("2:state.max_age: is less than an hour"), "{found:#?}");
        assert!(found[1].starts_with("3:state.max_bytes: is less than 4194304"), "{found:#?}");
        for wrong in ["\"64M\"", "-1", "1.5", "99999999999999999999"] {
            let found = mistakes(&format!("[state]\nmax_bytes = {wrong}\n"));
            assert!(found[0].starts_with("2:state.max_bytes: is "), "{found:#?}");
        }
    }

    #[test]
    fn guardrails_have_known_names() {
        let found = mistakes("[service]\nconfiguration_file = \"a\"\n[service.pointers]\nauth_enforce = \"/a\"\n");
        assert!(found[0].starts_with("4:service.pointers.auth_enforce: is not known; did you mean `auth_enforced`"));
    }
}
