//! The fuzz target `observation`: see `src/observation.rs`.

#![no_main]

gatepost_fuzz::target!(observation);
