//! What an edge's tickets of TLS 1.3 permit: one session that keeps them, and a handshake with the first.

use std::sync::Arc;

use gatepost_evidence::check::broker_transport_posture::resumption::Resumption;
use gatepost_evidence::look::Failure;
use rustls::{HandshakeKind, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio_rustls::client::TlsStream;

use super::client::Files;
use crate::probe::tickets::Tickets;
use crate::probe::tls::{self, Identity, Onlooker, Trusted, Trusting, Unauthenticated};
use crate::probe::wire::{self, Budget, Wire};

/// Who makes sessions: the client with the configured certificate, without which some edges let nobody in; else nobody.
enum Caller {
    Nobody(Onlooker),
    Configured(Trusting),
}

impl Caller {
    fn new(files: &Files, tickets: &Arc<Tickets>) -> Result<Self, Failure> {
        match (&files.identity, &files.anchors) {
            (Some(Ok(Identity { chain, key })), Ok(anchors)) => {
                let identity = Identity { chain: chain.clone(), key: key.clone_key() };
                Ok(Self::Configured(Trusting::new(anchors, Some(identity))?.keeping(tickets)))
            }
            _ => Ok(Self::Nobody(Onlooker::new()?.keeping(tickets))),
        }
    }

    async fn call(&self, address: &str, name: &ServerName<'static>, budget: &Budget) -> Result<Session, Failure> {
        let (wire, _) = wire::dial(address, budget).await?;
        Ok(match self {
            Self::Nobody(onlooker) => Session::Nobody(onlooker.connect(wire, name, budget).await?),
            Self::Configured(trusting) => Session::Configured(trusting.connect(wire, name, budget).await?),
        })
    }
}

/// A session over which no credentials are sent beside the client certificate.
pub(super) enum Session {
    /// Nobody's.
    Nobody(Unauthenticated),
    /// That of the client with the configured certificate.
    Configured(Trusted),
}

impl Session {
    pub(super) fn stream(&mut self) -> &mut TlsStream<Wire> {
        match self {
            Self::Nobody(stream) => stream.stream(),
            Self::Configured(stream) => stream.stream(),
        }
    }
}

/// Makes a session over which `speak` says something and waits for the answer, before which tickets come, and one with the
/// first of them; nothing where TLS 1.3 is not spoken.
///
/// # Errors
/// When there is no session, or no answer and no ticket either.
pub(super) async fn resumption(
    address: &str,
    name: &str,
    files: &Files,
    budget: &Budget,
    speak: impl AsyncFnOnce(Session) -> Result<(), Failure>,
) -> Result<Option<Resumption>, Failure> {
    let name = tls::server_name(name)?;
    let tickets = Arc::new(Tickets::default());
    let caller = Caller::new(files, &tickets)?;
    let mut session = caller.call(address, &name, budget).await?;
    if session.stream().get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
        return Ok(None);
    }
    let spoken = speak(session).await;
    let (count, max_early_data) = tickets.seen();
    if count == 0 {
        // Without an answer nobody knows whether tickets would have come before it.
        spoken?;
        return Ok(Some(Resumption { tickets: 0, max_early_data, resumed: None }));
    }
    let resumed = caller
        .call(address, &name, budget)
        .await
        .map(|mut again| again.stream().get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
    Ok(Some(Resumption { tickets: count, max_early_data, resumed: Some(resumed.into()) }))
}
