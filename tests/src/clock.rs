//! A clock that a test turns: programs that are started under it see the wall clock moved, and wait in real time.
//!
//! It is Debian's libfaketime, which asks a file for the offset each time somebody asks for the time. Monotonic clocks and the
//! times of files stay as they are, so that time limits and polling behave.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};

use crate::pki;

/// Where Debian has the library, below `/usr/lib/<architecture>`.
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A wall clock that is ahead of the real one by what a file says.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
    ahead: Duration,
}

impl Clock {
    /// A clock that is right, with its file in `folder`.
    ///
    /// # Errors
    /// When libfaketime is not installed, or the file cannot be written.
    pub fn start(folder: &Path) -> Result<Self> {
        let folders = std::fs::read_dir("/usr/lib").context("/usr/lib cannot be read")?;
        let library = folders.flatten().map(|entry| entry.path().join(LIBRARY)).find(|path| path.is_file());
        let library = library.context("libfaketime is not installed; install it: apt-get install libfaketime")?;
        let clock = Self { library, file: folder.join("clock"), ahead: Duration::ZERO };
        clock.write()?;
        Ok(clock)
    }

    /// A clock that stays wrong by `seconds`, back where they are negative, with its file in `folder`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn off_by(folder: &Path, seconds: i64) -> Result<Self> {
        let clock = Self::start(folder)?;
        pki::write(&clock.file, format!("{seconds:+}\n").as_bytes(), 0o600)?;
        Ok(clock)
    }

    /// Turns it forward. Whoever runs under it sees that at once.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn forward(&mut self, by: Duration) -> Result<()> {
        self.ahead += by;
        self.write()
    }

    fn write(&self) -> Result<()> {
        // Whole and at once, by a rename: whoever reads half a number is at another time.
        pki::write(&self.file, format!("+{}\n", self.ahead.as_secs()).as_bytes(), 0o600)
    }

    /// What it shows.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::try_from(self.ahead).unwrap_or_default()
    }

    /// What a program's environment must have to run under it.
    #[must_use]
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let variables: [(&str, &Path); 5] = [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", Path::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
            ("NO_FAKE_STAT", Path::new("1")),
        ];
        variables.map(|(name, value)| (name.into(), value.as_os_str().to_owned())).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::run;
    use crate::process::{LIMIT, command};

    #[test]
    fn a_program_sees_the_time_that_the_clock_was_turned_to() {
        let folder = tempfile::tempdir().unwrap();
        let mut clock = Clock::start(folder.path()).unwrap();
        let asked = |clock: &Clock| {
            let mut date = command(Path::new("/bin/date"));
            date.arg("+%s").envs(clock.variables());
            let seconds: i64 = run(date, LIMIT).unwrap().expect_code(0).unwrap().stdout.trim().parse().unwrap();
            (seconds - clock.now().as_second()).abs()
        };
        assert!(asked(&clock) < 60);
        clock.forward(Duration::from_secs(90 * 3600)).unwrap();
        assert!(asked(&clock) < 60);
        assert!(clock.now().as_second() - Timestamp::now().as_second() > 89 * 3600);
    }
}
