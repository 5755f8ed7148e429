//! `gatepost rotate-key`: give up the key that signs for a new one, and stay the same gateway.

use anyhow::Context as _;

use super::{Outcome, Place, print};
use crate::{clock, rotate};

pub(super) fn run(mut place: Place) -> anyhow::Result<Outcome> {
    let old = place.identity.key().public().digest();
    let rotated = rotate::rotate(&mut place.spool, &place.identity, clock::now());
    let next = rotated.context("the key was not rotated; the next command puts in order what was begun")?;
    let rotation = next.ring().rotations().last().context("the rotation is not in the ring")?.rotation();
    let waits = if place.config.sink.is_some() { "; the sink is told at the next upload" } else { "" };
    print(&format!(
        "Gateway {} signs with key {} from run {} on. Key {old} is given up, and its private half is removed{waits}.\n",
        next.gateway(),
        next.key().public().digest(),
        rotation.seq
    ))?;
    Ok(Outcome::Clean)
}
