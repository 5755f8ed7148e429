//! How fast the spool takes runs beside raw `fdatasync` of the same bytes, and how many bytes it writes for them.

use std::fs::File;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::Result;
use gatepost::spool::{Bounds, Keeping, Spool};
use gatepost_evidence::run::{Run, SignedRun};
use gatepost_tests::lab::Lab;

use crate::chain;
use crate::measure::{Spread, disk_bytes, per_second};

/// Runs in a round: more than a round of SQLite's log.
const RUNS: u64 = 300;

/// Appends a chain of runs in which nothing changed, each durable before the next.
pub fn spool(lab: &Lab, sample: &Run, rounds: usize) -> Result<()> {
    let key = chain::key(0)?;
    let signed = chain::runs(sample, &key, RUNS)?;
    let compress = |run: &SignedRun| zstd::bulk::compress(run.envelope.as_bytes(), 3).map(|bytes| bytes.len());
    let compressed = signed.iter().map(compress).sum::<Result<usize, _>>()?;
    let (mut appended, mut synced, mut once, mut each) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let folder = lab.folder().join(format!("spool-{round}"));
        let open = |name: &str| {
            let folder = folder.join(name);
            std::fs::create_dir_all(&folder)?;
            anyhow::Ok(Spool::open_keeping(
                &folder,
                Keeping { identity: Arc::new(chain::key(0)?.into()), bounds: Bounds::default() },
            )?)
        };
        // One process for all of them, as `gatepost run`.
        let mut spool = open("once")?;
        let before = disk_bytes()?;
        appended.push(per_second(signed.len(), || {
            signed.iter().try_for_each(|run| spool.append(|_| anyhow::Ok(run.clone())).map(drop).map_err(Into::into))
        })?);
        drop(spool);
        once.push((disk_bytes()? - before) as f64 / compressed as f64);
        // The same bytes, plainly.
        let mut file = File::create(folder.join("plain"))?;
        synced.push(per_second(signed.len(), || {
            signed.iter().try_for_each(|run| {
                file.write_all(run.envelope.as_bytes())?;
                Ok(file.sync_data()?)
            })
        })?);
        // One process for each, as `gatepost audit`: what is still in the log is put into its place each time.
        drop(open("each")?);
        let before = disk_bytes()?;
        for run in &signed {
            open("each")?.append(|_| anyhow::Ok(run.clone()))?;
        }
        each.push((disk_bytes()? - before) as f64 / compressed as f64);
        std::fs::remove_dir_all(&folder)?;
    }
    let (length, packed) = (signed[0].envelope.len(), compressed as u64 / RUNS);
    println!("\nspool, {rounds} rounds of {RUNS} unchanged runs; envelopes of {length} bytes, {packed} compressed");
    println!("minimum / median / maximum");
    let ratio = Spread::of_ratios(&appended, &synced)?.show(2);
    println!("  durable appends              {} /s", Spread::new(appended)?.show(0));
    println!("  write and fdatasync alone    {} /s", Spread::new(synced)?.show(0));
    println!("  ratio                        {ratio}");
    println!("  disk bytes (4 KiB blocks) per byte of compressed evidence");
    println!("    one process for all runs   {}", Spread::new(once)?.show(2));
    println!("    one process for each run   {}", Spread::new(each)?.show(2));
    Ok(())
}
