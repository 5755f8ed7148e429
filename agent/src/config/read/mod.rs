//! From a TOML file to a [`Config`], or to everything that is wrong with it. Each table of the file is read by a file of its own.

mod broker;
mod devices;
mod gateway;
mod host;
mod ingest;
mod link;
mod service;
mod sink;
mod telemetry;
mod values;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;

use super::table::{MAX_MISTAKES, Source, Table};
use super::{Broker, Config, Devices, Gateway, Host, Link, Mistake, Mistakes, Schedule, State, Telemetry};
use crate::files;
use crate::spool::Bounds;

/// Where the package puts the configuration.
pub const SYSTEM_FILE: &str = "/etc/gatepost/gatepost.toml";
/// Where the package keeps state.
pub const SYSTEM_STATE: &str = "/var/lib/gatepost";

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
    let (ingest, ingest_mqtt) = ingest::ingest(root.table("ingest"));
    let config = Config {
        gateway: gateway::gateway(root.table("gateway"), default.gateway),
        state: gateway::state(root.table("state"), default.state),
        broker: broker::broker(root.table("broker")),
        ingest,
        ingest_mqtt,
        service: service::service(root.table("service")),
        devices: devices::devices(root.table("devices")),
        host: host::host(root.table("host"), default.host),
        telemetry: telemetry::telemetry(root.table("telemetry"), default.telemetry),
        link: link::link(root.table("link"), default.link),
        disclosure: sink::disclosure(root.table("disclosure")),
        sink: sink::sink(root.table("sink")),
        schedule: gateway::schedule(root.table("schedule"), default.schedule),
    };
    root.finish();
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a file, each as `line:key: words`.
    pub(super) fn mistakes(text: &str) -> Vec<String> {
        let error = parse(text, Path::new("/etc/gatepost"), false).unwrap_err();
        error.into_iter().map(|m| format!("{}:{}: {}", m.line, m.key, m.message)).collect()
    }

    /// A file in which nothing is wrong.
    pub(super) fn read(text: &str) -> Config {
        parse(text, Path::new("/c"), false).unwrap()
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
    fn files_are_relative_to_the_configuration_and_looked_for_on_request() {
        let text = "[broker]\nca_file = \"ca.pem\"\n";
        let config = parse(text, Path::new("/etc/gatepost"), false).unwrap();
        assert_eq!(config.broker.ca_file, Some("/etc/gatepost/ca.pem".into()));
        let error = parse(text, Path::new("/nowhere"), true).unwrap_err();
        assert_eq!((error[0].line, error[0].key.as_str()), (2, "broker.ca_file"));
    }
}
