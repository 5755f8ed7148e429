//! The fuzz target `payload`: see `src/payload.rs`.

#![no_main]

gatepost_fuzz::target!(payload);
