//! What never gets into a snapshot: password hashes, private keys, passwords in addresses, values whose name speaks of a
//! secret, the environment of containers, and people's names.
//!
//! What is put in their place keeps the facts: a hash keeps the name of its scheme, a key its first and last line.

use std::path::Path;

use serde_json::{Value, json};

/// The word that stands in the place of what was taken out.
pub const WORD: &str = "(redacted)";

/// The content of `path` as it goes into a snapshot, and what was taken out of it, if anything was.
#[must_use]
pub fn file(path: &Path, bytes: Vec<u8>) -> (Vec<u8>, Option<&'static str>) {
    let name = path.display().to_string();
    // What is no text has no lines; of the files that are read, those are device trees and tables.
    let Ok(mut whole) = String::from_utf8(bytes.clone()) else {
        return if contains(&bytes, b"PRIVATE KEY") { (WORD.into(), Some("a private key")) } else { (bytes, None) };
    };
    let before = whole.clone();
    let mut words = None;
    if name.starts_with("/etc/shadow") || name.starts_with("/etc/gshadow") {
        whole = lines(&whole, hash);
        words = Some("password hashes");
    } else if name.starts_with("/etc/passwd") {
        whole = lines(&whole, person);
        words = Some("people's names");
    } else if name.ends_with("/config.v2.json") || name.ends_with("/hostconfig.json") {
        // Docker's folders may lie anywhere.
        whole = container(&name, &whole);
        words = Some("all of a container but name, image, state, mounts, namespaces and capabilities");
    } else if let Some(kept) = daemon(&name, &whole) {
        whole = kept;
        words = Some("all of Docker's configuration but what is looked at");
    } else if name.contains("/ssh/") {
        whole = lines(&whole, set_environment);
        words = Some("the environment that the SSH server sets");
    } else if name.contains("/wpa_supplicant/") || name.contains("/system-connections/") {
        whole = lines(&whole, radio);
        words = Some("all of Wi-Fi networks but how they are secured");
    } else if name.ends_with("/cmdline") {
        whole = parameters(&whole);
        words = Some("values whose name speaks of a secret");
    }
    if whole.contains("PRIVATE KEY-----") {
        whole = without_keys(&whole);
        words = Some("a private key");
    }
    if text(&mut whole) {
        words = words.or(Some("passwords in addresses"));
    }
    let words = words.filter(|_| whole != before);
    (whole.into_bytes(), words)
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

fn lines(text: &str, each: impl Fn(&str) -> String) -> String {
    let mut out: String = text.lines().map(|line| each(line) + "\n").collect();
    if !text.ends_with('\n') {
        out.pop();
    }
    out
}

/// Of `name:$y$j9T$salt$hash:...` the scheme stays.
fn hash(line: &str) -> String {
    let mut fields: Vec<&str> = line.split(':').collect();
    let Some(field) = fields.get(1).copied() else { return WORD.into() };
    let kept = if field.is_empty() || field.chars().all(|c| matches!(c, '!' | '*' | 'x')) {
        field.to_owned()
    } else {
        let locked: String = field.chars().take_while(|c| *c == '!').collect();
        let scheme = field.trim_start_matches('!').strip_prefix('$').and_then(|rest| rest.split_once('$'));
        let scheme = scheme.map(|(scheme, _)| format!("${scheme}$")).filter(|scheme| scheme.len() <= 8);
        format!("{locked}{}{WORD}", scheme.unwrap_or_default())
    };
    fields[1] = &kept;
    fields.join(":")
}

/// The fifth field of passwd(5) is a person's name, room and telephone number.
fn person(line: &str) -> String {
    let mut fields: Vec<&str> = line.split(':').collect();
    if fields.len() == 7 {
        fields[4] = "";
    }
    fields.join(":")
}

/// Of `key=value` the value stays where the probe looks at it; of secrets it looks at their being there.
fn radio(line: &str) -> String {
    match line.split_once('=') {
        Some((key, _)) if !crate::probe::link_posture::radio::speaks_of_security(key.trim()) => format!("{key}={WORD}"),
        _ => line.to_owned(),
    }
}

fn set_environment(line: &str) -> String {
    let words = line.trim_start();
    match words.get(..6) {
        Some(word) if word.eq_ignore_ascii_case("setenv") => format!("SetEnv {WORD}"),
        _ => line.to_owned(),
    }
}

/// Of Docker's configuration, which may have any name, what the probe looks at. Its options of logging hold tokens.
fn daemon(name: &str, text: &str) -> Option<String> {
    const LOOKED_AT: [&str; 5] = ["hosts", "tlsverify", "data-root", "graph", "userns-remap"];
    let dockers = |key: &String| LOOKED_AT.contains(&key.as_str()) || key == "log-opts";
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(mut object) if name.ends_with("/daemon.json") || object.keys().any(dockers) => {
            object.retain(|key, _| LOOKED_AT.contains(&key.as_str()));
            serde_json::to_string(&object).ok()
        }
        _ => None,
    }
}

