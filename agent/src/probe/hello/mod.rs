//! Surveys a TLS listener by hand-made ClientHellos: which versions, suites and groups it takes, one refused offer after
//! another, and what its ServerHellos say besides.
//!
//! No handshake is finished and no credentials are at hand. Each offer is one TCP connection, one after the other, with a
//! pause between, and there is a most of them and a longest time for all of them together; what is cut off by that is told
//! as such. Each answer is bounded in bytes and time. A listener that twice does not answer in time is left alone.

pub mod answer;
pub mod offer;
mod plan;

use std::time::Duration;

use gatepost_evidence::check::broker_transport_posture::survey::{Answer, Survey};
use gatepost_evidence::look::{Failure, FailureKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;

use super::wire::{self, Budget};
use crate::http;
use answer::{Reader, Reply};
use offer::Offer;

/// The alert of a server that could not, for reasons of its own (RFC 8446, section 6.2).
const INTERNAL_ERROR: u8 = 80;

/// Bounds of one survey.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most TCP connections.
    pub connections: u32,
    /// The least time from the start of one connection to that of the next.
    pub pause: Duration,
    /// The most time for one answer.
    pub answer: Duration,
    /// The most time for everything.
    pub total: Duration,
    /// How many offers may go without an answer in time before the listener is left alone.
    pub silences: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 240,
            pause: Duration::from_millis(5),
            answer: Duration::from_secs(3),
            total: Duration::from_secs(12),
            silences: 2,
        }
    }
}

/// Surveys the listener at `address`, asking for `server_name` if it is a name.
///
/// # Errors
/// When not even the first offer could be made.
pub async fn survey(
    address: &str,
    server_name: Option<&str>,
    bounds: Bounds,
    budget: &Budget,
) -> Result<Survey, Failure> {
    let budget = budget.within(bounds.total);
    let begin = Instant::now();
    let asking = Asking { address, server_name, bounds, budget: &budget, made: 0, silent: 0, next: begin };
    let mut survey = plan::carry_out(asking).await?;
    survey.millis = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(survey)
}

/// Asks one listener, and keeps to the bounds.
struct Asking<'a> {
    address: &'a str,
    server_name: Option<&'a str>,
    bounds: Bounds,
    budget: &'a Budget,
    made: u32,
    silent: u32,
    next: Instant,
}

impl Asking<'_> {
    /// Makes one offer. One that ends in a closed connection or an internal error is made once more: a server that is busy
    /// or out of memory does that too, and only the second time may it count as an answer.
    async fn ask(&mut self, offer: &Offer<'_>) -> Result<Reply, Failure> {
        let first = self.ask_once(offer).await;
        let doubtful = match &first {
            Ok(reply) => matches!(reply.answer, Answer::Alert { description: INTERNAL_ERROR, .. }),
            Err(failure) => failure.kind == FailureKind::Closed,
        };
        if doubtful { self.ask_once(offer).await } else { first }
    }

    async fn ask_once(&mut self, offer: &Offer<'_>) -> Result<Reply, Failure> {
        if self.silent >= self.bounds.silences {
            let detail = format!("not offered: {} offers before had no answer in time", self.silent);
            return Err(Failure::new(FailureKind::TimedOut, detail));
        }
        if self.made >= self.bounds.connections {
            let detail = format!("not offered: all {} connections of the survey were used", self.made);
            return Err(Failure::new(FailureKind::Error, detail));
        }
        let pause = async {
            tokio::time::sleep_until(self.next).await;
            Ok(())
        };
        self.budget.wait("another offer", self.bounds.total, pause).await?;
        self.next = Instant::now() + self.bounds.pause;
        self.made += 1;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| Failure::new(FailureKind::Error, error))?;
        let record = Offer { server_name: self.server_name, random, ..offer.clone() }.record();
        let (mut stream, _) = wire::dial(self.address, self.budget).await?;
        let asking = exchange(&mut stream, &record);
        let reply = self.budget.wait("the answer to a ClientHello", self.bounds.answer, asking).await;
        if matches!(&reply, Err(failure) if failure.kind == FailureKind::TimedOut) {
            self.silent += 1;
        }
        reply
    }
}

/// Writes `record` and reads until there is a reply.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), record: &[u8]) -> Result<Reply, Failure> {
    let failed = |error: &std::io::Error| Failure::new(http::io_kind(error), error);
    stream.write_all(record).await.map_err(|error| failed(&error))?;
    stream.flush().await.map_err(|error| failed(&error))?;
    let mut reader = Reader::default();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await {
            Ok(0) => return Err(reader.closed()),
            Ok(count) => {
                if let Some(reply) = reader.feed(&buffer[..count])? {
                    return Ok(reply);
                }
            }
            Err(error) if http::io_kind(&error) == FailureKind::Closed => return Err(reader.closed()),
            Err(error) => return Err(failed(&error)),
        }
    }
}

#[cfg(test)]
#[path = "hello_tests.rs"]
mod tests;
