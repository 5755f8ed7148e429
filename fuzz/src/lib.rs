//! Fuzz targets: each attacks one surface with arbitrary bytes and says what must hold of whatever comes out.
//!
//! "Does not panic" is the least of it. What parses and is written again parses to the same; what is accepted is canonical
//! and was signed with the key, which the fuzzer does not have; the memory of one input is bounded by its length.
//! Where a surface has a simple description, a second implementation of it stands here, and both must agree.
//!
//! A surface is a module with `attack`, which panics when something does not hold, and `seeds`, its first inputs, made from
//! `fixtures`. Nothing here reads a clock or a random number: an input does the same every time.
//!
//! Readers of the agent stand in the agent, which this workspace does not build: their files are brought in by their paths. Some
//! have tests that need more of the agent; those surfaces are left out where this crate itself is built as a test.

#![forbid(unsafe_code)]

use std::path::Path;

pub mod acl_file;
#[cfg(not(test))]
pub mod acl_reply;
pub mod bundle;
#[cfg(not(test))]
pub mod canary;
pub mod canonical;
pub mod certificate;
pub mod chain;
pub mod challenge;
pub mod envelope;
pub mod files;
#[cfg(not(test))]
pub mod firewall;
pub mod golden;
#[cfg(not(test))]
pub mod host;
pub mod http_answer;
pub mod link_packet;
pub mod log;
pub mod memory;
pub mod mosquitto_conf;
pub mod mqtt_reply;
pub mod note;
pub mod observation;
pub mod pack;
#[cfg(not(test))]
pub mod packages;
pub mod payload;
pub mod probe;
#[cfg(not(test))]
pub mod proc;
pub mod reader;
#[cfg(not(test))]
pub mod readers;
pub mod receipt;
pub mod security_txt;
pub mod server_hello;
pub mod service_yaml;
#[cfg(not(test))]
pub mod sshd_config;
#[cfg(not(test))]
pub mod sudoers;
pub mod tar;
pub mod upload;
pub mod websocket;
#[cfg(not(test))]
pub mod whole_host;
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
