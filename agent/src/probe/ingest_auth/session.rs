//! What an edge's tickets of TLS 1.3 permit: one session that keeps them, and a handshake with the first.

use std::sync::Arc;

use gatepost_evidence::check::broker_transport_posture::resumption::Resumption;
use gatepost_evidence::look::{Failure, FailureKind};
use rustls::{HandshakeKind, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio_rustls::client::TlsStream;

use super::client::Files;
use crate::probe::tickets::{self, Tickets};
use crate::probe::tls::{self, Identity, Onlooker, Trusted, Trusting, Unauthenticated};
use crate::probe::wire::{self, Budget, Wire};

/// Who makes sessions.
enum Caller {
    Nobody(Onlooker),
    Configured(Trusting),
}

impl Caller {
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

/// Says something over a session, and waits for the answer.
pub(super) trait Speak {
    /// # Errors
    /// When no answer comes.
    fn speak(&mut self, session: Session) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Makes a session over which `speaker` says something and waits for the answer, before which tickets come, and one with the
/// first of them; nothing where TLS 1.3 is not spoken. It is the session of the client with the configured certificate, without
/// which some edges let nobody in; where there is none, or the edge is not to be trusted with it, nobody's.
///
/// # Errors
/// When there is no session, or no answer and no ticket either; of several reasons, the first.
pub(super) async fn resumption(
    address: &str,
    name: &str,
    files: &Files,
    budget: &Budget,
    mut speaker: impl Speak,
) -> Result<Option<Resumption>, Failure> {
    let name = tls::server_name(name)?;
    let ours = match (&files.identity, &files.anchors) {
        (None, _) => None,
        (Some(Err(failure)), _) | (Some(Ok(_)), Err(failure)) => Some(Err(failure.clone())),
        (Some(Ok(Identity { chain, key })), Ok(anchors)) => {
            Some(Trusting::new(anchors, Some(Identity { chain: chain.clone(), key: key.clone_key() })))
        }
    };
    let nobody = Onlooker::new()?;
    let mut first = None;
    for configured in ours.into_iter().map(Some).chain([None]) {
        let tickets = Arc::new(Tickets::default());
        let caller = match configured {
            Some(Ok(trusting)) => Caller::Configured(trusting.keeping(&tickets)),
            Some(Err(failure)) => {
                first = Some(failure);
                continue;
            }
            None => Caller::Nobody(nobody.keeping(&tickets)),
        };
        let looked = async {
            let mut session = caller.call(address, &name, budget).await?;
            if session.stream().get_ref().1.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
                return Ok(None);
            }
            let spoken = speaker.speak(session).await;
            let again = async {
                let mut again = caller.call(address, &name, budget).await?;
                Ok(again.stream().get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
            };
            tickets::resumption(&tickets, spoken, again).await.map(Some)
        };
        match looked.await {
            Ok(found) => return Ok(found),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    Err(first.unwrap_or_else(|| Failure::new(FailureKind::Error, "no session was made")))
}
