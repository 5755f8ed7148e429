//! The uploader's decisions against a model of the world: a hundred thousand schedules, each made by its seed, in which agent
//! and sink crash at any point, batches and replies are lost, doubled, delayed, cut short or mixed up, disks are full, the sink
//! refuses, is restored from an older backup, goes on as another, forgets the gateway, keys are rotated, and clocks jump. Then
//! all is well again.
//!
//! What must hold, whatever happened:
//! * nothing is acknowledged that the sink did not have on disk, and nothing is quarantined that it would have taken;
//! * the sink is said to have broken its log only when it has, whatever answers come in the place of others;
//! * no wait is longer than a day or shorter than was asked for, no batch is larger and no connection sends more than it may;
//! * once all is well, everything arrives once, is quarantined, or is covered by a tombstone that arrived, after a bounded
//!   number of batches and pauses.
//!
//! A failing schedule is replayed, step by step, with the command it prints. `GATEPOST_MODEL_SCHEDULES` sets another number.

mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use gatepost_evidence::wire::LOG_REWOUND;

use super::backoff;
use super::core::{BATCHES_PER_CONNECTION, Core, Heard, Kind, MOST_BYTES, MOST_LINES, Next, Refused, Then};
use world::{Checkpoint, Item, Luck, MISFORTUNES, Random, Reply, Seen, Sink, Spool, State, Worth, judge};

/// How many schedules a normal test run tries.
const SCHEDULES: u64 = 100_000;
/// The most batches and pauses it may take to hand over everything once all is well.
const STEPS_WHEN_WELL: u32 = 200;
/// The longest that it may take, pauses included.
const TIME_WHEN_WELL: Duration = Duration::from_secs(4 * 86_400);

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds { return Err(format!($($why)+)); }
    };
}

struct World {
    random: Random,
    now: Duration,
    core: Core,
    spool: Spool,
    sink: Sink,
    backup: Option<Sink>,
    /// Requests that are under way and come in later.
    late: Vec<(Vec<Item>, Option<Checkpoint>)>,
    /// What the last request was called.
    name: u64,
    /// The last answer, with the name of its request; it may come again in place of another.
    stale: Option<(u64, Reply)>,
    /// Everything the sink ever had on disk.
    kept: BTreeSet<u64>,
    well: bool,
    /// No batch may go before this time.
    not_before: Duration,
    /// Batches on the connection that is open.
    on_connection: u32,
    seen: Seen,
    trace: Option<Vec<String>>,
}

impl World {
    fn new(seed: u64, traced: bool) -> Self {
        Self {
            random: Random(seed),
            now: Duration::from_secs(1_000_000),
            core: Core::default(),
            spool: Spool::default(),
            sink: Sink::default(),
            backup: None,
            late: Vec::new(),
            name: 0,
            stale: None,
            kept: BTreeSet::new(),
            well: false,
            not_before: Duration::ZERO,
            on_connection: 0,
            seen: Seen::default(),
            trace: traced.then(Vec::new),
        }
    }

    fn say(&mut self, what: impl FnOnce(&Self) -> String) {
        let Some(mut trace) = self.trace.take() else { return };
        trace.push(format!("{:>12.3} s  {}", self.now.as_secs_f64(), what(self)));
        self.trace = Some(trace);
    }

    /// A random number for the core, the extremes more often than by chance.
    fn dice(&mut self) -> u64 {
        match self.random.below(8) {
            0 => 0,
            1 => u64::MAX,
            _ => self.random.next(),
        }
    }

    fn audit(&mut self) {
        let bytes = [600, 600, 20_000, 300_000, 1_000_000][self.random.below(5) as usize];
        let worth = match self.random.below(30) {
            0 => Worth::Huge,
            1 | 2 => Worth::Bad,
            _ => Worth::Good,
        };
        self.spool.audit(bytes, worth);
        self.core.news();
    }

