//! The fuzz target `note`: see `src/note.rs`.

#![no_main]

gatepost_fuzz::target!(note);
