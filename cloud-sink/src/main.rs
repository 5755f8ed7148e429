//! The `gatepost-sink` binary: parse, run, map to an exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use gatepost_sink::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match gatepost_sink::cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gatepost-sink: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
