//! `gatepost status`: who this gateway is, and how it stands with the sink.

use std::path::PathBuf;

use anyhow::Context as _;
use gatepost_evidence::checkpoint::Checkpoint;
use gatepost_evidence::id::Digest;
use gatepost_evidence::tombstone::{Cause, Tombstone};
use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, Place, print, print_json};
use crate::cli::Format;
use crate::report;
use crate::spool::{self, Mended, StartedOver};
use crate::upload::dispute::{self, Dispute};

#[derive(Serialize)]
struct Status {
    gateway: String,
    name: String,
    /// The first public key, whose digest is the gateway.
    public_key: String,
    /// Every key in order; the last one signs.
    keys: Vec<Key>,
    state: String,
    last_run: Option<u64>,
    pending: u64,
    acknowledged: u64,
    quarantined: Vec<Refused>,
    /// Bytes of the spool's file that hold something, and the most it may have.
    spool_bytes: u64,
    spool_max_bytes: u64,
    gone: Vec<Gone>,
    damage: Option<Mended>,
    sink: Option<String>,
    enrolled: bool,
    sink_time: Option<String>,
    /// Leaves in the newest checkpoint of the sink's log that was verified.
    log_size: Option<u64>,
    log_disputes: Vec<Disputed>,
    /// When and why everything was last made ready to be handed over again.
    started_over: Option<StartedOver>,
}

#[derive(Serialize)]
struct Disputed {
    file: String,
    reason: String,
    detail: String,
}

/// A key of this gateway.
#[derive(Serialize)]
struct Key {
    /// SHA-256 of its SubjectPublicKeyInfo.
    digest: Digest,
    /// The first run that it signs.
    from_seq: u64,
    /// When it was rotated in; null for the first.
    since: Option<Timestamp>,
    /// What the sink made of the rotation; null for the first.
    rotation: Option<String>,
    /// Why the sink refused the rotation.
    reason: Option<String>,
    public_key: String,
}

#[derive(Serialize)]
struct Refused {
    seq: u64,
    reason: String,
}

/// Runs that are no longer in the spool.
#[derive(Serialize)]
struct Gone {
    from_seq: u64,
    to_seq: u64,
    count: Option<u64>,
    cause: Cause,
    at: Timestamp,
    /// Whether the sink refused to be told.
    refused: bool,
}

pub(super) fn run(place: &Place, format: Format) -> anyhow::Result<Outcome> {
    let status = status(place)?;
    match format {
        Format::Json => print_json(&status)?,
        Format::Text => print(&report::clean_lines(&text(&status)))?,
    }
    Ok(Outcome::Clean)
}

fn status(place: &Place) -> anyhow::Result<Status> {
    let counts = place.spool.counts()?;
    let refused = place.spool.quarantined()?.into_iter();
    let enrolment = place.spool.enrolment()?;
    let known = place.spool.checkpoint()?;
    let checkpoint =
        enrolment.as_ref().zip(known).and_then(|(enrolment, note)| Checkpoint::open(&note, &enrolment.sink_key).ok());
    let disputes = dispute::list(&place.config.state.directory)?.into_iter();
    let sink = place.config.sink.as_ref().map(|sink| sink.url.clone());
    Ok(Status {
        gateway: place.identity.gateway().to_string(),
        name: place.config.gateway.name.clone(),
        public_key: place.identity.ring().first().to_pem(),
        keys: keys(place)?,
        state: place.config.state.directory.display().to_string(),
        last_run: place.spool.head()?.map(|head| head.seq),
        pending: counts.pending,
        acknowledged: counts.acknowledged,
        quarantined: refused.map(|run| Refused { seq: run.seq, reason: run.reason }).collect(),
        spool_bytes: place.spool.used_bytes()?,
        spool_max_bytes: place.config.state.max_bytes,
        gone: gone(place)?,
        damage: place.spool.last_mended()?,
        enrolled: enrolment.is_some_and(|enrolment| Some(enrolment.url) == sink),
        sink,
        log_size: checkpoint.map(|checkpoint| checkpoint.size()),
        log_disputes: disputes.map(disputed).collect(),
        started_over: place.spool.started_over()?,
        sink_time: place.spool.sink_time()?.map(|time| time.to_string()),
    })
}

