//! One step of a chore: a program that is run, told about, timed, and whose failure ends the chore.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Why a chore ended early.
#[derive(Debug)]
pub enum Failed {
    /// What was tested does not hold.
    DidNotHold(String),
    /// It could not be tried at all.
    CouldNot(String),
}

/// The root of the checkout.
pub fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// The folder of debug binaries.
pub fn binaries() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("debug")
}

/// A program to be run in the root of the checkout.
pub fn program<S: AsRef<OsStr>>(name: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root());
    command
}

/// The cargo that runs this.
pub fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Runs one step and says how long it took.
pub fn run(title: &str, mut command: Command) -> Result<(), Failed> {
    println!("==> {title}");
    let began = Instant::now();
    let status = command.status().map_err(|error| {
        Failed::CouldNot(format!("{title}: {} cannot be run: {error}", command.get_program().display()))
    })?;
    let took = began.elapsed().as_secs_f32();
    if status.success() {
        println!("    {title}: {took:.1} s");
        Ok(())
    } else {
        Err(Failed::DidNotHold(format!("{title}: {status} after {took:.1} s")))
    }
}
