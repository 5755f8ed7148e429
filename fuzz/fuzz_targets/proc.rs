//! The fuzz target `proc`: see `src/proc.rs`.

#![no_main]

gatepost_fuzz::target!(proc);
