//! What a snapshot of a host keeps beside its files, and the recorder that makes it on a running machine.
//!
//! The ledger is the file `.gatepost/ledger.json` below the snapshot's root: owners, modes and times by path, the files and
//! folders that could not be read and why, links, and the answers of the running kernel and of helper programs. It is
//! text from someone else, like everything in a snapshot: bounded, and of an odd one nothing is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use gatepost_evidence::check::host_guardrails::FileState;
use gatepost_evidence::look::{Failure, FailureKind};
use serde::{Deserialize, Serialize};

/// Where the ledger lies below a snapshot's root.
pub const FILE: &str = ".gatepost/ledger.json";
/// The most bytes of a ledger.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The most bytes of files that a recorder keeps.
pub const MAX_RECORDED: usize = 128 * 1024 * 1024;

/// Owner, mode and time of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// File type and permission bits, as stat(2) has them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub changed: i64,
}

impl State {
    /// Of what the kernel says.
    #[must_use]
    pub fn of(metadata: &std::fs::Metadata) -> Self {
        Self { mode: metadata.mode(), uid: metadata.uid(), gid: metadata.gid(), changed: metadata.mtime() }
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Whether it is a link.
    #[must_use]
    pub fn is_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.mode & 0o170_000 == 0o100_000
    }

    /// As evidence has it.
    #[must_use]
    pub fn as_evidence(&self, path: &Path) -> FileState {
        FileState {
            path: super::shorten(&path.display().to_string()),
            mode: format!("{:04o}", self.mode & 0o7777),
            uid: self.uid,
            gid: self.gid,
        }
    }
}

/// Why something could not be read, without the path, which may be known by other names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The words after the path.
    pub words: String,
}

impl Refused {
    /// The failure, about `path`.
    #[must_use]
    pub fn about(&self, path: &Path) -> Failure {
        Failure::new(self.kind, format_args!("{}{}", path.display(), self.words))
    }
}

/// What is kept of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It is there, and no more was asked.
    Name,
    /// A folder that was listed.
    Folder,
    /// A file with its content; in a snapshot the content is the file itself.
    File(Vec<u8>),
    /// A file that is larger than what is read.
    TooLarge,
    /// A link.
    Link(PathBuf),
    /// It could not be read.
    Failed(Refused),
}

impl Kept {
    /// What is kept of a failure.
    #[must_use]
    pub fn failed(failure: &Failure) -> Self {
        // A failure's words begin with the path.
        let at = failure.detail.find([':', ' ']).unwrap_or(0);
        Self::Failed(Refused { kind: failure.kind, words: failure.detail[at..].to_owned() })
    }
}

/// The file, as it is written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Written {
    /// What the snapshot is of, for people.
    #[serde(default)]
    pub about: BTreeMap<String, String>,
    /// By path: `mode uid gid changed`, the mode in octal.
    #[serde(default)]
    states: BTreeMap<PathBuf, String>,
    /// Folders that were listed.
    #[serde(default)]
    folders: BTreeSet<PathBuf>,
    /// Things that are there and were not read.
    #[serde(default)]
    names: BTreeSet<PathBuf>,
    /// Files that are larger than what is read.
    #[serde(default)]
    too_large: BTreeSet<PathBuf>,
    /// What could not be read, and why.
    #[serde(default)]
    refused: BTreeMap<PathBuf, Refused>,
    /// Links of `/proc` that lead nowhere in a snapshot.
    #[serde(default)]
    links: BTreeMap<PathBuf, PathBuf>,
    /// Answers of the running kernel and of helper programs.
    #[serde(default)]
    pub answers: BTreeMap<String, Result<String, Failure>>,
    /// What was taken out, in words.
    #[serde(default)]
    pub redacted: Vec<String>,
}

impl Written {
    /// What could not be read, in words.
    #[must_use]
    pub fn refused_words(&self) -> Vec<String> {
        let denied = self.refused.iter().filter(|(_, why)| why.kind != FailureKind::NotFound);
        let files = denied.map(|(path, why)| why.about(path).detail);
        let answers =
            self.answers.iter().filter_map(|(name, answer)| Some(format!("{name}: {}", answer.as_ref().err()?)));
        files.chain(answers).collect()
    }
}

/// What a snapshot keeps beside its files.
#[derive(Debug, Default)]
pub struct Ledger {
    kept: BTreeMap<PathBuf, Kept>,
    states: BTreeMap<PathBuf, State>,
    answers: BTreeMap<String, Result<String, Failure>>,
    /// Why there is none, when there is none.
    odd: Option<Failure>,
}

