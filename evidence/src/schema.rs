//! The JSON Schemas (draft 2020-12) of everything that crosses a boundary, generated from the Rust types.
//!
//! They are checked in under `evidence/schemas/`; a test compares, and rewrites them when `GATEPOST_BLESS=1` is set.

use std::collections::BTreeMap;

use schemars::{Schema, SchemaGenerator};

use crate::bundle::{Claim, Manifest};
use crate::check::CHECKS;
use crate::checkpoint::{LogLink, LogProof};
use crate::envelope::Envelope;
use crate::receipt::{Acknowledgement, Receipt};
use crate::rotation::Rotation;
use crate::run::Statement;
use crate::tombstone::Tombstone;
use crate::wire::{Answers, Enrolled, Enrolment, LogConsistency, Problem};

/// Every schema by file name.
#[must_use]
pub fn all() -> BTreeMap<String, Schema> {
    let generate = SchemaGenerator::default;
    let mut schemas = BTreeMap::from([
        ("envelope.json".to_owned(), generate().into_root_schema_for::<Envelope>()),
        ("statement.json".to_owned(), generate().into_root_schema_for::<Statement>()),
        ("receipt.json".to_owned(), generate().into_root_schema_for::<Receipt>()),
        ("acknowledgement.json".to_owned(), generate().into_root_schema_for::<Acknowledgement>()),
        ("tombstone.json".to_owned(), generate().into_root_schema_for::<Tombstone>()),
        ("key_rotation.json".to_owned(), generate().into_root_schema_for::<Rotation>()),
        ("enrolment.json".to_owned(), generate().into_root_schema_for::<Enrolment>()),
        ("enrolled.json".to_owned(), generate().into_root_schema_for::<Enrolled>()),
        ("answers.json".to_owned(), generate().into_root_schema_for::<Answers>()),
        ("log_proof.json".to_owned(), generate().into_root_schema_for::<LogProof>()),
        ("log_link.json".to_owned(), generate().into_root_schema_for::<LogLink>()),
        ("log_consistency.json".to_owned(), generate().into_root_schema_for::<LogConsistency>()),
        ("bundle_manifest.json".to_owned(), generate().into_root_schema_for::<Manifest>()),
        ("bundle_claim.json".to_owned(), generate().into_root_schema_for::<Claim>()),
        ("problem.json".to_owned(), generate().into_root_schema_for::<Problem>()),
    ]);
    for check in CHECKS {
        schemas.insert(format!("{}.observation.json", check.id), (check.observation_schema)());
        schemas.insert(format!("{}.facts.json", check.id), (check.facts_schema)());
    }
    schemas
}
