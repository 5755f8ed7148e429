//! What clients may really do at one listener, beside what the broker's configuration declares.
//!
//! Every client that is let in publishes to topics of this look's own and subscribes to them; who received what is all that
//! is looked at. Nothing is retained, sessions are clean, client ids are used once, and the topics stand below
//! `gatepost/canary` and `gatepost/foreign`, so nothing is left and nobody's messages are touched. Through `#` and `$SYS/#` other
//! people's messages may come: they are counted to at most 1000, their topics held against the declared list, and neither is
//! kept; the subscription ends with its connection, milliseconds later.

pub mod declared;
pub mod list;
pub mod packet;
pub mod session;

use std::collections::BTreeSet;
use std::time::Duration;

use gatepost_evidence::check::broker_transport_posture::acl::{
    self, Acl, CANARY, Client, Connected, Declared, FOREIGN, Permission, Spot, Who, Wide, Will,
};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use rustls_pki_types::ServerName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::tls::{self, Identity};
use super::wire::{self, Budget, Wire};
use super::{blocking, broker, canary};
use crate::config::Broker;
use crate::secret::Secret;
use packet::Hello;
use session::{Channel, LEVELS, Session};

/// The most connections to one listener.
const CONNECTIONS: u32 = 20;
/// The most time for one listener.
const TOTAL: Duration = Duration::from_secs(8);
/// The user name that nobody has.
const OTHER_USER: &str = "gatepost-canary-other";

/// One listener, and what is known of it.
pub struct Ground<'a> {
    /// Where it is.
    pub address: &'a str,
    /// Its name in TLS; none in plaintext.
    pub name: Option<&'a ServerName<'static>>,
    /// The broker's part of the configuration.
    pub broker: &'a Broker,
    /// The clients to try, see [`Who`].
    pub clients: &'a [Who],
    /// Those of them that come by another listener to lend a hand, and that listener.
    pub guests: &'a [Who],
    /// That listener and its name in TLS.
    pub home: Option<(&'a str, &'a ServerName<'static>)>,
}

impl Ground<'_> {
    fn home_of(&self, who: Who) -> Option<(&str, &ServerName<'static>)> {
        self.home.filter(|_| self.guests.contains(&who))
    }
}

/// Who a client is before it connects.
struct Person {
    who: Who,
    username: Option<String>,
    common_name: Option<String>,
}

impl Person {
    fn of(who: Who, broker: &Broker) -> Self {
        let (username, identity) = match who {
            Who::Anonymous => (None, None),
            Who::Configured => (broker.username.clone(), broker.client_certificate.clone()),
            Who::OtherUser => (Some(OTHER_USER.to_owned()), broker.client_certificate.clone()),
            Who::Canary => {
                let member = gatepost_evidence::check::broker_transport_posture::battery::Member::Canary;
                (None, broker.battery.file(member))
            }
        };
        let certificate = identity.and_then(|path| crate::files::read_certificates(&path).ok());
        let common_name = certificate.and_then(|chain| common_name(&chain.first()?.0));
        Self { who, username, common_name }
    }
}

fn common_name(der: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    Some(name.chars().take(300).collect())
}

/// The user names by which the list may speak of the clients.
#[must_use]
pub fn users(broker: &Broker, clients: &[Who]) -> Vec<Option<String>> {
    let people = clients.iter().map(|who| Person::of(*who, broker));
    people.flat_map(|person| [person.username, person.common_name]).chain([None]).collect()
}

/// Looks at one listener.
pub async fn look(ground: &Ground<'_>, declared: Option<Look<Declared>>, budget: &Budget) -> Result<Acl, Failure> {
    let budget = budget.within(TOTAL);
    let nonce = canary::random::<6>()?;
    let own = [format!("{CANARY}/{nonce}/"), format!("{FOREIGN}/{nonce}/")];
    let mut look = Trying { ground, budget, own, declared: &declared, connections: 0 };
    let mut clients = Vec::new();
    let mut sessions = Vec::new();
    for who in ground.clients {
        let (client, session) = look.client(*who).await;
        clients.push(client);
        sessions.push(session);
    }
    look.spots(&mut clients, &mut sessions).await;
    for index in 0..clients.len() {
        let subject = clients[index].by_way_of.is_none() && sessions[index].is_some();
        if subject && matches!(clients[index].client, Who::Configured | Who::Anonymous) {
            clients[index].sys = Some(look.sys(&clients[index]).await.into());
            clients[index].everything = Some(look.everything(&clients, index, &mut sessions).await.into());
            clients[index].will = Some(look.will(&clients, index, &mut sessions).await.into());
        }
    }
    for session in sessions.into_iter().flatten() {
        session.leave(&look.budget).await;
    }
    let connections = look.connections;
    Ok(Acl { connections, connection_limit: CONNECTIONS, declared, clients })
}

