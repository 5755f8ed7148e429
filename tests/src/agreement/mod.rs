//! Whether the probe and scanners that others wrote see the same of the same servers.
//!
//! Each scanner's words become [`Facts`] of one shape; [`Table`] holds them side by side. A fact that two of them tell
//! differently is a disagreement, and has to be mended or stand in [`explained`](table::explained) with the evidence of who
//! is right. What a scanner does not tell is no disagreement.

pub mod certificates;
pub mod host;
pub mod scanners;
pub mod servers;
pub mod table;
pub mod weakened;

use std::collections::{BTreeMap, BTreeSet};

/// One fact as one scanner tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Yes or no.
    Is(bool),
    /// A number.
    Number(u32),
    /// Code points, four hexadecimal digits each.
    Set(BTreeSet<String>),
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Is(true) => f.write_str("yes"),
            Self::Is(false) => f.write_str("no"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Set(codes) => write!(f, "{}", codes.len()),
        }
    }
}

/// What one scanner tells of one server, by the name of the fact.
pub type Facts = BTreeMap<String, Told>;
