//! From stored runs to what the operator asks: an assessment, a delta, and when a regression was first seen.
//!
//! The envelope is opened again for every judgement, with the enrolled key: what is judged is what was signed. A regression
//! is dated by the run that saw it, not by when that run arrived.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::verify::VerifiedRun;
use gatepost_rules::assess::{Assessment, Outcome, Row, assess};
use gatepost_rules::compare::{Change, Delta, Side, compare};
use jiff::Timestamp;
use rusqlite::Connection;
use serde::Serialize;

use crate::app::App;
use crate::problem::Refusal;
use crate::store::assessments::{self, Judgement};
use crate::store::runs::{self, RunMeta, StoredRun};
use crate::store::{StoreError, rotations};

/// Runs looked at in one step back through a gateway's history.
const STEP: usize = 32;

/// Opens a stored run with its gateway's keys.
///
/// # Errors
/// The database's; or a damaged envelope.
pub fn open(connection: &Connection, run: &StoredRun) -> Result<VerifiedRun, StoreError> {
    let damaged =
        |error: &dyn std::fmt::Display| StoreError::Damaged(format!("envelope of run {}: {error}", run.meta.digest));
    let ring = rotations::ring(connection, run.meta.gateway)?.ok_or_else(|| damaged(&"its gateway is not enrolled"))?;
    let envelope = Envelope::parse(run.envelope.as_bytes()).map_err(|error| damaged(&error))?;
    let verified = VerifiedRun::open(&envelope, &ring).map_err(|error| damaged(&error))?;
    if verified.digest() == run.meta.digest { Ok(verified) } else { Err(damaged(&"its digest is another")) }
}

/// The assessment of a run under the current pack.
///
/// # Errors
/// 202 while the worker has not come to it, 500 when it could not be judged.
pub fn assessment(app: &App, connection: &Connection, run: &RunMeta) -> Result<Assessment, Refusal> {
    match assessments::get(connection, run.digest, app.pack.reference().digest)? {
        Judgement::Judged(assessment) => Ok(*assessment),
        Judgement::Waiting => Err(Refusal::not_judged_yet(run.seq)),
        Judgement::Failed(why) => Err(Refusal::judging_failed(run.seq, &why)),
    }
}

/// When something was first seen, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The run that saw it.
    pub seq: u64,
    /// SHA-256 of that run's payload.
    pub digest: Digest,
    /// When that run started, by the gateway's clock.
    pub started_at: Timestamp,
    /// When that run arrived, by the sink's clock.
    pub received_at: Timestamp,
}

impl From<&RunMeta> for Seen {
    fn from(run: &RunMeta) -> Self {
        let RunMeta { seq, digest, started_at, received_at, .. } = *run;
        Self { seq, digest, started_at, received_at }
    }
}

/// Since when something fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since {
    /// The earliest run of the unbroken series, ending at the current run, in which it fails.
    pub first_seen: Seen,
    /// The run before that series that saw it as it should be; none if no run ever did.
    pub last_good: Option<Seen>,
}

/// A control's key and a subject.
pub type RowId = (String, String);

/// Since when each of `rows`, which fail in run `current`, fails.
///
/// Goes back run by run. A run that sees the row pass or not apply, or sees that there is no such subject, ends the series.
/// A run that could not see it (other bundle, no evidence, could not be judged) neither extends nor ends it.
///
/// # Errors
/// The database's.
pub fn since<'a>(
    app: &App,
    connection: &Connection,
    current: &RunMeta,
    rows: impl IntoIterator<Item = &'a Row>,
) -> Result<BTreeMap<RowId, Since>, StoreError> {
    let start = Since { first_seen: current.into(), last_good: None };
    let mut open: Vec<&Row> = rows.into_iter().collect();
    let mut series: BTreeMap<RowId, Since> = open.iter().map(|row| (row_id(row), start)).collect();
    let mut below = current.seq;
    while !open.is_empty() {
        let step = runs::list(connection, current.gateway, Some(below), STEP)?;
        let Some(last) = step.last() else { break };
        below = last.seq;
        for run in &step {
            let Some(assessment) = look_back(app, connection, run)? else { continue };
            open.retain(|failing| {
                let Some(since) = series.get_mut(&row_id(failing)) else { return false };
                match sight(&assessment, failing) {
                    Sight::Fails => since.first_seen = run.into(),
                    Sight::Good => since.last_good = Some(run.into()),
                    Sight::Nothing => {}
                }
                since.last_good.is_none()
            });
        }
    }
    Ok(series)
}

/// What an earlier run saw of a row that fails now.
enum Sight {
    Fails,
    Good,
    Nothing,
}

