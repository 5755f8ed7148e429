//! The folder a host is read below: `/`, or a snapshot of another machine.
//!
//! Below a snapshot, symbolic links are followed as the snapshot's own system would follow them, so that an absolute link
//! never leads to the machine the agent runs on. Only regular files are read, at most [`MAX_FILE_BYTES`] of them, and a
//! FIFO in a file's place is refused without waiting for a writer. Failures name paths as the host knows them.
//!
//! What a folder of files cannot hold (owners, modes and times, files that could not be read, answers of the running kernel
//! and of helper programs) a snapshot keeps in [`ledger`](super::ledger); it is asked before the files themselves. On a
//! running machine everything that is read can be recorded for such a snapshot.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use gatepost_evidence::look::{Failure, FailureKind};
use nix::fcntl::OFlag;

use super::ledger::{Kept, Ledger, Recorder, State};
use crate::files::{self, MAX_FILE_BYTES};

/// The most entries of a folder that are listed.
pub const MAX_ENTRIES: usize = 10_000;
/// The most bytes that [`Root::lines`] goes through.
pub const MAX_STREAM_BYTES: u64 = 16 * 1024 * 1024;
/// Links that are followed before a path counts as a loop, as Linux does it (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The folder a host is read below.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
    ledger: Option<Arc<Ledger>>,
    recorder: Option<Arc<Recorder>>,
}

