//! The fuzz target `websocket`: see `src/websocket.rs`.

#![no_main]

gatepost_fuzz::target!(websocket);