impl Ledger {
    /// The ledger of the snapshot below `root`; an empty one when it has none.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let path = root.join(FILE);
        let read = || -> Result<Written, Failure> {
            use std::io::Read as _;
            let shown = Path::new("/").join(FILE);
            let metadata = std::fs::symlink_metadata(&path).map_err(|error| crate::files::failure(&shown, &error))?;
            if !metadata.is_file() || metadata.len() > MAX_BYTES {
                let detail = format!("{} is no file of at most {MAX_BYTES} bytes", shown.display());
                return Err(Failure::new(FailureKind::TooLarge, detail));
            }
            let mut bytes = Vec::new();
            let file = std::fs::File::open(&path).map_err(|error| crate::files::failure(&shown, &error))?;
            file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| crate::files::failure(&shown, &error))?;
            serde_json::from_slice(&bytes)
                .map_err(|error| Failure::new(FailureKind::Unparseable, format_args!("{}: {error}", shown.display())))
        };
        match read() {
            Ok(written) => Self::of_written(written),
            Err(failure) => Self { odd: Some(failure), ..Self::default() },
        }
    }

    fn of_written(written: Written) -> Self {
        let mut ledger = Self { answers: written.answers, ..Self::default() };
        let kept = &mut ledger.kept;
        written.names.into_iter().for_each(|path| drop(kept.insert(path, Kept::Name)));
        written.folders.into_iter().for_each(|path| drop(kept.insert(path, Kept::Folder)));
        written.too_large.into_iter().for_each(|path| drop(kept.insert(path, Kept::TooLarge)));
        written.links.into_iter().for_each(|(path, link)| drop(kept.insert(path, Kept::Link(link))));
        written.refused.into_iter().for_each(|(path, why)| drop(kept.insert(path, Kept::Failed(why))));
        for (path, text) in written.states {
            let mut words = text.split(' ');
            let mut next = || words.next().unwrap_or_default();
            let (mode, uid, gid, changed) = (next(), next(), next(), next());
            let parsed = (u32::from_str_radix(mode, 8), uid.parse(), gid.parse(), changed.parse());
            if let (Ok(mode), Ok(uid), Ok(gid), Ok(changed)) = parsed {
                ledger.states.insert(path, State { mode, uid, gid, changed });
            }
        }
        ledger
    }

    /// What is kept of `path`.
    #[must_use]
    pub fn of(&self, path: &Path) -> Option<&Kept> {
        self.kept.get(path).or_else(|| self.states.contains_key(path).then_some(&Kept::Name))
    }

    /// Owner, mode and time of change of `path`.
    #[must_use]
    pub fn state(&self, path: &Path) -> Option<State> {
        self.states.get(path).copied()
    }

    /// The names in the folder `path` that the ledger knows.
    #[must_use]
    pub fn names(&self, folder: &Path) -> BTreeSet<String> {
        fn below<'a, T>(map: &'a BTreeMap<PathBuf, T>, folder: &'a Path) -> impl Iterator<Item = String> + 'a {
            let start = folder.join("");
            map.range(start..).map(|(path, _)| path).take_while(move |path| path.starts_with(folder)).filter_map(
                move |path| {
                    let name = path.strip_prefix(folder).ok()?.components().next()?;
                    Some(name.as_os_str().to_string_lossy().into_owned())
                },
            )
        }
        let there = |name: &String| !matches!(self.kept.get(&folder.join(name)), Some(Kept::Failed(why)) if why.kind == FailureKind::NotFound);
        below(&self.kept, folder).chain(below(&self.states, folder)).filter(there).collect()
    }

    /// What the machine answered.
    ///
    /// # Errors
    /// What it failed with, or that the snapshot does not hold the answer.
    pub fn answer(&self, name: &str) -> Result<String, Failure> {
        self.answers.get(name).cloned().unwrap_or_else(|| {
            let why = self.odd.as_ref().filter(|odd| odd.kind != FailureKind::NotFound);
            let why = why.map(|odd| format!(" ({odd})")).unwrap_or_default();
            let detail = format!("only the running machine can say ({name}), and the snapshot does not hold it{why}");
            Err(Failure::new(FailureKind::Error, detail))
        })
    }
}

/// Takes down what is read of a running machine.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Recording>);

/// What was taken down.
#[derive(Debug, Default)]
pub struct Recording {
    kept: BTreeMap<PathBuf, Kept>,
    states: BTreeMap<PathBuf, State>,
    answers: BTreeMap<String, Result<String, Failure>>,
    bytes: usize,
}

impl Recorder {
    fn locked(&self) -> std::sync::MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was read, or could not be. What says more replaces what said less.
    pub fn record(&self, path: &Path, kept: Kept) {
        // What is not there is not there in the snapshot either.
        if matches!(&kept, Kept::Failed(why) if why.kind == FailureKind::NotFound) {
            return;
        }
        let mut recording = self.locked();
        let rank = |kept: &Kept| match kept {
            Kept::Name => 0,
            Kept::Folder | Kept::Link(_) => 1,
            Kept::Failed(_) | Kept::TooLarge => 2,
            Kept::File(bytes) => 3 + bytes.len(),
        };
        if recording.kept.get(path).is_some_and(|known| rank(known) >= rank(&kept)) {
            return;
        }
        let kept = match kept {
            Kept::File(bytes) if recording.bytes + bytes.len() > MAX_RECORDED => Kept::TooLarge,
            Kept::File(bytes) => {
                recording.bytes += bytes.len();
                Kept::File(bytes)
            }
            kept => kept,
        };
        recording.kept.insert(path.to_owned(), kept);
    }

    /// Owner, mode and time of change were seen.
    pub fn state(&self, path: &Path, state: State) {
        self.locked().states.insert(path.to_owned(), state);
    }

    /// A question was answered.
    pub fn answer(&self, name: &str, answer: &Result<String, Failure>) {
        self.locked().answers.insert(name.to_owned(), answer.clone());
    }

    /// The ledger of what was taken down, and the files by path. Nothing is taken out yet.
    #[must_use]
    pub fn finish(&self) -> (Written, BTreeMap<PathBuf, Vec<u8>>) {
        let recording = std::mem::take(&mut *self.locked());
        let mut written = Written { answers: recording.answers, ..Written::default() };
        let mut files = BTreeMap::new();
        for (path, state) in recording.states {
            let State { mode, uid, gid, changed } = state;
            written.states.insert(path, format!("{mode:o} {uid} {gid} {changed}"));
        }
        for (path, kept) in recording.kept {
            match kept {
                Kept::Name => drop(written.names.insert(path)),
                Kept::Folder => drop(written.folders.insert(path)),
                Kept::File(bytes) => drop(files.insert(path, bytes)),
                Kept::TooLarge => drop(written.too_large.insert(path)),
                Kept::Link(link) => drop(written.links.insert(path, link)),
                Kept::Failed(why) => drop(written.refused.insert(path, why)),
            }
        }
        (written, files)
    }
}