    /// Something happens to the world that is not the uploader's doing.
    fn event(&mut self) {
        match self.random.below(18) {
            0..=4 => {
                for _ in 0..=self.random.below(6) {
                    self.audit();
                }
            }
            5 | 13 => self.backup = Some(self.sink.clone()),
            6 | 14 => {
                if let Some(backup) = &self.backup {
                    self.sink = backup.clone();
                    self.say(|world| format!("the sink is restored with {} leaves", world.sink.log.len()));
                }
            }
            7 => {
                // Others go on with it.
                let leaf = 1_000_000 + self.random.below(1_000_000);
                self.sink.append(leaf);
            }
            8 | 9 => {
                let state = [State::Acknowledged, State::Acknowledged, State::Pending, State::Quarantined];
                let state = state[self.random.below(4) as usize];
                self.spool.let_go(state);
                self.say(|world| format!("{state:?} goes: {:?} {:?}", world.spool.gone, world.spool.tombstones));
            }
            10 => {
                self.sink.enrolled = self.random.in_100(60);
                self.sink.tombstones = self.random.in_100(60);
                self.sink.most_lines = [256, 256, 40, 3, 1][self.random.below(5) as usize];
                self.say(|world| format!("the sink is now {:?}", world.sink));
            }
            11 => self.jump(),
            12 => {
                self.say(|_| "the agent dies".into());
                self.reborn();
            }
            15 | 16 => {
                self.spool.rotate();
                self.core.news();
                self.say(|world| format!("a new key: {:?}", world.spool.rotations.last()));
            }
            _ => {
                let late = std::mem::take(&mut self.late);
                for (items, seen) in late {
                    self.arrive(&items, seen);
                }
            }
        }
    }

    fn jump(&mut self) {
        let by = Duration::from_secs(self.random.below(100_000));
        let back = self.random.in_100(50);
        self.now = if back { self.now.saturating_sub(by) } else { self.now + by };
        // What was asked for was asked by the clock there was then.
        self.not_before = Duration::ZERO;
        self.say(|_| "the clock jumps".into());
    }

    /// The agent starts again with what is on its disk.
    fn reborn(&mut self) {
        self.core = Core::default();
        self.not_before = Duration::ZERO;
        self.on_connection = 0;
    }

    fn arrive(&mut self, items: &[Item], seen: Option<Checkpoint>) -> Reply {
        let before = self.sink.log.len();
        let reply = self.sink.take(items, seen);
        self.kept.extend(&self.sink.log[before..]);
        reply
    }

    /// One step of whoever drives the core, and of time.
    fn step(&mut self) -> Result<bool, String> {
        match self.core.next(self.now) {
            Next::Idle => {
                self.on_connection = 0;
                return Ok(false);
            }
            Next::Rest(rest) => {
                ensure!(!rest.is_zero() && rest <= backoff::LONGEST, "a wait of {rest:?}");
                self.on_connection = 0;
                // Time goes on, not always as far as that.
                let part = if self.well { 100 } else { [100, 100, 30, 120][self.random.below(4) as usize] };
                self.now += rest * part / 100;
            }
            Next::Send(ask) => {
                ensure!((1..=MOST_LINES).contains(&ask.lines) && ask.bytes <= MOST_BYTES, "{ask:?} is too much");
                ensure!(self.now >= self.not_before, "sent {:?} sooner than asked", self.not_before - self.now);
                let batch = self.spool.waiting(ask);
                if batch.is_empty() {
                    let dice = self.dice();
                    let _ = self.core.heard(self.now, dice, Heard::NothingWaits);
                    self.on_connection = 0;
                    return Ok(true);
                }
                let misfortune = !self.well && self.random.in_100(45);
                let luck = if misfortune { MISFORTUNES[self.random.below(15) as usize] } else { Luck::Well };
                self.say(|_| format!("{luck:?}: {:?}", batch.iter().map(|item| item.leaf).collect::<Vec<_>>()));
                let dictionary = self.spool.dictionary().filter(|_| ask.dictionary);
                self.exchange(&batch, dictionary, luck)?;
            }
        }
        Ok(true)
    }

