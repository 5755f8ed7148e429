//! Accounts: who may become root, whose password is no protection, and whose files others may change.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Account, FileState};
use crate::check::Unknown;
use crate::look::Look;

/// What stands in the password field of shadow(5), without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Password {
    /// The account.
    pub name: String,
    /// What kind of entry it is.
    pub state: PasswordState,
    /// The scheme of the hash as crypt(5) names it by its prefix, such as `6` or `y`; empty for the oldest.
    pub scheme: Option<String>,
}

/// Kinds of entries in shadow(5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PasswordState {
    /// Nothing: no password is asked for.
    Empty,
    /// No password fits.
    Locked,
    /// A hash.
    Set,
}

/// One line of group(5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Its id.
    pub gid: u32,
    /// Its members, without those who have it as their first.
    pub members: Vec<String>,
}

/// One line of sudoers(5), continued lines joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SudoLine {
    /// The file.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// The text.
    pub text: String,
}

/// A person's home folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// Whose.
    pub user: String,
    /// The folder.
    pub folder: FileState,
    /// Files that let in other machines' users without a key: `.rhosts`, `.shosts`.
    pub trust_files: Vec<String>,
    /// `.ssh/authorized_keys`, and the folder around it.
    pub keys: Vec<FileState>,
}

/// What was seen of accounts beyond passwd(5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    /// shadow(5), without the passwords.
    pub passwords: Look<Vec<Password>>,
    /// group(5).
    pub groups: Look<Vec<Group>>,
    /// sudoers(5) with what it includes; `not_found` without sudo.
    pub sudo: Look<Vec<SudoLine>>,
    /// `UMASK`, `ENCRYPT_METHOD` and the like of login.defs(5).
    pub login_defs: Look<BTreeMap<String, String>>,
    /// Modes of the files that accounts are made of.
    pub files: Vec<Look<FileState>>,
    /// Home folders of people.
    pub homes: Look<Vec<Home>>,
}

/// Facts about accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AccountFacts {
    /// Who becomes root by sudo without a password: a name, or `%group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sudo_without_password: Option<Vec<String>>,
    /// Who may run every command as root by sudo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub administrators: Option<Vec<String>>,
    /// Accounts whose password is kept by a scheme that is guessed quickly: MD5, DES and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weak_password_hashes: Option<Vec<String>>,
    /// `root` has a password of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_has_password: Option<bool>,
    /// User ids that several accounts share, other than 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_user_ids: Option<Vec<u64>>,
    /// Accounts of services that have a login shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_accounts_with_shell: Option<Vec<String>>,
    /// `UMASK` of login.defs as it stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<String>,
    /// Others than the owner may write to new files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask_lets_others_write: Option<bool>,
    /// Files that accounts are made of which others may change, or which hold hashes and others may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_account_files: Option<Vec<String>>,
    /// Home folders and lists of SSH keys that others may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writable_homes: Option<Vec<String>>,
    /// Files that let in other machines' users without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trust_files: Option<Vec<String>>,
    /// Members of the group `docker`, who are root in all but name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_members: Option<Vec<String>>,
}

/// As in Debian 13: login(1) takes 022, and pam_umask(8) may give whoever has a group of his own 002.
const NO_UMASK: &str = "login.defs does not set it, so that it depends on how somebody comes in; write UMASK into it";
/// Schemes of crypt(5) that are strong: yescrypt, gost-yescrypt, scrypt, bcrypt, SHA-512, SHA-256.
const STRONG: [&str; 7] = ["y", "gy", "7", "2b", "2y", "6", "5"];

