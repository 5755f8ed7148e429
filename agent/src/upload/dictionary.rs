//! Which run of those that the sink has an upload is compressed against.
//!
//! A run in which nothing changed is then little more than its signature. The dictionary is a guess at what saves most, never
//! a condition: without one, or with one that the sink turns out not to have, the same runs go for themselves.

use gatepost_evidence::parts::Parts;
use gatepost_evidence::run::Statement;

use super::lines::Line;
use crate::spool::Spool;

/// How many of the latest runs that the sink has are looked at, to find one of the same bundle.
const LOOKED_AT: u32 = 8;

/// The payload that `lines` are to be compressed against: the newest that the sink has of the bundle of the first run among
/// them, or else the newest it has. None when there is none that can be read.
pub(super) fn choose(spool: &Spool, lines: &[Line]) -> Option<Vec<u8>> {
    let wanted = lines.iter().find_map(|line| bundle(&Parts::of(&line.envelope)?.payload));
    let mut newest = None;
    for seq in spool.acknowledged(LOOKED_AT).ok()? {
        let Some(parts) = spool.get(seq).ok().flatten().and_then(|run| Parts::of(&run.envelope)) else { continue };
        if bundle(&parts.payload) == wanted {
            return Some(parts.payload);
        }
        newest = newest.or(Some(parts.payload));
    }
    newest
}

/// The bundle of a run, as its payload says.
fn bundle(payload: &[u8]) -> Option<String> {
    serde_json::from_slice::<Statement>(payload).ok().map(|statement| statement.predicate.bundle.name)
}
