//! `gatepost run`: audit on a timer with jitter, upload when it is possible, stop cleanly on SIGTERM.
//!
//! An outage of the sink never stops the audits, and a failed audit never stops the next one. Nothing is reported as done
//! that is not on disk, so a stop at any moment loses nothing that was reported.

use std::time::Duration;

use anyhow::Context as _;
use gatepost_evidence::run::Stage;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until};

use crate::bundle::{self, Bundle};
use crate::command::{Outcome, Place, audit};
use crate::upload::{self, UploadError, backoff};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting.
pub(crate) fn run(place: Place) -> anyhow::Result<Outcome> {
    let bundle = bundle::find(&place.config.schedule.bundle).context("the configured bundle does not exist")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(place, bundle));
    // An upload that is under way when the agent stops is abandoned: its runs stay pending and are sent again.
    runtime.shutdown_background();
    outcome
}

/// When to do what next.
struct Plan {
    next_audit: Instant,
    /// None while nothing waits or there is no sink.
    next_upload: Option<Instant>,
    failures: u32,
}

async fn serve(mut place: Place, bundle: &'static Bundle) -> anyhow::Result<Outcome> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut plan = Plan { next_audit: Instant::now(), next_upload: None, failures: 0 };
    notify(&[NotifyState::Ready]);
    tracing::info!(
        gateway = %place.key.public().id().short(),
        bundle = bundle.name,
        every = ?place.config.schedule.every,
        "started"
    );
    loop {
        let wake = plan.next_upload.map_or(plan.next_audit, |upload| upload.min(plan.next_audit));
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = sleep_until(wake) => {}
        }
        // Stopping cuts an audit or an upload short; both leave the spool as it was or one whole step further.
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            result = work(place, &mut plan, bundle) => place = result?,
        }
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopped");
    Ok(Outcome::Clean)
}

/// Does what is due.
async fn work(mut place: Place, plan: &mut Plan, bundle: &Bundle) -> anyhow::Result<Place> {
    if plan.next_audit <= Instant::now() {
        plan.next_audit = Instant::now() + pause(&place);
        audit_once(&mut place, bundle).await;
        if place.config.sink.is_some() && plan.next_upload.is_none() {
            plan.next_upload = Some(Instant::now());
        }
    }
    if plan.next_upload.is_some_and(|upload| upload <= Instant::now()) {
        place = upload_once(place, plan).await?;
    }
    Ok(place)
}

async fn audit_once(place: &mut Place, bundle: &Bundle) {
    match audit::audit(place, bundle, Stage::Retainer, |_| {}).await {
        Ok((head, report)) => tracing::info!(
            seq = head.seq,
            findings = report.findings.len(),
            without_evidence = report.gaps.len(),
            decision = ?report.decision,
            "audited"
        ),
        Err(error) => tracing::error!("this audit is not kept: {error:#}"),
    }
}

/// The blocking upload, off the async thread so that signals are still heard.
async fn upload_once(mut place: Place, plan: &mut Plan) -> anyhow::Result<Place> {
    let Some(sink) = place.config.sink.clone() else {
        plan.next_upload = None;
        return Ok(place);
    };
    let (place, result) = tokio::task::spawn_blocking(move || {
        let gateway = place.key.public().id();
        let result = upload::drain(&mut place.spool, &sink, gateway);
        (place, result)
    })
    .await?;
    let now = Instant::now();
    match result {
        Ok(sent) => {
            plan.failures = 0;
            plan.next_upload = None;
            if sent.quarantined > 0 {
                tracing::warn!(quarantined = sent.quarantined, "the sink refused runs; see `gatepost status`");
            }
            tracing::info!(acknowledged = sent.acknowledged, "uploaded");
        }
        Err(error) => {
            let asked = match &error {
                UploadError::Later { after, .. } => *after,
                _ => None,
            };
            let wait = backoff::delay(plan.failures, random(), asked);
            plan.failures = plan.failures.saturating_add(1);
            plan.next_upload = Some(now + wait);
            let waiting = place.spool.counts().map(|counts| counts.pending).unwrap_or_default();
            tracing::warn!(waiting, next_try_in = ?wait, "not uploaded: {error}");
        }
    }
    Ok(place)
}

fn pause(place: &Place) -> Duration {
    let schedule = &place.config.schedule;
    let jitter = u64::try_from(schedule.jitter.as_millis()).unwrap_or(u64::MAX);
    schedule.every + Duration::from_millis(random().checked_rem(jitter.saturating_add(1)).unwrap_or(0))
}

/// Without randomness there is no jitter, which is no reason to stop.
fn random() -> u64 {
    getrandom::u64().unwrap_or(0)
}

fn notify(state: &[NotifyState<'_>]) {
    // Not under systemd: nobody to tell.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd was not told: {error}");
    }
}
