//! What is done about a damaged database: it is moved aside, never written to, and what can be read of it is saved.
//!
//! Every place is asked for on its own, so that damage in one page does not hide what lies behind it. What is saved was
//! checked against its digest, and against the signature if this gateway's key made it. What is not saved leaves tombstones,
//! so the chain goes on: from the last run if the damaged database still tells which that was, else from the tombstone
//! itself, at a place that no run can have had (docs/decisions/0006).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::run::PAYLOAD_TYPE;
use gatepost_evidence::tombstone::{Cause, Tombstone, fold};
use gatepost_evidence::verify::VerifiedRun;
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use super::error::unless_lost;
use super::place::{self, Place};
use super::rows::{self, Kept};
use super::tombstones;
use super::wal::{self, Cut, Torn};
use super::{Keeping, SpoolError, bounds, log, pack, rotations, schema};
use crate::identity::Identity;

/// How far from the places that can be walked to runs are still looked for: a week of audits every minute.
const LOOK_FAR: usize = 10_000;

/// What became of a damaged database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mended {
    /// When.
    pub at: Timestamp,
    /// Where the damaged database lies now.
    pub aside: PathBuf,
    /// What was wrong with it.
    pub why: String,
    /// How many runs were saved.
    pub saved: u64,
    /// How many were not; null when not even their number is known.
    pub lost: Option<u64>,
    /// Damaged databases from before that were removed to make room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<PathBuf>,
}

impl std::fmt::Display for Mended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lost = self.lost.map_or_else(|| "an unknown number".to_owned(), |lost| lost.to_string());
        let (saved, aside) = (self.saved, self.aside.display());
        write!(f, "the spool was damaged ({}); {saved} runs saved, {lost} lost; it is kept as {aside}", self.why)?;
        self.removed.iter().try_for_each(|removed| write!(f, "; {}, kept from before, goes", removed.display()))
    }
}

/// Replaces the damaged database. To be called with nobody else on the spool, see [`Place::exclusively`].
/// `cut` is what SQLite would not read of its log.
pub(super) fn mend(
    place: &Place,
    keeping: &Keeping,
    (why, cut): (String, Option<Cut>),
    now: Timestamp,
) -> Result<Mended, SpoolError> {
    let draft = place.draft()?;
    let aside = place.aside(now);
    let removed = place.too_many(&aside)?;
    let mut mended = Mended { at: now, aside, why, saved: 0, lost: None, removed };
    fill(&draft, place, keeping, cut.as_ref(), &mut mended)?;
    place.copy()?;
    place.replace(&draft, &mended.aside)?;
    for removed in &mended.removed {
        // It takes space and nothing else: the next mending tries again.
        place.let_go(removed).unwrap_or_else(|error| tracing::warn!("{error}"));
    }
    Ok(mended)
}

/// Saves what can be read in `draft`, and notes how many runs that were, and how many are lost.
fn fill(
    draft: &Path,
    place: &Place,
    keeping: &Keeping,
    cut: Option<&Cut>,
    mended: &mut Mended,
) -> Result<(), SpoolError> {
    let damaged = place.file();
    let at = |source| SpoolError::Database { path: draft.to_owned(), source };
    let mut to = Connection::open(draft).map_err(at)?;
    to.pragma_update(None, "synchronous", "FULL").map_err(at)?;
    let transaction = to.transaction_with_behavior(TransactionBehavior::Immediate).map_err(at)?;
    let mut salvage = Salvage::default();
    let mut look = |path: &Path, trust| {
        let Some(from) = unless_lost(look_into(path))? else { return Ok(()) };
        salvage.all(&from, &transaction, &keeping.identity, trust)
    };
    if let Some(cut) = cut {
        let copy = place.copy()?;
        wal::copy(&damaged, &copy)?;
        // What is said by no damaged page decides how far the chain has come; the others may only add to what is saved.
        cut.lay_over(&damaged, &copy, Torn::Blank)?;
        look(&copy, if cut.is_certain() { Trust::Full } else { Trust::Rows }).map_err(at)?;
        cut.lay_over(&damaged, &copy, Torn::AsTheyAre)?;
        look(&copy, Trust::Rows).map_err(at)?;
        look(&damaged, Trust::Rows).map_err(at)?;
    } else {
        look(&damaged, Trust::Full).map_err(at)?;
    }
    rotations::adopt(&transaction, &keeping.identity).map_err(at)?;
    if let Some(head) = rotations::head(&transaction).map_err(at)? {
        salvage.last_seen = salvage.last_seen.max(head.seq);
    }
    let mut lost = Some(0);
    for tombstone in salvage.tombstones_for_what_is_lost(&keeping.identity, mended.at) {
        lost = lost.zip(tombstone.count).map(|(lost, count)| lost + count);
        tombstones::write(&transaction, &keeping.identity, &tombstone).map_err(|error| error.at(at))?;
    }
    (mended.saved, mended.lost) = (salvage.saved.len() as u64, lost);
    let told = serde_json::to_string(mended).unwrap_or_default();
    super::set(&transaction, "mended", &told).map_err(at)?;
    transaction.commit().map_err(at)?;
    place::close(to, draft)
}

