//! The one thread that writes, and groups what comes at the same time into one transaction.
//!
//! An `fsync` costs more than many rows, so whatever waits when a transaction begins goes into it, each piece of work in
//! its own savepoint. Nobody is answered before the commit; if the commit fails, everybody in the group hears so. A piece
//! of work that errs or panics undoes itself alone.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::StoreError;

/// The most pieces of work in one transaction.
const GROUP: usize = 256;

/// Tells the submitter what became of its work, once the commit is known to have happened (`Ok`) or not.
type Finish = Box<dyn FnOnce(Result<(), String>) + Send>;
/// One piece of work. Without a connection it cannot be done, and says so when it is finished.
type Job = Box<dyn FnOnce(Option<&Connection>) -> Finish + Send>;

/// The writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// The answer to a write, when it comes.
#[derive(Debug)]
pub struct Pending<T>(oneshot::Receiver<Result<T, StoreError>>);

impl<T> Pending<T> {
    /// Waits without blocking the thread.
    ///
    /// # Errors
    /// Those of the work and of the commit.
    pub async fn done(self) -> Result<T, StoreError> {
        self.0.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits, blocking the thread; not for asynchronous code.
    ///
    /// # Errors
    /// Those of the work and of the commit.
    pub fn wait(self) -> Result<T, StoreError> {
        self.0.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                while let Ok(first) = queue.recv() {
                    let waiting = std::iter::from_fn(|| queue.try_recv().ok());
                    write_group(&connection, std::iter::once(first).chain(waiting.take(GROUP - 1)));
                }
            })
            .map_err(|error| StoreError::NotCommitted(format!("no thread for the writer: {error}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) fn submit<T, F>(&self, work: F) -> Pending<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let outcome = connection.map(|connection| in_savepoint(connection, work));
            Box::new(move |committed| {
                let answer = match (committed, outcome) {
                    (Ok(()), Some(outcome)) => outcome,
                    (Ok(()), None) => Err(StoreError::Closed),
                    (Err(why), _) => Err(StoreError::NotCommitted(why)),
                };
                // Nobody waits any more: the work stands all the same.
                let _ = reply.send(answer);
            })
        });
        if let Some(jobs) = &self.jobs {
            // A send that fails drops the job and with it the reply, which the submitter sees as `Closed`.
            let _ = jobs.send(job);
        }
        Pending(answer)
    }
}

impl Drop for Writer {
    /// Finishes what was submitted.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_group(connection: &Connection, jobs: impl Iterator<Item = Job>) {
    let mut lost = connection.execute_batch("BEGIN IMMEDIATE").err().map(|error| error.to_string());
    let mut finishes = Vec::new();
    for job in jobs {
        finishes.push(job(lost.is_none().then_some(connection)));
        // SQLite gives up a whole transaction when the disk is full or fails: nothing done so far in this group stands.
        if lost.is_none() && connection.is_autocommit() {
            lost = Some("the disk is full or failed, and the transaction was undone".to_owned());
        }
    }
    let committed = match lost {
        None => connection.execute_batch("COMMIT").map_err(|error| error.to_string()),
        Some(why) => Err(why),
    };
    if committed.is_err() && !connection.is_autocommit() {
        let _ = connection.execute_batch("ROLLBACK");
    }
    for finish in finishes {
        finish(committed.clone());
    }
}

fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    connection.execute_batch("SAVEPOINT work")?;
    let outcome = catch_unwind(AssertUnwindSafe(|| work(connection)))
        .unwrap_or_else(|_| Err(StoreError::NotCommitted("the work panicked".into())));
    if connection.is_autocommit() {
        return outcome;
    }
    match outcome {
        Ok(value) => connection.execute_batch("RELEASE work").map(|()| value).map_err(StoreError::from),
        Err(error) => {
            connection.execute_batch("ROLLBACK TO work; RELEASE work")?;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER UNIQUE)").unwrap();
        Writer::start(connection).unwrap()
    }

    fn insert(n: i64) -> impl FnOnce(&Connection) -> Result<(), StoreError> + Send {
        move |connection| Ok(connection.execute("INSERT INTO t VALUES (?1)", [n]).map(drop)?)
    }

    fn sum(writer: &Writer) -> i64 {
        let query = |connection: &Connection| Ok(connection.query_row("SELECT sum(n) FROM t", [], |row| row.get(0))?);
        writer.submit(query).wait().unwrap()
    }

    #[test]
    fn work_that_errs_or_panics_undoes_itself_alone() {
        let writer = writer();
        let jobs = vec![
            writer.submit(insert(1)),
            writer.submit(|connection| {
                insert(10)(connection)?;
                insert(10)(connection)
            }),
            writer.submit(|connection| {
                insert(100)(connection)?;
                panic!("on purpose")
            }),
            writer.submit(insert(1000)),
        ];
        let outcomes: Vec<_> = jobs.into_iter().map(|job| job.wait().is_ok()).collect();
        assert_eq!(outcomes, [true, false, false, true]);
        assert_eq!(sum(&writer), 1001);
    }

    #[test]
    fn when_the_transaction_is_lost_everybody_in_the_group_hears_so() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (n INTEGER UNIQUE)").unwrap();
        let (heard, answers) = mpsc::channel();
        let job = |work: fn(&Connection)| -> Job {
            let heard = heard.clone();
            Box::new(move |connection| {
                let done = connection.map(work).is_some();
                Box::new(move |committed| heard.send((done, committed.is_ok())).unwrap())
            })
        };
        write_group(
            &connection,
            [
                job(|connection| drop(connection.execute("INSERT INTO t VALUES (1)", []))),
                // What SQLite does by itself when the disk is full.
                job(|connection| connection.execute_batch("ROLLBACK").unwrap()),
                job(|connection| drop(connection.execute("INSERT INTO t VALUES (2)", []))),
            ]
            .into_iter(),
        );
        drop(heard);
        assert_eq!(answers.iter().collect::<Vec<_>>(), [(true, false), (true, false), (false, false)]);
        let rows: i64 = connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 0);
    }

    #[test]
    fn what_was_submitted_is_finished_before_the_writer_is_gone() {
        let writer = writer();
        let jobs: Vec<_> = (0..1000).map(|n| writer.submit(insert(n))).collect();
        drop(writer);
        assert!(jobs.into_iter().all(|job| job.wait().is_ok()));
    }
}