pub(super) fn facts(
    seen: &Option<Accounts>,
    accounts: Option<&Vec<Account>>,
    unknown: &mut Unknown,
) -> Option<AccountFacts> {
    let seen = seen.as_ref()?;
    let place = |name: &str| format!("/accounts/{name}");
    let shadow = [place("weak_password_hashes"), place("root_has_password")];
    let passwords =
        super::take(&seen.passwords, &shadow.each_ref().map(String::as_str), "root or the group shadow", unknown);
    let groups = super::take(&seen.groups, &["/accounts/docker_members"], "", unknown);
    let sudo = match &seen.sudo {
        Look::Failed(failure) if failure.kind == crate::look::FailureKind::NotFound => Some(&[][..]),
        look => super::take(look, &["/accounts/sudo_without_password", "/accounts/administrators"], "root", unknown)
            .map(Vec::as_slice),
    };
    let defs = super::take(&seen.login_defs, &["/accounts/umask", "/accounts/umask_lets_others_write"], "", unknown);
    let homes = super::take(&seen.homes, &["/accounts/writable_homes", "/accounts/trust_files"], "root", unknown);
    if accounts.is_none() {
        for name in ["shared_user_ids", "service_accounts_with_shell"] {
            unknown.because(place(name), "the accounts could not be read");
        }
    }
    let umask = defs.and_then(|defs| defs.get("UMASK").cloned());
    if defs.is_some() && umask.is_none() {
        unknown.because("/accounts/umask", NO_UMASK);
        unknown.because("/accounts/umask_lets_others_write", NO_UMASK);
    }
    let umask_lets_others_write = umask.as_deref().and_then(|text| match u32::from_str_radix(text, 8) {
        Ok(mask) => Some(mask & 0o022 != 0o022),
        Err(_) => {
            unknown.because("/accounts/umask_lets_others_write", format!("UMASK {text:?} is not octal"));
            None
        }
    });
    Some(AccountFacts {
        sudo_without_password: sudo.map(without_password),
        administrators: sudo.map(administrators),
        weak_password_hashes: passwords.map(|passwords| {
            let weak = |one: &&Password| {
                one.state == PasswordState::Set && !one.scheme.as_deref().is_some_and(|one| STRONG.contains(&one))
            };
            passwords.iter().filter(weak).map(|one| one.name.clone()).collect()
        }),
        root_has_password: passwords
            .map(|passwords| passwords.iter().any(|one| one.name == "root" && one.state == PasswordState::Set)),
        shared_user_ids: accounts.map(|accounts| shared(accounts)),
        service_accounts_with_shell: accounts.map(|accounts| with_shell(accounts)),
        umask,
        umask_lets_others_write,
        open_account_files: open_files(&seen.files, unknown),
        writable_homes: homes.map(|homes| writable(homes)),
        trust_files: homes.map(|homes| homes.iter().flat_map(|home| home.trust_files.iter().cloned()).collect()),
        docker_members: groups.map(|groups| {
            groups.iter().filter(|group| group.name == "docker").flat_map(|group| group.members.clone()).collect()
        }),
    })
}

fn shared(accounts: &[Account]) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for account in accounts.iter().filter(|account| account.uid != 0) {
        if !seen.insert(account.uid) {
            twice.insert(u64::from(account.uid));
        }
    }
    twice.into_iter().collect()
}

/// User ids 1 to 999 are for services (Debian policy 9.2.2); `sync` is Debian's own, with a program that is no shell.
fn with_shell(accounts: &[Account]) -> Vec<String> {
    let is_service = |account: &&Account| (1..1000).contains(&account.uid) && super::has_shell(&account.shell);
    let shells = accounts.iter().filter(is_service).filter(|account| account.shell != "/bin/sync");
    shells.map(|account| account.name.clone()).collect()
}

fn open_files(files: &[Look<FileState>], unknown: &mut Unknown) -> Option<Vec<String>> {
    let mut open = Vec::new();
    let mut all = true;
    for look in files {
        match look {
            Look::Seen(file) => {
                let holds_hashes = file.path.ends_with("shadow") || file.path.ends_with("shadow-");
                let bits = file.bits().unwrap_or(0o777);
                if bits & 0o022 != 0 || file.uid != 0 || (holds_hashes && bits & 0o007 != 0) {
                    open.push(file.path.clone());
                }
            }
            Look::Failed(failure) if failure.kind == crate::look::FailureKind::NotFound => {}
            Look::Failed(failure) => {
                unknown.because("/accounts/open_account_files", failure);
                all = false;
            }
        }
    }
    // One that is open is a fact, whatever the others are.
    (all || !open.is_empty()).then_some(open)
}

fn writable(homes: &[Home]) -> Vec<String> {
    let open = |file: &FileState| file.bits().is_some_and(|bits| bits & 0o002 != 0);
    homes
        .iter()
        .flat_map(|home| std::iter::once(&home.folder).chain(&home.keys))
        .filter(|file| open(file))
        .map(|file| file.path.clone())
        .collect()
}

