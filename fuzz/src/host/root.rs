//! A host in memory, in place of `agent/src/probe/host/root.rs`: the same questions, answered from an input.
//!
//! Files are text by path, folders follow from them. A file whose content begins with `->` is a link where a link is asked
//! for; the answers of helper programs stand below `/answers`. Nothing of the machine that fuzzes is read or run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gatepost_evidence::look::{Failure, FailureKind};

use super::ledger::State;
use crate::reader::Reader;

/// Ends a file in an input; no file that is read has one in its middle that matters.
pub const END: u8 = 0;
/// Where the answers of helper programs stand.
const ANSWERS: &str = "/answers";

/// A host.
#[derive(Debug, Clone, Default)]
pub struct Root {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Root {
    /// The host that `data` describes: again and again the number of one of `paths` and what stands there, up to [`END`].
    #[must_use]
    pub fn of(data: &[u8], paths: &[&str]) -> Self {
        let mut files = BTreeMap::new();
        let mut rest = Reader::new(data);
        while !rest.is_empty() {
            let path = paths[usize::from(rest.byte()) % paths.len()];
            let left = rest.rest();
            let end = left.iter().position(|byte| *byte == END).unwrap_or(left.len());
            files.insert(PathBuf::from(path), left[..end].to_vec());
            rest = Reader::new(left.get(end + 1..).unwrap_or_default());
        }
        Self { files }
    }

    /// A host without anything: no folder of the machine that fuzzes is read.
    #[must_use]
    pub fn new(_: &Path) -> Self {
        Self::default()
    }

    /// The host of these files.
    #[must_use]
    pub fn with(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect() }
    }

    fn missing(path: &Path) -> Failure {
        Failure::new(FailureKind::NotFound, format_args!("{}: No such file or directory (os error 2)", path.display()))
    }

    fn bytes(&self, path: &Path) -> Result<&[u8], Failure> {
        self.files.get(path).map(Vec::as_slice).ok_or_else(|| Self::missing(path))
    }

    /// Never: nothing but the input answers.
    #[must_use]
    pub fn is_live(&self) -> bool {
        false
    }

    /// What stands below [`ANSWERS`]; `ask` is not called.
    ///
    /// # Errors
    /// When nothing does.
    pub fn answer(&self, name: &str, _ask: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
        self.read_text(&Path::new(ANSWERS).join(name))
    }

    /// The whole file.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        Ok(self.bytes(path)?.to_vec())
    }

    /// Its beginning.
    ///
    /// # Errors
    /// When there is none.
    pub fn beginning(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
        let bytes = self.bytes(path)?;
        Ok(bytes[..bytes.len().min(usize::try_from(limit).unwrap_or(usize::MAX))].to_vec())
    }

    /// As text.
    ///
    /// # Errors
    /// When there is none.
    pub fn read_text(&self, path: &Path) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(self.bytes(path)?).into_owned())
    }

    /// As one word.
    ///
    /// # Errors
    /// When there is none.
    pub fn word(&self, path: &Path) -> Result<String, Failure> {
        Ok(super::shorten(self.read_text(path)?.trim_matches(|c: char| c.is_whitespace() || c == '\0')))
    }

    /// Line by line.
    ///
    /// # Errors
    /// When there is none, or what `each` said.
    pub fn lines(&self, path: &Path, mut each: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        let bytes = self.bytes(path)?;
        bytes.split_inclusive(|byte| *byte == b'\n').try_for_each(|line| each(String::from_utf8_lossy(line).trim_end()))
    }

    /// Line by line.
    ///
    /// # Errors
    /// As [`Root::lines`].
    pub fn lines_of(
        &self,
        path: &Path,
        _limit: u64,
        each: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.lines(path, each)
    }

    /// The names in a folder.
    ///
    /// # Errors
    /// When nothing is below it.
    pub fn list(&self, path: &Path) -> Result<Vec<String>, Failure> {
        let below = self.files.keys().filter_map(|file| file.strip_prefix(path).ok()?.components().next());
        let names: BTreeSet<String> = below.map(|name| name.as_os_str().to_string_lossy().into_owned()).collect();
        if names.is_empty() { Err(Self::missing(path)) } else { Ok(names.into_iter().collect()) }
    }

    /// Whether anything is there.
    ///
    /// # Errors
    /// Never.
    pub fn exists(&self, path: &Path) -> Result<bool, Failure> {
        Ok(self.files.keys().any(|file| file.starts_with(path)))
    }

    /// An owner, mode and time that follow from what stands there.
    ///
    /// # Errors
    /// When nothing does.
    pub fn state(&self, path: &Path) -> Result<State, Failure> {
        let first = |bytes: &[u8], at: usize| u32::from(bytes.get(at).copied().unwrap_or_default());
        match self.files.get(path) {
            Some(bytes) => Ok(State {
                mode: 0o100_000 | first(bytes, 0) | (first(bytes, 1) & 0o17) << 8,
                uid: first(bytes, 2),
                gid: first(bytes, 3),
                changed: i64::from_le_bytes(std::array::from_fn(|at| bytes.get(4 + at).copied().unwrap_or_default())),
            }),
            None if self.exists(path)? => Ok(State { mode: 0o040_755, uid: 0, gid: 0, changed: 0 }),
            None => Err(Self::missing(path)),
        }
    }

    /// As [`Root::state`].
    ///
    /// # Errors
    /// As [`Root::state`].
    pub fn link_state(&self, path: &Path) -> Result<State, Failure> {
        self.state(path)
    }

    /// Where a link leads.
    ///
    /// # Errors
    /// When it is none.
    pub fn link(&self, path: &Path) -> Result<PathBuf, Failure> {
        let text = self.read_text(path)?;
        let to = text.strip_prefix("->").map(|to| PathBuf::from(to.trim()));
        to.ok_or_else(|| Failure::new(FailureKind::Error, format_args!("{}: Invalid argument", path.display())))
    }
}

/// An input from a host below `fixtures/hosts`: what it has of `paths` from the one with number `first` on, `count` of them, each
/// file with at most `most` bytes.
#[must_use]
pub fn fixture(name: &str, paths: &[&str], (first, count): (usize, usize), most: usize) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/hosts").join(name);
    let mut input = Vec::new();
    for (number, path) in (0_u8..).zip(paths).skip(first).take(count) {
        let Ok(mut bytes) = std::fs::read(folder.join(path.trim_start_matches('/'))) else { continue };
        bytes.retain(|byte| *byte != END);
        if bytes.len() > most {
            bytes.truncate(bytes[..most].iter().rposition(|byte| *byte == b'\n').map_or(most, |at| at + 1));
        }
        input.push(number);
        input.extend(bytes);
        input.push(END);
    }
    input
}

/// An input of these files, which must be among `paths`.
///
/// # Panics
/// When one is not.
#[must_use]
pub fn input(paths: &[&str], files: &[(&str, &str)]) -> Vec<u8> {
    let mut input = Vec::new();
    for (path, text) in files {
        let number = paths.iter().position(|known| known == path).expect("a path of the surface");
        input.push(u8::try_from(number).expect("less than 256 paths"));
        input.extend(text.bytes().filter(|byte| *byte != END));
        input.push(END);
    }
    input
}
