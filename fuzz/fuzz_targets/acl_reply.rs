//! The fuzz target `acl_reply`: see `src/acl_reply.rs`.

#![no_main]

gatepost_fuzz::target!(acl_reply);
