//! What the agent's own state says: when runs were taken by the sink, and whose certificates were seen in the run before.
//!
//! The spool is opened as anybody opens it and only read; where there is none, none is made.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::certificate::CertificateFacts;
use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::link_posture::outage::Record;
use gatepost_evidence::check::link_posture::{Check, Observation};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::look::{Failure, FailureKind};
use jiff::SignedDuration;
use serde::Deserialize as _;
use serde_json::Value;

use crate::clock;
use crate::spool::{self, Spool};

/// How far back it is looked, and at how many runs.
const BACK: SignedDuration = SignedDuration::from_hours(31 * 24);
const MOST_RUNS: u32 = 3_000;

/// The record of contact with the sink.
pub(super) fn of(folder: &Path) -> Result<Record, Failure> {
    let now = clock::now();
    let spool = open(folder)?.ok_or_else(|| {
        Failure::new(FailureKind::NotFound, format_args!("there is no spool in {}", folder.display()))
    })?;
    let runs = spool.handed(now - BACK, MOST_RUNS).map_err(|error| Failure::new(FailureKind::Error, error))?;
    Ok(Record::of(&runs, now))
}

fn open(folder: &Path) -> Result<Option<Spool>, Failure> {
    match spool::is_there(folder) {
        Ok(true) => Spool::open(folder).map(Some).map_err(|error| Failure::new(FailureKind::Error, error)),
        Ok(false) => Ok(None),
        Err(error) => Err(crate::files::failure(folder, &error)),
    }
}

/// Issuers of the certificates that peers showed in the run before, by peer and address; empty when there is no such run, or it
/// looked at something else.
pub(super) fn issuers(folder: &Path) -> BTreeMap<(String, String), String> {
    let Ok(Some(spool)) = open(folder) else { return BTreeMap::new() };
    let Some(run) = spool.latest(1).ok().and_then(|mut runs| runs.pop()) else { return BTreeMap::new() };
    observation(&run.envelope).map(|observation| issuers_of(&observation)).unwrap_or_default()
}

/// The observation in an envelope of the spool, which this agent wrote.
fn observation(envelope: &str) -> Option<Observation> {
    use base64::Engine as _;
    let envelope = Envelope::parse(envelope.as_bytes()).ok()?;
    let payload = base64::engine::general_purpose::STANDARD.decode(&envelope.payload).ok()?;
    let statement: Value = serde_json::from_slice(&payload).ok()?;
    let records = statement.pointer("/predicate/records")?.as_array()?;
    let record = records.iter().find(|record| record["check"] == Check::CHECK)?;
    Observation::deserialize(record.get("observation")?).ok()
}

fn issuers_of(observation: &Observation) -> BTreeMap<(String, String), String> {
    let shown = observation.peers.iter().filter_map(|(name, peer)| {
        let chain = peer.exchange.as_ref()?.shown.as_ref()?.chain.seen()?;
        let leaf = CertificateFacts::from_der(&chain.first()?.0, jiff::Timestamp::UNIX_EPOCH, false);
        Some(((name.clone(), peer.address.clone()), leaf.issuer?))
    });
    shown.collect()
}