struct Trying<'a> {
    ground: &'a Ground<'a>,
    budget: Budget,
    own: [String; 2],
    declared: &'a Option<Look<Declared>>,
    connections: u32,
}

/// The sessions of all clients, in their order.
type Sessions = [Option<Session>];

impl Trying<'_> {
    /// A client and its main session, if it was let in.
    async fn client(&mut self, who: Who) -> (Client, Option<Session>) {
        let broker = self.ground.broker.clone();
        let person = blocking(move || Ok(Person::of(who, &broker))).await.unwrap_or(Person {
            who,
            username: None,
            common_name: None,
        });
        let id = canary::name();
        let mut client = Client {
            client: person.who,
            id: id.as_deref().unwrap_or_default().to_owned(),
            username: person.username,
            common_name: person.common_name,
            by_way_of: self.ground.home_of(who).map(|(address, _)| address.to_owned()),
            connect: Look::Failed(Failure::new(FailureKind::Error, "not tried")),
            canary: None,
            foreign: None,
            everything: None,
            sys: None,
            will: None,
        };
        let opened = match id {
            Ok(_) => self.open(&client, None).await,
            Err(failure) => Err(failure),
        };
        match opened {
            Ok((session, connected)) => {
                let let_in = connected.code == 0;
                client.connect = Look::Seen(connected);
                (client, let_in.then_some(session))
            }
            Err(failure) => {
                client.connect = Look::Failed(failure);
                (client, None)
            }
        }
    }

    /// Connects as `client`, in the newest version of MQTT that the broker takes.
    async fn open(&mut self, client: &Client, will: Option<&str>) -> Result<(Session, Connected), Failure> {
        let mut last = Failure::new(FailureKind::Error, "no version of MQTT was tried");
        for level in LEVELS {
            match self.open_at(level, client, will).await {
                Ok((_, code)) if Session::other_version(level, Ok(code)) => {
                    last = Failure::new(FailureKind::Protocol, format_args!("CONNACK {code}"));
                }
                Ok((session, code)) => return Ok((session, Connected { level, code })),
                Err(failure) if Session::other_version(level, Err(&failure)) => last = failure,
                Err(failure) => return Err(failure),
            }
        }
        Err(last)
    }

    async fn open_at(&mut self, level: u8, client: &Client, will: Option<&str>) -> Result<(Session, u8), Failure> {
        if self.connections == CONNECTIONS {
            let words = "no connection is left of those that one listener gets";
            return Err(Failure::new(FailureKind::Error, words));
        }
        self.connections += 1;
        let address = client.by_way_of.as_deref().unwrap_or(self.ground.address);
        let (wire, _) = wire::dial(address, &self.budget).await?;
        let (channel, password) = self.channel(client.client, wire).await?;
        let hello = Hello {
            id: &client.id,
            username: client.username.as_deref(),
            password: password.as_ref().map(Secret::expose),
            will,
        };
        let readable = readable(self.declared.as_ref(), client);
        Session::open(channel, level, &hello, self.own.clone(), readable, &self.budget).await
    }

    /// The way in for a client; credentials of the configured one go over TLS to the broker alone.
    async fn channel(&self, who: Who, wire: Wire) -> Result<(Channel, Option<Secret>), Failure> {
        let home = self.ground.home_of(who).map(|(_, name)| name);
        let Some(name) = home.or(self.ground.name) else { return Ok((Channel::Plaintext(wire), None)) };
        if who == Who::Anonymous {
            let looked = tls::look(wire, name, None, &self.budget).await;
            return looked.handshake.map(|(_, stream)| (Channel::Unauthenticated(stream), None));
        }
        let (broker, canary) = (self.ground.broker.clone(), who == Who::Canary);
        let read = blocking(move || Ok(credentials(&broker, canary))).await;
        let (anchors, identity, password) = read.map_err(|missed| Failure::new(FailureKind::Error, missed))??;
        let password = password.filter(|_| who == Who::Configured);
        let stream = tls::trusted(wire, name, &anchors, identity, &self.budget).await?;
        Ok((Channel::Trusted(stream), password))
    }

    /// Every client subscribes, then every one publishes, then all look at what came.
    async fn spots(&self, clients: &mut [Client], sessions: &mut Sessions) {
        let budget = &self.budget;
        for (client, session) in clients.iter_mut().zip(sessions.iter_mut()) {
            let Some(session) = session else { continue };
            let mut spots = Vec::new();
            for own in &self.own {
                let subscribe = session.subscribe(&format!("{own}+"), budget).await.into();
                let publish = Look::Failed(Failure::new(FailureKind::Error, "not tried"));
                spots.push(Spot { subscribe, publish, reached: BTreeSet::new(), gone: None });
            }
            (client.foreign, client.canary) = (spots.pop(), spots.pop());
        }
        for (client, session) in clients.iter_mut().zip(sessions.iter_mut()) {
            let Some(session) = session else { continue };
            let topics = self.topics(client.client, "spot");
            for (topic, spot) in topics.iter().zip([&mut client.canary, &mut client.foreign]) {
                if let Some(spot) = spot {
                    spot.publish = session.publish(topic, budget).await.into();
                }
            }
        }
        self.listen(clients, sessions).await;
    }

    /// Our topics for one purpose of one client, below [`CANARY`] and [`FOREIGN`].
    fn topics(&self, who: Who, purpose: &str) -> [String; 2] {
        let [canary, foreign] = &self.own;
        [format!("{canary}{purpose}-{}", who as u8), format!("{foreign}{purpose}-{}", who as u8)]
    }

    async fn listen(&self, clients: &mut [Client], sessions: &mut Sessions) {
        for session in sessions.iter_mut().flatten() {
            // A session that is gone heard what it heard.
            let _ = session.fence(&self.budget).await;
        }
        for client in clients.iter_mut() {
            let topics = self.topics(client.client, "spot");
            for (foreign, topic) in [false, true].into_iter().zip(&topics) {
                let spot = if foreign { &mut client.foreign } else { &mut client.canary };
                let Some(spot) = spot else { continue };
                let accepted = matches!(spot.publish, Look::Seen(code) if code.is_none_or(|code| code < 0x80));
                spot.reached = self.reached(topic, accepted, sessions).await;
            }
        }
        // Whoever is gone by now has not been refused what did not come.
        for (client, session) in clients.iter_mut().zip(sessions.iter_mut()) {
            let Some(session) = session else { continue };
            let Err(failure) = session.fence(&self.budget).await else { continue };
            for spot in [&mut client.canary, &mut client.foreign].into_iter().flatten() {
                spot.gone = Some(failure.clone());
            }
        }
    }

    /// Whom a message reached. One that was accepted gets a little time to do so.
    async fn reached(&self, topic: &str, accepted: bool, sessions: &mut Sessions) -> BTreeSet<Who> {
        let mut reached = BTreeSet::new();
        for (who, session) in self.ground.clients.iter().zip(sessions.iter_mut()) {
            let Some(session) = session else { continue };
            if accepted && !session.heard.contains(topic) {
                session.wait_for(topic, &self.budget).await;
            }
            if session.heard.contains(topic) {
                reached.insert(*who);
            }
        }
        reached
    }

    async fn sys(&mut self, client: &Client) -> Result<Wide, Failure> {
        let mut session = self.again(client).await?;
        let subscribe = session.subscribe("$SYS/#", &self.budget).await?;
        let whole = self.settle(&mut session).await?;
        if !whole && session.sys == 0 {
            return Err(Failure::new(FailureKind::TooLarge, "other messages came, and too many of them"));
        }
        let wide = Wide { subscribe, writer: None, foreign: false, others: session.sys, beyond: None };
        session.leave(&self.budget).await;
        Ok(wide)
    }

    async fn everything(&mut self, clients: &[Client], index: usize, sessions: &mut Sessions) -> Result<Wide, Failure> {
        let client = &clients[index];
        let mut session = self.again(client).await?;
        let subscribe = session.subscribe("#", &self.budget).await?;
        let [_, topic] = self.topics(client.client, "wide");
        let mut writer = None;
        // The battery's canary first, if it is there: it stands for somebody else.
        for who in [Who::Canary, Who::Configured, Who::Anonymous] {
            let Some(place) = clients.iter().position(|client| client.client == who) else { continue };
            let consent = |client: &Client| {
                let spot = client.foreign.as_ref()?;
                let said = matches!(spot.publish, Look::Seen(Some(code)) if code < 0x80);
                (said || !spot.reached.is_empty()).then_some(())
            };
            let (Some(()), Some(writing)) = (consent(&clients[place]), sessions[place].as_mut()) else { continue };
            writing.publish(&topic, &self.budget).await?;
            writer = Some(who);
            break;
        }
        let whole = self.settle(&mut session).await?;
        if writer.is_some() && subscribe < 0x80 {
            session.wait_for(&topic, &self.budget).await;
        }
        let told = matches!(self.declared, Some(Look::Seen(declared)) if told(declared, client));
        let wide = Wide {
            subscribe,
            // What did not come before it was ended might have come after.
            writer: writer.filter(|_| whole),
            foreign: session.heard.contains(&topic),
            others: session.others,
            beyond: told.then_some(session.beyond),
        };
        session.leave(&self.budget).await;
        Ok(wide)
    }

    /// Waits until what was there has come: whether that is all, or more than is counted.
    async fn settle(&self, session: &mut Session) -> Result<bool, Failure> {
        match session.fence(&self.budget).await {
            Err(failure) if failure.kind != FailureKind::TooLarge => Err(failure),
            settled => Ok(settled.is_ok()),
        }
    }

    /// A session beside the client's main one.
    async fn again(&mut self, client: &Client) -> Result<Session, Failure> {
        let second = Client { id: canary::name()?, ..client.clone() };
        match self.open(&second, None).await? {
            (session, Connected { code: 0, .. }) => Ok(session),
            (_, Connected { code, .. }) => {
                Err(Failure::new(FailureKind::Denied, format_args!("a second connection was answered CONNACK {code}")))
            }
        }
    }

    async fn will(&mut self, clients: &[Client], index: usize, sessions: &mut Sessions) -> Result<Will, Failure> {
        let client = &clients[index];
        let [_, topic] = self.topics(client.client, "will");
        let second = Client { id: canary::name()?, ..client.clone() };
        let (session, connect) = self.open(&second, Some(&topic)).await?;
        let let_in = connect.code == 0;
        session.break_off();
        let mut reached = BTreeSet::new();
        if let_in {
            for session in sessions.iter_mut().flatten() {
                let _ = session.fence(&self.budget).await;
            }
            // Only those who were seen to receive there can be waited for.
            let watching = |who: &Who| {
                clients.iter().any(|client| client.foreign.as_ref().is_some_and(|spot| spot.reached.contains(who)))
            };
            let watched = clients.iter().any(|client| watching(&client.client));
            reached = self.reached(&topic, watched, sessions).await;
        }
        Ok(Will { connect, reached })
    }
}

