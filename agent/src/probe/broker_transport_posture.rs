//! Looks for `broker_transport_posture`: dials each of the broker's listeners, offers each TLS version on its own, connects
//! by MQTT without and with credentials, surveys what else a TLS listener takes, and asks MQTT about levels and limits.
//!
//! A TLS listener gets two connections, one per version; the client without credentials connects over the newest of them that
//! completed. A third carries the configured client, once the broker's certificate has verified. Then comes the survey
//! ([`super::hello`]), one connection after the other, no handshake finished, and then what MQTT itself is asked
//! ([`super::mqtt::trials`]), as the configured client where that one gets in. The battery of clients that must be turned away
//! ([`super::battery`]) and what those that are let in may do ([`super::acl`]) come after it. Credentials never go over plaintext: there is no
//! configured client for a plaintext listener. Last of all, across listeners, a client without credentials takes the id of one
//! with them, both our own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::broker_transport_posture::acl::{Acl, Who};
use gatepost_evidence::check::broker_transport_posture::battery::{Battery, Member, Trial};
use gatepost_evidence::check::broker_transport_posture::mqtt::{Mqtt, Speaker};
use gatepost_evidence::check::broker_transport_posture::resumption::Resumption;
use gatepost_evidence::check::broker_transport_posture::survey::Survey;
use gatepost_evidence::check::broker_transport_posture::web::{HttpApi, WebSocket};
use gatepost_evidence::check::broker_transport_posture::{
    Check, Connack, Dialled, Listener, Observation, TlsVersion, Transport, VersionOffer,
};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Status, Target, TargetKind};
use rustls_pki_types::ServerName;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::broker::{self, Candidate, Protocol};
use super::hello::{self, Bounds};
use super::mqtt::packet::Level;
use super::mqtt::session::Login;
use super::mqtt::way::{Client, Tls, Way};
use super::mqtt::{takeover, trials};
use super::tickets::{self, Tickets};
use super::tls::{self, Onlooker, Trusting, Unauthenticated};
use super::wire::{self, Budget, Limits};
use super::{Missed, Probe, acl, battery, blocking, mqtt, observed};
use crate::config::Config;

