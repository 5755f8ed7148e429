//! The fuzz target `tar`: see `src/tar.rs`.

#![no_main]

gatepost_fuzz::target!(tar);
