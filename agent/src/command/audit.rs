//! `gatepost audit`: look once, sign, keep, judge, print.

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Context as _;
use gatepost_evidence::run::{Record, Stage, Status};
use gatepost_rules::assess::assess;
use gatepost_rules::pack::{Pack, Severity};
use gatepost_rules::report::RunReport;

use super::{Outcome, Place, print, print_json};
use crate::bundle::{self, Bundle};
use crate::cli::{Audit, Format};
use crate::spool::Head;
use crate::{report, runner};

pub(super) fn run(mut place: Place, options: &Audit) -> anyhow::Result<Outcome> {
    let bundle = bundle::find(&options.bundle).with_context(|| {
        let names: Vec<_> = bundle::all().iter().map(|bundle| bundle.name.as_str()).collect();
        format!("there is no bundle {:?}; there are {}", options.bundle, names.join(", "))
    })?;
    let progress = std::io::stderr().is_terminal();
    let (_, report) = finish(audit(&mut place, bundle, options.stage.into(), |record| {
        if progress {
            anstream::eprintln!("  {}", report::clean(&line(record)));
        }
    }))??;
    match options.output.format {
        Format::Json => print_json(&report)?,
        Format::Text => {
            print(&report::run(&report))?;
            print(&format!("\n{}\n", kept(&place, report.run.seq)?))?;
        }
    }
    let threshold = Severity::from(options.fail_on);
    let reached = report.findings.iter().any(|finding| finding.row.severity >= threshold);
    Ok(if reached { Outcome::Findings } else { Outcome::Clean })
}

/// Waits for `future`, and for nothing that it left behind: a look that was cut off may sit in the resolver for minutes.
fn finish<T>(future: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    Ok(result)
}

/// Executes `bundle`, keeps the run and judges it. When this returns, the run is on disk.
pub(crate) async fn audit(
    place: &mut Place,
    bundle: &Bundle,
    stage: Stage,
    progress: impl FnMut(&Record),
) -> anyhow::Result<(Head, RunReport)> {
    let sink_time = match place.spool.sink_time() {
        Ok(time) => time,
        // A damaged spool is mended before the work is done, which could not be kept else.
        Err(_) => {
            place.spool.look_after()?;
            place.spool.sink_time()?
        }
    };
    let gateway = place.identity.gateway();
    let config = Arc::clone(&place.config);
    let execution = runner::execute(config, gateway, bundle, stage, sink_time, progress).await;
    // A key that was rotated while the probes looked does not sign any more.
    place.renew()?;
    let mut kept = None;
    let (head, _) = place.spool.append(|head| {
        let run = execution.into_run(head);
        let signed = run.sign(place.identity.key());
        kept = Some(run);
        signed
    })?;
    let run = kept.context("the run was not signed")?;
    let pack = Pack::builtin();
    Ok((head, RunReport::new(&assess(&run, head.digest, &pack), &pack)))
}

fn line(record: &Record) -> String {
    let what = match record.status {
        Status::Observed => "seen".to_owned(),
        status => status.to_string(),
    };
    format!("{}[{}]: {what}, {} ms", record.check, record.target.name, record.duration_ms)
}

fn kept(place: &Place, seq: u64) -> anyhow::Result<String> {
    let counts = place.spool.counts()?;
    let folder = place.config.state.directory.display();
    let mut text = format!("Signed and kept as run {seq} in {folder}.");
    if place.config.sink.is_some() {
        text.push_str(&format!(" {} waiting for the sink.", counts.pending));
    }
    if counts.quarantined > 0 {
        text.push_str(&format!(" {} refused by the sink: see `gatepost status`.", counts.quarantined));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_look_that_was_cut_off_keeps_nobody_waiting() {
        let (begun, running) = mpsc::channel();
        let (_alive, never) = mpsc::channel::<()>();
        let (ended, left_behind) = mpsc::channel();
        finish(async {
            tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                let waited = never.recv_timeout(Duration::from_secs(10));
                ended.send(waited.is_err()).unwrap();
            });
            running.recv().unwrap();
        })
        .unwrap();
        assert_eq!(left_behind.try_recv(), Err(mpsc::TryRecvError::Empty), "it was waited for");
    }
}