fn sight(assessment: &Assessment, failing: &Row) -> Sight {
    if let Some(row) = row(assessment, &failing.key, &failing.subject) {
        return match row.outcome {
            Outcome::Fail => Sight::Fails,
            Outcome::Pass | Outcome::NotApplicable => Sight::Good,
            Outcome::Unknown => Sight::Nothing,
        };
    }
    // No such subject, or no sight of the subjects? It was in sight if the target was, for this control and for any.
    let check = |row: &Row| row.key.split_once('.').map(|(check, _)| check.to_owned());
    let mut same = assessment.rows.iter().filter(|row| row.target == failing.target && check(row) == check(failing));
    let unseen = same.clone().any(|row| row.key == failing.key && row.outcome == Outcome::Unknown);
    if !unseen && same.any(|row| row.outcome != Outcome::Unknown) { Sight::Good } else { Sight::Nothing }
}

fn row_id(row: &Row) -> RowId {
    (row.key.clone(), row.subject.clone())
}

/// The assessment of an earlier run, made here if the worker has not come to it; none if it cannot be judged.
pub fn look_back(app: &App, connection: &Connection, run: &RunMeta) -> Result<Option<Assessment>, StoreError> {
    match assessments::get(connection, run.digest, app.pack.reference().digest)? {
        Judgement::Judged(assessment) => Ok(Some(*assessment)),
        Judgement::Failed(_) => Ok(None),
        Judgement::Waiting => {
            let Some(stored) = runs::by_digest(connection, run.digest)? else { return Ok(None) };
            let verified = open(connection, &stored)?;
            Ok(Some(assess(verified.run(), verified.digest(), &app.pack)))
        }
    }
}

/// What changed between two runs of one gateway, with what each side's assessment was.
#[derive(Debug)]
pub struct Changes {
    /// The comparison.
    pub delta: Delta,
    /// The later run's assessment.
    pub current: Assessment,
    /// The earlier run's assessment under the same pack, if it can be judged.
    pub baseline: Option<Assessment>,
    /// Since when each regressed row fails.
    pub since: BTreeMap<RowId, Since>,
}

/// Compares run `from` with run `to`.
///
/// # Errors
/// 202 while the later run is not judged, 500 when it cannot be.
pub fn changes(app: &App, connection: &Connection, from: &RunMeta, to: &RunMeta) -> Result<Changes, Refusal> {
    let current = assessment(app, connection, to)?;
    let delta = compare_runs(app, connection, from, to)?;
    let regressed = delta.having(Change::Regressed).filter_map(|it| row(&current, &it.key, &it.subject));
    let since = since(app, connection, to, regressed)?;
    let baseline = look_back(app, connection, from)?;
    Ok(Changes { delta, current, baseline, since })
}

fn compare_runs(app: &App, connection: &Connection, from: &RunMeta, to: &RunMeta) -> Result<Delta, StoreError> {
    let opened = |run: &RunMeta| {
        let stored = runs::by_digest(connection, run.digest)?;
        open(connection, &stored.ok_or_else(|| StoreError::Damaged(format!("run {} is gone", run.digest)))?)
    };
    let (from, to) = (opened(from)?, opened(to)?);
    // Only the built-in pack is known here, so there is no former one to tell the rules' part in a change by.
    Ok(compare(
        Side { run: from.run(), digest: from.digest() },
        Side { run: to.run(), digest: to.digest() },
        &app.pack,
        None,
    ))
}

/// The row of `assessment` about this control and subject.
#[must_use]
pub fn row<'a>(assessment: &'a Assessment, key: &str, subject: &str) -> Option<&'a Row> {
    assessment.rows.iter().find(|row| row.key == key && row.subject == subject)
}

/// How many rows regressed between two runs, remembered: runs never change.
#[derive(Debug, Default)]
pub struct DeltaCounts(Mutex<HashMap<(Digest, Digest), u64>>);

impl DeltaCounts {
    /// Regressions of `to` against `from`.
    ///
    /// # Errors
    /// The database's.
    pub fn regressions(
        &self,
        app: &App,
        connection: &Connection,
        from: &RunMeta,
        to: &RunMeta,
    ) -> Result<u64, StoreError> {
        let pair = (from.digest, to.digest);
        if let Some(count) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&pair) {
            return Ok(*count);
        }
        let count = compare_runs(app, connection, from, to)?.having(Change::Regressed).count() as u64;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= 10_000 {
            counts.clear();
        }
        counts.insert(pair, count);
        Ok(count)
    }
}

/// The run of `gateway` with this `seq`.
///
/// # Errors
/// 404.
pub fn stored(connection: &Connection, gateway: GatewayId, seq: u64) -> Result<StoredRun, Refusal> {
    runs::get(connection, gateway, seq)?
        .ok_or_else(|| Refusal::not_found(format!("gateway {} has no run {seq} here", gateway.short())))
}
