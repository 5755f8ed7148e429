//! The fuzz target `acl_file`: see `src/acl_file.rs`.

#![no_main]

gatepost_fuzz::target!(acl_file);
