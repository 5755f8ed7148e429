//! What a running Mosquitto makes of its directives: which listener each belongs to, what is in effect, and which lines it
//! passes over or would not start with.
//!
//! This follows the broker's own reading (conf.c of 2.0 and 2.1), its traps included, and is held against the running broker in
//! `tests/tests/config_mosquitto.rs`: every file starts on the default listener again, options before the first `listener` open
//! one on port 1883, and `certfile` without `keyfile` is plaintext. It judges nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::Directive;
use super::directives::{Kind, Known, Release, Standing, Value, find, standing};
use super::values::{fits, number, word};

/// A value, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value, without space around it.
    pub value: String,
    /// `file:line`.
    pub place: String,
}

/// Settings by the name of their directive.
pub type Settings = BTreeMap<&'static str, Setting>;

/// A listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Section {
    /// Its port; 0 for a Unix socket.
    pub port: u16,
    /// The address or path it is bound to.
    pub host: Option<String>,
    /// It is the one that exists without a `listener` line.
    pub default: bool,
    /// Its options.
    pub options: Settings,
    /// Its security settings, in effect only where each listener has its own.
    pub security: Settings,
    /// How many origins its WebSocket takes (`websockets_origin`).
    pub origins: u32,
}

impl Section {
    /// Whether a flag is set.
    #[must_use]
    pub fn on(&self, name: &str) -> bool {
        on(&self.options, name)
    }

    /// Whether a certificate or a pre-shared key makes it TLS; without both halves of a certificate Mosquitto speaks plaintext.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.certificate() || self.options.contains_key("psk_hint")
    }

    /// Whether it has a certificate with its key.
    #[must_use]
    pub fn certificate(&self) -> bool {
        ["certfile", "keyfile"].iter().all(|name| self.options.contains_key(name))
    }
}

/// A bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: String,
    /// Its options; `address` has all addresses, `topic` one of the topics.
    pub options: Settings,
}

/// What the lines come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The listeners that are opened; the default one last.
    pub listeners: Vec<Section>,
    /// No line opens a listener: Mosquitto serves this machine only.
    pub local_only: bool,
    /// Each listener has its own security settings.
    pub per_listener: bool,
    /// Options of the whole broker.
    pub global: Settings,
    /// Security settings of the whole broker.
    pub security: Settings,
    /// Bridges, in order.
    pub bridges: Vec<Bridge>,
    /// Names of plugins that listeners may use (`plugin_load`).
    pub plugins: BTreeSet<String>,
    /// Where the log goes: `file /path`, `syslog`...
    pub log_destinations: Vec<String>,
    /// What is logged.
    pub log_types: Vec<String>,
    /// Names that this release does not know, with their places; it does not start with them.
    pub unknown: Vec<String>,
    /// Lines that it would not start with for another reason.
    pub rejected: Vec<String>,
    /// Directives that will be removed.
    pub deprecated: Vec<String>,
    /// Directives that have no effect where they stand.
    pub ignored: Vec<String>,
}

impl Resolved {
    /// The security setting that is in effect at `section`.
    #[must_use]
    pub fn security_at<'a>(&'a self, section: &'a Section, name: &str) -> Option<&'a Setting> {
        if self.per_listener { section.security.get(name) } else { self.security.get(name) }
    }

    /// Whether clients without a user name are let in at `section`, by the word of the files alone.
    #[must_use]
    pub fn anonymous(&self, section: &Section, release: Release) -> bool {
        let set = |settings: &Settings| settings.get("allow_anonymous").map(|setting| truth(&setting.value));
        let (own, common) = (set(&section.security), set(&self.security));
        if self.local_only && !self.per_listener {
            return if release < Release::STRICTER { true } else { own.or(common).unwrap_or(true) };
        }
        if release >= Release::TWO_ONE && !self.per_listener {
            return own.or(common).unwrap_or(false);
        }
        match self.per_listener {
            // The default listener of 2.0 is made after the others were given `false`, and what is not set lets everybody in.
            true => own.unwrap_or(section.default && release < Release::TWO_ONE),
            false => common.unwrap_or(false),
        }
    }
}

/// `true` and `1` alone.
#[must_use]
pub fn truth(value: &str) -> bool {
    matches!(value.split(' ').next(), Some("true" | "1"))
}

