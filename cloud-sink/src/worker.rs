//! The worker: judges accepted runs under the current pack and keeps what comes out.
//!
//! It looks for runs without a judgement when it starts and whenever the bell rings, so nothing is forgotten by a crash. A
//! run that cannot be judged gets its failure as its judgement, with the reason, and does not stop the next one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::Duration;

use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_rules::assess::{Assessment, assess};

use crate::app::{App, Shared, now};
use crate::judge;
use crate::shared_keys::{self, SeenKey};
use crate::store::{StoreError, assessments, keys, runs};

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
        for (run, Judged { judgement, keys: seen }) in &judged {
            assessments::insert(connection, *run, pack.digest, judgement, time)?;
            if let Some((gateway, seq, seen)) = seen {
                keys::insert(connection, *gateway, *seq, seen)?;
            }
        }
        Ok(())
    });
    write.wait()?;
    Ok(count)
}

/// What a run came to: its judgement, and the keys that it saw, which count beside those of other gateways.
struct Judged {
    judgement: Result<Assessment, String>,
    keys: Option<(GatewayId, u64, Vec<SeenKey>)>,
}

/// The outer error is the database's and passes; the one in the judgement is about this run and stays.
fn judge_one(app: &App, digest: Digest) -> Result<Judged, StoreError> {
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
        let judge = || {
            let run_keys = shared_keys::of_run(run.run());
            (assess(run.run(), run.digest(), &app.pack), (run.run().gateway.id, run.run().seq, run_keys))
        };
        catch_unwind(AssertUnwindSafe(judge))
            .map_err(|_| "the rules panicked on this run; the sink's log has the place".to_owned())
    });
    match judged {
        Ok((assessment, keys)) => Ok(Judged { judgement: Ok(assessment), keys: Some(keys) }),
        Err(why) => {
            tracing::error!(run = %digest, why, "a run could not be judged");
            Ok(Judged { judgement: Err(why), keys: None })
        }
    }
}
