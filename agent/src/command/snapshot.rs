//! `gatepost snapshot`: a machine as a folder or a file, to be audited elsewhere.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};

use super::{Outcome, print};
use crate::cli::Snapshot;
use crate::config::Config;
use crate::report::clean_lines;
use crate::snapshot;

pub(super) fn run(mut config: Config, options: &Snapshot) -> anyhow::Result<Outcome> {
    if let Some(root) = &options.root {
        config.host.root = std::path::absolute(root)?;
    }
    let shown = options.output.display();
    let archive = options.output.to_string_lossy().ends_with(".tar.zst");
    ensure!(
        !archive || !options.output.exists(),
        "{shown} exists and is not replaced; move it away, or write elsewhere"
    );
    let snapshot = snapshot::take(&config).context("the snapshot cannot be made")?;
    let written =
        if archive { snapshot.write_archive(&options.output) } else { snapshot.write_folder(&options.output) };
    written.with_context(|| format!("{shown} cannot be written"))?;
    let mut text = format!("{} files are in {shown}\n", snapshot.files.len());
    for (title, lines) in [("Taken out", &snapshot.redacted), ("Could not be read", &snapshot.hidden)] {
        if !lines.is_empty() {
            let _ = writeln!(text, "\n{title}:");
            lines.iter().for_each(|line| {
                let _ = writeln!(text, "  {}", clean_lines(line));
            });
        }
    }
    let _ = writeln!(text, "\nNot in a snapshot:");
    snapshot::LIVE_ONLY.iter().for_each(|line| {
        let _ = writeln!(text, "  {line}");
    });
    print(&text)?;
    Ok(Outcome::Clean)
}
