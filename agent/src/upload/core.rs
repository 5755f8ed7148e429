//! What the uploader decides: how much goes next, when, and what an answer means. No I/O, no clock, no randomness: time and
//! randomness are handed in, so that every decision can be tried out by the hundred thousand (`model.rs`).
//!
//! Whoever drives it does what [`Core::next`] says and tells [`Core::heard`] what came of it. Guaranteed, whatever comes:
//! * one connection sends at most [`BATCHES_PER_CONNECTION`] batches of at most [`MOST_LINES`] lines and [`MOST_BYTES`] bytes,
//!   that is 512 runs, and is followed by a pause of 10 s at least, or as long as it was open ([`backoff::pause`]);
//! * after a failure it waits, never less than the sink asked for and never more than a day ([`backoff`]);
//! * a line is acknowledged only for a receipt and quarantined only for a refusal that is about that very line;
//! * what is refused never holds back what is not.

use std::time::Duration;

use gatepost_evidence::wire::{LOG_REWOUND, UNKNOWN_KEY};

use super::backoff;

/// The most batches that one connection sends before it is closed and the sink left to others for a while.
pub const BATCHES_PER_CONNECTION: u32 = 8;
/// The most lines in one batch: few, so that a link that drops often still makes progress.
pub const MOST_LINES: usize = 64;
/// The most bytes of lines in one batch before it is compressed; a line that is larger goes alone.
pub const MOST_BYTES: usize = 1024 * 1024;
/// The fewest bytes that a batch is cut down to; lines are cut down to one.
const FEWEST_BYTES: usize = 16 * 1024;
/// In so many steps a batch that was cut down grows back to what it was.
const STEPS_TO_GROW: usize = 8;
/// How long a sink that cannot read tombstones is not sent any.
const WITHOUT_TOMBSTONES: Duration = Duration::from_secs(86_400);

/// Reason of a refusal by a sink that does not know what a tombstone is.
const PAYLOAD_TYPE: &str = "payload_type";
/// Reasons of doubt that say: this log is not the one that was verified before.
const BREAKS: [&str; 3] = [LOG_REWOUND, "log_shrunk", "not_consistent"];

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send a batch, over the connection that is open or a new one.
    Send(Ask),
    /// Close the connection and ask again after this time.
    Rest(Duration),
    /// Close the connection and ask again when there is something new.
    Idle,
}

/// What a batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// The most lines.
    pub lines: usize,
    /// The most bytes of lines, unless a single one is larger.
    pub bytes: usize,
    /// Whether tombstones go, before the runs.
    pub tombstones: bool,
    /// Whether it may be compressed against something that the sink should have.
    pub dictionary: bool,
}

/// What came of a batch that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// There was nothing to send.
    NothingWaits,
    /// Nothing was sent, or nothing could be kept of the answer: the spool, the configuration, the enrolment.
    Failed,
    /// No answer to so many lines came in time.
    TimedOut(usize),
    /// No answer came, or one that no sink gives.
    NoAnswer,
    /// The batch was refused as a whole.
    Refused(Refused<'a>),
    /// The answer does not make sense or contradicts the sink's log, for this reason.
    Doubted(&'a str),
    /// Every line was answered, and what that means is in the spool.
    Answered(Tally),
}

/// A batch that was refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The sink's word for why; none when it was not the sink that answered, but something on the way.
    pub reason: Option<&'a str>,
    /// How long the sink asked to wait (`Retry-After`, RFC 9110, section 10.2.3).
    pub after: Option<Duration>,
    /// How many lines were sent.
    pub lines: usize,
    /// Whether they were compressed against something that the sink should have.
    pub dictionary: bool,
}

/// What became of the lines of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// The sink does not know this gateway's key.
    pub unknown: bool,
    /// The sink cannot read tombstones.
    pub no_tombstones: bool,
}

/// What an answer means for what is in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    Keep,
    /// The sink's log is not the one it was: keep the evidence, then make everything pending again.
    StartOver,
    /// The only line that was sent will never be taken: quarantine it.
    Quarantine,
}

/// What a line is, in the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A key rotation: the sink knows the key of what follows by it.
    Rotation,
    /// A tombstone.
    Tombstone,
    /// A run.
    Run,
}

/// What it means for a line that it was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is refused for good.
    Quarantine,
    /// It stays, because the sink does not know this gateway.
    KeepUnknown,
    /// It stays, because the sink cannot read tombstones.
    KeepUnread,
}

/// What it means for a line of `kind` that it is refused for `reason`; `own` says whether this gateway's key signed it.
#[must_use]
pub fn refused(kind: Kind, own: bool, reason: &str) -> Fate {
    match (kind, reason) {
        (_, UNKNOWN_KEY) if own => Fate::KeepUnknown,
        (Kind::Tombstone, PAYLOAD_TYPE) => Fate::KeepUnread,
        _ => Fate::Quarantine,
    }
}

/// What the uploader of one gateway knows between batches. Nothing of it has to survive a restart.
#[derive(Debug, Clone, Default)]
pub struct Core {
    /// How far batches are cut down.
    cut: Cut,
    /// The connection that is open: since when, and how many batches it has sent.
    open: Option<(Duration, u32)>,
    /// Nothing waits, as far as is known.
    idle: bool,
    /// When it was decided to wait, and how long.
    wait: (Duration, Duration),
    /// Failures since the last answer.
    failures: u32,
    /// How often the sink's log broke, and when last.
    broken: (u32, Duration),
    /// The sink does not know this gateway: one line is enough to find out whether it does.
    unknown: bool,
    /// Since when the sink is not sent tombstones.
    without_tombstones: Option<Duration>,
    /// The next batch goes without a dictionary.
    without_dictionary: bool,
}

