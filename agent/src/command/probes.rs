//! `gatepost probes`: every probe with what it touches, what it needs, what it costs at most, and what came of it last.
//!
//! Guarantees: looks at nothing itself and makes nothing; without a state folder it says what it would do. A run that cannot be
//! read back is passed over, and the answer is then that of an older one, with its number.

use std::fmt::Write as _;
use std::time::Duration;

use gatepost_evidence::run::{Record, Status, TargetKind};
use jiff::Timestamp;
use serde::Serialize;

use super::{Outcome, Place, print, print_json};
use crate::cli::Format;
use crate::config::Config;
use crate::probe::{Probe, registry};
use crate::{bundle, report, spool};

/// How many of the latest runs are searched for a probe's last result: a day of audits by the hour, and room for others.
const LOOKED_AT: u32 = 32;

/// A probe as it is listed.
#[derive(Serialize)]
pub(crate) struct Listed {
    pub(crate) check: &'static str,
    /// The version of the observation's contract.
    pub(crate) contract: u32,
    pub(crate) touches: &'static str,
    pub(crate) needs: &'static str,
    /// The most time that one target takes, in seconds.
    pub(crate) limit_seconds: u64,
    /// The bundles that it is part of.
    pub(crate) bundles: Vec<&'static str>,
    /// What the configuration makes it look at.
    pub(crate) targets: Vec<ListedTarget>,
    /// What it saw in the latest run that had it; null when there is none among those searched.
    pub(crate) last: Option<Last>,
}

/// What a probe looks at.
#[derive(Serialize)]
pub(crate) struct ListedTarget {
    pub(crate) kind: TargetKind,
    pub(crate) name: String,
}

/// The latest run that had a probe.
#[derive(Serialize)]
pub(crate) struct Last {
    pub(crate) seq: u64,
    /// One per target.
    pub(crate) looks: Vec<LastLook>,
}

/// What came of one target.
#[derive(Serialize)]
pub(crate) struct LastLook {
    pub(crate) target: String,
    pub(crate) status: Status,
    pub(crate) detail: Option<String>,
    pub(crate) observed_at: Timestamp,
    pub(crate) duration_ms: u64,
    /// Bytes of the observation, before compression.
    pub(crate) observation_bytes: usize,
}

impl LastLook {
    fn of(record: &Record) -> Self {
        let bytes = record.observation.as_ref().map_or(0, |observation| observation.to_string().len());
        Self {
            target: record.target.name.clone(),
            status: record.status,
            detail: record.detail.clone(),
            observed_at: record.observed_at,
            duration_ms: record.duration_ms,
            observation_bytes: bytes,
        }
    }
}

pub(super) fn run(config: &Config, place: Option<&Place>, format: Format) -> anyhow::Result<Outcome> {
    let mut probes: Vec<Listed> = registry::PROBES.iter().map(|probe| listed(probe, config)).collect();
    if let Some(place) = place {
        recall(place, &mut probes)?;
    }
    match format {
        Format::Json => print_json(&probes)?,
        Format::Text => print(&text(&probes, place.is_some()))?,
    }
    Ok(Outcome::Clean)
}

fn listed(probe: &Probe, config: &Config) -> Listed {
    let has = |bundle: &&bundle::Bundle| bundle.checks.iter().any(|check| check == probe.check);
    let targets = (probe.targets)(config).into_iter();
    Listed {
        check: probe.check,
        contract: probe.contract,
        touches: probe.touches,
        needs: probe.needs,
        limit_seconds: probe.limit.as_secs(),
        bundles: bundle::all().iter().filter(has).map(|bundle| bundle.name.as_str()).collect(),
        targets: targets.map(|target| ListedTarget { kind: target.kind, name: target.name }).collect(),
        last: None,
    }
}

/// Newest first, until every probe has its last result.
fn recall(place: &Place, probes: &mut [Listed]) -> anyhow::Result<()> {
    for kept in place.spool.latest(LOOKED_AT)? {
        let Ok(verified) = spool::verify(&kept, place.identity.ring()) else { continue };
        for probe in probes.iter_mut().filter(|probe| probe.last.is_none()) {
            let records = verified.run().records.iter().filter(|record| record.check == probe.check);
            let looks: Vec<LastLook> = records.map(LastLook::of).collect();
            probe.last = (!looks.is_empty()).then_some(Last { seq: kept.seq, looks });
        }
    }
    Ok(())
}

fn text(probes: &[Listed], recalled: bool) -> String {
    let mut out = String::new();
    for probe in probes {
        report::heading(&mut out, probe.check);
        report::labelled(&mut out, "Touches", probe.touches);
        report::labelled(&mut out, "Needs", probe.needs);
        let targets: Vec<&str> = probe.targets.iter().map(|target| target.name.as_str()).collect();
        let limit = Duration::from_secs(probe.limit_seconds);
        report::labelled(
            &mut out,
            "Cost",
            &format!("at most {limit:?} for each target; targets: {}", targets.join(", ")),
        );
        report::labelled(&mut out, "Bundles", &probe.bundles.join(", "));
        report::labelled(&mut out, "Last", &last(probe.last.as_ref(), recalled));
        out.push('\n');
    }
    out
}

fn last(last: Option<&Last>, recalled: bool) -> String {
    let Some(Last { seq, looks }) = last else {
        return match recalled {
            true => format!("not in the latest {LOOKED_AT} runs"),
            false => "there is no run here that this user can read; `gatepost audit` makes one".to_owned(),
        };
    };
    let Some(first) = looks.first() else { return format!("run {seq}") };
    let mut text = format!("run {seq}, {}: ", first.observed_at);
    for (index, look) in looks.iter().enumerate() {
        let between = if index == 0 { "" } else { "; " };
        let _ = write!(text, "{between}{} {}", look.target, look.status);
        if let Some(detail) = &look.detail {
            let _ = write!(text, " ({detail})");
        }
        let _ = write!(text, " in {} ms, {} bytes", look.duration_ms, look.observation_bytes);
    }
    text
}
