//! Child processes that are never left behind and never fail in silence.
//!
//! A [`Program`] keeps every line that its child writes, so that an error can show them, and is killed and reaped when it
//! is dropped, which includes a panic. Should this process itself be killed, the kernel kills the children: they are
//! started through `setpriv --pdeathsig`, from a thread that lives as long as the process does (the kernel's signal
//! follows the death of the parent *thread*).
//!
//! Waiting is by event: a line that was written, an output that was closed. Only a condition outside the child (a file
//! that appears) is looked at again every few milliseconds, and always within a limit.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a program may take to come up or to end when it was asked to.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How often a condition outside the child is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

type Job = (Command, SyncSender<std::io::Result<Child>>);

static SPAWNER: LazyLock<Mutex<Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = channel::<Job>();
    std::thread::spawn(move || {
        for (mut command, answer) in jobs {
            // Whoever asked may have gone; then the child is ours to end.
            if let Err(unsent) = answer.send(command.spawn())
                && let Ok(mut child) = unsent.0
            {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    });
    Mutex::new(sender)
});

/// A command for `program` whose process dies with this one.
#[must_use]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Starts `command` from the thread that outlives all others.
pub(crate) fn spawn(command: Command) -> Result<Child> {
    let (answer, child) = sync_channel(1);
    locked(&SPAWNER).send((command, answer)).map_err(|_| anyhow!("the thread that starts programs has ended"))?;
    child.recv().context("the thread that starts programs has ended")?.context("setpriv (util-linux) does not start")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program called `name` in the places where the system keeps daemons and tools.
///
/// # Errors
/// When it is not installed; the words name the Debian package.
pub fn installed(name: &str, package: &str) -> Result<PathBuf> {
    let places = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&places)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|place| place.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not installed; install it: apt-get install {package}"))
}

/// The binary called `name` of this workspace: in `GATEPOST_BIN_DIR` if that is set, else beside the running test.
///
/// # Errors
/// When it has not been built.
pub fn built(name: &str) -> Result<PathBuf> {
    let folders = match std::env::var_os("GATEPOST_BIN_DIR") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => {
            let test = std::env::current_exe().context("where this program stands is unknown")?;
            // Tests stand in target/<profile>/deps, binaries and examples one or no folder above.
            test.ancestors().skip(1).take(2).map(Path::to_owned).collect()
        }
    };
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file()).with_context(|| {
        let looked: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        format!("{name} is not in {}; build it first: cargo build --workspace", looked.join(" or "))
    })
}

/// What a child has written, and whether it can still write.
#[derive(Default)]
struct Log {
    written: Mutex<Written>,
    news: Condvar,
}

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    open: usize,
}

impl Log {
    fn follow(self: &Arc<Self>, output: Option<impl Read + Send + 'static>) {
        let Some(output) = output else { return };
        locked(&self.written).open += 1;
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                locked(&log.written).lines.push(text);
                log.news.notify_all();
                line.clear();
            }
            locked(&log.written).open -= 1;
            log.news.notify_all();
        });
    }
}

/// A child process with its log.
pub struct Program {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    log: Arc<Log>,
    ended: Option<ExitStatus>,
}

