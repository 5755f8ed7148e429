//! The keys of brokers and devices, as the newest judged run of each gateway saw them.

use gatepost_evidence::id::GatewayId;
use rusqlite::{Connection, params};

use super::{StoreError, parsed, stored_seq};
use crate::shared_keys::{HeldKey, SeenKey};

/// Keeps what run `seq` of `gateway` saw; what an earlier run saw does not replace it.
///
/// # Errors
/// SQLite's.
pub fn insert(connection: &Connection, gateway: GatewayId, seq: u64, seen: &[SeenKey]) -> Result<(), StoreError> {
    let sql = "INSERT INTO keys (gateway, device, subject, seq, certificate, key, modulus)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
               ON CONFLICT (gateway, device, subject) DO UPDATE SET
                   seq = excluded.seq, certificate = excluded.certificate, key = excluded.key, modulus = excluded.modulus
               WHERE excluded.seq >= seq";
    let mut statement = connection.prepare_cached(sql)?;
    for SeenKey { subject, device, certificate, key, modulus } in seen {
        let (certificate, key) = (certificate.to_string(), key.to_string());
        statement.execute(params![
            gateway.to_string(),
            device,
            subject,
            stored_seq(seq)?,
            certificate,
            key,
            modulus
        ])?;
    }
    Ok(())
}

/// All of them, with their gateways' names.
///
/// # Errors
/// SQLite's, or a damaged row.
pub fn all(connection: &Connection) -> Result<Vec<HeldKey>, StoreError> {
    let sql = "SELECT keys.gateway, gateways.name, device, subject, seq, certificate, key, modulus
               FROM keys JOIN gateways ON gateways.id = keys.gateway ORDER BY keys.gateway, device, subject";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut held = Vec::new();
    while let Some(row) = rows.next()? {
        held.push(HeldKey {
            gateway: parsed(row, "gateway")?,
            name: row.get("name")?,
            seq: row.get::<_, i64>("seq")?.unsigned_abs(),
            seen: SeenKey {
                subject: row.get("subject")?,
                device: row.get("device")?,
                certificate: parsed(row, "certificate")?,
                key: parsed(row, "key")?,
                modulus: row.get("modulus")?,
            },
        });
    }
    Ok(held)
}
