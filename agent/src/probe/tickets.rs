//! A store for session tickets of TLS 1.3 that counts what it is given and gives the first of it back once.
//!
//! rustls checks every ticket before it gets here. How long one lives is known to rustls alone, which does not tell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use gatepost_evidence::check::broker_transport_posture::resumption::Resumption;
use gatepost_evidence::look::Failure;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;

/// The store.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    count: u32,
    max_early_data: u32,
    first: Option<Tls13ClientSessionValue>,
}

impl Tickets {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many tickets came, and the most early data that one of them permits, in bytes.
    #[must_use]
    pub fn seen(&self) -> (u32, u32) {
        let kept = self.kept();
        (kept.count, kept.max_early_data)
    }
}

/// What `tickets` of a session tell that ended as `spoken` says; `again` is a second handshake with the first of them, and says
/// whether it was shortened.
///
/// # Errors
/// When the session failed before there was a ticket: nobody knows whether there would have been one.
pub async fn resumption(
    tickets: &Tickets,
    spoken: Result<(), Failure>,
    again: impl Future<Output = Result<bool, Failure>>,
) -> Result<Resumption, Failure> {
    let (count, max_early_data) = tickets.seen();
    let resumed = match count {
        0 => {
            spoken?;
            None
        }
        _ => Some(again.await.into()),
    };
    Ok(Resumption { tickets: count, max_early_data, resumed })
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut kept = self.kept();
        kept.count = kept.count.saturating_add(1);
        kept.max_early_data = kept.max_early_data.max(ticket.max_early_data_size());
        kept.first.get_or_insert(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept().first.take()
    }
}
