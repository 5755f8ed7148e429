//! The fuzz target `receipt`: see `src/receipt.rs`.

#![no_main]

gatepost_fuzz::target!(receipt);
