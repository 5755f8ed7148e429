//! How things are measured here: whole processes, rates, and what several rounds of a measurement have in common.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};

/// What a whole process took.
#[derive(Clone, Copy)]
pub struct Took {
    /// Seconds by the clock.
    pub wall: f64,
    /// Seconds of a core.
    pub cpu: f64,
    /// Peak of resident memory.
    pub mebibytes: f64,
}

/// Runs the command as the only child of this process, whose resource usage is then the command's alone.
pub fn measure_child(words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command")?;
    let began = Instant::now();
    Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    let wall = began.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!("{wall} {cpu} {}", usage.max_rss() as f64 / 1024.0);
    Ok(())
}

/// Runs a command in a process of this program's own, which measures it.
pub fn measure(words: &[String]) -> Result<Took> {
    let output = Command::new(std::env::current_exe()?).arg("--").args(words).output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let [wall, cpu, mebibytes] = numbers.as_slice() else {
        anyhow::bail!("{words:?} was not measured: {}", String::from_utf8_lossy(&output.stderr))
    };
    Ok(Took { wall: *wall, cpu: *cpu, mebibytes: *mebibytes })
}

/// What several rounds of one measurement gave.
#[derive(Debug, Clone)]
pub struct Spread(Vec<f64>);

impl Spread {
    /// From at least one round.
    pub fn new(mut rounds: Vec<f64>) -> Result<Self> {
        ensure!(!rounds.is_empty(), "nothing was measured");
        rounds.sort_by(f64::total_cmp);
        Ok(Self(rounds))
    }

    /// The middle one.
    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// Each round's ratio to the same round of another measurement; the rounds in the order in which they were made.
    pub fn of_ratios(above: &[f64], below: &[f64]) -> Result<Self> {
        Self::new(above.iter().zip(below).map(|(above, below)| above / below).collect())
    }

    /// Minimum, median, maximum, with so many digits behind the point.
    pub fn show(&self, digits: usize) -> String {
        let (least, most) = (self.0.first().copied().unwrap_or(0.0), self.0.last().copied().unwrap_or(0.0));
        format!("{least:.digits$} / {:.digits$} / {most:.digits$}", self.median())
    }
}

/// The middle of some numbers.
pub fn median(numbers: Vec<f64>) -> f64 {
    Spread::new(numbers).map_or(f64::NAN, |spread| spread.median())
}

/// How often something can be done in a second, over at least `for_` of doing it.
pub fn rate(for_: Duration, mut once: impl FnMut() -> Result<()>) -> Result<f64> {
    once()?;
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < for_ {
        once()?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}

/// How many a second, for something that is done `count` times.
pub fn per_second(count: usize, all: impl FnOnce() -> Result<()>) -> Result<f64> {
    let began = Instant::now();
    all()?;
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// Bytes that this process gave to the disk so far: whole blocks, without those thrown away before they got there (proc(5)).
pub fn disk_bytes() -> Result<u64> {
    let io = std::fs::read_to_string("/proc/self/io")?;
    let field = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let written = field("write_bytes:").context("/proc/self/io has no write_bytes")?;
    Ok(written - field("cancelled_write_bytes:").unwrap_or(0))
}
