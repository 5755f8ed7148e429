//! `gatepost export`: runs of the spool with all that is needed to check them, in one file.

use std::fs::OpenOptions;
use std::io::Write as _;

use anyhow::{Context as _, ensure};
use gatepost_evidence::bundle::{Claim, Draft, Kind, Maker};
use gatepost_evidence::envelope::Envelope;
use gatepost_rules::assess::assess;
use gatepost_rules::pack::{BUILTIN_TOML, Pack};
use jiff::Timestamp;

use super::{Outcome, Place, history, print};
use crate::cli::Export;
use crate::spool::{self, Buried, Spool, SpoolError};

pub(super) fn run(place: &Place, options: &Export) -> anyhow::Result<Outcome> {
    let head = place.spool.head()?.context("there is no run yet; `gatepost audit` makes one")?.seq;
    let (from, to) = (options.from.unwrap_or(1).max(1), options.to.unwrap_or(head).min(head));
    ensure!(from <= to, "there is no run from {from} to {to}; the latest is {head}");
    let tombstones: Vec<_> =
        tombstones(&place.spool)?.into_iter().filter(|stone| stone.0 <= to && stone.1 >= from).collect();
    let covered = |seq: u64| tombstones.iter().any(|(first, last, _)| (*first..=*last).contains(&seq));
    let (pack, id) = (Pack::builtin(), place.identity.gateway());
    let mut draft = Draft::new();
    let mut missing = Vec::new();
    let (mut count, mut words) = (0_usize, Vec::new());
    for seq in from..=to {
        let run = match place.spool.get(seq) {
            Ok(Some(run)) => run,
            Ok(None) if covered(seq) => continue,
            Ok(None) => {
                missing.push(format!("run {seq} is not in the spool"));
                continue;
            }
            Err(error @ SpoolError::Unreadable { .. }) => {
                missing.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        match spool::verify(&run, place.identity.ring()) {
            Ok(verified) => {
                let (run, pack_digest) = (verified.digest(), pack.reference().digest);
                let assessment = assess(verified.run(), run, &pack).digest();
                draft.claim(seq, &Claim { run, pack: pack_digest, assessment })?;
            }
            Err(error) => missing.push(format!("run {seq} does not verify, and goes out as it is: {error}")),
        }
        draft.add(Kind::Run(seq), run.envelope);
        if let Some(word) = place.spool.acknowledgement(seq)? {
            draft.add(Kind::Receipt(seq), word.to_json());
            words.push(word);
        }
        count += 1;
    }
    for (first, last, envelope) in &tombstones {
        draft.add(Kind::Tombstone(*first, *last), envelope.to_json());
    }
    for (added, envelope) in place.identity.ring().rotations().iter().zip(place.identity.rotations()) {
        draft.add(Kind::Rotation(added.rotation().seq), envelope.to_json());
    }
    draft.key(Kind::GatewayKey, place.identity.ring().first());
    if let Some(enrolment) = place.spool.enrolment()? {
        draft.key(Kind::SinkKey, &enrolment.sink_key);
        for (sizes, link) in history::links(&place.spool.checkpoints()?, &words, &enrolment.sink_key) {
            draft.link(sizes, &link)?;
        }
    }
    draft.add(Kind::Pack(pack.reference().digest), BUILTIN_TOML);
    let bundle = draft.write(id, Maker::Agent, Timestamp::now(), place.identity.key())?;
    let path = options.output.display();
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&options.output)?;
        file.write_all(&bundle).and_then(|()| file.sync_all())
    };
    write().with_context(|| format!("cannot write {path}"))?;
    for what in &missing {
        anstream::eprintln!("gatepost: {}", crate::report::clean_lines(what));
    }
    print(&format!("{count} runs of gateway {id} are in {path} ({} bytes)\n", bundle.len()))?;
    Ok(if missing.is_empty() { Outcome::Clean } else { Outcome::Findings })
}

/// The tombstones of the spool, each with its first and last place.
fn tombstones(spool: &Spool) -> anyhow::Result<Vec<(u64, u64, Envelope)>> {
    let parse = |buried: Buried| {
        let envelope = Envelope::parse(buried.envelope.as_bytes())
            .with_context(|| format!("the tombstone of runs {} to {}", buried.from_seq, buried.to_seq))?;
        Ok((buried.from_seq, buried.to_seq, envelope))
    };
    spool.tombstones()?.into_iter().map(parse).collect()
}
