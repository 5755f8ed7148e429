//! Fuzz targets: each attacks one surface with arbitrary bytes and says what must hold of whatever comes out.
//!
//! "Does not panic" is the least of it. What parses and is written again parses to the same; what is accepted is canonical
//! and was signed with the key, which the fuzzer does not have; the memory of one input is bounded by its length.
//! Where a surface has a simple description, a second implementation of it stands here, and both must agree.
//!
//! A surface is a module with `attack`, which panics when something does not hold, and `seeds`, its first inputs, made from
//! `fixtures/golden`. Nothing here reads a clock or a random number: an input does the same every time.

#![forbid(unsafe_code)]

use std::path::Path;

pub mod acl_file;
pub mod bundle;
pub mod canonical;
pub mod certificate;
pub mod chain;
pub mod challenge;
pub mod envelope;
pub mod golden;
pub mod http_answer;
pub mod link_packet;
pub mod log;
pub mod memory;
pub mod mosquitto_conf;
pub mod mqtt_reply;
pub mod note;
pub mod observation;
pub mod pack;
pub mod payload;
pub mod probe;
pub mod reader;
pub mod receipt;
pub mod server_hello;
pub mod service_yaml;
pub mod tar;
pub mod upload;
pub mod zstd;

/// First inputs: a name for the file, and its bytes.
pub type Seeds = Vec<(String, Vec<u8>)>;

/// Names the folder that a target writes its seeds to, instead of fuzzing.
pub const SEEDS_VARIABLE: &str = "GATEPOST_FUZZ_SEEDS";

/// Writes the seeds and ends the process, if that is what was asked for. Else attacks with the seeds once, so that what is
/// made on first use is not counted as the memory of an input.
pub fn begin(attack: fn(&[u8]), seeds: fn() -> Seeds) {
    let Some(folder) = std::env::var_os(SEEDS_VARIABLE) else {
        return seeds().iter().for_each(|(_, bytes)| attack(bytes));
    };
    for (name, bytes) in seeds() {
        let file = Path::new(&folder).join(format!("seed-{name}"));
        if let Err(error) = std::fs::write(&file, bytes) {
            eprintln!("{} cannot be written: {error}", file.display());
            std::process::exit(1);
        }
    }
    std::process::exit(0);
}

/// The program of a surface.
#[macro_export]
macro_rules! target {
    ($surface:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::begin($crate::$surface::attack, $crate::$surface::seeds),
            |data: &[u8]| $crate::memory::bounded(data, $crate::$surface::attack)
        );
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_surface_withstands_its_seeds() {
        type Surface = (&'static str, fn(&[u8]), fn() -> Seeds);
        let surfaces: [Surface; 22] = [
            ("acl_file", acl_file::attack, acl_file::seeds),
            ("bundle", bundle::attack, bundle::seeds),
            ("canonical", canonical::attack, canonical::seeds),
            ("certificate", certificate::attack, certificate::seeds),
            ("chain", chain::attack, chain::seeds),
            ("envelope", envelope::attack, envelope::seeds),
            ("log", log::attack, log::seeds),
            ("mosquitto_conf", mosquitto_conf::attack, mosquitto_conf::seeds),
            ("mqtt_reply", mqtt_reply::attack, mqtt_reply::seeds),
            ("note", note::attack, note::seeds),
            ("observation", observation::attack, observation::seeds),
            ("pack", pack::attack, pack::seeds),
            ("payload", payload::attack, payload::seeds),
            ("receipt", receipt::attack, receipt::seeds),
            ("server_hello", server_hello::attack, server_hello::seeds),
            ("service_yaml", service_yaml::attack, service_yaml::seeds),
            ("tar", tar::attack, tar::seeds),
            ("upload", upload::attack, upload::seeds),
            ("zstd", zstd::attack, zstd::seeds),
            ("http_answer", http_answer::attack, http_answer::seeds),
            ("challenge", challenge::attack, challenge::seeds),
            ("link_packet", link_packet::attack, link_packet::seeds),
        ];
        for (surface, attack, seeds) in surfaces {
            let seeds = seeds();
            assert!(seeds.len() >= 4, "{surface} has only {} seeds", seeds.len());
            for (name, bytes) in seeds {
                println!("{surface}: {name}");
                attack(&bytes);
            }
        }
    }
}