type Credentials = (Vec<gatepost_evidence::look::Bytes>, Option<Identity>, Option<Secret>);

fn credentials(broker: &Broker, canary: bool) -> Result<Credentials, Failure> {
    let client = broker::client(broker)?;
    if canary {
        let member = gatepost_evidence::check::broker_transport_posture::battery::Member::Canary;
        return Ok((client.anchors, Some(super::battery::supplied(broker, member)?), None));
    }
    Ok((client.anchors, client.identity, client.credentials.and_then(|credentials| credentials.password)))
}

/// Whether the declared list tells what `client` may read.
fn told(declared: &Declared, client: &Client) -> bool {
    let plugin = ["plugin", "auth_plugin", "global_plugin"].iter().any(|key| declared.directives.contains_key(*key));
    let list = declared.list.as_ref().is_none_or(|list| list.seen().is_some());
    !plugin && list && acl::user(declared, client).is_ok()
}

/// Which topics the declared list lets `client` read; all of them where it does not tell.
fn readable(declared: Option<&Look<Declared>>, client: &Client) -> Box<dyn Fn(&str) -> bool + Send> {
    let Some(Look::Seen(declared)) = declared else { return Box::new(|_| true) };
    let (true, Some(Look::Seen(list))) = (told(declared, client), &declared.list) else { return Box::new(|_| true) };
    let user = acl::user(declared, client).ok().flatten().map(str::to_owned);
    let (rules, id) = (list.rules.clone(), client.id.clone());
    Box::new(move |topic| acl::permission(&rules, user.as_deref(), &id, false, topic).0 == Permission::Allow)
}
