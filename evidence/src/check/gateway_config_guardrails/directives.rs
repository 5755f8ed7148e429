//! Every directive that Mosquitto 2.0 and 2.1 know (conf.c, mosquitto.conf(5)): what it is about, how its value is read, and in
//! which releases. A name that is not here is one that the broker refuses to start with.

/// A release of Mosquitto.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Release(pub u32, pub u32, pub u32);

impl Release {
    /// Debian 12's, and what is assumed where the release is not known: of the 2.0 line the one that lets most through.
    pub const DEBIAN_12: Self = Self(2, 0, 11);
    /// Where `allow_anonymous false` and halves of a certificate's options began to be taken at their word.
    pub const STRICTER: Self = Self(2, 0, 21);
    /// The first of the 2.1 line.
    pub const TWO_ONE: Self = Self(2, 1, 0);

    /// Reads `2.0.11`, whatever a distribution adds behind it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(|number| number.parse().ok());
        let first = numbers.next()??;
        Some(Self(first, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
    }
}

/// What a directive is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The broker.
    Global,
    /// The broker, or with `per_listener_settings` the listener it follows.
    Security,
    /// The listener it follows; the default one before the first.
    Listener,
    /// As [`Kind::Listener`], but 2.1 demands that one stands before it.
    OwnListener,
    /// The bridge it follows.
    Bridge,
    /// The plugin it follows.
    Plugin,
    /// Something of its own: see the resolver.
    Special,
}

/// How a directive's value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    /// `true`, `1`, `false` or `0`.
    Flag,
    /// A whole number.
    Whole,
    /// The rest of the line, once.
    Text,
    /// The rest of the line; 2.1 lets a later one replace an earlier one.
    Latest,
    /// Words, as often as one likes.
    Words,
}

/// A directive that some release knows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Its name; of several names for the same, the one that facts go by.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) value: Value,
    /// The first release that knows it.
    pub(super) since: Release,
}

/// What a release says of a directive that it knows and takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    InUse,
    /// It works, and will be removed.
    Deprecated,
    /// It is taken and has no effect.
    WithoutEffect,
}

/// The directive called `name`.
pub(super) fn find(name: &str) -> Option<Known> {
    if ["auth_opt_", "plugin_opt_"].iter().any(|prefix| name.starts_with(prefix)) {
        let known = Known { name: "plugin_opt_", kind: Kind::Plugin, value: Value::Words, since: Release(0, 0, 0) };
        return Some(known);
    }
    let name = match name {
        "addresses" => "address",
        "remote_clientid" => "clientid",
        "remote_username" => "username",
        "remote_password" => "password",
        "maximum_qos" => "max_qos",
        "retained_persistence" => "persistence",
        "auth_plugin" => "plugin",
        name => name,
    };
    let groups =
        OLD.iter().map(|group| (Release(0, 0, 0), group)).chain(NEW.iter().map(|(since, group)| (*since, group)));
    groups.into_iter().find_map(|(since, (kind, value, names))| {
        let name = names.split_ascii_whitespace().find(|known| *known == name)?;
        Some(Known { name, kind: *kind, value: *value, since })
    })
}

/// How `release` takes `name`.
pub(super) fn standing(name: &str, release: Release) -> Standing {
    let two_one = release >= Release::TWO_ONE;
    match name {
        "retry_interval" => Standing::WithoutEffect,
        "dhparamfile" | "websockets_log_level" if two_one => Standing::WithoutEffect,
        "port" | "bind_address" | "allow_duplicate_messages" | "clientid_prefixes" | "message_size_limit" => {
            Standing::Deprecated
        }
        "per_listener_settings" | "auto_id_prefix" if two_one => Standing::Deprecated,
        _ => Standing::InUse,
    }
}

