//! The contract between the agent, the sink, a rule author and an auditor.
//!
//! Everything two programs must agree on lives here and nothing else does: identifiers, what a run looks like, how it
//! is signed and chained, what each check observes, and the facts that follow from an observation.
//!
//! Guarantees: no input or output, no clock, no randomness. The same bytes give the same facts on any machine, in any
//! year. Time enters only as a run's own `observed_at`.

pub mod archive;
pub mod batch;
pub mod bound;
pub mod bundle;
pub mod canonical;
pub mod certificate;
pub mod chain;
pub mod challenge;
pub mod check;
pub mod checkpoint;
pub mod envelope;
pub mod id;
pub mod key;
pub mod log;
pub mod look;
pub mod note;
pub mod parts;
pub mod receipt;
pub mod rotation;
pub mod run;
pub mod schema;
pub mod signature;
pub mod tombstone;
pub mod verify;
pub mod wire;