/// What an HTTP API is asked for: what Mosquitto 2.1 has.
const API_PATHS: [&str; 3] = ["/api/v1/version", "/api/v1/listeners", "/api/v1/systree"];
/// The most listeners over which a client without credentials takes the id of one with them.
const MAX_TAKEOVERS: usize = 4;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(20),
    touches: "The broker's listeners: two or three TCP connections to each TLS listener, one to each plaintext listener, then up \
              to 26 more to each, on each at most one MQTT CONNECT under a canary client id and DISCONNECT. Two of them share an \
              id of ours, so that the second ends the first; three are openings that a broker must refuse; over plaintext one \
              has a made-up user name and password. One retained message below gatepost/canary/ is published, read and \
              cleared, and one UNSUBSCRIBE of 256 KiB sent, which goes to nobody. A WebSocket listener is asked twice to \
              upgrade, an HTTP API for three pages, without credentials. To each TLS listener ClientHellos that are never \
              finished, one connection after the other: some 40 to a usual broker, at most 240 in 12 s, 200 a second. Where \
              client certificates are asked for, the battery: at most 8 clients that must be turned away. As each client that \
              is let in: messages to topics below gatepost/canary and gatepost/foreign, none retained, a will there, and short \
              subscriptions to these, to # and to $SYS/#, from which nothing is kept but a count; at most 20 connections to a \
              listener. Each is a line in the broker's log.",
    needs: "The broker's listeners in [broker], or a readable mosquitto.conf and acl_file; ca_file and a client certificate \
            or a user name to try the configured client, which should be one of the agent's own and may use \
            gatepost/canary/#; [broker.battery] for what only the CA's owner can make.",
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
    let read = blocking(move || Ok((broker::every_candidate(&config)?, acl::declared::Source::read(&config)))).await?;
    let (candidates, declared) = (read.0, Arc::new(read.1));
    let (apis, candidates): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|candidate| candidate.protocol == Protocol::HttpApi);
    let name = broker::server_name(&broker, &candidates);
    let candidates: Vec<_> = candidates.into_iter().map(Arc::new).collect();
    let room = Arc::new(Semaphore::new(limits.at_once.max(1)));
    let mut looks = JoinSet::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let (room, broker, name, candidate) = (room.clone(), broker.clone(), name.clone(), candidate.clone());
        let (root, declared, others) = (root.clone(), declared.clone(), candidates.clone());
        looks.spawn(async move {
            // The semaphore is never closed; without a permit the look would only be made sooner.
            let _permit = room.acquire_owned().await;
            let dialogue = Dialogue {
                candidate: &candidate,
                broker: &broker,
                root: &root,
                declared: &declared,
                others: &others,
                name: &name,
                budget: &budget,
            };
            (index, dialogue.listener().await)
        });
    }
    let mut listeners = Vec::new();
    while let Some(look) = looks.join_next().await {
        listeners.push(look.map_err(|_| Missed::error("a look at a listener stopped unexpectedly"))?);
    }
    listeners.sort_by_key(|(index, _)| *index);
    let mut listeners: Vec<Listener> = listeners.into_iter().map(|(_, listener)| listener).collect();
    let dialogues: Vec<Dialogue<'_>> = candidates
        .iter()
        .map(|candidate| Dialogue {
            candidate,
            broker: &broker,
            root: &root,
            declared: &declared,
            others: &candidates,
            name: &name,
            budget: &budget,
        })
        .collect();
    without_credentials(&mut listeners, &dialogues).await;
    let mut http_apis = Vec::new();
    for candidate in &apis {
        let dialogue = Dialogue {
            candidate,
            broker: &broker,
            root: &root,
            declared: &declared,
            others: &candidates,
            name: &name,
            budget: &budget,
        };
        http_apis.push(dialogue.http_api().await);
    }
    let dials = listeners.iter().map(|listener| &listener.dial).chain(http_apis.iter().map(|api| &api.dial));
    let failures: Vec<&Failure> = dials.filter_map(Look::failure).collect();
    if failures.len() == listeners.len() + http_apis.len() {
        return Err(unreached(&failures));
    }
    Ok(Observation { server_name: name, listeners, http_apis })
}

