//! The command line as a person meets it: help for everything, exit codes as documented, no colour where nobody sees it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::{Agent, Finished, run};
use gatepost_tests::process::{built, command};

const LIMIT: Duration = Duration::from_secs(20);
const COMMANDS: &[&[&str]] = &[
    &[],
    &["audit"],
    &["run"],
    &["enroll"],
    &["rotate-key"],
    &["upload"],
    &["status"],
    &["show"],
    &["compare"],
    &["export"],
    &["verify"],
    &["probes"],
    &["snapshot"],
    &["init"],
    &["battery"],
    &["config"],
    &["config", "check"],
    &["rules"],
    &["rules", "test"],
];

/// The agent with nothing but `arguments`.
fn gatepost(arguments: &[&str]) -> Result<Finished> {
    let mut command = command(&built("gatepost")?);
    command.args(arguments);
    run(command, LIMIT)
}

/// The agent on a terminal that `script` (util-linux) makes, with `variable` in its environment.
fn on_a_terminal(arguments: &str, variable: Option<(&str, &str)>) -> Result<Finished> {
    let mut script = command(Path::new("script"));
    script.args(["-qec", &format!("{} {arguments}", built("gatepost")?.display()), "/dev/null"]);
    script.env_remove("NO_COLOR").env("TERM", "xterm").envs(variable);
    run(script, LIMIT)
}

#[test]
fn every_command_has_help() -> Result<()> {
    for words in COMMANDS {
        let mut arguments = words.to_vec();
        arguments.push("--help");
        let help = gatepost(&arguments)?.expect_code(0)?;
        assert!(help.stdout.contains("Usage: gatepost") && help.stderr.is_empty(), "{words:?}: {help:?}");
        let summary = help.stdout.lines().next().unwrap_or_default();
        assert!(summary.len() > 10, "{words:?} says what it does: {summary}");
        let widest = help.stdout.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(110), "{words:?}: {widest:?} characters");
        // Every command of the help exists, and the other way round.
        for line in help.stdout.lines().skip_while(|line| *line != "Commands:").skip(1) {
            let Some(name) = line.strip_prefix("  ").and_then(|line| line.split_whitespace().next()) else { break };
            let known = COMMANDS.iter().any(|known| known.split_last() == Some((&name, words)));
            assert!(known || name == "help", "{words:?} has {name}, which is not tried here");
        }
    }
    Ok(())
}

#[test]
fn the_help_documents_exit_codes_and_examples_that_can_be_typed() -> Result<()> {
    let help = gatepost(&["--help"])?.expect_code(0)?.stdout;
    for part in ["Exit codes:", "\n  0  ", "\n  1  ", "\n  2  ", "Examples:", "NO_COLOR", "GATEPOST_LOG"] {
        assert!(help.contains(part), "{part} is missing in\n{help}");
    }
    let examples = help.lines().filter_map(|line| line.strip_prefix("  gatepost "));
    let mut tried = 0;
    for example in examples {
        let line = example.split("  ").next().unwrap_or_default().split('>').next().unwrap_or_default();
        let mut arguments: Vec<_> = line.split_whitespace().collect();
        arguments.push("--help");
        gatepost(&arguments)?.expect_code(0).with_context(|| example.to_owned())?;
        tried += 1;
    }
    assert!(tried >= 5, "{tried} examples");
    assert!(gatepost(&["--version"])?.expect_code(0)?.stdout.starts_with("gatepost 0."));
    Ok(())
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_wrong() -> Result<()> {
    for words in COMMANDS {
        let mut arguments = words.to_vec();
        arguments.push("--no-such-option");
        let refused = gatepost(&arguments)?.expect_code(2)?;
        assert!(refused.stderr.contains("--no-such-option") && refused.stdout.is_empty(), "{words:?}: {refused:?}");
    }
    for (arguments, words) in [
        (&["adit"][..], "audit"),
        (&["audit", "--fail-on", "hgh"], "high"),
        (&["audit", "--format", "xml"], "json"),
        (&["show", "first"], "first"),
        (&["show", "--envelope", "--format", "json"], "--envelope"),
        (&["enroll"], "--token-file"),
    ] {
        let refused = gatepost(arguments)?.expect_code(2)?;
        assert!(refused.stderr.contains(words), "{words} is missing: {refused:?}");
    }
    let missing = gatepost(&["status", "--config", "/nowhere/gatepost.toml"])?.expect_code(2)?;
    assert!(
        missing.stderr.contains("/nowhere/gatepost.toml") && missing.stderr.contains("gatepost init"),
        "{missing:?}"
    );
    Ok(())
}

#[test]
fn commands_that_only_look_make_no_gateway_where_there_is_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let state = folder.path().join("state");
    let text = format!(
        "[state]\ndirectory = {state:?}\n[sink]\nurl = \"https://127.0.0.1:1\"\n[schedule]\nbundle = \"certificate-hygiene\"\n"
    );
    let agent = Agent::configured(&folder.path().join("gatepost.toml"), &text)?;
    let look = [&["status"][..], &["show"], &["show", "1"], &["compare", "--from", "1", "--to", "2"], &["upload"]];
    let refused = || -> Result<()> {
        for arguments in look {
            let error = agent.run(arguments)?.expect_code(2)?.stderr;
            assert!(error.contains("there is no gateway state in") && error.contains("gatepost audit"), "{error}");
        }
        Ok(())
    };
    refused()?;
    assert!(!state.exists(), "a command that only looks made something");
    agent.run(&["audit", "--bundle", "certificate-hygiene"])?.expect_code(0)?;
    assert_eq!(agent.status()?["last_run"], 1);
    // An identity whose spool is gone is not given an empty one.
    fs::remove_file(state.join("spool.db"))?;
    refused()?;
    assert!(!state.join("spool.db").exists());
    Ok(())
}

