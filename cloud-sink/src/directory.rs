//! The sink's folder: its database, its signing key and the operator's token.
//!
//! The folder is made with mode 0700, secrets with mode 0600. A secret is written whole to a temporary file, synced and
//! then linked to its name, so that neither a crash nor a second process leaves half a key or two different ones. A secret
//! that others may read is not used.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gatepost_evidence::key::SigningKey;

use crate::error::SinkError;
use crate::random;
use crate::store::Store;

/// The folder that everything the sink keeps is in.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// Opens the folder at `path`, making it if need be.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> Result<Self, SinkError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|source| SinkError::File { action: "make", path: path.to_owned(), source })?;
        Ok(Self(path.to_owned()))
    }

    /// The database.
    ///
    /// # Errors
    /// When it cannot be opened or is of a later version.
    pub fn store(&self) -> Result<Store, SinkError> {
        let path = self.0.join("sink.db");
        // SQLite would make it readable by everybody; its companions get the mode of the database.
        let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        made.map_err(|source| SinkError::File { action: "open", path: path.clone(), source })?;
        Ok(Store::open(&path)?)
    }

    /// The key that signs receipts, which gateways know already: it is not made anew.
    ///
    /// # Errors
    /// When it is gone, and those of [`Self::signing_key`].
    pub fn kept_signing_key(&self) -> Result<SigningKey, SinkError> {
        let path = self.0.join("sink.key");
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let why =
                    "it is gone, and gateways that enrolled here trust no other. Restore it from a backup".to_owned();
                Err(SinkError::Content { path, why })
            }
            _ => self.signing_key(),
        }
    }

    /// The key that signs receipts, made at the first call.
    ///
    /// # Errors
    /// When the file cannot be read or written or is not a key.
    pub fn signing_key(&self) -> Result<SigningKey, SinkError> {
        let path = self.0.join("sink.key");
        let pem = self.secret_file(&path, || {
            let mut seed = [0; 32];
            getrandom::fill(&mut seed)?;
            let pem = SigningKey::from_seed(&seed).and_then(|key| key.to_secret_pem());
            pem.map_err(|error| SinkError::Content { path: path.clone(), why: error.to_string() })
        })?;
        SigningKey::from_pem(&pem).map_err(|error| SinkError::Content {
            path: path.clone(),
            why: format!("{error}. Restore it from a backup: receipts already given can only be checked with it"),
        })
    }

    /// The operator's bearer token, made at the first call.
    ///
    /// # Errors
    /// When the file cannot be read or written or is not a token.
    pub fn operator_token(&self) -> Result<String, SinkError> {
        let path = self.0.join("operator.token");
        let text = self.secret_file(&path, || Ok(random::secret("gpo_")? + "\n"))?;
        let token = text.trim();
        if token.len() < 32 {
            let why = "it holds no token. Remove it, and a new one is made".to_owned();
            return Err(SinkError::Content { path, why });
        }
        Ok(token.to_owned())
    }

    fn secret_file(&self, path: &Path, make: impl Fn() -> Result<String, SinkError>) -> Result<String, SinkError> {
        match std::fs::metadata(path).map(|file| file.permissions().mode() & 0o777) {
            Ok(mode) if mode & 0o077 == 0 => {}
            Ok(mode) => {
                let why = format!("others may use it (mode {mode:04o}). Make it its owner's alone: chmod 600");
                return Err(SinkError::Content { path: path.to_owned(), why });
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(SinkError::File { action: "look at", path: path.to_owned(), source }),
        }
        match std::fs::read_to_string(path) {
            Ok(text) => return Ok(text),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(source) => return Err(SinkError::File { action: "read", path: path.to_owned(), source }),
        }
        let failed = |source| SinkError::File { action: "write", path: path.to_owned(), source };
        let temporary = self.0.join(random::secret(".new-")?);
        let written = write_synced(&temporary, &make()?, 0o600);
        // Whoever links first wins; the other reads what is there.
        let linked = written.and_then(|()| match std::fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
        let _ = std::fs::remove_file(&temporary);
        linked.and_then(|()| File::open(&self.0)?.sync_all()).map_err(failed)?;
        std::fs::read_to_string(path).map_err(|source| SinkError::File {
            action: "read",
            path: path.to_owned(),
            source,
        })
    }
}

/// Writes `bytes` to a new file at `path`, for its owner only.
///
/// # Errors
/// When it is there already or cannot be written.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SinkError> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes).and_then(|()| file.sync_all())
    };
    write().map_err(|source| SinkError::File { action: "write", path: path.to_owned(), source })
}

/// Writes `text` to `path` so that a reader sees the whole of it or what was there before.
///
/// # Errors
/// When it cannot be written.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), SinkError> {
    let failed = |source| SinkError::File { action: "write", path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(random::secret(".new-")?);
    let temporary = path.with_file_name(name);
    write_synced(&temporary, text, 0o644).and_then(|()| std::fs::rename(&temporary, path)).map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

fn write_synced(path: &Path, text: &str, mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_are_the_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(&folder.path().join("data")).unwrap();
        let key = directory.signing_key().unwrap();
        let token = directory.operator_token().unwrap();
        assert_eq!(directory.signing_key().unwrap().public(), key.public());
        assert_eq!(directory.operator_token().unwrap(), token);
        directory.store().unwrap();
        for name in ["sink.key", "operator.token", "sink.db"] {
            let mode = std::fs::metadata(folder.path().join("data").join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let left: Vec<_> = std::fs::read_dir(folder.path().join("data")).unwrap().collect();
        assert_eq!(left.len(), 3, "temporary files are gone: {left:?}");
    }

    #[test]
    fn a_damaged_secret_is_an_error_and_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        std::fs::write(folder.path().join("sink.key"), "not a key").unwrap();
        std::fs::write(folder.path().join("operator.token"), "\n").unwrap();
        for name in ["sink.key", "operator.token"] {
            let path = folder.path().join(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert!(directory.signing_key().unwrap_err().to_string().contains("backup"));
        assert!(directory.operator_token().unwrap_err().to_string().contains("no token"));
        assert_eq!(std::fs::read_to_string(folder.path().join("sink.key")).unwrap(), "not a key");
    }

    #[test]
    fn a_secret_that_others_may_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path()).unwrap();
        directory.signing_key().unwrap();
        directory.operator_token().unwrap();
        for (name, mode) in [("sink.key", 0o640), ("operator.token", 0o604)] {
            let path = folder.path().join(name);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        assert!(directory.signing_key().unwrap_err().to_string().contains("mode 0640"));
        assert!(directory.operator_token().unwrap_err().to_string().contains("chmod 600"));
    }
}
