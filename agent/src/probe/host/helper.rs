//! Programs that are asked where no file knows: by absolute path, for a bounded time, with bounded output, and with an
//! environment of our own. Nothing they print is believed to be more than text.

use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use gatepost_evidence::look::{Failure, FailureKind};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::root::Root;

/// How long a helper may take.
pub const LIMIT: Duration = Duration::from_secs(5);
/// The most bytes that are read of what it prints.
pub const MAX_OUTPUT: usize = 2 * 1024 * 1024;

/// What the program at the first of `places` that exists prints, when called with `arguments`; `name` is what a snapshot keeps
/// it by.
///
/// # Errors
/// `not_found` when there is no such program; else what it said on its way out, or that it took too long or said too much.
pub fn ask(root: &Root, name: &str, places: &[&str], arguments: &[&str]) -> Result<String, Failure> {
    root.answer(name, || run(installed(places)?, arguments, LIMIT, MAX_OUTPUT))
}

/// As [`ask`], of a program that prints up to `most` bytes, of which only what `reduce` makes of them is kept.
///
/// # Errors
/// As [`ask`], or what `reduce` says.
pub fn ask_much(
    root: &Root,
    name: &str,
    places: &[&str],
    arguments: &[&str],
    most: usize,
    reduce: impl FnOnce(&str) -> Result<String, Failure>,
) -> Result<String, Failure> {
    root.answer(name, || reduce(&run(installed(places)?, arguments, LIMIT, most)?))
}

fn installed<'a>(places: &[&'a str]) -> Result<&'a Path, Failure> {
    places
        .iter()
        .copied()
        .map(Path::new)
        .find(|place| place.exists())
        .ok_or_else(|| Failure::new(FailureKind::NotFound, format_args!("{} is not installed", places.join(" or "))))
}

fn run(program: &Path, arguments: &[&str], limit: Duration, most: usize) -> Result<String, Failure> {
    let shown = program.display();
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("LC_ALL", "C"),
            ("SYSTEMD_PAGER", ""),
            ("SYSTEMD_COLORS", "0"),
        ])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that it can be ended with everything it has started.
        .process_group(0)
        .spawn()
        .map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::PermissionDenied => FailureKind::Denied,
                ErrorKind::NotFound => FailureKind::NotFound,
                _ => FailureKind::Error,
            };
            Failure::new(kind, format_args!("{shown}: {error}"))
        })?;
    let (sender, receiver) = mpsc::channel();
    let read = |stream: Option<Box<dyn Read + Send>>, most: usize| {
        let sender = sender.clone();
        // Not joined: who keeps the pipe open beyond its group's end must not hold up the look.
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let result = stream.map_or(Ok(0), |stream| stream.take(most as u64 + 1).read_to_end(&mut bytes));
            let _ = sender.send((most, result.map(|_| bytes)));
        });
    };
    let (out, complaints) = (most, 4096);
    read(child.stdout.take().map(|stream| Box::new(stream) as _), out);
    read(child.stderr.take().map(|stream| Box::new(stream) as _), complaints);
    let end = std::time::Instant::now() + limit;
    let (mut text, mut words) = (Vec::new(), Vec::new());
    let mut failed = None;
    for _ in 0..2 {
        match receiver.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {
            Ok((most, Ok(bytes))) if most == out && bytes.len() > out => {
                let detail = format!("{shown} prints more than {most} bytes");
                failed = Some(Failure::new(FailureKind::TooLarge, detail));
                break;
            }
            Ok((most, Ok(bytes))) => *(if most == out { &mut text } else { &mut words }) = bytes,
            Ok((_, Err(error))) => {
                failed = Some(Failure::new(FailureKind::Error, format_args!("{shown}: {error}")));
                break;
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let detail = format!("{shown} has not ended after {} s", limit.as_secs_f32());
                failed = Some(Failure::new(FailureKind::TimedOut, detail));
                break;
            }
        }
    }
    // It has closed its output, or is not waited for any longer.
    if failed.is_some()
        && let Ok(id) = i32::try_from(child.id())
    {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let status = wait(&mut child, end);
    if let Some(failure) = failed {
        return Err(failure);
    }
    let words = String::from_utf8_lossy(&words);
    match status {
        Some(status) if status.success() => Ok(String::from_utf8_lossy(&text).into_owned()),
        Some(status) => {
            let denied = ["Operation not permitted", "Permission denied", "must be root", "Access denied"];
            let kind =
                if denied.iter().any(|word| words.contains(word)) { FailureKind::Denied } else { FailureKind::Error };
            Err(Failure::new(kind, format_args!("{shown}: {status}: {}", words.trim())))
        }
        None => {
            let detail = format!("{shown} has not ended after {} s", limit.as_secs_f32());
            Err(Failure::new(FailureKind::TimedOut, detail))
        }
    }
}

/// Its status; None when it had to be ended.
fn wait(child: &mut std::process::Child, end: std::time::Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if std::time::Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_prints_and_how_it_ends_is_told() {
        let shell = |text: &str| run(Path::new("/bin/sh"), &["-c", text], LIMIT, MAX_OUTPUT);
        assert_eq!(shell("echo $LC_ALL $HOME"), Ok("C\n".into()));
        let failure = shell("echo Operation not permitted >&2; exit 3").unwrap_err();
        assert_eq!(failure.kind, FailureKind::Denied);
        assert!(failure.detail.contains("Operation not permitted"), "{failure}");
        assert_eq!(shell("exit 3").unwrap_err().kind, FailureKind::Error);
        assert_eq!(run(Path::new("/nowhere/nft"), &[], LIMIT, MAX_OUTPUT).unwrap_err().kind, FailureKind::NotFound);
        assert_eq!(shell("head -c 3000000 /dev/zero").unwrap_err().kind, FailureKind::TooLarge);
    }

    /// The helper and what it has started are ended, and nothing waits for them.
    #[test]
    fn one_that_hangs_is_ended() {
        let began = std::time::Instant::now();
        let limit = Duration::from_millis(100);
        for text in ["sleep 600", "sleep 600 & sleep 600", "exec >&- 2>&-; sleep 600", "trap '' TERM; sleep 600"] {
            let failure = run(Path::new("/bin/sh"), &["-c", text], limit, MAX_OUTPUT).unwrap_err();
            assert_eq!(failure.kind, FailureKind::TimedOut, "{text}: {failure}");
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
