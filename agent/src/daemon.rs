//! `gatepost run`: audit on a timer with jitter, upload when it is possible, stop cleanly on SIGTERM.
//!
//! An outage of the sink never stops or delays the audits, and a failed audit never stops the next one. Nothing is reported
//! as done that is not on disk, so a stop at any moment loses nothing that was reported.

use std::cell::Cell;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gatepost_evidence::run::Stage;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::bundle::{self, Bundle};
use crate::command::{Outcome, Place, audit, open_spool};
use crate::config::Config;
use crate::identity::{self, Identity};
use crate::rotate::RotateError;
use crate::spool::Spool;
use crate::upload::{self, Sent, UploadError, backoff};

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting, or from going on.
pub(crate) fn run(place: Place) -> anyhow::Result<Outcome> {
    let bundle = bundle::find(&place.config.schedule.bundle).context("the configured bundle does not exist")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(serve(place, bundle));
    // An upload that is under way when the agent stops is abandoned: its runs stay pending and are sent again.
    runtime.shutdown_background();
    outcome
}

/// Audits and uploads side by side until a signal comes, so that a sink that hangs delays no audit.
async fn serve(mut place: Place, bundle: &'static Bundle) -> anyhow::Result<Outcome> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let uploader = Uploader { config: Arc::clone(&place.config), open: None };
    let news = News::default();
    notify(&[NotifyState::Ready]);
    tracing::info!(
        gateway = %place.identity.gateway().short(),
        bundle = bundle.name,
        every = ?place.config.schedule.every,
        "started"
    );
    // Stopping cuts an audit or an upload short; both leave the spool as it was or one whole step further.
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        never = audits(&mut place, bundle, &news) => match never {},
        error = uploads(uploader, &news) => Some(error),
    };
    notify(&[NotifyState::Stopping]);
    tracing::info!("stopped");
    failed.map_or(Ok(Outcome::Clean), Err)
}

/// Audits on the timer, the first time at once, and gives news of each run that is on disk.
async fn audits(place: &mut Place, bundle: &Bundle, news: &News) -> Infallible {
    loop {
        let next = Instant::now() + pause(place);
        news.audit_failed.set(!audit_once(place, bundle).await);
        news.audited.notify_one();
        sleep_until(next).await;
    }
}

/// Whether the run is on disk.
async fn audit_once(place: &mut Place, bundle: &Bundle) -> bool {
    match audit::audit(place, bundle, Stage::Retainer, |_| {}).await {
        Ok((head, report)) => {
            tracing::info!(
                seq = head.seq,
                findings = report.findings.len(),
                without_evidence = report.gaps.len(),
                decision = ?report.decision,
                "audited"
            );
            true
        }
        Err(error) => {
            tracing::error!("this audit is not kept: {error:#}");
            false
        }
    }
}

/// What the audits tell the uploads.
#[derive(Default)]
struct News {
    /// There was an audit.
    audited: Notify,
    /// The last one could not be kept.
    audit_failed: Cell<bool>,
}

/// What an upload needs, apart from what audits use.
struct Uploader {
    config: Arc<Config>,
    /// A handle of its own: the spool is made for several writers, and an upload holds no lock while it waits for the sink.
    open: Option<(Arc<Identity>, Spool)>,
}

impl Uploader {
    /// Hands over what waits, if there is somebody to hand it to; else it stays.
    fn drain(&mut self) -> Result<Sent, UploadError> {
        let Some(sink) = &self.config.sink else { return Ok(Sent::default()) };
        // Somebody may have rotated the key.
        let open = self.open.take().filter(|(identity, spool)| spool.check_key(identity).is_ok());
        let (identity, spool) = match open {
            Some(open) => self.open.insert(open),
            None => {
                let found = identity::load(&self.config.state.directory).map_err(RotateError::from)?;
                self.open.insert(open_spool(&self.config, found)?)
            }
        };
        upload::drain(spool, sink, identity.ring())
    }

    /// Closes the spool if it may be damaged: it can be put in order only while nobody else has it open.
    fn step_aside(&mut self, news: &News, result: &Result<Sent, UploadError>) {
        if news.audit_failed.get() || matches!(result, Err(UploadError::Spool(_) | UploadError::Key(_))) {
            self.open = None;
        }
    }
}

/// Uploads what waits, at the start and at every news, and again after a pause when that failed. Comes back only with what
/// keeps it from going on.
async fn uploads(mut uploader: Uploader, news: &News) -> anyhow::Error {
    let mut failures = 0_u32;
    loop {
        let result;
        (uploader, result) = match upload_once(uploader).await {
            Ok(done) => done,
            Err(error) => return error.context("the upload ended unexpectedly"),
        };
        uploader.step_aside(news, &result);
        match result {
            Ok(sent) => {
                failures = 0;
                if sent.quarantined > 0 {
                    tracing::warn!(quarantined = sent.quarantined, "the sink refused runs; see `gatepost status`");
                }
                if sent.acknowledged > 0 {
                    tracing::info!(acknowledged = sent.acknowledged, "uploaded");
                }
                news.audited.notified().await;
            }
            Err(error) => {
                let asked = match &error {
                    UploadError::Later { after, .. } => *after,
                    _ => None,
                };
                let wait = backoff::delay(failures, random(), asked);
                failures = failures.saturating_add(1);
                let counts = uploader.open.as_ref().and_then(|(_, spool)| spool.counts().ok());
                tracing::warn!(waiting = counts.map(|counts| counts.pending), next_try_in = ?wait, "not uploaded: {error}");
                sleep(wait).await;
            }
        }
    }
}

/// The blocking upload, off the async thread so that audits go on and signals are heard.
async fn upload_once(mut uploader: Uploader) -> anyhow::Result<(Uploader, Result<Sent, UploadError>)> {
    let upload = move || {
        let result = uploader.drain();
        (uploader, result)
    };
    Ok(tokio::task::spawn_blocking(upload).await?)
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
