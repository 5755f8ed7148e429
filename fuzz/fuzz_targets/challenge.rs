//! The fuzz target `challenge`: see `src/challenge.rs`.

#![no_main]

gatepost_fuzz::target!(challenge);
