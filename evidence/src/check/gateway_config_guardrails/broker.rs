//! The broker's configuration: what was read of it, and the facts that follow once it is resolved as Mosquitto resolves it.
//!
//! Nothing of a secret is in here: passwords and keys were replaced by the probe, and of a file of passwords only the kinds of
//! its hashes are known.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::directives::Release;
use super::live::InEffect;
use super::resolve::{self, Bridge, Resolved, Section, on};
use super::values::number;
use crate::check::broker_transport_posture::Scope;
use crate::check::{Seen, Unknown, segment};
use crate::look::{Failure, Look};

/// What stands in a secret's place.
pub const REDACTED: &str = "(redacted)";

/// The broker's configuration files (mosquitto.conf(5)).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// The file that was read first.
    pub path: String,
    /// Every directive, in the order Mosquitto reads them, `include_dir` followed.
    pub directives: Vec<Directive>,
    /// Files that are named but could not be read.
    pub unreadable: BTreeMap<String, Failure>,
    /// The installed release, such as `2.0.11`; null in evidence of before it was looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Look<String>>,
    /// By path: the configuration's files and those that it names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, NamedFile>,
    /// The user id of the account that `user` names; null where it names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Look<u32>>,
    /// The processes that are called mosquitto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<Look<Vec<Process>>>,
}

/// One line of the broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// The file it stands in.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// Its name.
    pub key: String,
    /// Its value; passwords and pre-shared keys are replaced by `(redacted)`.
    pub value: String,
}

/// A file of the configuration, or one that it names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    /// What for, sorted.
    pub uses: Vec<Use>,
    /// Its owner and mode.
    pub state: Look<FileState>,
    /// How the passwords in it are kept; null where it is no file of passwords.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passwords: Option<Look<Passwords>>,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    /// A configuration file.
    Configuration,
    /// `include_dir`
    Folder,
    /// `password_file`
    Passwords,
    /// `acl_file`
    Rights,
    /// `psk_file`
    PreSharedKeys,
    /// `keyfile`, `bridge_keyfile`
    Key,
    /// `certfile`, `bridge_certfile`
    Certificate,
    /// `cafile`, `bridge_cafile`
    Authorities,
    /// `crlfile`
    Revocations,
    /// `plugin`
    Plugin,
}

/// Owner and mode of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileState {
    /// Permission bits, octal.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When its content was changed.
    pub changed: Timestamp,
}

/// How the passwords of a file are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Passwords {
    /// By scheme (`plain`, `sha512`, `pbkdf2`, `argon2`, `other`): how many users.
    pub schemes: BTreeMap<String, u32>,
    /// The fewest iterations of PBKDF2.
    pub fewest_iterations: Option<u32>,
}

/// A running broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The user it runs as.
    pub uid: u32,
    /// When it was started, to about a second.
    pub started: Timestamp,
    /// The configuration it was started with, as on its command line.
    pub configuration: Option<String>,
    /// There is a file of that name here. There need not be for a broker in a container, which has names of its own.
    pub known_here: bool,
}

