//! The fuzz target `pack`: see `src/pack.rs`.

#![no_main]

gatepost_fuzz::target!(pack);
