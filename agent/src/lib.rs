//! The agent: looks at the path that carries a gateway's telemetry, signs what it saw, keeps it and hands it on.
//!
//! Data flows one way: configuration -> probes -> records -> signed run -> spool -> upload. Judging happens after the run
//! is durable, by the same rules as in the sink.

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
pub mod runner;
pub mod secret;
pub mod spool;
pub mod upload;
