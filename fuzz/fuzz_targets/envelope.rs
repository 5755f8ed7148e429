//! The fuzz target `envelope`: see `src/envelope.rs`.

#![no_main]

gatepost_fuzz::target!(envelope);