impl Root {
    /// The host whose root folder is `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let ledger = (path != Path::new("/")).then(|| Arc::new(Ledger::read(path)));
        Self { path: path.to_owned(), ledger, recorder: None }
    }

    /// The same host; everything that is read of it goes to `recorder`, too.
    #[must_use]
    pub fn recorded(self, recorder: Arc<Recorder>) -> Self {
        Self { recorder: Some(recorder), ..self }
    }

    /// Whether this is the running machine, so that the kernel may be asked as well.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.path == Path::new("/")
    }

    fn record(&self, path: &Path, kept: impl FnOnce() -> Kept) {
        if let Some(recorder) = &self.recorder {
            recorder.record(path, kept());
        }
    }

    fn kept(&self, path: &Path) -> Option<&Kept> {
        self.ledger.as_ref()?.of(path)
    }

    /// What the running machine answers to a question that is no file, or what it answered when the snapshot was made.
    ///
    /// # Errors
    /// What `ask` failed with, then or now, or that the snapshot does not hold the answer.
    pub fn answer(&self, name: &str, ask: impl FnOnce() -> Result<String, Failure>) -> Result<String, Failure> {
        let answer = match &self.ledger {
            Some(ledger) => ledger.answer(name),
            None => ask(),
        };
        if let Some(recorder) = &self.recorder {
            recorder.answer(name, &answer);
        }
        answer
    }

    /// Where the host's `path` is on this machine.
    ///
    /// # Errors
    /// When its links form a loop.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, Failure> {
        if self.is_live() {
            return Ok(path.to_owned());
        }
        Ok(self.path.join(self.place(path)?))
    }

    /// The host's `path` without links, relative to the root.
    fn place(&self, path: &Path) -> Result<PathBuf, Failure> {
        let mut resolved = PathBuf::new();
        let mut rest: VecDeque<OsString> = names(path).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                resolved.pop();
                continue;
            }
            let known = match self.kept(&Path::new("/").join(&resolved).join(&name)) {
                Some(Kept::Link(link)) => Some(link.clone()),
                _ => std::fs::read_link(self.path.join(&resolved).join(&name)).ok(),
            };
            let Some(link) = known else {
                resolved.push(name);
                continue;
            };
            links += 1;
            if links > MAX_LINKS {
                let detail = format!("{}: too many levels of symbolic links", path.display());
                return Err(Failure::new(FailureKind::Error, detail));
            }
            if link.is_absolute() {
                resolved.clear();
            }
            for name in names(&link).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(name);
            }
        }
        Ok(resolved)
    }

    /// The links on the way to `path` and what they lead to, for the recorder: without them a snapshot would not find it.
    fn record_links(&self, path: &Path) {
        let Some(recorder) = &self.recorder else { return };
        let mut resolved = PathBuf::from("/");
        let mut rest: VecDeque<OsString> = names(path).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                resolved.pop();
                continue;
            }
            resolved.push(&name);
            let Ok(link) = std::fs::read_link(&resolved) else { continue };
            recorder.record(&resolved, Kept::Link(link.clone()));
            links += 1;
            if links > MAX_LINKS {
                return;
            }
            resolved.pop();
            if link.is_absolute() {
                resolved = PathBuf::from("/");
            }
            for name in names(&link).collect::<Vec<_>>().into_iter().rev() {
                rest.push_front(name);
            }
        }
    }

    /// The place of `path` that the ledger and the recorder know it by.
    fn known_as(&self, path: &Path) -> Result<PathBuf, Failure> {
        if self.ledger.is_some() {
            return Ok(Path::new("/").join(self.place(path)?));
        }
        if self.recorder.is_some() {
            self.record_links(path);
            return Ok(std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        }
        Ok(path.to_owned())
    }

    /// Opens the regular file `path`.
    ///
    /// # Errors
    /// When it can not be opened or is something else, such as a FIFO.
    fn open(&self, path: &Path) -> Result<File, Failure> {
        let real = self.resolve(path)?;
        let file = File::options()
            .read(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits())
            .open(real)
            .map_err(|error| files::failure(path, &error))?;
        let metadata = file.metadata().map_err(|error| files::failure(path, &error))?;
        if !metadata.is_file() {
            return Err(Failure::new(FailureKind::Error, format_args!("{} is not a regular file", path.display())));
        }
        Ok(file)
    }

    /// The failure that the ledger knows of, if it does.
    fn refused(&self, path: &Path, known: &Path, limit: u64) -> Result<(), Failure> {
        let failure = match self.kept(known) {
            Some(Kept::Failed(failure)) => failure.about(path),
            Some(Kept::TooLarge) => too_large(path, limit),
            _ => return Ok(()),
        };
        self.record(known, || match failure.kind {
            FailureKind::TooLarge => Kept::TooLarge,
            _ => Kept::failed(&failure),
        });
        Err(failure)
    }

    /// The content of `path`, at most `limit` bytes of it; the second is whether there is more.
    fn bytes(&self, path: &Path, limit: u64) -> Result<(Vec<u8>, bool), Failure> {
        let known = self.known_as(path)?;
        self.refused(path, &known, limit)?;
        let read = || {
            let mut bytes = Vec::new();
            let file = self.open(path)?;
            file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| files::failure(path, &error))?;
            let more = bytes.len() as u64 > limit;
            bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            Ok((bytes, more))
        };
        let result = read();
        self.record(&known, || match &result {
            Ok((_, true)) if limit >= MAX_FILE_BYTES => Kept::TooLarge,
            Ok((bytes, _)) => Kept::File(bytes.clone()),
            Err(failure) => Kept::failed(failure),
        });
        result
    }

    /// The content of `path`, at most [`MAX_FILE_BYTES`].
    ///
    /// # Errors
    /// When it can not be opened, is something else than a file, or is too large.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, Failure> {
        match self.bytes(path, MAX_FILE_BYTES)? {
            (bytes, false) => Ok(bytes),
            (_, true) => Err(too_large(path, MAX_FILE_BYTES)),
        }
    }

    /// The first `limit` bytes of `path`, or all that there is.
    ///
    /// # Errors
    /// When it can not be opened or is something else than a file.
    pub fn beginning(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Failure> {
        Ok(self.bytes(path, limit.min(MAX_FILE_BYTES - 1))?.0)
    }

    /// The content of `path` as text, at most [`MAX_FILE_BYTES`]; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Root::read`].
    pub fn read_text(&self, path: &Path) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(&self.read(path)?).into_owned())
    }

    /// As [`Root::read_text`], cut short and without white space and zero bytes around it.
    ///
    /// # Errors
    /// As [`Root::read`].
    pub fn word(&self, path: &Path) -> Result<String, Failure> {
        Ok(super::shorten(self.read_text(path)?.trim_matches(|c: char| c.is_whitespace() || c == '\0')))
    }

    /// Gives the lines of `path` to `each`, one at a time, without keeping the file: for tables of `/proc` that grow with
    /// the load. Ends early when `each` refuses.
    ///
    /// # Errors
    /// As [`Root::read`], when there are more than [`MAX_STREAM_BYTES`], or what `each` said.
    pub fn lines(&self, path: &Path, each: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        self.lines_of(path, MAX_STREAM_BYTES, each)
    }

    /// As [`Root::lines`], with another bound.
    ///
    /// # Errors
    /// As [`Root::lines`].
    pub fn lines_of(
        &self,
        path: &Path,
        limit: u64,
        mut each: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let known = self.known_as(path)?;
        self.refused(path, &known, limit)?;
        if self.recorder.is_some() {
            // Only while recording is the whole file kept.
            let (bytes, more) = self.bytes(path, limit)?;
            if more {
                return Err(too_large(path, limit));
            }
            return each_line(path, limit, &bytes[..], &mut each);
        }
        each_line(path, limit, self.open(path)?.take(limit + 1), &mut each)
    }

    /// The names in the folder `path`, sorted; those that are not UTF-8 have their bytes replaced.
    ///
    /// # Errors
    /// When it can not be listed or has more than [`MAX_ENTRIES`].
    pub fn list(&self, path: &Path) -> Result<Vec<String>, Failure> {
        let known = self.known_as(path)?;
        self.refused(path, &known, MAX_FILE_BYTES)?;
        let result = self.names_in(path, &known);
        self.record(&known, || match &result {
            Ok(_) => Kept::Folder,
            Err(failure) => Kept::failed(failure),
        });
        if let (Ok(names), Some(recorder)) = (&result, &self.recorder) {
            names.iter().for_each(|name| recorder.record(&known.join(name), Kept::Name));
        }
        Ok(result?.into_iter().collect())
    }

    fn names_in(&self, path: &Path, known: &Path) -> Result<BTreeSet<String>, Failure> {
        let mut found = self.ledger.as_ref().map(|ledger| ledger.names(known)).unwrap_or_default();
        match std::fs::read_dir(self.resolve(path)?) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(|error| files::failure(path, &error))?;
                    if found.len() == MAX_ENTRIES {
                        let detail = format!("{} has more than {MAX_ENTRIES} entries", path.display());
                        return Err(Failure::new(FailureKind::TooLarge, detail));
                    }
                    found.insert(entry.file_name().to_string_lossy().into_owned());
                }
            }
            // A snapshot need not have a folder for what only its ledger names.
            Err(_) if !found.is_empty() || matches!(self.kept(known), Some(Kept::Folder)) => {}
            Err(error) => return Err(files::failure(path, &error)),
        }
        Ok(found)
    }

    /// Whether there is anything at `path`, links followed.
    ///
    /// # Errors
    /// When that can not be said.
    pub fn exists(&self, path: &Path) -> Result<bool, Failure> {
        let known = self.known_as(path)?;
        match self.kept(&known) {
            Some(Kept::Failed(failure)) if failure.kind == FailureKind::Denied => {}
            Some(_) => {
                self.record(&known, || Kept::Name);
                return Ok(true);
            }
            None => {}
        }
        match std::fs::metadata(self.resolve(path)?) {
            Ok(_) => {
                self.record(&known, || Kept::Name);
                Ok(true)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => {
                let failure = files::failure(path, &error);
                self.record(&known, || Kept::failed(&failure));
                Err(failure)
            }
        }
    }

    /// Owner, mode and time of change of `path`, links followed. A snapshot knows it from its ledger alone: what the files of
    /// the snapshot are owned by says nothing.
    ///
    /// # Errors
    /// `not_found` when there is nothing, or when the snapshot does not say.
    pub fn state(&self, path: &Path) -> Result<State, Failure> {
        let known = self.known_as(path)?;
        let result = match &self.ledger {
            Some(ledger) => self.state_kept(path, &known, ledger),
            None => std::fs::metadata(path).map(|metadata| State::of(&metadata)).map_err(|e| files::failure(path, &e)),
        };
        match &result {
            Ok(state) => self.record_state(&known, *state),
            Err(failure) if failure.kind == FailureKind::Denied => self.record(&known, || Kept::failed(failure)),
            Err(_) => {}
        }
        result
    }

    fn record_state(&self, path: &Path, state: State) {
        if let Some(recorder) = &self.recorder {
            recorder.state(path, state);
        }
    }

    fn state_kept(&self, path: &Path, known: &Path, ledger: &Ledger) -> Result<State, Failure> {
        match (ledger.state(known), ledger.of(known)) {
            (Some(state), _) => Ok(state),
            (None, Some(Kept::Failed(failure))) => Err(failure.about(path)),
            _ if self.exists(path)? => {
                let detail = format!("the snapshot does not say who owns {}", path.display());
                Err(Failure::new(FailureKind::Error, detail))
            }
            _ => {
                let detail = format!("{}: No such file or directory (os error 2)", path.display());
                Err(Failure::new(FailureKind::NotFound, detail))
            }
        }
    }

    /// As [`Root::state`], of a link itself.
    ///
    /// # Errors
    /// As [`Root::state`].
    pub fn link_state(&self, path: &Path) -> Result<State, Failure> {
        let state = match &self.ledger {
            Some(ledger) => ledger.state(path).ok_or_else(|| {
                Failure::new(FailureKind::NotFound, format_args!("the snapshot does not know {}", path.display()))
            })?,
            None => State::of(&std::fs::symlink_metadata(path).map_err(|error| files::failure(path, &error))?),
        };
        self.record_state(path, state);
        Ok(state)
    }

    /// Where the link `path` leads.
    ///
    /// # Errors
    /// When it is none, or can not be read.
    pub fn link(&self, path: &Path) -> Result<PathBuf, Failure> {
        if let Some(Kept::Link(link)) = self.kept(path) {
            self.record(path, || Kept::Link(link.clone()));
            return Ok(link.clone());
        }
        let at = match (path.parent(), path.file_name()) {
            (Some(parent), Some(name)) => self.resolve(parent)?.join(name),
            _ => self.resolve(path)?,
        };
        let link = std::fs::read_link(at).map_err(|error| files::failure(path, &error))?;
        self.record(path, || Kept::Link(link.clone()));
        Ok(link)
    }
}

