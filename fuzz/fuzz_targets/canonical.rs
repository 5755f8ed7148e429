//! The fuzz target `canonical`: see `src/canonical.rs`.

#![no_main]

gatepost_fuzz::target!(canonical);
