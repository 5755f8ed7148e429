//! The shapes that the API and the pages show: one place, so that both say the same.

use std::collections::BTreeMap;

use gatepost_evidence::chain::Link;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::run::{Record, Stage, Status, Target};
use gatepost_rules::assess::{Assessment, Row, RunRef};
use gatepost_rules::backlog::{BacklogItem, backlog};
use gatepost_rules::compare::{self, Cause, Change, Delta, DeltaRow, FactChange};
use gatepost_rules::decision::{Decision, Posture};
use gatepost_rules::pack::{Pack, PackRef};
use gatepost_rules::report::Finding;
use jiff::Timestamp;
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;

use crate::account::{self, Buried};
use crate::app::{App, now};
use crate::judge::{self, Changes, Seen};
use crate::problem::Refusal;
use crate::store::assessments::{self, Summary};
use crate::store::baselines::{self, Baseline};
use crate::store::gateways::{self, Found, Gateway, Listed};
use crate::store::runs::{self, ChainGap, RunMeta};
use crate::store::{StoreError, quarantine, rotations};
use crate::timeline::{self, Silence};

/// A run in a list.
#[derive(Debug, Clone, Serialize)]
pub struct RunLine {
    /// Its place in the chain.
    pub seq: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
    /// Its stage.
    pub stage: Stage,
    /// Its bundle's name.
    pub bundle: String,
    /// When it started, by the gateway's clock.
    pub started_at: Timestamp,
    /// When it was accepted, by the sink's clock.
    pub received_at: Timestamp,
    /// How it related to the chain when it came.
    pub link: Link,
    /// Its posture; null until it is judged.
    pub posture: Option<Posture>,
    /// What to do next; null until it is judged.
    pub decision: Option<Decision>,
    /// How many findings it has; null until it is judged.
    pub findings: Option<u64>,
    /// Why it could not be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A gateway in the fleet.
#[derive(Debug, Clone, Serialize)]
pub struct GatewayView {
    /// Its identity.
    pub id: GatewayId,
    /// Its name; untrusted text.
    pub name: String,
    /// Its labels; untrusted text.
    pub labels: BTreeMap<String, String>,
    /// When it enrolled first.
    pub enrolled_at: Timestamp,
    /// Its keys, in order; the last one signs.
    pub keys: Vec<KeyView>,
    /// How many runs are kept.
    pub runs: u64,
    /// The newest run.
    pub last_run: Option<RunLine>,
    /// The newest run's posture.
    pub posture: Option<Posture>,
    /// What to do next.
    pub decision: Option<Decision>,
    /// How many findings the newest run has.
    pub findings: Option<u64>,
    /// How many controls regressed against the baseline; null without one, or until the newest run is judged.
    pub regressions: Option<u64>,
    /// What it is compared with.
    pub baseline: Option<Baseline>,
    /// Stretches of the chain that never came and that nobody accounts for: evidence gaps.
    pub chain_gaps: Vec<ChainGap>,
    /// How many runs those are.
    pub unaccounted_runs: u64,
    /// Stretches of the chain that never came and that the gateway signed away, with the cause.
    pub buried: Vec<Buried>,
    /// That nothing was heard for longer than three of the gateway's own intervals.
    pub silence: Option<Silence>,
    /// Whether another branch of its chain was seen.
    pub branch: Option<Branch>,
    /// What it signed and was refused all the same: forks, runs about others.
    pub quarantined: Vec<quarantine::Entry>,
}

/// What another branch of a gateway's chain looks like from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// The known chain went on after the other branch was seen: two machines sign, as after a cloned SD card.
    Fork,
    /// Only the other branch was heard since: an older state came back, as after a restored SD card.
    Rollback,
}

