//! Two clients of our own with one canary id: what becomes of the first when the second comes (MQTT-3.1.4-2).
//!
//! The id is random and new each time, so nobody but the first of the two can be thrown out.

use gatepost_evidence::check::broker_transport_posture::mqtt::{FirstClient, Takeover};
use gatepost_evidence::look::{Failure, FailureKind};

use super::packet::Level;
use super::session::{Ended, Opening, Session};
use super::way::Way;
use crate::probe::canary;

/// Opens the first client by `first`, the second by `second`, both at `level`.
///
/// # Errors
/// When the first is not let in, or it cannot be told what became of it.
pub async fn trial(first: &Way<'_>, second: &Way<'_>, level: Level) -> Result<Takeover, Failure> {
    let id = canary::name()?;
    let mut one = Session::new(first.open().await?, level);
    let (connack, announced) = one.connect(&Opening::new(&id), first.login(), first.budget).await?;
    if connack.code != 0 {
        let detail = format!("the first client was refused with code 0x{:02x}", connack.code);
        return Err(Failure::new(FailureKind::Error, detail));
    }
    if announced.client_id_assigned {
        one.leave(first.budget).await;
        let detail = "not tried: the server gives out client ids itself, and another client's might be taken";
        return Err(Failure::new(FailureKind::Error, detail));
    }
    // A connection that was gone before was not taken over.
    one.ping(first.budget, |_| {}).await.map_err(|failure| first.noted(failure))?;
    let mut two = Session::new(second.open().await?, level);
    let (connack, _) = two.connect(&Opening::new(&id), second.login(), second.budget).await?;
    let ended = one.ended(first.budget).await;
    if connack.code == 0 {
        two.leave(second.budget).await;
    }
    let first_client = match ended.map_err(|failure| first.noted(failure))? {
        None => {
            one.leave(first.budget).await;
            FirstClient::Alive
        }
        Some(Ended::Disconnected(code)) => FirstClient::Disconnected(code),
        Some(Ended::Closed) => FirstClient::Closed,
    };
    Ok(Takeover { second: connack.code, first: first_client })
}
