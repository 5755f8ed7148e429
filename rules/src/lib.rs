//! Rule packs and pure judgement: from verified runs to outcomes, findings, deltas and a backlog.
//!
//! Guarantees: no input or output, no clock. The same run under the same pack gives the same assessment, byte for byte,
//! on the gateway, in the sink and on an auditor's machine.

pub mod assess;
pub mod backlog;
pub mod compare;
#[cfg(test)]
mod corpus;
pub mod decision;
mod document;
mod drift;
mod expression;
mod judge;
mod load;
mod mistakes;
mod names;
pub mod pack;
pub mod replay;
pub mod report;
#[cfg(test)]
mod samples;
mod shape;
mod standards;
mod tables;
