//! PostgreSQL installations: where they are, which majors, and what to run where there is none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use nap_model::ids::Major;

mod own;
mod places;
mod survey;
pub use own::{OWN_BIN, OwnVersion, is_own};
pub use places::how_to_install;
pub use survey::{Found, Origin, survey};

/// The programs of one PostgreSQL version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// The directory with `postgres` and `initdb`.
    pub bin: PathBuf,
    /// The major version.
    pub major: Major,
    /// As the server names it: `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
}

impl Install {
    /// The path of one of its programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// The directory of its libraries, where libpq lies beside the modules that need it (`libpqwalreceiver`, postgres_fdw,
    /// dblink). In prebuilt archives these do not look beside themselves, and would load the system's libpq, or none.
    pub(crate) fn own_libraries(&self) -> Option<PathBuf> {
        let directory = self.bin.parent()?.join("lib");
        let has = |name: &str| directory.join(name).is_file();
        (has("libpq.so.5") && has("libpqwalreceiver.so")).then_some(directory)
    }

    /// Asks the `postgres` in this directory for its version; `None` if there is none that runs. `run` runs a command
    /// and gives its output, because the daemon may not wait for children on its own.
    pub fn probe(bin: &Path, run: Runner<'_>) -> Option<Self> {
        if !bin.join("postgres").is_file() {
            return None;
        }
        let printed = run(Command::new(bin.join("postgres")).arg("--version"))?;
        let version = parse_version(&printed)?;
        let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok()?;
        Some(Self { bin: bin.to_owned(), major, version: version.to_owned() })
    }
}

/// Runs a command and gives its standard output, or nothing if it failed.
pub type Runner<'a> = &'a dyn Fn(&mut Command) -> Option<String>;

/// The runner for processes that have no reaper of their own.
pub fn run_directly(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → `15.18 (Debian …)`.
fn parse_version(printed: &str) -> Option<&str> {
    printed.trim().strip_prefix("postgres (PostgreSQL) ")
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub struct Search<'a> {
    /// What `postgres_bin` names: it comes first.
    pub setting: Option<&'a Path>,
    /// The home's own installations, looked at last.
    pub own: &'a Path,
}

/// All installations of majors that Napgres runs, one per major, by major: the first one that [`survey()`] finds whole.
pub fn find_all(search: Search<'_>, run: Runner<'_>) -> BTreeMap<Major, Install> {
    let mut found = BTreeMap::new();
    for place in survey(search, run).into_iter().filter(Found::is_usable) {
        found.entry(place.install.major).or_insert(place.install);
    }
    found
}

/// Which of `found` new clusters get: the wanted major, else the one that `setting` names, else the newest.
pub fn choose<'a>(
    found: &'a BTreeMap<Major, Install>,
    wanted: Option<Major>,
    setting: Option<&Path>,
) -> Result<&'a Install, NoInstall> {
    if let Some(major) = wanted {
        return found.get(&major).ok_or(NoInstall { wanted: Some(major), found: found.keys().copied().collect() });
    }
    let set = setting.and_then(|bin| found.values().find(|install| install.bin == bin));
    set.or_else(|| found.values().next_back()).ok_or(NoInstall { wanted: None, found: Vec::new() })
}

/// There is no PostgreSQL to use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct NoInstall {
    /// The major that was asked for, if one was.
    pub wanted: Option<Major>,
    /// The majors that are there.
    pub found: Vec<Major>,
}

impl NoInstall {
    fn text(&self) -> String {
        let Some(major) = self.wanted else {
            return format!("no PostgreSQL {} or newer was found on this machine", Major::OLDEST);
        };
        if self.found.is_empty() {
            return format!("PostgreSQL {major} is not installed");
        }
        let found: Vec<String> = self.found.iter().map(ToString::to_string).collect();
        format!("PostgreSQL {major} is not installed; found: {}", found.join(", "))
    }

    /// The command that mends it.
    pub fn hint(&self) -> String {
        let major = self.wanted.map_or_else(|| "MAJOR".to_owned(), |major| major.to_string());
        format!(
            "install it with `{}`, fetch it with `nap pg install {major}`, or say where it is: postgres_bin in nap.toml",
            how_to_install(self.wanted)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(major: u16, bin: &str) -> (Major, Install) {
        (Major(major), Install { bin: bin.into(), major: Major(major), version: major.to_string() })
    }

    #[test]
    fn versions_of_packages_and_betas_are_read() {
        assert_eq!(
            parse_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some("15.18 (Debian 15.18-0+deb12u1)")
        );
        assert_eq!(parse_version("postgres (PostgreSQL) 18beta1\n"), Some("18beta1"));
        assert_eq!(parse_version("mysqld 8"), None);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "files of a test need no durability")]
    fn modules_find_the_libpq_that_lies_beside_them() {
        let root = tempfile::tempdir().unwrap();
        let (_, install) = install(17, root.path().join("bin").to_str().unwrap());
        let library = root.path().join("lib");
        std::fs::create_dir(&library).unwrap();
        std::fs::write(library.join("libpqwalreceiver.so"), "").unwrap();
        assert_eq!(install.own_libraries(), None, "libpq is the system's");
        std::fs::write(library.join("libpq.so.5"), "").unwrap();
        assert_eq!(install.own_libraries(), Some(library));
    }

    #[test]
    fn the_newest_wins_but_for_what_was_asked_or_set() {
        let found = BTreeMap::from([install(15, "/a"), install(17, "/b")]);
        assert_eq!(choose(&found, None, None).unwrap().major, Major(17));
        assert_eq!(choose(&found, None, Some(Path::new("/a"))).unwrap().major, Major(15));
        assert_eq!(choose(&found, Some(Major(15)), None).unwrap().major, Major(15));
        let none = choose(&found, Some(Major(16)), None).unwrap_err();
        assert_eq!(none.to_string(), "PostgreSQL 16 is not installed; found: 15, 17");
    }
}
