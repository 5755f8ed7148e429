//! Accounts of passwd(5), shadow(5) and group(5), and what lies in people's home folders. Password fields never leave this
//! file; of a hash only the name of its scheme does.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::check::host_guardrails::Account;
use gatepost_evidence::check::host_guardrails::accounts::{Accounts, Group, Home, Password, PasswordState};
use gatepost_evidence::look::{Failure, FailureKind, Look};

use super::root::Root;
use super::{if_there, shorten, sudo};

/// The most accounts that are recorded.
pub const MAX_ACCOUNTS: usize = 1000;

/// The accounts of passwd(5).
///
/// # Errors
/// When it can not be read, a line is not an account, or there are more than [`MAX_ACCOUNTS`].
pub fn accounts(root: &Root) -> Result<Vec<Account>, Failure> {
    let path = Path::new("/etc/passwd");
    let account = |fields: &[&str]| match fields {
        [name, _, uid, _, _, _, shell] => {
            Some(Account { name: shorten(name), uid: uid.parse().ok()?, shell: shorten(shell) })
        }
        _ => None,
    };
    table(root, path, |fields| account(fields).ok_or(()).map(Some))
}

/// Names of the accounts whose password field in shadow(5) is empty.
///
/// # Errors
/// When it can not be read (it takes root or the group `shadow`), or a line is not an entry.
pub fn empty_passwords(root: &Root) -> Result<Vec<String>, Failure> {
    table(root, Path::new("/etc/shadow"), |fields| match fields {
        [name, password, ..] => Ok(password.is_empty().then(|| shorten(name))),
        _ => Err(()),
    })
}

/// Everything beyond passwd(5).
#[must_use]
pub fn details(root: &Root) -> Accounts {
    Accounts {
        passwords: passwords(root).into(),
        groups: groups(root).into(),
        sudo: sudo::sudo(root).into(),
        login_defs: login_defs(root).into(),
        files: FILES
            .iter()
            .map(|path| root.state(Path::new(path)).map(|state| state.as_evidence(Path::new(path))).into())
            .filter(|look: &Look<_>| !matches!(look, Look::Failed(Failure { kind: FailureKind::NotFound, .. })))
            .collect(),
        homes: homes(root).into(),
    }
}

/// The files that accounts are made of.
const FILES: [&str; 9] = [
    "/etc/passwd",
    "/etc/passwd-",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/group",
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/sudoers",
    "/etc/sudoers.d",
];
/// The most home folders that are looked into.
const MAX_HOMES: usize = 200;

fn passwords(root: &Root) -> Result<Vec<Password>, Failure> {
    table(root, Path::new("/etc/shadow"), |fields| match fields {
        [name, password, ..] => {
            let (state, scheme) = match password.trim_start_matches('!') {
                "" if password.is_empty() => (PasswordState::Empty, None),
                _ if password.starts_with(['!', '*', 'x']) => (PasswordState::Locked, None),
                _ => (PasswordState::Set, Some(scheme(password))),
            };
            Ok(Some(Password { name: shorten(name), state, scheme }))
        }
        _ => Err(()),
    })
}

/// `$y$j9T$...` is `y`; hashes of the oldest kind have no name. What is no name of a scheme never leaves this file.
fn scheme(password: &str) -> String {
    let name = password.strip_prefix('$').and_then(|rest| rest.split('$').next()).unwrap_or_default();
    let is_name = name.len() <= 6 && name.chars().all(|c| c.is_ascii_alphanumeric());
    if is_name { name.to_owned() } else { String::new() }
}

fn groups(root: &Root) -> Result<Vec<Group>, Failure> {
    table(root, Path::new("/etc/group"), |fields| match fields {
        [name, _, gid, members] => {
            let members = members.split(',').filter(|member| !member.is_empty()).map(shorten).collect();
            Ok(Some(Group { name: shorten(name), gid: gid.parse().map_err(|_| ())?, members }))
        }
        _ => Err(()),
    })
}

/// What is kept of login.defs(5).
const LOGIN_DEFS: [&str; 6] =
    ["UMASK", "ENCRYPT_METHOD", "PASS_MAX_DAYS", "PASS_MIN_DAYS", "LOGIN_RETRIES", "HOME_MODE"];

fn login_defs(root: &Root) -> Result<BTreeMap<String, String>, Failure> {
    let text = root.read_text(Path::new("/etc/login.defs"))?;
    let words = text.lines().filter_map(|line| line.trim_start().split_once(char::is_whitespace));
    let kept = words.filter(|(key, _)| LOGIN_DEFS.contains(key));
    Ok(kept.map(|(key, value)| (key.to_owned(), shorten(value.split('#').next().unwrap_or_default().trim()))).collect())
}

