//! The fuzz target `security_txt`: see `src/security_txt.rs`.

#![no_main]

gatepost_fuzz::target!(security_txt);
