//! Conservation, the flagship: whatever befalls agent, sink, network, disks and clocks, once it has passed every run that was
//! reported as done is at the sink exactly once or has a signed tombstone, and nothing else is there.
//!
//! `GATEPOST_SEED=1234` goes through one schedule, `GATEPOST_SEEDS=5000` through so many, from `GATEPOST_FIRST_SEED` on. What
//! fails, and what is asked for alone, is printed as a readable list with what came of each step, and with the command that does
//! it again.

use std::io::Write as _;
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gatepost_tests::chaos::{self, Allowed, Tally, Template};

/// How many seeds go by default.
const SEEDS: u64 = 200;
/// How many failures are shown.
const SHOWN: usize = 3;
/// How often progress is told.
const EVERY: Duration = Duration::from_secs(5);

fn number(name: &str) -> Result<Option<u64>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.map(Some).with_context(|| format!("{name} is not a whole number"))
}

/// Written past the test harness, which keeps what is printed until the end.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

#[test]
fn nothing_is_lost_doubled_or_invented() -> Result<()> {
    let one = number("GATEPOST_SEED")?;
    let first = one.unwrap_or(number("GATEPOST_FIRST_SEED")?.unwrap_or(1));
    let count = if one.is_some() { 1 } else { number("GATEPOST_SEEDS")?.unwrap_or(SEEDS) };
    let template = Template::make()?;
    let (next, failed, over) = (AtomicU64::new(0), Mutex::new(Vec::new()), AtomicBool::new(false));
    let (tally, done) = (Mutex::new(Tally::default()), AtomicU64::new(0));
    let began = Instant::now();
    let told = Mutex::new(began);
    let work = || {
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            let seed = first + number;
            match chaos::run(&template, seed, Allowed::ALL) {
                Ok((came, story)) => {
                    *tally.lock().unwrap() += came;
                    if one.is_some() {
                        say(&story);
                    }
                }
                Err(error) => {
                    // With the programs that it failed with.
                    let release = if cfg!(debug_assertions) { "" } else { "--release " };
                    say(&format!(
                        "seed {seed} does not hold: {error:#}\n\nagain: GATEPOST_SEED={seed} cargo test {release}-p \
                         gatepost-tests --test conservation\n"
                    ));
                    let mut failed = failed.lock().unwrap();
                    failed.push(seed);
                    over.store(failed.len() >= SHOWN, Ordering::Relaxed);
                }
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            let mut told = told.lock().unwrap();
            if told.elapsed() >= EVERY {
                *told = Instant::now();
                say(&format!("conservation: {done} of {count} seeds in {:.0} s", began.elapsed().as_secs_f32()));
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(2, NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(usize::try_from(count)?) {
            scope.spawn(work);
        }
        anyhow::Ok(())
    })?;
    say(&format!("conservation: {count} seeds in {:.0} s: {:?}", began.elapsed().as_secs_f32(), tally.lock().unwrap()));
    let failed = failed.into_inner()?;
    ensure!(failed.is_empty(), "seeds that do not hold: {failed:?}");
    Ok(())
}
