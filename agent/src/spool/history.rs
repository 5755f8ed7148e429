//! When runs were stored and when the sink had them: the gateway's own record of its contact with the sink.
//!
//! What is read is this agent's own word and the receipts that it checked when it took them; they are not checked again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::canonical;
use gatepost_evidence::check::link_posture::outage::Handed;
use gatepost_evidence::receipt::{Acknowledgement, Receipt};
use jiff::Timestamp;
use rusqlite::params;

use super::{Spool, SpoolError, pack, rows};

impl Spool {
    /// The runs that were stored since `from`, in the order of their places and at most the latest `count`, each with when the
    /// sink had it. Runs that the sink refused, and those whose receipt cannot be read, are left out.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn handed(&self, from: Timestamp, count: u32) -> Result<Vec<Handed>, SpoolError> {
        let at = self.at();
        let sql = "SELECT r.stored_at, a.state, a.receipt FROM runs r LEFT JOIN answers a ON a.seq = r.seq
                   WHERE r.stored_at >= ?1 AND (a.state IS NULL OR a.state = ?2) ORDER BY r.seq DESC LIMIT ?3";
        let mut statement = self.connection.prepare_cached(sql).map_err(&at)?;
        let values = params![from.as_millisecond(), rows::ACKNOWLEDGED, count];
        type Columns = (i64, Option<u8>, Option<Vec<u8>>);
        let found = statement.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).map_err(&at)?;
        let mut runs = Vec::new();
        for row in found {
            let (stored, state, receipt): Columns = row.map_err(&at)?;
            let Ok(stored) = Timestamp::from_millisecond(stored) else { continue };
            match (state, receipt.as_deref().and_then(accepted_at)) {
                (None, _) => runs.push(Handed { stored, taken: None }),
                (Some(_), Some(taken)) => runs.push(Handed { stored, taken: Some(taken) }),
                (Some(_), None) => {}
            }
        }
        runs.reverse();
        Ok(runs)
    }
}

/// When the sink had the run that this receipt is for.
fn accepted_at(packed: &[u8]) -> Option<Timestamp> {
    let text = pack::unpack(packed, None).ok()?;
    let word = Acknowledgement::parse(text.as_bytes()).ok()?;
    let payload = STANDARD.decode(&word.receipt.payload).ok()?;
    canonical::from_slice::<Receipt>(&payload).ok().map(|receipt| receipt.accepted_at)
}
