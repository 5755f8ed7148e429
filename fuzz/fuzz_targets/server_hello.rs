//! The fuzz target `server_hello`: see `src/server_hello.rs`.

#![no_main]

gatepost_fuzz::target!(server_hello);
