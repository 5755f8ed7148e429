//! `gatepost compare`: two runs of the spool, judged by the same rules.

use anyhow::Context as _;
use gatepost_evidence::verify::VerifiedRun;
use gatepost_rules::assess::assess;
use gatepost_rules::compare::{Side, compare};
use gatepost_rules::pack::Pack;
use gatepost_rules::report::DeltaReport;

use super::{Outcome, Place, print, print_json};
use crate::cli::{Compare, Format};
use crate::{report, spool};

pub(super) fn run(place: &Place, options: &Compare) -> anyhow::Result<Outcome> {
    let head = place.spool.head()?.context("there is no run yet; `gatepost audit` makes one")?.seq;
    let from = verified(place, options.from.unwrap_or(1))?;
    let to = verified(place, options.to.unwrap_or(head))?;
    let pack = Pack::builtin();
    let delta = compare(side(&from), side(&to), &pack, None);
    let report = DeltaReport::new(&delta, &assess(to.run(), to.digest(), &pack), &pack);
    match options.output.format {
        Format::Json => print_json(&report)?,
        Format::Text => print(&report::delta(&report))?,
    }
    Ok(if report.regressed.is_empty() { Outcome::Clean } else { Outcome::Findings })
}

fn side(run: &VerifiedRun) -> Side<'_> {
    Side { run: run.run(), digest: run.digest() }
}

fn verified(place: &Place, seq: u64) -> anyhow::Result<VerifiedRun> {
    let run = place.kept(seq)?;
    spool::verify(&run, place.identity.ring()).with_context(|| format!("run {seq} in the spool"))
}
