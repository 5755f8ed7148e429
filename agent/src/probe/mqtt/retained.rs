//! A retained canary: published, read back, cleared, and looked for once more.
//!
//! One small message on a topic below `gatepost/canary/` that nobody else knows. It is cleared whatever happens in between; if the
//! connection is lost, over another one.

use gatepost_evidence::check::broker_transport_posture::mqtt::Retained;
use gatepost_evidence::look::{Failure, FailureKind};
use tokio::time::{Duration, Instant};

use super::packet::{self, Packet};
use super::session::{Opening, Session, disconnected};
use super::way::Way;
use crate::probe::canary;

/// How much longer than to a PINGRESP a message may take, from a server that does two things at once.
const MOMENT: Duration = Duration::from_millis(50);

/// A topic that nobody else knows.
///
/// # Errors
/// When the operating system has no random bytes.
pub fn topic() -> Result<String, Failure> {
    Ok(format!("gatepost/canary/{}", canary::random::<8>()?))
}

/// Makes the trial in `session`, which goes on after it.
///
/// # Errors
/// When the server does not answer as MQTT says.
pub async fn trial(session: &mut Session, way: &Way<'_>) -> Result<Retained, Failure> {
    let topic = topic()?;
    let tried = carry_out(session, &topic, way).await;
    if tried.is_err() {
        // Nothing may stay behind. That this did not work either is in the evidence already: the trial failed.
        let _ = clear_anew(session, &topic, way).await;
    }
    tried
}

async fn carry_out(session: &mut Session, topic: &str, way: &Way<'_>) -> Result<Retained, Failure> {
    let publish = write(session, topic, b"gatepost-canary", way).await?;
    if publish >= 0x80 {
        return Ok(Retained { publish, subscribe: None, came_back: false, cleared: true });
    }
    let (subscribe, came_back) = read_back(session, topic, way).await?;
    write(session, topic, b"", way).await?;
    let (_, still_there) = read_back(session, topic, way).await?;
    Ok(Retained { publish, subscribe: Some(subscribe), came_back, cleared: !still_there })
}

/// Publishes `payload` as retained; an empty one clears the topic (MQTT-3.3.1-6).
async fn write(session: &mut Session, topic: &str, payload: &[u8], way: &Way<'_>) -> Result<u8, Failure> {
    let id = session.id();
    session.send(&packet::publish(session.level(), id, topic, payload, true), way.budget).await?;
    loop {
        match session.packet("the answer to PUBLISH", way.budget).await? {
            Packet::Puback(answered, code) if answered == id => return Ok(code),
            Packet::Publish { id: Some(id), .. } => session.send(&packet::puback(id), way.budget).await?,
            Packet::Publish { id: None, .. } => {}
            Packet::Disconnect(code) => return Err(disconnected(code)),
            other => {
                let detail = format!("the answer to PUBLISH is {other:?}");
                return Err(Failure::new(FailureKind::Protocol, detail));
            }
        }
    }
}

/// Subscribes: the code of SUBACK, and whether a retained message came.
async fn read_back(session: &mut Session, topic: &str, way: &Way<'_>) -> Result<(u8, bool), Failure> {
    let id = session.id();
    session.send(&packet::subscribe(session.level(), id, topic), way.budget).await?;
    let mut came = Came { topic, retained: false, unacknowledged: Vec::new() };
    let code = loop {
        match session.packet("the answer to SUBSCRIBE", way.budget).await? {
            Packet::Suback(answered, code) if answered == id => break code,
            Packet::Disconnect(code) => return Err(disconnected(code)),
            other => came.take(other),
        }
    };
    session.ping(way.budget, |other| came.take(other)).await?;
    let deadline = Instant::now() + MOMENT;
    while !came.retained
        && let Some(packet) = session.linger(deadline, way.budget).await?
    {
        came.take(packet);
    }
    for id in came.unacknowledged {
        session.send(&packet::puback(id), way.budget).await?;
    }
    Ok((code, came.retained))
}

struct Came<'a> {
    topic: &'a str,
    retained: bool,
    unacknowledged: Vec<u16>,
}

impl Came<'_> {
    fn take(&mut self, packet: Packet) {
        if let Packet::Publish { topic, payload, retain, id } = packet {
            self.unacknowledged.extend(id);
            self.retained |= retain && !payload.is_empty() && topic == self.topic.as_bytes();
        }
    }
}

async fn clear_anew(session: &Session, topic: &str, way: &Way<'_>) -> Result<(), Failure> {
    let mut another = Session::new(way.open().await?, session.level());
    another.connect(&Opening::new(&canary::name()?), way.login(), way.budget).await?;
    write(&mut another, topic, b"", way).await?;
    another.leave(way.budget).await;
    Ok(())
}
