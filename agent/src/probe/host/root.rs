//! The folder a host is read below: `/`, or a snapshot of another machine.
//!
//! Below a snapshot, symbolic links are followed as the snapshot's own system would follow them, so that an absolute link
//! never leads to the machine the agent runs on. Only regular files are read, at most [`MAX_FILE_BYTES`] of them, and a
//! FIFO in a file's place is refused without waiting for a writer. Failures name paths as the host knows them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use gatepost_evidence::look::{Failure, FailureKind};
use nix::fcntl::OFlag;

use crate::files::{self, MAX_FILE_BYTES};

/// The most entries of a folder that are listed.
pub const MAX_ENTRIES: usize = 10_000;
/// The most bytes that [`Root::lines`] goes through.
pub const MAX_STREAM_BYTES: u64 = 16 * 1024 * 1024;
/// Links that are followed before a path counts as a loop, as Linux does it (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The folder a host is read below.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// The host whose root folder is `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Whether this is the running machine, so that the kernel may be asked as well.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where the host's `path` is on this machine.
    ///
    /// # Errors
    /// When its links form a loop.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf, Failure> {
        if self.is_live() {
            return Ok(path.to_owned());
        }
        let mut resolved = PathBuf::new();
        let mut rest: VecDeque<OsString> = names(path).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                resolved.pop();
                continue;
            }
            let Ok(link) = std::fs::read_link(self.0.join(&resolved).join(&name)) else {
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
        Ok(self.0.join(resolved))
    }

    /// Opens the regular file `path`.
    ///
    /// # Errors
    /// When it can not be opened or is something else, such as a FIFO.
    pub fn open(&self, path: &Path) -> Result<File, Failure> {
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

    /// The content of `path` as text, at most [`MAX_FILE_BYTES`]; bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// As [`Root::open`], or when it is too large.
    pub fn read_text(&self, path: &Path) -> Result<String, Failure> {
        let mut bytes = Vec::new();
        let file = self.open(path)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| files::failure(path, &error))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(too_large(path, MAX_FILE_BYTES));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Gives the lines of `path` to `each`, one at a time, without keeping the file: for tables of `/proc` that grow with
    /// the load. Ends early when `each` refuses.
    ///
    /// # Errors
    /// As [`Root::open`], when there are more than [`MAX_STREAM_BYTES`], or what `each` said.
    pub fn lines(&self, path: &Path, mut each: impl FnMut(&str) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut reader = BufReader::new(self.open(path)?.take(MAX_STREAM_BYTES + 1));
        let mut line = Vec::new();
        let mut bytes = 0;
        loop {
            line.clear();
            let read = reader.read_until(b'\n', &mut line).map_err(|error| files::failure(path, &error))?;
            if read == 0 {
                return Ok(());
            }
            bytes += read as u64;
            if bytes > MAX_STREAM_BYTES {
                return Err(too_large(path, MAX_STREAM_BYTES));
            }
            each(String::from_utf8_lossy(&line).trim_end())?;
        }
    }

    /// The names in the folder `path`, sorted; those that are not UTF-8 have their bytes replaced.
    ///
    /// # Errors
    /// When it can not be listed or has more than [`MAX_ENTRIES`].
    pub fn list(&self, path: &Path) -> Result<Vec<String>, Failure> {
        let entries = std::fs::read_dir(self.resolve(path)?).map_err(|error| files::failure(path, &error))?;
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| files::failure(path, &error))?;
            if found.len() == MAX_ENTRIES {
                let detail = format!("{} has more than {MAX_ENTRIES} entries", path.display());
                return Err(Failure::new(FailureKind::TooLarge, detail));
            }
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Whether there is anything at `path`, links followed.
    ///
    /// # Errors
    /// When that can not be said.
    pub fn exists(&self, path: &Path) -> Result<bool, Failure> {
        match std::fs::metadata(self.resolve(path)?) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(files::failure(path, &error)),
        }
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
