//! `cargo xtask fuzz`: builds the fuzz targets and gives each as many inputs as wanted.
//!
//! The stable compiler is enough: `-C passes=sancov-module` is what `cargo fuzz` asks of it too, and libFuzzer is C++ that
//! the crate libfuzzer-sys brings and builds. There is no address sanitizer in it, which needs a nightly compiler; of what
//! is fuzzed here only zstd is not Rust, and no Rust here is `unsafe`.
//!
//! Inputs that were worth keeping stay in `target/fuzz/corpus`, so that the next time goes on from there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::machine::{self, CXX};
use crate::step::{self, Failed, cargo};

/// How many inputs a target gets when nobody says.
const RUNS: u64 = 10_000_000;
/// The most resident memory of a target, in MiB. A bomb may unpack to 64 MiB, and be there twice while it grows.
const MEMORY: u32 = 768;
/// The longest an input may take, in seconds.
const PATIENCE: u32 = 10;
/// Counts edges and looks at comparisons: LLVM's coverage for sanitizers, inline.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Crates that are neither attacked nor guide the fuzzer: their branches are not counted, which would take most of the time.
const UNCOUNTED: [&str; 5] = ["curve25519_dalek", "ed25519_dalek", "sha2", "subtle", "peak_alloc"];
/// Says to this program that cargo calls it in place of the compiler.
const AS_COMPILER: &str = "GATEPOST_FUZZ_COMPILER";

/// A program in `fuzz/fuzz_targets`.
struct Target {
    name: &'static str,
    /// The longest input in bytes.
    longest: u32,
    dictionary: Option<&'static str>,
}

const JSON: Option<&str> = Some("json.dict");

const TARGETS: &[Target] = &[
    Target { name: "envelope", longest: 8192, dictionary: JSON },
    Target { name: "payload", longest: 4096, dictionary: JSON },
    Target { name: "canonical", longest: 4096, dictionary: JSON },
    Target { name: "receipt", longest: 4096, dictionary: JSON },
    Target { name: "mqtt_reply", longest: 1024, dictionary: None },
    Target { name: "acl_reply", longest: 1024, dictionary: None },
    Target { name: "websocket", longest: 10_240, dictionary: None },
    Target { name: "challenge", longest: 4096, dictionary: None },
    Target { name: "http_answer", longest: 4096, dictionary: None },
    Target { name: "link_packet", longest: 1024, dictionary: None },
    Target { name: "server_hello", longest: 4096, dictionary: None },
    Target { name: "note", longest: 2048, dictionary: Some("note.dict") },
    Target { name: "log", longest: 256, dictionary: None },
    Target { name: "chain", longest: 128, dictionary: None },
    Target { name: "tar", longest: 8192, dictionary: None },
    Target { name: "zstd", longest: 8192, dictionary: None },
    Target { name: "upload", longest: 8192, dictionary: None },
    Target { name: "observation", longest: 4096, dictionary: JSON },
    Target { name: "certificate", longest: 4096, dictionary: None },
    Target { name: "pack", longest: 2048, dictionary: Some("pack.dict") },
    Target { name: "bundle", longest: 8192, dictionary: JSON },
    Target { name: "mosquitto_conf", longest: 2048, dictionary: Some("mosquitto.dict") },
    Target { name: "acl_file", longest: 1024, dictionary: Some("mosquitto.dict") },
    Target { name: "service_yaml", longest: 2048, dictionary: None },
    Target { name: "sshd_config", longest: 2048, dictionary: Some("host.dict") },
    Target { name: "sudoers", longest: 2048, dictionary: Some("host.dict") },
    Target { name: "firewall", longest: 4096, dictionary: Some("host.dict") },
    Target { name: "packages", longest: 2048, dictionary: Some("host.dict") },
    Target { name: "proc", longest: 2048, dictionary: Some("host.dict") },
    Target { name: "whole_host", longest: 8192, dictionary: Some("host.dict") },
    Target { name: "security_txt", longest: 2048, dictionary: Some("host.dict") },
    Target { name: "canary", longest: 1024, dictionary: None },
];

/// When a target has had enough.
#[derive(Clone, Copy)]
enum Enough {
    Runs(u64),
    Seconds(u64),
}

pub fn run(arguments: &[String]) -> Result<(), Failed> {
    let (mut chosen, mut enough) = (Vec::new(), Enough::Runs(RUNS));
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut number = || {
            let number = words.next().and_then(|number| number.parse().ok());
            number.ok_or_else(|| Failed::CouldNot(format!("{word} wants a number")))
        };
        match word.as_str() {
            "--runs" => enough = Enough::Runs(number()?),
            "--seconds" => enough = Enough::Seconds(number()?),
            name => chosen.push(find(name)?),
        }
    }
    if chosen.is_empty() {
        chosen.extend(TARGETS);
    }
    several(&chosen, enough)
}

/// Every target for a minute: a part of `cargo xtask test --full`.
pub fn all_for_a_minute() -> Result<(), Failed> {
    several(&TARGETS.iter().collect::<Vec<_>>(), Enough::Seconds(60))
}

/// That the targets are formatted and free of warnings, and withstand the inputs they begin with.
pub fn check() -> Result<(), Failed> {
    step::run("format of the fuzz targets", in_fuzz("fmt", &["--all", "--", "--check"]))?;
    step::run("lints of the fuzz targets", in_fuzz("clippy", &["--quiet", "--all-targets", "--", "-D", "warnings"]))?;
    step::run("first inputs of the fuzz targets", in_fuzz("test", &["--quiet", "--tests"]))
}

fn find(name: &str) -> Result<&'static Target, Failed> {
    TARGETS.iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        Failed::CouldNot(format!("there is no fuzz target {name:?}; there are {}", names.join(", ")))
    })
}

