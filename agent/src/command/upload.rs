//! `gatepost upload`: hand every waiting run to the sink now.

use anyhow::Context as _;

use super::{Outcome, Place, print};
use crate::{report, upload};

pub(super) fn run(mut place: Place) -> anyhow::Result<Outcome> {
    let sink =
        place.config.sink.clone().context("no sink is configured; add [sink] with a url to the configuration")?;
    match upload::drain(&mut place.spool, &sink, place.identity.ring()) {
        Ok(sent) => {
            print(&format!("{} acknowledged, {} refused and quarantined.\n", sent.acknowledged, sent.quarantined))?;
            if sent.tombstones > 0 {
                print(&format!("{} tombstones of runs that are no longer here.\n", sent.tombstones))?;
            }
            if sent.quarantined > 0 {
                print("`gatepost status` says which and why.\n")?;
                return Ok(Outcome::Findings);
            }
            Ok(Outcome::Clean)
        }
        Err(error) => {
            let waiting = place.spool.counts()?.pending;
            let error = report::clean(&error.to_string());
            anstream::eprintln!("gatepost: {error}; {waiting} runs stay in the spool");
            Ok(Outcome::Findings)
        }
    }
}