/// Whether a flag is set.
#[must_use]
pub fn on(settings: &Settings, name: &str) -> bool {
    settings.get(name).is_some_and(|setting| truth(&setting.value))
}

/// Resolves the directives of the file at `path` and those it includes, in the order the broker reads them.
#[must_use]
pub fn resolve(path: &str, directives: &[Directive], release: Release) -> Resolved {
    let mut reader = Reader {
        release,
        resolved: Resolved { local_only: true, ..Resolved::default() },
        default: Section { default: true, ..Section::default() },
        default_made: false,
        security_seen: false,
        log_dest_set: false,
        log_type_set: false,
    };
    let fresh = || Context {
        at: if release < Release::TWO_ONE { At::Default } else { At::Nothing },
        bridge: None,
        plugin: false,
    };
    let (mut main, mut included) = (fresh(), fresh());
    let mut before: Option<&Directive> = None;
    for directive in directives {
        let first = directive.file == path;
        // Every file is read from its beginning with nothing before it, the same file a second time too.
        let goes_on = before.is_some_and(|before| before.file == directive.file && before.line < directive.line);
        if !first && !goes_on {
            included = fresh();
        }
        reader.take(directive, if first { &mut main } else { &mut included }, first);
        before = Some(directive);
    }
    reader.finish()
}

#[derive(Clone, Copy)]
enum At {
    Nothing,
    Default,
    Numbered(usize),
}

/// Where a file is being read.
struct Context {
    at: At,
    bridge: Option<usize>,
    plugin: bool,
}

struct Reader {
    release: Release,
    resolved: Resolved,
    default: Section,
    /// 2.1 has opened it.
    default_made: bool,
    /// A security setting was read, after which `per_listener_settings true` comes too late.
    security_seen: bool,
    log_dest_set: bool,
    log_type_set: bool,
}

impl Reader {
    fn two_one(&self) -> bool {
        self.release >= Release::TWO_ONE
    }

    fn reject(&mut self, directive: &Directive, why: &str) {
        self.resolved.rejected.push(format!("{} {why} ({})", directive.key, place(directive)));
    }

    fn take(&mut self, directive: &Directive, context: &mut Context, first: bool) {
        let Some(known) = find(&directive.key) else {
            self.resolved.unknown.push(format!("{} ({})", directive.key, place(directive)));
            return;
        };
        if known.since > self.release {
            let Release(major, minor, patch) = known.since;
            let words = format!("{} is known from {major}.{minor}.{patch} on ({})", directive.key, place(directive));
            self.resolved.unknown.push(words);
            return;
        }
        match standing(&directive.key, self.release) {
            Standing::InUse => {}
            Standing::Deprecated => {
                self.resolved.deprecated.push(format!("{} ({})", directive.key, place(directive)));
            }
            Standing::WithoutEffect => {
                self.ignore(&directive.key, &place(directive), "has no effect any more");
                return;
            }
        }
        if directive.key == "per_listener_settings" && self.two_one() && self.resolved.per_listener {
            self.ignore(&directive.key, &place(directive), "has no effect a second time");
            return;
        }
        if let Err(why) = fits(known, &directive.value, self.release) {
            self.reject(directive, why);
            return;
        }
        if word(&directive.value).is_empty() {
            // One of those that 2.0 takes without a value, and leaves as they were.
            self.ignore(&directive.key, &place(directive), "has no effect without a value");
            return;
        }
        match known.kind {
            Kind::Special => self.special(directive, context, first),
            Kind::Global => self.global(directive, known, context),
            Kind::Security => self.security(directive, known, context),
            Kind::Listener | Kind::OwnListener => self.listener(directive, known, context),
            Kind::Bridge => match context.bridge {
                Some(index) => {
                    let two_one = self.two_one();
                    if !put(&mut self.resolved.bridges[index].options, directive, known, two_one) {
                        self.reject(directive, "stands twice");
                    }
                }
                None => self.reject(directive, "stands before any `connection` of its file"),
            },
            Kind::Plugin if !context.plugin => self.reject(directive, "stands before any `plugin` of its file"),
            // The broker counts three characters behind the prefix.
            Kind::Plugin if directive.key.find("_opt_").is_some_and(|at| directive.key.len() < at + 8) => {
                self.reject(directive, "has a name that is too short");
            }
            Kind::Plugin => {}
        }
    }