    fn exchange(&mut self, batch: &[Item], dictionary: Option<u64>, luck: Luck) -> Result<(), String> {
        let seen = self.spool.checkpoint;
        let lines = batch.len();
        self.on_connection += 1;
        ensure!(self.on_connection <= BATCHES_PER_CONNECTION, "{} batches on one connection", self.on_connection);
        self.now += Duration::from_millis(self.random.below(90_000));
        let refused = |status, reason, after| {
            Heard::Refused(Refused { status, reason, after, lines, dictionary: dictionary.is_some() })
        };
        self.name += 1;
        let (to, reply) = match luck {
            Luck::AgentDiesBefore => {
                self.reborn();
                return Ok(());
            }
            Luck::NoWay | Luck::SinkDiesBefore => return self.heard(batch, Heard::NoAnswer),
            Luck::RequestLost => return self.heard(batch, Heard::TimedOut(lines)),
            Luck::RequestLate => {
                self.late.push((batch.to_vec(), seen));
                return self.heard(batch, Heard::TimedOut(lines));
            }
            Luck::Busy => {
                let after = [None, Some(1), Some(90), Some(80_000), Some(10_000_000)][self.random.below(5) as usize];
                let after = after.map(Duration::from_secs);
                let status = [503, 429, 500][self.random.below(3) as usize];
                self.not_before = self.now + after.unwrap_or_default().min(backoff::LONGEST);
                return self.heard(batch, refused(status, Some("busy"), after));
            }
            Luck::Proxy413 => return self.heard(batch, refused(413, None, None)),
            Luck::Elsewhere => {
                let status = [302, 403, 404, 415, 511][self.random.below(5) as usize];
                return self.heard(batch, refused(status, None, None));
            }
            // Before it looks at anything else: it cannot read it.
            _ if dictionary.is_some_and(|leaf| !self.sink.log.contains(&leaf)) => {
                self.seen.dictionary_unknown += 1;
                return self.heard(batch, refused(415, Some("unknown_dictionary"), None));
            }
            Luck::ReplyStale => {
                let reply = (self.name, self.arrive(batch, seen));
                self.stale.take().unwrap_or(reply)
            }
            Luck::RequestTwice => {
                self.arrive(batch, seen);
                (self.name, self.arrive(batch, seen))
            }
            _ => (self.name, self.arrive(batch, seen)),
        };
        self.stale = Some((to, reply.clone()));
        if to != self.name {
            // As `post.rs` finds out by the sink's signature.
            self.seen.not_to_this += 1;
            return match reply {
                Reply::Answers { .. } => self.heard(batch, Heard::NoAnswer),
                Reply::Refused { status, .. } => self.heard(batch, refused(status, None, None)),
            };
        }
        match luck {
            Luck::ReplyLost => return self.heard(batch, Heard::TimedOut(lines)),
            Luck::ReplyCutShort | Luck::SinkDiesAfter => return self.heard(batch, Heard::NoAnswer),
            Luck::AgentDiesAfter => {
                // Before or after the answer was written, all of it or nothing.
                if self.random.in_100(50) {
                    let _ = self.taken(batch, &reply, false)?;
                }
                self.reborn();
                return Ok(());
            }
            _ => {}
        }
        let full = luck == Luck::DiskFull;
        match &reply {
            // As `log.rs` finds out by the checkpoint that the sink then shows.
            Reply::Refused { reason: LOG_REWOUND, .. } => self.heard_while(batch, Heard::Doubted(LOG_REWOUND), full),
            Reply::Refused { status, reason } => self.heard_while(batch, refused(*status, Some(reason), None), full),
            Reply::Answers { .. } => match self.taken(batch, &reply, full)? {
                Ok(heard) | Err(heard) => self.heard_while(batch, heard, full),
            },
        }
    }

    /// Writes what the answers mean, unless they are not believed or the disk is full.
    fn taken(
        &mut self,
        batch: &[Item],
        reply: &Reply,
        full: bool,
    ) -> Result<Result<Heard<'static>, Heard<'static>>, String> {
        let Reply::Answers { to, said, checkpoint, continues } = reply else { return Ok(Err(Heard::NoAnswer)) };
        let judged = judge(batch, self.spool.checkpoint, (to, said, *checkpoint, *continues));
        let (writes, tally) = match judged {
            Ok(judged) => judged,
            Err(reason) => return Ok(Err(Heard::Doubted(reason))),
        };
        if full {
            return Ok(Err(Heard::Failed));
        }
        self.spool.checkpoint = Some(*checkpoint);
        for (leaf, state) in writes {
            let bad = batch.iter().any(|item| item.leaf == leaf && item.worth == Worth::Bad);
            match state {
                State::Acknowledged => {
                    ensure!(self.kept.contains(&leaf), "{leaf} acknowledged that was never kept");
                    self.seen.rotations += u64::from(batch[0].kind == Kind::Rotation);
                }
                _ => {
                    self.seen.quarantined += 1;
                    ensure!(bad, "{leaf} is quarantined though nothing is wrong with it");
                }
            }
            self.spool.set(leaf, state);
        }
        Ok(Ok(Heard::Answered(tally)))
    }

