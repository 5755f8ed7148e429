//! Publishes canaries and notes when each was handed over and when the broker had taken it.
//!
//! Never retained, never sent twice: a canary whose acknowledgement was lost with its connection stays unacknowledged, so
//! that every copy that arrives was made by somebody else. No more than [`WINDOW`] are under way at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::telemetry_integrity::{Message, Path, Protocol};
use gatepost_evidence::look::Failure;
use tokio::time::{Instant, sleep, timeout_at};

use super::link::{Link, Way};
use super::packet::{self, Answer, Heard, Session};
use crate::probe::wire::{Budget, micros_since};

/// The most canaries that wait for an acknowledgement at the same time.
const WINDOW: usize = 8;
/// The pause between two attempts to connect again.
pub const PAUSE: Duration = Duration::from_millis(50);

/// What all clients of a look have in common.
#[derive(Clone)]
pub struct Common {
    /// The way to the broker.
    pub way: Arc<Way>,
    /// The version of MQTT it speaks.
    pub protocol: Protocol,
    /// The limits.
    pub budget: Budget,
    /// What all canaries of this look carry.
    pub run: Arc<str>,
    /// When the look began.
    pub start: Instant,
}

impl Common {
    /// Microseconds since the look began.
    pub fn now(&self) -> u64 {
        micros_since(self.start)
    }

    /// The topic of the canaries of `path` and `qos`.
    pub fn topic(&self, path: Path, qos: u8) -> String {
        format!("gatepost/canary/{}/{}/qos{qos}", self.run, path.name())
    }

    /// What tells one canary from all others: no slash or quote, so that it survives wherever a payload is carried.
    pub fn mark(&self, path: Path, qos: u8, number: u32) -> String {
        format!("{}.{}.{qos}.{number}", self.run, path.name())
    }
}

/// What was published.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    /// The canaries, without arrivals.
    pub messages: Vec<Message>,
    /// How often the connection broke.
    pub interruptions: u32,
}

/// A client that publishes canaries of one QoS.
pub struct Sender {
    common: Common,
    session: Session,
    link: Option<Link>,
    qos: u8,
}

impl Sender {
    /// Connects as `id`.
    ///
    /// # Errors
    /// As [`Link::open`].
    pub async fn open(common: Common, id: String, qos: u8) -> Result<Self, Failure> {
        let session = Session { id, clean: true, keep: None, small: true };
        let link = Link::open(&common.way, common.protocol, &session, &common.budget).await?;
        Ok(Self { common, session, link: Some(link), qos })
    }

    /// Publishes `count` canaries and waits until the broker has taken them, until `end` at the latest.
    pub async fn publish(&mut self, path: Path, count: u32, end: Instant) -> Sent {
        let mut sent = Sent::default();
        let mut waiting = HashMap::new();
        // What is published with QoS 0 has surely been read when a PINGRESP follows it.
        let mut fenced = false;
        loop {
            match self.step(path, count, end, &mut sent, &mut waiting, &mut fenced).await {
                Ok(true) => return sent,
                Ok(false) => {}
                Err(_) => {
                    sent.interruptions += 1;
                    waiting.clear();
                    fenced = false;
                    self.link = None;
                    if !self.again(end).await {
                        return sent;
                    }
                }
            }
        }
    }

    /// Fills the window, then hears one packet; true when everything is done or the time is over.
    async fn step(
        &mut self,
        path: Path,
        count: u32,
        end: Instant,
        sent: &mut Sent,
        waiting: &mut HashMap<u16, usize>,
        fenced: &mut bool,
    ) -> Result<bool, Failure> {
        let Some(link) = &mut self.link else { return Ok(!self.again(end).await) };
        let window = WINDOW.min(usize::from(link.receive_maximum));
        let topic = self.common.topic(path, self.qos);
        while waiting.len() < window && (sent.messages.len() as u64) < u64::from(count) {
            let number = u32::try_from(sent.messages.len() + 1).unwrap_or(u32::MAX);
            let payload = format!("{{\"gatepost_canary\":\"{}\"}}", self.common.mark(path, self.qos, number));
            let (at, index) = (self.common.now(), sent.messages.len());
            sent.messages.push(Message {
                number,
                sent: at,
                acknowledged: None,
                refused: None,
                arrivals: Vec::new(),
                further: 0,
            });
            let id = link.publish(&topic, self.qos, &payload).await?;
            if self.qos > 0 {
                waiting.insert(id, index);
            }
        }
        if waiting.is_empty() {
            if self.qos > 0 {
                return Ok(true);
            }
            if !*fenced {
                *fenced = true;
                link.say(&packet::ping()?).await?;
            }
        }
        let Ok(heard) = timeout_at(end, link.hear()).await else { return Ok(true) };
        let now = self.common.now();
        match heard? {
            Heard::Acknowledged(id, refused) => {
                if let Some(message) = waiting.remove(&id).and_then(|index| sent.messages.get_mut(index)) {
                    message.acknowledged = refused.is_none().then_some(now);
                    message.refused = refused;
                }
            }
            Heard::Received(id, None) => link.answer(Answer::Release(id)).await?,
            Heard::Received(id, refused) => {
                if let Some(message) = waiting.remove(&id).and_then(|index| sent.messages.get_mut(index)) {
                    message.refused = refused;
                }
            }
            Heard::Completed(id) => {
                if let Some(message) = waiting.remove(&id).and_then(|index| sent.messages.get_mut(index)) {
                    message.acknowledged = Some(now);
                }
            }
            Heard::Alive => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// Connects again, until `end` at the latest; whether that came about.
    async fn again(&mut self, end: Instant) -> bool {
        let Common { way, protocol, budget, .. } = &self.common;
        while Instant::now() < end {
            if let Ok(link) = Link::open(way, *protocol, &self.session, budget).await {
                self.link = Some(link);
                return true;
            }
            sleep(PAUSE).await;
        }
        false
    }

    /// Says goodbye.
    pub async fn leave(self) {
        if let Some(link) = self.link {
            link.leave().await;
        }
    }
}
