//! The fuzz target `sshd_config`: see `src/sshd_config.rs`.

#![no_main]

gatepost_fuzz::target!(sshd_config);
