//! The fuzz target `whole_host`: see `src/whole_host.rs`.

#![no_main]

gatepost_fuzz::target!(whole_host);
