//! One gateway and one sink in a folder of their own, and what happens to them step by step.
//!
//! Each step does what it says whatever became of those before; what came of it is kept as a story, to be read when the seed
//! fails. No program may ever panic, and none may hang.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context as _, Result, bail, ensure};
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;
use super::fate::Fate;
use super::fault::{Control, Fault};
use super::neighbour::Neighbour;
use super::proxy::Proxy;
use super::random::Random;
use super::schedule::{Meanwhile, Schedule, Step};
use super::sink::SinkProcess;
use super::template::{Places, Template, copy, folder};
use crate::agent::Finished;
use crate::pki;
use crate::port::Port;
use crate::process::{Program, built, command, spawn};

/// A run that was reported as done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// Its place.
    pub seq: u64,
    /// Its digest; the daemon's log does not say it.
    pub digest: Option<Digest>,
}

/// A key rotation that was reported as done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotated {
    /// The first place that the new key signs.
    pub seq: u64,
    /// SHA-256 of the new key.
    pub key: Digest,
}

/// How often an upload is tried once everything is well: one that finds a sink that lost something, one that starts over, and
/// one for each restart that a disk may have hidden until then.
pub const DRAINS: usize = 4;

/// One gateway and one sink.
pub struct Field {
    pub(super) seed: u64,
    pub(super) agent: PathBuf,
    pub(super) configuration: PathBuf,
    pub(super) places: Places,
    pub(super) sink: SinkProcess,
    pub(super) proxy: Proxy,
    pub(super) reported: Vec<Reported>,
    /// How often a run may have been made without a word of it.
    pub(super) attempts: u64,
    pub(super) rotated: Vec<Rotated>,
    /// How often a key may have been rotated without a word of it.
    pub(super) rotations: usize,
    /// What was said of the sink before it was restored from a backup for the first time, if it was.
    pub(super) disputes_before: Option<usize>,
    pub(super) neighbour: Neighbour,
    pub(super) gateway: PublicKey,
    pub(super) sink_key: PublicKey,
    pub(super) operator_token: String,
    pub(super) faults: usize,
    control: Control,
    beside: Control,
    backups: Vec<PathBuf>,
    random: Random,
    story: Vec<String>,
    pub(super) folder: TempDir,
}

/// A command of the agent that goes on.
struct Running {
    id: u32,
    ended: Receiver<std::io::Result<Output>>,
}

impl Running {
    fn wait(self) -> Result<Finished> {
        let began = std::time::Instant::now();
        let output = match self.ended.recv_timeout(PATIENCE) {
            Ok(output) => output?,
            Err(_) => {
                let id = i32::try_from(self.id)?;
                // It has not been reaped, or it ends in this very moment.
                let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
                let output = self.ended.recv_timeout(PATIENCE)??;
                bail!("the agent hangs; it wrote:\n{}", String::from_utf8_lossy(&output.stderr));
            }
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        ensure!(output.status.code() != Some(101) && !stderr.contains("panicked"), "the agent panicked:\n{stderr}");
        Ok(Finished { code: output.status.code(), stdout, stderr, took: began.elapsed() })
    }
}

impl Field {
    /// Sets up what `schedule` needs.
    ///
    /// # Errors
    /// When the files cannot be written or the sink does not come up.
    pub fn set_up(template: &Template, schedule: &Schedule) -> Result<Self> {
        let folder = folder("gatepost-chaos-")?;
        let place = folder.path();
        let port = Port::reserve()?;
        let proxy = Proxy::start(port.address())?;
        let places = template.copy_to(
            place,
            &format!("http://{}", proxy.address()),
            &format!("http://{}", port.address()),
            schedule.spool,
        )?;
        let control = |name: &str, of: &Path| Control::create(&place.join(name), of);
        let sink = SinkProcess {
            binary: built("gatepost-sink")?,
            data: places.data.clone(),
            control: control("sink.control", &places.data)?,
            port,
            fault: Fault::None,
            program: None,
            log: String::new(),
        };
        let mut field = Self {
            seed: schedule.seed,
            agent: built("gatepost")?,
            configuration: place.join("gatepost.toml"),
            control: control("agent.control", &places.state)?,
            beside: control("beside.control", &places.state)?,
            sink,
            proxy,
            reported: Vec::new(),
            attempts: 0,
            rotated: Vec::new(),
            rotations: 0,
            disputes_before: None,
            neighbour: Neighbour::new(&places)?,
            gateway: template.gateway.clone(),
            sink_key: template.sink.clone(),
            operator_token: template.operator_token.clone(),
            faults: 0,
            places,
            backups: Vec::new(),
            random: Random::new(!schedule.seed),
            story: Vec::new(),
            folder,
        };
        ensure!(field.start_sink()?, "the sink does not start on a sound disk:\n{}", field.sink.log());
        Ok(field)
    }

