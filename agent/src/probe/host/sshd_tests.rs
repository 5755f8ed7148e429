//! What the configuration comes to, held against `sshd -T` of the OpenSSH that is installed: globally and for three
//! connections, on a dozen configurations with includes, `Match` blocks within and around them, and all ways to write a list.

use std::path::Path;
use std::process::Command;

use gatepost_evidence::check::host_guardrails::SshDirective;
use gatepost_evidence::check::host_guardrails::ssh::{Connection, Effective, facts};

use super::super::root::Root;
use super::sshd;

/// Keyword, its older name, and its value where nothing is configured.
const KEYWORDS: [(&str, &str, &str); 19] = [
    ("permitrootlogin", "", "without-password"),
    ("passwordauthentication", "", "yes"),
    ("permitemptypasswords", "", "no"),
    ("kbdinteractiveauthentication", "challengeresponseauthentication", "yes"),
    ("pubkeyauthentication", "", "yes"),
    ("hostbasedauthentication", "", "no"),
    ("ignorerhosts", "", "yes"),
    ("strictmodes", "", "yes"),
    ("maxauthtries", "", "6"),
    ("maxsessions", "", "10"),
    ("clientalivecountmax", "", "3"),
    ("allowtcpforwarding", "", "yes"),
    ("allowagentforwarding", "", "yes"),
    ("disableforwarding", "", "no"),
    ("gatewayports", "", "no"),
    ("permittunnel", "", "no"),
    ("x11forwarding", "", "no"),
    ("permituserenvironment", "", "no"),
    ("loglevel", "", "info"),
];

const CONFIGURATIONS: [(&str, &[(&str, &str)]); 13] = [
    ("", &[]),
    ("PermitRootLogin yes\nPermitRootLogin no\n", &[]),
    (
        "Include INC/*.conf\nPasswordAuthentication yes\n",
        &[("b.conf", "PasswordAuthentication no\n"), ("a.conf", "MaxAuthTries 2\n")],
    ),
    ("PasswordAuthentication no\nMatch User pump\nPasswordAuthentication yes\nX11Forwarding yes\n", &[]),
    ("Match Address 192.168.7.0/24,!192.168.7.9\nPermitRootLogin yes\nMatch all\nPermitRootLogin no\n", &[]),
    ("PermitRootLogin no\nMatch all\nPermitRootLogin forced-commands-only\n", &[]),
    (
        "Match User pump\nInclude INC/inner\nMaxSessions 3\n",
        &[("inner", "MaxAuthTries 1\nMatch Address 10.0.0.0/8\nAllowTcpForwarding local\n")],
    ),
    ("Include INC/first\nMaxAuthTries 5\n", &[("first", "Match User root\nPermitRootLogin prohibit-password\n")]),
    ("challengeresponseauthentication no\nGatewayPorts clientspecified\nPermitTunnel ethernet\n", &[]),
    ("LoginGraceTime 2m\nClientAliveInterval 1h\nLogLevel VERBOSE\nDisableForwarding yes\n", &[]),
    ("Ciphers +3des-cbc,aes128-cbc\nMACs -umac-64*\nKexAlgorithms ^diffie-hellman-group14-sha1\n", &[]),
    ("Ciphers aes256-ctr,aes256-cbc\nMACs hmac-md5,hmac-sha2-256\nHostKeyAlgorithms +ssh-rsa\n", &[]),
    (
        "maxauthtries=\"4\" # four\n\tIgnoreRhosts  shosts-only\nMatch Host *.site,!bad.site User p*\n  PermitEmptyPasswords yes\nMatch LocalPort 22\n  AllowAgentForwarding no\n",
        &[],
    ),
];

const CONNECTIONS: [(&str, &str, &str); 3] =
    [("root", "192.168.7.8", "a.site"), ("pump", "10.1.2.3", "bad.site"), ("pump", "192.168.7.9", "b.site")];

/// Its lines as keyword and value.
fn told(config: &Path, connection: Option<(&str, &str, &str)>) -> Option<Vec<(String, String)>> {
    let mut sshd = Command::new("/usr/sbin/sshd");
    sshd.args(["-T", "-f"]).arg(config);
    if let Some((user, address, host)) = connection {
        sshd.args(["-C", &format!("user={user},addr={address},host={host},laddr=10.0.0.1,lport=22")]);
    }
    let output = sshd.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    Some(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn canonical(value: &str) -> String {
    match value {
        "prohibit-password" => "without-password".into(),
        "all" | "true" => "yes".into(),
        "false" => "no".into(),
        other => other.to_ascii_lowercase(),
    }
}

#[test]
fn the_effective_configuration_is_that_of_sshd() {
    if !Path::new("/usr/sbin/sshd").exists() {
        println!("SKIPPED: there is no /usr/sbin/sshd to compare with");
        return;
    }
    let key = tempfile::tempdir().unwrap();
    let key = key.path().join("key");
    let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status();
    assert!(made.unwrap().success());
    for (number, (text, included)) in CONFIGURATIONS.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("etc/ssh");
        std::fs::create_dir_all(place.join("inc")).unwrap();
        for (name, text) in included {
            std::fs::write(place.join("inc").join(name), text).unwrap();
        }
        // Ours finds the files below its root, sshd at their whole path.
        std::fs::write(place.join("sshd_config"), text.replace("INC", "/etc/ssh/inc")).unwrap();
        let whole = folder.path().join("whole");
        let text = text.replace("INC", place.join("inc").to_str().unwrap());
        std::fs::write(&whole, format!("HostKey {}\n{text}", key.display())).unwrap();
        let directives = sshd(&Root::new(folder.path())).unwrap();
        for connection in CONNECTIONS {
            compare(number, &directives, &whole, connection);
        }
    }
}

fn compare(number: usize, directives: &[SshDirective], whole: &Path, connection: (&str, &str, &str)) {
    let (user, address, host) = connection;
    let ours = Effective::new(
        directives,
        Connection {
            user: Some(user),
            address: address.parse().ok(),
            host: Some(host),
            local_address: "10.0.0.1".parse().ok(),
            local_port: Some(22),
        },
    );
    let theirs = told(whole, Some(connection)).unwrap();
    let get = |keyword: &str| theirs.iter().find(|(key, _)| key == keyword).map(|(_, value)| value.clone()).unwrap();
    for (keyword, alias, default) in KEYWORDS {
        let values = ours.values(keyword, alias, default);
        assert_eq!(values.len(), 1, "{number} {connection:?} {keyword}: everything is known of this connection");
        assert_eq!(canonical(&values[0]), canonical(&get(keyword)), "{number} {connection:?} {keyword}");
    }
    // Of lists and times it is the facts that have to agree: they stand outside of any block here.
    let facts = facts(directives, Some("1:9.2p1"), None);
    assert_eq!(facts.login_grace_seconds.to_string(), get("logingracetime"), "{number}");
    assert_eq!(facts.client_alive_seconds.to_string(), get("clientaliveinterval"), "{number}");
    let weak = |keyword: &str, of: &dyn Fn(&str) -> bool| {
        let mut names: Vec<_> = get(keyword).split(',').filter(|name| of(name)).map(str::to_owned).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(facts.weak_ciphers, weak("ciphers", &|name| name.ends_with("-cbc")), "{number}");
    assert_eq!(facts.weak_macs, weak("macs", &|name| name.contains("md5")), "{number}");
    assert_eq!(facts.weak_key_exchanges, weak("kexalgorithms", &|name| name.ends_with("-sha1")), "{number}");
    assert_eq!(facts.weak_signatures.unwrap(), weak("hostkeyalgorithms", &|name| name == "ssh-rsa"), "{number}");
}
