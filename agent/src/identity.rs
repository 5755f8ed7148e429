//! The gateway's identity: Ed25519 keys made on the gateway, the one that signs kept in one file, never leaving it.
//!
//! The file is made once, atomically and readable by its owner only. A file that is there but cannot be read is an error
//! and never replaced: a new key would be a new gateway. It holds the private key in PEM and, once the key was rotated, a line
//! of JSON behind it with the first public key and every rotation since: key and ring are replaced together or not at all.
//! How a rotation goes on disk is in [`crate::rotate`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::key::{PublicKey, SigningKey};
use gatepost_evidence::rotation::{Keyring, Rotation, RotationError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The key's file in the state folder.
pub const FILE: &str = "identity.pem";
/// What is to replace it, while a rotation is under way.
pub const NEXT: &str = "identity.pem.next";

/// What ends the private key in its file.
const END: &str = "-----END PRIVATE KEY-----";

/// Who this gateway is: the key that signs now, and how it came to it from the first one.
#[derive(Debug)]
pub struct Identity {
    key: SigningKey,
    ring: Keyring,
    rotations: Vec<Envelope>,
}

/// What stands behind the private key once it is not the first.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Past {
    first_key: PublicKey,
    rotations: Vec<Envelope>,
}

impl From<SigningKey> for Identity {
    fn from(key: SigningKey) -> Self {
        let ring = Keyring::new(key.public().clone());
        Self { key, ring, rotations: Vec::new() }
    }
}

impl Identity {
    /// The gateway: the SHA-256 of its first key, whichever key signs now.
    #[must_use]
    pub fn gateway(&self) -> GatewayId {
        self.ring.gateway()
    }

    /// The key that signs.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Every key of this gateway, in order.
    #[must_use]
    pub fn ring(&self) -> &Keyring {
        &self.ring
    }

    /// Every rotation as it was signed, in order.
    #[must_use]
    pub fn rotations(&self) -> &[Envelope] {
        &self.rotations
    }

    /// This gateway with a new key for what comes at `seq` after `prev`.
    ///
    /// # Errors
    /// When there is no randomness, or the key was rotated for this place already.
    pub fn rotated(&self, (seq, prev): (u64, Option<Digest>), at: Timestamp) -> Result<Self, IdentityError> {
        let key = new_key()?;
        let envelope = Rotation::sign(&self.ring, &self.key, &key, (seq, prev), at)?;
        let (mut ring, mut rotations) = (self.ring.clone(), self.rotations.clone());
        ring.add(&envelope)?;
        rotations.push(envelope);
        Ok(Self { key, ring, rotations })
    }

    /// As it stands in its file.
    fn to_text(&self) -> Result<String, gatepost_evidence::key::KeyError> {
        let mut text = self.key.to_secret_pem()?;
        if !self.rotations.is_empty() {
            let past = Past { first_key: self.ring.first().clone(), rotations: self.rotations.clone() };
            // Texts and lists of them cannot fail to serialise.
            text.push_str(&serde_json::to_string(&past).unwrap_or_default());
            text.push('\n');
        }
        Ok(text)
    }

    /// What is wrong is not said: it could quote the key.
    fn parse(text: &str) -> Option<Self> {
        let (pem, past) = text.split_at(text.find(END)? + END.len());
        let key = SigningKey::from_pem(&format!("{pem}\n")).ok()?;
        if past.trim().is_empty() {
            return Some(key.into());
        }
        let Past { first_key, rotations } = serde_json::from_str(past).ok()?;
        let ring = Keyring::of(first_key, &rotations).ok()?;
        (ring.current() == key.public()).then_some(Self { key, ring, rotations })
    }
}

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
        "{path} is not an Ed25519 private key in PEM with its rotations; restore it from a backup, or move it away to become \
         a new gateway"
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
    /// The rotation is not one.
    #[error("the key cannot be rotated: {0}")]
    Rotation(#[from] RotationError),
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
pub fn load_or_create(folder: &Path) -> Result<Identity, IdentityError> {
    make_folder(folder)?;
    match load(folder) {
        Err(IdentityError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => create(folder),
        result => result,
    }
}

/// The identity kept in `folder`.
///
/// # Errors
/// When it cannot be read, or others may read it.
pub fn load(folder: &Path) -> Result<Identity, IdentityError> {
    read(&folder.join(FILE))
}

fn read(path: &Path) -> Result<Identity, IdentityError> {
    let io = |source| IdentityError::Io { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Open { path: path.to_owned(), mode });
    }
    let text = fs::read_to_string(path).map_err(io)?;
    Identity::parse(&text).ok_or_else(|| IdentityError::Malformed { path: path.to_owned() })
}

fn new_key() -> Result<SigningKey, IdentityError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| IdentityError::Randomness(error.to_string()))?;
    SigningKey::from_seed(&seed).map_err(|error| IdentityError::Randomness(error.to_string()))
}

