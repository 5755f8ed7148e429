//! Values that several tables have: addresses, URLs, and settings that need each other.

use crate::config::table::Table;

pub(super) fn addresses(table: &mut Table<'_>, name: &'static str) -> Vec<String> {
    let addresses = table.strings(name);
    for address in &addresses {
        if !is_address(address) {
            table.object(name, format!("{address:?} is not host:port, such as \"127.0.0.1:8883\""));
        }
    }
    addresses
}

/// URLs of one of two schemes with a port.
pub(super) fn endpoints(table: &mut Table<'_>, name: &'static str, schemes: [&str; 2]) -> Vec<String> {
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

pub(super) fn is_address(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) && !host.contains(char::is_whitespace)
    })
}

/// Notes settings that stand alone and need another beside them.
pub(super) fn pairs(table: &Table<'_>, pairs: &[(&str, &str, bool, bool)]) {
    for (one, other, has_one, has_other) in pairs {
        match (has_one, has_other) {
            (true, false) => table.object(one, format!("needs `{other}` beside it")),
            (false, true) => table.object(other, format!("needs `{one}` beside it")),
            _ => {}
        }
    }
}

pub(super) fn web_address(table: &mut Table<'_>, name: &'static str, schemes: &[&str]) -> Option<String> {
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