/// A command of cargo in the fuzz targets' own workspace.
fn in_fuzz(command: &str, arguments: &[&str]) -> Command {
    let mut cargo = cargo([command]);
    cargo.args(["--manifest-path", "fuzz/Cargo.toml"]).args(arguments);
    cargo.env("CARGO_TARGET_DIR", folder());
    cargo
}

fn several(targets: &[&Target], enough: Enough) -> Result<(), Failed> {
    machine::provide(&[&CXX])?;
    let host = host()?;
    let mut build = in_fuzz("build", &["--quiet", "--release", "--locked", "--target", &host]);
    for target in targets {
        build.args(["--bin", target.name]);
    }
    // With `--target` the flags reach the targets and not the build scripts, which have no libFuzzer to talk to.
    build.env("RUSTFLAGS", FLAGS).env(AS_COMPILER, "1");
    let own = std::env::current_exe();
    build.env(
        "RUSTC_WRAPPER",
        own.map_err(|error| Failed::CouldNot(format!("where xtask stands is unknown: {error}")))?,
    );
    step::run("build the fuzz targets (some minutes the first time)", build)?;
    let binaries = folder().join(host).join("release");
    targets.iter().try_for_each(|target| one(target, &binaries.join(target.name), enough))
}

/// Whether cargo called this in place of the compiler, for [`compile`].
pub fn is_compiler() -> bool {
    std::env::var_os(AS_COMPILER).is_some()
}

/// The compiler, without counting the branches of [`UNCOUNTED`] crates: cargo has no flags for a single one.
pub fn compile(arguments: &[String]) -> Result<(), Failed> {
    let (compiler, arguments) = arguments.split_first().ok_or_else(|| Failed::CouldNot("no compiler".into()))?;
    let name = arguments.iter().skip_while(|word| *word != "--crate-name").nth(1);
    let counted = !name.is_some_and(|name| UNCOUNTED.contains(&name.as_str()));
    let counts = |word: &&String| word.contains("sancov-module") || word.contains("sanitizer-coverage");
    let status = Command::new(compiler).args(arguments.iter().filter(|word| counted || !counts(word))).status();
    let status = status.map_err(|error| Failed::CouldNot(format!("{compiler} cannot be run: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failed::DidNotHold(format!("{compiler}: {status}"))) }
}

/// Inputs, finds and the build, away from everything else.
fn folder() -> PathBuf {
    step::binaries().with_file_name("fuzz")
}

fn host() -> Result<String, Failed> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = output.map_err(|error| Failed::CouldNot(format!("rustc cannot be run: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Failed::CouldNot("rustc does not say what machine this is".into()))
}

fn one(target: &Target, program: &Path, enough: Enough) -> Result<(), Failed> {
    let name = target.name;
    let (corpus, finds) = (folder().join("corpus").join(name), folder().join("finds"));
    let log = folder().join(format!("{name}.log"));
    for folder in [&corpus, &finds] {
        std::fs::create_dir_all(folder).map_err(|error| could_not(folder, &error))?;
    }
    let mut seeds = step::program::<&str>(program, []);
    step::run(&format!("{name}: first inputs, from fixtures"), {
        seeds.env("GATEPOST_FUZZ_SEEDS", &corpus);
        seeds
    })?;
    let (limit, title) = match enough {
        Enough::Runs(runs) => (format!("-runs={runs}"), format!("{name}: {runs} inputs")),
        Enough::Seconds(seconds) => (format!("-max_total_time={seconds}"), format!("{name}: {seconds} s")),
    };
    let mut fuzz = step::program(program, [limit]);
    fuzz.arg(format!("-max_len={}", target.longest));
    fuzz.args([format!("-rss_limit_mb={MEMORY}"), format!("-timeout={PATIENCE}"), "-print_final_stats=1".into()]);
    fuzz.arg(format!("-artifact_prefix={}/{name}-", finds.display()));
    if let Some(dictionary) = target.dictionary {
        fuzz.arg(format!("-dict={}", step::root().join("fuzz/dictionaries").join(dictionary).display()));
    }
    fuzz.arg(&corpus);
    fuzz.stderr(File::create(&log).map_err(|error| could_not(&log, &error))?);
    let began = Instant::now();
    let found = step::run(&title, fuzz);
    let text = std::fs::read(&log).map_err(|error| could_not(&log, &error))?;
    let text = String::from_utf8_lossy(&text);
    // libFuzzer's own summary: how many inputs, edges, features, and what is kept.
    if let Some(done) = text.lines().find(|line| line.contains("DONE")) {
        println!(
            "    {} in {:.0} s",
            done.split_whitespace().collect::<Vec<_>>().join(" "),
            began.elapsed().as_secs_f32()
        );
    }
    found.map_err(|_| {
        let mut lines = text.lines();
        let panic = lines.find(|line| line.contains("panicked at")).and_then(|_| lines.next()).unwrap_or("see the log");
        Failed::DidNotHold(format!(
            "the fuzz target {name} found something: {panic}\nthe input is in {}, the log is {}; replay it with\n    {} INPUT",
            finds.display(),
            log.display(),
            program.display()
        ))
    })
}

fn could_not(path: &Path, error: &std::io::Error) -> Failed {
    Failed::CouldNot(format!("{} cannot be written or read: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_target_that_there_is_gets_its_inputs() {
        let folder = step::root().join("fuzz/fuzz_targets");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let written: BTreeSet<String> =
            files.filter_map(|file| Some(file.path().file_stem()?.to_str()?.to_owned())).collect();
        let known: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
        assert_eq!(written, known);
    }
}
