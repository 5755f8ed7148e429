//! What the spool gives out.

use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;

/// The last run of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its place.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
}

/// What the sink made of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet handed over.
    Pending,
    /// The sink has it and signed a receipt.
    Acknowledged,
    /// The sink refused it for good, or it can no longer be read.
    Quarantined,
}

impl State {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Acknowledged => "acknowledged",
            Self::Quarantined => "quarantined",
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

/// A run as it lies in the spool.
#[derive(Debug, Clone, PartialEq)]
pub struct Spooled {
    /// Its place in the chain.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// What the sink made of it.
    pub state: State,
    /// Why it is quarantined.
    pub reason: Option<String>,
    /// When it was stored.
    pub stored_at: String,
    /// The envelope, as it was signed.
    pub envelope: String,
}

/// A run that the sink refused for good, or that can no longer be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the chain.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// Why; a word for programs comes first.
    pub reason: String,
}

/// How many runs are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Not yet handed over.
    pub pending: u64,
    /// The sink has them.
    pub acknowledged: u64,
    /// The sink refused them, or they can no longer be read.
    pub quarantined: u64,
}

/// What the agent remembers of the sink.
#[derive(Debug, Clone, PartialEq)]
pub struct Enrolment {
    /// Its URL.
    pub url: String,
    /// The key its receipts are signed with.
    pub sink_key: PublicKey,
}
