//! Faults of disk and clock, by the library `agent/tests/fault/shim.c` that a program is started under.
//!
//! What is to happen stands in a file that the library has mapped, so that a program that runs can be given a full disk or
//! another time. Operations on the disk are counted, so that a fault comes at the same one each time.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow};

/// What is wrong with a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// ENOSPC for what needs more room.
    Full,
    /// EROFS for whoever wants to write.
    ReadOnly,
    /// EIO for writes and syncs.
    Failing,
}

impl Disk {
    fn errno(self) -> i64 {
        match self {
            Self::Failing => 5,
            Self::Full => 28,
            Self::ReadOnly => 30,
        }
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Failing => "failing",
        })
    }
}

/// What happens to a program at its `n`-th operation on the disk, counted from 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// That one operation fails.
    Once(u64, Disk),
    /// It and all after it fail.
    From(u64, Disk),
    /// SIGKILL instead of it.
    Kill(u64),
    /// SIGKILL in the middle of it, if it is a write.
    KillTorn(u64),
}

impl Fault {
    /// Whether the program ends by it.
    #[must_use]
    pub fn kills(self) -> bool {
        matches!(self, Self::Kill(_) | Self::KillTorn(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("a sound disk"),
            Self::Once(at, disk) => write!(f, "a {disk} disk at operation {at} only"),
            Self::From(at, disk) => write!(f, "a {disk} disk from operation {at} on"),
            Self::Kill(at) => write!(f, "SIGKILL before operation {at}"),
            Self::KillTorn(at) => write!(f, "SIGKILL in the middle of operation {at}"),
        }
    }
}

/// The library, built once.
///
/// # Errors
/// When there is no C compiler, or it fails.
pub fn shim() -> Result<&'static Path> {
    static SHIM: OnceLock<Result<(tempfile::TempDir, PathBuf), String>> = OnceLock::new();
    let build = || {
        let folder = tempfile::Builder::new().prefix("gatepost-shim-").tempdir().map_err(|error| error.to_string())?;
        let shim = folder.path().join("fault.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/tests/fault/shim.c");
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&shim).arg(&source).arg("-ldl");
        match cc.status() {
            Ok(status) if status.success() => Ok((folder, shim)),
            Ok(status) => Err(format!("cc ended with {status} on {}", source.display())),
            Err(error) => Err(format!("cc cannot be run: {error}; install it: apt-get install gcc libc6-dev")),
        }
    };
    let built = SHIM.get_or_init(build).as_ref();
    built.map(|(_, shim)| shim.as_path()).map_err(|error| anyhow!("the library for faults was not built: {error}"))
}

/// The file that tells the library what to do: six numbers of eight bytes, `struct control` in C.
pub struct Control {
    path: PathBuf,
    folder: PathBuf,
    file: File,
}

const FAULT: u64 = 8;
const AT: u64 = 16;
const MET: u64 = 40;
const SIZE: u64 = 48;

impl Control {
    /// A new one at `path`, for a program that keeps its files in `folder`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create(path: &Path, folder: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        file.set_len(SIZE)?;
        Ok(Self { path: path.to_owned(), folder: folder.to_owned(), file })
    }

    fn put(&self, offset: u64, value: i64) -> Result<()> {
        Ok(self.file.write_all_at(&value.to_ne_bytes(), offset)?)
    }

    /// Puts the program's wall clock so many seconds ahead of this machine's.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        self.put(0, seconds)
    }

    /// Asks for `fault`, and counts operations anew.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_fault(&self, fault: Fault) -> Result<()> {
        let (kind, at, errno) = match fault {
            Fault::None => (0, 0, 0),
            Fault::Once(at, disk) => (1, at, disk.errno()),
            Fault::From(at, disk) => (2, at, disk.errno()),
            Fault::Kill(at) => (3, at, 0),
            Fault::KillTorn(at) => (4, at, 0),
        };
        // A program that runs must not see half of it.
        self.put(FAULT, 0)?;
        for (offset, value) in (AT..).step_by(8).zip([i64::try_from(at)?, errno, 0, 0]) {
            self.put(offset, value)?;
        }
        self.put(FAULT, kind)
    }

    /// Whether the fault was met.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn met(&self) -> Result<bool> {
        let mut met = [0; 8];
        self.file.read_exact_at(&mut met, MET)?;
        Ok(i64::from_ne_bytes(met) != 0)
    }

    /// Puts `command` under the library.
    ///
    /// # Errors
    /// When that was not built.
    pub fn over(&self, command: &mut Command) -> Result<()> {
        command.env("LD_PRELOAD", shim()?).env("FAULT_CONTROL", &self.path).env("FAULT_FOLDER", &self.folder);
        Ok(())
    }
}
