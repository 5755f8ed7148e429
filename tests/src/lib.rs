//! The lab: a field set-up on loopback, and the means to run the real programs against it.
//!
//! A [`Lab`] is a gateway site in one temporary folder: a real Mosquitto, a gateway service that carries telemetry from
//! the broker to an ingest edge, that ingest edge, and three devices that present certificates over TLS. It has two
//! states, *exposed* and *hardened*, switched while everything runs. [`Agent`] and [`Sink`] run the built binaries.
//!
//! Guarantees: loopback only; no port is chosen by a person and none can be lost to somebody else (see [`port`]);
//! nothing waits by sleeping for a guessed time; everything ends with its owner, be it by drop, by panic or because the
//! test process was killed. Nothing in here may reach beyond loopback or leave files outside the folder.
//!
//! Everything blocks; none of it may be called from inside an asynchronous task.

pub mod agent;
pub mod agreement;
pub mod broker;
pub mod brokers;
pub mod bundles;
pub mod chaos;
pub mod clock;
pub mod container;
pub mod coverage;
pub mod device;
pub mod golden;
pub mod http;
pub mod ingest;
mod kept;
pub mod lab;
pub mod mosquitto;
pub mod mqtt;
pub mod namespace;
pub mod peer;
pub mod pki;
pub mod port;
pub mod process;
pub mod proxy;
pub mod python;
pub mod relay;
pub mod service;
pub mod sink;
pub mod spool;
pub mod systemd;
pub mod telemetry;
pub mod tls;
pub mod weak;
pub mod weak_config;
pub mod webserver;

pub use agent::{Agent, Finished};
pub use lab::{Lab, State};
pub use sink::{Sink, SinkInfo};
