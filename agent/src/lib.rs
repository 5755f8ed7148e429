//! The agent: looks at the path that carries a gateway's telemetry, signs what it saw, keeps it and hands it on.
//!
//! Data flows one way: configuration -> probes -> records -> signed run -> spool -> upload. Judging happens after the run
//! is durable, by the same rules as in the sink.

// Unit tests and the tests in `agent/tests` share helpers that name this crate from outside.
#[cfg(test)]
extern crate self as gatepost;

pub mod bundle;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
mod daemon;
pub mod files;
pub mod http;
pub mod identity;
pub mod probe;
pub mod report;
pub mod rotate;
pub mod runner;
pub mod secret;
pub mod snapshot;
pub mod spool;
pub mod upload;
