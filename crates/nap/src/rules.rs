//! The rules of a home as they lie on disk: `pg_hba.conf` and `pg_ident.conf`, and the files of branches that have their
//! own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use nap_control::Failure;
use nap_model::hba::{self, Files, Maps, Place, Problem, Problems, Rules};
use nap_model::ids::BranchName;
use nap_store::{BranchDir, Home, durable};

use crate::invoker::name_of;

/// Who may connect to which branch.
#[derive(Debug)]
pub(crate) struct RuleBook {
    home: Arc<Rules>,
    own: BTreeMap<BranchName, Arc<Rules>>,
}

impl RuleBook {
    /// Reads all files. Where the daemon listens beyond loopback, rules that would let others in unproved or unencrypted
    /// are problems too.
    pub(crate) fn load(home: &Home, beyond_loopback: bool) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let maps = Maps::load(&Disk, &home.pg_ident()).unwrap_or_else(|wrong| {
            problems.extend(wrong.iter().cloned());
            Maps::default()
        });
        let maps = Arc::new(maps);
        let mut load = |path: &Path| {
            let rules = Rules::load(&Disk, path, maps.clone()).unwrap_or_else(|wrong| {
                problems.extend(wrong.iter().cloned());
                Rules::default()
            });
            if beyond_loopback {
                problems.extend(hba::exposed(&rules));
            }
            Arc::new(rules)
        };
        let of_home = load(&home.pg_hba());
        let branches = branches_with_rules(home);
        let own = branches.iter().flatten().map(|(name, dir)| (name.clone(), load(&dir.pg_hba()))).collect();
        if let Err(error) = branches {
            // Whoever overlooked a branch's own rules would let the home's stand in for them.
            let message = format!("could not look for the branches' own rules: {error}");
            problems.push(Problem { place: Place::whole(&home.branches_dir()), message });
        }
        Problems::none_or(problems)?;
        Ok(Self { home: of_home, own })
    }

    /// The rules of this branch.
    pub(crate) fn of(&self, branch: &BranchName) -> Arc<Rules> {
        self.own.get(branch).unwrap_or(&self.home).clone()
    }

    /// A branch that was made from `parent` has taken on the parent's own file, and so its rules, as they are in force.
    pub(crate) fn inherit(&mut self, branch: &BranchName, parent: &BranchName) {
        match self.own.get(parent).cloned() {
            Some(rules) => drop(self.own.insert(branch.clone(), rules)),
            None => self.forget(branch),
        }
    }

    /// A branch that came from elsewhere has these, or those of the home.
    pub(crate) fn take_up(&mut self, branch: &BranchName, own: Option<Arc<Rules>>) {
        match own {
            Some(rules) => drop(self.own.insert(branch.clone(), rules)),
            None => self.forget(branch),
        }
    }

    /// A branch is gone.
    pub(crate) fn forget(&mut self, branch: &BranchName) {
        self.own.remove(branch);
    }
}

/// What a daemon starts with. Files that are missing are written as a home begins with them.
pub(crate) fn at_start(home: &Home, beyond_loopback: bool) -> anyhow::Result<RuleBook> {
    make_missing(home)?;
    let wrong = |problems| failure("the rules for connections cannot be used", &problems);
    Ok(RuleBook::load(home, beyond_loopback).map_err(wrong)?)
}

fn make_missing(home: &Home) -> anyhow::Result<()> {
    let uid = rustix::process::geteuid().as_raw();
    let owner = name_of(uid).unwrap_or_else(|| uid.to_string());
    for (path, text) in [(home.pg_hba(), hba::PG_HBA.to_owned()), (home.pg_ident(), hba::pg_ident(&owner))] {
        if path.symlink_metadata().is_err() {
            durable::write_atomic(&path, text.as_bytes(), 0o600)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(())
}

/// The rules of a cluster that comes from elsewhere: all of them must be ones that could stand in this home. `to` is where they
/// will.
pub(crate) fn arriving(
    home: &Home,
    text: &str,
    (from, to): (&Path, &Path),
    beyond_loopback: bool,
) -> Result<Arc<Rules>, Problems> {
    let maps = Arc::new(Maps::load(&Disk, &home.pg_ident())?);
    let rules = Rules::load(&OneFile { path: from, text }, from, maps.clone())?;
    let mut problems = rules.without_maps();
    if beyond_loopback {
        problems.extend(hba::exposed(&rules));
    }
    Problems::none_or(problems)?;
    Ok(Arc::new(Rules::load(&OneFile { path: to, text }, to, maps)?))
}

/// A file that may include no other: those stay where they are.
struct OneFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Files for OneFile<'_> {
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        if path != self.path {
            return Err(io::Error::other("what it includes is not taken over"));
        }
        let bytes = self.text.as_bytes().to_vec();
        if bytes.len() > max_bytes { Err(io::Error::other("it is too long")) } else { Ok(bytes) }
    }

    fn names(&self, _directory: &Path) -> io::Result<Vec<String>> {
        Err(io::Error::other("what it includes is not taken over"))
    }
}

/// How a command, or a start, fails by wrong rules.
pub(crate) fn failure(message: &str, problems: &Problems) -> Failure {
    let mut failure = Failure::failed(message);
    failure.cause.extend(problems.iter().map(ToString::to_string));
    failure.hint("correct the file; `nap config check` looks at it again")
}

fn branches_with_rules(home: &Home) -> io::Result<Vec<(BranchName, BranchDir)>> {
    let entries = match std::fs::read_dir(home.branches_dir()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_str().and_then(|name| name.parse::<BranchName>().ok());
        let Some(name) = name else { continue };
        let dir = home.branch(&name);
        match dir.pg_hba().symlink_metadata() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            Err(error) => return Err(error),
            Ok(_) => found.push((name, dir)),
        }
    }
    Ok(found)
}

pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        durable::read_bounded(path, max_bytes as u64)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if !entry.path().is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "files of a test need no durability")]
mod tests {
    use super::*;

    #[test]
    fn rules_of_branches_that_cannot_be_looked_for_are_not_taken_for_none() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().to_owned());
        make_missing(&home).unwrap();
        assert!(RuleBook::load(&home, false).is_ok(), "there are no branches yet");
        std::fs::create_dir_all(home.branch(&BranchName::main()).root).unwrap();
        std::fs::write(home.branches_dir().join("notes"), "no branch").unwrap();
        assert!(RuleBook::load(&home, false).is_ok(), "it has no rules of its own");
        std::fs::remove_dir_all(home.branches_dir()).unwrap();
        std::fs::write(home.branches_dir(), "in the way").unwrap();
        let problems = RuleBook::load(&home, false).unwrap_err().to_string();
        assert!(problems.contains("could not look for the branches' own rules"), "{problems}");
    }

    #[test]
    fn a_branch_has_the_rules_of_its_parent_and_none_of_a_branch_that_is_gone() {
        let (gone, plain): (BranchName, BranchName) = ("gone".parse().unwrap(), "plain".parse().unwrap());
        let own = Arc::new(Rules::default());
        let mut book = RuleBook { home: Arc::default(), own: BTreeMap::from([(gone.clone(), own.clone())]) };
        book.inherit(&"clone".parse().unwrap(), &gone);
        assert!(Arc::ptr_eq(&book.of(&"clone".parse().unwrap()), &own));
        book.inherit(&gone, &plain);
        assert!(Arc::ptr_eq(&book.of(&gone), &book.home));
    }
}
