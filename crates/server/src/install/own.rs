//! The home's own installations: `HOME/postgres/17.11.0/bin`, as `nap pg install` puts them there.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use nap_model::ids::Major;

use super::Install;

/// Where the programs are, below an installation's directory.
pub const OWN_BIN: &str = "bin";

/// The version in a directory's name: major, minor, and the packagers' own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnVersion {
    /// PostgreSQL's major version.
    pub major: Major,
    /// Its minor version.
    pub minor: u16,
    /// How often that was packaged again.
    pub build: u16,
}

/// As a directory is called: `17.11.0`.
impl fmt::Display for OwnVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// A text that is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write a version such as 17.11")]
pub struct BadVersion;

/// `17.11` means `17.11.0`.
impl FromStr for OwnVersion {
    type Err = BadVersion;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Result<Vec<u16>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([major, minor]) => Ok(Self { major: Major(*major), minor: *minor, build: 0 }),
            Ok([major, minor, build]) => Ok(Self { major: Major(*major), minor: *minor, build: *build }),
            _ => Err(BadVersion),
        }
    }
}

/// Whether this is the directory of programs of one of the home's own.
pub fn is_own(bin: &Path, directory: &Path) -> bool {
    installs(directory).iter().any(|install| install.bin == bin)
}

/// The newest first. No program is run: that they run was seen when they were installed, and who looks may be root, who
/// must not run what belongs to another user.
pub(super) fn installs(directory: &Path) -> Vec<Install> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut versions: Vec<OwnVersion> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    versions.sort_by(|a, b| b.cmp(a));
    versions
        .into_iter()
        .map(|version| Install {
            bin: directory.join(version.to_string()).join(OWN_BIN),
            major: version.major,
            version: format!("{}.{}", version.major, version.minor),
        })
        .filter(|install| install.program("postgres").is_file())
        .collect()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files of a test need no durability")]
mod tests {
    use super::*;

    #[test]
    fn the_newest_comes_first_and_what_is_half_made_is_none() {
        let root = tempfile::tempdir().unwrap();
        for name in ["17.9.0", "17.11.0", "15.19.0", ".nap-tmp-x", "16.1.0"] {
            let bin = root.path().join(name).join(OWN_BIN);
            std::fs::create_dir_all(&bin).unwrap();
            if name != "16.1.0" {
                std::fs::write(bin.join("postgres"), "").unwrap();
            }
        }
        let found: Vec<String> = installs(root.path()).into_iter().map(|install| install.version).collect();
        assert_eq!(found, ["17.11", "17.9", "15.19"]);
        assert_eq!("17.11".parse::<OwnVersion>().unwrap().to_string(), "17.11.0");
        assert!("17".parse::<OwnVersion>().is_err() && "17.x".parse::<OwnVersion>().is_err());
    }
}
