//! The fuzz target `mosquitto_conf`: see `src/mosquitto_conf.rs`.

#![no_main]

gatepost_fuzz::target!(mosquitto_conf);
