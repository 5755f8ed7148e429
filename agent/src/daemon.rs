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
use crate::config::{Config, Sink};
use crate::identity::{self, Identity};
use crate::rotate::RotateError;
use crate::spool::Spool;
use crate::upload::core::Next;
use crate::upload::{Sent, UploadError, Uploader, random};

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
    let uploading = Uploads { config: Arc::clone(&place.config), uploader: Uploader::default(), open: None };
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
        error = uploads(uploading, &news) => Some(error),
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
struct Uploads {
    config: Arc<Config>,
    uploader: Uploader,
    /// A handle of its own: the spool is made for several writers, and an upload holds no lock while it waits for the sink.
    open: Option<(Arc<Identity>, Spool)>,
}

impl Uploads {
    /// Hands over what waits, as far as one connection may.
    fn connect(&mut self, sink: &Sink) -> Result<Sent, UploadError> {
        // Somebody may have rotated the key.
        let open = self.open.take().filter(|(identity, spool)| spool.check_key(identity).is_ok());
        let (identity, spool) = match open.map_or_else(|| self.open_spool(), Ok) {
            Ok(open) => self.open.insert(open),
            Err(error) => {
                self.uploader.failed();
                return Err(error);
            }
        };
        self.uploader.connect(spool, sink, identity.ring())
    }

    fn open_spool(&self) -> Result<(Arc<Identity>, Spool), UploadError> {
        let found = identity::load(&self.config.state.directory).map_err(RotateError::from)?;
        Ok(open_spool(&self.config, found)?)
    }

    /// Closes the spool if it may be damaged: it can be put in order only while nobody else has it open.
    fn step_aside(&mut self, news: &News, result: &Result<Sent, UploadError>) {
        if news.audit_failed.get() || matches!(result, Err(UploadError::Spool(_))) {
            self.open = None;
        }
    }
}

/// Uploads what waits whenever the uploader says that it is time. Comes back only with what keeps it from going on.
async fn uploads(mut uploads: Uploads, news: &News) -> anyhow::Error {
    let Some(sink) = uploads.config.sink.clone() else { return std::future::pending().await };
    loop {
        let rest = match uploads.uploader.due() {
            Next::Send(_) => {
                let result;
                (uploads, result) = match connect(uploads, sink.clone()).await {
                    Ok(done) => done,
                    Err(error) => return error.context("the upload ended unexpectedly"),
                };
                uploads.step_aside(news, &result);
                tell(&mut uploads, result);
                continue;
            }
            Next::Rest(rest) => rest,
            Next::Idle => Duration::MAX,
        };
        tokio::select! {
            () = sleep(rest) => {}
            () = news.audited.notified() => {
                uploads.uploader.news();
                uploads.step_aside(news, &Ok(Sent::default()));
            }
        }
    }
}

/// Says what became of an upload.
fn tell(uploads: &mut Uploads, result: Result<Sent, UploadError>) {
    match result {
        Ok(sent) => {
            if sent.quarantined > 0 {
                tracing::warn!(quarantined = sent.quarantined, "the sink refused runs; see `gatepost status`");
            }
            if sent.acknowledged > 0 {
                tracing::info!(acknowledged = sent.acknowledged, "uploaded");
            }
            if sent.tombstones > 0 {
                tracing::info!(tombstones = sent.tombstones, "the sink was told what is no longer here");
            }
        }
        Err(error) => {
            let wait = match uploads.uploader.due() {
                Next::Rest(wait) => wait,
                Next::Send(_) | Next::Idle => Duration::ZERO,
            };
            let counts = uploads.open.as_ref().and_then(|(_, spool)| spool.counts().ok());
            tracing::warn!(waiting = counts.map(|counts| counts.pending), next_try_in = ?wait, "not uploaded: {error}");
        }
    }
}

/// The blocking upload, off the async thread so that audits go on and signals are heard.
async fn connect(mut uploads: Uploads, sink: Sink) -> anyhow::Result<(Uploads, Result<Sent, UploadError>)> {
    let upload = move || {
        let result = uploads.connect(&sink);
        (uploads, result)
    };
    Ok(tokio::task::spawn_blocking(upload).await?)
}

fn pause(place: &Place) -> Duration {
    let schedule = &place.config.schedule;
    let jitter = u64::try_from(schedule.jitter.as_millis()).unwrap_or(u64::MAX);
    schedule.every + Duration::from_millis(random().checked_rem(jitter.saturating_add(1)).unwrap_or(0))
}

fn notify(state: &[NotifyState<'_>]) {
    // Not under systemd: nobody to tell.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd was not told: {error}");
    }
}
