//! `cargo xtask`: the project's chores. No dependencies, so that it builds in a second on a fresh machine.

mod agreement;
mod bench;
mod demo;
mod fuzz;
mod machine;
mod step;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  demo [--out DIR] [--serve]   tell the story: audit, harden, rerun, outage; leaves its artefacts in target/demo
                               --serve keeps the sink's pages up until Ctrl-C
  test [--full]                everything that has to hold: format, lints, tests, rules, schemas, dependencies
                               --full adds what takes hours; `cargo xtask test --help` lists it
  agreement                    the survey of TLS beside other scanners, on 30 servers, and the facts of the corpus of certificates
                               beside openssl and badkeys, and findings about hosts beside lynis and ssh-audit;
                               writes docs/agreement.md
  bench [--runs N] [--rounds N] [--only SUBJECT]
                               measure, as ratios to something measured in the same run; see docs/benchmarks.md
  fuzz [TARGET...] [--runs N | --seconds N]
                               ten million inputs (or N, or for N seconds) for each fuzz target, see docs/fuzzing.md

Each installs what it misses from Debian's packages and says what and why.
Exit codes: 0 it held, 1 it did not, 2 it could not be tried.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if fuzz::is_compiler() {
        return if fuzz::compile(&arguments).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let rest = arguments.get(1..).unwrap_or_default();
    let result = match arguments.first().map(String::as_str) {
        Some("demo") => demo::run(rest),
        Some("test") => test::run(rest),
        Some("agreement") => agreement::run(rest),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(step::Failed::CouldNot(format!("there is no command {other:?}\n\n{HELP}"))),
        None => Err(step::Failed::CouldNot(HELP.to_owned())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(step::Failed::DidNotHold(what)) => {
            eprintln!("\nxtask: {what}");
            ExitCode::from(1)
        }
        Err(step::Failed::CouldNot(what)) => {
            eprintln!("xtask: {what}");
            ExitCode::from(2)
        }
    }
}
