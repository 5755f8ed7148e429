//! How fast `gatepost verify`'s replay checks the runs of a bundle, beside their signatures alone.

use std::time::Duration;

use anyhow::{Result, ensure};
use gatepost_evidence::archive;
use gatepost_evidence::bundle::{Claim, Draft, Kind, Maker};
use gatepost_evidence::envelope::{Envelope, pre_authentication_encoding};
use gatepost_evidence::run::{PAYLOAD_TYPE, Run};
use gatepost_evidence::verify::VerifiedRun;
use gatepost_rules::assess::assess;
use gatepost_rules::pack::{BUILTIN_TOML, Pack};
use gatepost_rules::replay::{Trust, replay};

use crate::chain;
use crate::measure::{Spread, per_second, rate};

/// Runs in the bundle: three days, one an hour.
const RUNS: u64 = 72;

/// Replays a bundle of the gateway, with and without verdicts.
pub fn verify(sample: &Run, rounds: usize) -> Result<()> {
    let key = chain::key(0)?;
    let signed = chain::runs(sample, &key, RUNS)?;
    let pack = Pack::builtin();
    let (mut plain, mut judged) = (Draft::new(), Draft::new());
    judged.add(Kind::Pack(pack.reference().digest), BUILTIN_TOML);
    for draft in [&mut plain, &mut judged] {
        draft.key(Kind::GatewayKey, key.public());
    }
    for (seq, run) in (1..).zip(&signed) {
        for draft in [&mut plain, &mut judged] {
            draft.add(Kind::Run(seq), run.envelope.clone());
        }
        let opened = VerifiedRun::open(&Envelope::parse(run.envelope.as_bytes())?, key.public())?;
        let assessment = assess(opened.run(), run.digest, &pack).digest();
        judged.claim(seq, &Claim { run: run.digest, pack: pack.reference().digest, assessment })?;
    }
    let write = |draft: &Draft| draft.write(key.public().id(), Maker::Agent, sample.finished_at, &key);
    let bundles = [write(&plain)?, write(&judged)?];
    let trust = Trust { gateway: Some(key.public().id()), sink: None };
    let envelope = Envelope::parse(signed[0].envelope.as_bytes())?;
    let payload = envelope.open(PAYLOAD_TYPE, key.public())?;
    let message = pre_authentication_encoding(PAYLOAD_TYPE, &payload);
    let signature = key.sign(&message);
    let (mut rates, mut raw) = ([Vec::new(), Vec::new()], Vec::new());
    for _ in 0..rounds {
        for (bundle, rates) in bundles.iter().zip(&mut rates) {
            rates.push(per_second(signed.len(), || {
                ensure!(replay(&archive::read(bundle)?, &trust).holds, "the bundle does not hold");
                Ok(())
            })?);
        }
        raw.push(rate(Duration::from_millis(500), || {
            ensure!(key.public().verifies(&message, &signature), "the signature does not verify");
            Ok(())
        })?);
    }
    let [plain, judged] = rates;
    println!("\nverifier, a bundle of {RUNS} runs, {rounds} rounds, one core; minimum / median / maximum");
    println!("  Ed25519 of the same payloads alone  {} runs/s", Spread::new(raw.clone())?.show(0));
    for (name, rates) in [("without verdicts ", plain), ("with all verdicts", judged)] {
        let ratio = Spread::of_ratios(&rates, &raw)?.show(3);
        println!("  {name}                   {} runs/s   beside it {ratio}", Spread::new(rates)?.show(0));
    }
    Ok(())
}