/// Facts about the broker's configuration, as Mosquitto resolves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BrokerFacts {
    /// By `port` or `port@address`: each listener that the files open.
    pub listeners: BTreeMap<String, DeclaredListener>,
    /// Clients without credentials are allowed on some listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anonymous_allowed: Option<bool>,
    /// An access control list or a plugin that can hold one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_control_configured: Option<bool>,
    /// Messages survive a restart (`persistence`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<bool>,
    /// A bridge skips the check of its peer's name (`bridge_insecure`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridge_insecure: Option<bool>,
    /// The release that the files were resolved for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Names that this release does not know and does not start with, with their places.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_directives: Option<Vec<String>>,
    /// Lines that it would not start with for another reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected_lines: Option<Vec<String>>,
    /// Directives that have no effect where they stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignored_directives: Option<Vec<String>>,
    /// Directives that a later release removes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deprecated_directives: Option<Vec<String>>,
    /// Seconds, or changes, between two writings of what is kept; 0 for only at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autosave_interval: Option<i64>,
    /// The interval counts changes, not seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autosave_on_changes: Option<bool>,
    /// The most messages that wait for one client; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued_messages: Option<i64>,
    /// The most bytes that wait for one client; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queued_bytes: Option<i64>,
    /// The largest packet, in bytes; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_packet_size: Option<i64>,
    /// The longest keep alive, in seconds; 0 for no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_keepalive: Option<i64>,
    /// Where the log goes; empty for nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_destinations: Option<Vec<String>>,
    /// What is logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_types: Option<Vec<String>>,
    /// By name: bridges to other brokers.
    #[serde(default)]
    pub bridges: BTreeMap<String, BridgeFacts>,
    /// By path: the configuration's files and those that it names.
    #[serde(default)]
    pub files: BTreeMap<String, FileFacts>,
    /// By path: files of passwords.
    #[serde(default)]
    pub password_files: BTreeMap<String, PasswordFacts>,
    /// A broker runs with this configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
    /// Files that were changed after that broker was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_since_start: Option<Vec<String>>,
    /// By listener and subject, such as `8883 anonymous`: what is declared, held against what the same run saw of the broker.
    #[serde(default)]
    pub in_effect: BTreeMap<String, InEffect>,
}

/// A listener as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredListener {
    /// Its port; 0 for a Unix socket.
    pub port: u16,
    /// From where it can be reached, by its bind address; every interface when it has none.
    pub scope: Scope,
    /// `mqtt`, `websockets` or `http_api`.
    pub protocol: String,
    /// It has a certificate and a key, or a pre-shared key.
    pub tls: bool,
    /// That is a pre-shared key.
    pub pre_shared_key: bool,
    /// It names authorities for clients' certificates (`cafile`, `capath`).
    pub authorities: bool,
    /// It demands a client certificate.
    pub client_certificate_required: bool,
    /// Its `tls_version`, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// The oldest version of TLS that it takes; absent where it speaks none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_floor: Option<String>,
    /// It allows clients without credentials.
    pub anonymous_allowed: bool,
    /// A client that shows nothing at all gets in: no certificate is demanded of it either.
    pub admits_anybody: bool,
    /// A client's name is that of its certificate (`use_identity_as_username`, `use_subject_as_username`).
    pub certificate_is_identity: bool,
    /// Passwords, or a plugin that may ask for them, are configured.
    pub passwords: bool,
    /// It has a revocation list (`crlfile`).
    pub revocations: bool,
    /// The dates of clients' certificates are checked; absent for releases that always do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_dates_checked: Option<bool>,
    /// What `ciphers` and `ciphers_tls1.3` admit that is weak.
    pub weak_ciphers: Vec<String>,
    /// Web pages of any origin may speak to it; absent where it speaks no WebSocket, and in releases that cannot tell origins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_origin: Option<bool>,
}

/// A bridge to another broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BridgeFacts {
    /// Where it leads.
    pub addresses: Vec<String>,
    /// The farthest of these.
    pub scope: Scope,
    /// It speaks TLS.
    pub tls: bool,
    /// Its `bridge_tls_version`, if set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<String>,
    /// It skips the check of its peer's name (`bridge_insecure`).
    pub insecure: bool,
    /// It says who it is: by certificate, user name or pre-shared key.
    pub credentials: bool,
    /// It has a password, which would cross a plaintext bridge.
    pub password: bool,
}

/// A file of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileFacts {
    /// What for.
    pub uses: Vec<Use>,
    /// It holds passwords, pre-shared keys or a private key.
    pub secret: bool,
    /// Permission bits, octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Every user may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readable_by_others: Option<bool>,
    /// Every user may write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writable_by_others: Option<bool>,
    /// It belongs to root or to the user that the broker runs as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_trusted: Option<bool>,
}

/// A file of passwords.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PasswordFacts {
    /// Users whose password stands there as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plain: Option<u32>,
    /// Users whose password is hashed once, with salt (`$6$`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha512: Option<u32>,
    /// Users whose password is hashed with PBKDF2 (`$7$`) or Argon2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<u32>,
    /// The fewest iterations of PBKDF2; absent without a reason where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fewest_iterations: Option<u32>,
}