/// Opens a damaged database without changing it.
fn look_into(damaged: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(damaged, flags)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// What of a database is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Also what it does not hold, and where it ends.
    Full,
    /// What each row itself shows to be true.
    Rows,
}

/// What was found in a damaged database.
#[derive(Default)]
struct Salvage {
    /// Whether the settings were read.
    settled: bool,
    /// By place: digest, and the digest of the run before where the run itself says so.
    saved: BTreeMap<u64, (Digest, Option<Digest>)>,
    /// Runs that could not be saved, but whose digest is known.
    named: BTreeMap<u64, Digest>,
    /// By last place.
    buried: BTreeMap<u64, Tombstone>,
    /// Whether all tombstones were read: only then is it known that every place without one had a run.
    complete: bool,
    /// The last place of the chain, if it is certain.
    head: Option<u64>,
    /// The last place that was seen at all.
    last_seen: u64,
}

impl Salvage {
    /// Adds what can be read of `from` to what others held.
    fn all(&mut self, from: &Connection, to: &Connection, identity: &Identity, trust: Trust) -> rusqlite::Result<()> {
        if !self.settled {
            self.settled = self.settings(from, to)?;
            log::salvage(from, to)?;
        }
        rotations::salvage(from, to)?;
        let complete = self.tombstones(from, to, identity)?;
        // The runs of this one tell where the chain ends only if it is believed.
        let before = std::mem::replace(&mut self.complete, complete && trust == Trust::Full);
        self.runs(from, to, identity, trust)?;
        self.complete |= before;
        Ok(())
    }

