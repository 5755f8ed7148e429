//! Looks for `telemetry_integrity`: publishes canaries through the broker and notes what becomes of each.
//!
//! One client listens in a session that the broker keeps; one client for each QoS publishes. First everybody is connected
//! (path `live`), then the listener goes away while the others publish, and comes back (path `session`). Where the
//! configuration names them, the same canaries are looked for at another broker (`bridge`), and further ones at the ingest
//! edge (`ingest`). When all is well this takes half a second; it waits only for what does not come. Nothing is retained,
//! nothing is published outside `gatepost/canary/`, and the session is removed at the end; should the agent be ended
//! before that, a broker that speaks MQTT 5 forgets session and canaries after two minutes.

mod ingest;
mod link;
mod mark;
mod packet;
mod passive;
mod receive;
mod send;
mod skim;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::broker_transport_posture::Transport;
use gatepost_evidence::check::telemetry_integrity::{Check, Flow, Journey, Observation, Path};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use gatepost_evidence::run::{Target, TargetKind};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::ingest::ReadBack;
use self::link::{Link, Way};
use self::receive::{Expected, News, Receiver};
use self::send::{Common, Sender, Sent};
use super::wire::Limits;
use super::{Missed, Probe, blocking, broker, canary, observed, tls};
use crate::config::{Config, Telemetry};

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(90),
    touches: "The broker: about ten connections under canary client ids. Canaries (ten of each QoS on each path, unless \
              configured otherwise) are published under gatepost/canary/ and subscribed to, never retained; the session that \
              is kept meanwhile is removed again. Where they are configured, another broker and the ingest edge's \
              read-back. With passive = true it is subscribed to the configured topics for some seconds; topics are \
              counted and payloads thrown away unread.",
    needs: "A broker that lets the client of [broker] write and read gatepost/canary/#; ca_file, without which only a \
            plaintext listener is tried, without credentials.",
    targets: |_| vec![Target::new(TargetKind::Broker, "broker")],
    look: |config, _| Box::pin(async move { observed(&observe(config).await?) }),
};

/// The limits of connections; all of a look together has a little less than the probe.
const LIMITS: Limits = Limits {
    dial: Duration::from_secs(3),
    handshake: Duration::from_secs(3),
    answer: Duration::from_secs(3),
    total: Duration::from_secs(80),
    at_once: 1,
};

/// Looks.
///
/// # Errors
/// When nothing is asked for, or the broker is not reached or does not let the client in.
pub async fn observe(config: Arc<Config>) -> Result<Observation, Missed> {
    let telemetry = &config.telemetry;
    if telemetry.canaries == 0 && !telemetry.passive {
        return Err(Missed::skipped("[telemetry] asks for nothing: canaries is 0 and passive is not true"));
    }
    let run: Arc<str> = canary::random::<8>()?.into();
    let (way, bridged, read_back) = {
        let (config, run) = (config.clone(), run.clone());
        blocking(move || Ok((way(&config)?, bridged(&config)?, ReadBack::new(&config, &run)))).await?
    };
    let (way, budget, start) = (Arc::new(way), LIMITS.start(), Instant::now());
    let passive = async {
        match telemetry.passive {
            true => Some(passive::listen(&config, &way, &budget, start).await.into()),
            false => None,
        }
    };
    let canaries = async {
        if telemetry.canaries == 0 {
            return Ok((None, Vec::new(), None));
        }
        let session = Receiver::session(canary::name()?);
        let (link, protocol) = Link::first(&way, &session, &budget).await?;
        let common = Common { way: way.clone(), protocol, budget, run, start };
        let (canaries, to_ingest) = tokio::join!(
            canaries(telemetry, &common, session, link, bridged),
            to_ingest(telemetry, &common, read_back),
        );
        let (mut flows, session_removed) = canaries?;
        flows.extend(to_ingest);
        Ok::<_, Missed>((Some(protocol), flows, Some(session_removed)))
    };
    let (canaries, passive) = tokio::join!(canaries, passive);
    let (protocol, flows, session_removed) = canaries?;
    Ok(Observation {
        broker: way.url(),
        protocol,
        wait_micros: u64::try_from(telemetry.wait.as_micros()).unwrap_or(u64::MAX),
        flows,
        session_removed,
        passive,
    })
}

/// The way to the broker: its first TLS listener where there are anchors, or else its first plaintext listener.
fn way(config: &Config) -> Result<Way, Missed> {
    let candidates = broker::candidates(config)?;
    let first = |transport: Transport| candidates.iter().find(|candidate| candidate.transport == transport);
    if let (Some(candidate), Some(_)) = (first(Transport::Tls), &config.broker.ca_file) {
        let name = tls::server_name(&broker::server_name(&config.broker, &candidates))?;
        return Ok(Way { address: candidate.address.clone(), tls: Some((name, broker::client(&config.broker)?)) });
    }
    match first(Transport::Plaintext) {
        Some(candidate) => Ok(Way { address: candidate.address.clone(), tls: None }),
        None => Err(Missed::skipped("the broker speaks TLS only, and ca_file of [broker] is not set")),
    }
}

