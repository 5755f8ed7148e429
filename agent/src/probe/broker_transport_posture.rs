//! Looks for `broker_transport_posture`: dials each of the broker's listeners, offers each TLS version on its own, connects
//! by MQTT without and with credentials, and surveys what else a TLS listener takes.
//!
//! A plaintext listener gets one connection. A TLS listener gets two, one per version; the client without credentials
//! connects over the newest of them that completed. A third carries the configured client, once the broker's certificate
//! has verified. Then come the survey ([`super::hello`]), one connection after the other, no handshake finished, the battery of
//! clients that must be turned away ([`super::battery`]), and what those that are let in may do ([`super::acl`]). Credentials
//! never go over plaintext: there is no configured client for a plaintext listener.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::broker_transport_posture::acl::{Acl, Who};
use gatepost_evidence::check::broker_transport_posture::battery::{Battery, Member, Trial};
use gatepost_evidence::check::broker_transport_posture::survey::Survey;
use gatepost_evidence::check::broker_transport_posture::{
    Check, Connack, Dialled, Listener, Observation, TlsVersion, Transport, VersionOffer,
};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Status, Target, TargetKind};
use rustls_pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::broker::{self, Candidate};
use super::hello::{self, Bounds};
use super::tls::{self, Unauthenticated};
use super::wire::{self, Budget, Limits};
use super::{Missed, Probe, acl, battery, blocking, mqtt, observed};
use crate::config::Config;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "The broker's listeners: one TCP connection to each plaintext listener, two or three to each TLS listener, \
              on each at most one MQTT CONNECT under a canary client id, and DISCONNECT. To each TLS listener then \
              ClientHellos that are never finished, one connection after the other: some 40 to a usual broker, at most \
              240 in 12 s, 200 a second. Where client certificates are asked for, the battery: at most 8 clients that \
              must be turned away. As each client that is let in: messages to topics below gatepost/canary and \
              gatepost/foreign, none retained, a will there, and short subscriptions to these, to # and to $SYS/#, from \
              which nothing is kept but a count; at most 20 connections to a listener. Each is a line in the broker's log.",
    needs: "The broker's listeners in [broker], or a readable mosquitto.conf and acl_file; ca_file and a client certificate \
            or a user name to try the configured client; [broker.battery] for what only the CA's owner can make.",
    targets: |_| vec![Target::new(TargetKind::Broker, "broker")],
    look: |config, _| Box::pin(async move { observed(&observe(config, Limits::default()).await?) }),
};

/// Looks at every listener of the broker.
///
/// # Errors
/// When no listener could be dialled at all.
pub async fn observe(config: Arc<Config>, limits: Limits) -> Result<Observation, Missed> {
    let budget = limits.start();
    let (broker, root) = (config.broker.clone(), config.host.root.clone());
    let read = blocking(move || Ok((broker::candidates(&config)?, acl::declared::Source::read(&config)))).await?;
    let (candidates, declared) = (read.0, Arc::new(read.1));
    let name = broker::server_name(&broker, &candidates);
    let room = Arc::new(Semaphore::new(limits.at_once.max(1)));
    let mut looks = JoinSet::new();
    for (index, candidate) in candidates.into_iter().enumerate() {
        let (room, broker, name) = (room.clone(), broker.clone(), name.clone());
        let (root, declared) = (root.clone(), declared.clone());
        looks.spawn(async move {
            // The semaphore is never closed; without a permit the look would only be made sooner.
            let _permit = room.acquire_owned().await;
            let (root, declared) = (root.as_path(), declared.as_ref());
            let dialogue =
                Dialogue { candidate: &candidate, broker: &broker, root, declared, name: &name, budget: &budget };
            (index, dialogue.listener().await)
        });
    }
    let mut listeners = Vec::new();
    while let Some(look) = looks.join_next().await {
        listeners.push(look.map_err(|_| Missed::error("a look at a listener stopped unexpectedly"))?);
    }
    listeners.sort_by_key(|(index, _)| *index);
    let listeners: Vec<Listener> = listeners.into_iter().map(|(_, listener)| listener).collect();
    let failures: Vec<&Failure> = listeners.iter().filter_map(|listener| listener.dial.failure()).collect();
    if failures.len() == listeners.len() {
        return Err(unreached(&failures));
    }
    Ok(Observation { server_name: name, listeners })
}

/// Nothing was reached: timed out if all were, unreachable otherwise.
pub(super) fn unreached(failures: &[&Failure]) -> Missed {
    let all_timed_out = failures.iter().all(|failure| failure.kind == FailureKind::TimedOut);
    let status = if all_timed_out { Status::TimedOut } else { Status::Unreachable };
    let each: Vec<String> = failures.iter().map(ToString::to_string).collect();
    Missed { status, detail: each.join("; ").chars().take(500).collect() }
}