    /// Whether they could be read.
    fn settings(&mut self, from: &Connection, to: &Connection) -> rusqlite::Result<bool> {
        let read = || -> rusqlite::Result<Vec<(String, String)>> {
            let mut all = from.prepare("SELECT key, value FROM settings WHERE key != 'checked'")?;
            all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let Some(settings) = unless_lost(read())? else { return Ok(false) };
        for (key, value) in settings {
            to.execute("INSERT INTO settings (key, value) VALUES (?1, ?2)", params![key, value])?;
        }
        Ok(true)
    }

    /// Whether all of them could be read.
    fn tombstones(&mut self, from: &Connection, to: &Connection, identity: &Identity) -> rusqlite::Result<bool> {
        // Version 1 had none.
        let none = unless_lost(schema::version(from))? == Some(1);
        let found = if none { Some(Vec::new()) } else { unless_lost(tombstones::all(from, false))? };
        let mut complete = found.is_some();
        for buried in found.unwrap_or_default() {
            match super::open_tombstone(&buried, identity.ring()) {
                // One that overlaps with what was found is from before it grew.
                Ok(tombstone) if self.overlaps(&tombstone) => {}
                Ok(tombstone) => {
                    tombstones::insert(to, &buried)?;
                    self.last_seen = self.last_seen.max(tombstone.to_seq);
                    self.buried.insert(tombstone.to_seq, tombstone);
                }
                Err(_) => complete = false,
            }
        }
        Ok(complete)
    }

    fn overlaps(&self, tombstone: &Tombstone) -> bool {
        let buried = self.buried.range(tombstone.from_seq..).next();
        buried.is_some_and(|(_, buried)| buried.from_seq <= tombstone.to_seq)
            || self.saved.range(tombstone.from_seq..=tombstone.to_seq).next().is_some()
    }

    fn runs(&mut self, from: &Connection, to: &Connection, identity: &Identity, trust: Trust) -> rusqlite::Result<()> {
        let version = unless_lost(schema::version(from))?.unwrap_or(2);
        if unless_lost(from.prepare("SELECT seq FROM runs"))?.is_none() {
            // There is no table to look into.
            return Ok(());
        }
        let places = self.places(from)?;
        let mut before: Option<(i64, Timestamp)> = None;
        for seq in places {
            if self.saved.contains_key(&seq) {
                continue;
            }
            if self.buried.range(seq..).next().is_some_and(|(_, tombstone)| tombstone.covers(seq)) {
                continue;
            }
            let Some(found) = unless_lost(read(from, version, seq))?.flatten() else { continue };
            self.last_seen = self.last_seen.max(seq);
            let kept = found.run.and_then(|kept| Ok((link(&kept, identity)?, kept)));
            match kept {
                Ok((prev, mut kept)) => {
                    if version == 1 {
                        kept.age_mark = bounds::age_mark(before, kept.stored_at);
                    }
                    before = Some((kept.age_mark, kept.stored_at));
                    rows::keep(to, &kept)?;
                    self.saved.insert(seq, (kept.digest, prev));
                }
                Err(_) => {
                    // On a damaged page, the digest may be what is damaged.
                    if let Some(digest) = found.digest.filter(|_| trust == Trust::Full) {
                        self.named.insert(seq, digest);
                    }
                }
            }
        }
        Ok(())
    }

    /// Every place that may hold a run, and what is known of the end of the chain.
    fn places(&mut self, from: &Connection) -> rusqlite::Result<BTreeSet<u64>> {
        let ((ahead, whole), (back, _)) = (walk(from, "")?, walk(from, "DESC")?);
        let last = from.query_row("SELECT max(seq) FROM runs", [], |row| row.get::<_, Option<u64>>(0));
        let buried = self.buried.keys().copied().max();
        if let (true, Some(last)) = (self.complete, unless_lost(last)?) {
            // The end of the table could be read: nothing can lie behind it.
            self.head = last.max(buried).or(Some(0));
        }
        let (until, since) = (ahead.last().copied().unwrap_or(0), back.last().copied());
        let mut places: BTreeSet<u64> = ahead.into_iter().chain(back).collect();
        self.last_seen = self.last_seen.max(places.last().copied().unwrap_or(0));
        if !whole {
            // What neither walk met lies between the places where they broke off, or behind the last if the end is not known.
            let hole = until.saturating_add(1)..since.unwrap_or(u64::MAX);
            places.extend(hole.clone().take(LOOK_FAR));
            places.extend(hole.rev().take(if since.is_some() { LOOK_FAR } else { 0 }));
        }
        Ok(places)
    }

    /// One tombstone for each stretch without a run.
    fn tombstones_for_what_is_lost(&self, identity: &Identity, now: Timestamp) -> Vec<Tombstone> {
        let mut stretches = Vec::new();
        let mut next = 1;
        let spans = self.saved.keys().map(|&seq| (seq, seq));
        let mut spans: Vec<_> = spans.chain(self.buried.values().map(|t| (t.from_seq, t.to_seq))).collect();
        spans.sort_unstable();
        for (from, to) in spans {
            if from > next {
                stretches.push((next, from - 1));
            }
            next = next.max(to + 1);
        }
        if let Some(head) = self.head.filter(|head| *head >= next) {
            stretches.push((next, head));
        }
        let mut lost: Vec<_> = stretches.into_iter().map(|(from, to)| self.lost(from, to, identity, now)).collect();
        if self.head.is_none() {
            // No run takes less than a second, so no chain has reached a place as high as the seconds since 1970.
            let end = u64::try_from(now.as_second()).unwrap_or(0).max(self.last_seen + 1).max(next);
            let unknown = Tombstone {
                count: None,
                digest: None,
                first_digest: self.named.get(&next).copied(),
                last_digest: None,
                ..self.lost(next, end, identity, now)
            };
            lost.push(unknown);
        }
        lost
    }

    fn lost(&self, from: u64, to: u64, identity: &Identity, now: Timestamp) -> Tombstone {
        let named = |seq: u64| self.named.get(&seq).copied();
        // The run after says which run was the last that is missing.
        let said = self.saved.get(&(to + 1)).and_then(|(_, prev)| *prev);
        let after = self.buried.values().find(|tombstone| tombstone.from_seq == to + 1);
        let last_digest = said.or(after.and_then(|tombstone| tombstone.prev)).or_else(|| named(to));
        let digests = self.named.range(from..=to).map(|(_, digest)| *digest);
        let all_named = self.named.range(from..=to).count() as u64 == to - from + 1;
        let digest = digests
            .fold(None, |so_far, digest| Some(fold(so_far, digest)))
            .filter(|_| all_named && named(to) == last_digest);
        let before = || self.buried.get(&(from - 1)).and_then(|tombstone| tombstone.link().ok());
        Tombstone {
            gateway: identity.gateway(),
            from_seq: from,
            to_seq: to,
            count: self.complete.then_some(to - from + 1),
            prev: self.saved.get(&(from - 1)).map(|(digest, _)| *digest).or_else(before),
            digest,
            first_digest: last_digest.filter(|_| from == to).or_else(|| named(from)),
            last_digest,
            cause: Cause::Damaged,
            at: now,
        }
    }
}

/// The places that a walk through the table meets, and whether it came to its end.
fn walk(from: &Connection, order: &str) -> rusqlite::Result<(Vec<u64>, bool)> {
    let mut places = Vec::new();
    let mut meet = || -> rusqlite::Result<()> {
        let mut statement = from.prepare(&format!("SELECT seq FROM runs ORDER BY seq {order}"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            places.push(row.get(0)?);
        }
        Ok(())
    };
    let whole = unless_lost(meet())?.is_some();
    Ok((places, whole))
}

struct Read {
    digest: Option<Digest>,
    run: Result<Kept, String>,
}

fn read(from: &Connection, version: u32, seq: u64) -> rusqlite::Result<Option<Read>> {
    if version == 1 {
        let found = schema::version_1(from, "runs", seq)?;
        return Ok(found.map(|run| Read { digest: run.as_ref().ok().map(|run| run.digest), run }));
    }
    let Some(found) = rows::rescue(from, seq)? else { return Ok(None) };
    let receipt = found.receipt.as_ref().and_then(|receipt| pack::unpack(receipt, None).ok());
    let (digest, stored_at, age_mark) = (found.digest, found.stored_at, found.age_mark);
    let (state, reason) = (found.state, found.reason);
    let run =
        found.envelope.map(|envelope| Kept { seq, digest, stored_at, age_mark, envelope, state, reason, receipt });
    Ok(Some(Read { digest: Some(digest), run }))
}

/// The `prev` that the run itself states. A run that claims a key of this gateway must verify with it; one that was signed
/// with another key, such as that of the gateway this one was before, has its digest to vouch for it.
fn link(kept: &Kept, identity: &Identity) -> Result<Option<Digest>, String> {
    let envelope = Envelope::parse(kept.envelope.as_bytes()).map_err(|error| error.to_string())?;
    let signer = envelope.claimed_signer().and_then(|signer| identity.ring().key(signer.digest()));
    if envelope.payload_type != PAYLOAD_TYPE || signer.is_none() {
        return Ok(None);
    }
    let run = VerifiedRun::open(&envelope, identity.ring()).map_err(|error| error.to_string())?;
    if run.run().seq != kept.seq {
        return Err(format!("it is run {}", run.run().seq));
    }
    Ok(run.run().prev)
}