    /// What each step came to, and the end of the sink's log.
    #[must_use]
    pub fn story(&self) -> String {
        let log = self.sink.log();
        let lines: Vec<_> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n  ");
        format!("  {}\nthe end of the sink's log:\n  {end}", self.story.join("\n  "))
    }

    /// Does every step.
    ///
    /// # Errors
    /// When a program panics or hangs, or something fails with nothing to excuse it.
    pub fn go_through(&mut self, schedule: &Schedule) -> Result<()> {
        for (number, step) in (1..).zip(&schedule.steps) {
            let came = self.step(step).with_context(|| format!("at step {number}: {step}"));
            self.tell(number, came.as_ref().map_or_else(|error| format!("{error:#}"), Clone::clone));
            came?;
        }
        Ok(())
    }

    fn tell(&mut self, number: usize, came: String) {
        self.story.push(format!("{number:2}  {came}"));
        self.story.extend(self.proxy.story().into_iter().map(|line| format!("    {line}")));
    }

    fn step(&mut self, step: &Step) -> Result<String> {
        match step {
            Step::Audit(kib, fault) => self.audit(*kib, *fault),
            Step::Upload(fates, fault) => {
                self.proxy.expect(fates);
                let finished = self.command(&["upload"], *fault)?;
                Ok(words(&finished))
            }
            Step::Rotate(fault) => self.rotate(*fault),
            Step::Enrol(fates, fault) => self.enrol(fates, *fault),
            Step::Neighbour => self.neighbour.audit_and_upload(),
            Step::Overlap(meanwhile, killed) => self.overlap(*meanwhile, *killed),
            Step::Daemon(fates, fault, killed) => self.daemon(fates, *fault, *killed),
            Step::Status(fault) => Ok(words(&self.command(&["status"], *fault)?)),
            Step::Export => {
                let file = self.folder.path().join(format!("at-{}.tar.zst", self.story.len()));
                let file = file.to_str().context("the folder is not UTF-8")?.to_owned();
                Ok(words(&self.command(&["export", "--output", &file], Fault::None)?))
            }
            Step::AgentClock(hours) => {
                self.beside.set_clock(hours * 3600)?;
                self.control.set_clock(hours * 3600).map(|()| "it goes".into())
            }
            Step::SinkClock(hours) => self.sink.control.set_clock(hours * 3600).map(|()| "it goes".into()),
            Step::KillSink => self.end_sink(Signal::SIGKILL),
            Step::StopSink => self.end_sink(Signal::SIGTERM),
            Step::StartSink => {
                let up = self.start_sink()?;
                Ok(if up { "it runs".into() } else { format!("it does not: {}", last_line(&self.sink.log())) })
            }
            Step::SinkDisk(fault) => {
                self.look_after_sink()?;
                self.sink.ask_for(*fault)?;
                Ok("so be it".into())
            }
            Step::BackUp => {
                let ran = self.end_sink(Signal::SIGTERM)? != GONE;
                let to = self.folder.path().join(format!("backup-{}", self.backups.len()));
                copy(&self.places.data, &to)?;
                self.backups.push(to);
                let up = ran && self.start_sink()?;
                Ok(format!("backup {} was made; the sink {}", self.backups.len() - 1, runs(up)))
            }
            Step::Restore(which) => {
                let which = usize::try_from(*which)? % self.backups.len().max(1);
                let Some(backup) = self.backups.get(which).cloned() else { return Ok("there is no backup".into()) };
                self.end_sink(Signal::SIGTERM)?;
                self.disputes_before = Some(self.disputes_before.map_or_else(|| self.disputes(), Ok)?);
                fs::remove_dir_all(&self.places.data)?;
                copy(&backup, &self.places.data)?;
                let up = self.start_sink()?;
                Ok(format!("backup {which} is in use; the sink {}", runs(up)))
            }
            Step::Deliver => Ok(format!("{} came", self.proxy.deliver())),
        }
    }

    fn audit(&mut self, kib: u64, fault: Fault) -> Result<String> {
        if kib > 0 {
            // It begins as DER does, and is taken for a certificate that cannot be read.
            let mut bytes = vec![0x30];
            bytes.extend(self.random.bytes(usize::try_from(kib)? * 1024));
            fs::write(self.places.registry.join("pump.der"), bytes)?;
        }
        self.attempts += 1;
        let finished = self.command(&AUDIT, fault)?;
        self.note(&finished)?;
        Ok(words(&finished))
    }

