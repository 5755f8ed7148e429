//! Disputes: what the agent keeps when the sink's word about its log cannot be true.
//!
//! Each is one JSON file in the state folder, for people and for an auditor: two checkpoints signed by one key that no proof
//! connects show that the sink rewrote or forked its history, whoever looks. Files are never changed or removed here; the
//! same dispute is kept once, and at most [`MAX_DISPUTES`] are kept, the first ones being the ones that tell most.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gatepost_evidence::checkpoint::LogProof;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use gatepost_evidence::log::ConsistencyProof;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most files that are kept.
pub const MAX_DISPUTES: usize = 32;
const PREFIX: &str = "log-dispute-";
const SUFFIX: &str = ".json";

/// What the sink said, and what it contradicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dispute {
    /// When this agent saw it, by its own clock.
    pub time: Timestamp,
    /// The sink's URL.
    pub sink: String,
    /// The key that both checkpoints are to be checked with.
    pub sink_key: PublicKey,
    /// A stable word for programs, such as `not_consistent`.
    pub reason: String,
    /// What is wrong, for people.
    pub detail: String,
    /// The newest checkpoint that was verified before.
    pub known: Option<String>,
    /// The checkpoint the sink came with, as it came.
    pub claimed: Option<String>,
    /// The sink's proof that the one continues the other.
    pub consistency: Option<ConsistencyProof>,
    /// The run whose place in the log is in doubt, when it is only that.
    pub run: Option<DisputedRun>,
}

/// A run that the sink says is in its log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DisputedRun {
    /// Its place in the gateway's chain.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// The sink's receipt for it.
    pub receipt: Envelope,
    /// The proof that does not hold.
    pub log: LogProof,
}

impl Dispute {
    /// Keeps this in `folder`, unless it is kept there already; gives the file, or none when enough are kept.
    ///
    /// # Errors
    /// When the folder cannot be read or the file not written.
    pub fn keep(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        let kept = list(folder)?;
        let same = |other: &Self| Self { time: self.time, ..other.clone() } == *self;
        if let Some((path, _)) = kept.iter().find(|(_, dispute)| dispute.as_ref().is_some_and(same)) {
            return Ok(Some(path.clone()));
        }
        if kept.len() >= MAX_DISPUTES {
            return Ok(None);
        }
        let time = self.time.strftime("%Y%m%dT%H%M%S%6fZ");
        let path = folder.join(format!("{PREFIX}{time}{SUFFIX}"));
        let json = serde_json::to_vec_pretty(self)?;
        // Under another name first: a file that is there is whole.
        let draft = folder.join(format!(".{PREFIX}{}", std::process::id()));
        let written = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft);
        let written = written.and_then(|mut file| file.write_all(&json).and_then(|()| file.sync_all()));
        let placed = written.and_then(|()| fs::hard_link(&draft, &path));
        let removed = fs::remove_file(&draft);
        placed.and(removed)?;
        File::open(folder)?.sync_all()?;
        Ok(Some(path))
    }
}

/// Every dispute kept in `folder`, oldest first. One that cannot be read back is listed without its content.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &Path) -> io::Result<Vec<(PathBuf, Option<Dispute>)>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX)) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let dispute = fs::read(&path).ok().and_then(|json| serde_json::from_slice(&json).ok());
        (path, dispute)
    };
    Ok(paths.into_iter().map(read).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use gatepost_evidence::key::SigningKey;

    use super::*;

    fn dispute(second: i64, claimed: &str) -> Dispute {
        Dispute {
            time: Timestamp::from_second(second).unwrap(),
            sink: "https://sink".into(),
            sink_key: SigningKey::from_seed(&[1; 32]).unwrap().public().clone(),
            reason: "not_consistent".into(),
            detail: "history was rewritten".into(),
            known: Some("known".into()),
            claimed: Some(claimed.into()),
            consistency: Some(ConsistencyProof::default()),
            run: None,
        }
    }

    #[test]
    fn a_dispute_is_kept_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = dispute(1, "a").keep(folder.path()).unwrap().unwrap();
        assert!(path.ends_with("log-dispute-19700101T000001000000Z.json"), "{}", path.display());
        assert_eq!(dispute(2, "a").keep(folder.path()).unwrap().as_ref(), Some(&path), "the same again");
        dispute(3, "b").keep(folder.path()).unwrap().unwrap();
        let kept: Vec<_> = list(folder.path()).unwrap().into_iter().map(|(_, dispute)| dispute.unwrap()).collect();
        assert_eq!(kept, [dispute(1, "a"), dispute(3, "b")]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no draft is left behind");
    }

    #[test]
    fn a_sink_that_goes_on_disputing_does_not_fill_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        for n in 0..MAX_DISPUTES {
            assert!(dispute(n as i64, &n.to_string()).keep(folder.path()).unwrap().is_some());
        }
        assert_eq!(dispute(99, "one more").keep(folder.path()).unwrap(), None);
        fs::write(folder.path().join("log-dispute-x.json"), "damaged").unwrap();
        let kept = list(folder.path()).unwrap();
        assert_eq!((kept.len(), kept.last().unwrap().1.clone()), (MAX_DISPUTES + 1, None), "it is still counted");
    }
}