    fn ignore(&mut self, name: &str, place: &str, why: &str) {
        self.resolved.ignored.push(format!("{name} {why} ({place})"));
    }

    fn global(&mut self, directive: &Directive, known: Known, context: &mut Context) {
        if known.name == "global_plugin" || known.name == "plugin_load" {
            context.plugin = true;
        }
        if known.name == "plugin_load" {
            self.resolved.plugins.insert(word(&directive.value).to_owned());
        }
        if known.name == "global_plugin" {
            self.security_seen = true;
            self.resolved.security.insert("plugin", setting(directive));
            return;
        }
        let two_one = self.two_one();
        if !put(&mut self.resolved.global, directive, known, two_one) {
            self.reject(directive, "stands twice");
        }
    }

    fn security(&mut self, directive: &Directive, known: Known, context: &mut Context) {
        context.plugin |= known.name == "plugin";
        let two_one = self.two_one();
        let settings = if self.resolved.per_listener {
            match context.at {
                At::Nothing => return self.reject(directive, "needs a `listener` before it"),
                At::Default => &mut self.default.security,
                At::Numbered(index) => &mut self.resolved.listeners[index].security,
            }
        } else {
            &mut self.resolved.security
        };
        self.security_seen = true;
        if !put(settings, directive, known, two_one) {
            self.reject(directive, "stands twice");
        }
    }

    fn listener(&mut self, directive: &Directive, known: Known, context: &mut Context) {
        let two_one = self.two_one();
        if matches!(context.at, At::Nothing) {
            if known.kind == Kind::OwnListener {
                return self.reject(directive, "needs a `listener` before it");
            }
            self.default_made = true;
            context.at = At::Default;
        }
        let section = match context.at {
            At::Numbered(index) => &mut self.resolved.listeners[index],
            At::Default | At::Nothing => &mut self.default,
        };
        match known.name {
            // The one option for which 2.0, too, wants a listener.
            "mount_point" if !two_one && matches!(context.at, At::Default) => {
                self.reject(directive, "needs a `listener` before it")
            }
            "listener_allow_anonymous" => {
                section.security.insert("allow_anonymous", setting(directive));
            }
            "plugin_use" if !self.resolved.plugins.contains(word(&directive.value)) => {
                self.reject(directive, "names a plugin that was not loaded before");
            }
            "plugin_use" => {
                section.security.insert("plugin", setting(directive));
            }
            "websockets_origin" => section.origins += 1,
            "protocol" => {
                // Kept all the same: whatever is spoken there, it is not MQTT.
                section.options.insert("protocol", setting(directive));
                let known = ["mqtt", "websockets"].contains(&word(&directive.value));
                if !(known || two_one && word(&directive.value) == "http_api") {
                    self.reject(directive, "names no protocol");
                }
            }
            "socket_domain" if !["ipv4", "ipv6"].contains(&word(&directive.value)) => {
                self.reject(directive, "is neither ipv4 nor ipv6");
            }
            _ => {
                if !put(&mut section.options, directive, known, two_one) {
                    self.reject(directive, "stands twice");
                }
            }
        }
    }

    fn special(&mut self, directive: &Directive, context: &mut Context, first: bool) {
        match directive.key.as_str() {
            "listener" => self.opened(directive, context),
            "port" => {
                self.resolved.local_only = false;
                match number(word(&directive.value), self.two_one()).and_then(|port| u16::try_from(port).ok()) {
                    Some(port) if port > 0 => self.default.port = port,
                    _ => self.reject(directive, "is no port"),
                }
                self.default_made = true;
                if self.two_one() {
                    context.at = At::Default;
                }
            }
            "bind_address" => {
                self.resolved.local_only = false;
                if self.default.host.is_some() {
                    self.reject(directive, "stands twice");
                }
                self.default.host = Some(directive.value.trim().to_owned());
                self.default_made = true;
                if self.two_one() {
                    context.at = At::Default;
                }
            }
            "connection" => {
                let name = word(&directive.value).to_owned();
                if self.resolved.bridges.iter().any(|bridge| bridge.name == name) {
                    self.reject(directive, "has the name of another bridge");
                }
                context.bridge = Some(self.resolved.bridges.len());
                self.resolved.bridges.push(Bridge { name, place: place(directive), options: Settings::new() });
            }
            "per_listener_settings" => self.per_listener(directive),
            "include_dir" if !first && self.two_one() => self.reject(directive, "stands in an included file"),
            "include_dir" if !first => {
                self.ignore("include_dir", &place(directive), "has no effect in an included file");
            }
            "log_dest" => self.log_destination(directive),
            "log_type" => {
                let types = &mut self.resolved.log_types;
                self.log_type_set = true;
                match word(&directive.value) {
                    "none" => types.clear(),
                    "all" => *types = vec!["all".into()],
                    known @ ("information" | "notice" | "warning" | "error" | "debug" | "subscribe" | "unsubscribe"
                    | "internal" | "websockets") => types.push(known.into()),
                    _ => self.reject(directive, "names nothing that is logged"),
                }
            }
            _ => {}
        }
    }