/// Whether what was refused is another branch of the chain, and which sort. Both look the same until the known chain goes on.
fn branch(newest: Option<&RunMeta>, refused: &[quarantine::Entry]) -> Option<Branch> {
    let other =
        refused.iter().filter(|entry| entry.vouched && ["fork", "retired_key"].contains(&entry.reason.as_str()));
    let seen = other.map(|entry| entry.first_at).min()?;
    Some(if newest.is_some_and(|run| run.received_at > seen) { Branch::Fork } else { Branch::Rollback })
}

/// A key of a gateway.
#[derive(Debug, Clone, Serialize)]
pub struct KeyView {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub digest: Digest,
    /// The first run that it signs.
    pub from_seq: u64,
    /// The first run that it does not sign any more; null for the one that signs.
    pub until_seq: Option<u64>,
    /// When it was rotated in, by the gateway's clock; null for the first.
    pub rotated_at: Option<Timestamp>,
    /// When it was known here, by the sink's clock.
    pub received_at: Timestamp,
    /// The key itself, PEM.
    pub public_key: String,
}

/// The keys of a gateway, in order.
fn keys(connection: &Connection, gateway: &Gateway) -> Result<Vec<KeyView>, StoreError> {
    let (ring, stored) = (rotations::ring(connection, gateway.id)?, rotations::list(connection, gateway.id)?);
    let Some(ring) = ring else { return Ok(Vec::new()) };
    let keys = ring.keys().map(|(from_seq, key)| {
        let digest = key.digest();
        let added = ring.rotations().iter().find(|added| added.rotation().new_key == *key);
        let stored = added.and_then(|added| stored.iter().find(|stored| stored.digest == added.digest()));
        KeyView {
            digest,
            from_seq,
            until_seq: ring.retired_at(digest),
            rotated_at: added.map(|added| added.rotation().at),
            received_at: stored.map_or(gateway.enrolled_at, |stored| stored.received_at),
            public_key: key.to_pem(),
        }
    });
    Ok(keys.collect())
}

/// A gateway of the fleet, or why it cannot be shown.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum FleetLine {
    /// It could be read.
    Gateway(Box<GatewayView>),
    /// Something of it is damaged.
    Unreadable {
        /// Its identity, as it is stored.
        id: String,
        /// Its name; untrusted text.
        name: String,
        /// Why.
        cannot_be_read: String,
    },
}

/// A record of a run without its observation.
#[derive(Debug, Clone, Serialize)]
pub struct RecordLine {
    /// The check.
    pub check: String,
    /// What was looked at.
    pub target: Target,
    /// What happened.
    pub status: Status,
    /// Why, when nothing was observed.
    pub detail: Option<String>,
    /// When the look began.
    pub observed_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl From<&Record> for RecordLine {
    fn from(record: &Record) -> Self {
        Self {
            check: record.check.clone(),
            target: record.target.clone(),
            status: record.status,
            detail: record.detail.clone(),
            observed_at: record.observed_at,
            duration_ms: record.duration_ms,
        }
    }
}

/// A judged run.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    /// The run.
    pub run: RunRef,
    /// What it was judged by.
    pub pack: PackRef,
    /// SHA-256 of the assessment's canonical JSON.
    pub assessment_digest: Digest,
    /// When it was accepted, by the sink's clock.
    pub received_at: Timestamp,
    /// How it related to the chain when it came.
    pub link: Link,
    /// What fails, worst first.
    pub findings: Vec<Finding>,
    /// What there is no evidence for.
    pub gaps: Vec<Row>,
    /// In numbers.
    pub posture: Posture,
    /// What to do next.
    pub decision: Decision,
    /// Every row.
    pub rows: Vec<Row>,
    /// What was looked at.
    pub records: Vec<RecordLine>,
}

/// A changed control and subject.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeRow {
    /// What became of it.
    #[serde(flatten)]
    pub row: DeltaRow,
    /// The facts behind the earlier outcome.
    pub evidence_before: Option<BTreeMap<String, Value>>,
    /// The facts behind the later outcome.
    pub evidence_after: Option<BTreeMap<String, Value>>,
    /// Regressed rows: the earliest run of the unbroken series that saw it fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Seen>,
    /// Regressed rows: the last run before that series that saw it as it should be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_good: Option<Seen>,
}