    fn heard(&mut self, batch: &[Item], heard: Heard<'_>) -> Result<(), String> {
        self.heard_while(batch, heard, false)
    }

    /// Tells the core, and does to the spool what it says, unless the disk is `full`.
    fn heard_while(&mut self, batch: &[Item], heard: Heard<'_>, full: bool) -> Result<(), String> {
        let dice = self.dice();
        let then = self.core.heard(self.now, dice, heard);
        self.say(|_| format!("  {heard:?} -> {then:?}"));
        // Whoever drives it opens a new connection after whatever is an error to it.
        if !matches!(heard, Heard::Answered(tally) if !tally.unknown) {
            self.on_connection = 0;
        }
        match then {
            Then::Keep => {}
            _ if full => {}
            Then::StartOver => {
                ensure!(!self.sink.continues(self.spool.checkpoint), "the sink is accused and did nothing");
                self.seen.started_over += 1;
                self.spool.start_over();
            }
            Then::Quarantine => {
                self.seen.too_large_alone += 1;
                for item in batch {
                    ensure!(item.worth == Worth::Huge, "{} is quarantined though it is not too large", item.leaf);
                    self.spool.set(item.leaf, State::Quarantined);
                }
            }
        }
        match heard {
            Heard::Answered(tally) => {
                self.seen.unknown += u64::from(tally.unknown);
                self.seen.tombstones_unread += u64::from(tally.no_tombstones);
            }
            Heard::Refused(Refused { status: 413, lines: 2.., .. }) => self.seen.cut_down += 1,
            Heard::Refused(Refused { after: Some(_), .. }) => self.seen.asked_to_wait += 1,
            _ => {}
        }
        if self.on_connection == BATCHES_PER_CONNECTION {
            self.seen.full_connections += 1;
            let next = self.core.next(self.now);
            let paused = matches!(next, Next::Rest(pause) if pause >= backoff::PAUSE);
            ensure!(paused, "no pause after a full connection: {next:?}");
            // Whoever drives it asks at once, and closes it, before any clock jumps.
            self.on_connection = 0;
        }
        Ok(())
    }

    /// From now on all is well: the sink is up, knows the gateway, takes what there is, and there is room on the disk.
    fn heal(&mut self) {
        self.say(|_| "all is well".into());
        self.well = true;
        self.late.clear();
        self.sink.most_lines = 256;
        if !self.sink.enrolled {
            // An operator enrols the gateway again.
            self.sink.enrolled = true;
            self.spool.start_over();
        }
        self.audit();
    }

    /// Whether everything arrived that should have.
    fn complete(&self) -> Result<(), String> {
        let there = |leaf: u64| self.sink.log.iter().filter(|kept| **kept == leaf).count();
        for rotation in &self.spool.rotations {
            let (leaf, state) = (rotation.leaf, rotation.state);
            ensure!((state, there(leaf)) == (State::Acknowledged, 1), "the rotation {leaf} is {state:?} in the end");
        }
        for run in &self.spool.runs {
            let (leaf, count) = (run.leaf, there(run.leaf));
            ensure!(count <= 1, "{leaf} arrived {count} times");
            match (run.state, run.worth) {
                (State::Acknowledged, Worth::Good) => ensure!(count == 1, "{leaf} is not there"),
                (State::Quarantined, Worth::Bad | Worth::Huge) => ensure!(count == 0, "{leaf} was taken"),
                (State::Gone, _) => {
                    let at = self.spool.gone.iter().position(|gone| *gone == leaf);
                    let at = at.ok_or_else(|| format!("{leaf} went without a tombstone"))?;
                    let told =
                        self.spool.covers.iter().any(|(tombstone, covers)| *covers > at && there(*tombstone) == 1);
                    ensure!(told || count == 1, "the sink has neither {leaf} nor the tombstone that stands for it");
                }
                (state, worth) => return Err(format!("{leaf} is {worth:?} and {state:?} in the end")),
            }
        }
        Ok(())
    }
}