fn parameters(text: &str) -> String {
    let signs = [' ', '\n', '\0'];
    let mut out = String::new();
    for word in text.split_inclusive(signs) {
        let (bare, end) = match word.strip_suffix(signs) {
            Some(bare) => (bare, &word[bare.len()..]),
            None => (word, ""),
        };
        // As in `--log-opt=splunk-token=...`, the name may stand behind another.
        let name = bare.match_indices('=').map(|(at, _)| &bare[..at]);
        match name.into_iter().find(|name| crate::probe::host::speaks_of_a_secret(name)) {
            Some(name) => out += &format!("{name}={WORD}"),
            None => out += bare,
        }
        out += end;
    }
    out
}

/// The lines between `-----BEGIN ... PRIVATE KEY-----` and its end.
fn without_keys(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        let is_frame = line.contains("-----");
        if is_frame && line.contains("END") {
            inside = false;
        }
        if !inside {
            out += line;
            out.push('\n');
        }
        if is_frame && line.contains("BEGIN") && line.contains("PRIVATE KEY") {
            inside = true;
            out += WORD;
            out.push('\n');
        }
    }
    out
}

/// What the probe reads of a container, and nothing else.
fn container(name: &str, text: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return WORD.into() };
    let keep = |pointers: &[&str]| {
        let mut kept = json!({});
        for pointer in pointers {
            let Some(found) = value.pointer(pointer) else { continue };
            let mut place = &mut kept;
            let parts: Vec<_> = pointer.trim_start_matches('/').split('/').collect();
            for part in &parts[..parts.len() - 1] {
                place = &mut place[*part];
            }
            place[parts[parts.len() - 1]] = found.clone();
        }
        kept.to_string()
    };
    if name.ends_with("hostconfig.json") {
        keep(&["/Privileged", "/Binds", "/Mounts", "/NetworkMode", "/PidMode", "/IpcMode", "/CapAdd"])
    } else {
        keep(&["/Name", "/State/Running", "/Config/Image"])
    }
}