type Group = (Kind, Value, &'static str);

/// What every release of 2.0 and 2.1 knows.
const OLD: &[Group] = &[
    (Kind::Special, Value::Words, "listener port bind_address include_dir connection log_dest log_type"),
    (Kind::Special, Value::Flag, "per_listener_settings"),
    (
        Kind::Global,
        Value::Flag,
        "allow_duplicate_messages autosave_on_changes check_retain_source connection_messages log_timestamp persistence \
         queue_qos0_messages retain_available set_tcp_nodelay upgrade_outgoing_qos",
    ),
    (
        Kind::Global,
        Value::Whole,
        "autosave_interval log_facility max_inflight_bytes max_inflight_messages max_keepalive max_packet_size \
         max_queued_bytes max_queued_messages memory_limit message_size_limit sys_interval websockets_headers_size \
         websockets_log_level",
    ),
    (Kind::Global, Value::Text, "log_timestamp_format persistence_file persistence_location pid_file"),
    (Kind::Global, Value::Latest, "clientid_prefixes"),
    (Kind::Global, Value::Words, "persistent_client_expiration retry_interval user"),
    (Kind::Security, Value::Flag, "allow_anonymous allow_zero_length_clientid"),
    (Kind::Security, Value::Latest, "acl_file password_file psk_file"),
    (Kind::Security, Value::Text, "auto_id_prefix"),
    (Kind::Security, Value::Words, "plugin"),
    (
        Kind::Listener,
        Value::Flag,
        "require_certificate use_identity_as_username use_subject_as_username use_username_as_clientid",
    ),
    (Kind::Listener, Value::Whole, "max_connections max_qos"),
    (Kind::Listener, Value::Latest, "capath certfile ciphers ciphers_tls1.3 crlfile keyfile"),
    (Kind::Listener, Value::Text, "bind_interface psk_hint tls_engine tls_engine_kpass_sha1 tls_keyform dhparamfile"),
    (Kind::Listener, Value::Words, "protocol socket_domain"),
    (Kind::OwnListener, Value::Latest, "cafile mount_point"),
    (Kind::OwnListener, Value::Text, "tls_version http_dir"),
    (Kind::OwnListener, Value::Whole, "max_topic_alias"),
    (
        Kind::Bridge,
        Value::Flag,
        "bridge_attempt_unsubscribe bridge_insecure bridge_outgoing_retain bridge_require_ocsp cleansession \
         local_cleansession notifications notifications_local_only round_robin try_private",
    ),
    (Kind::Bridge, Value::Whole, "bridge_max_packet_size idle_timeout keepalive_interval threshold"),
    (
        Kind::Bridge,
        Value::Text,
        "bridge_alpn bridge_bind_address bridge_cafile bridge_capath bridge_certfile bridge_identity bridge_psk \
         bridge_tls_version clientid local_clientid local_password local_username notification_topic password username",
    ),
    (Kind::Bridge, Value::Latest, "bridge_keyfile"),
    (Kind::Bridge, Value::Words, "address bridge_protocol_version restart_timeout start_type topic"),
    (Kind::Plugin, Value::Flag, "auth_plugin_deny_special_chars"),
];

/// What came later.
const NEW: &[(Release, Group)] = &[
    (Release::STRICTER, (Kind::Global, Value::Whole, "retain_expiry_interval")),
    (Release::TWO_ONE, (Kind::Global, Value::Flag, "enable_control_api")),
    (Release::TWO_ONE, (Kind::Global, Value::Whole, "global_max_clients global_max_connections packet_buffer_size")),
    (Release::TWO_ONE, (Kind::Global, Value::Words, "global_plugin plugin_load")),
    (
        Release::TWO_ONE,
        (
            Kind::OwnListener,
            Value::Flag,
            "disable_client_cert_date_checks listener_allow_anonymous proxy_protocol_v2_require_tls",
        ),
    ),
    (Release::TWO_ONE, (Kind::OwnListener, Value::Whole, "enable_proxy_protocol max_topic_alias_broker")),
    (Release::TWO_ONE, (Kind::OwnListener, Value::Text, "listener_auto_id_prefix")),
    (Release::TWO_ONE, (Kind::OwnListener, Value::Words, "accept_protocol_versions plugin_use websockets_origin")),
    (Release::TWO_ONE, (Kind::Bridge, Value::Flag, "bridge_tls_use_os_certs")),
    (
        Release::TWO_ONE,
        (
            Kind::Bridge,
            Value::Whole,
            "bridge_max_topic_alias bridge_receive_maximum bridge_session_expiry_interval bridge_tcp_user_timeout",
        ),
    ),
    (Release::TWO_ONE, (Kind::Bridge, Value::Text, "bridge_ciphers bridge_ciphers_tls1.3")),
    (Release::TWO_ONE, (Kind::Bridge, Value::Words, "bridge_reload_type bridge_tcp_keepalive")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_as_distributions_write_them() {
        assert_eq!(Release::read("2.0.11-1.2+deb12u2"), Some(Release(2, 0, 11)));
        assert_eq!(Release::read("2.1"), Some(Release::TWO_ONE));
        assert_eq!(Release::read("two"), None);
        assert!(Release::DEBIAN_12 < Release::STRICTER && Release::STRICTER < Release::TWO_ONE);
    }

    #[test]
    fn no_name_stands_twice() {
        let mut names: Vec<_> =
            OLD.iter().chain(NEW.iter().map(|(_, group)| group)).flat_map(|group| group.2.split_whitespace()).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!((names.len(), all > 120), (all, true));
        assert_eq!(find("remote_password").map(|known| known.name), Some("password"));
        assert_eq!(find("auth_opt_x").map(|known| known.kind), Some(Kind::Plugin));
        assert!(find("allow_anonymus").is_none() && find("Listener").is_none());
    }
}
