//! The fuzz target `mqtt_reply`: see `src/mqtt_reply.rs`.

#![no_main]

gatepost_fuzz::target!(mqtt_reply);
