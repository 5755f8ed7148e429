//! Our findings about hosts beside those of lynis and ssh-audit, on this machine and in two systems with their own systemd.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::{Agent, run};
use gatepost_tests::agreement::host::{HEADING, Line, Lynis, SshAudit, System, lines, markdown, open};
use gatepost_tests::container::{Container, Found, Setting};
use gatepost_tests::port::Port;
use gatepost_tests::process::{LIMIT, Program, command, installed};

/// lynis starts a few thousand programs.
const SLOW: Duration = Duration::from_secs(1800);
const LYNIS: [&str; 6] = ["audit", "system", "--quick", "--quiet", "--no-colors", "--no-log"];

fn this_machine() -> Result<System> {
    let folder = tempfile::tempdir()?;
    let (state, report) = (folder.path().join("state"), folder.path().join("lynis.dat"));
    let agent = Agent::configured(&folder.path().join("gatepost.toml"), &format!("[state]\ndirectory = {state:?}\n"))?;
    let ours = Found::of(&agent.run(&["audit", "--bundle", "host-hardening", "--format", "json"])?.json()?);
    let mut lynis = command(&installed("lynis", "lynis")?);
    lynis.args(LYNIS).arg("--report-file").arg(&report).current_dir(folder.path());
    run(lynis, SLOW)?;
    let lynis = Lynis::of(&std::fs::read_to_string(&report).context("lynis wrote no report")?);
    let ssh = Some(ssh_of_this_machine(folder.path())?);
    Ok(System { name: "this machine", weak: ours.weak_algorithms.clone(), ours, lynis, ssh })
}

/// This machine's own configuration, served for a moment with a key of its own.
fn ssh_of_this_machine(folder: &Path) -> Result<SshAudit> {
    let key = folder.join("key");
    let mut keygen = command(&installed("ssh-keygen", "openssh-client")?);
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
    run(keygen, LIMIT)?.expect_code(0)?;
    std::fs::create_dir_all("/run/sshd")?;
    let port = Port::reserve()?;
    let address = port.address();
    let sshd = installed("sshd", "openssh-server")?;
    let mut serve = command(&sshd);
    serve.args(["-D", "-e", "-f", "/etc/ssh/sshd_config", "-h"]).arg(&key);
    serve.args(["-o", &format!("ListenAddress={address}"), "-o", "PidFile=none"]);
    let mut server = Program::start_command(&sshd, serve)?;
    server.wait_until("it listens", LIMIT, |lines| lines.iter().any(|line| line.contains("Server listening on")))?;
    let mut audit = command(&installed("ssh-audit", "ssh-audit")?);
    audit.args(["-n", "-p", &address.port().to_string(), &address.ip().to_string()]);
    Ok(SshAudit::of(&run(audit, SLOW)?.stdout))
}

fn container(name: &'static str, setting: Setting) -> Result<System> {
    let container = Container::boot(setting)?;
    let ours = container.audit()?;
    let mut lynis = container.command("/usr/sbin/lynis");
    lynis.args(LYNIS).args(["--report-file", "/run/lynis.dat"]);
    run(lynis, SLOW)?;
    let lynis = std::fs::read_to_string(container.inside("/run/lynis.dat")).context("lynis wrote no report")?;
    let audit = container.from_its_network(&installed("ssh-audit", "ssh-audit")?, &["-n", "127.0.0.1"])?;
    let ssh = Some(SshAudit::of(&audit.stdout));
    Ok(System { name, weak: ours.weak_algorithms.clone(), ours, lynis: Lynis::of(&lynis), ssh })
}

#[test]
#[ignore = "lynis takes minutes: cargo xtask agreement"]
fn lynis_and_ssh_audit_say_the_same_or_it_is_explained() -> Result<()> {
    let systems = [
        this_machine()?,
        container("Debian 12 as installed", Setting::AsInstalled)?,
        container("Debian 12 hardened", Setting::Hardened)?,
    ];
    let all: Vec<Line> = systems.iter().flat_map(lines).collect();
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/agreement.md");
        let text = std::fs::read_to_string(&file)?;
        let before = text.split_once(HEADING).map_or(text.as_str(), |(before, _)| before).trim_end();
        std::fs::write(&file, format!("{before}\n\n{}", markdown(&all)))?;
    }
    let open = open(&all);
    assert!(open.is_empty(), "{} differences that nobody explained: {open:#?}", open.len());
    let both = all.iter().filter(|line| !line.controls.is_empty()).count();
    assert!(both > 150, "{both} questions that both ask");
    Ok(())
}
