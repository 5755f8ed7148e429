//! The fuzz target `upload`: see `src/upload.rs`.

#![no_main]

gatepost_fuzz::target!(upload);
