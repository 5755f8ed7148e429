//! The fuzz target `certificate`: see `src/certificate.rs`.

#![no_main]

gatepost_fuzz::target!(certificate);
