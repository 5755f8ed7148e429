//! The fuzz target `chain`: see `src/chain.rs`.

#![no_main]

gatepost_fuzz::target!(chain);
