//! The fuzz target `http_answer`: see `src/http_answer.rs`.

#![no_main]

gatepost_fuzz::target!(http_answer);
