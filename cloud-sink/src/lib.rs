//! The sink: takes signed runs, keeps them, judges them, and says what changed.
//!
//! Guarantees: a run is on disk before its receipt is sent; nothing is believed that was not verified with an enrolled
//! key; what is refused is kept with its reason. No command ever travels from here to a gateway.

pub mod account;
pub mod api;
pub mod app;
pub mod auth;
mod bound;
pub mod cli;
pub mod directory;
pub mod enrol;
pub mod error;
mod export;
pub mod ingest;
pub mod judge;
pub mod log;
pub mod places;
pub mod problem;
pub mod random;
pub mod routes;
pub mod serve;
pub mod shared_keys;
pub mod store;
pub mod timeline;
pub mod tls;
pub mod view;
pub mod weak_keys;
pub mod web;
pub mod worker;
