//! The part of systemd that a service talks to: the socket that it tells its state to (sd_notify(3)).

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A notification socket.
pub struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    told: Vec<String>,
}

impl Manager {
    /// A socket in `folder`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn listen(folder: &Path) -> Result<Self> {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).with_context(|| format!("no socket at {}", path.display()))?;
        Ok(Self { socket, path, told: Vec::new() })
    }

    /// What goes into `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the service says `state`, such as `READY=1`, and returns everything it said so far.
    ///
    /// # Errors
    /// When it does not within `limit`.
    pub fn wait_for(&mut self, state: &str, limit: Duration) -> Result<&[String]> {
        let deadline = Instant::now() + limit;
        let mut datagram = [0; 4096];
        while !self.told.iter().any(|told| told == state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{state} was not said within {} s, but {:?}", limit.as_secs_f32(), self.told);
            }
            self.socket.set_read_timeout(Some(left)).context("the socket takes no time limit")?;
            // Running into the limit is noticed above.
            if let Ok(length) = self.socket.recv(&mut datagram) {
                let text = String::from_utf8_lossy(&datagram[..length]);
                self.told.extend(text.lines().map(str::to_owned));
            }
        }
        Ok(&self.told)
    }
}
