//! Listens for canaries in a session that the broker keeps, and notes each time one arrives.
//!
//! A connection that breaks is made again, and whether the broker still knew the session is noted. Every message is
//! acknowledged as its QoS demands; one of QoS 2 that is sent again before it was released is the same message (MQTT 3.1.1,
//! section 4.3.3) and not counted. What is no canary of this look is let go.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::telemetry_integrity::{Arrival, Path};
use gatepost_evidence::look::{Failure, FailureKind};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::link::Link;
use super::mark::{Key, key};
use super::packet::{Answer, Heard, Session};
use super::send::{Common, PAUSE};

/// How long it is listened on after everything has arrived: for copies.
const LINGER: Duration = Duration::from_millis(150);
/// How many seconds a broker of MQTT 5 keeps the session when nobody comes to remove it.
pub const KEEP_SECONDS: u32 = 120;
/// How many arrivals of one canary are kept.
const MAX_ARRIVALS: usize = 8;

/// What was published, and until when it may arrive.
#[derive(Debug, Clone)]
pub struct Expected {
    pub all: BTreeSet<Key>,
    /// When everything had been published.
    pub from: Instant,
    pub until: Instant,
}

/// News of what is expected: nothing until everything is published.
pub type News = watch::Receiver<Option<Arc<Expected>>>;

/// Arrivals by canary.
#[derive(Debug, Default)]
pub struct Arrived {
    by: BTreeMap<Key, (Vec<Arrival>, u32)>,
    places: BTreeMap<(Path, u8), u32>,
    total: u64,
}

impl Arrived {
    /// Notes an arrival.
    pub fn note(&mut self, key: Key, at: u64, qos: Option<u8>, again: bool) {
        let place = self.places.entry((key.0, key.1)).or_default();
        let arrival = Arrival { at, place: *place, qos, again };
        *place = place.saturating_add(1);
        self.total += 1;
        let (arrivals, further) = self.by.entry(key).or_default();
        if arrivals.len() < MAX_ARRIVALS {
            arrivals.push(arrival);
        } else {
            *further = further.saturating_add(1);
        }
    }

    /// The arrivals of one canary, and how many more there were.
    pub fn of(&self, key: &Key) -> (Vec<Arrival>, u32) {
        self.by.get(key).cloned().unwrap_or_default()
    }

    /// Whether each of `all` has arrived.
    pub fn has(&self, all: &BTreeSet<Key>) -> bool {
        all.iter().all(|key| self.by.contains_key(key))
    }
}

/// A client that subscribes to canaries.
pub struct Receiver {
    common: Common,
    session: Session,
    filters: Vec<String>,
    link: Option<Link>,
    subscribed: bool,
    /// Ids of QoS 2 that were received and not released.
    held: HashSet<u16>,
    last: Instant,
    most: u64,
    /// What arrived.
    pub arrived: Arrived,
    /// How often the connection broke.
    pub interruptions: u32,
    /// How often the broker had forgotten the session.
    pub forgotten: u32,
    /// More than `most` arrived.
    pub flooded: bool,
}

impl Receiver {
    /// A receiver as `id` for `filters`, over a connection that is there; it stops listening after `most` arrivals.
    ///
    /// # Errors
    /// When the subscription is refused ([`FailureKind::Denied`]) or the connection breaks.
    pub async fn subscribe(
        common: Common,
        session: Session,
        link: Link,
        filters: Vec<String>,
        most: u64,
    ) -> Result<Self, Failure> {
        let last = Instant::now();
        let mut receiver = Self {
            common,
            session,
            filters,
            link: Some(link),
            subscribed: false,
            held: HashSet::new(),
            last,
            most,
            arrived: Arrived::default(),
            interruptions: 0,
            forgotten: 0,
            flooded: false,
        };
        receiver.ask().await?;
        Ok(receiver)
    }

    /// A session that the broker keeps. Its id was never used before, so there is nothing to begin without.
    pub fn session(id: String) -> Session {
        Session { id, clean: false, keep: Some(KEEP_SECONDS), small: true }
    }

