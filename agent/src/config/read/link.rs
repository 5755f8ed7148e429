//! `[link]`: what is asked about the way to the cloud.

use super::values::web_address;
use crate::config::Link;
use crate::config::table::Table;

/// The most further names that resolvers are asked for, time servers that are asked, and tunnels that are expected.
const MOST_NAMES: usize = 4;
const MOST_TIME_SERVERS: usize = 3;
const MOST_TUNNELS: usize = 8;

pub(super) fn link(mut table: Table<'_>, default: Link) -> Link {
    let list = |table: &mut Table<'_>, name: &'static str, most: usize, good: fn(&str) -> bool, example: &str| {
        let entries = table.strings(name);
        if entries.len() > most || !entries.iter().all(|entry| good(entry)) {
            table.object(name, format!("are not at most {most} such as \"{example}\""));
        }
        entries
    };
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

/// A name or an address, with a port if it is another than 123.
fn is_server(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
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

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, read};
    use super::*;

    #[test]
    fn what_is_asked_about_the_link_is_bounded() {
        let all = read(
            "[link]\nnames = [\"updates.example\"]\nabsent_domain = \"none.example\"\ntime_servers = [\"10.0.0.1:1123\"]\n\
             portal_url = \"http://probe.example/204\"\nportal_status = 200\ntunnels = [\"wg0\"]",
        );
        assert_eq!((all.link.names.len(), all.link.portal_status, all.link.tunnels.len()), (1, 200, 1));
        assert_eq!(read("[link]\n").link, Link::default());
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
}
