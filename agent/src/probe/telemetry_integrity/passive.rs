//! Counts everybody's messages by topic for a bounded time, where the operator allowed it. Payloads are thrown away unread
//! ([`super::skim`]); topics of canaries are left out.
//!
//! Subscribes with QoS 0 in a clean session, so that the broker keeps nothing for it. Beside the topics it listens to the
//! broker's own log, where that is published, for clients that throw each other out; that the log can be read at all is
//! tried by a connection of its own, which makes a line in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use gatepost_evidence::check::telemetry_integrity::{Counted, Passive};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout_at};

use super::link::{Link, Way};
use super::packet::{self, Session};
use super::skim::{LOG, Skimmed, Skimmer, taken_over};
use crate::config::Config;
use crate::probe::canary;
use crate::probe::wire::{Budget, micros_since};

/// The most topics that are told apart.
const MAX_TOPICS: usize = 200;
/// The most client ids that are told.
const MAX_CLIENTS: usize = 100;
/// The most messages that are counted.
const MAX_MESSAGES: u64 = 200_000;
/// The most characters of a topic that are kept.
const MAX_TOPIC: usize = 300;

/// What was heard so far.
#[derive(Default)]
struct Heard {
    granted: Vec<bool>,
    topics: BTreeMap<String, Counted>,
    beyond: u64,
    messages: u64,
    lines: u64,
    takeovers: BTreeMap<String, u64>,
}

/// Listens for as long as the configuration says.
///
/// # Errors
/// When the broker does not let the client in, or the connection breaks.
pub async fn listen(config: &Config, way: &Arc<Way>, budget: &Budget, start: Instant) -> Result<Passive, Failure> {
    let telemetry = &config.telemetry;
    let session = |id| Session { id, clean: true, keep: None, small: false };
    let (mut link, protocol) = Link::first(way, &session(canary::name()?), budget).await?;
    let mut filters = telemetry.topics.clone();
    // Mosquitto says at level N who comes and goes, and at E who is thrown out.
    filters.extend([format!("{LOG}N"), format!("{LOG}E")]);
    link.say(&packet::subscribe(protocol, 1, &filters, 0)?).await?;
    let began = Instant::now();
    let end = began + telemetry.passive_time;
    let mut heard = Heard::default();
    let knock = async {
        // What becomes of it does not matter, only that the broker writes about it.
        if let Ok(id) = canary::name()
            && let Ok(link) = Link::open(way, protocol, &session(id), budget).await
        {
            link.leave().await;
        }
    };
    let reading = async {
        let mut skimmer = Skimmer::new(protocol);
        heard.note(skimmer.take(&link.take_received())?, start)?;
        let mut buffer = vec![0; 16 * 1024];
        while heard.messages < MAX_MESSAGES {
            let Ok(read) = timeout_at(end, link.raw().read(&mut buffer)).await else { break };
            match read {
                Ok(0) => return Err(Failure::new(FailureKind::Closed, "the broker closed the connection")),
                Ok(count) => heard.note(skimmer.take(buffer.get(..count).unwrap_or_default())?, start)?,
                Err(error) => return Err(Failure::new(crate::http::io_kind(&error), error)),
            }
        }
        Ok(())
    };
    let (read, ()) = tokio::join!(reading, knock);
    read?;
    let micros = micros_since(began);
    filters.truncate(telemetry.topics.len());
    let takeovers = if heard.lines > 0 {
        Look::Seen(heard.takeovers)
    } else {
        let words = format_args!("{LOG}N brings nothing: the broker does not publish its log, or not to this client");
        Look::Failed(Failure::new(FailureKind::NotFound, words))
    };
    let refused = filters.iter().zip(&heard.granted).filter(|(_, granted)| !**granted);
    let refused = refused.map(|(filter, _)| filter.clone()).collect();
    Ok(Passive {
        micros,
        refused,
        filters,
        expected: config.devices.expected.iter().map(|device| device.id.clone()).collect(),
        topics: heard.topics,
        beyond: heard.beyond,
        cut_short: heard.messages >= MAX_MESSAGES,
        takeovers,
    })
}

impl Heard {
    fn note(&mut self, skimmed: Vec<Skimmed>, start: Instant) -> Result<(), Failure> {
        for one in skimmed {
            match one {
                Skimmed::Subscribed(granted) => self.granted = granted,
                Skimmed::Log(line) => {
                    self.lines += 1;
                    if let Some(id) = taken_over(&line)
                        && (self.takeovers.len() < MAX_CLIENTS || self.takeovers.contains_key(id))
                    {
                        *self.takeovers.entry(id.to_owned()).or_default() += 1;
                    }
                }
                Skimmed::Message { topic, retained } => self.count(&topic, retained, micros_since(start)),
                Skimmed::Ended => {
                    return Err(Failure::new(FailureKind::Closed, "the broker ended the session"));
                }
            }
        }
        Ok(())
    }

    fn count(&mut self, topic: &str, retained: bool, now: u64) {
        if topic.starts_with("gatepost/canary/") {
            return;
        }
        self.messages += 1;
        let topic: String = topic.chars().take(MAX_TOPIC).collect();
        if self.topics.len() >= MAX_TOPICS && !self.topics.contains_key(&topic) {
            self.beyond += 1;
            return;
        }
        let counted = self.topics.entry(topic).or_insert_with(|| Counted { first: now, ..Counted::default() });
        *(if retained { &mut counted.retained } else { &mut counted.live }) += 1;
        counted.last = now;
    }
}
