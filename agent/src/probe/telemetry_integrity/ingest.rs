//! Follows canaries to the ingest edge: publishes them for the gateway service to carry, and asks the edge for those it has.
//!
//! The read-back is a GET whose answer may have any shape: each canary carries a mark that no other text has, and the marks
//! are looked for in the order they stand in. The ingest token goes there only over https and only to the very host and port
//! that events are posted to. At most [`MAX_POLLS`] requests, each answer cut off at [`MAX_BYTES`].

use std::collections::BTreeMap;
use std::time::Duration;

use gatepost_evidence::check::telemetry_integrity::{Flow, Journey, Path};
use gatepost_evidence::look::{Failure, FailureKind};
use tokio::time::{Instant, sleep};
use ureq::http::Uri;

use super::mark::{Key, marks};
use super::receive::Arrived;
use super::send::{Common, Sender};
use crate::config::{Config, Ingest};
use crate::probe::blocking;
use crate::secret::Secret;
use crate::{files, http};

/// The most requests of one look.
const MAX_POLLS: u32 = 60;
/// The most bytes of one answer.
const MAX_BYTES: u64 = 512 * 1024;
/// The time for one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(4);
/// The first pause between two requests; each is half as long again as the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// Where the edge is asked, and with what.
pub struct ReadBack {
    url: String,
    agent: ureq::Agent,
    token: Option<Secret>,
}

impl ReadBack {
    /// What the configuration says of it; none when it names no read-back. Blocking.
    ///
    /// # Errors
    /// When a file it needs cannot be read.
    pub fn new(config: &Config, run: &str) -> Result<Option<Self>, Failure> {
        let Some(url) = &config.telemetry.ingest_readback_url else { return Ok(None) };
        let ingest = config.ingest.as_ref();
        let agent = http::client(ingest.and_then(|ingest| ingest.ca_file.as_deref()), REQUEST_LIMIT)?;
        let token = match ingest {
            Some(Ingest { url: events, token_file: Some(file), .. }) if same_server(events, url) => {
                Some(files::read_secret(file)?)
            }
            _ => None,
        };
        Ok(Some(Self { url: url.replace("{run}", run), agent, token }))
    }

    /// The text that the edge answers. Blocking.
    fn ask(&self) -> Result<String, Failure> {
        let mut request = self.agent.get(&self.url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let mut response = request.call().map_err(|error| http::failure(&error))?;
        match response.status().as_u16() {
            200..300 => {}
            401 | 403 => return Err(Failure::new(FailureKind::Denied, "the read-back asks for other credentials")),
            status => {
                return Err(Failure::new(
                    FailureKind::Error,
                    format_args!("the read-back answers with status {status}"),
                ));
            }
        }
        let read = response.body_mut().with_config().limit(MAX_BYTES).read_to_vec();
        let body = read.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => {
                let words = format_args!("the read-back answers with more than {MAX_BYTES} bytes; let it take {{run}}");
                Failure::new(FailureKind::TooLarge, words)
            }
            error => http::failure(&error),
        })?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

/// Whether both are `https` with one authority.
fn same_server(one: &str, other: &str) -> bool {
    let server = |url: &str| {
        let url: Uri = url.parse().ok()?;
        let port = url.port_u16().unwrap_or(443);
        (url.scheme_str() == Some("https")).then_some((url.host()?.to_ascii_lowercase(), port))
    };
    server(one).is_some_and(|one| Some(one) == server(other))
}

/// Publishes with `qos` and follows the canaries until they are there, or `wait` is over.
pub async fn follow(read_back: ReadBack, common: Common, id: String, qos: u8, count: u32, wait: Duration) -> Flow {
    let journey = journey(read_back, common, id, qos, count, wait).await;
    Flow { path: Path::Ingest, qos, journey: journey.into() }
}

async fn journey(
    read_back: ReadBack,
    common: Common,
    id: String,
    qos: u8,
    count: u32,
    wait: Duration,
) -> Result<Journey, Failure> {
    let mut sender = Sender::open(common.clone(), id, qos).await?;
    let sent = sender.publish(Path::Ingest, count, Instant::now() + wait).await;
    sender.leave().await;
    let expected = sent.messages.iter().filter(|message| message.refused.is_none());
    let expected = expected.map(|message| (Path::Ingest, qos, message.number)).collect();
    let end = Instant::now() + wait;
    let mut arrived = Arrived::default();
    let mut noted = BTreeMap::new();
    let (mut read_back, mut pause, mut failed, mut complete) = (read_back, FIRST_PAUSE, None, false);
    for _ in 0..MAX_POLLS {
        let (back, answer) = blocking(move || {
            let answer = read_back.ask();
            Ok((read_back, answer))
        })
        .await
        .map_err(|missed| Failure::new(FailureKind::Error, missed))?;
        read_back = back;
        match answer {
            Ok(text) => {
                failed = None;
                note(&mut arrived, &mut noted, &marks(&common.run, &text), common.now());
            }
            Err(failure) => failed = Some(failure),
        }
        // Once more after everything was there: for copies.
        if complete || Instant::now() >= end {
            break;
        }
        complete = arrived.has(&expected);
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 3 / 2);
    }
    // An edge that cannot be asked at the end may have them all.
    if let Some(failure) = failed {
        return Err(failure);
    }
    let mut messages = sent.messages;
    for message in &mut messages {
        (message.arrivals, message.further) = arrived.of(&(Path::Ingest, qos, message.number));
    }
    Ok(Journey {
        highest_qos: None,
        interruptions: sent.interruptions,
        sessions_forgotten: 0,
        back_at: None,
        flooded: false,
        messages,
    })
}

/// Notes what stands in an answer more often than in those before.
fn note(arrived: &mut Arrived, noted: &mut BTreeMap<Key, u64>, there: &[Key], at: u64) {
    let mut counted = BTreeMap::new();
    for key in there {
        let count: &mut u64 = counted.entry(*key).or_default();
        *count += 1;
        let before = noted.entry(*key).or_default();
        if *count > *before {
            *before = *count;
            arrived.note(*key, at, None, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_there_before_is_not_noted_again() {
        let (mut arrived, mut noted) = (Arrived::default(), BTreeMap::new());
        let (one, two) = ((Path::Ingest, 1, 1), (Path::Ingest, 1, 2));
        note(&mut arrived, &mut noted, &[one], 10);
        note(&mut arrived, &mut noted, &[one, two, one], 20);
        note(&mut arrived, &mut noted, &[one, two, one], 30);
        let at = |key| arrived.of(&key).0.iter().map(|arrival| arrival.at).collect::<Vec<_>>();
        assert_eq!((at(one), at(two)), (vec![10, 20], vec![20]));
    }

    #[test]
    fn the_token_goes_to_the_edge_alone() {
        assert!(same_server("https://edge.example/v1/events", "https://EDGE.example:443/v1/canaries?run=1"));
        for other in ["https://edge.example:8443/", "http://edge.example/", "https://other.example/", "no url"] {
            assert!(!same_server("https://edge.example/v1/events", other), "{other}");
        }
    }
}
