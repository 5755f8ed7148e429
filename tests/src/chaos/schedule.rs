//! What happens, and in which order: a pure function of the seed, to be read as a list.

use std::fmt;

use super::fate::Fate;
use super::fault::{Disk, Fault};
use super::random::Random;

/// What a schedule may have in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// The sink may be restored from an older backup.
    pub restore: bool,
}

impl Allowed {
    /// Everything.
    pub const ALL: Self = Self { restore: true };
}

/// How much the agent's spool keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpoolKind {
    /// Everything that a schedule makes.
    Roomy,
    /// A few runs.
    Small,
    /// What is younger than an hour.
    ShortLived,
}

/// What is done while an upload waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meanwhile {
    /// An audit.
    Audit,
    /// Another upload.
    Upload,
    /// `gatepost status`.
    Status,
}

/// One thing that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `gatepost audit`, with so many KiB more to see.
    Audit(u64, Fault),
    /// `gatepost upload`, with a fate for each exchange; those after the last pass.
    Upload(Vec<Fate>, Fault),
    /// `gatepost rotate-key`.
    Rotate(Fault),
    /// `gatepost enroll` with a new token, with a fate for the exchange.
    Enrol(Vec<Fate>, Fault),
    /// Another gateway audits and hands over, by a way of its own.
    Neighbour,
    /// An upload whose answer is held back while something else is done; then it gets it, or is killed.
    Overlap(Meanwhile, bool),
    /// `gatepost run` until it has audited and tried to upload; then SIGKILL, or SIGTERM.
    Daemon(Vec<Fate>, Fault, bool),
    /// `gatepost status`.
    Status(Fault),
    /// `gatepost export`.
    Export,
    /// The agent's clock, so many hours from the true time.
    AgentClock(i64),
    /// The sink's clock.
    SinkClock(i64),
    /// SIGKILL of the sink.
    KillSink,
    /// SIGTERM of the sink.
    StopSink,
    /// The sink is started, unless it runs.
    StartSink,
    /// What is wrong with the sink's disk from now on.
    SinkDisk(Fault),
    /// The sink's data is copied.
    BackUp,
    /// The sink goes on with this copy, of those there are.
    Restore(u64),
    /// The requests that come late come now.
    Deliver,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fates = |fates: &[Fate]| {
            let fates: Vec<_> = fates.iter().map(ToString::to_string).collect();
            if fates.is_empty() { "nothing on the way".to_owned() } else { fates.join("; ") }
        };
        match self {
            Self::Audit(0, fault) => write!(f, "audit, {fault}"),
            Self::Audit(kib, fault) => write!(f, "audit of {kib} KiB more, {fault}"),
            Self::Upload(net, fault) => write!(f, "upload, {fault}, {}", fates(net)),
            Self::Rotate(fault) => write!(f, "key rotation, {fault}"),
            Self::Enrol(net, fault) => write!(f, "enrolment once more, {fault}, {}", fates(net)),
            Self::Neighbour => f.write_str("another gateway audits and uploads"),
            Self::Overlap(meanwhile, killed) => {
                let what = match meanwhile {
                    Meanwhile::Audit => "an audit",
                    Meanwhile::Upload => "another upload",
                    Meanwhile::Status => "a status",
                };
                let end = if *killed { "is killed" } else { "gets its answer" };
                write!(f, "upload that waits while there is {what}, and then {end}")
            }
            Self::Daemon(net, fault, kill) => {
                let end = if *kill { "SIGKILL" } else { "SIGTERM" };
                write!(f, "daemon until it has audited and tried to upload, then {end}, {fault}, {}", fates(net))
            }
            Self::Status(fault) => write!(f, "status, {fault}"),
            Self::Export => f.write_str("export"),
            Self::AgentClock(hours) => write!(f, "the agent's clock goes {hours:+} h"),
            Self::SinkClock(hours) => write!(f, "the sink's clock goes {hours:+} h"),
            Self::KillSink => f.write_str("SIGKILL of the sink"),
            Self::StopSink => f.write_str("the sink is stopped"),
            Self::StartSink => f.write_str("the sink is started"),
            Self::SinkDisk(fault) => write!(f, "the sink from now on: {fault}"),
            Self::BackUp => f.write_str("the sink is backed up"),
            Self::Restore(which) => write!(f, "the sink is restored from backup {which} (modulo how many there are)"),
            Self::Deliver => f.write_str("late requests come"),
        }
    }
}

