//! Rule packs: TOML in, checked and compiled controls out.
//!
//! A pack that lacks vectors, names a fact its check's contract does not have, or fails its own vectors does not load, and
//! every mistake in it is reported at once. Its identity is the SHA-256 of its canonical form.

use std::collections::BTreeMap;

use gatepost_evidence::id::Digest;
use gatepost_evidence::run::TargetKind;
use serde::{Deserialize, Serialize};

/// A pack by name, version and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackRef {
    /// Such as `gateway-baseline`.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// SHA-256 of its canonical form.
    pub digest: Digest,
}

/// How bad it is when a control fails. Ordered: `Low < Medium < High < Critical`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// To be planned.
    Medium,
    /// To be fixed before anything else is built on it.
    High,
    /// To be fixed now.
    Critical,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// A pack that loaded.
#[derive(Debug)]
pub struct Pack {
    reference: PackRef,
    controls: Vec<Control>,
}

/// One control of a pack.
#[derive(Debug)]
pub struct Control {
    /// `<check>.<finding>`.
    pub key: String,
    /// What it demands, in a line.
    pub title: String,
    /// How bad it is when it fails.
    pub severity: Severity,
    /// The part of the path it belongs to, such as `broker`.
    pub domain: String,
    /// The check whose facts it reads.
    pub check: String,
    /// The sort of target it speaks of.
    pub target: TargetKind,
    /// Why it matters.
    pub why: String,
    /// What to do about it.
    pub remediation: String,
    /// How to see that it was done.
    pub verify: String,
    /// By standard: the provisions it supports.
    pub mappings: BTreeMap<String, Vec<String>>,
}

impl Pack {
    /// The pack this version ships with.
    ///
    /// # Panics
    /// Never: a test loads it.
    #[must_use]
    pub fn builtin() -> Self {
        unreachable!("not written yet")
    }

    /// Name, version and digest.
    #[must_use]
    pub fn reference(&self) -> &PackRef {
        &self.reference
    }

    /// Its controls, in the order of the file.
    #[must_use]
    pub fn controls(&self) -> &[Control] {
        &self.controls
    }

    /// The control with this key.
    #[must_use]
    pub fn control(&self, key: &str) -> Option<&Control> {
        self.controls.iter().find(|control| control.key == key)
    }
}
