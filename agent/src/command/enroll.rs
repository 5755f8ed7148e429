//! `gatepost enroll`: make this gateway known to its sink.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;

use super::{Outcome, Place, print};
use crate::cli::Enroll;
use crate::secret::Secret;
use crate::spool::Enrolment;
use crate::{files, report, upload};

pub(super) fn run(mut place: Place, options: &Enroll) -> anyhow::Result<Outcome> {
    let sink =
        place.config.sink.clone().context("no sink is configured; add [sink] with a url to the configuration")?;
    let token = token(&options.token_file)?;
    match upload::enroll(&place.config, &sink, &place.identity, &token) {
        Ok((enrolled, pin)) => {
            let enrolment = Enrolment { url: sink.url.clone(), sink_key: enrolled.sink_key };
            let over = place.spool.enrolled(place.identity.ring(), &enrolment, enrolled.time)?;
            print(&format!("Enrolled with {} as gateway {}.\n", sink.url, enrolled.gateway))?;
            if over.runs > 0 {
                print(&format!("{} runs that it was asked to take before are handed over again.\n", over.runs))?;
            }
            if let Some(pin) = pin.filter(|_| sink.pin_sha256.is_empty()) {
                print(&format!(
                    "To talk only to a sink with the key it has now, add to [sink]: pin_sha256 = [\"{pin}\"]\n"
                ))?;
            }
            Ok(Outcome::Clean)
        }
        Err(error) => {
            anstream::eprintln!("gatepost: not enrolled: {}", report::clean(&error.to_string()));
            Ok(Outcome::Findings)
        }
    }
}

fn token(path: &Path) -> anyhow::Result<Secret> {
    if path != Path::new("-") {
        return files::read_secret(path).map_err(|failure| anyhow::anyhow!("the token: {failure}"));
    }
    let mut text = String::new();
    std::io::stdin().take(files::MAX_FILE_BYTES).read_to_string(&mut text)?;
    anyhow::ensure!(!text.trim().is_empty(), "the token: nothing came on standard input");
    Ok(Secret::new(text.trim()))
}
