//! The fuzz target `sudoers`: see `src/sudoers.rs`.

#![no_main]

gatepost_fuzz::target!(sudoers);
