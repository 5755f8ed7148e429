//! sudoers(5) with what it includes, as the probe of `host_guardrails` reads it.

use crate::Seeds;
use crate::host::root::{self, Root};
use crate::host::{MAX_CHARS, can_be_evidence, sudo};

const PATHS: [&str; 6] = [
    sudo::PATH,
    "/etc/sudoers.d/010_pi-nopasswd",
    "/etc/sudoers.d/b",
    "/etc/sudoers.d/c.bak",
    "/etc/inner",
    "/etc/sudoers.d/inner",
];

/// # Panics
/// When a line is not what it should be, or lines written one below the other read as others.
pub fn attack(data: &[u8]) {
    let root = Root::of(data, &PATHS);
    let found = sudo::sudo(&root);
    let Ok(lines) = &found else { return };
    assert_eq!(found, sudo::sudo(&root), "the same files gave other lines");
    assert!(lines.len() <= sudo::MAX_LINES);
    can_be_evidence(lines);
    for one in lines {
        // The same path may be written in several ways.
        let known = PATHS.iter().any(|path| std::path::Path::new(path) == std::path::Path::new(&one.file));
        assert!(known && one.line > 0, "{one:?}");
        let named = data.windows(5).any(|word| word == b"c.bak");
        assert!(one.file != "/etc/sudoers.d/c.bak" || named, "of a folder sudo passes over names with a dot");
        let comment =
            one.text.strip_prefix('#').is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit() || c == '-'));
        assert!(!one.text.is_empty() && !comment && !one.text.chars().any(char::is_control));
    }
    // A line may end in what goes on in the next, or include something, and one that was cut may end in anything.
    let whole = |text: &str| text.chars().count() < MAX_CHARS;
    let plain = |text: &&str| whole(text) && !text.ends_with('\\') && !text.starts_with('@') && text.trim() == *text;
    let texts: Vec<&str> = lines.iter().map(|one| one.text.as_str()).filter(plain).collect();
    let again =
        sudo::sudo(&Root::with(&[(sudo::PATH, &texts.join("\n"))])).expect("lines are read as they are written");
    assert_eq!(again.iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), texts);
}

/// Those of the hosts in `fixtures/hosts`, and includes of both spellings.
#[must_use]
pub fn seeds() -> Seeds {
    let with = |name: &str, files: &[(&str, &str)]| (name.to_owned(), root::input(&PATHS, files));
    let mut seeds: Seeds = ["broken", "hardened", "hostile", "raspberry-pi-5"]
        .iter()
        .map(|name| ((*name).to_owned(), root::fixture(name, &PATHS, (0, PATHS.len()), 2000)))
        .collect();
    seeds.push(with(
        "includes",
        &[
            (sudo::PATH, "Defaults env_reset\n@includedir /etc/sudoers.d\n#include inner\n%sudo ALL=(ALL) \\\n ALL\n"),
            ("/etc/sudoers.d/b", "b ALL=(ALL) NOPASSWD: ALL # all\n@include inner\n"),
            ("/etc/sudoers.d/inner", "User_Alias X = a, \\\n b\n"),
            ("/etc/inner", "root ALL=(ALL:ALL) ALL\n"),
        ],
    ));
    seeds.push(with("circle", &[(sudo::PATH, "@include /etc/sudoers\n")]));
    seeds
}