/// Who a line of sudoers gives something to, as far as one line tells: not `Defaults`, not an alias.
fn user_of(line: &str) -> Option<(&str, &str)> {
    let (who, rest) = line.trim().split_once(char::is_whitespace)?;
    let is_alias = ["User_Alias", "Runas_Alias", "Host_Alias", "Cmnd_Alias", "Cmd_Alias"].contains(&who);
    (!is_alias && !who.starts_with("Defaults") && rest.contains('=')).then_some((who, rest))
}

fn without_password(lines: &[SudoLine]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for line in lines {
        if let Some((who, rest)) = user_of(&line.text)
            && rest.contains("NOPASSWD:")
        {
            found.insert(who.to_owned());
        }
        // `Defaults !authenticate` asks nobody, `Defaults:name !authenticate` not that name.
        if let Some(rest) = line.text.trim().strip_prefix("Defaults")
            && rest.split([',', ' ', '\t']).any(|word| word == "!authenticate")
        {
            let who = rest.split_whitespace().next().filter(|_| rest.starts_with([':', '@', '!', '>']));
            found.insert(who.map_or("ALL", |who| who.trim_start_matches([':', '@', '!', '>'])).to_owned());
        }
    }
    found.into_iter().collect()
}

fn administrators(lines: &[SudoLine]) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (who, rest) in lines.iter().filter_map(|line| user_of(&line.text)) {
        let commands = rest.split_once('=').map_or("", |(_, commands)| commands);
        let every = commands.rsplit([':', ')', ' ']).next().is_some_and(|last| last.trim() == "ALL");
        if every {
            found.insert(who.to_owned());
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sudo(text: &str) -> Vec<SudoLine> {
        vec![SudoLine { file: "/etc/sudoers".into(), line: 1, text: text.into() }]
    }

    #[test]
    fn who_becomes_root_without_a_password() {
        for (text, who) in [
            ("pi ALL=(ALL) NOPASSWD: ALL", Some("pi")),
            ("%sudo\tALL=(ALL:ALL) ALL", None),
            ("%ops ALL = (root) NOPASSWD:/usr/bin/systemctl restart mosquitto", Some("%ops")),
            ("Defaults !authenticate", Some("ALL")),
            ("Defaults:backup !authenticate", Some("backup")),
            ("Defaults env_reset", None),
            ("Cmnd_Alias X = NOPASSWD:", None),
        ] {
            assert_eq!(without_password(&sudo(text)), who.map(str::to_owned).into_iter().collect::<Vec<_>>(), "{text}");
        }
        assert_eq!(administrators(&sudo("%sudo\tALL=(ALL:ALL) ALL")), ["%sudo"]);
        assert_eq!(administrators(&sudo("pi ALL=(ALL) NOPASSWD: ALL")), ["pi"]);
        assert!(administrators(&sudo("ops ALL=(root) /usr/bin/id")).is_empty());
    }

    #[test]
    fn hashes_of_old_are_weak_and_locked_ones_are_none() {
        let password = |name: &str, state, scheme: Option<&str>| Password {
            name: name.into(),
            state,
            scheme: scheme.map(str::to_owned),
        };
        let failed = || crate::look::Failure::new(crate::look::FailureKind::NotFound, "none");
        let seen = Accounts {
            passwords: Look::Seen(vec![
                password("root", PasswordState::Locked, None),
                password("a", PasswordState::Set, Some("1")),
                password("b", PasswordState::Set, Some("y")),
                password("c", PasswordState::Set, Some("")),
            ]),
            groups: Look::Seen(vec![]),
            sudo: Look::Failed(failed()),
            login_defs: Look::Seen(BTreeMap::from([("UMASK".into(), "002".into())])),
            files: vec![],
            homes: Look::Seen(vec![]),
        };
        let facts = facts(&Some(seen), None, &mut Unknown::default()).unwrap();
        assert_eq!(facts.weak_password_hashes, Some(vec!["a".into(), "c".into()]));
        assert_eq!((facts.root_has_password, facts.umask_lets_others_write), (Some(false), Some(true)));
        assert_eq!(facts.sudo_without_password, Some(vec![]), "without sudo nobody uses it");
    }
}
