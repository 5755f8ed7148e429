//! The spool's files: who may replace them, and how a spool is put into place so that a cut at any moment leaves one.
//!
//! Whoever has the spool open holds a shared lock on its folder; replacing the database takes the exclusive one, so that
//! nobody writes into a file that was moved away. A database is never made under its own name: it is finished beside it and
//! moved. A spool that is to replace a damaged one is first renamed to `spool.db.mended-<time>`; from then on whoever opens
//! the folder carries on from there.

use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::DateTime;
use rusqlite::Connection;

use super::{FILE, SpoolError, schema};

/// How often and how long somebody waits for others who have the spool open.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Companions of SQLite's database file.
const COMPANIONS: [&str; 2] = ["-wal", "-shm"];

/// When a database was moved aside, in its file name.
const STAMP: &str = "%Y%m%dT%H%M%S";

/// The folder of a spool, locked.
pub(super) struct Place {
    folder: PathBuf,
    lock: File,
    /// Whether the lock is held so that nobody else can have the spool open.
    alone: Cell<bool>,
}

impl Place {
    /// Locks the folder against replacement of what is in it; the first one has it alone until it shares it.
    pub(super) fn lock(folder: &Path) -> Result<Self, SpoolError> {
        let wrong = |source| SpoolError::Files { path: folder.to_owned(), source };
        let lock = File::open(folder).map_err(wrong)?;
        let alone = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => lock.lock_shared().map(|()| false).map_err(wrong)?,
            Err(TryLockError::Error(source)) => return Err(wrong(source)),
        };
        Ok(Self { folder: folder.to_owned(), lock, alone: Cell::new(alone) })
    }

    /// Whether nobody else can have the spool open.
    pub(super) fn is_alone(&self) -> bool {
        self.alone.get()
    }

    /// Lets others have the spool open, too.
    pub(super) fn share(&self) -> Result<(), SpoolError> {
        self.alone.set(false);
        self.lock.lock_shared().map_err(|source| SpoolError::Files { path: self.folder.clone(), source })
    }

    /// The database file.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// Runs `change` while nobody else has the spool open.
    pub(super) fn exclusively<T>(&self, change: impl FnOnce() -> Result<T, SpoolError>) -> Result<T, SpoolError> {
        if self.is_alone() {
            return change();
        }
        let wrong = |source| SpoolError::Files { path: self.folder.clone(), source };
        for _ in 0..TRIES {
            match self.lock.try_lock() {
                Ok(()) => {
                    let result = change();
                    self.lock.lock_shared().map_err(wrong)?;
                    return result;
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(PAUSE),
                Err(TryLockError::Error(source)) => return Err(wrong(source)),
            }
        }
        self.lock.lock_shared().map_err(wrong)?;
        Err(SpoolError::Busy { path: self.file() })
    }

    /// Puts a finished replacement into place, if one was left, and makes a spool if there is none.
    pub(super) fn prepare(&self) -> Result<(), SpoolError> {
        if self.mended()?.is_none() && self.exists()? {
            return Ok(());
        }
        self.exclusively(|| {
            self.put_into_place()?;
            if self.exists()? {
                return Ok(());
            }
            let draft = self.draft()?;
            self.rename(&draft, &self.file())?;
            self.sync()
        })
    }

    fn exists(&self) -> Result<bool, SpoolError> {
        let file = self.file();
        file.try_exists().map_err(|source| SpoolError::Files { path: file, source })
    }

    /// An empty spool under another name.
    pub(super) fn draft(&self) -> Result<PathBuf, SpoolError> {
        let draft = self.folder.join(format!("{FILE}.new"));
        for suffix in ["", "-wal", "-shm"] {
            remove(&with_suffix(&draft, suffix))?;
        }
        let at = |source| SpoolError::Database { path: draft.clone(), source };
        let connection = Connection::open(&draft).map_err(at)?;
        schema::create(&connection).map_err(at)?;
        close(connection, &draft)?;
        Ok(draft)
    }

    /// Where a copy of a damaged database is looked into; there is none.
    pub(super) fn copy(&self) -> Result<PathBuf, SpoolError> {
        let copy = self.folder.join(format!("{FILE}.copy"));
        self.let_go(&copy)?;
        Ok(copy)
    }

    /// Where a database that was found damaged at this time is kept.
    pub(super) fn aside(&self, at: jiff::Timestamp) -> PathBuf {
        let stamp = at.strftime(STAMP);
        let name = |n: u32| match n {
            0 => self.folder.join(format!("{FILE}.damaged-{stamp}")),
            n => self.folder.join(format!("{FILE}.damaged-{stamp}-{n}")),
        };
        (0..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0))
    }

    /// Which damaged databases go when this one is kept: all but the first, which is nearest to what happened, and the
    /// newest two, this one among them.
    pub(super) fn too_many(&self, aside: &Path) -> Result<Vec<PathBuf>, SpoolError> {
        let wrong = |source| SpoolError::Files { path: self.folder.clone(), source };
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if let Some(age) = path.file_name().and_then(|name| name.to_str()).and_then(age)
                && path != aside
            {
                kept.push((age, path));
            }
        }
        kept.sort();
        let between = kept.len().saturating_sub(1);
        Ok(kept.into_iter().take(between).skip(1).map(|(_, path)| path).collect())
    }

    /// Removes a database that was kept.
    pub(super) fn let_go(&self, kept: &Path) -> Result<(), SpoolError> {
        for suffix in COMPANIONS {
            remove(&with_suffix(kept, suffix))?;
        }
        remove(kept)
    }

    /// Declares `draft` to be the spool from now on; the one that was is kept at `aside`. Only for whom is
    /// [`Place::exclusively`] there.
    pub(super) fn replace(&self, draft: &Path, aside: &Path) -> Result<(), SpoolError> {
        let name = aside.file_name().unwrap_or_default().to_string_lossy().replace(".damaged-", ".mended-");
        self.rename(draft, &self.folder.join(name))?;
        self.sync()?;
        self.put_into_place()
    }

    /// The replacement that waits to be put into place.
    fn mended(&self) -> Result<Option<PathBuf>, SpoolError> {
        replacement(&self.folder).map_err(|source| SpoolError::Files { path: self.folder.clone(), source })
    }

    fn put_into_place(&self) -> Result<(), SpoolError> {
        let Some(mended) = self.mended()? else { return Ok(()) };
        let name = mended.file_name().unwrap_or_default().to_string_lossy().replace(".mended-", ".damaged-");
        let (file, aside) = (self.file(), self.folder.join(name));
        // The log goes first and the database last: a database without its log could pass for a sound older one, but as long
        // as the replacement has not its place, nobody opens it.
        for suffix in COMPANIONS {
            self.rename_if_there(&with_suffix(&file, suffix), &with_suffix(&aside, suffix))?;
        }
        self.rename_if_there(&file, &aside)?;
        self.sync()?;
        self.rename(&mended, &file)?;
        self.sync()
    }

    fn rename_if_there(&self, from: &Path, to: &Path) -> Result<(), SpoolError> {
        match fs::rename(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| SpoolError::Files { path: from.to_owned(), source }),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), SpoolError> {
        fs::rename(from, to).map_err(|source| SpoolError::Files { path: from.to_owned(), source })
    }

    fn sync(&self) -> Result<(), SpoolError> {
        self.lock.sync_all().map_err(|source| SpoolError::Files { path: self.folder.clone(), source })
    }
}

