//! Which tests name a control.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use gatepost_rules::pack::Pack;

use super::repository;

/// Folders and files with tests against real things and with what they expect.
const PLACES: &[&str] =
    &["agent/tests", "tests/tests", "tests/src/agreement/weakened.rs", "fixtures/hosts", "fixtures/certificates"];
/// How the names of lists begin that say what a test leaves out or does not see, which proves none of it.
const LEFT_OUT: [&str; 3] = ["const NOT_", "const UNKNOWN", "const NEEDS"];

/// Files of tests by path in the repository, with what they say.
pub struct Proofs(BTreeMap<String, String>);

impl Proofs {
    /// Reads every test there is.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read() -> Result<Self> {
        let mut files = BTreeMap::new();
        for place in PLACES.iter().map(|place| repository().join(place)) {
            let mut found = Vec::new();
            match place.is_file() {
                true => found.push(place),
                false => walk(&place, 0, &mut found)?,
            }
            for file in found {
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                let name = file.strip_prefix(repository()).unwrap_or(&file).display().to_string();
                files.insert(name, without_lists(&text));
            }
        }
        Ok(Self(files))
    }

    /// The files that name the control `check`.`finding`: whole, or by its last part where that alone says which is meant.
    pub fn of<'s>(&'s self, check: &str, finding: &str) -> impl Iterator<Item = &'s str> {
        let whole = format!("{check}.{finding}");
        let end = format!(".{finding}");
        let alone = Pack::builtin().controls().iter().filter(|control| control.key.ends_with(&end)).count() == 1;
        let (check, finding) = (check.to_owned(), finding.to_owned());
        self.0
            .iter()
            .filter(move |(name, text)| match name.ends_with("findings.txt") {
                // A host's findings, one in each line.
                true => check == "host_guardrails" && lists(text, &finding),
                false => names(text, &whole) || ((alone || text.contains(&check)) && quotes(text, &finding)),
            })
            .map(|(name, _)| name.as_str())
    }
}

/// `text` without its lists of what is left out.
fn without_lists(text: &str) -> String {
    let mut kept = String::new();
    let mut within = false;
    for line in text.lines() {
        let a_list = line.contains(": [") || line.contains(": &[");
        within |= a_list && LEFT_OUT.iter().any(|begin| line.starts_with(begin));
        if !within {
            kept.push_str(line);
            kept.push('\n');
        }
        within &= !line.ends_with("];");
    }
    kept
}

/// Whether a line of `text` is `word`, alone or with a subject behind it.
fn lists(text: &str, word: &str) -> bool {
    text.lines().any(|line| line.split('[').next() == Some(word))
}

/// Whether `text` has `key` as a whole, not as the beginning of a longer one.
fn names(text: &str, key: &str) -> bool {
    text.match_indices(key)
        .any(|(at, _)| !text[at + key.len()..].starts_with(|c: char| c == '_' || c.is_alphanumeric()))
}

/// Whether `text` has `word` in quotes, alone or with a subject behind it.
fn quotes(text: &str, word: &str) -> bool {
    [format!("\"{word}\""), format!("\"{word}["), format!(".{word}\"")].iter().any(|quoted| text.contains(quoted))
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let expectation = path.file_stem().is_some_and(|stem| stem == "expected" || stem == "findings");
        let wanted = path
            .extension()
            .is_some_and(|end| end == "rs" || (end == "toml" || end == "json" || end == "txt") && expectation);
        if kind.is_dir() && depth < 2 {
            walk(&path, depth + 1, found)?;
        } else if kind.is_file() && wanted {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_is_not_taken_for_one_with_a_longer_name() {
        let text = "\"broker_transport_posture.anonymous_access_exposed\", \"tls13_missing\"";
        assert!(!names(text, "broker_transport_posture.anonymous_access"));
        assert!(names(text, "broker_transport_posture.anonymous_access_exposed"));
        assert!(quotes(text, "tls13_missing") && !quotes(text, "tls13"));
        assert!(lists("hot\ncard_worn[mmcblk0]\n", "card_worn") && !lists("hotter\n", "hot"));
    }

    #[test]
    fn what_a_test_leaves_out_it_does_not_prove() {
        let text = "/// Not here.\nconst NOT_APPLICABLE: [&str; 1] = [\"hot\"];\nlet found = [\"cold\"];";
        assert_eq!(without_lists(text), "/// Not here.\nlet found = [\"cold\"];\n");
        let other = "const NOT_NEWER: &str = \"x\";\nlet found = [\"hot\"];\n";
        assert_eq!(without_lists(other), other);
    }
}
