//! Everything of PostgreSQL that is on the machine, whole or not, in the order of preference.

use std::collections::HashSet;
use std::path::PathBuf;

use nap_model::ids::Major;

use super::{Install, Runner, Search, own, places};

/// Who put it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `postgres_bin` names it.
    Setting,
    /// The system's packages, or somebody's own hands.
    System,
    /// `nap pg install` fetched it.
    Home,
}

/// An installation that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// It.
    pub install: Install,
    /// Who put it there.
    pub origin: Origin,
    /// The programs that are not there.
    pub missing: Vec<&'static str>,
}

/// Without these no branch can be made or run.
const NEEDED: [&str; 2] = ["postgres", "initdb"];
/// Those that people and later commands of ours expect beside them.
const EXPECTED: [&str; 7] = ["psql", "pg_ctl", "pg_dump", "pg_restore", "pg_basebackup", "pg_controldata", "pg_rewind"];

impl Found {
    /// Whether branches can run with it.
    pub fn is_usable(&self) -> bool {
        self.install.major >= Major::OLDEST && !NEEDED.iter().any(|program| self.missing.contains(program))
    }

    fn at(install: Install, origin: Origin) -> Self {
        let programs = NEEDED.iter().chain(&EXPECTED);
        let missing = programs.copied().filter(|program| !install.program(program).is_file()).collect();
        Self { install, origin, missing }
    }
}

/// Looks everywhere: what is set, `pg_config` on the PATH, the places of the packages, the home's own.
pub fn survey(search: Search<'_>, run: Runner<'_>) -> Vec<Found> {
    let mut seen: HashSet<PathBuf> = HashSet::new();
    // A directory of links to another one is no other installation.
    let mut is_new = |bin: &PathBuf| seen.insert(bin.join("postgres").canonicalize().unwrap_or_else(|_| bin.clone()));
    let own = own::installs(search.own);
    // One of the home's own is not run to learn what it is, whoever names it.
    let preferred = own.iter().find(|install| Some(install.bin.as_path()) == search.setting).cloned();
    let setting = search.setting.filter(|_| preferred.is_none()).map(|bin| (bin.to_owned(), Origin::Setting));
    let system = places::candidates(run).into_iter().map(|bin| (bin, Origin::System));
    let mut of_home = |install: Install| is_new(&install.bin).then(|| Found::at(install, Origin::Home));
    let mut found: Vec<Found> = preferred.and_then(&mut of_home).into_iter().collect();
    let others: Vec<Found> = own.into_iter().filter_map(of_home).collect();
    let outside = setting.into_iter().chain(system).filter(|(bin, _)| bin.join("postgres").is_file() && is_new(bin));
    found.extend(outside.filter_map(|(bin, origin)| Some(Found::at(Install::probe(&bin, run)?, origin))));
    found.extend(others);
    found
}