/// Everything that happens to one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What it follows from.
    pub seed: u64,
    /// How much the agent keeps.
    pub spool: SpoolKind,
    /// In this order.
    pub steps: Vec<Step>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spool = match self.spool {
            SpoolKind::Roomy => "roomy",
            SpoolKind::Small => "small",
            SpoolKind::ShortLived => "short-lived",
        };
        writeln!(f, "seed {}, a {spool} spool:", self.seed)?;
        for (number, step) in (1..).zip(&self.steps) {
            writeln!(f, "  {number:2}  {step}")?;
        }
        Ok(())
    }
}

/// The sorts of steps, to be picked from.
#[derive(Clone, Copy)]
enum Sort {
    Audit,
    Upload,
    Rotate,
    Enrol,
    Neighbour,
    Overlap,
    Daemon,
    Look,
    Clock,
    SinkGoes,
    SinkComes,
    SinkDisk,
    BackUp,
    Restore,
    Deliver,
}

impl Schedule {
    /// The schedule of `seed`. What is not allowed is left out, which makes it another one.
    #[must_use]
    pub fn of(seed: u64, allowed: Allowed) -> Self {
        let mut random = Random::new(seed);
        let spool = random.pick(&[(3, SpoolKind::Roomy), (3, SpoolKind::Small), (2, SpoolKind::ShortLived)]);
        let restore = u64::from(allowed.restore);
        let count = random.between(18, 36) as usize;
        let mut draw = Draw { random, spool, backups: 0, weather: None, sink_may_be_down: false };
        let mut steps = vec![Step::Audit(0, Fault::None)];
        while steps.len() < count {
            let mut sorts = vec![
                (if spool == SpoolKind::Roomy { 30 } else { 45 }, Sort::Audit),
                (34, Sort::Upload),
                (5, Sort::Rotate),
                (2, Sort::Enrol),
                (4, Sort::Neighbour),
                (4, Sort::Overlap),
                (3, Sort::Daemon),
                (4, Sort::Look),
                (8, Sort::Clock),
                (4, Sort::SinkGoes),
                (if draw.sink_may_be_down { 25 } else { 1 }, Sort::SinkComes),
                (10, Sort::SinkDisk),
                (6 * restore, Sort::BackUp),
                (3, Sort::Deliver),
            ];
            if draw.backups > 0 {
                sorts.push((9, Sort::Restore));
            }
            let sort = draw.random.pick(&sorts);
            draw.steps(sort, &mut steps);
        }
        Self { seed, spool, steps }
    }
}

struct Draw {
    random: Random,
    spool: SpoolKind,
    backups: u64,
    /// What is wrong with the agent's disk, and for how many commands more.
    weather: Option<(Disk, u64)>,
    /// It was killed or stopped, or a fault that kills it was asked for.
    sink_may_be_down: bool,
}