/// The release to resolve for: the installed one; where that is not known, 2.1 if the files need it.
fn release(broker: &Broker) -> Release {
    if let Some(known) = broker.release.as_ref().and_then(Look::seen).and_then(|text| Release::read(text)) {
        return known;
    }
    let needs =
        |directive: &Directive| super::directives::find(&directive.key).is_some_and(|it| it.since >= Release::TWO_ONE);
    if broker.directives.iter().any(needs) { Release::TWO_ONE } else { Release::DEBIAN_12 }
}

/// What the files come to, and the release they were resolved for.
#[must_use]
pub fn resolved(broker: &Broker) -> (Resolved, Release) {
    let release = release(broker);
    (resolve::resolve(&broker.path, &broker.directives, release), release)
}

pub(super) fn facts(broker: &Broker, _: &Seen, unknown: &mut Unknown) -> BrokerFacts {
    if let Some((path, failure)) = broker.unreadable.iter().next() {
        unknown.because("/broker", format!("{path}: {failure}"));
        return BrokerFacts::default();
    }
    let (resolved, release) = resolved(broker);
    let two_one = release >= Release::TWO_ONE;
    let whole = |name: &str, default: i64| {
        let set = resolved.global.get(name).and_then(|setting| number(setting.value.split(' ').next()?, two_one));
        Some(set.unwrap_or(default))
    };
    let listeners: BTreeMap<_, _> =
        resolved.listeners.iter().map(|section| (name(section), listener(&resolved, section, release))).collect();
    let plugins = resolved.security.contains_key("plugin")
        || resolved.listeners.iter().any(|section| section.security.contains_key("plugin"));
    let lists = resolved.listeners.iter().any(|section| resolved.security_at(section, "acl_file").is_some());
    let mut facts = BrokerFacts {
        anonymous_allowed: Some(listeners.values().any(|listener| listener.anonymous_allowed)),
        access_control_configured: Some(plugins || lists),
        persistence: Some(on(&resolved.global, "persistence")),
        bridge_insecure: Some(resolved.bridges.iter().any(|bridge| on(&bridge.options, "bridge_insecure"))),
        autosave_interval: whole("autosave_interval", 1800).map(|interval| interval.max(0)),
        autosave_on_changes: Some(on(&resolved.global, "autosave_on_changes")),
        max_queued_messages: whole("max_queued_messages", 1000).map(|most| most.max(0)),
        max_queued_bytes: whole("max_queued_bytes", 0).map(|most| most.max(0)),
        max_packet_size: whole("max_packet_size", if two_one { 2_000_000 } else { 0 }),
        max_keepalive: whole("max_keepalive", if two_one { 0 } else { 65_535 }),
        bridges: resolved.bridges.iter().map(|bridge| (bridge.name.clone(), bridge_facts(bridge))).collect(),
        listeners,
        ..BrokerFacts::default()
    };
    match &broker.release {
        Some(Look::Seen(text)) => facts.release = Some(text.clone()),
        Some(Look::Failed(failure)) => unknown.because("/broker/release", failure),
        None => {}
    }
    facts.unknown_directives = Some(resolved.unknown);
    facts.rejected_lines = Some(resolved.rejected);
    facts.ignored_directives = Some(resolved.ignored);
    facts.deprecated_directives = Some(resolved.deprecated);
    facts.log_destinations = Some(resolved.log_destinations);
    facts.log_types = Some(resolved.log_types);
    process(broker, &mut facts, unknown);
    files(broker, &mut facts, unknown);
    facts
}

/// `port`, or `port@address`.
fn name(section: &Section) -> String {
    match &section.host {
        Some(host) => format!("{}@{host}", section.port),
        None => section.port.to_string(),
    }
}

