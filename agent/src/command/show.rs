//! `gatepost show`: a run from the spool, its envelope as it is, or judged again.

use anyhow::Context as _;
use gatepost_rules::assess::assess;
use gatepost_rules::pack::Pack;
use gatepost_rules::report::RunReport;

use super::{Outcome, Place, print, print_json};
use crate::cli::{Format, Show};
use crate::{report, spool};

pub(super) fn run(place: &Place, options: &Show) -> anyhow::Result<Outcome> {
    let seq = match options.seq {
        Some(seq) => seq,
        None => place.spool.head()?.context("there is no run yet; `gatepost audit` makes one")?.seq,
    };
    let run = place.kept(seq)?;
    if options.envelope {
        print(&format!("{}\n", run.envelope))?;
        return Ok(Outcome::Clean);
    }
    let verified = spool::verify(&run, place.identity.ring()).with_context(|| format!("run {seq} in the spool"))?;
    let pack = Pack::builtin();
    let report = RunReport::new(&assess(verified.run(), verified.digest(), &pack), &pack);
    match options.output.format {
        Format::Json => print_json(&report)?,
        Format::Text => {
            print(&report::run(&report))?;
            let key = place.identity.ring().keys().rfind(|(from, _)| *from <= seq).map(|(_, key)| key.digest());
            let key = key.map_or_else(String::new, |key| format!(", signed by key {}", key.short()));
            print(&format!("\nRun {seq} is {}; digest {}{key}.\n", run.state, run.digest))?;
        }
    }
    Ok(Outcome::Clean)
}