impl Draw {
    fn steps(&mut self, sort: Sort, steps: &mut Vec<Step>) {
        let step = match sort {
            Sort::Audit => Step::Audit(self.more(), self.fault(20)),
            Sort::Upload => Step::Upload(self.fates(), self.fault(40)),
            Sort::Rotate => Step::Rotate(self.fault(25)),
            Sort::Enrol => Step::Enrol(self.fates(), self.fault(40)),
            Sort::Neighbour => Step::Neighbour,
            Sort::Overlap => {
                let meanwhile =
                    self.random.pick(&[(3, Meanwhile::Audit), (1, Meanwhile::Upload), (1, Meanwhile::Status)]);
                Step::Overlap(meanwhile, self.random.chance(1, 3))
            }
            Sort::Daemon => Step::Daemon(self.fates(), self.fault(50), self.random.chance(1, 2)),
            Sort::Look if self.random.chance(1, 2) => Step::Status(self.fault(20)),
            Sort::Look => Step::Export,
            Sort::Clock => {
                let hours = self.hours();
                if self.random.chance(2, 3) { Step::AgentClock(hours) } else { Step::SinkClock(hours) }
            }
            Sort::SinkGoes => {
                self.sink_may_be_down = true;
                if self.random.chance(3, 5) { Step::KillSink } else { Step::StopSink }
            }
            Sort::SinkComes => {
                self.sink_may_be_down = false;
                Step::StartSink
            }
            Sort::SinkDisk => {
                let fault = match self.random.below(9) {
                    0 => Fault::From(self.random.between(1, 10), self.disk()),
                    // A commit that fails, and a sink that goes on.
                    1..=4 => Fault::Once(self.random.between(1, 25), self.disk()),
                    5 | 6 => Fault::Kill(self.random.between(1, 40)),
                    7 => Fault::KillTorn(self.random.between(1, 40)),
                    _ => Fault::None,
                };
                steps.push(Step::SinkDisk(fault));
                self.sink_may_be_down |= fault.kills();
                if fault == Fault::None {
                    return;
                }
                // It is at work that a disk matters.
                steps.push(Step::Audit(self.more(), Fault::None));
                let fates = if self.random.chance(1, 2) { Vec::new() } else { self.fates() };
                steps.push(Step::Upload(fates, Fault::None));
                // What comes next is built on what it then says of itself.
                if self.random.chance(1, 2) {
                    steps.push(Step::Neighbour);
                }
                if self.random.chance(1, 2) {
                    return;
                }
                Step::SinkDisk(Fault::None)
            }
            Sort::BackUp => {
                self.backups += 1;
                Step::BackUp
            }
            Sort::Restore => Step::Restore(self.random.below(self.backups)),
            Sort::Deliver => Step::Deliver,
        };
        steps.push(step);
    }

    /// KiB that an audit sees more than before.
    fn more(&mut self) -> u64 {
        match self.spool {
            SpoolKind::Small => self.random.pick(&[(2, 0), (10, 12), (2, 20), (1, 200)]),
            _ => self.random.pick(&[(20, 0), (4, 12), (1, 300)]),
        }
    }

    fn disk(&mut self) -> Disk {
        self.random.pick(&[(3, Disk::Full), (2, Disk::ReadOnly), (2, Disk::Failing)])
    }

    /// What befalls a command of the agent that has about so many operations on the disk.
    fn fault(&mut self, operations: u64) -> Fault {
        if let Some((disk, left)) = self.weather.take() {
            self.weather = (left > 1).then_some((disk, left - 1));
            return Fault::From(1, disk);
        }
        let at = self.random.between(1, operations);
        match self.random.below(20) {
            0..=3 => Fault::Kill(at),
            4 => Fault::KillTorn(at),
            5 | 6 => Fault::Once(at, self.disk()),
            7 => {
                let (disk, more) = (self.disk(), self.random.below(4));
                self.weather = (more > 0).then_some((disk, more));
                Fault::From(at, disk)
            }
            _ => Fault::None,
        }
    }

    fn fates(&mut self) -> Vec<Fate> {
        let count = self.random.pick(&[(6, 0), (10, 1), (3, 2)]);
        (0..count).map(|_| self.fate()).collect()
    }

    fn fate(&mut self) -> Fate {
        let fate = self.any_fate();
        self.sink_may_be_down |= matches!(fate, Fate::SinkKilled(_));
        fate
    }