impl ChangeRow {
    /// Whether the fact at `pointer` differs between the two sides.
    #[must_use]
    pub fn differs(&self, pointer: &str) -> bool {
        let at = |side: &Option<BTreeMap<String, Value>>| side.as_ref().and_then(|facts| facts.get(pointer)).cloned();
        at(&self.evidence_before) != at(&self.evidence_after)
    }
}

/// A delta in numbers and a line of words.
#[derive(Debug, Clone, Serialize)]
pub struct DeltaSummary {
    /// Such as `4 improved, 0 regressed`.
    pub text: String,
    /// Rows by change.
    #[serde(flatten)]
    pub counts: compare::DeltaSummary,
    /// Facts that differ.
    pub facts_changed: u64,
    /// Rows that changed, by what brought it about.
    pub causes: BTreeMap<&'static str, u64>,
}

/// What changed between two runs of a gateway.
#[derive(Debug, Clone, Serialize)]
pub struct DeltaView {
    /// Whose runs.
    pub gateway: GatewayId,
    /// The earlier run.
    pub baseline: RunRef,
    /// The later run.
    pub current: RunRef,
    /// What both were judged by.
    pub pack: PackRef,
    /// In numbers.
    pub summary: DeltaSummary,
    /// Failed, and does not any more.
    pub improved: Vec<ChangeRow>,
    /// Did not fail, and does now.
    pub regressed: Vec<ChangeRow>,
    /// Failed, and still does.
    pub still_failing: Vec<ChangeRow>,
    /// Passed, and still does.
    pub holding: Vec<ChangeRow>,
    /// Had evidence, and has none now.
    pub visibility_lost: Vec<ChangeRow>,
    /// Had no evidence, and has some now.
    pub visibility_gained: Vec<ChangeRow>,
    /// Had no evidence, and still has none.
    pub still_unknown: Vec<ChangeRow>,
    /// Was not there before.
    pub appeared: Vec<ChangeRow>,
    /// Is not there any more.
    pub disappeared: Vec<ChangeRow>,
    /// Facts that differ, whether or not a control cares.
    pub facts: Vec<FactChange>,
    /// Findings of the later run.
    pub findings: Vec<Finding>,
    /// The later run's posture.
    pub posture: Posture,
    /// What to do next.
    pub decision: Decision,
}

/// What to fix first.
#[derive(Debug, Clone, Serialize)]
pub struct BacklogView {
    /// The run it was drafted from.
    pub run: RunRef,
    /// What the run was judged by.
    pub pack: PackRef,
    /// One per failing control, most urgent first.
    pub items: Vec<BacklogItem>,
}

/// The gateway that `prefix` names.
///
/// # Errors
/// 400 when it is no prefix of an id, 404 when there is none, 409 when there are several.
pub fn gateway(connection: &Connection, prefix: &str) -> Result<Gateway, Refusal> {
    let prefix = crate::cli::gateway_prefix(prefix).map_err(|why| Refusal::bad("bad_id", why))?;
    match gateways::find(connection, &prefix).map_err(Refusal::damage)? {
        Found::One(gateway) => Ok(*gateway),
        Found::None => Err(Refusal::not_found(format!("no gateway {prefix} is enrolled here"))),
        Found::Several => Err(Refusal::conflict("ambiguous", format!("more than one gateway begins with {prefix}"))),
    }
}

