//! What the model is made of: a spool and a sink in memory, as far as the uploader can tell them from real ones.
//!
//! A leaf of the log is a number that stands for an envelope; a checkpoint is a size and a hash over the leaves before it, so
//! that two logs that differ anywhere below have checkpoints that differ.

use gatepost_evidence::wire::{LOG_REWOUND, UNKNOWN_KEY};

use crate::upload::core::{self, Ask, Fate, Kind, Tally};

/// A log's checkpoint: leaves, and a hash over them.
pub(super) type Checkpoint = (usize, u64);

/// Random numbers that a seed decides (splitmix64).
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Whether something happens that does so `times` times in a hundred.
    pub(super) fn in_100(&mut self, times: u64) -> bool {
        self.below(100) < times
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What the sink thinks of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    Good,
    /// Refused for good: a fork, a signature that does not hold.
    Bad,
    /// The sink takes no upload that has it, not even alone.
    Huge,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Acknowledged,
    Quarantined,
    /// Let go; a tombstone stands for it.
    Gone,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) leaf: u64,
    pub(super) bytes: usize,
    pub(super) worth: Worth,
    pub(super) state: State,
    /// The rotation that brought the key which signed it; none for the first.
    pub(super) key: Option<u64>,
}

/// What the agent has on disk.
#[derive(Debug, Default)]
pub(super) struct Spool {
    pub(super) runs: Vec<Item>,
    pub(super) tombstones: Vec<Item>,
    pub(super) rotations: Vec<Item>,
    /// Every tombstone there ever was: its leaf, and how many of `gone` it stands for, all of them from the first.
    pub(super) covers: Vec<(u64, usize)>,
    pub(super) gone: Vec<u64>,
    pub(super) checkpoint: Option<Checkpoint>,
    leaves: u64,
}

impl Spool {
    fn leaf(&mut self) -> u64 {
        self.leaves += 1;
        self.leaves
    }

    pub(super) fn audit(&mut self, bytes: usize, worth: Worth) {
        let (leaf, key) = (self.leaf(), self.key());
        self.runs.push(Item { kind: Kind::Run, leaf, bytes, worth, state: State::Pending, key });
    }

    /// The rotation that brought today's key.
    fn key(&self) -> Option<u64> {
        self.rotations.last().map(|rotation| rotation.leaf)
    }

    /// Gives the key up for a new one.
    pub(super) fn rotate(&mut self) {
        let (leaf, key) = (self.leaf(), self.key());
        let (worth, state) = (Worth::Good, State::Pending);
        self.rotations.push(Item { kind: Kind::Rotation, leaf, bytes: 900, worth, state, key });
    }

    /// Lets the oldest run of this state go. The tombstone grows; the sink is told, unless it has all that went.
    pub(super) fn let_go(&mut self, state: State) {
        let Some(at) = self.runs.iter().position(|run| run.state == state) else { return };
        self.runs[at].state = State::Gone;
        self.gone.push(self.runs[at].leaf);
        let owed = self.tombstones.pop().is_some_and(|before| before.state != State::Acknowledged);
        let told = if owed || state != State::Acknowledged { State::Pending } else { State::Acknowledged };
        let (leaf, key) = (self.leaf(), self.key());
        self.tombstones.push(Item { kind: Kind::Tombstone, leaf, bytes: 900, worth: Worth::Good, state: told, key });
        self.covers.push((leaf, self.gone.len()));
    }

    pub(super) fn waiting(&self, ask: Ask) -> Vec<Item> {
        let rotations = self.rotations.iter().filter(|item| item.state == State::Pending);
        let rotations: Vec<Item> = rotations.take(ask.lines).copied().collect();
        if !rotations.is_empty() {
            return rotations;
        }
        let tombstones = self.tombstones.iter().filter(|_| ask.tombstones);
        let mut bytes = 0;
        let all = tombstones.chain(&self.runs).filter(|item| item.state == State::Pending).take(ask.lines).enumerate();
        let fit = all.take_while(|(before, item)| {
            bytes += item.bytes;
            bytes <= ask.bytes || *before == 0
        });
        fit.map(|(_, item)| *item).collect()
    }

    /// The latest run that the sink has, as far as is known here: what a batch is compressed against.
    pub(super) fn dictionary(&self) -> Option<u64> {
        self.runs.iter().rev().find(|run| run.state == State::Acknowledged).map(|run| run.leaf)
    }

    pub(super) fn set(&mut self, leaf: u64, state: State) {
        let mut all = self.runs.iter_mut().chain(&mut self.tombstones).chain(&mut self.rotations);
        // One that has grown since, or was let go, is another one.
        if let Some(item) = all.find(|item| item.leaf == leaf && item.state == State::Pending) {
            item.state = state;
        }
    }

    pub(super) fn start_over(&mut self) {
        self.checkpoint = None;
        for run in &mut self.runs {
            if run.state == State::Acknowledged {
                run.state = State::Pending;
            }
        }
        self.tombstones.iter_mut().chain(&mut self.rotations).for_each(|item| item.state = State::Pending);
    }
}

/// What the sink says of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    Kept,
    Rejected(&'static str),
}

/// What comes back from the sink.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Answers { to: Vec<u64>, said: Vec<Said>, checkpoint: Checkpoint, continues: bool },
    Refused { status: u16, reason: &'static str },
}