/// The way to the broker beyond the bridge.
fn bridged(config: &Config) -> Result<Option<Way>, Missed> {
    let Some((scheme, address)) = config.telemetry.bridged_url.as_deref().and_then(|url| url.split_once("://")) else {
        return Ok(None);
    };
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let tls = match scheme {
        "mqtts" => Some((tls::server_name(host)?, broker::client(&config.broker)?)),
        _ => None,
    };
    Ok(Some(Way { address: address.to_owned(), tls }))
}

/// The canaries that the gateway service is to carry to the ingest edge, with the highest QoS up to 1: most services
/// subscribe with no more.
async fn to_ingest(
    telemetry: &Telemetry,
    common: &Common,
    read_back: Result<Option<ReadBack>, Failure>,
) -> Option<Flow> {
    let qos = telemetry.qos.iter().copied().filter(|qos| *qos < 2).max().unwrap_or(2);
    let failed = |failure| Some(Flow { path: Path::Ingest, qos, journey: Look::Failed(failure) });
    match (read_back, canary::name()) {
        (Ok(None), _) => None,
        (Ok(Some(read_back)), Ok(id)) => {
            let follow = ingest::follow(read_back, common.clone(), id, qos, telemetry.canaries, telemetry.wait);
            Some(follow.await)
        }
        (Err(failure), _) | (_, Err(failure)) => failed(failure),
    }
}

/// What each phase needs to know.
struct Plan<'a> {
    telemetry: &'a Telemetry,
    common: &'a Common,
}

/// Publishes and listens on every path.
async fn canaries(
    telemetry: &Telemetry,
    common: &Common,
    session: packet::Session,
    link: Link,
    bridged: Option<Way>,
) -> Result<(Vec<Flow>, Look<bool>), Missed> {
    let highest = link.highest_qos;
    let planned = telemetry.canaries as usize * telemetry.qos.len() * 2;
    let most = planned as u64 * 10 + 100;
    let filter = |path: Path| format!("gatepost/canary/{}/{}/+", common.run, path.name());
    let filters = vec![filter(Path::Live), filter(Path::Session)];
    let mut receiver = Receiver::subscribe(common.clone(), session, link, filters, most).await?;
    let mut beyond = match bridged {
        None => None,
        Some(way) => Some(listener_beyond(common, way, vec![filter(Path::Live)], most).await),
    };
    let plan = Plan { telemetry, common };
    let (mut senders, unable) = plan.senders(highest).await;

    let mut flows = Vec::new();
    let wait = telemetry.wait;
    let sent = {
        let (tell, news) = watch::channel(None);
        let end = Instant::now() + wait * 2;
        let listening = async {
            match &mut beyond {
                Some(Ok(beyond)) => {
                    tokio::join!(receiver.listen(news.clone(), end), beyond.listen(news, end));
                }
                _ => receiver.listen(news, end).await,
            }
        };
        let (sent, ()) = tokio::join!(plan.publish(&mut senders, Path::Live, &telemetry.qos, tell), listening);
        sent
    };
    plan.flows(&mut flows, Path::Live, &telemetry.qos, highest, &unable, &sent, Ok(&receiver), (0, 0), None);
    if let Some(beyond) = &beyond {
        let beyond = beyond.as_ref().map_err(Clone::clone);
        plan.flows(&mut flows, Path::Bridge, &telemetry.qos, highest, &unable, &sent, beyond, (0, 0), None);
    }

    let kept: Vec<u8> = telemetry.qos.iter().copied().filter(|qos| *qos > 0).collect();
    if !kept.is_empty() && !receiver.flooded {
        let before = (receiver.interruptions, receiver.forgotten);
        receiver.go().await;
        let (tell, news) = watch::channel(None);
        let sent = plan.publish(&mut senders, Path::Session, &kept, tell).await;
        let back = receiver.come_back(Instant::now() + wait).await;
        let back_at = common.now();
        if back.is_ok() {
            let until = Instant::now() + wait;
            receiver.listen(since_back(&news, until), until).await;
        }
        let listener = back.map(|()| &receiver);
        plan.flows(&mut flows, Path::Session, &kept, highest, &unable, &sent, listener, before, Some(back_at));
    }

    for sender in senders.into_values() {
        sender.leave().await;
    }
    if let Some(Ok(beyond)) = beyond {
        // What is left there ends by itself, or with the first attempt.
        let _ = beyond.remove().await;
    }
    Ok((flows, receiver.remove().await.into()))
}

/// What `news` said, as if everything had been published now: who comes back has the whole wait before it.
fn since_back(news: &News, until: Instant) -> News {
    let expected = news
        .borrow()
        .as_ref()
        .map(|expected| Arc::new(Expected { all: expected.all.clone(), from: Instant::now(), until }));
    watch::channel(expected).1
}

