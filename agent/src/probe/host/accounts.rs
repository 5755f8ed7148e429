//! Accounts of passwd(5), and those of shadow(5) that need no password. Password fields never leave this file.

use std::path::Path;

use gatepost_evidence::check::host_guardrails::Account;
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::shorten;

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
