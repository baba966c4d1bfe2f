//! The PostgreSQL installations that a test may use.

use std::path::{Path, PathBuf};
use std::process::Command;

/// An installed PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The directory with `postgres`, `psql` and the others.
    pub bin: PathBuf,
    /// Its major version.
    pub major: u16,
}

impl Install {
    /// The one in this directory.
    pub fn at(bin: &Path) -> Option<Self> {
        let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let number = text.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?;
        Some(Self { bin: bin.to_owned(), major: number.parse().ok()? })
    }

    /// One of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }
}

/// The installations to test with, from `NAP_TEST_PG_BINS` (directories, divided by colons), else the system's newest.
/// The first is what a [`TestHome`](crate::TestHome) uses unless it is told otherwise; `./test` runs the integration
/// tests once for each, with that one in front.
pub fn pg_majors() -> Vec<Install> {
    if let Some(list) = std::env::var_os("NAP_TEST_PG_BINS") {
        return std::env::split_paths(&list)
            .map(|bin| Install::at(&bin).unwrap_or_else(|| panic!("no PostgreSQL in {}", bin.display())))
            .collect();
    }
    let mut found: Vec<Install> = system_directories().iter().filter_map(|bin| Install::at(bin)).collect();
    found.sort_by_key(|install| std::cmp::Reverse(install.major));
    found.truncate(1);
    assert!(!found.is_empty(), "no PostgreSQL on this system: run ./test, or set NAP_TEST_PG_BINS");
    found
}

fn system_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|majors| majors.flatten().map(|major| major.path().join("bin")).collect())
        .unwrap_or_default();
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        directories.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    directories
}