/// What the sink has on disk.
#[derive(Debug, Clone)]
pub(super) struct Sink {
    pub(super) log: Vec<u64>,
    roots: Vec<u64>,
    pub(super) enrolled: bool,
    /// Whether it knows what a tombstone is.
    pub(super) tombstones: bool,
    pub(super) most_lines: usize,
}

impl Default for Sink {
    fn default() -> Self {
        Self { log: Vec::new(), roots: vec![0], enrolled: true, tombstones: true, most_lines: 256 }
    }
}

impl Sink {
    /// Takes a batch from somebody who saw `seen` of its log.
    pub(super) fn take(&mut self, items: &[Item], seen: Option<Checkpoint>) -> Reply {
        let (size, root) = seen.unwrap_or((0, 0));
        if size > self.log.len() {
            return Reply::Refused { status: 409, reason: LOG_REWOUND };
        }
        if items.len() > self.most_lines || items.iter().any(|item| item.worth == Worth::Huge) {
            return Reply::Refused { status: 413, reason: "too_large" };
        }
        let said = items.iter().map(|item| self.line(item)).collect();
        let last = self.roots[self.log.len()];
        Reply::Answers {
            to: items.iter().map(|item| item.leaf).collect(),
            said,
            checkpoint: (self.log.len(), last),
            continues: self.roots[size] == root,
        }
    }

    /// Whether its log continues the one of this checkpoint.
    pub(super) fn continues(&self, known: Option<Checkpoint>) -> bool {
        known.is_none_or(|(size, root)| self.roots.get(size) == Some(&root))
    }

    fn line(&mut self, item: &Item) -> Said {
        if !self.enrolled || item.key.is_some_and(|rotation| !self.log.contains(&rotation)) {
            return Said::Rejected(UNKNOWN_KEY);
        }
        if item.kind == Kind::Tombstone && !self.tombstones {
            return Said::Rejected("payload_type");
        }
        if item.worth == Worth::Bad {
            return Said::Rejected("fork");
        }
        if !self.log.contains(&item.leaf) {
            self.append(item.leaf);
        }
        Said::Kept
    }

    pub(super) fn append(&mut self, leaf: u64) {
        let before = self.roots[self.log.len()];
        self.log.push(leaf);
        self.roots.push(mix(before ^ leaf.rotate_left(32)));
    }
}

/// What is to be written, and what the core has to know.
pub(super) type Judged = (Vec<(u64, State)>, Tally);

/// What the answers mean for a batch, as `log.rs` and `lines.rs` find out with signatures and proofs: what is to be written,
/// or the reason to doubt.
pub(super) fn judge(
    batch: &[Item],
    seen: Option<Checkpoint>,
    reply: (&[u64], &[Said], Checkpoint, bool),
) -> Result<Judged, &'static str> {
    let (to, said, checkpoint, continues) = reply;
    if !to.iter().eq(batch.iter().map(|item| &item.leaf)) {
        return Err("worthless");
    }
    if checkpoint.0 < seen.map_or(0, |(size, _)| size) {
        return Err("log_shrunk");
    }
    if !continues {
        return Err("not_consistent");
    }
    let (mut writes, mut tally) = (Vec::new(), Tally::default());
    for (item, said) in batch.iter().zip(said) {
        let fate = match said {
            Said::Kept => {
                writes.push((item.leaf, State::Acknowledged));
                continue;
            }
            Said::Rejected(reason) => core::refused(item.kind, true, reason),
        };
        match fate {
            Fate::Quarantine => writes.push((item.leaf, State::Quarantined)),
            Fate::KeepUnknown => tally.unknown = true,
            Fate::KeepUnread => tally.no_tombstones = true,
        }
    }
    Ok((writes, tally))
}

/// How one exchange goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    Well,
    NoWay,
    RequestLost,
    ReplyLost,
    ReplyCutShort,
    RequestLate,
    RequestTwice,
    ReplyStale,
    Busy,
    Proxy413,
    Elsewhere,
    SinkDiesBefore,
    SinkDiesAfter,
    AgentDiesBefore,
    AgentDiesAfter,
    DiskFull,
}

pub(super) const MISFORTUNES: [Luck; 15] = [
    Luck::NoWay,
    Luck::RequestLost,
    Luck::ReplyLost,
    Luck::ReplyCutShort,
    Luck::RequestLate,
    Luck::RequestTwice,
    Luck::ReplyStale,
    Luck::Busy,
    Luck::Proxy413,
    Luck::Elsewhere,
    Luck::SinkDiesBefore,
    Luck::SinkDiesAfter,
    Luck::AgentDiesBefore,
    Luck::AgentDiesAfter,
    Luck::DiskFull,
];

/// How often what the model is there for has happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) started_over: u64,
    pub(super) quarantined: u64,
    pub(super) too_large_alone: u64,
    pub(super) unknown: u64,
    pub(super) full_connections: u64,
    pub(super) cut_down: u64,
    pub(super) asked_to_wait: u64,
    pub(super) tombstones_unread: u64,
    pub(super) dictionary_unknown: u64,
    pub(super) not_to_this: u64,
    pub(super) rotations: u64,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, more: Self) {
        self.started_over += more.started_over;
        self.quarantined += more.quarantined;
        self.too_large_alone += more.too_large_alone;
        self.unknown += more.unknown;
        self.full_connections += more.full_connections;
        self.cut_down += more.cut_down;
        self.asked_to_wait += more.asked_to_wait;
        self.tombstones_unread += more.tombstones_unread;
        self.dictionary_unknown += more.dictionary_unknown;
        self.not_to_this += more.not_to_this;
        self.rotations += more.rotations;
    }
}
