//! Names and ids of branches, and PostgreSQL's major versions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The longest branch name in bytes: what fits a DNS label, so that a name can stand in a host name (SNI).
pub const BRANCH_NAME_MAX_BYTES: usize = 63;

/// A branch's name: 1 to 63 of `[a-z0-9-]`, beginning and ending with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BranchName(Arc<str>);

/// Why a text is no branch name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{name}\" is not a branch name: {problem}")]
pub struct BadBranchName {
    /// What was given (shortened to the longest name there can be, plus a few).
    pub name: String,
    /// Which rule it breaks.
    pub problem: &'static str,
}

impl BranchName {
    /// The name that `nap up` gives to the first branch, and the default when nothing names one.
    pub fn main() -> Self {
        Self(Arc::from("main"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BranchName {
    type Err = BadBranchName;

    fn from_str(name: &str) -> Result<Self, BadBranchName> {
        let bad =
            |problem| Err(BadBranchName { name: name.chars().take(BRANCH_NAME_MAX_BYTES + 3).collect(), problem });
        if name.is_empty() {
            return bad("it is empty");
        }
        if name.len() > BRANCH_NAME_MAX_BYTES {
            return bad("it is longer than 63 bytes");
        }
        if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return bad("only a-z, 0-9 and - may stand in it");
        }
        if name.starts_with('-') || name.ends_with('-') {
            return bad("it begins or ends with -");
        }
        Ok(Self(Arc::from(name)))
    }
}

impl TryFrom<String> for BranchName {
    type Error = BadBranchName;
    fn try_from(name: String) -> Result<Self, BadBranchName> {
        name.parse()
    }
}

impl From<BranchName> for String {
    fn from(name: BranchName) -> String {
        name.0.to_string()
    }
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// What stays the same when a branch is renamed: eight hexadecimal digits, drawn at random when it is made.
/// The private socket directory of its server is named by it, because socket paths must be short.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BranchId(Arc<str>);

/// A text that is not eight lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a branch id: it must be eight lower-case hexadecimal digits")]
pub struct BadBranchId(String);

impl BranchId {
    /// The id made of these (random) bytes.
    pub fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(Arc::from(format!("{:08x}", u32::from_be_bytes(bytes))))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BranchId {
    type Error = BadBranchId;
    fn try_from(id: String) -> Result<Self, BadBranchId> {
        let good = id.len() == 8 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if good { Ok(Self(Arc::from(id))) } else { Err(BadBranchId(id)) }
    }
}

impl From<BranchId> for String {
    fn from(id: BranchId) -> String {
        id.0.to_string()
    }
}

impl fmt::Display for BranchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A PostgreSQL major version: 14, 15, …
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Major(pub u16);

impl Major {
    /// The oldest major that Napgres runs: `recovery_init_sync_method=syncfs` came with it.
    pub const OLDEST: Major = Major(14);

    /// The newest minor of protocol 3 that a server of this major speaks: 3.2 came with 18.
    pub fn protocol_minor(self) -> u16 {
        if self.0 >= 18 { 2 } else { 0 }
    }
}

impl fmt::Display for Major {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Major {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim().parse().map(Major)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_rules_of_a_dns_label() {
        for good in ["main", "a", "pr-1234", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<BranchName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "Main", "a_b", "a.b", "a/b", "..", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<BranchName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_eight_hex_digits() {
        assert_eq!(BranchId::from_bytes([0, 0x1f, 2, 3]).as_str(), "001f0203");
        assert!(BranchId::try_from("001f020".to_owned()).is_err());
        assert!(BranchId::try_from("../../ab".to_owned()).is_err());
    }
}
