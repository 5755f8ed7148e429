//! The way to one listener: how it is reached, as whom, and how often that may be done.

use std::sync::atomic::{AtomicU32, Ordering};

use gatepost_evidence::look::{Failure, FailureKind};
use rustls_pki_types::ServerName;

use super::Credentials;
use super::link::Link;
use super::session::Login;
use crate::probe::tls::{Onlooker, Trusting};
use crate::probe::wire::{self, Budget};

/// The most connections of the trials to one listener.
pub const MAX_CONNECTIONS: u32 = 24;
/// How many waits may end without an answer before a listener is left alone.
const SILENCES: u32 = 2;

/// The configured client.
#[derive(Debug, Clone)]
pub struct Client {
    /// What it trusts and presents.
    pub trusting: Trusting,
    /// Its user name and password.
    pub credentials: Option<Credentials>,
}

/// How TLS is spoken to a listener.
#[derive(Debug, Clone)]
pub enum Tls {
    /// Not at all.
    None,
    /// As nobody.
    Nobody(Onlooker),
    /// As the configured client.
    Client(Client),
}

/// The way to a listener.
#[derive(Debug)]
pub struct Way<'a> {
    /// Where to dial, `host:port`.
    pub address: &'a str,
    /// The name to ask for in TLS.
    pub name: &'a ServerName<'static>,
    /// The path to ask for by WebSocket.
    pub path: Option<&'a str>,
    /// How TLS is spoken.
    pub tls: Tls,
    /// How long everything may take.
    pub budget: &'a Budget,
    made: AtomicU32,
    silent: AtomicU32,
}

impl<'a> Way<'a> {
    /// A way that has not been gone.
    #[must_use]
    pub fn new(
        address: &'a str,
        name: &'a ServerName<'static>,
        path: Option<&'a str>,
        tls: Tls,
        budget: &'a Budget,
    ) -> Self {
        Self { address, name, path, tls, budget, made: AtomicU32::new(0), silent: AtomicU32::new(0) }
    }

    /// How many connections were made.
    #[must_use]
    pub fn made(&self) -> u32 {
        self.made.load(Ordering::Relaxed)
    }

    /// With what a session is opened that goes this way.
    #[must_use]
    pub fn login(&self) -> Login<'_> {
        match &self.tls {
            Tls::Client(Client { credentials: Some(credentials), .. }) => Login::Configured(credentials),
            _ => Login::Nobody,
        }
    }

    /// Opens a connection, ready for MQTT.
    ///
    /// # Errors
    /// When it cannot be opened, or too many were.
    pub async fn open(&self) -> Result<Link, Failure> {
        self.open_as(&self.tls).await
    }

    /// Opens a connection with `tls` in place of the way's own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_as(&self, tls: &Tls) -> Result<Link, Failure> {
        let mut link = self.raw(tls).await?;
        let Some(path) = self.path else { return Ok(link) };
        let upgrade = link.upgrade(self.address, path, None);
        let upgrade = self.budget.wait("the answer to an upgrade", self.budget.limits().answer, upgrade).await;
        match upgrade {
            Ok(upgrade) if upgrade.switched() => Ok(link),
            Ok(upgrade) => Err(Failure::new(
                FailureKind::Protocol,
                format_args!("the server did not switch to WebSocket but answered {}", upgrade.status),
            )),
            Err(failure) => Err(self.noted(failure)),
        }
    }

    /// Opens a connection on which nothing was said yet.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn raw(&self, tls: &Tls) -> Result<Link, Failure> {
        let silent = self.silent.load(Ordering::Relaxed);
        if silent >= SILENCES {
            let detail = format!("not tried: {silent} questions before had no answer in time");
            return Err(Failure::new(FailureKind::TimedOut, detail));
        }
        if self.made.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
            self.made.store(MAX_CONNECTIONS, Ordering::Relaxed);
            let detail = format!("not tried: all {MAX_CONNECTIONS} connections to this listener were used");
            return Err(Failure::new(FailureKind::Error, detail));
        }
        let link = async {
            let (wire, _) = wire::dial(self.address, self.budget).await?;
            Ok(match tls {
                Tls::None => Link::plaintext(wire),
                Tls::Nobody(onlooker) => Link::unauthenticated(onlooker.connect(wire, self.name, self.budget).await?),
                Tls::Client(client) => Link::trusted(client.trusting.connect(wire, self.name, self.budget).await?),
            })
        };
        link.await.map_err(|failure| self.noted(failure))
    }

    /// Counts a failure that is a silence, and hands it on.
    pub fn noted(&self, failure: Failure) -> Failure {
        if failure.kind == FailureKind::TimedOut {
            self.silent.fetch_add(1, Ordering::Relaxed);
        }
        failure
    }
}