async fn listener_beyond(common: &Common, way: Way, filters: Vec<String>, most: u64) -> Result<Receiver, Failure> {
    let session = Receiver::session(canary::name()?);
    let way = Arc::new(way);
    let (link, protocol) = Link::first(&way, &session, &common.budget).await?;
    let common = Common { way, protocol, ..common.clone() };
    Receiver::subscribe(common, session, link, filters, most).await
}

impl Plan<'_> {
    /// One client for each QoS that the broker takes; why not, where that fails.
    async fn senders(&self, highest: u8) -> (BTreeMap<u8, Sender>, BTreeMap<u8, Failure>) {
        let (mut senders, mut unable) = (BTreeMap::new(), BTreeMap::new());
        for &qos in self.telemetry.qos.iter().filter(|qos| **qos <= highest) {
            let opened = match canary::name() {
                Ok(id) => Sender::open(self.common.clone(), id, qos).await,
                Err(failure) => Err(failure),
            };
            match opened {
                Ok(sender) => drop(senders.insert(qos, sender)),
                Err(failure) => drop(unable.insert(qos, failure)),
            }
        }
        (senders, unable)
    }

    /// Publishes the canaries of `path` with each of `qos` at once, then tells `tell` what to expect.
    async fn publish(
        &self,
        senders: &mut BTreeMap<u8, Sender>,
        path: Path,
        qos: &[u8],
        tell: watch::Sender<Option<Arc<Expected>>>,
    ) -> BTreeMap<u8, Sent> {
        let (count, wait) = (self.telemetry.canaries, self.telemetry.wait);
        let end = Instant::now() + wait;
        let mut publishing = JoinSet::new();
        for qos in qos {
            let Some(mut sender) = senders.remove(qos) else { continue };
            let qos = *qos;
            publishing.spawn(async move {
                let sent = sender.publish(path, count, end).await;
                (qos, sender, sent)
            });
        }
        let mut all = BTreeMap::new();
        while let Some(published) = publishing.join_next().await {
            if let Ok((qos, sender, sent)) = published {
                senders.insert(qos, sender);
                all.insert(qos, sent);
            }
        }
        // Where the broker refuses all that it acknowledges, it drops what it does not: nothing is waited for.
        let refused = |sent: &Sent| sent.messages.iter().all(|message| message.refused.is_some());
        let barred = all.values().any(|sent| !sent.messages.is_empty() && refused(sent));
        let expected = all.iter().filter(|_| !barred).flat_map(|(qos, sent)| {
            let wanted = sent.messages.iter().filter(|message| message.refused.is_none());
            wanted.map(|message| (path, *qos, message.number)).collect::<Vec<_>>()
        });
        let from = Instant::now();
        let expected = Expected { all: expected.collect::<BTreeSet<_>>(), from, until: from + wait };
        tell.send_replace(Some(Arc::new(expected)));
        all
    }

    /// The flows of `path`: what was published, with what `listener` received of it since it had counted `before`.
    #[expect(clippy::too_many_arguments, reason = "what makes up a flow, each once")]
    fn flows(
        &self,
        flows: &mut Vec<Flow>,
        path: Path,
        levels: &[u8],
        highest: u8,
        unable: &BTreeMap<u8, Failure>,
        sent: &BTreeMap<u8, Sent>,
        listener: Result<&Receiver, Failure>,
        before: (u32, u32),
        back_at: Option<u64>,
    ) {
        // Beyond a bridge the canaries are those of the path `live`.
        let published_as = if path == Path::Bridge { Path::Live } else { path };
        for &qos in levels {
            let empty = || Journey {
                highest_qos: Some(highest),
                interruptions: 0,
                sessions_forgotten: 0,
                back_at: None,
                flooded: false,
                messages: Vec::new(),
            };
            let journey = match (&listener, sent.get(&qos), unable.get(&qos)) {
                (Err(failure), ..) | (_, None, Some(failure)) => Look::Failed(failure.clone()),
                (Ok(_), None, None) if qos > highest => Look::Seen(empty()),
                (Ok(_), None, None) => {
                    Look::Failed(Failure::new(FailureKind::Error, "the publishing stopped unexpectedly"))
                }
                (Ok(listener), Some(sent), _) => {
                    let mut messages = sent.messages.clone();
                    for message in &mut messages {
                        let key = (published_as, qos, message.number);
                        (message.arrivals, message.further) = listener.arrived.of(&key);
                    }
                    Look::Seen(Journey {
                        highest_qos: None,
                        interruptions: sent.interruptions + listener.interruptions.saturating_sub(before.0),
                        sessions_forgotten: listener.forgotten.saturating_sub(before.1),
                        back_at,
                        flooded: listener.flooded,
                        messages,
                    })
                }
            };
            flows.push(Flow { path, qos, journey });
        }
    }
}
