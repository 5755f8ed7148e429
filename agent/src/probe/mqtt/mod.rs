//! MQTT as the probes speak it: 3.1, 3.1.1 and 5, over TCP, TLS or WebSocket, with a codec of its own.
//!
//! Every session is a clean one under a canary id and, if it was accepted, closed with DISCONNECT. A user name and password of the
//! configuration go over [`tls::Trusted`](super::tls::Trusted) only. Everything that is read is bounded: packets by [`packet`],
//! frames by [`websocket`], a connection by [`link`]; and everything that is waited for has a limit.

pub mod head;
pub mod link;
pub mod packet;
#[cfg(test)]
mod packet_tests;
pub mod retained;
pub mod session;
pub mod takeover;
pub mod trials;
pub mod way;
pub mod websocket;

use gatepost_evidence::check::broker_transport_posture::Connack;
use gatepost_evidence::look::Failure;

use super::canary;
use super::tls::{Trusted, Unauthenticated};
use super::wire::{Budget, Wire};
use crate::secret::Secret;
use link::Link;
use packet::Level;
use session::{Login, Opening, Session};

/// A user name and its password.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password, if there is one.
    pub password: Option<Secret>,
}

/// Connects without user name and password, in plaintext.
///
/// # Errors
/// When no CONNACK comes, with what came instead.
pub async fn anonymous_plaintext(wire: Wire, budget: &Budget) -> Result<Connack, Failure> {
    once(Link::plaintext(wire), Login::Nobody, budget).await
}

/// Connects without user name and password, over TLS.
///
/// # Errors
/// As [`anonymous_plaintext`]; a server that demands a certificate in TLS 1.3 says so only here.
pub async fn anonymous_tls(stream: Unauthenticated, budget: &Budget) -> Result<Connack, Failure> {
    once(Link::unauthenticated(stream), Login::Nobody, budget).await
}

/// Connects with `credentials` over a connection whose server is authenticated.
///
/// # Errors
/// As [`anonymous_tls`].
pub async fn authenticated(
    stream: Trusted,
    credentials: Option<Credentials>,
    budget: &Budget,
) -> Result<Connack, Failure> {
    let login = credentials.as_ref().map_or(Login::Nobody, Login::Configured);
    once(Link::trusted(stream), login, budget).await
}

/// One CONNECT of MQTT 3.1.1 over `link`, and DISCONNECT if it was accepted.
///
/// # Errors
/// When no CONNACK comes, with what came instead.
pub async fn once(link: Link, login: Login<'_>, budget: &Budget) -> Result<Connack, Failure> {
    let mut session = Session::new(link, Level::V311);
    let (connack, _) = session.connect(&Opening::new(&canary::name()?), login, budget).await?;
    if connack.code == 0 {
        session.leave(budget).await;
    }
    Ok(connack)
}
