//! The fuzz target `service_yaml`: see `src/service_yaml.rs`.

#![no_main]

gatepost_fuzz::target!(service_yaml);
