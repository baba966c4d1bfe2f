//! What is wrong with a file of rules, and where.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: Arc<Path>,
    /// From 1; 0 is the file as a whole.
    line: u32,
}

impl Place {
    pub(super) fn new(file: Arc<Path>, line: u32) -> Self {
        Self { file, line }
    }

    /// The file, and no line of it.
    pub fn whole(file: &Path) -> Self {
        Self { file: file.into(), line: 0 }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}", self.file.display()),
            line => write!(f, "{}:{line}", self.file.display()),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, in PostgreSQL's words where it has some.
    pub message: String,
}

/// How many problems are told: who has more begins with these.
const TOLD_MAX: usize = 20;

/// All that is wrong, at least one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// An error, if there are problems.
    pub fn none_or(mut problems: Vec<Problem>) -> Result<(), Self> {
        problems.truncate(TOLD_MAX);
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
