//! `[sink]` and `[disclosure]`: who is told, by whom evidence is taken, and where weaknesses are reported.

use gatepost_evidence::check::broker_transport_posture::Scope;

use super::values::{is_address, web_address};
use crate::config::table::Table;
use crate::config::{Disclosure, Sink};
use crate::http::pin::Pin;

pub(super) fn disclosure(mut table: Table<'_>) -> Option<Disclosure> {
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

pub(super) fn sink(mut table: Table<'_>) -> Option<Sink> {
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
        table.object(
            "url",
            "is plaintext; evidence leaves this machine by https only (http:// is for localhost and 127.0.0.1)",
        );
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

/// Whether the host of an `http` URL is this machine by its text: `localhost` or a loopback address. What any other name
/// stands for now says nothing about what it stands for when evidence is sent.
fn on_loopback(url: &str) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    };
    Scope::of(host) == Scope::Loopback
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, read};

    #[test]
    fn the_way_to_the_sink_is_all_or_nothing() {
        let pin = format!("{}=", "A".repeat(43));
        let good = format!(
            "[sink]\nurl = \"https://sink\"\npin_sha256 = [\"{pin}\"]\nproxy = \"http://proxy:3128\"\n\
             proxy_credentials_file = \"/c\"\n"
        );
        let sink = read(&good).sink.unwrap();
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
    fn evidence_does_not_leave_the_machine_in_plaintext() {
        // A name is not asked for what it stands for: it may stand for something else later.
        for bad in [
            "http://192.0.2.7:8080",
            "http://[2001:db8::1]:80",
            "http://[2001:db8::1]",
            "http://ip6-localhost:80",
            "http://localhost.example:80",
            "http://127.0.0.1.example",
            "http://http://127.0.0.1",
            "http://sink.example?:localhost",
            "http://sink.example#/127.0.0.1",
        ] {
            let found = mistakes(&format!("[sink]\nurl = \"{bad}\"\n"));
            assert!(found.len() == 1 && found[0].contains("https only"), "{bad}: {found:#?}");
        }
        for good in [
            "http://127.0.0.1:8080",
            "http://127.9.9.9/",
            "http://[::1]:80",
            "http://[::1]",
            "http://localhost",
            "http://localhost:80/sink",
            "https://sink.example",
        ] {
            assert!(read(&format!("[sink]\nurl = \"{good}\"\n")).sink.is_some(), "{good}");
        }
    }
}
