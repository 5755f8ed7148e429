//! What the tests of `telemetry_integrity` stand on: Mosquittos with any configuration, and a relay in front of one that
//! loses, doubles, delays or swaps packets, or does something of the test's own when a packet comes by.

mod mosquitto;
mod relay;

pub use mosquitto::Mosquitto;
pub use relay::{Fate, Frame, Kind, Relay};
