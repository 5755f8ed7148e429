//! What is wrong with a pack: every mistake at once, each with its line, its control and what to do about it.

use std::fmt;

/// One mistake in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackError {
    /// The line it stands on, from 1.
    pub line: usize,
    /// The key of the control it is in, if it is in one.
    pub control: Option<String>,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for PackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        if let Some(control) = &self.control {
            write!(f, "{control}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Everything that is wrong with a pack, in the order of its lines. Displayed one mistake a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackErrors(Vec<PackError>);

impl PackErrors {
    pub(crate) fn new(mut errors: Vec<PackError>) -> Self {
        errors.sort_by_key(|error| error.line);
        Self(errors)
    }

    /// The mistakes.
    #[must_use]
    pub fn errors(&self) -> &[PackError] {
        &self.0
    }
}

impl fmt::Display for PackErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the pack does not load, {count} {}:", if count == 1 { "mistake" } else { "mistakes" })?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for PackErrors {}