/// When the damaged database with this file name was moved aside, and which one of that second it is.
fn age(name: &str) -> Option<(DateTime, u32)> {
    let stamp = name.strip_prefix(FILE)?.strip_prefix(".damaged-")?;
    let (time, number) = stamp.split_once('-').unwrap_or((stamp, "0"));
    Some((DateTime::strptime(STAMP, time).ok()?, number.parse().ok()?))
}

/// The replacement in `folder` that waits to be put into place.
pub(super) fn replacement(folder: &Path) -> io::Result<Option<PathBuf>> {
    let prefix = format!("{FILE}.mended-");
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // The draft was closed before it got this name; whatever SQLite left beside it is not it.
        if name
            .to_str()
            .is_some_and(|name| name.starts_with(&prefix) && !name.ends_with("-wal") && !name.ends_with("-shm"))
        {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

/// Closes a database so that it is whole without its log.
pub(super) fn close(connection: Connection, path: &Path) -> Result<(), SpoolError> {
    let at = |source| SpoolError::Database { path: path.to_owned(), source };
    let (busy, _, _): (u32, i64, i64) = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(at)?;
    if busy != 0 {
        return Err(SpoolError::Busy { path: path.to_owned() });
    }
    connection.close().map_err(|(_, source)| at(source))?;
    // Closing the last connection has removed the log; if that failed, there is nothing in it any more.
    COMPANIONS.iter().try_for_each(|suffix| remove(&with_suffix(path, suffix)))?;
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|source| SpoolError::Files { path: path.to_owned(), source })
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| SpoolError::Files { path: path.to_owned(), source }),
    }
}
