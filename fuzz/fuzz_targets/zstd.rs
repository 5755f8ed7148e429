//! The fuzz target `zstd`: see `src/zstd.rs`.

#![no_main]

gatepost_fuzz::target!(zstd);
