//! What the spool remembers of the sink's log: the newest checkpoint that was verified, which later ones must continue.

use std::path::Path;

use super::{Spool, SpoolError};

const KEY: &str = "sink_checkpoint";

impl Spool {
    /// Remembers the newest checkpoint that was verified, a signed note.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn set_checkpoint(&mut self, note: &str) -> Result<(), SpoolError> {
        self.set(KEY, note)
    }

    /// The newest checkpoint that was verified; none before the first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn checkpoint(&self) -> Result<Option<String>, SpoolError> {
        Ok(self.setting(KEY)?.filter(|note| !note.is_empty()))
    }

    /// Starts over with a sink, as an enrolment does: the next checkpoint need not continue any.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_checkpoint(&mut self) -> Result<(), SpoolError> {
        self.set(KEY, "")
    }

    /// The state folder that the spool is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }
}