fn keys(place: &Place) -> anyhow::Result<Vec<Key>> {
    let (ring, stored) = (place.identity.ring(), place.spool.rotations()?);
    let keys = ring.keys().map(|(from_seq, key)| {
        let added = ring.rotations().iter().find(|added| added.rotation().new_key == *key);
        let stored = added.and_then(|added| stored.iter().find(|stored| stored.digest == added.digest()));
        Key {
            digest: key.digest(),
            from_seq,
            since: added.map(|added| added.rotation().at),
            rotation: stored.map(|stored| stored.state.to_string()),
            reason: stored.and_then(|stored| stored.reason.clone()),
            public_key: key.to_pem(),
        }
    });
    Ok(keys.collect())
}

fn disputed((path, dispute): (PathBuf, Option<Dispute>)) -> Disputed {
    let file = path.display().to_string();
    match dispute {
        Some(Dispute { reason, detail, .. }) => Disputed { file, reason, detail },
        None => Disputed { file, reason: "unreadable".into(), detail: "the file cannot be read back".into() },
    }
}

fn gone(place: &Place) -> anyhow::Result<Vec<Gone>> {
    let tombstones = place.spool.tombstones()?.into_iter();
    let gone = tombstones.map(|buried| {
        let Tombstone { from_seq, to_seq, count, cause, at, .. } =
            spool::open_tombstone(&buried, place.identity.ring())
                .with_context(|| format!("the tombstone of runs {} to {}", buried.from_seq, buried.to_seq))?;
        Ok(Gone { from_seq, to_seq, count, cause, at, refused: buried.refused })
    });
    gone.collect()
}

fn text(status: &Status) -> String {
    let last = status.last_run.map_or_else(|| "none yet".to_owned(), |seq| seq.to_string());
    let sink = match (&status.sink, status.enrolled) {
        (None, _) => "none configured".to_owned(),
        (Some(url), true) => format!("{url} (enrolled)"),
        (Some(url), false) => format!("{url} (not enrolled: run `gatepost enroll --token-file FILE`)"),
    };
    let mut text = format!(
        "gateway       {} ({})\nstate         {}\nlast run      {last}\nsink          {sink}\nlast heard    {}\n\
         sink's log    {}\nspool         {} of {} KiB\nwaiting       {}\nacknowledged  {}\nquarantined   {}\n",
        status.name,
        status.gateway,
        status.state,
        status.sink_time.as_deref().unwrap_or("never"),
        status.log_size.map_or_else(|| "not seen yet".to_owned(), |size| format!("{size} leaves, verified")),
        status.spool_bytes.div_ceil(1024),
        status.spool_max_bytes / 1024,
        status.pending,
        status.acknowledged,
        status.quarantined.len(),
    );
    for key in status.keys.iter().filter(|_| status.keys.len() > 1) {
        let (since, sink) = match (key.since, &key.rotation) {
            (Some(since), Some(rotation)) => (format!(", {since}"), format!(" ({rotation})")),
            _ => Default::default(),
        };
        text.push_str(&format!("key from run {}  {}{since}{sink}\n", key.from_seq, key.digest));
        if let Some(reason) = &key.reason {
            text.push_str(&format!("  the sink refused this rotation: {reason}\n"));
        }
    }
    for refused in &status.quarantined {
        text.push_str(&format!("  run {}: {}\n", refused.seq, refused.reason));
    }
    for gone in &status.gone {
        let runs = gone.count.map_or_else(|| "unknown number".to_owned(), |count| count.to_string());
        text.push_str(&format!(
            "no longer kept  {} to {} ({runs}): {}, {}{}\n",
            gone.from_seq,
            gone.to_seq,
            gone.cause,
            gone.at,
            if gone.refused { " (the sink refuses to be told)" } else { "" }
        ));
    }
    if let Some(damage) = &status.damage {
        text.push_str(&format!("damage        {}: {damage}\n", damage.at));
    }
    if !status.log_disputes.is_empty() {
        text.push_str(
            "THE SINK BROKE ITS LOG: it dropped, rewrote or forked its history, or an older copy of it is in use.\n",
        );
    }
    for Disputed { file, reason, detail } in &status.log_disputes {
        text.push_str(&format!("  {reason}: {detail}\n    {file}\n"));
    }
    if let Some(over) = &status.started_over {
        text.push_str(&format!("started over  {over}\n"));
    }
    text
}
