//! The fuzz target `packages`: see `src/packages.rs`.

#![no_main]

gatepost_fuzz::target!(packages);