/// Home folders of people and of root. One that can not be looked into fails the look: what lies there could decide.
fn homes(root: &Root) -> Result<Vec<Home>, Failure> {
    let people = homes_of(root)?;
    let mut found = Vec::new();
    for (user, home) in people {
        let home = Path::new(&home);
        let Some(folder) = if_there(root.state(home))? else { continue };
        let mut trust_files = Vec::new();
        for name in [".rhosts", ".shosts"] {
            if root.exists(&home.join(name))? {
                trust_files.push(shorten(&home.join(name).display().to_string()));
            }
        }
        let mut keys = Vec::new();
        for name in [".ssh", ".ssh/authorized_keys"] {
            let path = home.join(name);
            if let Some(state) = if_there(root.state(&path))? {
                keys.push(state.as_evidence(&path));
            }
        }
        found.push(Home { user, folder: folder.as_evidence(home), trust_files, keys });
        if found.len() > MAX_HOMES {
            let detail = format!("there are more than {MAX_HOMES} home folders");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
    }
    if root.exists(Path::new("/etc/hosts.equiv"))? || root.exists(Path::new("/etc/ssh/shosts.equiv"))? {
        let folder = root.state(Path::new("/etc"))?.as_evidence(Path::new("/etc"));
        let trust_files = vec!["/etc/hosts.equiv or /etc/ssh/shosts.equiv".into()];
        found.push(Home { user: "everyone".into(), folder, trust_files, keys: Vec::new() });
    }
    Ok(found)
}

/// Names and home folders of those who are people: root, and ids from 1000 on with a place to log in.
fn homes_of(root: &Root) -> Result<Vec<(String, String)>, Failure> {
    table(root, Path::new("/etc/passwd"), |fields| match fields {
        [name, _, uid, _, _, home, shell] => {
            let uid: u32 = uid.parse().map_err(|_| ())?;
            let is_person = (uid == 0 || (1000..65_000).contains(&uid)) && !shell.ends_with("/nologin");
            Ok((is_person && home.len() > 1).then(|| (shorten(name), (*home).to_owned())))
        }
        _ => Err(()),
    })
}

fn table<T>(root: &Root, path: &Path, row: impl Fn(&[&str]) -> Result<Option<T>, ()>) -> Result<Vec<T>, Failure> {
    let text = root.read_text(path)?;
    let mut found = Vec::new();
    for (line, number) in text.lines().zip(1_usize..) {
        // Lines that begin with a sign are the compatibility entries of nsswitch.conf(5), not accounts.
        if line.trim().is_empty() || line.starts_with(['#', '+', '-']) {
            continue;
        }
        let fields: Vec<_> = line.splitn(10, ':').collect();
        let row = row(&fields).map_err(|()| {
            Failure::new(FailureKind::Unparseable, format_args!("{}: line {number} is no account", path.display()))
        })?;
        found.extend(row);
        if found.len() > MAX_ACCOUNTS {
            let detail = format!("{} has more than {MAX_ACCOUNTS} accounts", path.display());
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn only_names_of_empty_passwords_are_kept() {
        let folder = snapshot(&[
            ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n+nis\n\npi:x:1000:1000:,,,:/home/pi:\n"),
            ("etc/shadow", "root:$6$hunter2:19000:0:99999:7:::\nlocked:!:1:::::\npi::19000:0:99999:7:::\n"),
        ]);
        let root = Root::new(folder.path());
        let accounts = accounts(&root).unwrap();
        assert_eq!(accounts.len(), 2);
        assert_eq!((accounts[1].name.as_str(), accounts[1].uid, accounts[1].shell.as_str()), ("pi", 1000, ""));
        assert_eq!(empty_passwords(&root).unwrap(), ["pi"]);
    }

    #[test]
    fn a_line_that_is_no_account_is_not_passed_over() {
        let folder =
            snapshot(&[("etc/passwd", "root:x:0:0:::/bin/sh\nroot2:x:zero:0:::/bin/sh\n"), ("etc/shadow", "hunter2")]);
        let root = Root::new(folder.path());
        assert_eq!(accounts(&root).unwrap_err().detail, "/etc/passwd: line 2 is no account");
        let failure = empty_passwords(&root).unwrap_err();
        assert!(!failure.detail.contains("hunter2"), "{failure}");
        let many = "a:x:1:1:::/bin/sh\n".repeat(MAX_ACCOUNTS + 1);
        let folder = snapshot(&[("etc/passwd", &many)]);
        assert_eq!(super::accounts(&Root::new(folder.path())).unwrap_err().kind, FailureKind::TooLarge);
    }
}
