//! The worker: judges accepted runs under the current pack and keeps what comes out.
//!
//! It looks for runs without a judgement when it starts and whenever the bell rings, so nothing is forgotten by a crash. A
//! run that cannot be judged gets its failure as its judgement, with the reason, and does not stop the next one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use gatepost_evidence::id::Digest;
use gatepost_rules::assess::{Assessment, assess};

use crate::app::{App, Shared, now};
use crate::judge;
use crate::store::{StoreError, assessments, runs};

/// Runs judged between two looks at the bell.
const BATCH: usize = 64;
/// How long a run that waits to be judged gives way to uploads: judging takes longer than accepting, and nobody waits for it.
const GIVE_WAY: Duration = Duration::from_millis(20);

/// Starts the worker's thread; it ends when the bell is stopped.
///
/// # Errors
/// When the operating system gives no thread.
pub fn start(app: Shared) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("judge".into()).spawn(move || {
        loop {
            match judge_waiting(&app) {
                // A full batch: there may be more.
                Ok(BATCH) if !app.bell.stopped() => {}
                Ok(_) => {
                    if !app.bell.wait() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "runs could not be judged; the next upload tries again");
                    if !app.bell.wait() {
                        return;
                    }
                }
            }
        }
    })
}

/// Judges up to [`BATCH`] runs that wait, and says how many they were.
fn judge_waiting(app: &App) -> Result<usize, StoreError> {
    let pack = app.pack.reference().clone();
    let waiting = app.store.read(|connection| assessments::waiting(connection, pack.digest, BATCH))?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let mut judged = Vec::with_capacity(waiting.len());
    for digest in waiting {
        app.uploads.give_way(GIVE_WAY);
        if app.bell.stopped() {
            break;
        }
        judged.push((digest, judge_one(app, digest)?));
    }
    let count = judged.len();
    let write = app.store.write(move |connection| {
        let time = now();
        assessments::log_pack(connection, &pack, time)?;
        for (run, judgement) in &judged {
            assessments::insert(connection, *run, pack.digest, judgement, time)?;
        }
        Ok(())
    });
    write.wait()?;
    Ok(count)
}

/// The outer error is the database's and passes; the inner one is about this run and stays.
fn judge_one(app: &App, digest: Digest) -> Result<Result<Assessment, String>, StoreError> {
    let opened = app.store.read(|connection| {
        let run = runs::by_digest(connection, digest)?;
        let run = run.ok_or_else(|| StoreError::Damaged(format!("run {digest} is gone")))?;
        judge::open(connection, &run)
    });
    let opened = match opened {
        // A row that cannot be read stays so: it must not keep every run behind it waiting.
        Ok(_) | Err(StoreError::Damaged(_)) => opened,
        Err(error) => return Err(error),
    };
    let judged = opened.map_err(|error| error.to_string()).and_then(|run| {
        catch_unwind(AssertUnwindSafe(|| assess(run.run(), run.digest(), &app.pack)))
            .map_err(|_| "the rules panicked on this run; the sink's log has the place".to_owned())
    });
    if let Err(why) = &judged {
        tracing::error!(run = %digest, why, "a run could not be judged");
    }
    Ok(judged)
}
