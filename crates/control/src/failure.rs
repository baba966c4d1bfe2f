//! How a command fails: a kind for programs, a message, its causes, and what to do.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of failure it is. The command's exit code follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// The request makes no sense as it was written.
    Usage,
    /// What it names does not exist.
    NotFound,
    /// It cannot be done in the present state: the name is taken, sessions are open, …
    Conflict,
    /// Whoever asks may not.
    Denied,
    /// It took longer than it may.
    TimedOut,
    /// There is no daemon.
    NotUp,
    /// Everything else that went wrong.
    Failed,
}

/// A failure, whole enough to be printed by a command or read by a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its sort.
    pub kind: FailureKind,
    /// What happened, as one line.
    pub message: String,
    /// Why, each entry the cause of the one before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cause: Vec<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Causes beyond these are dropped: a chain that long is a loop.
const CAUSES_MAX: usize = 16;

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), cause: Vec::new(), hint: None }
    }

    /// A failure of no special kind.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Failed, message)
    }

    /// The error becomes the message, and its sources the causes.
    pub fn from_error(kind: FailureKind, error: &dyn Error) -> Self {
        let mut lines = chain(Some(error));
        let cause = lines.split_off(1);
        Self { kind, message: lines.pop().unwrap_or_default(), cause, hint: None }
    }

    /// Adds an error, and its sources, as causes.
    #[must_use]
    pub fn caused_by(mut self, error: &dyn Error) -> Self {
        self.cause.extend(chain(Some(error)));
        self
    }

    /// Adds a line of cause.
    #[must_use]
    pub fn because(mut self, line: impl Into<String>) -> Self {
        self.cause.push(line.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The error and its sources. Some errors' messages end with their source's: that is not said twice.
fn chain(first: Option<&dyn Error>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut next = first;
    while let Some(error) = next.filter(|_| lines.len() < CAUSES_MAX) {
        let line = error.to_string();
        if !lines.last().is_some_and(|before| before.ends_with(&line)) {
            lines.push(line);
        }
        next = error.source();
    }
    lines
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.cause.iter().try_for_each(|cause| write!(f, ": {cause}"))
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_message_and_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot read it")]
        struct Outer(#[source] std::io::Error);
        let outer = Outer(std::io::Error::other("the disk is gone"));
        let failure = Failure::from_error(FailureKind::Failed, &outer).hint("buy a disk");
        assert_eq!(failure.message, "cannot read it");
        assert_eq!(failure.cause, ["the disk is gone"]);
        assert_eq!(failure.to_string(), "cannot read it: the disk is gone");
        let twice = std::io::Error::other(Outer(std::io::Error::other("x")));
        assert_eq!(Failure::from_error(FailureKind::Failed, &twice).cause, ["x"]);
        let read: Failure = serde_json::from_str(&serde_json::to_string(&failure).unwrap()).unwrap();
        assert_eq!(read, failure);
    }
}