/// The most that goes in one batch, after it was cut down and grew again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cut {
    lines: usize,
    bytes: usize,
}

impl Default for Cut {
    fn default() -> Self {
        Self { lines: MOST_LINES, bytes: MOST_BYTES }
    }
}

impl Cut {
    fn smaller(self, sent: usize) -> Self {
        Self { lines: (self.lines.min(sent) / 2).max(1), bytes: (self.bytes / 2).max(FEWEST_BYTES) }
    }

    fn larger(self) -> Self {
        let Self { lines, bytes } = self;
        Self {
            lines: (lines + MOST_LINES / STEPS_TO_GROW).min(MOST_LINES),
            bytes: (bytes + MOST_BYTES / STEPS_TO_GROW).min(MOST_BYTES),
        }
    }
}

impl Core {
    /// What to do at `now`, by a clock that is not the wall clock. Asked again without anything having happened, it says the
    /// same, only later.
    #[must_use]
    pub fn next(&mut self, now: Duration) -> Next {
        if now < self.wait.0 {
            // A clock that went back must not make anybody wait longer.
            self.wait.0 = now;
        }
        let rest = (self.wait.0 + self.wait.1).saturating_sub(now);
        if !rest.is_zero() {
            return Next::Rest(rest);
        }
        if self.idle {
            return Next::Idle;
        }
        self.open.get_or_insert((now, 0));
        if self.without_tombstones.is_some_and(|since| now.abs_diff(since) >= WITHOUT_TOMBSTONES) {
            self.without_tombstones = None;
        }
        let lines = if self.unknown { 1 } else { self.cut.lines };
        let tombstones = self.without_tombstones.is_none();
        Next::Send(Ask { lines, bytes: self.cut.bytes, tombstones, dictionary: !self.without_dictionary })
    }

    /// There is something new to send. It goes when it is time.
    pub fn news(&mut self) {
        self.idle = false;
    }

    /// What came of the batch that [`Core::next`] asked for, and what that means for the spool. `random` decides how long a
    /// wait is.
    #[must_use]
    pub fn heard(&mut self, now: Duration, random: u64, heard: Heard<'_>) -> Then {
        match heard {
            Heard::NothingWaits => {
                self.idle = true;
                self.open = None;
            }
            Heard::Failed | Heard::NoAnswer => self.failed(now, random, None),
            Heard::TimedOut(lines) => {
                self.cut = self.cut.smaller(lines);
                self.failed(now, random, None);
            }
            Heard::Refused(refused) => return self.refused(now, random, refused),
            Heard::Doubted(reason) if BREAKS.contains(&reason) => return self.broke(now, random),
            Heard::Doubted(_) => self.failed(now, random, None),
            Heard::Answered(tally) => self.answered(now, random, tally),
        }
        Then::Keep
    }

    fn refused(&mut self, now: Duration, random: u64, refused: Refused<'_>) -> Then {
        match (refused.status, refused.reason) {
            (415, _) if refused.dictionary => {
                // The same without one can be read by any sink, at once.
                self.without_dictionary = true;
                self.went(now, random);
            }
            (413, _) if refused.lines > 1 => {
                // Fewer are no burden to the sink, and go at once.
                self.cut = self.cut.smaller(refused.lines);
                self.went(now, random);
            }
            // Only the sink's own word is good for this: whatever stands before it may be gone tomorrow.
            (413, Some(_)) => {
                self.went(now, random);
                return Then::Quarantine;
            }
            _ => self.failed(now, random, refused.after),
        }
        Then::Keep
    }

    fn answered(&mut self, now: Duration, random: u64, tally: Tally) {
        if tally.no_tombstones {
            self.without_tombstones = Some(now);
        }
        self.unknown = tally.unknown;
        if tally.unknown {
            return self.failed(now, random, None);
        }
        self.failures = 0;
        self.without_dictionary = false;
        self.cut = self.cut.larger();
        self.went(now, random);
    }

    /// The log broke: everything is handed over again, later each time it happens.
    fn broke(&mut self, now: Duration, random: u64) -> Then {
        let (mut times, last) = self.broken;
        if now.abs_diff(last) >= backoff::CAP_OVER {
            times = 0;
        }
        self.failed(now, random, None);
        self.rest(now, backoff::delay_over(times, random));
        self.broken = (times.saturating_add(1), now);
        Then::StartOver
    }

    /// A batch went over the connection.
    fn went(&mut self, now: Duration, random: u64) {
        let (since, batches) = self.open.unwrap_or((now, 0));
        if batches + 1 < BATCHES_PER_CONNECTION {
            self.open = Some((since, batches + 1));
        } else {
            self.rest(now, backoff::pause(now.saturating_sub(since), random));
        }
    }

    fn failed(&mut self, now: Duration, random: u64, asked: Option<Duration>) {
        self.rest(now, backoff::delay(self.failures, random, asked));
        self.failures = self.failures.saturating_add(1);
    }

    fn rest(&mut self, now: Duration, wait: Duration) {
        self.wait = (now, wait);
        self.open = None;
    }
}
