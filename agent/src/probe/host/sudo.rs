//! Who may become root by sudo: sudoers(5) with what it includes, line by line. It holds no secrets.

use std::path::{Path, PathBuf};

use gatepost_evidence::check::host_guardrails::accounts::SudoLine;
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::shorten;

/// Where sudo is configured.
pub const PATH: &str = "/etc/sudoers";
/// Includes within includes; sudo's own bound is 128.
const MAX_DEPTH: usize = 16;
/// The most files that are read.
const MAX_FILES: usize = 200;
/// The most lines that are recorded.
pub const MAX_LINES: usize = 500;

/// The lines that say something, continued ones joined.
///
/// # Errors
/// `not_found` without sudo; else when a file can not be read (it takes root), or it is too much.
pub fn sudo(root: &Root) -> Result<Vec<SudoLine>, Failure> {
    let mut reading = Reading { root, files: 0, lines: Vec::new() };
    reading.file(Path::new(PATH), 0)?;
    Ok(reading.lines)
}

struct Reading<'a> {
    root: &'a Root,
    files: usize,
    lines: Vec<SudoLine>,
}

impl Reading<'_> {
    fn file(&mut self, path: &Path, depth: usize) -> Result<(), Failure> {
        self.files += 1;
        if depth > MAX_DEPTH || self.files > MAX_FILES {
            let detail = format!(
                "{}: more than {MAX_FILES} files are included, or more than {MAX_DEPTH} within each other",
                path.display()
            );
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        let text = self.root.read_text(path).map_err(|failure| match failure.kind {
            // `not_found` says that there is no sudo.
            FailureKind::NotFound if depth > 0 => Failure::new(FailureKind::Error, failure.detail),
            _ => failure,
        })?;
        for (line, text) in logical(&text) {
            if let Some(target) = include(&text, "includedir") {
                for path in self.folder(&place(path, target))? {
                    self.file(&path, depth + 1)?;
                }
            } else if let Some(target) = include(&text, "include") {
                self.file(&place(path, target), depth + 1)?;
            } else {
                let text = uncommented(&text).trim();
                if text.is_empty() {
                    continue;
                }
                if self.lines.len() == MAX_LINES {
                    let detail = format!("{}: more than {MAX_LINES} lines", path.display());
                    return Err(Failure::new(FailureKind::TooLarge, detail));
                }
                self.lines.push(SudoLine { file: shorten(&path.display().to_string()), line, text: shorten(text) });
            }
        }
        Ok(())
    }

    /// sudo passes over names with a dot or a `~` at their end, and over a folder that is not there.
    fn folder(&self, folder: &Path) -> Result<Vec<PathBuf>, Failure> {
        let names = super::if_there(self.root.list(folder))?.unwrap_or_default();
        Ok(names
            .iter()
            .filter(|name| !name.contains('.') && !name.ends_with('~'))
            .map(|name| folder.join(name))
            .collect())
    }
}

/// `@include x`, or `#include x` as of old.
fn include<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let rest = line.trim().strip_prefix(['@', '#'])?.strip_prefix(keyword)?;
    rest.starts_with([' ', '\t']).then(|| rest.trim().trim_matches('"'))
}

fn place(around: &Path, target: &str) -> PathBuf {
    around.parent().unwrap_or(Path::new("/")).join(target)
}

/// A line without the comment at its end. What begins with a number is a user's or a group's, as in `#1000 ALL = ALL`; a `#`
/// within quotes or behind a backslash is itself.
fn uncommented(line: &str) -> &str {
    let (mut quoted, mut before) = (false, ' ');
    for (at, character) in line.char_indices() {
        let rest = &line[at + character.len_utf8()..];
        match character {
            _ if before == '\\' => {}
            '"' => quoted = !quoted,
            '#' if !quoted && !rest.strip_prefix('-').unwrap_or(rest).starts_with(|c: char| c.is_ascii_digit()) => {
                return &line[..at];
            }
            _ => {}
        }
        before = character;
    }
    line
}

/// Lines with the number of their first; a backslash at the end goes on in the next.
fn logical(text: &str) -> Vec<(u32, String)> {
    let mut found: Vec<(u32, String)> = Vec::new();
    let mut open = false;
    for (line, number) in text.lines().zip(1_u32..) {
        let goes_on = line.ends_with('\\') && uncommented(line) == line;
        let part = line.trim_end_matches('\\');
        match found.last_mut().filter(|_| open) {
            // A line that never ends is cut: what is kept of it is short anyway.
            Some((_, whole)) if whole.len() < 10_000 => whole.push_str(part),
            Some(_) => {}
            None => found.push((number, part.to_owned())),
        }
        open = goes_on;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn includes_are_followed_as_sudo_does() {
        let folder = snapshot(&[
            (
                "etc/sudoers",
                "# why\nDefaults env_reset # tidy\nroot ALL=(ALL:ALL) ALL\nops ALL=\\\n  NOPASSWD: ALL\n@includedir /etc/sudoers.d\n@include more\n#include-not this\n",
            ),
            ("etc/more", "x ALL=ALL\n"),
            ("etc/sudoers.d/010_pi-nopasswd", "pi ALL=(ALL) NOPASSWD: ALL\n"),
            ("etc/sudoers.d/README.txt", "nonsense\n"),
            ("etc/sudoers.d/old~", "nonsense\n"),
        ]);
        let lines = sudo(&Root::new(folder.path())).unwrap();
        let shown: Vec<_> = lines.iter().map(|line| format!("{}:{} {}", line.file, line.line, line.text)).collect();
        assert_eq!(
            shown,
            [
                "/etc/sudoers:2 Defaults env_reset",
                "/etc/sudoers:3 root ALL=(ALL:ALL) ALL",
                "/etc/sudoers:4 ops ALL=  NOPASSWD: ALL",
                "/etc/sudoers.d/010_pi-nopasswd:1 pi ALL=(ALL) NOPASSWD: ALL",
                "/etc/more:1 x ALL=ALL",
            ]
        );
    }

    /// As cvtsudoers(1) of sudo 1.9 reads the same file.
    #[test]
    fn comments_end_lines_and_numbers_are_users() {
        let text = "a ALL=(ALL) ALL\t# NOPASSWD: ALL\n#1000 ALL=(ALL) ALL\n# why \\\nb ALL=(ALL) ALL\n\
                    Defaults badpass_message=\"no #1 here # so\"\nc ALL=(#1001) ALL#end\n#-1 ALL=ALL\n";
        let lines = sudo(&Root::new(snapshot(&[("etc/sudoers", text)]).path())).unwrap();
        let shown: Vec<_> = lines.iter().map(|line| line.text.as_str()).collect();
        let expected = [
            "a ALL=(ALL) ALL",
            "#1000 ALL=(ALL) ALL",
            "b ALL=(ALL) ALL",
            "Defaults badpass_message=\"no #1 here # so\"",
            "c ALL=(#1001) ALL",
            "#-1 ALL=ALL",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn circles_and_missing_files_fail_the_look() {
        let kind = |files| sudo(&Root::new(snapshot(files).path())).unwrap_err().kind;
        assert_eq!(kind(&[("etc/hosts", "")]), FailureKind::NotFound);
        assert_eq!(kind(&[("etc/sudoers", "@include sudoers\n")]), FailureKind::TooLarge);
        assert_eq!(kind(&[("etc/sudoers", "@include gone\n")]), FailureKind::Error);
        assert_eq!(kind(&[("etc/sudoers", &"a ALL=ALL\n".repeat(MAX_LINES + 1))]), FailureKind::TooLarge);
    }
}
