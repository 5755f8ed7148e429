//! What every request handler shares.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use gatepost_evidence::id::Digest;
use gatepost_evidence::key::SigningKey;
use gatepost_rules::pack::Pack;
use jiff::{Timestamp, Unit};
use rusqlite::Connection;

use crate::auth::Sessions;
use crate::directory::Directory;
use crate::error::SinkError;
use crate::judge::DeltaCounts;
use crate::problem::Refusal;
use crate::shared_keys::Known;
use crate::store::{Store, StoreError, gateways};
use crate::weak_keys::WeakKeys;

/// The sink behind its routes.
#[derive(Debug)]
pub struct App {
    /// What is kept.
    pub store: Store,
    /// Signs receipts.
    pub key: SigningKey,
    /// SHA-256 of the operator's token.
    pub operator: Digest,
    /// Operators who are signed in.
    pub sessions: Sessions,
    /// What runs are judged by.
    pub pack: Pack,
    /// Wakes the worker.
    pub bell: Bell,
    /// Uploads in hand, which the worker gives way to.
    pub uploads: InHand,
    /// Regressions that were counted already.
    pub deltas: DeltaCounts,
    /// Who of the fleet shares keys, as far as it was worked out.
    pub shared_keys: Known,
    /// Whether clients come over TLS, so that cookies may say so.
    pub secure: bool,
}

/// The state that axum hands to every handler.
pub type Shared = Arc<App>;

impl App {
    /// Opens everything in `directory`; `weak_keys` are what the operator's lists hold.
    ///
    /// # Errors
    /// When a file, a key or the database cannot be used.
    pub fn open(directory: &Directory, weak_keys: WeakKeys, secure: bool) -> Result<Shared, SinkError> {
        let store = directory.store()?;
        let key = if store.read(gateways::any)? { directory.kept_signing_key()? } else { directory.signing_key()? };
        Ok(Arc::new(Self {
            store,
            key,
            operator: Digest::of(directory.operator_token()?.as_bytes()),
            sessions: Sessions::default(),
            pack: Pack::builtin(),
            bell: Bell::default(),
            uploads: InHand::default(),
            deltas: DeltaCounts::default(),
            shared_keys: Known::with(weak_keys),
            secure,
        }))
    }

    /// Reads on a thread that may block.
    ///
    /// # Errors
    /// Those of `work`, or when it panics.
    pub async fn read<T, F>(self: &Arc<Self>, work: F) -> Result<T, Refusal>
    where
        T: Send + 'static,
        F: FnOnce(&Self, &Connection) -> Result<T, Refusal> + Send + 'static,
    {
        let app = Arc::clone(self);
        let read = move || {
            let mut refusal = None;
            let outcome = app.store.read(|connection| match work(&app, connection) {
                Ok(value) => Ok(Some(value)),
                Err(why) => {
                    refusal = Some(why);
                    Ok(None)
                }
            });
            match (outcome, refusal) {
                (_, Some(refusal)) => Err(refusal),
                (Ok(Some(value)), None) => Ok(value),
                (Ok(None), None) => Err(Refusal::internal("nothing was read")),
                (Err(error), None) => Err(error.into()),
            }
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(Refusal::internal(error)))
    }

    /// Writes in a transaction and waits until it is on disk.
    ///
    /// # Errors
    /// Those of `work` and of the commit.
    pub async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.store.write(work).done().await
    }
}

/// The sink's clock, to the millisecond.
#[must_use]
pub fn now() -> Timestamp {
    let now = Timestamp::now();
    now.round(Unit::Millisecond).unwrap_or(now)
}

/// Counts what is in hand, so that work which can wait gives way to it.
#[derive(Debug, Default)]
pub struct InHand {
    count: Mutex<usize>,
    none: Condvar,
}

/// One thing in hand, until it is dropped.
#[derive(Debug)]
pub struct Taken<'a>(&'a InHand);

impl InHand {
    /// One more.
    pub fn take(&self) -> Taken<'_> {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Taken(self)
    }

    /// Sleeps until nothing is in hand, but no longer than `limit`: whoever gives way gets on all the same.
    pub fn give_way(&self, limit: Duration) {
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.none.wait_timeout_while(count, limit, |count| *count > 0));
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut count = self.0.count.lock().unwrap_or_else(PoisonError::into_inner);
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}

/// Wakes one sleeping thread, or tells it to stop. Ringing twice before it wakes is ringing once.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    rung: bool,
    stopped: bool,
}

impl Bell {
    /// There is something to do.
    pub fn ring(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rung = true;
        self.changed.notify_all();
    }

    /// There is nothing to do any more.
    pub fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.changed.notify_all();
    }

    /// Sleeps until the bell rings (true) or stops (false).
    #[must_use]
    pub fn wait(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.changed.wait_while(state, |state| !state.rung && !state.stopped);
        let mut state = wait.unwrap_or_else(PoisonError::into_inner);
        state.rung = false;
        !state.stopped
    }

    /// Whether it was told to stop.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn work_that_can_wait_gives_way_and_gets_on_all_the_same() {
        let uploads = InHand::default();
        uploads.give_way(LONG);
        let (first, second) = (uploads.take(), uploads.take());
        drop(first);
        let began = Instant::now();
        let limit = Duration::from_millis(5);
        uploads.give_way(limit);
        assert!(began.elapsed() >= limit, "it did not give way");
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| uploads.give_way(LONG));
            drop(second);
            waits.join().unwrap();
        });
        assert!(began.elapsed() < LONG);
    }
}
