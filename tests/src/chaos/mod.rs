//! Conservation under chaos: a gateway, another one, and a sink, all of them the real programs, on a bad network and bad disks, with clocks
//! that jump, until everything heals; then nothing may be missing, doubled or invented.
//!
//! A [`Schedule`] is a pure function of a seed and can be read as a list; a [`Field`] goes through it; [`oracle`] judges what
//! is left. Faults come from two places: a proxy between agent and sink that knows HTTP ([`proxy`]), and a library that
//! stands between each program and its disk and clock ([`fault`]). Nothing waits for a guessed time.
//!
//! A power cut is another test's (`agent/tests/spool_faults.rs`): here the disk keeps what was written, synced or not.

pub mod fate;
pub mod fault;
pub mod field;
mod neighbour;
pub mod oracle;
pub mod proxy;
pub mod random;
pub mod schedule;
mod sink;
pub mod template;

use std::time::Duration;

use anyhow::Result;

pub use field::Field;
pub use schedule::{Allowed, Schedule};
pub use template::Template;

/// How long a program may take for what it was told; long, because seeds go side by side on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of a seed that held, for the summary.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that were reported as done.
    pub reported: usize,
    /// Runs that the sink has.
    pub arrived: usize,
    /// Places that a tombstone stands for.
    pub buried: usize,
    /// Faults that were met: a program killed or a disk that failed.
    pub faults: usize,
    /// Exchanges between agent and sink that the network spoiled.
    pub spoiled: usize,
    /// Times that the sink was found to have broken its log.
    pub disputes: usize,
    /// Key rotations that were reported as done.
    pub rotated: usize,
    /// Runs of the other gateway, all of which arrived.
    pub neighbours: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.reported += other.reported;
        self.arrived += other.arrived;
        self.buried += other.buried;
        self.faults += other.faults;
        self.spoiled += other.spoiled;
        self.disputes += other.disputes;
        self.rotated += other.rotated;
        self.neighbours += other.neighbours;
    }
}

/// Goes through the schedule of `seed`, heals, drains and judges; gives the schedule with what each step came to.
///
/// # Errors
/// What does not hold, with the same.
pub fn run(template: &Template, seed: u64, allowed: Allowed) -> Result<(Tally, String)> {
    follow(template, &Schedule::of(seed, allowed))
}

/// The same with any schedule.
///
/// # Errors
/// What does not hold, with the same.
pub fn follow(template: &Template, schedule: &Schedule) -> Result<(Tally, String)> {
    let mut field = Field::set_up(template, schedule)?;
    let judged = field.go_through(schedule).and_then(|()| field.heal()).and_then(|()| oracle::judge(&mut field));
    let story = format!("{schedule}\nwhat came of it:\n{}", field.story());
    match judged {
        Ok(tally) => Ok((tally, story)),
        Err(error) => Err(anyhow::anyhow!("{error:#}\n\n{story}")),
    }
}
