//! Enrolled gateways and their keys.

use std::collections::BTreeMap;

use gatepost_evidence::id::GatewayId;
use gatepost_evidence::key::PublicKey;
use jiff::Timestamp;
use rusqlite::{Connection, Row, params};

use super::{StoreError, json, parsed, to_json};

/// A gateway as it enrolled; name and labels follow its newest run, within the bounds of an enrolment.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// Its identity.
    pub id: GatewayId,
    /// What its runs are verified with.
    pub public_key: PublicKey,
    /// Its name, for people; untrusted text.
    pub name: String,
    /// Its labels; untrusted text.
    pub labels: BTreeMap<String, String>,
    /// When it enrolled first.
    pub enrolled_at: Timestamp,
}

/// What a prefix of an identity leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// This gateway.
    One(Box<Gateway>),
    /// No gateway.
    None,
    /// More than one.
    Several,
}

/// Keeps a gateway; one that enrols again gets its new name and labels.
///
/// # Errors
/// SQLite's.
pub fn upsert(connection: &Connection, gateway: &Gateway) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO gateways (id, public_key, name, labels, enrolled_at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO UPDATE SET name = excluded.name, labels = excluded.labels",
        params![
            gateway.id.to_string(),
            gateway.public_key.to_der(),
            gateway.name,
            to_json(&gateway.labels)?,
            gateway.enrolled_at.to_string(),
        ],
    )?;
    Ok(())
}

/// Takes over what a gateway's newest run calls it.
///
/// # Errors
/// SQLite's.
pub fn rename(
    connection: &Connection,
    id: GatewayId,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<(), StoreError> {
    let sql = "UPDATE gateways SET name = ?2, labels = ?3 WHERE id = ?1 AND (name <> ?2 OR labels <> ?3)";
    connection.prepare_cached(sql)?.execute(params![id.to_string(), name, to_json(labels)?])?;
    Ok(())
}

/// The key of an enrolled gateway.
///
/// # Errors
/// SQLite's, or a damaged key.
pub fn key(connection: &Connection, id: GatewayId) -> Result<Option<PublicKey>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT public_key FROM gateways WHERE id = ?1")?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(public_key).transpose()
}

/// The gateway whose identity begins with `prefix`, which must be hexadecimal digits.
///
/// # Errors
/// SQLite's.
pub fn find(connection: &Connection, prefix: &str) -> Result<Found, StoreError> {
    // 'g' sorts after every hexadecimal digit.
    let mut statement =
        connection.prepare_cached("SELECT * FROM gateways WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2")?;
    let mut rows = statement.query([prefix])?;
    let Some(row) = rows.next()? else { return Ok(Found::None) };
    let gateway = gateway(row)?;
    Ok(if rows.next()?.is_some() { Found::Several } else { Found::One(Box::new(gateway)) })
}

/// Whether any gateway has enrolled.
///
/// # Errors
/// SQLite's.
pub fn any(connection: &Connection) -> Result<bool, StoreError> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM gateways)", [], |row| row.get(0))?)
}

/// A gateway of a list. One that cannot be read does not hide the others.
#[derive(Debug)]
pub struct Listed {
    /// Its identity, as it is stored.
    pub id: String,
    /// Its name, as it is stored; untrusted text.
    pub name: String,
    /// The gateway, or why it cannot be read.
    pub gateway: Result<Gateway, StoreError>,
}

/// Every gateway, by name.
///
/// # Errors
/// SQLite's; those of one gateway stand in its place.
pub fn list(connection: &Connection) -> Result<Vec<Listed>, StoreError> {
    let mut statement = connection.prepare("SELECT * FROM gateways ORDER BY name, id")?;
    let mut rows = statement.query([])?;
    let mut gateways = Vec::new();
    while let Some(row) = rows.next()? {
        let text = |column: &str| row.get(column).unwrap_or_else(|_| "?".to_owned());
        gateways.push(Listed { id: text("id"), name: text("name"), gateway: gateway(row) });
    }
    Ok(gateways)
}

fn gateway(row: &Row<'_>) -> Result<Gateway, StoreError> {
    Ok(Gateway {
        id: parsed(row, "id")?,
        public_key: public_key(row)?,
        name: row.get("name")?,
        labels: json(row, "labels")?,
        enrolled_at: parsed(row, "enrolled_at")?,
    })
}

fn public_key(row: &Row<'_>) -> Result<PublicKey, StoreError> {
    let der: Vec<u8> = row.get("public_key")?;
    PublicKey::from_der(&der).map_err(|error| StoreError::Damaged(format!("public_key: {error}")))
}
