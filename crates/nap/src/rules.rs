//! The rules of a home as they lie on disk: `pg_hba.conf` and `pg_ident.conf`, and the files of branches that have their
//! own.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use nap_control::Failure;
use nap_model::hba::{self, Files, Maps, Problems, Rules};
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
        let own = branches_with_rules(home).into_iter().map(|(name, dir)| (name, load(&dir.pg_hba()))).collect();
        Problems::none_or(problems)?;
        Ok(Self { home: of_home, own })
    }

    /// The rules of this branch.
    pub(crate) fn of(&self, branch: &BranchName) -> Arc<Rules> {
        self.own.get(branch).unwrap_or(&self.home).clone()
    }

    /// A branch that was made from `parent` has taken on the parent's own file, and so its rules, as they are in force.
    pub(crate) fn inherit(&mut self, branch: &BranchName, parent: &BranchName) {
        if let Some(rules) = self.own.get(parent).cloned() {
            self.own.insert(branch.clone(), rules);
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

/// How a command, or a start, fails by wrong rules.
pub(crate) fn failure(message: &str, problems: &Problems) -> Failure {
    let mut failure = Failure::failed(message);
    failure.cause.extend(problems.iter().map(ToString::to_string));
    failure.hint("correct the file; `nap config check` looks at it again")
}

fn branches_with_rules(home: &Home) -> Vec<(BranchName, BranchDir)> {
    let names = std::fs::read_dir(home.branches_dir()).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().to_str()?.parse::<BranchName>().ok());
    let with_dir = names.map(|name| (name.clone(), home.branch(&name)));
    with_dir.filter(|(_, dir)| dir.pg_hba().symlink_metadata().is_ok()).collect()
}

struct Disk;

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