    fn opened(&mut self, directive: &Directive, context: &mut Context) {
        self.resolved.local_only = false;
        let mut words = directive.value.split(' ').filter(|word| !word.is_empty());
        let port = number(words.next().unwrap_or_default(), self.two_one()).and_then(|port| u16::try_from(port).ok());
        let host = words.next().filter(|host| !host.starts_with('#')).map(str::to_owned);
        let Some(port) = port.filter(|port| *port > 0 || host.is_some()) else {
            // What follows still belongs to it, and not to the one before.
            self.reject(directive, "names no port, or port 0 and no path");
            context.at = At::Numbered(self.resolved.listeners.len());
            self.resolved.listeners.push(Section::default());
            return;
        };
        let same = |other: &Section| {
            other.port == port && port > 0 && (other.host == host || other.host.is_none() || host.is_none())
        };
        if self.resolved.listeners.iter().any(same) {
            self.reject(directive, "takes a port that another listener has");
        }
        context.at = At::Numbered(self.resolved.listeners.len());
        self.resolved.listeners.push(Section { port, host, ..Section::default() });
    }

    fn per_listener(&mut self, directive: &Directive) {
        self.resolved.per_listener = truth(&directive.value);
        if self.resolved.per_listener && self.security_seen {
            self.reject(directive, "stands after a security setting");
        }
    }

    fn log_destination(&mut self, directive: &Directive) {
        self.log_dest_set = true;
        let destinations = &mut self.resolved.log_destinations;
        match word(&directive.value) {
            "none" => destinations.clear(),
            known @ ("syslog" | "stdout" | "stderr" | "topic" | "dlt") => destinations.push(known.into()),
            "file" if destinations.iter().any(|known| known.starts_with("file ")) => {
                self.reject(directive, "names a second file");
            }
            "file" if directive.value.trim() != "file" => destinations.push(directive.value.trim().to_owned()),
            _ => self.reject(directive, "names no destination"),
        }
    }

    fn finish(mut self) -> Resolved {
        let release = self.release;
        if self.opens_the_default() {
            let mut section = self.default.clone();
            if section.port == 0 {
                section.port = 1883;
            }
            // From 2.0.12 on nothing but `listener`, `port` and `bind_address` reaches beyond this machine.
            if self.resolved.local_only && release > Release::DEBIAN_12 && release < Release::TWO_ONE {
                section.host = section.host.or_else(|| Some("localhost".into()));
            }
            self.resolved.listeners.push(section);
        } else {
            for (name, setting) in std::mem::take(&mut self.default.options) {
                self.ignore(name, &setting.place, "stands before any listener");
            }
            if self.resolved.per_listener {
                for (name, setting) in std::mem::take(&mut self.default.security) {
                    self.ignore(name, &setting.place, "stands before any listener, each of which has its own");
                }
            }
        }
        if self.resolved.listeners.is_empty() {
            let section = Section { port: 1883, host: Some("localhost".into()), default: true, ..Section::default() };
            self.resolved.listeners.push(section);
        }
        if !self.log_dest_set {
            self.resolved.log_destinations = vec!["stderr".into()];
        }
        if !self.log_type_set {
            self.resolved.log_types = ["error", "warning", "notice", "information"].map(str::to_owned).to_vec();
        }
        self.tls_by_halves();
        self.without_effect();
        for index in 0..self.resolved.bridges.len() {
            let bridge = &self.resolved.bridges[index];
            for needed in ["address", "topic"] {
                if !bridge.options.contains_key(needed) {
                    let words = format!("connection {} has no {needed} ({})", bridge.name, bridge.place);
                    self.resolved.rejected.push(words);
                    break;
                }
            }
        }
        self.resolved
    }

