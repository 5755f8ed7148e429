//! One-time enrolment tokens. The token itself is shown once and kept nowhere; here is its SHA-256.

use gatepost_evidence::id::{Digest, GatewayId};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::{StoreError, parsed, parsed_optional};

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// SHA-256 of the token.
    pub digest: Digest,
    /// What the operator called it.
    pub label: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// When, and by which gateway, it was used.
    pub used: Option<(Timestamp, GatewayId)>,
}

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No such token was given out.
    #[error("the enrolment token is not one of this sink's; make one with `gatepost-sink token create`")]
    Unknown,
    /// It enrolled a gateway already.
    #[error("the enrolment token was used already; each one enrols one gateway, once")]
    Used,
    /// Its time is over.
    #[error("the enrolment token has expired; make one with `gatepost-sink token create`")]
    Expired,
}

impl TokenRefusal {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_token",
            Self::Used => "token_used",
            Self::Expired => "token_expired",
        }
    }
}

/// Keeps a token that was just made.
///
/// # Errors
/// SQLite's.
pub fn insert(
    connection: &Connection,
    digest: Digest,
    label: &str,
    created_at: Timestamp,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO tokens (digest, label, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
        params![digest.to_string(), label, created_at.to_string(), expires_at.to_string()],
    )?;
    Ok(())
}

/// Whether the token with this digest may be used at `now`.
///
/// # Errors
/// SQLite's.
pub fn check(connection: &Connection, digest: Digest, now: Timestamp) -> Result<Result<(), TokenRefusal>, StoreError> {
    let sql = "SELECT expires_at, used_at FROM tokens WHERE digest = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([digest.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(Err(TokenRefusal::Unknown)) };
    Ok(if parsed_optional::<Timestamp>(row, "used_at")?.is_some() {
        Err(TokenRefusal::Used)
    } else if parsed::<Timestamp>(row, "expires_at")? <= now {
        Err(TokenRefusal::Expired)
    } else {
        Ok(())
    })
}

/// Marks the token as used by `gateway`.
///
/// # Errors
/// SQLite's, and when it was used meanwhile.
pub fn consume(connection: &Connection, digest: Digest, gateway: GatewayId, now: Timestamp) -> Result<(), StoreError> {
    let changed = connection.execute(
        "UPDATE tokens SET used_at = ?2, used_by = ?3 WHERE digest = ?1 AND used_at IS NULL",
        params![digest.to_string(), now.to_string(), gateway.to_string()],
    )?;
    if changed == 1 { Ok(()) } else { Err(StoreError::NotCommitted("the token was used meanwhile".into())) }
}

/// Every token, newest first.
///
/// # Errors
/// SQLite's.
pub fn list(connection: &Connection) -> Result<Vec<Token>, StoreError> {
    let mut statement = connection.prepare("SELECT * FROM tokens ORDER BY rowid DESC")?;
    let mut rows = statement.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(Token {
            digest: parsed(row, "digest")?,
            label: row.get("label")?,
            created_at: parsed(row, "created_at")?,
            expires_at: parsed(row, "expires_at")?,
            used: parsed_optional(row, "used_at")?.zip(parsed_optional(row, "used_by")?),
        });
    }
    Ok(tokens)
}