    fn rotate(&mut self, fault: Fault) -> Result<String> {
        self.rotations += 1;
        let finished = self.command(&["rotate-key"], fault)?;
        // "Gateway ID signs with key DIGEST from run SEQ on."
        let told: Vec<&str> = finished.stdout.split_whitespace().collect();
        if let ["Gateway", _, "signs", "with", "key", key, "from", "run", seq, ..] = told[..] {
            self.rotated.push(Rotated { seq: seq.parse()?, key: key.parse()? });
        }
        Ok(words(&finished))
    }

    /// Whatever the sink makes of the token, it is a new one each time.
    fn enrol(&mut self, fates: &[Fate], fault: Fault) -> Result<String> {
        let made = self.sink.command(&["token", "create"])?;
        if made.code != Some(0) {
            return Ok(format!("no token: {}", last_line(&made.stderr)));
        }
        let file = self.folder.path().join("token");
        pki::write(&file, made.stdout.trim().as_bytes(), 0o600)?;
        let file = file.to_str().context("the folder is not UTF-8")?.to_owned();
        self.proxy.expect(fates);
        Ok(words(&self.command(&["enroll", "--token-file", &file], fault)?))
    }

    /// How often the agent says that the sink broke its log.
    pub(super) fn disputes(&self) -> Result<usize> {
        let entries = fs::read_dir(&self.places.state)?;
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().starts_with("log-dispute-")));
        Ok(names.collect::<Result<Vec<bool>>>()?.into_iter().filter(|is| *is).count())
    }

    /// Keeps what an audit reported as done; killed or not, what is on standard output was said.
    fn note(&mut self, finished: &Finished) -> Result<()> {
        let Ok(report) = serde_json::from_str::<Value>(&finished.stdout) else { return Ok(()) };
        let seq = report["run"]["seq"].as_u64().context("a report without a place")?;
        let digest = report["run"]["digest"].as_str().context("a report without a digest")?.parse()?;
        self.reported.push(Reported { seq, digest: Some(digest) });
        Ok(())
    }

    fn begin(&self, arguments: &[&str], control: &Control) -> Result<Running> {
        let mut agent = command(&self.agent);
        agent.args(arguments).arg("--config").arg(&self.configuration);
        control.over(&mut agent)?;
        agent.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = spawn(agent)?;
        let (id, shared) = (child.id(), self.proxy.shared());
        let (sender, ended) = sync_channel(1);
        std::thread::spawn(move || {
            let output = child.wait_with_output();
            shared.agent_ended();
            let _ = sender.send(output);
        });
        Ok(Running { id, ended })
    }

    /// Runs a command of the agent, to its end or its death.
    pub(super) fn command(&mut self, arguments: &[&str], fault: Fault) -> Result<Finished> {
        self.control.set_fault(fault)?;
        let running = self.begin(arguments, &self.control)?;
        self.proxy.agent_is(running.id);
        let finished = running.wait()?;
        let met = self.control.met()?;
        self.faults += usize::from(met);
        ensure!(!fault.kills() || !met || finished.code.is_none(), "it outlived SIGKILL: {finished:?}");
        self.look_after_sink()?;
        Ok(finished)
    }

    fn overlap(&mut self, meanwhile: Meanwhile, killed: bool) -> Result<String> {
        self.proxy.expect(&[Fate::Held]);
        self.control.set_fault(Fault::None)?;
        let upload = self.begin(&["upload"], &self.control)?;
        let held = self.proxy.wait_held();
        self.beside.set_fault(Fault::None)?;
        let arguments: &[&str] = match meanwhile {
            Meanwhile::Audit => &AUDIT,
            Meanwhile::Upload => &["upload"],
            Meanwhile::Status => &["status"],
        };
        let other = self.begin(arguments, &self.beside)?.wait()?;
        if meanwhile == Meanwhile::Audit {
            self.attempts += 1;
            self.note(&other)?;
        }
        if killed && held {
            kill(Pid::from_raw(i32::try_from(upload.id)?), Signal::SIGKILL)?;
        }
        self.proxy.let_go();
        let upload = upload.wait()?;
        self.look_after_sink()?;
        let waited = if held { "it waited" } else { "it did not wait" };
        Ok(format!("{waited}; meanwhile: {}; then: {}", words(&other), words(&upload)))
    }

    fn daemon(&mut self, fates: &[Fate], fault: Fault, killed: bool) -> Result<String> {
        self.proxy.expect(fates);
        self.control.set_fault(fault)?;
        let mut agent = command(&self.agent);
        agent.args(["run", "--config"]).arg(&self.configuration);
        self.control.over(&mut agent)?;
        self.attempts += 1;
        let mut daemon = Program::start_command(&self.agent, agent)?;
        self.proxy.agent_is(daemon.id());
        let has = |lines: &[String], what: &str| lines.iter().any(|line| line.contains(what));
        let waited = daemon.wait_until("it has audited and tried to upload", PATIENCE, |lines| {
            has(lines, "this audit is not kept")
                || (has(lines, " audited ") && (has(lines, " uploaded ") || has(lines, "not uploaded")))
        });
        let log = daemon.log();
        let ended = if waited.is_err() {
            // By itself, by its fault or by the network's; hanging is none of these.
            daemon.wait(PATIENCE).context("the daemon hangs")?;
            "ended early"
        } else if killed {
            daemon.kill()?;
            "was killed"
        } else {
            ensure!(daemon.stop()?.code().is_none_or(|code| code == 0), "the daemon does not end well:\n{log}");
            "was stopped"
        };
        self.faults += usize::from(self.control.met()?);
        ensure!(!log.contains("panicked"), "the daemon panicked:\n{log}");
        for line in log.lines().filter(|line| line.contains(" audited ")) {
            let seq = line.split("seq=").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            let seq = seq.with_context(|| format!("no place in {line:?}"))?;
            self.reported.push(Reported { seq, digest: None });
        }
        self.look_after_sink()?;
        Ok(format!("the daemon {ended}: {}", last_line(&log)))
    }

    fn start_sink(&mut self) -> Result<bool> {
        self.look_after_sink()?;
        let up = self.sink.start()?;
        self.proxy.sink_is(self.sink.program.as_ref().map(Program::id));
        Ok(up)
    }

    fn end_sink(&mut self, signal: Signal) -> Result<String> {
        self.look_after_sink()?;
        self.proxy.sink_is(None);
        let Some(program) = self.sink.program.take() else { return Ok(GONE.into()) };
        self.sink.log += &(program.log() + "\n");
        match signal {
            Signal::SIGKILL => program.kill()?,
            _ => program.stop()?,
        };
        // A fault that was to kill it while it ends may have done so.
        self.sink.control.set_fault(self.sink.fault)?;
        Ok("it is down".into())
    }

    /// Notices that the sink was killed.
    fn look_after_sink(&mut self) -> Result<()> {
        let met = self.sink.control.met()?;
        let killed = (met && self.sink.fault.kills()) | self.proxy.has_killed_the_sink();
        if met && !matches!(self.sink.fault, Fault::From(..)) {
            self.faults += 1;
            self.sink.ask_for(Fault::None)?;
        }
        if killed && let Some(mut program) = self.sink.program.take() {
            program.wait(PATIENCE).context("the sink was killed and lives")?;
            self.sink.log += &(program.log() + "\n");
            self.proxy.sink_is(None);
        }
        let log = self.sink.log();
        ensure!(!log.contains("panicked"), "the sink panicked");
        Ok(())
    }

    /// Makes everything well, and lets the agent hand over what it has, without anybody's help.
    ///
    /// # Errors
    /// When it does not.
    pub fn heal(&mut self) -> Result<()> {
        self.look_after_sink()?;
        self.sink.ask_for(Fault::None)?;
        for control in [&self.sink.control, &self.control, &self.beside] {
            control.set_clock(0)?;
        }
        ensure!(self.start_sink()?, "the sink does not start again on a sound disk:\n{}", self.sink.log());
        self.proxy.expect(&[]);
        let late = self.proxy.deliver();
        self.tell(0, format!("everything is well again; {late} late requests came"));
        let before = self.reported.len();
        let came = self.audit(0, Fault::None)?;
        self.tell(0, came);
        ensure!(self.reported.len() == before + 1, "an audit on a sound disk is not kept");
        for _ in 0..DRAINS {
            let upload = self.command(&["upload"], Fault::None)?;
            self.tell(0, words(&upload));
            if upload.code == Some(0) {
                let again = self.command(&["upload"], Fault::None)?;
                self.tell(0, words(&again));
                ensure!(again.stdout.starts_with("0 acknowledged, 0 refused"), "something was left: {again:?}");
                return self.neighbour.heal();
            }
        }
        bail!("the agent does not hand over what it has in {DRAINS} uploads")
    }
}

pub(super) const AUDIT: [&str; 5] = ["audit", "--bundle", "certificate-hygiene", "--format", "json"];
const GONE: &str = "it was down already";

fn runs(up: bool) -> &'static str {
    if up { "runs" } else { "does not run" }
}

pub(super) fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing")
}

/// What a command came to, in a line.
pub(super) fn words(finished: &Finished) -> String {
    let code = finished.code.map_or_else(|| "killed".to_owned(), |code| format!("exit {code}"));
    let said = match serde_json::from_str::<Value>(&finished.stdout) {
        Ok(report) => format!("run {} {}", report["run"]["seq"], report["run"]["digest"]),
        Err(_) => finished.stdout.lines().next().unwrap_or_default().to_owned(),
    };
    format!("{code}: {said} {}", finished.stderr.trim().replace('\n', " / "))
}