#[test]
fn colour_is_for_terminals_that_want_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("gatepost.toml");
    let agent = Agent::configured(&file, &format!("[state]\ndirectory = {:?}\n", folder.path().join("state")))?;
    let audit = agent.run(&["audit"])?;
    assert!(matches!(audit.code, Some(0 | 1)), "{audit:?}");
    for finished in [audit, agent.run(&["show"])?, agent.run(&["status"])?, gatepost(&["--help"])?, gatepost(&["x"])?] {
        assert!(!finished.stdout.contains('\u{1b}') && !finished.stderr.contains('\u{1b}'), "{finished:?}");
    }
    let show = format!("show --config {}", file.display());
    assert!(on_a_terminal(&show, None)?.stdout.contains('\u{1b}'), "a terminal gets colour");
    for arguments in [&show, "--help"] {
        let plain = on_a_terminal(arguments, Some(("NO_COLOR", "1")))?;
        assert!(!plain.stdout.contains("\u{1b}[3") && !plain.stdout.contains("\u{1b}[9"), "{plain:?}");
    }
    Ok(())
}

#[test]
fn what_init_writes_passes_config_check() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let agent = Agent::configured(&folder.path().join("gatepost.toml"), &gatepost(&["init"])?.expect_code(0)?.stdout)?;
    let checked = agent.run(&["config", "check"])?.expect_code(0)?;
    assert!(checked.stdout.contains("is right"), "{checked:?}");
    // And when it writes the file itself, which it does once.
    let file = folder.path().join("written.toml");
    let path = file.to_str().context("not UTF-8")?;
    gatepost(&["init", "--output", path])?.expect_code(0)?;
    gatepost(&["config", "check", "--config", path])?.expect_code(0)?;
    let again = gatepost(&["init", "--output", path])?.expect_code(2)?;
    assert!(again.stderr.contains("not replaced"), "{again:?}");
    Ok(())
}

#[test]
fn rules_test_says_which_line_fails() -> Result<()> {
    let good = gatepost(&["rules", "test"])?.expect_code(0)?.stdout;
    assert!(good.contains("gateway-baseline 1.0.0") && good.contains(" 0 not."), "{good}");
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/packs/gateway-baseline-1.0.0.toml");
    let text = fs::read_to_string(&pack)?;
    gatepost(&["rules", "test", pack.to_str().context("not UTF-8")?])?.expect_code(0)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("pack.toml");
    let path = file.to_str().context("not UTF-8")?;

    // One vector that expects the opposite. Every control keeps one of each kind, or it would not load.
    let wanted = "expect = \"not_applicable\"";
    let at = text.find(wanted).context("the pack has no such vector")?;
    fs::write(&file, text.replacen(wanted, "expect = \"pass\"", 1))?;
    let failed = gatepost(&["rules", "test", path])?.expect_code(1)?;
    let line = text[..at].lines().count();
    let said: usize = failed
        .stdout
        .split("  line ")
        .nth(1)
        .and_then(|rest| rest.split(':').next()?.parse().ok())
        .with_context(|| format!("no line: {failed:?}"))?;
    assert!(said <= line && line - said < 6, "line {said} was said, it is near line {line}");
    assert!(failed.stdout.contains("expected pass, got not"), "{failed:?}");
    assert!(failed.stdout.contains(" 1 not."), "{failed:?}");

    fs::write(&file, format!("{text}\nnonsense = 1\n"))?;
    let broken = gatepost(&["rules", "test", path])?.expect_code(1)?;
    assert!(broken.stderr.contains("does not load") && broken.stderr.contains("nonsense"), "{broken:?}");
    Ok(())
}
