//! `gatepost`: parse, run, map to an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use gatepost::cli::Cli;
use gatepost::command;
use gatepost::report::clean_lines;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Whatever the agent writes is for its own user only.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let cli = Cli::parse();
    // The log goes to standard error; what was asked for goes to standard output.
    let filter = EnvFilter::try_from_env("GATEPOST_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let ansi = std::env::var_os("NO_COLOR").is_none() && std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).init();

    match command::run(cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            anstream::eprintln!("gatepost: {}", clean_lines(&format!("{error:#}")));
            command::Outcome::CannotRun.into()
        }
    }
}