/// The look at one listener.
struct Dialogue<'a> {
    candidate: &'a Candidate,
    broker: &'a crate::config::Broker,
    root: &'a Path,
    declared: &'a Option<Result<acl::declared::Source, Failure>>,
    name: &'a str,
    budget: &'a Budget,
}

impl Dialogue<'_> {
    async fn listener(&self) -> Listener {
        let tls = self.candidate.transport == Transport::Tls;
        let client = tls && broker::client_configured(self.broker);
        let mut listener = Listener {
            address: self.candidate.address.clone(),
            bind: self.candidate.bind.clone(),
            transport: self.candidate.transport,
            source: self.candidate.source,
            dial: Look::Seen(Dialled { micros: 0 }),
            versions: Vec::new(),
            anonymous: None,
            authenticated: None,
            survey: None,
            battery: None,
            acl: None,
        };
        let wire = match self.dial().await {
            Ok((wire, micros)) => {
                listener.dial = Look::Seen(Dialled { micros });
                wire
            }
            Err(failure) => {
                listener.authenticated = client.then(|| Look::Failed(failure.clone()));
                listener.dial = Look::Failed(failure);
                return listener;
            }
        };
        if !tls {
            listener.anonymous = Some(mqtt::anonymous_plaintext(wire, self.budget).await.into());
            listener.acl = self.acl(&listener, None).await;
            return listener;
        }
        match tls::server_name(self.name) {
            Ok(name) => {
                self.tls(&mut listener, wire, &name, client).await;
                listener.survey = Some(self.survey(&listener.versions, &name).await);
                listener.battery = self.battery(&listener, &name).await;
                listener.acl = self.acl(&listener, Some(&name)).await;
            }
            Err(failure) => {
                listener.anonymous = Some(Look::Failed(failure.clone()));
                listener.authenticated = client.then_some(Look::Failed(failure.clone()));
                listener.survey = Some(Look::Failed(failure));
            }
        }
        listener
    }

    /// A peer that answered neither handshake in TLS has nothing to be surveyed.
    async fn survey(&self, versions: &[VersionOffer], name: &ServerName<'static>) -> Look<Survey> {
        let silent = |failure: &&Failure| !matches!(failure.kind, FailureKind::TlsAlert | FailureKind::Closed);
        let failures: Vec<&Failure> =
            versions.iter().filter_map(|offer| offer.handshake.failure()).filter(silent).collect();
        let asked = versions.iter().any(|offer| offer.client_certificate_requested);
        match failures.first() {
            Some(failure) if failures.len() == versions.len() && !asked => Look::Failed((*failure).clone()),
            _ => {
                let server_name = match name {
                    ServerName::DnsName(name) => Some(name.as_ref()),
                    _ => None,
                };
                hello::survey(&self.candidate.address, server_name, Bounds::default(), self.budget).await.into()
            }
        }
    }

    /// Only where a certificate is asked for can one be refused.
    async fn battery(&self, listener: &Listener, name: &ServerName<'static>) -> Option<Look<Battery>> {
        if !listener.versions.iter().any(|offer| offer.client_certificate_requested) {
            return None;
        }
        let directives = self.directives();
        let crl = directives.and_then(Result::ok).map(|directives| directives.contains_key("crlfile"));
        let ground = battery::Ground { address: &self.candidate.address, name, broker: self.broker, crl };
        Some(Look::Seen(battery::look(&ground, self.budget).await))
    }

    /// The directives of this listener, if a configuration of the broker is known.
    fn directives(&self) -> Option<Result<BTreeMap<String, String>, Failure>> {
        let source = self.declared.as_ref()?;
        Some(source.as_ref().map(|source| source.at(&self.candidate.address)).map_err(Clone::clone))
    }

    /// The clients that are let in, and the configured one in any case.
    async fn acl(&self, listener: &Listener, name: Option<&ServerName<'static>>) -> Option<Look<Acl>> {
        let accepted =
            |look: &Option<Look<Connack>>| look.as_ref().and_then(Look::seen).is_some_and(|connack| connack.code == 0);
        let mut clients = Vec::new();
        if accepted(&listener.anonymous) {
            clients.push(Who::Anonymous);
        }
        if listener.authenticated.is_some() {
            clients.push(Who::Configured);
        }
        if accepted(&listener.authenticated) && self.broker.client_certificate.is_some() && listener.battery.is_some() {
            clients.push(Who::OtherUser);
        }
        let canary = listener.battery.as_ref().and_then(Look::seen).is_some_and(|battery| {
            let canary = |trial: &&Trial| trial.member == Member::Canary;
            battery.trials.iter().find(canary).is_some_and(|trial| trial.answer.failure().is_none())
        });
        if canary {
            clients.push(Who::Canary);
        }
        if clients.is_empty() {
            return None;
        }
        let declared = match self.directives() {
            None => None,
            Some(Err(failure)) => Some(Look::Failed(failure)),
            Some(Ok(directives)) => {
                let (broker, root, clients) = (self.broker.clone(), self.root.to_owned(), clients.clone());
                let declared = move || Ok(acl::declared::declared(directives, &root, &acl::users(&broker, &clients)));
                Some(blocking(declared).await.map_err(|missed| Failure::new(FailureKind::Error, missed)).into())
            }
        };
        let ground = acl::Ground { address: &self.candidate.address, name, broker: self.broker, clients: &clients };
        Some(acl::look(&ground, declared, self.budget).await.into())
    }

    async fn dial(&self) -> Result<(wire::Wire, u64), Failure> {
        wire::dial(&self.candidate.address, self.budget).await
    }

    async fn tls(&self, listener: &mut Listener, wire: wire::Wire, name: &ServerName<'static>, client: bool) {
        let (newer, mut stream) = self.offer(Ok(wire), name, TlsVersion::Tls13).await;
        let mut anonymous = None;
        if let Some(stream) = stream.take() {
            anonymous = Some(mqtt::anonymous_tls(stream, self.budget).await);
        }
        let wire = self.dial().await.map(|(wire, _)| wire);
        let (older, stream) = self.offer(wire, name, TlsVersion::Tls12).await;
        if let (None, Some(stream)) = (&anonymous, stream) {
            anonymous = Some(mqtt::anonymous_tls(stream, self.budget).await);
        }
        listener.versions = vec![older, newer];
        let refusal = refusal(&listener.versions);
        listener.anonymous = Some(match (anonymous, &refusal) {
            (Some(result), _) => result.into(),
            (None, Some(failure)) => Look::Failed(failure.clone()),
            (None, None) => Look::Failed(Failure::new(FailureKind::Error, "no TLS version was offered")),
        });
        if client {
            let spoken = listener.versions.iter().any(|offer| offer.client_certificate_requested);
            listener.authenticated = Some(match refusal {
                // The server speaks none of our TLS versions, or nothing at all: a third connection would say no more.
                Some(failure) if !spoken => Look::Failed(failure),
                _ => self.authenticated(name).await.into(),
            });
        }
    }

    /// One TLS version, offered alone.
    async fn offer(
        &self,
        wire: Result<wire::Wire, Failure>,
        name: &ServerName<'static>,
        version: TlsVersion,
    ) -> (VersionOffer, Option<Unauthenticated>) {
        let looked = match wire {
            Ok(wire) => tls::look(wire, name, Some(version), self.budget).await,
            Err(failure) => tls::Looked { peer: tls::Peer::default(), handshake: Err(failure) },
        };
        let (handshake, stream) = match looked.handshake {
            Ok((handshake, stream)) => (Look::Seen(handshake), Some(stream)),
            Err(failure) => (Look::Failed(failure), None),
        };
        let offer = VersionOffer {
            version,
            client_certificate_requested: looked.peer.certificate_requested,
            accepted_issuers: looked.peer.accepted_issuers,
            handshake,
        };
        (offer, stream)
    }

    async fn authenticated(&self, name: &ServerName<'static>) -> Result<Connack, Failure> {
        let broker = self.broker.clone();
        let client = blocking(move || Ok(broker::client(&broker)))
            .await
            .map_err(|missed| Failure::new(FailureKind::Error, missed))??;
        let (wire, _) = self.dial().await?;
        let stream = tls::trusted(wire, name, &client.anchors, client.identity, self.budget).await?;
        mqtt::authenticated(stream, client.credentials, self.budget).await
    }
}

/// Why no handshake completed, if none did. A server that asked for a certificate and then refused did so for lack of
/// one; an alert or a closed connection before that says only that the version was not taken, which is no word about
/// clients without credentials.
fn refusal(versions: &[VersionOffer]) -> Option<Failure> {
    let failures: Option<Vec<_>> =
        versions.iter().rev().map(|offer| offer.handshake.failure().map(|failure| (offer, failure))).collect();
    let failures = failures?;
    if let Some((_, failure)) = failures.iter().find(|(offer, _)| offer.client_certificate_requested) {
        return Some((*failure).clone());
    }
    let no_word = |failure: &Failure| matches!(failure.kind, FailureKind::TlsAlert | FailureKind::Closed);
    let (_, failure) = failures.iter().find(|(_, failure)| !no_word(failure)).or(failures.first())?;
    Some(match no_word(failure) {
        true => Failure::new(FailureKind::Error, format_args!("no TLS version was accepted: {failure}")),
        false => (*failure).clone(),
    })
}
