//! The SSH server's configuration (sshd_config(5)), `Include` followed, as OpenSSH reads it.
//!
//! A line that OpenSSH would refuse and an included file that can not be read fail the whole look: what stands there could
//! decide the outcome. Recursion, files and directives are bounded, at least as tightly as OpenSSH bounds them.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use gatepost_evidence::check::host_guardrails::SshDirective;
use gatepost_evidence::check::host_guardrails::ssh::HostKey;
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::shorten;

/// Where the SSH server is configured.
pub const PATH: &str = "/etc/ssh/sshd_config";
/// Includes within includes; OpenSSH's own bound (`SERVCONF_MAX_DEPTH`).
pub const MAX_DEPTH: usize = 16;
/// The most files that are read.
pub const MAX_FILES: usize = 200;
/// The most directives that are recorded.
pub const MAX_DIRECTIVES: usize = 1000;

/// Every directive, in the order OpenSSH reads them. `Match` and `Include` themselves are followed and not recorded.
///
/// # Errors
/// `not_found` when there is no SSH server; otherwise when a file can not be read or understood, or is too much.
pub fn sshd(root: &Root) -> Result<Vec<SshDirective>, Failure> {
    let mut reading = Reading { root, files: 0, directives: Vec::new() };
    reading.file(Path::new(PATH), None, 0)?;
    Ok(reading.directives)
}

/// The public halves of the server's keys: those that the configuration names, else those at the usual places.
///
/// # Errors
/// When the folder can not be listed or one of them can not be read.
pub fn host_keys(root: &Root, directives: &[SshDirective]) -> Result<Vec<HostKey>, Failure> {
    let named: Vec<_> = directives.iter().filter(|one| one.keyword == "hostkey").map(|one| one.value.clone()).collect();
    let files = if named.is_empty() {
        let names = root.list(Path::new("/etc/ssh"))?;
        let is_key = |name: &&String| name.starts_with("ssh_host_") && name.ends_with("_key.pub");
        names.iter().filter(is_key).map(|name| format!("/etc/ssh/{name}")).collect()
    } else {
        named.iter().map(|path| format!("{path}.pub")).collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for file in files.into_iter().take(MAX_FILES) {
        let text = root.read_text(Path::new(&file))?;
        let mut words = text.split_whitespace();
        let (Some(kind), Some(blob)) = (words.next(), words.next()) else {
            return Err(Failure::new(FailureKind::Unparseable, format_args!("{file} holds no public key")));
        };
        found.push(HostKey { file: shorten(&file), kind: shorten(kind), bits: rsa_bits(blob) });
    }
    Ok(found)
}

/// The length of an RSA modulus in an SSH public key (RFC 4253, section 6.6): type, exponent, modulus, each with its length.
fn rsa_bits(blob: &str) -> Option<u64> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(blob).ok()?;
    let mut rest = bytes.as_slice();
    let mut next = || {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (part, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        rest = after;
        Some(part)
    };
    if next()? != b"ssh-rsa" {
        return None;
    }
    next()?;
    let modulus = next()?;
    let start = modulus.iter().position(|byte| *byte != 0)?;
    Some((modulus.len() - start) as u64 * 8 - u64::from(modulus[start].leading_zeros()))
}

struct Reading<'a> {
    root: &'a Root,
    files: usize,
    directives: Vec<SshDirective>,
}

