//! The gateway's identity: an Ed25519 key made on the gateway, kept in one file, never leaving it.
//!
//! The file is made once, atomically and readable by its owner only. A file that is there but cannot be read is an error
//! and never replaced: a new key would be a new gateway.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gatepost_evidence::key::SigningKey;

/// The key's file in the state folder.
pub const FILE: &str = "identity.pem";

/// Why there is no identity to sign with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file or its folder.
    #[error("{path}: {source}; the agent needs to read and write its state folder")]
    Io {
        /// Where.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The file is not a key.
    #[error(
        "{path} is not an Ed25519 private key in PEM; restore it from a backup, or move it away to become a new gateway"
    )]
    Malformed {
        /// Where.
        path: PathBuf,
    },
    /// Others may read the key.
    #[error("{path} may be read by others (mode {mode:04o}); run `chmod 600 {path}` and consider the key known")]
    Open {
        /// Where.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
}

/// Makes the state folder, for its owner only.
///
/// # Errors
/// When it cannot be made.
pub fn make_folder(folder: &Path) -> Result<(), IdentityError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| IdentityError::Io { path: folder.to_owned(), source })
}

/// The identity kept in `folder`; made when there is none.
///
/// # Errors
/// When it cannot be read or made, or others may read it.
pub fn load_or_create(folder: &Path) -> Result<SigningKey, IdentityError> {
    make_folder(folder)?;
    let path = folder.join(FILE);
    match load(&path) {
        Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => create(folder, &path),
        result => result,
    }
}

fn load(path: &Path) -> Result<SigningKey, IdentityError> {
    let io = |source| IdentityError::Io { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Open { path: path.to_owned(), mode });
    }
    let pem = fs::read_to_string(path).map_err(io)?;
    SigningKey::from_pem(&pem).map_err(|_| IdentityError::Malformed { path: path.to_owned() })
}

/// Writes the key under another name, syncs, and links it into place: two agents that start at once end up with one key.
fn create(folder: &Path, path: &Path) -> Result<SigningKey, IdentityError> {
    let io = |source| IdentityError::Io { path: path.to_owned(), source };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| IdentityError::Randomness(error.to_string()))?;
    let malformed = |_| IdentityError::Malformed { path: path.to_owned() };
    let pem = SigningKey::from_seed(&seed).and_then(|key| key.to_secret_pem()).map_err(malformed)?;
    let draft = folder.join(format!(".{FILE}.{}", std::process::id()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()));
    let placed = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    });
    let removed = fs::remove_file(&draft);
    placed.and(removed).and_then(|()| File::open(folder)?.sync_all()).map_err(io)?;
    load(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        let first = load_or_create(&state).unwrap();
        assert_eq!(load_or_create(&state).unwrap().public(), first.public());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&state), mode(&state.join(FILE))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_file_that_is_no_key_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, "precious").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(load_or_create(folder.path()), Err(IdentityError::Malformed { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(load_or_create(folder.path()), Err(IdentityError::Open { mode: 0o644, .. })));
    }
}
