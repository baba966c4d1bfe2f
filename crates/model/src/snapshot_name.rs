//! Names of snapshots.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::BranchName;

/// A snapshot's name: as a branch's, but it begins with a letter, so that no place in the log and no time looks like it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotName(BranchName);

/// A text that is no snapshot's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a snapshot's name: 1 to 63 of a-z, 0-9 and -, beginning with a letter, not ending with -")]
pub struct BadSnapshotName(String);

/// So much of a bad name is repeated.
const SHOWN_MAX_CHARS: usize = 66;

impl SnapshotName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for SnapshotName {
    type Err = BadSnapshotName;

    fn from_str(name: &str) -> Result<Self, BadSnapshotName> {
        let bad = || BadSnapshotName(name.chars().take(SHOWN_MAX_CHARS).collect());
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) {
            return Err(bad());
        }
        name.parse().map(Self).map_err(|_| bad())
    }
}

impl TryFrom<String> for SnapshotName {
    type Error = BadSnapshotName;
    fn try_from(name: String) -> Result<Self, BadSnapshotName> {
        name.parse()
    }
}

impl From<SnapshotName> for String {
    fn from(name: SnapshotName) -> String {
        name.0.into()
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_could_be_a_moment_is_a_name() {
        for name in ["before-migration", "v1", "a"] {
            assert_eq!(name.parse::<SnapshotName>().unwrap().as_str(), name);
        }
        for name in ["", "2026-11-20", "1", "-a", "a-", "A", "a b", "0/1"] {
            assert!(name.parse::<SnapshotName>().is_err(), "{name}");
        }
    }
}
