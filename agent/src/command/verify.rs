//! `gatepost verify`: what holds of an evidence bundle, on any machine. No network, no state folder, no database.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use gatepost_evidence::archive::{self, ArchiveError, MAX_BYTES};
use gatepost_evidence::key::PublicKey;
use gatepost_rules::replay::{Finding, Report, Trust, replay};

use super::{Outcome, print, print_json};
use crate::cli::{Format, Verify};
use crate::{files, report};

pub(super) fn run(options: &Verify) -> anyhow::Result<Outcome> {
    let gateway = match &options.gateway_key {
        Some(file) => Some(key(file)?.id()),
        None => options.gateway,
    };
    let trust = Trust { gateway, sink: options.sink_key.as_deref().map(key).transpose()? };
    let path = options.bundle.display();
    let unpacked = archive::read(&read(&options.bundle).with_context(|| format!("cannot read {path}"))?);
    let files = match unpacked {
        Ok(files) => files,
        Err(error) => return unreadable(options, &error),
    };
    let report = replay(&files, &trust);
    match options.output.format {
        Format::Json => print_json(&report)?,
        Format::Text => print(&report::clean_lines(&text(&report)))?,
    }
    Ok(if report.holds { Outcome::Clean } else { Outcome::Findings })
}

fn unreadable(options: &Verify, error: &ArchiveError) -> anyhow::Result<Outcome> {
    let (reason, detail) = (error.reason(), error.to_string());
    match options.output.format {
        Format::Json => print_json(&serde_json::json!({"holds": false, "reason": reason, "detail": detail}))?,
        Format::Text => {
            let line = format!("{}: not a bundle: {reason}: {detail}", options.bundle.display());
            anstream::eprintln!("gatepost: {}", report::clean_lines(&line));
        }
    }
    Ok(Outcome::CannotRun)
}

/// A bundle's bytes, no more than can be one.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MAX_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MAX_BYTES} bytes; no bundle has")));
    }
    Ok(bytes)
}

fn key(file: &Path) -> anyhow::Result<PublicKey> {
    let text = files::read_text(file).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    PublicKey::from_pem(&text).with_context(|| format!("{} is no public key", file.display()))
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    if let Some(about) = &report.manifest {
        let given = |given: bool| if given { "named by you" } else { "from the bundle itself: compare it out of band" };
        let _ = writeln!(
            out,
            "gateway   {} ({})\nmade by   {}, {}\nruns      {} to {}",
            about.gateway,
            given(report.gateway_key_given),
            about.maker,
            about.created_at,
            about.first_seq,
            about.last_seq
        );
        if let Some(sink) = &report.sink_key {
            let _ = writeln!(out, "sink key  {sink} ({})", given(report.sink_key_given));
        }
        out.push('\n');
    }
    for check in &report.checks {
        let _ = match &check.finding {
            Finding::Holds { what } => writeln!(out, "holds        {}: {what}", check.check),
            Finding::Broken { reason, subject, detail } => {
                writeln!(out, "BROKEN       {}: {reason}: {subject}: {detail}", check.check)
            }
            Finding::NotChecked { why } => writeln!(out, "not checked  {}: {why}", check.check),
        };
    }
    let closing = if report.holds { "Everything that could be checked holds." } else { "THIS BUNDLE DOES NOT HOLD." };
    let _ = writeln!(out, "\n{closing}");
    out
}