/// Takes user and password out of addresses such as `https://user:password@host`; whether there were any.
pub fn text(text: &mut String) -> bool {
    let mut out = String::new();
    let mut rest = text.as_str();
    let mut found = false;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out += before;
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '<' | '>' | ','))
            .unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                found = true;
                out += WORD;
                out.push('@');
                out += host;
            }
            None => out += authority,
        }
        rest = tail;
    }
    if found {
        out += rest;
        *text = out;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(path: &str, text: &str) -> (String, Option<&'static str>) {
        let (bytes, words) = file(Path::new(path), text.into());
        (String::from_utf8(bytes).unwrap(), words)
    }

    #[test]
    fn of_a_wifi_network_only_how_it_is_secured_stays() {
        let text =
            "network={\n ssid=\"Home\"\n psk=\"tell nobody\"\n key_mgmt=WPA-PSK\n # psk=old one\n ieee80211w=2\n}\n";
        let (bytes, words) = file(Path::new("/etc/wpa_supplicant/wpa_supplicant.conf"), text.into());
        let left = String::from_utf8(bytes).unwrap();
        assert!(words.is_some() && !left.contains("Home") && !left.contains("tell") && !left.contains("old"), "{left}");
        assert!(
            left.contains("key_mgmt=WPA-PSK") && left.contains("ieee80211w=2") && left.contains("network={"),
            "{left}"
        );
        let text = "[wifi]\nssid=Home\n[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\npassword=tell nobody\nsystem-ca-certs=false\n";
        let path = Path::new("/etc/NetworkManager/system-connections/x.nmconnection");
        let left = String::from_utf8(file(path, text.into()).0).unwrap();
        assert!(
            !left.contains("tell") && left.contains("system-ca-certs=false") && left.contains("[802-1x]"),
            "{left}"
        );
    }

    #[test]
    fn secrets_go_and_facts_stay() {
        for (path, text, expected) in [
            (
                "/etc/shadow",
                "root:!*:1::\na:$6$salt$hunter2:1::\nb:!$y$j9T$hunter2:1::\nc::1::\nd:hunter2:1::\n",
                "root:!*:1::\na:$6$(redacted):1::\nb:!$y$(redacted):1::\nc::1::\nd:(redacted):1::\n",
            ),
            ("/etc/shadow-", "hunter2", "(redacted)"),
            ("/etc/passwd", "a:x:1:1:Ann Hunter2:/:/bin/sh\n", "a:x:1:1::/:/bin/sh\n"),
            ("/proc/cmdline", "quiet wifi.psk=hunter2 root=/dev/vda\n", "quiet wifi.psk=(redacted) root=/dev/vda\n"),
            ("/proc/77/cmdline", "dockerd\0--token=hunter2\0", "dockerd\0--token=(redacted)\0"),
            ("/proc/77/cmdline", "dockerd\0--log-opt=x-token=hunter2\0", "dockerd\0--log-opt=x-token=(redacted)\0"),
            (
                "/etc/containers/daemon.json",
                r#"{"data-root":"/srv/d","log-opts":{"x-token":"hunter2"}}"#,
                r#"{"data-root":"/srv/d"}"#,
            ),
            ("/etc/docker.conf", r#"{"log-opts":{"x-token":"hunter2"}}"#, "{}"),
            ("/mnt/ssd/dc/a/hostconfig.json", "hunter2", "(redacted)"),
            ("/etc/ssh/sshd_config", "  setenv X=hunter2\nUsePAM yes\n", "SetEnv (redacted)\nUsePAM yes\n"),
            ("/etc/apt/sources.list", "deb https://a:hunter2@m/x y\n", "deb https://(redacted)@m/x y\n"),
            (
                "/etc/x/server.key",
                "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----\n",
                "-----BEGIN EC PRIVATE KEY-----\n(redacted)\n-----END EC PRIVATE KEY-----\n",
            ),
            ("/etc/x/cut.key", "-----BEGIN PRIVATE KEY-----\nhunter2", "-----BEGIN PRIVATE KEY-----\n(redacted)\n"),
            (
                "/var/lib/docker/containers/a/config.v2.json",
                r#"{"Name":"/a","State":{"Running":true},"Config":{"Image":"i","Env":["P=hunter2"]}}"#,
                r#"{"Config":{"Image":"i"},"Name":"/a","State":{"Running":true}}"#,
            ),
            ("/var/lib/docker/containers/a/hostconfig.json", "hunter2", "(redacted)"),
            (
                "/srv/d/containers/a/config.v2.json",
                r#"{"Name":"/a","Config":{"Image":"i","Env":["P=hunter2"]}}"#,
                r#"{"Config":{"Image":"i"},"Name":"/a"}"#,
            ),
            ("/srv/d/100000.100000/containers/a/hostconfig.json", "hunter2", "(redacted)"),
        ] {
            let (text, words) = redacted(path, text);
            assert_eq!(text, expected, "{path}");
            assert!(words.is_some() && !text.contains("hunter2"), "{path}");
        }
        let mut binary = b"\xff-----BEGIN PRIVATE KEY-----hunter2".to_vec();
        binary = file(Path::new("/etc/x"), binary).0;
        assert_eq!(binary, WORD.as_bytes());
    }

    #[test]
    fn what_holds_no_secret_is_left_as_it_is() {
        for (path, text) in [
            ("/etc/os-release", "ID=debian\nHOME_URL=\"https://www.debian.org/\"\n"),
            ("/etc/shadow", "root:*:1::\n"),
            ("/proc/cmdline", "quiet"),
            ("/etc/ssh/sshd_config", "PasswordAuthentication no"),
        ] {
            assert_eq!(redacted(path, text), (text.to_owned(), None), "{path}");
        }
    }
}
