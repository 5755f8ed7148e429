//! The packs inside, and that each verdict comes out again when its run is judged by them.
//!
//! Guarantees: a pack is only used under the identity that it has; a verdict only holds when its digest is the very same.

use std::collections::BTreeMap;

use gatepost_evidence::bundle::{Claim, Kind};
use gatepost_evidence::id::Digest;

use super::{Part, Replay, Runs, Wrong, canonical_json, counted};
use crate::assess::assess;
use crate::pack::Pack;

impl Replay<'_> {
    pub(super) fn packs(&mut self) -> BTreeMap<Digest, Pack> {
        let part = Part::Packs;
        let mut packs = BTreeMap::new();
        for (digest, (path, content)) in
            self.of_kind(|kind| if let Kind::Pack(pack) = kind { Some(pack) } else { None })
        {
            let text = String::from_utf8(content).map_err(|error| ("bad_pack", error.to_string()));
            let parsed = text.and_then(|text| Pack::parse(&text).map_err(|error| ("bad_pack", error.to_string())));
            match parsed {
                Ok(pack) if pack.reference().digest == digest => {
                    let reference = pack.reference();
                    self.holds(part, format!("{} {}, {digest}", reference.name, reference.version));
                    packs.insert(digest, pack);
                }
                Ok(pack) => self.broken(part, path, ("wrong_pack", format!("it is {}", pack.reference().digest))),
                Err(wrong) => self.broken(part, path, wrong),
            }
        }
        packs
    }

    pub(super) fn verdicts(&mut self, runs: &Runs, packs: &BTreeMap<Digest, Pack>) {
        let part = Part::Verdicts;
        let mut count = 0;
        let of = |kind| if let Kind::Claim(seq, pack) = kind { Some((seq, pack)) } else { None };
        for ((seq, digest), (path, content)) in self.of_kind(of) {
            let check = || -> Result<(), Wrong> {
                let claim: Claim = canonical_json(&content).map_err(|why| ("malformed", why))?;
                let run = runs.get(&seq).ok_or_else(|| ("no_run", format!("run {seq} is not in the bundle")))?;
                if (claim.run, claim.pack) != (run.digest(), digest) {
                    return Err(("other_run", "it names another run or pack than its file's name".into()));
                }
                let pack =
                    packs.get(&digest).ok_or_else(|| ("missing_pack", "its pack is not in the bundle".to_owned()))?;
                let found = assess(run.run(), run.digest(), pack).digest();
                let why = || format!("judged again it comes out as {found}, not as {}", claim.assessment);
                if found == claim.assessment { Ok(()) } else { Err(("other_verdict", why())) }
            };
            match check() {
                Ok(()) => count += 1,
                Err(wrong) => self.broken(part, path, wrong),
            }
        }
        if count == 0 && self.sound(part) {
            self.not_checked(part, "the bundle claims no verdict");
        } else if self.sound(part) {
            self.holds(part, format!("{} came out the same when judged again", counted(count, "verdict")));
        }
    }
}
