//! Another gateway at the same sink: nothing befalls it itself, but it goes by what the sink says, too, and its leaves stand
//! between those of the first.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use gatepost_evidence::id::Digest;
use serde_json::Value;

use super::PATIENCE;
use super::field::{AUDIT, DRAINS, words};
use super::template::Places;
use crate::agent::{Finished, run};
use crate::process::{built, command};

/// The gateway.
pub(super) struct Neighbour {
    agent: PathBuf,
    configuration: PathBuf,
    /// Its runs that were reported as done.
    pub(super) reported: BTreeMap<u64, Digest>,
}

impl Neighbour {
    pub(super) fn new(places: &Places) -> Result<Self> {
        let configuration = places.neighbour.clone();
        Ok(Self { agent: built("gatepost")?, configuration, reported: BTreeMap::new() })
    }

    fn command(&self, arguments: &[&str]) -> Result<Finished> {
        let mut agent = command(&self.agent);
        agent.args(arguments).arg("--config").arg(&self.configuration);
        run(agent, PATIENCE)
    }

    pub(super) fn audit_and_upload(&mut self) -> Result<String> {
        let audit = self.command(&AUDIT)?;
        let report: Value = serde_json::from_str(&audit.stdout).with_context(|| words(&audit))?;
        let seq = report["run"]["seq"].as_u64().context("a report without a place")?;
        let digest = report["run"]["digest"].as_str().context("a report without a digest")?.parse()?;
        ensure!(self.reported.insert(seq, digest).is_none(), "place {seq} was reported twice by the neighbour");
        Ok(format!("{}; then: {}", words(&audit), words(&self.command(&["upload"])?)))
    }

    /// Hands over what it has, if it has done anything at all; that a sink lost what it has already is only found out with
    /// something new to hand over.
    pub(super) fn heal(&mut self) -> Result<()> {
        if self.reported.is_empty() {
            return Ok(());
        }
        self.audit_and_upload()?;
        for _ in 0..DRAINS {
            if self.command(&["upload"])?.code == Some(0) {
                return Ok(());
            }
        }
        bail!("the neighbour does not hand over what it has in {DRAINS} uploads")
    }

    /// What it says of itself.
    pub(super) fn status(&self) -> Result<Value> {
        self.command(&["status", "--format", "json"])?.expect_code(0)?.json()
    }
}