impl Program {
    /// Starts `program`. What it writes is kept.
    ///
    /// # Errors
    /// When there is no such program or it does not start.
    pub fn start<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut command = command(program);
        command.args(arguments);
        Self::start_command(program, command)
    }

    /// Starts `command`, which [`command`] made for `program` and the caller completed.
    ///
    /// # Errors
    /// When there is no such program or it does not start.
    pub fn start_command(program: &Path, command: Command) -> Result<Self> {
        Self::start_with(program, command, Stdio::null())
    }

    /// As [`Self::start_command`], for a program that is told things with [`Self::tell`] and ends when it can be told
    /// no more.
    ///
    /// # Errors
    /// As [`Self::start_command`].
    pub fn start_listening(program: &Path, command: Command) -> Result<Self> {
        Self::start_with(program, command, Stdio::piped())
    }

    fn start_with(program: &Path, mut command: Command, input: Stdio) -> Result<Self> {
        let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
        if !program.is_file() {
            bail!("{} does not exist", program.display());
        }
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn(command).with_context(|| format!("{name} does not start"))?;
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take());
        log.follow(child.stderr.take());
        let input = child.stdin.take();
        Ok(Self { name, child, input, log, ended: None })
    }

    /// Writes a line to its standard input.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().with_context(|| format!("{} is not listening", self.name))?;
        writeln!(input, "{line}").with_context(|| format!("{} does not listen any more", self.name))
    }

    /// How many lines it has written so far.
    #[must_use]
    pub fn lines(&self) -> usize {
        locked(&self.log.written).lines.len()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        locked(&self.log.written).lines.join("\n")
    }

    /// Waits until `ready` says so, looking at what was written so far, at each new line and every few milliseconds.
    ///
    /// # Errors
    /// When the program ends before, or `limit` passes. The log is in the error.
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut ready: impl FnMut(&[String]) -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        let mut written = locked(&self.log.written);
        while !ready(&written.lines) {
            let log = || self.name.clone() + " wrote:\n" + &written.lines.join("\n");
            if written.open == 0 {
                let log = log();
                drop(written);
                let status = self.child.wait().context("the program cannot be waited for")?;
                self.ended = Some(status);
                bail!("{} ended ({status}) before {what}; {log}", self.name);
            }
            if Instant::now() > deadline {
                bail!("{} had {} s for {what}; {}", self.name, limit.as_secs_f32(), log());
            }
            written = self.log.news.wait_timeout(written, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// When `limit` passes first. The program goes on.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let log = Arc::clone(&self.log);
        let (written, outcome) = log
            .news
            .wait_timeout_while(locked(&log.written), limit, |written| written.open > 0)
            .unwrap_or_else(PoisonError::into_inner);
        if outcome.timed_out() {
            bail!(
                "{} did not end within {} s; it wrote:\n{}",
                self.name,
                limit.as_secs_f32(),
                written.lines.join("\n")
            );
        }
        drop(written);
        let status = self.child.wait().with_context(|| format!("{} cannot be waited for", self.name))?;
        self.ended = Some(status);
        Ok(status)
    }

    /// Sends a signal, unless the program has ended.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        // Not reaped yet, so the number is still this child's.
        let id = i32::try_from(self.child.id()).context("the process id is out of range")?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("{} cannot be sent {signal}", self.name))
    }

    /// Asks the program to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// When it does not end in time; then it is killed.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(LIMIT)
    }

    /// Ends the program at once (SIGKILL).
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn kill(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(LIMIT)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended on its own; either way it is reaped.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::start(Path::new("/bin/sh"), ["-c", script]).unwrap()
    }

    fn alive(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[test]
    fn a_program_that_ends_too_early_is_shown_with_its_words() {
        let mut program = shell("echo on stdout; echo on stderr >&2; exit 3");
        let error = program.wait_until("it is ready", LIMIT, |_| false).unwrap_err().to_string();
        for words in ["before it is ready", "exit status: 3", "on stdout", "on stderr"] {
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_program_that_hangs_is_given_up_and_killed_with_its_owner() {
        let mut program = shell("echo started; exec cat /dev/zero > /dev/null");
        program.wait_until("its first line", LIMIT, |lines| lines == ["started"]).unwrap();
        let id = program.id();
        let error = program.wait_until("more", Duration::from_millis(20), |_| false).unwrap_err().to_string();
        assert!(error.contains("for more") && error.contains("started"), "{error}");
        assert!(alive(id));
        drop(program);
        assert!(!alive(id));
    }

    #[test]
    fn a_panic_leaves_nothing_behind() {
        let (sender, id) = channel();
        let panicked = std::thread::spawn(move || {
            let program = shell("exec cat /dev/zero > /dev/null");
            sender.send(program.id()).unwrap();
            panic!("on purpose");
        })
        .join();
        assert!(panicked.is_err());
        assert!(!alive(id.recv().unwrap()));
    }

    #[test]
    fn what_is_missing_is_named_with_the_remedy() {
        let error = installed("no-such-daemon", "some-package").unwrap_err().to_string();
        assert!(error.contains("apt-get install some-package"), "{error}");
        let error = built("no-such-binary").unwrap_err().to_string();
        assert!(error.contains("cargo build --workspace"), "{error}");
    }
}