fn listener(resolved: &Resolved, section: &Section, release: Release) -> DeclaredListener {
    let text = |name: &str| section.options.get(name).map(|setting| setting.value.clone());
    let protocol = text("protocol").unwrap_or_else(|| "mqtt".into());
    let tls = section.tls();
    let two_one = release >= Release::TWO_ONE;
    let required = section.certificate() && section.on("require_certificate");
    let identity = tls && ["use_identity_as_username", "use_subject_as_username"].iter().any(|name| section.on(name));
    let anonymous = resolved.anonymous(section, release);
    let scope = match (section.port, section.options.get("bind_interface"), section.host.as_deref()) {
        (0, ..) => Scope::Loopback,
        (_, Some(interface), _) if interface.value == "lo" => Scope::Loopback,
        (_, _, Some(host)) => Scope::of(host),
        _ => Scope::Public,
    };
    let floor = match text("tls_version").as_deref() {
        Some("tlsv1.3") => "tls1.3",
        Some("tlsv1.1") => "tls1.1",
        Some("tlsv1" | "tlsv1.0") => "tls1.0",
        _ => "tls1.2",
    };
    let ciphers = [text("ciphers"), text("ciphers_tls1.3")];
    DeclaredListener {
        port: section.port,
        scope,
        tls,
        pre_shared_key: tls && !section.certificate(),
        authorities: section.certificate()
            && ["cafile", "capath"].iter().any(|name| section.options.contains_key(name)),
        client_certificate_required: required,
        tls_version: text("tls_version"),
        tls_floor: tls.then(|| floor.to_owned()),
        anonymous_allowed: anonymous,
        admits_anybody: anonymous && !required && !identity && (!tls || section.certificate()),
        certificate_is_identity: identity,
        passwords: ["password_file", "plugin"].iter().any(|name| {
            resolved.security_at(section, name).is_some() || *name == "plugin" && resolved.security.contains_key(name)
        }),
        revocations: section.certificate() && section.options.contains_key("crlfile"),
        client_dates_checked: two_one.then(|| !section.on("disable_client_cert_date_checks")),
        weak_ciphers: if tls {
            ciphers.iter().flatten().flat_map(|list| weak_ciphers(list)).collect()
        } else {
            Vec::new()
        },
        any_origin: (two_one && protocol.starts_with("websockets")).then_some(section.origins == 0),
        protocol,
    }
}

/// Words of an OpenSSL cipher list (openssl-ciphers(1)) that let weak suites in. `!` and `-` before a word take suites away.
fn weak_ciphers(list: &str) -> Vec<String> {
    let words: Vec<String> =
        list.split([':', ',', ' ']).map(str::to_ascii_uppercase).filter(|word| !word.is_empty()).collect();
    let refused = |name: &str| words.iter().any(|word| word.strip_prefix('!') == Some(name));
    let weak = |word: &&String| {
        if word.starts_with(['!', '-']) {
            return false;
        }
        if word.as_str() == "@SECLEVEL=0" {
            return true;
        }
        if word.as_str() == "ALL" {
            return !refused("ANULL") && !refused("ADH");
        }
        let parts =
            ["NULL", "ENULL", "ANULL", "ADH", "AECDH", "EXP", "EXPORT", "RC4", "DES", "3DES", "MD5", "LOW", "RC2"];
        let mixed = ["COMPLEMENTOFALL", "COMPLEMENTOFDEFAULT"];
        mixed.contains(&word.as_str()) || word.split(['-', '+', '_']).any(|part| parts.contains(&part))
    };
    words.iter().filter(weak).cloned().collect()
}

fn bridge_facts(bridge: &Bridge) -> BridgeFacts {
    let has = |name: &str| bridge.options.contains_key(name);
    let addresses: Vec<String> = bridge
        .options
        .get("address")
        .map(|setting| {
            setting.value.split(' ').filter(|word| !word.is_empty()).take_while(|word| !word.starts_with('#'))
        })
        .map(|words| words.map(str::to_owned).collect())
        .unwrap_or_default();
    let far = |scope: &Scope| match scope {
        Scope::Loopback => 0,
        Scope::Lan => 1,
        Scope::Name => 2,
        Scope::Public => 3,
    };
    let host = |address: &String| Scope::of(address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host));
    BridgeFacts {
        scope: addresses.iter().map(host).max_by_key(far).unwrap_or(Scope::Loopback),
        addresses,
        tls: has("bridge_cafile")
            || has("bridge_capath")
            || has("bridge_psk")
            || on(&bridge.options, "bridge_tls_use_os_certs"),
        tls_version: bridge.options.get("bridge_tls_version").map(|setting| setting.value.clone()),
        insecure: on(&bridge.options, "bridge_insecure"),
        credentials: has("username") || has("bridge_certfile") || has("bridge_psk"),
        password: has("password"),
    }
}