/// Every gateway. One that cannot be read stands there with the reason and does not hide the others.
///
/// # Errors
/// The database's, when not even the list can be read.
pub fn fleet(app: &App, connection: &Connection) -> Result<Vec<FleetLine>, StoreError> {
    let line = |Listed { id, name, gateway }| {
        let view = gateway.and_then(|gateway| gateway_view(app, connection, gateway));
        view.map(|view| FleetLine::Gateway(Box::new(view))).unwrap_or_else(|error| {
            tracing::error!(gateway = id, %error, "a gateway cannot be shown in the fleet");
            FleetLine::Unreadable { id, name, cannot_be_read: error.to_string() }
        })
    };
    Ok(gateways::list(connection)?.into_iter().map(line).collect())
}

/// A gateway as the fleet shows it.
///
/// # Errors
/// The database's.
pub fn gateway_view(app: &App, connection: &Connection, gateway: Gateway) -> Result<GatewayView, StoreError> {
    let newest = runs::list(connection, gateway.id, None, 1)?.pop();
    let baseline = baselines::current(connection, gateway.id)?;
    let account = account::of_gateway(connection, gateway.id)?;
    let quarantined = quarantine::of_gateway(connection, gateway.id)?;
    let last_run = newest.as_ref().map(|run| run_line(app, connection, run)).transpose()?;
    let judged = last_run.as_ref().is_some_and(|run| run.posture.is_some());
    let regressions = match (&baseline, &newest) {
        (Some(baseline), Some(newest)) if judged => {
            let from = runs::by_digest(connection, baseline.digest)?;
            from.map(|from| app.deltas.regressions(app, connection, &from.meta, newest)).transpose()?
        }
        _ => None,
    };
    Ok(GatewayView {
        keys: keys(connection, &gateway)?,
        id: gateway.id,
        name: gateway.name,
        labels: gateway.labels,
        enrolled_at: gateway.enrolled_at,
        runs: runs::count(connection, gateway.id)?,
        posture: last_run.as_ref().and_then(|run| run.posture.clone()),
        decision: last_run.as_ref().and_then(|run| run.decision),
        findings: last_run.as_ref().and_then(|run| run.findings),
        last_run,
        regressions,
        baseline,
        unaccounted_runs: account.unaccounted_runs(),
        chain_gaps: account.unaccounted,
        buried: account.buried,
        silence: timeline::silence(connection, gateway.id, now())?,
        branch: branch(newest.as_ref(), &quarantined),
        quarantined,
    })
}

/// A run as lists show it.
///
/// # Errors
/// The database's.
pub fn run_line(app: &App, connection: &Connection, run: &RunMeta) -> Result<RunLine, StoreError> {
    let (mut posture, mut decision, mut failure) = (None, None, None);
    match assessments::summary(connection, run.digest, app.pack.reference().digest)? {
        Summary::Judged(stands, next) => (posture, decision) = (Some(stands), Some(next)),
        Summary::Failed(why) => failure = Some(why),
        Summary::Waiting => {}
    }
    Ok(RunLine {
        seq: run.seq,
        digest: run.digest,
        stage: run.stage,
        bundle: run.bundle.clone(),
        started_at: run.started_at,
        received_at: run.received_at,
        link: run.link,
        findings: posture.as_ref().map(|posture| posture.fail),
        posture,
        decision,
        failure,
    })
}

/// A judged run.
///
/// # Errors
/// 202 while it is not judged, 500 when it cannot be.
pub fn run_view(app: &App, connection: &Connection, meta: &RunMeta, records: &[Record]) -> Result<RunView, Refusal> {
    let assessment = judge::assessment(app, connection, meta)?;
    Ok(RunView {
        assessment_digest: assessment.digest(),
        received_at: meta.received_at,
        link: meta.link,
        findings: Finding::all(&assessment, &app.pack),
        gaps: assessment.gaps().into_iter().cloned().collect(),
        records: records.iter().map(RecordLine::from).collect(),
        run: assessment.run,
        pack: assessment.pack,
        posture: assessment.posture,
        decision: assessment.decision,
        rows: assessment.rows,
    })
}

