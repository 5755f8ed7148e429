//! The fuzz target `link_packet`: see `src/link_packet.rs`.

#![no_main]

gatepost_fuzz::target!(link_packet);