    /// 2.0 opens it for whatever differs from its defaults, but not for `tls_version` and a few others.
    fn opens_the_default(&self) -> bool {
        let Section { port, host, options, security, .. } = &self.default;
        if self.two_one() {
            return self.default_made;
        }
        let differs = |(name, setting): (&&str, &Setting)| match *name {
            "tls_version" | "max_topic_alias" | "http_dir" => false,
            "protocol" => word(&setting.value) != "mqtt",
            "max_qos" => word(&setting.value) != "2",
            "max_connections" => !word(&setting.value).starts_with('-'),
            "tls_keyform" => setting.value.trim() == "engine",
            "require_certificate"
            | "use_identity_as_username"
            | "use_subject_as_username"
            | "use_username_as_clientid" => truth(&setting.value),
            _ => true,
        };
        *port > 0
            || host.is_some()
            || options.iter().any(differs)
            || ["password_file", "psk_file", "plugin"].iter().any(|name| security.contains_key(name))
            || security.get("allow_zero_length_clientid").is_some_and(|setting| !truth(&setting.value))
    }

    /// A certificate without its key, or anchors without a certificate: refused from 2.0.21 on, plaintext before.
    fn tls_by_halves(&mut self) {
        if self.release < Release::STRICTER {
            return;
        }
        for section in &self.resolved.listeners {
            let has = |name: &str| section.options.get(name);
            let lonely = match (has("certfile"), has("keyfile")) {
                (Some(one), None) | (None, Some(one)) => Some(one),
                (None, None) => has("cafile").or(has("capath")),
                _ => None,
            };
            if let Some(setting) = lonely {
                let words = format!("certfile, keyfile and cafile do not stand together ({})", setting.place);
                self.resolved.rejected.push(words);
            }
        }
    }

    /// Names what has no effect where it stands: options of TLS where none is spoken, and settings of one listener where there
    /// is one for all.
    fn without_effect(&mut self) {
        let mut found = Vec::new();
        let refused = self.release >= Release::STRICTER;
        for section in &self.resolved.listeners {
            for (name, setting) in &section.options {
                let about_tls = match *name {
                    "require_certificate"
                    | "use_identity_as_username"
                    | "use_subject_as_username"
                    | "disable_client_cert_date_checks" => truth(&setting.value),
                    "ciphers"
                    | "ciphers_tls1.3"
                    | "crlfile"
                    | "tls_version"
                    | "dhparamfile"
                    | "tls_engine"
                    | "tls_keyform"
                    | "tls_engine_kpass_sha1" => true,
                    "cafile" | "capath" | "certfile" | "keyfile" => !refused,
                    _ => false,
                };
                if about_tls && !section.tls() {
                    found.push(format!("{name} has no effect without certfile and keyfile ({})", setting.place));
                }
            }
            if !self.resolved.per_listener && !self.two_one() {
                for (name, setting) in &section.security {
                    found.push(format!(
                        "{name} has no effect, since per_listener_settings was taken back ({})",
                        setting.place
                    ));
                }
            }
        }
        if self.resolved.per_listener {
            for (name, setting) in &self.resolved.security {
                if *name != "plugin" {
                    found.push(format!("{name} has no effect, since each listener has its own ({})", setting.place));
                }
            }
        }
        if self.resolved.local_only
            && self.release < Release::STRICTER
            && let Some(setting) =
                self.resolved.security.get("allow_anonymous").filter(|setting| !truth(&setting.value))
        {
            found.push(format!("allow_anonymous false has no effect without a listener ({})", setting.place));
        }
        self.resolved.ignored.extend(found);
    }
}

fn place(directive: &Directive) -> String {
    format!("{}:{}", directive.file, directive.line)
}

fn setting(directive: &Directive) -> Setting {
    Setting { value: directive.value.trim().to_owned(), place: place(directive) }
}

/// Puts a value in; false where the broker takes no second one.
fn put(settings: &mut Settings, directive: &Directive, known: Known, two_one: bool) -> bool {
    let again = match known.value {
        Value::Flag | Value::Whole => true,
        Value::Words => known.name != "address",
        Value::Latest => two_one,
        Value::Text => false,
    };
    let twice = settings.insert(known.name, setting(directive)).is_some();
    again || !twice
}