/// A client without credentials takes the id of the configured one, over each listener that lets such clients in.
async fn without_credentials(listeners: &mut [Listener], dialogues: &[Dialogue<'_>]) {
    let mqtt = |listener: &Listener| listener.mqtt.as_ref().and_then(Look::seen).cloned();
    let newest = |mqtt: &Mqtt| {
        let accepted = |level: &Level| {
            let offer = mqtt.levels.iter().find(|offer| offer.level == level.wire());
            offer.and_then(|offer| offer.answer.seen()).is_some_and(|connack| connack.code == 0)
        };
        Level::ALL.into_iter().rev().find(accepted)
    };
    let client = listeners.iter().enumerate().find_map(|(index, listener)| {
        let mqtt = mqtt(listener).filter(|mqtt| mqtt.speaker == Speaker::Client)?;
        Some((index, newest(&mqtt)?))
    });
    let Some((home, level)) = client else { return };
    let let_in = |listener: &Listener| {
        matches!(&listener.anonymous, Some(Look::Seen(Connack { code: 0, .. }))) && listener.mqtt.is_some()
    };
    let guests: Vec<usize> =
        listeners.iter().enumerate().filter(|(_, listener)| let_in(listener)).map(|(index, _)| index).collect();
    for index in guests.into_iter().take(MAX_TAKEOVERS) {
        let trial = async {
            let (first, second) = (&dialogues[home], &dialogues[index]);
            let names = (tls::server_name(first.name)?, tls::server_name(second.name)?);
            let client = first.client().await?;
            let first = first.way(&names.0, Tls::Client(client));
            let second = second.way(&names.1, second.nobody()?);
            takeover::trial(&first, &second, level).await
        };
        let trial = trial.await;
        if let Some(Look::Seen(mqtt)) = &mut listeners[index].mqtt {
            mqtt.takeover_without_credentials = Some(trial.into());
        }
    }
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
    others: &'a [Arc<Candidate>],
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
            mqtt: None,
            resumption: None,
            websocket: None,
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
        match tls::server_name(self.name) {
            Ok(name) => {
                match self.candidate.transport {
                    Transport::Plaintext => self.plaintext(&mut listener, wire, &name).await,
                    Transport::Tls => {
                        self.tls(&mut listener, wire, &name, client).await;
                        listener.survey = Some(self.survey(&listener.versions, &name).await);
                    }
                }
                self.mqtt(&mut listener, &name).await;
                if self.candidate.protocol == Protocol::Mqtt {
                    listener.battery = self.battery(&listener, &name).await;
                    listener.acl = self.acl(&listener, tls.then_some(&name)).await;
                }
            }
            Err(failure) => {
                listener.anonymous = Some(Look::Failed(failure.clone()));
                listener.authenticated = client.then_some(Look::Failed(failure.clone()));
                listener.survey = tls.then_some(Look::Failed(failure));
            }
        }
        listener
    }

    /// How the listener is reached; nothing is dialled yet.
    fn way<'b>(&'b self, name: &'b ServerName<'static>, tls: Tls) -> Way<'b> {
        let path = match &self.candidate.protocol {
            Protocol::WebSocket(path) => Some(path.as_str()),
            Protocol::Mqtt | Protocol::HttpApi => None,
        };
        Way::new(&self.candidate.address, name, path, tls, self.budget)
    }

    /// As whom the listener is asked without credentials.
    fn nobody(&self) -> Result<Tls, Failure> {
        match self.candidate.transport {
            Transport::Plaintext => Ok(Tls::None),
            Transport::Tls => Onlooker::new().map(Tls::Nobody),
        }
    }

    async fn client(&self) -> Result<Client, Failure> {
        let broker = self.broker.clone();
        let client = blocking(move || Ok(broker::client(&broker)))
            .await
            .map_err(|missed| Failure::new(FailureKind::Error, missed))??;
        Ok(Client { trusting: Trusting::new(&client.anchors, client.identity)?, credentials: client.credentials })
    }

    async fn plaintext(&self, listener: &mut Listener, wire: wire::Wire, name: &ServerName<'static>) {
        listener.anonymous = Some(match self.candidate.protocol {
            Protocol::WebSocket(_) => self.over_websocket(listener, name, Tls::None).await,
            Protocol::Mqtt | Protocol::HttpApi => mqtt::anonymous_plaintext(wire, self.budget).await.into(),
        });
    }

    /// What the upgrade to WebSocket is answered, and CONNECT after it.
    async fn over_websocket(&self, listener: &mut Listener, name: &ServerName<'static>, tls: Tls) -> Look<Connack> {
        let Protocol::WebSocket(path) = &self.candidate.protocol else {
            return Look::Failed(Failure::new(FailureKind::Error, "this is no WebSocket listener"));
        };
        let way = self.way(name, tls);
        listener.websocket = Some(self.upgrades(&way, path).await);
        let connack = async { mqtt::once(way.open().await?, way.login(), self.budget).await };
        connack.await.into()
    }

    /// What the upgrade is answered, without an origin and with a foreign one.
    async fn upgrades(&self, way: &Way<'_>, path: &str) -> WebSocket {
        let asked = async |origin: Option<&str>| {
            let mut link = way.raw(&way.tls).await?;
            let answer = link.upgrade(way.address, path, origin);
            self.budget.wait("the answer to an upgrade", self.budget.limits().answer, answer).await
        };
        let upgrade = asked(None).await;
        let mut foreign_origin = asked(Some(mqtt::websocket::FOREIGN_ORIGIN)).await;
        // A closed connection is an answer to the origin where the next one without it is switched again.
        if let Err(Failure { kind: kind @ FailureKind::Closed, .. }) = &mut foreign_origin
            && !asked(None).await.is_ok_and(|again| again.switched())
        {
            *kind = FailureKind::Error;
        }
        WebSocket { path: path.to_owned(), upgrade: upgrade.into(), foreign_origin: foreign_origin.into() }
    }

    /// What MQTT tells, as the configured client where that one got in, else as nobody; and the tickets of TLS 1.3.
    async fn mqtt(&self, listener: &mut Listener, name: &ServerName<'static>) {
        let client = matches!(&listener.authenticated, Some(Look::Seen(Connack { code: 0, .. })));
        let tls = if client { self.client().await.map(Tls::Client) } else { self.nobody() };
        // Whoever has no certificate is not let in to ask, and an operator who gave none did not ask.
        let refused = |failure: &Failure| matches!(failure.kind, FailureKind::TlsAlert | FailureKind::Closed);
        let demanded = listener.versions.iter().any(|offer| offer.client_certificate_requested)
            && matches!(&listener.anonymous, Some(Look::Failed(failure)) if refused(failure));
        if demanded && listener.authenticated.is_none() {
            return;
        }
        // A peer that did not answer CONNECT as MQTT has it is not asked more.
        let first = if client { &listener.authenticated } else { &listener.anonymous };
        // Whoever demands a certificate answers no upgrade without one.
        if let (true, Protocol::WebSocket(path), Ok(tls)) = (client, &self.candidate.protocol, &tls) {
            listener.websocket = Some(self.upgrades(&self.way(name, tls.clone()), path).await);
        }
        let switched = |websocket: &WebSocket| websocket.upgrade.seen().is_some_and(|upgrade| upgrade.switched());
        let silent = listener.websocket.as_ref().is_some_and(|websocket| !switched(websocket));
        let hopeless = match first {
            Some(Look::Failed(failure)) if silent || failure.kind != FailureKind::Closed => Some(failure.clone()),
            _ => None,
        };
        let tls = match (tls, hopeless) {
            (Err(failure), _) | (_, Some(failure)) => {
                listener.mqtt = Some(Look::Failed(failure));
                return;
            }
            (Ok(tls), None) => tls,
        };
        let tls13 = |offer: &VersionOffer| offer.version == TlsVersion::Tls13 && offer.handshake.seen().is_some();
        if listener.versions.iter().any(tls13) {
            listener.resumption = Some(self.resumption(name, &tls).await.into());
        }
        let way = self.way(name, tls);
        listener.mqtt = Some(Look::Seen(trials::carry_out(&way, self.broker.try_keep_alive).await));
    }

    /// One session that keeps its tickets, up to the answer to CONNECT, and a handshake with the first of them.
    async fn resumption(&self, name: &ServerName<'static>, tls: &Tls) -> Result<Resumption, Failure> {
        let tickets = Arc::new(Tickets::default());
        let tls = match tls {
            Tls::None => return Err(Failure::new(FailureKind::Error, "there are no tickets without TLS")),
            Tls::Nobody(onlooker) => Tls::Nobody(onlooker.keeping(&tickets)),
            Tls::Client(client) => {
                Tls::Client(Client { trusting: client.trusting.keeping(&tickets), ..client.clone() })
            }
        };
        let way = self.way(name, tls);
        let spoken = mqtt::once(way.open().await?, way.login(), self.budget).await.map(drop);
        let again = async {
            way.raw(&way.tls).await.and_then(|mut link| {
                link.resumed().ok_or_else(|| Failure::new(FailureKind::Error, "rustls does not tell its handshake"))
            })
        };
        tickets::resumption(&tickets, spoken, again).await
    }

    /// What an HTTP API answers to somebody without credentials.
    async fn http_api(&self) -> HttpApi {
        let mut api = HttpApi {
            address: self.candidate.address.clone(),
            bind: self.candidate.bind.clone(),
            transport: self.candidate.transport,
            source: self.candidate.source,
            dial: Look::Seen(Dialled { micros: 0 }),
            answers: Default::default(),
        };
        match self.dial().await {
            Ok((_, micros)) => api.dial = Look::Seen(Dialled { micros }),
            Err(failure) => {
                api.dial = Look::Failed(failure);
                return api;
            }
        }
        let (name, nobody) = (tls::server_name(self.name), self.nobody());
        for path in API_PATHS {
            let answer = async {
                let (name, nobody) = (name.clone()?, nobody.clone()?);
                let way = self.way(&name, nobody);
                let mut link = way.raw(&way.tls).await?;
                let answer = link.get(&self.candidate.address, path);
                self.budget.wait("the answer to GET", self.budget.limits().answer, answer).await
            };
            api.answers.insert(path.to_owned(), answer.await.into());
        }
        api
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

    /// Where clients with certificates may come in when not here: the first other listener with TLS.
    fn home(&self) -> Option<(&str, ServerName<'static>)> {
        let mut others = self.others.iter().filter(|other| other.address != self.candidate.address);
        let home = others.find(|other| other.transport == Transport::Tls && other.protocol == Protocol::Mqtt)?;
        Some((home.address.as_str(), tls::server_name(self.name).ok()?))
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
        if clients.is_empty() {
            return None;
        }
        let home = self.home();
        let mut guests = Vec::new();
        if home.is_some() && broker::client_configured(self.broker) && !clients.contains(&Who::Configured) {
            guests.push(Who::Configured);
        }
        match canary {
            true => clients.push(Who::Canary),
            false if home.is_some() && self.broker.battery.file(Member::Canary).is_some() => guests.push(Who::Canary),
            false => {}
        }
        clients.extend(&guests);
        let declared = match self.directives() {
            None => None,
            Some(Err(failure)) => Some(Look::Failed(failure)),
            Some(Ok(directives)) => {
                let (broker, root, clients) = (self.broker.clone(), self.root.to_owned(), clients.clone());
                let declared = move || Ok(acl::declared::declared(directives, &root, &acl::users(&broker, &clients)));
                Some(blocking(declared).await.map_err(|missed| Failure::new(FailureKind::Error, missed)).into())
            }
        };
        let address = self.candidate.address.as_str();
        let home = home.as_ref().map(|(home, name)| (*home, name));
        let ground = acl::Ground { address, name, broker: self.broker, clients: &clients, guests: &guests, home };
        Some(acl::look(&ground, declared, self.budget).await.into())
    }

    async fn dial(&self) -> Result<(wire::Wire, u64), Failure> {
        wire::dial(&self.candidate.address, self.budget).await
    }

    async fn tls(&self, listener: &mut Listener, wire: wire::Wire, name: &ServerName<'static>, client: bool) {
        let websocket = matches!(self.candidate.protocol, Protocol::WebSocket(_));
        let (newer, mut stream) = self.offer(Ok(wire), name, TlsVersion::Tls13).await;
        let mut anonymous = None;
        if let Some(stream) = stream.take().filter(|_| !websocket) {
            anonymous = Some(mqtt::anonymous_tls(stream, self.budget).await);
        }
        let wire = self.dial().await.map(|(wire, _)| wire);
        let (older, stream) = self.offer(wire, name, TlsVersion::Tls12).await;
        if let (None, Some(stream), false) = (&anonymous, stream, websocket) {
            anonymous = Some(mqtt::anonymous_tls(stream, self.budget).await);
        }
        listener.versions = vec![older, newer];
        let refusal = refusal(&listener.versions);
        listener.anonymous = Some(match (anonymous, refusal.clone().map_or_else(|| self.nobody(), Err)) {
            (Some(result), _) => result.into(),
            (None, Err(failure)) => Look::Failed(failure),
            (None, Ok(nobody)) => self.over_websocket(listener, name, nobody).await,
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
        let client = self.client().await?;
        let login = client.credentials.clone();
        let way = self.way(name, Tls::Client(client));
        let login = login.as_ref().map_or(Login::Nobody, Login::Configured);
        mqtt::once(way.open().await?, login, self.budget).await
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
