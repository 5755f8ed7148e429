//! The fuzz target `bundle`: see `src/bundle.rs`.

#![no_main]

gatepost_fuzz::target!(bundle);