impl Reading<'_> {
    /// `Match` inside an included file ends with that file; one around the `Include` goes on inside it.
    fn file(&mut self, path: &Path, around: Option<&str>, depth: usize) -> Result<(), Failure> {
        self.files += 1;
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            let detail = format!(
                "{}: more than {MAX_FILES} files are included, or more than {MAX_DEPTH} within each other",
                path.display()
            );
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        let text = self.root.read_text(path).map_err(|failure| match failure.kind {
            // `not_found` says that there is no SSH server; a link that leads nowhere must not.
            FailureKind::NotFound if depth > 0 => Failure::new(FailureKind::Error, failure.detail),
            _ => failure,
        })?;
        let mut within_match = around.map(str::to_owned);
        for (line, number) in text.lines().zip(1_u32..) {
            let unparseable = || {
                let detail = format!("{}: line {number} is not understood", path.display());
                Failure::new(FailureKind::Unparseable, detail)
            };
            let words = words(line).ok_or_else(unparseable)?;
            let Some((keyword, arguments)) = words.split_first() else { continue };
            let keyword = keyword.to_ascii_lowercase();
            let is_name = (1..=64).contains(&keyword.len()) && keyword.chars().all(|c| c.is_ascii_alphanumeric());
            if !is_name || arguments.is_empty() {
                return Err(unparseable());
            }
            match keyword.as_str() {
                // Both have to fit: the one around the include, and this one.
                "match" => {
                    let both = around.into_iter().chain(arguments.iter().map(String::as_str));
                    within_match = Some(shorten(&both.collect::<Vec<_>>().join(" ")));
                }
                "include" => {
                    for pattern in arguments {
                        for included in self.expand(pattern)? {
                            self.file(&included, within_match.as_deref(), depth + 1)?;
                        }
                    }
                }
                _ => {
                    if self.directives.len() == MAX_DIRECTIVES {
                        let detail = format!("{}: more than {MAX_DIRECTIVES} directives", path.display());
                        return Err(Failure::new(FailureKind::TooLarge, detail));
                    }
                    // The environment may carry secrets.
                    let value =
                        if keyword.starts_with("setenv") { "(redacted)".into() } else { shorten(&arguments.join(" ")) };
                    self.directives.push(SshDirective {
                        file: path.display().to_string(),
                        line: number,
                        keyword,
                        value,
                        within_match: within_match.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The files that `pattern` (glob(7)) stands for, sorted; none is not an error.
    fn expand(&self, pattern: &str) -> Result<Vec<PathBuf>, Failure> {
        let pattern = Path::new("/etc/ssh").join(pattern);
        let mut found = vec![PathBuf::from("/")];
        for component in pattern.components().skip(1) {
            let component = component.as_os_str().to_string_lossy();
            let is_pattern = component.contains(['*', '?', '[']);
            let mut next = Vec::new();
            for folder in found {
                if !is_pattern {
                    next.push(folder.join(&*component));
                    continue;
                }
                let names = match self.root.list(&folder) {
                    Err(Failure { kind: FailureKind::NotFound, .. }) => continue,
                    names => names?,
                };
                next.extend(names.iter().filter(|name| matches(&component, name)).map(|name| folder.join(name)));
                if next.len() > MAX_FILES {
                    let detail = format!("{} stands for more than {MAX_FILES} files", pattern.display());
                    return Err(Failure::new(FailureKind::TooLarge, detail));
                }
            }
            found = next;
        }
        // What a pattern found is there; a plain name may lead nowhere, and then OpenSSH passes over it.
        let is_pattern = pattern.file_name().is_some_and(|name| name.to_string_lossy().contains(['*', '?', '[']));
        if is_pattern {
            return Ok(found);
        }
        let mut files = Vec::new();
        for path in found {
            if self.root.exists(&path)? {
                files.push(path);
            }
        }
        Ok(files)
    }
}

/// The words of one line: separated by white space, quoted or not, one `=` allowed after the keyword, ended by a comment.
/// None when a quote is left open.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words: Vec<String> = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = word(rest, words.is_empty())?;
        words.push(word);
        rest = after.trim_start();
        if words.len() == 1 {
            rest = rest.strip_prefix('=').unwrap_or(rest).trim_start();
        }
    }
    Some(words)
}

fn word(text: &str, is_keyword: bool) -> Option<(String, &str)> {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (Some(open), character) if character == open => quote = None,
            (Some(_), '\\') | (None, '\\') => {
                // Only quotes, spaces and the backslash itself are escaped; elsewhere it stands for itself.
                match characters.clone().next() {
                    Some((_, next @ ('"' | '\'' | '\\' | ' '))) => {
                        characters.next();
                        word.push(next);
                    }
                    _ => word.push('\\'),
                }
            }
            (Some(_), character) => word.push(character),
            (None, '"' | '\'') => quote = Some(character),
            (None, character) if character.is_whitespace() || (is_keyword && character == '=') => {
                return Some((word, &text[at..]));
            }
            (None, character) => word.push(character),
        }
    }
    quote.is_none().then_some((word, ""))
}

/// Whether `name` matches the pattern of one path component (glob(7)): `*`, `?` and `[...]`. Takes time in proportion to
/// the product of the two lengths at worst.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            star = Some((p, n));
            p += 1;
        } else if let Some(next) = one(&pattern, p, name[n]) {
            (p, n) = (next, n + 1);
        } else if let Some((at, taken)) = star {
            // The last star takes one more character.
            star = Some((at, taken + 1));
            (p, n) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|character| *character == '*')
}

/// The place in the pattern after the one item at `p`, if that item matches `character`.
fn one(pattern: &[char], p: usize, character: char) -> Option<usize> {
    match *pattern.get(p)? {
        '?' => Some(p + 1),
        '[' => match set(&pattern[p + 1..], character) {
            Some((true, length)) => Some(p + 1 + length),
            Some((false, _)) => None,
            // A bracket that is never closed stands for itself.
            None => (character == '[').then_some(p + 1),
        },
        literal => (literal == character).then_some(p + 1),
    }
}

