//! The fuzz target `canary`: see `src/canary.rs`.

#![no_main]

gatepost_fuzz::target!(canary);