fn each_line(
    path: &Path,
    limit: u64,
    source: impl Read,
    each: &mut impl FnMut(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = BufReader::new(source);
    let mut line = Vec::new();
    let mut bytes = 0;
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|error| files::failure(path, &error))?;
        if read == 0 {
            return Ok(());
        }
        bytes += read as u64;
        if bytes > limit {
            return Err(too_large(path, limit));
        }
        each(String::from_utf8_lossy(&line).trim_end())?;
    }
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

fn too_large(path: &Path, limit: u64) -> Failure {
    Failure::new(FailureKind::TooLarge, format_args!("{} has more than {limit} bytes", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_never_lead_out_of_a_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        std::fs::create_dir_all(folder.path().join("etc")).unwrap();
        std::fs::create_dir_all(folder.path().join("usr/lib")).unwrap();
        std::fs::write(folder.path().join("usr/lib/os-release"), "ID=snapshot").unwrap();
        symlink("../usr/lib/os-release", folder.path().join("etc/relative")).unwrap();
        symlink("/usr/lib/os-release", folder.path().join("etc/absolute")).unwrap();
        symlink("../../../../../../../../../../etc/passwd", folder.path().join("etc/climbing")).unwrap();
        symlink("/etc/loop", folder.path().join("etc/loop")).unwrap();
        assert_eq!(root.read_text(Path::new("/etc/relative")).unwrap(), "ID=snapshot");
        assert_eq!(root.read_text(Path::new("/etc/absolute")).unwrap(), "ID=snapshot");
        assert_eq!(root.read_text(Path::new("/etc/climbing")).unwrap_err().kind, FailureKind::NotFound);
        let looped = root.read_text(Path::new("/etc/loop")).unwrap_err();
        assert!(looped.detail.contains("/etc/loop: too many levels"), "{looped}");
    }

    #[test]
    fn a_fifo_a_folder_and_a_huge_file_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        nix::unistd::mkfifo(&folder.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let huge = File::create(folder.path().join("huge")).unwrap();
        huge.set_len(100 * 1024 * 1024).unwrap();
        let refusal = |path: &str| root.read_text(Path::new(path)).unwrap_err();
        assert_eq!(refusal("/fifo").detail, "/fifo is not a regular file");
        assert_eq!(refusal("/").kind, FailureKind::Error);
        assert_eq!(refusal("/huge").kind, FailureKind::TooLarge);
        let lines = root.lines(Path::new("/huge"), |_| Ok(()));
        assert_eq!(lines.unwrap_err().kind, FailureKind::TooLarge);
    }
}
