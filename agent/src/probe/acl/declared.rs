//! What the broker's own files declare about rights at one listener (mosquitto.conf(5)), read and not judged.
//!
//! The access control list is read as Mosquitto reads it, a line it would not take included: then there is no list. Of its
//! entries only those leave this file that speak of clients which are tried, and those that grant everything.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::check::broker_transport_posture::acl::Declared;
use gatepost_evidence::check::gateway_config_guardrails::Broker;
use gatepost_evidence::check::gateway_config_guardrails::broker::resolved;
use gatepost_evidence::look::{Failure, FailureKind};

use super::list::{MAX_CHARS, list};
use crate::config::Config;
use crate::files;
use crate::probe::{broker, mosquitto};

/// Directives of a listener's section, wherever they stand.
const OF_LISTENER: &[&str] = &[
    "crlfile",
    "require_certificate",
    "use_identity_as_username",
    "use_subject_as_username",
    "use_username_as_clientid",
];
/// Directives that are a listener's own only with `per_listener_settings true`.
const OF_SECURITY: &[&str] = &["acl_file", "allow_anonymous", "password_file", "plugin"];

/// What the broker's files declare.
pub struct Source {
    broker: Broker,
}

impl Source {
    /// Reads the broker's configuration; none when no file is known. Blocking.
    ///
    /// # Errors
    /// When it, or a part of it, cannot be read.
    pub fn read(config: &Config) -> Option<Result<Self, Failure>> {
        let broker = &config.broker;
        let elsewhere = !broker.tls.is_empty() || !broker.plaintext.is_empty();
        let path = match &broker.configuration_file {
            Some(path) => path.as_path(),
            None if elsewhere => return None,
            None => Path::new(mosquitto::DEFAULT_PATH),
        };
        let read = match mosquitto::read(&config.host.root, path) {
            Ok(read) => read,
            Err(failure) if failure.kind == FailureKind::NotFound && broker.configuration_file.is_none() => {
                return None;
            }
            Err(failure) => return Some(Err(failure)),
        };
        Some(match read.unreadable.iter().next() {
            Some((name, failure)) => Err(Failure::new(failure.kind, format_args!("{name}: {}", failure.detail))),
            None => Ok(Self { broker: read }),
        })
    }

    /// The directives that are in effect for the listener at `address`.
    #[must_use]
    pub fn at(&self, address: &str) -> BTreeMap<String, String> {
        let (resolved, _) = resolved(&self.broker);
        let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
        let there: Vec<_> = resolved.listeners.iter().filter(|section| section.port.to_string() == port).collect();
        let host = host.trim_matches(['[', ']']);
        let same = there.iter().find(|section| section.host.as_deref() == Some(host));
        let section = same.or(there.first()).copied();
        let own = section
            .into_iter()
            .flat_map(|section| OF_LISTENER.iter().filter_map(|name| Some((*name, section.options.get(name)?))));
        let security = OF_SECURITY.iter().filter_map(|name| {
            let here = match section {
                Some(section) => resolved.security_at(section, name),
                None => resolved.security.get(name).filter(|_| !resolved.per_listener),
            };
            // One plugin may be there for all of them.
            let common = || resolved.security.get(name).filter(|_| *name == "plugin");
            Some((*name, here.or_else(common)?))
        });
        let found = own.chain(security).map(|(name, setting)| {
            let value = match setting.value.split(' ').next() {
                Some("true" | "1") if name != "acl_file" => "true".to_owned(),
                _ => setting.value.chars().take(MAX_CHARS).collect(),
            };
            (name.to_owned(), value)
        });
        found.collect()
    }
}

/// What `directives` declare, for clients with these user names. Blocking.
#[must_use]
pub fn declared(directives: BTreeMap<String, String>, root: &Path, users: &[Option<String>]) -> Declared {
    let list = directives.get("acl_file").map(|path| {
        let path = Path::new(path);
        if !path.is_absolute() {
            let words = "a relative acl_file depends on the folder the broker was started in; make it absolute";
            return Err(Failure::new(FailureKind::Error, words));
        }
        list(&files::read_text(&broker::below(root, path))?, users)
    });
    Declared { directives, list: list.map(Into::into) }
}

#[cfg(test)]
mod tests {
    use gatepost_evidence::check::gateway_config_guardrails::Directive;

    use super::*;

    fn directive(key: &str, value: &str) -> Directive {
        Directive { file: "m.conf".into(), line: 1, key: key.into(), value: value.into() }
    }

    #[test]
    fn a_listener_has_its_own_and_the_common_directives() {
        let mut directives: Vec<_> = [
            ("acl_file", "/one"),
            ("listener", "8883"),
            ("crlfile", "/crl"),
            ("listener", "1883 127.0.0.1"),
            ("acl_file", "/two"),
            ("allow_anonymous", "true"),
            ("use_identity_as_username", "true"),
        ]
        .into_iter()
        .map(|(key, value)| directive(key, value))
        .collect();
        let at = |directives: &[Directive], address: &str| {
            let broker = Broker { path: "m.conf".into(), directives: directives.to_vec(), ..Broker::default() };
            let found = Source { broker }.at(address);
            found.into_iter().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>()
        };
        assert_eq!(at(&directives, "127.0.0.1:8883"), ["acl_file /two", "allow_anonymous true", "crlfile /crl"]);
        directives.insert(0, directive("per_listener_settings", "true"));
        assert_eq!(at(&directives, "127.0.0.1:8883"), ["crlfile /crl"]);
        let plain = ["acl_file /two", "allow_anonymous true", "use_identity_as_username true"];
        assert_eq!(at(&directives, "[::1]:1883"), plain);
    }
}