    async fn ask(&mut self) -> Result<(), Failure> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let (granted, early) = link.subscribe(&self.filters, 2).await?;
        if let Some(index) = granted.iter().position(Option::is_none) {
            let filter = self.filters.get(index).map_or("gatepost/canary", String::as_str);
            let words = format_args!("the broker refuses a subscription to {filter}");
            return Err(Failure::new(FailureKind::Denied, words));
        }
        self.subscribed = true;
        for heard in early {
            self.take(heard).await?;
        }
        Ok(())
    }

    /// Listens until everything that `news` expects has arrived and some time has passed, or its time is over; until `end`
    /// at the latest.
    pub async fn listen(&mut self, mut news: News, end: Instant) {
        // Whether there may be more news; who told the last is gone after it.
        let mut more = true;
        loop {
            let expected = news.borrow_and_update().clone();
            let end = match expected {
                None => end,
                Some(expected) if self.arrived.has(&expected.all) => end.min(self.last.max(expected.from) + LINGER),
                Some(expected) => end.min(expected.until),
            };
            if Instant::now() >= end || self.flooded {
                return;
            }
            let Some(link) = &mut self.link else {
                if self.attempt().await.is_err() {
                    sleep(PAUSE).await;
                }
                continue;
            };
            let heard = tokio::select! {
                heard = link.hear() => heard,
                changed = news.changed(), if more => {
                    more = changed.is_ok();
                    continue;
                }
                () = tokio::time::sleep_until(end) => continue,
            };
            let taken = match heard {
                Ok(heard) => self.take(heard).await,
                Err(failure) => Err(failure),
            };
            if taken.is_err() {
                self.link = None;
                self.interruptions += 1;
            }
        }
    }

    async fn take(&mut self, heard: Heard) -> Result<(), Failure> {
        let Some(link) = &mut self.link else { return Ok(()) };
        match heard {
            Heard::Message { payload, qos, id, again } => {
                let same = qos == 2 && !self.held.insert(id);
                let mark = serde_json::from_slice::<serde_json::Value>(&payload).ok();
                let mark = mark.as_ref().and_then(|it| it["gatepost_canary"].as_str());
                if let Some(key) = mark.and_then(|mark| key(&self.common.run, mark)).filter(|_| !same) {
                    self.last = Instant::now();
                    self.arrived.note(key, self.common.now(), Some(qos), again);
                    self.flooded = self.arrived.total > self.most;
                }
                match qos {
                    1 => link.answer(Answer::Acknowledge(id)).await,
                    2 => link.answer(Answer::Received(id)).await,
                    _ => Ok(()),
                }
            }
            Heard::Released(id) => {
                self.held.remove(&id);
                link.answer(Answer::Complete(id)).await
            }
            _ => Ok(()),
        }
    }

    /// One attempt to come back to the session.
    async fn attempt(&mut self) -> Result<(), Failure> {
        let Common { way, protocol, budget, .. } = &self.common;
        let link = Link::open(way, *protocol, &self.session, budget).await?;
        if !link.session_present {
            self.forgotten += 1;
            self.held.clear();
            self.subscribed = false;
        }
        self.link = Some(link);
        if !self.subscribed
            && let Err(failure) = self.ask().await
        {
            self.link = None;
            return Err(failure);
        }
        Ok(())
    }

    /// Goes away; the broker keeps the session.
    pub async fn go(&mut self) {
        if let Some(link) = self.link.take() {
            link.leave().await;
        }
    }

    /// Comes back to the session, until `end` at the latest.
    ///
    /// # Errors
    /// The last attempt's.
    pub async fn come_back(&mut self, end: Instant) -> Result<(), Failure> {
        loop {
            match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(failure) if Instant::now() >= end => return Err(failure),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    /// Removes the session from the broker.
    ///
    /// # Errors
    /// When the broker is not reached for that.
    pub async fn remove(mut self) -> Result<bool, Failure> {
        self.go().await;
        let Common { way, protocol, budget, .. } = &self.common;
        let session = Session { clean: true, keep: None, ..self.session };
        Link::open(way, *protocol, &session, budget).await?.leave().await;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_kept_up_to_a_bound_and_counted_beyond() {
        let mut arrived = Arrived::default();
        for at in 0..10 {
            arrived.note((Path::Live, 0, 1), at, Some(0), false);
        }
        let (kept, further) = arrived.of(&(Path::Live, 0, 1));
        assert_eq!((kept.len(), further, kept[7].place), (MAX_ARRIVALS, 2, 7));
        assert!(!arrived.has(&BTreeSet::from([(Path::Live, 0, 1), (Path::Live, 0, 2)])));
    }
}