fn process(broker: &Broker, facts: &mut BrokerFacts, unknown: &mut Unknown) {
    let Some(processes) = &broker.processes else { return };
    let processes = match processes {
        Look::Seen(processes) => processes,
        Look::Failed(failure) => {
            unknown.because("/broker/running", failure);
            unknown.because("/broker/changed_since_start", failure);
            return;
        }
    };
    let with_it = |process: &&Process| process.configuration.as_deref() == Some(broker.path.as_str());
    match processes.iter().find(with_it) {
        Some(process) => {
            facts.running = Some(true);
            // A second's grace, since the start is known to about one.
            let changed = |file: &NamedFile| {
                let uses = [Use::Configuration, Use::Rights, Use::Passwords, Use::PreSharedKeys];
                let watched = file.uses.iter().any(|it| uses.contains(it));
                watched
                    && file
                        .state
                        .seen()
                        .is_some_and(|state| state.changed.as_second() > process.started.as_second() + 2)
            };
            let files = broker.files.iter().filter(|(_, file)| changed(file)).map(|(path, _)| path.clone());
            facts.changed_since_start = Some(files.collect());
        }
        None if processes.iter().all(|process| process.known_here) => {
            facts.running = Some(false);
            unknown.because("/broker/changed_since_start", "no broker runs with this configuration");
        }
        None => {
            let why = format!("mosquitto runs with a configuration that is not here, and may be {}", broker.path);
            unknown.because("/broker/running", &why);
            unknown.because("/broker/changed_since_start", why);
        }
    }
}

fn files(broker: &Broker, facts: &mut BrokerFacts, unknown: &mut Unknown) {
    let runs_as = broker.processes.as_ref().and_then(Look::seen).into_iter().flatten().map(|process| process.uid);
    let named = broker.user.as_ref().and_then(Look::seen).copied();
    let trusted: Vec<u32> = runs_as.chain(named).chain([0]).collect();
    for (path, file) in &broker.files {
        let place = format!("/broker/files/{}", segment(path));
        let holds_a_password = broker.directives.iter().any(|one| one.file == *path && one.value == REDACTED);
        let kinds = [Use::Passwords, Use::PreSharedKeys, Use::Key];
        let mut found = FileFacts {
            uses: file.uses.clone(),
            secret: holds_a_password || file.uses.iter().any(|it| kinds.contains(it)),
            mode: None,
            readable_by_others: None,
            writable_by_others: None,
            owner_trusted: None,
        };
        match &file.state {
            Look::Seen(state) => {
                let bits = u32::from_str_radix(&state.mode, 8).ok();
                found.mode = Some(state.mode.clone());
                found.readable_by_others = bits.map(|bits| bits & 0o004 != 0);
                // In a folder with the sticky bit nobody takes another's file away, but anybody adds one.
                found.writable_by_others = bits.map(|bits| bits & 0o002 != 0);
                found.owner_trusted = Some(trusted.contains(&state.uid));
            }
            Look::Failed(failure) => unknown.because(&place, failure),
        }
        facts.files.insert(path.clone(), found);
        if let Some(passwords) = &file.passwords {
            facts.password_files.insert(path.clone(), password_facts(path, passwords, unknown));
        }
    }
}

fn password_facts(path: &str, passwords: &Look<Passwords>, unknown: &mut Unknown) -> PasswordFacts {
    match passwords {
        Look::Seen(found) => {
            let count = |name: &str| found.schemes.get(name).copied().unwrap_or(0);
            PasswordFacts {
                plain: Some(count("plain") + count("other")),
                sha512: Some(count("sha512")),
                slow: Some(count("pbkdf2") + count("argon2")),
                fewest_iterations: found.fewest_iterations,
            }
        }
        Look::Failed(failure) => {
            unknown.because(format!("/broker/password_files/{}", segment(path)), failure);
            PasswordFacts::default()
        }
    }
}
