//! The fuzz target `log`: see `src/log.rs`.

#![no_main]

gatepost_fuzz::target!(log);
