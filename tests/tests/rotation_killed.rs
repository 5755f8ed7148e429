//! A key rotation that is cut short by SIGKILL, at every write, sync and rename in turn, of the agent and of the sink: it is
//! then finished or undone by itself, and no run is lost, doubled or signed by two keys.
//!
//! Every schedule ends as those of conservation do (`gatepost_tests::chaos`): all is well again, the agent hands over what it
//! has, and the oracle looks at both sides.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail, ensure};
use gatepost_tests::chaos::fault::Fault;
use gatepost_tests::chaos::schedule::{Schedule, SpoolKind, Step};
use gatepost_tests::chaos::{Template, follow};

/// No program comes to so many operations on the disk in what is done here.
const FAR: u64 = 400;

/// Goes through `steps` with a kill at the first operation, the second and so on, until the program ends before it is met.
/// Gives how many there were.
fn at_every_operation(steps: impl Fn(Fault) -> Vec<Step> + Sync) -> Result<u64> {
    let template = Template::make()?;
    let (next, end) = (AtomicU64::new(1), AtomicU64::new(FAR));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= end.load(Ordering::SeqCst) {
                return Ok(());
            }
            // Half a write is another thing to wake up to than none.
            for fault in [Fault::Kill(at), Fault::KillTorn(at)] {
                let schedule = Schedule { seed: at, spool: SpoolKind::Roomy, steps: steps(fault) };
                let (tally, _) = follow(&template, &schedule).inspect_err(|_| end.store(0, Ordering::SeqCst))?;
                if tally.faults == 0 {
                    end.fetch_min(at, Ordering::SeqCst);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let both = [scope.spawn(work), scope.spawn(work)];
        both.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })?;
    let met = end.into_inner().saturating_sub(1);
    println!("killed at each of {met} operations");
    Ok(met)
}

const SOUND: Fault = Fault::None;

#[test]
fn a_rotation_killed_at_any_operation_is_finished_or_undone() -> Result<()> {
    let audit = || Step::Audit(0, SOUND);
    let met = at_every_operation(|fault| {
        vec![audit(), Step::Upload(vec![], SOUND), audit(), Step::Rotate(fault), audit(), Step::Upload(vec![], SOUND)]
    })?;
    ensure!(met > 10, "a rotation has more operations than {met}");
    Ok(())
}

#[test]
fn an_upload_killed_at_any_operation_hands_over_the_rotation_and_what_follows() -> Result<()> {
    let audit = || Step::Audit(0, SOUND);
    let met = at_every_operation(|fault| {
        vec![audit(), Step::Rotate(SOUND), audit(), Step::Upload(vec![], fault), Step::Rotate(SOUND), audit()]
    })?;
    ensure!(met > 10, "an upload has more operations than {met}");
    Ok(())
}

#[test]
fn a_sink_killed_at_any_operation_of_taking_a_rotation_takes_it_in_the_end() -> Result<()> {
    let audit = || Step::Audit(0, SOUND);
    let met = at_every_operation(|fault| {
        let upload = Step::Upload(vec![], SOUND);
        vec![audit(), upload.clone(), Step::Rotate(SOUND), audit(), Step::SinkDisk(fault), upload, Step::StartSink]
    })?;
    ensure!(met > 10, "taking a rotation has more operations than {met}");
    Ok(())
}
