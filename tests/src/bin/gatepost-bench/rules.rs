//! How fast runs are judged beside merely parsing them.

use std::time::Duration;

use anyhow::Result;
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::key::SigningKey;
use gatepost_evidence::run::{PAYLOAD_TYPE, Run, Statement};
use gatepost_rules::assess::assess;
use gatepost_rules::pack::Pack;

use crate::measure::rate;

/// Judging beside parsing the same run from its JSON.
pub fn rules(sample: &Run) -> Result<()> {
    let pack = Pack::builtin();
    let key = SigningKey::from_seed(&[9; 32])?;
    let mut run = sample.clone();
    (run.gateway.id, run.seq, run.prev) = (key.public().id(), 1, None);
    let signed = run.sign(&key)?;
    let payload = Envelope::parse(signed.envelope.as_bytes())?.open(PAYLOAD_TYPE, key.public())?;
    let mut rows = 0;
    let judged = rate(Duration::from_secs(2), || {
        rows = assess(&run, signed.digest, &pack).rows.len();
        Ok(())
    })?;
    let parsed = rate(Duration::from_secs(2), || {
        serde_json::from_slice::<Statement>(&payload)?;
        Ok(())
    })?;
    println!("\nrules {} {}, {rows} rows a run, one core", pack.reference().name, pack.reference().version);
    println!("  assessments         {judged:>9.0} /s");
    println!("  parsing alone       {parsed:>9.0} /s   assessments beside it {:.2}", judged / parsed);
    Ok(())
}