/// The two runs that a delta is asked for: by default the baseline and the newest run.
///
/// # Errors
/// 404 for a run that is not there, 409 when there is no baseline to fall back on.
pub fn two_runs(
    connection: &Connection,
    gateway: GatewayId,
    from: Option<u64>,
    to: Option<u64>,
) -> Result<(RunMeta, RunMeta), Refusal> {
    let from = match from {
        Some(seq) => seq,
        None => {
            let baseline = baselines::current(connection, gateway)?.map(|baseline| baseline.seq);
            baseline.ok_or_else(|| {
                let detail = "no run of this gateway is its baseline; promote one, or say which with ?from=SEQ";
                Refusal::conflict("no_baseline", detail)
            })?
        }
    };
    let to = match to {
        Some(seq) => seq,
        None => runs::head(connection, gateway)?
            .map(|(seq, _)| seq)
            .ok_or_else(|| Refusal::not_found("this gateway has no runs yet"))?,
    };
    Ok((judge::stored(connection, gateway, from)?.meta, judge::stored(connection, gateway, to)?.meta))
}

/// What changed between two runs.
#[must_use]
pub fn delta_view(gateway: GatewayId, changes: &Changes, pack: &Pack) -> DeltaView {
    let Changes { delta, current, baseline, since } = changes;
    let evidence = |assessment: Option<&Assessment>, row: &DeltaRow| {
        assessment.and_then(|it| judge::row(it, &row.key, &row.subject)).map(|row| row.evidence.clone())
    };
    let having = |change: Change| {
        let rows = delta.having(change).map(|row| {
            let since = since.get(&(row.key.clone(), row.subject.clone()));
            ChangeRow {
                evidence_before: evidence(baseline.as_ref(), row),
                evidence_after: evidence(Some(current), row),
                first_seen: since.map(|since| since.first_seen),
                last_good: since.and_then(|since| since.last_good),
                row: row.clone(),
            }
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.row.severity));
        rows
    };
    DeltaView {
        gateway,
        baseline: delta.baseline.clone(),
        current: delta.current.clone(),
        pack: delta.pack.clone(),
        summary: summary(delta),
        improved: having(Change::Improved),
        regressed: having(Change::Regressed),
        still_failing: having(Change::StillFailing),
        holding: having(Change::Holding),
        visibility_lost: having(Change::VisibilityLost),
        visibility_gained: having(Change::VisibilityGained),
        still_unknown: having(Change::StillUnknown),
        appeared: having(Change::Appeared),
        disappeared: having(Change::Disappeared),
        facts: delta.facts.clone(),
        findings: Finding::all(current, pack),
        posture: delta.posture.clone(),
        decision: delta.decision,
    }
}

fn summary(delta: &Delta) -> DeltaSummary {
    let counts = delta.summary();
    let mut text = format!("{} improved, {} regressed", counts.improved, counts.regressed);
    for (count, words) in [
        (counts.still_failing, "still failing"),
        (counts.visibility_lost, "out of sight now"),
        (counts.appeared, "appeared"),
        (counts.disappeared, "disappeared"),
    ] {
        if count > 0 {
            text.push_str(&format!(", {count} {words}"));
        }
    }
    let mut causes = BTreeMap::new();
    for cause in delta.rows.iter().filter_map(|row| row.cause) {
        *causes.entry(cause_word(cause)).or_default() += 1;
    }
    DeltaSummary { text, counts, facts_changed: delta.facts.len() as u64, causes }
}

/// The word for a cause, as the API has it.
#[must_use]
pub fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Gateway => "gateway",
        Cause::Rules => "rules",
        Cause::Agent => "agent",
        Cause::Waiver => "waiver",
        Cause::Clock => "clock",
    }
}

/// The backlog of a judged run.
#[must_use]
pub fn backlog_view(assessment: Assessment, pack: &Pack) -> BacklogView {
    BacklogView { items: backlog(&assessment, pack), run: assessment.run, pack: assessment.pack }
}