/// Whether `character` is in the set that begins after `[`, and how long the set is with its `]`.
fn set(pattern: &[char], character: char) -> Option<(bool, usize)> {
    let negated = matches!(pattern.first(), Some('!' | '^'));
    let start = usize::from(negated);
    // A `]` right at the start is a member.
    let end = start + 1 + pattern.get(start + 1..)?.iter().position(|c| *c == ']')?;
    let members = &pattern[start..end];
    let mut found = false;
    let mut at = 0;
    while at < members.len() {
        if let (Some('-'), Some(last)) = (members.get(at + 1), members.get(at + 2)) {
            found |= (members[at]..=*last).contains(&character);
            at += 3;
        } else {
            found |= members[at] == character;
            at += 1;
        }
    }
    Some((found != negated, end + 1))
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    fn read(files: &[(&str, &str)]) -> Result<Vec<String>, Failure> {
        let folder = snapshot(files);
        let show = |directive: SshDirective| {
            let within = directive.within_match.map(|criteria| format!(" [{criteria}]")).unwrap_or_default();
            let file = directive.file.rsplit('/').next().unwrap_or_default().to_owned();
            format!("{file}:{} {} {}{within}", directive.line, directive.keyword, directive.value)
        };
        Ok(sshd(&Root::new(folder.path()))?.into_iter().map(show).collect())
    }

    #[test]
    fn words_quotes_comments_and_equals_signs() {
        let words = |line| words(line).unwrap();
        assert_eq!(words("PermitRootLogin no"), ["PermitRootLogin", "no"]);
        assert_eq!(words("PermitRootLogin=no # why"), ["PermitRootLogin", "no"]);
        assert_eq!(words("\tPermitRootLogin = \"no\"\r"), ["PermitRootLogin", "no"]);
        assert_eq!(words("Banner \"/etc/a b\" c\\ d"), ["Banner", "/etc/a b", "c d"]);
        assert_eq!(words("Ciphers a=b,c#d"), ["Ciphers", "a=b,c#d"]);
        assert_eq!(words("# all"), Vec::<String>::new());
        assert_eq!(super::words("Banner \"open"), None);
    }

    #[test]
    fn patterns_match_as_the_shell_does() {
        for (pattern, name, expected) in [
            ("*.conf", "10-a.conf", true),
            ("*.conf", ".hidden.conf", false),
            ("*.conf", "a.conf.bak", false),
            ("??-[a-c]*.conf", "10-b.conf", true),
            ("??-[!a-c]*.conf", "10-b.conf", false),
            ("[]x]", "]", true),
            ("[x", "[x", true),
            ("*", "", true),
            ("a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn includes_stand_where_they_are_and_matches_end_with_their_file() {
        let seen = read(&[
            (
                "etc/ssh/sshd_config",
                "Include sshd_config.d/*.conf /etc/none/*.conf missing.conf\nPermitRootLogin yes\nMatch User a\nInclude /etc/ssh/inner\nX11Forwarding no\n",
            ),
            ("etc/ssh/sshd_config.d/20-b.conf", "Match Address 10.0.0.0/8\nPasswordAuthentication yes\n"),
            ("etc/ssh/sshd_config.d/10-a.conf", "passwordauthentication=no\nSetEnv TOKEN=hunter2\n"),
            ("etc/ssh/inner", "Banner none\n"),
        ]);
        assert_eq!(
            seen.unwrap(),
            [
                "10-a.conf:1 passwordauthentication no",
                "10-a.conf:2 setenv (redacted)",
                "20-b.conf:2 passwordauthentication yes [Address 10.0.0.0/8]",
                "sshd_config:2 permitrootlogin yes",
                "inner:1 banner none [User a]",
                "sshd_config:5 x11forwarding no [User a]",
            ]
        );
    }

    #[test]
    fn what_could_decide_the_outcome_and_is_out_of_sight_fails_the_look() {
        let kind = |files| read(files).unwrap_err().kind;
        assert_eq!(kind(&[("etc/hosts", "")]), FailureKind::NotFound);
        assert_eq!(kind(&[("etc/ssh/sshd_config", "Include sshd_config\n")]), FailureKind::TooLarge);
        assert_eq!(kind(&[("etc/ssh/sshd_config", "PermitRootLogin\n")]), FailureKind::Unparseable);
        assert_eq!(kind(&[("etc/ssh/sshd_config", "\u{1}\u{2} x\n")]), FailureKind::Unparseable);
        assert_eq!(
            read(&[("etc/ssh/sshd_config", "Include d/*\n"), ("etc/ssh/d/x/y", "")]).unwrap_err().detail,
            "/etc/ssh/d/x is not a regular file"
        );
        let folder = snapshot(&[("etc/ssh/sshd_config", "Include d/*\n"), ("etc/ssh/d/a", "")]);
        std::os::unix::fs::symlink("/nowhere", folder.path().join("etc/ssh/d/b")).unwrap();
        assert_eq!(sshd(&Root::new(folder.path())).unwrap_err().kind, FailureKind::Error);
        let doubling = "Include b b\n";
        let files = [("etc/ssh/sshd_config", doubling), ("etc/ssh/b", "Include b b\nUseDNS no\n")];
        assert_eq!(kind(&files), FailureKind::TooLarge);
        assert_eq!(kind(&[("etc/ssh/sshd_config", &"UseDNS no\n".repeat(2000))]), FailureKind::TooLarge);
    }
}

#[cfg(test)]
#[path = "sshd_tests.rs"]
mod sshd_tests;
