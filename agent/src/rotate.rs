//! Rotating the key so that a kill at any moment leaves one gateway with one key.
//!
//! In one transaction of the spool, so that no run slips in: the rotation is signed for the place after the head, the new key
//! is written beside the old one and synced, and the rotation is stored. The commit decides. Then the new key replaces the
//! old one. [`settle`], which every command begins with, finishes a rotation that was committed and undoes one that was not;
//! it looks inside a transaction, too, so that it cannot mistake a rotation under way for one that was cut short.

use jiff::Timestamp;

use crate::identity::{self, Identity, IdentityError};
use crate::spool::{Spool, SpoolError, Turned};

/// Why a rotation was not made, or not finished.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The keys.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The spool says that the key was rotated, and the new key is not there.
    #[error(
        "the spool says that this gateway's key was rotated for run {seq}, and that key is not in {file}: an older copy of \
         the file, or of the whole folder but the spool, is in use. Restore the newest {file}; nothing was signed"
    )]
    Lost {
        /// The first place that the key signs which is not there.
        seq: u64,
        /// The file that should have it.
        file: &'static str,
    },
}

/// The steps of a rotation, each after it is on disk; for tests that stop there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The new key is beside the old one; the transaction is open.
    Prepared,
    /// The rotation is in the spool.
    Committed,
    /// The new key has replaced the old one.
    Replaced,
}

/// Rotates the key of the gateway in the spool's folder, and gives what it is from now on.
///
/// # Errors
/// When it cannot be signed or stored; what was begun is finished or undone by [`settle`].
pub fn rotate(spool: &mut Spool, identity: &Identity, now: Timestamp) -> Result<Identity, RotateError> {
    rotate_to(spool, identity, now, |_| Ok(()))
}

/// As [`rotate`], but broken off where `after` says so.
pub(crate) fn rotate_to(
    spool: &mut Spool,
    identity: &Identity,
    now: Timestamp,
    after: impl Fn(Step) -> Result<(), RotateError>,
) -> Result<Identity, RotateError> {
    let folder = spool.folder().to_owned();
    let next = spool.at_once(|spool| {
        spool.check_key(identity)?;
        let head = spool.head()?;
        let place = (head.map_or(1, |head| head.seq + 1), head.map(|head| head.digest));
        let next = identity.rotated(place, now)?;
        identity::prepare_next(&folder, &next)?;
        after(Step::Prepared)?;
        spool.adopt(&next)?;
        Ok::<_, RotateError>(next)
    })?;
    after(Step::Committed)?;
    identity::replace(&folder)?;
    after(Step::Replaced)?;
    Ok(next)
}

/// Finishes or undoes a rotation that was cut short. Gives the identity that signs, if it is not `found`.
///
/// # Errors
/// When the spool knows of a rotation to a key that is nowhere, or files cannot be read or replaced.
pub fn settle(spool: &mut Spool, found: &Identity) -> Result<Option<Identity>, RotateError> {
    let folder = &spool.folder().to_owned();
    // Cheap when there is nothing to do: no lock is taken, nothing is written.
    if !identity::has_next(folder)? && spool.check_key(found).is_ok() {
        return Ok(None);
    }
    let settled = spool.at_once(|spool| {
        // Whoever was at work has finished by now.
        let found = identity::load(folder)?;
        let stored = spool.rotations()?;
        let waits = identity::has_next(folder)?;
        let settled = match stored.iter().find(|stored| !has(&found, stored)) {
            None => {
                if waits {
                    identity::remove_next(folder)?;
                    tracing::warn!("a key rotation that was cut short was undone; the key is the one it was");
                }
                found
            }
            Some(ahead) => {
                let lost = || RotateError::Lost { seq: ahead.seq, file: identity::FILE };
                let next = if waits { identity::load_next(folder)? } else { return Err(lost()) };
                if next.gateway() != found.gateway() || stored.iter().any(|stored| !has(&next, stored)) {
                    return Err(lost());
                }
                identity::replace(folder)?;
                tracing::warn!(
                    "a key rotation that was cut short was finished; the new key signs from run {} on",
                    ahead.seq
                );
                next
            }
        };
        // A spool that is newer or older than the key learns what it lacks.
        spool.adopt(&settled)?;
        Ok::<_, RotateError>(settled)
    })?;
    Ok((settled.ring() != found.ring()).then_some(settled))
}

/// Whether `identity` has come through this rotation.
fn has(identity: &Identity, stored: &Turned) -> bool {
    identity.ring().rotations().iter().any(|added| added.digest() == stored.digest)
}

#[cfg(test)]
#[path = "rotate_tests.rs"]
mod tests;
