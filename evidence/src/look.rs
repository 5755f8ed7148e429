//! What becomes of one look at the world: it was seen, or it failed with a kind and the words of whoever refused.
//!
//! Observations are built from these two types, so a failed look is data like any other and can never be mistaken for a
//! good one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One look: what was seen, or why nothing was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Look<T> {
    /// It was seen.
    Seen(T),
    /// It could not be seen.
    Failed(Failure),
}

impl<T> Look<T> {
    /// What was seen, if anything was.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Self::Seen(value) => Some(value),
            Self::Failed(_) => None,
        }
    }

    /// Why nothing was seen, if nothing was.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Seen(_) => None,
            Self::Failed(failure) => Some(failure),
        }
    }
}

impl<T> From<Result<T, Failure>> for Look<T> {
    fn from(result: Result<T, Failure>) -> Self {
        match result {
            Ok(value) => Self::Seen(value),
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// Why a look failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{kind}: {detail}")]
pub struct Failure {
    /// What kind of failure, for programs.
    pub kind: FailureKind,
    /// The words of the operating system, the peer or the parser; never a secret. At most 300 characters.
    pub detail: String,
}

impl Failure {
    /// A failure of `kind`; `detail` is cut to 300 characters and stripped of control characters.
    pub fn new(kind: FailureKind, detail: impl std::fmt::Display) -> Self {
        let detail = detail.to_string();
        let detail = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
        Self { kind, detail }
    }
}

/// Kinds of failure. Each is a fact about what happened, not a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The peer answered that nobody listens there (TCP reset on connect).
    Refused,
    /// No route, no such name, no such network.
    Unreachable,
    /// Nothing came within the time allowed.
    TimedOut,
    /// The peer ended the connection without the answer that was asked for.
    Closed,
    /// The peer ended the TLS handshake with an alert (RFC 8446, section 6).
    TlsAlert,
    /// The peer's bytes are not the protocol that was spoken to it.
    Protocol,
    /// The operating system or the peer does not permit it.
    Denied,
    /// There is no such file or key.
    NotFound,
    /// It is larger than what is read.
    TooLarge,
    /// It could be read but not understood.
    Unparseable,
    /// Anything else; see the detail.
    Error,
}

impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Closed => "closed",
            Self::TlsAlert => "TLS alert",
            Self::Protocol => "not the protocol",
            Self::Denied => "denied",
            Self::NotFound => "not found",
            Self::TooLarge => "too large",
            Self::Unparseable => "unparseable",
            Self::Error => "error",
        })
    }
}

/// Bytes, written as standard padded base64 (RFC 4648, section 4).
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "contentEncoding": "base64"})
    }
}