/// Runs the schedule of `seed`; gives what happened, if it is `traced`, and what went wrong.
fn schedule(seed: u64, traced: bool) -> (Vec<String>, Result<Seen, String>) {
    let mut world = World::new(seed, traced);
    let result = run(&mut world).map(|()| world.seen);
    (world.trace.unwrap_or_default(), result)
}

fn run(world: &mut World) -> Result<(), String> {
    world.audit();
    for _ in 0..10 + world.random.below(40) {
        if world.random.in_100(30) {
            world.event();
        }
        world.step()?;
    }
    world.heal();
    let began = world.now;
    let mut steps = 0;
    // A second time a day later: a sink that cannot read tombstones goes without, and is tried again only then.
    for _ in 0..2 {
        while world.step()? {
            steps += 1;
            ensure!(steps <= STEPS_WHEN_WELL, "no end in sight");
            ensure!(world.now - began <= TIME_WHEN_WELL, "it takes {:?}", world.now - began);
        }
        world.sink.tombstones = true;
        world.now += Duration::from_secs(86_400);
        world.audit();
    }
    while world.step()? {}
    world.complete()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// What was seen in the schedule of `seed`, or what is to be said of its failure.
fn tried(seed: u64) -> Result<Seen, String> {
    let result = std::panic::catch_unwind(|| schedule(seed, false).1).unwrap_or_else(|_| Err("it panicked".to_owned()));
    result.map_err(|why| {
        format!(
            "schedule {seed}: {why}; replay: GATEPOST_MODEL_SEED={seed} cargo test -p gatepost --lib upload::model -- \
             --nocapture"
        )
    })
}

/// Every `step`th schedule from `first`: what was seen in all, and the first failures.
fn try_all(first: u64, step: u64, schedules: u64) -> (Seen, Vec<String>) {
    let (mut seen, mut failures) = (Seen::default(), Vec::new());
    for seed in (first..schedules).step_by(usize::try_from(step).unwrap()) {
        match tried(seed) {
            Ok(more) => seen += more,
            Err(failure) => failures.push(failure),
        }
        if failures.len() == 3 {
            break;
        }
    }
    (seen, failures)
}

#[test]
fn whatever_happens_everything_arrives_once_in_the_end() {
    if let Some(seed) = number("GATEPOST_MODEL_SEED") {
        let (trace, result) = schedule(seed, true);
        trace.iter().for_each(|line| println!("{line}"));
        println!("schedule {seed}: {result:?}");
        assert!(result.is_ok());
        return;
    }
    let schedules = number("GATEPOST_MODEL_SCHEDULES").unwrap_or(SCHEDULES);
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let (mut seen, mut failures) = (Seen::default(), Vec::new());
    std::thread::scope(|scope| {
        let shares: Vec<_> =
            (0..threads).map(|first| scope.spawn(move || try_all(first, threads, schedules))).collect();
        for share in shares {
            let (more, failed) = share.join().unwrap();
            seen += more;
            failures.extend(failed);
        }
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // A model in which nothing goes wrong proves nothing.
    let Seen { started_over, quarantined, too_large_alone, unknown, full_connections, .. } = seen;
    let Seen { cut_down, asked_to_wait, tombstones_unread, dictionary_unknown, not_to_this, rotations, .. } = seen;
    let often = [started_over, quarantined, too_large_alone, unknown, cut_down, asked_to_wait, not_to_this, rotations];
    let seldom = [full_connections, tombstones_unread, dictionary_unknown];
    let enough =
        often.iter().all(|times| times * 10 >= schedules) && seldom.iter().all(|times| times * 100 >= schedules);
    assert!(enough || schedules < SCHEDULES, "{seen:?}");
}