/// Writes `identity` into a file for its owner only, and waits until it is on disk.
fn write(path: &Path, identity: &Identity) -> Result<(), IdentityError> {
    let io = |source| IdentityError::Io { path: path.to_owned(), source };
    let text = identity.to_text().map_err(|_| IdentityError::Malformed { path: path.to_owned() })?;
    // One that was left keeps its mode; a new one is made with the right one.
    remove(path)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(io)
}

/// Writes the key under another name, syncs, and links it into place: two agents that start at once end up with one key.
fn create(folder: &Path) -> Result<Identity, IdentityError> {
    let path = folder.join(FILE);
    let io = |source| IdentityError::Io { path: path.clone(), source };
    let draft = folder.join(format!(".{FILE}.{}", std::process::id()));
    let placed = write(&draft, &new_key()?.into()).and_then(|()| match fs::hard_link(&draft, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(io),
    });
    placed.and(remove(&draft))?;
    sync(folder)?;
    read(&path)
}

/// Puts `identity` beside the one that signs, to replace it.
pub(crate) fn prepare_next(folder: &Path, identity: &Identity) -> Result<(), IdentityError> {
    write(&folder.join(NEXT), identity)?;
    sync(folder)
}

/// Whether an identity waits to replace the one that signs.
pub(crate) fn has_next(folder: &Path) -> Result<bool, IdentityError> {
    let path = folder.join(NEXT);
    path.try_exists().map_err(|source| IdentityError::Io { path, source })
}

/// The identity that waits to replace the one that signs.
pub(crate) fn load_next(folder: &Path) -> Result<Identity, IdentityError> {
    read(&folder.join(NEXT))
}

/// Replaces the identity by the one that waits: the old private key is gone.
pub(crate) fn replace(folder: &Path) -> Result<(), IdentityError> {
    let next = folder.join(NEXT);
    fs::rename(&next, folder.join(FILE)).map_err(|source| IdentityError::Io { path: next, source })?;
    sync(folder)
}

/// Removes the identity that waits.
pub(crate) fn remove_next(folder: &Path) -> Result<(), IdentityError> {
    remove(&folder.join(NEXT))?;
    sync(folder)
}

fn remove(path: &Path) -> Result<(), IdentityError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(|source| IdentityError::Io { path: path.to_owned(), source }),
    }
}

fn sync(folder: &Path) -> Result<(), IdentityError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| IdentityError::Io { path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn an_identity_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("a/b");
        let first = load_or_create(&state).unwrap();
        assert_eq!(load_or_create(&state).unwrap().ring(), first.ring());
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

    #[test]
    fn key_and_ring_are_replaced_together() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap();
        let at = "2026-03-01T10:00:00Z".parse().unwrap();
        let second = first.rotated((1, None), at).unwrap();
        let third = second.rotated((4, Some(Digest::of(b"3"))), at).unwrap();
        prepare_next(folder.path(), &third).unwrap();
        assert_eq!(mode(&folder.path().join(NEXT)), 0o600);
        assert_eq!(load(folder.path()).unwrap().ring(), first.ring(), "nothing has changed yet");
        replace(folder.path()).unwrap();
        let found = load(folder.path()).unwrap();
        assert_eq!((found.ring(), found.gateway()), (third.ring(), first.gateway()));
        assert_eq!(found.key().public(), third.key().public());
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        let old = first.key().to_secret_pem().unwrap();
        assert!(!text.contains(old.lines().nth(1).unwrap()), "the old private key is still there");
        // A key that is not the ring's, and a ring that was tampered with.
        let stranger = second.key().to_secret_pem().unwrap() + text.lines().last().unwrap();
        assert!(Identity::parse(&stranger).is_none());
        assert!(Identity::parse(&text.replace("\"rotations\":[{", "\"rotations\":[{\"x\":1,")).is_none());
        assert!(!format!("{found:?}").contains(text.lines().nth(1).unwrap()));
    }
}
