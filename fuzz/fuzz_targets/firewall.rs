//! The fuzz target `firewall`: see `src/firewall.rs`.

#![no_main]

gatepost_fuzz::target!(firewall);