    fn any_fate(&mut self) -> Fate {
        let part = self.random.below(101);
        let yes = self.random.chance(1, 2);
        let status = self.random.pick(&[(2, 503), (1, 429), (1, 502), (1, 403), (1, 404), (1, 302), (1, 413)]);
        let back = self.random.between(1, 3);
        let word = self.random.pick(&[
            (3, (413, "too_large")),
            (2, (409, "log_rewound")),
            (1, (415, "unknown_dictionary")),
            (1, (400, "bad_batch")),
        ]);
        self.random.pick(&[
            (2, Fate::Passes),
            (3, Fate::Refused),
            (2, Fate::RequestLost),
            (3, Fate::RequestCut(part)),
            (4, Fate::RequestLate),
            (3, Fate::RequestTwice { second: yes }),
            (2, Fate::RequestTwiceAtOnce),
            (4, Fate::ReplyLost),
            (4, Fate::ReplyCut(part)),
            (2, Fate::ReplyShortened(part)),
            (2, Fate::ReplyTwice),
            (6, Fate::ReplyOld { forwarded: yes, back }),
            (2, Fate::AllRefused),
            (3, Fate::AsASink(word.0, word.1)),
            (2, Fate::Busy(status)),
            (1, Fate::Portal),
            (3, Fate::AgentKilled(part)),
            (3, Fate::SinkKilled(part)),
        ])
    }

    /// A jump of a clock: minutes would not be noticed, years happen.
    fn hours(&mut self) -> i64 {
        let days = self.random.between(1, 40) as i64;
        let direction = if self.random.chance(1, 2) { 1 } else { -1 };
        self.random.pick(&[
            (6, direction * days * 24),
            (2, direction * 3),
            (1, -24 * 365 * 50),
            (1, 24 * 365 * 5),
            (3, 0),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_schedule_and_another_seed_another() {
        assert_eq!(Schedule::of(7, Allowed::ALL), Schedule::of(7, Allowed::ALL));
        assert_ne!(Schedule::of(7, Allowed::ALL).steps, Schedule::of(8, Allowed::ALL).steps);
    }

    #[test]
    fn every_sort_of_step_and_fate_comes_up() {
        let words: String = (0..300).map(|seed| Schedule::of(seed, Allowed::ALL).to_string()).collect();
        for expected in [
            "audit of",
            "upload, a sound disk, nothing on the way",
            "while there is an audit",
            "while there is another upload",
            "daemon",
            "then SIGKILL",
            "then SIGTERM",
            "status",
            "export",
            "agent's clock goes +",
            "agent's clock goes -",
            "sink's clock goes +",
            "sink's clock goes -",
            "SIGKILL of the sink\n",
            "the sink is stopped",
            "the sink from now on: a full disk",
            "the sink from now on: a read-only disk",
            "the sink from now on: SIGKILL",
            "restored from backup",
            "late requests come",
            "audit, a full disk",
            "audit, a read-only disk",
            "audit, SIGKILL before",
            "audit, SIGKILL in the middle",
            "connection refused",
            "request lost",
            "request cut",
            "request comes late",
            "request comes twice,",
            "request comes twice at once",
            "answer lost",
            "answer cut",
            "answer shortened",
            "answer comes twice",
            "an earlier answer comes instead, 3 ago",
            "ago, the request is lost",
            "refusal of every line",
            "as a sink would: 413 too_large",
            "as a sink would: 409 log_rewound",
            "key rotation, a sound disk",
            "key rotation, SIGKILL before",
            "enrolment once more, SIGKILL",
            "another gateway audits",
            "somebody answers 503",
            "with a page",
            "SIGKILL of the agent at",
            "SIGKILL of the sink at",
            "small spool",
            "roomy spool",
            "short-lived spool",
        ] {
            assert!(words.contains(expected), "{expected} never comes up");
        }
        assert!(!Schedule::of(3, Allowed { restore: false }).to_string().contains("restored"));
    }
}
