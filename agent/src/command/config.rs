//! `gatepost config check`: every mistake in a configuration at once.

use std::path::Path;

use super::{Outcome, print};
use crate::config::read;

pub(super) fn check(file: Option<&Path>) -> anyhow::Result<Outcome> {
    let file = file.unwrap_or(Path::new(read::SYSTEM_FILE));
    match read::file_thoroughly(file) {
        Ok(_) => {
            print(&format!("{} is right, and every file it names is there.\n", file.display()))?;
            Ok(Outcome::Clean)
        }
        Err(mistakes) => {
            let count = mistakes.mistakes.len();
            let noun = if count == 1 { "mistake" } else { "mistakes" };
            anstream::eprintln!("{mistakes}\n{count} {noun} in {}", file.display());
            Ok(Outcome::Findings)
        }
    }
}
