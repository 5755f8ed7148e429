//! The SSH server's configuration with what it includes, and its public keys, as the probe of `host_guardrails` reads them.

use std::fmt::Write as _;

use gatepost_evidence::check::host_guardrails::SshDirective;

use crate::Seeds;
use crate::host::root::{self, Root};
use crate::host::{can_be_evidence, ssh};

const PATHS: [&str; 8] = [
    ssh::PATH,
    "/etc/ssh/sshd_config.d/10-a.conf",
    "/etc/ssh/sshd_config.d/20-b.conf",
    "/etc/ssh/inner",
    "/etc/ssh/a b/c",
    "/etc/ssh/ssh_host_rsa_key.pub",
    "/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/ssh/key.pub",
];

/// # Panics
/// When a directive is not what it should be, or a file that holds nothing but the directives that were found reads as
/// others.
pub fn attack(data: &[u8]) {
    let root = Root::of(data, &PATHS);
    let found = ssh::sshd(&root);
    let Ok(directives) = &found else { return };
    assert_eq!(found, ssh::sshd(&root), "the same files gave other directives");
    assert!(directives.len() <= ssh::MAX_DIRECTIVES);
    can_be_evidence(directives);
    for one in directives {
        assert!(PATHS.contains(&one.file.as_str()) && one.line > 0, "{one:?}");
        assert!(one.keyword.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{one:?}");
        assert!(!matches!(one.keyword.as_str(), "match" | "include"), "{one:?}");
        assert!(!one.value.chars().any(char::is_control), "{one:?}");
        // What the environment holds may be secret.
        assert!(!one.keyword.starts_with("setenv") || one.value == "(redacted)", "{one:?}");
    }
    let global: Vec<_> = directives.iter().filter(|one| one.within_match.is_none()).collect();
    let again =
        ssh::sshd(&Root::with(&[(ssh::PATH, &flat(&global))])).expect("directives are written as they are read");
    let words = |one: &SshDirective| (one.keyword.clone(), one.value.clone());
    let (first, second): (Vec<_>, Vec<_>) =
        (global.into_iter().map(words).collect(), again.iter().map(words).collect());
    assert_eq!(first, second, "without includes they are others");
    if let Ok(keys) = ssh::host_keys(&root, directives) {
        can_be_evidence(&keys);
    }
}

/// One file with each directive, its arguments as one quoted word.
fn flat(directives: &[&SshDirective]) -> String {
    let mut text = String::new();
    for one in directives {
        let value = one.value.replace('\\', "\\\\").replace('"', "\\\"");
        let _ = writeln!(text, "{} \"{value}\"", one.keyword);
    }
    text
}

/// Configurations of the hosts in `fixtures/hosts`, includes in circles, and every sort of word.
#[must_use]
pub fn seeds() -> Seeds {
    let with = |name: &str, files: &[(&str, &str)]| (name.to_owned(), root::input(&PATHS, files));
    let mut seeds: Seeds = ["broken", "debian12-server", "hardened", "hostile", "raspberry-pi-5"]
        .iter()
        .map(|name| ((*name).to_owned(), root::fixture(name, &PATHS, (0, PATHS.len()), 2000)))
        .collect();
    seeds.push(with(
        "includes",
        &[
            (ssh::PATH, "Include sshd_config.d/*.conf inner\nPort 22\nMatch User a\nInclude /etc/ssh/inner\n"),
            ("/etc/ssh/sshd_config.d/10-a.conf", "Match Address 10.0.0.0/8\nPermitRootLogin no\nMatch all\n"),
            ("/etc/ssh/sshd_config.d/20-b.conf", "passwordauthentication=no # why\nSetEnv A=hunter2\n"),
            ("/etc/ssh/inner", "Banner \"/etc/a b\" c\\ d\nInclude \"/etc/ssh/a b/[a-c]\"\n"),
            ("/etc/ssh/a b/c", "Ciphers aes256-ctr,3des-cbc\nHostKey /etc/ssh/key\n"),
            ("/etc/ssh/key.pub", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 x\n"),
        ],
    ));
    seeds.push(with("circle", &[(ssh::PATH, "Include /etc/ssh/i*\n"), ("/etc/ssh/inner", "Include /etc/ssh/inner\n")]));
    seeds.push(with("quotes", &[(ssh::PATH, "Port \"22\nPort '2' \\\\ \\x \"a\\\"b\" = c\n\u{b}x 1\n")]));
    seeds
}
