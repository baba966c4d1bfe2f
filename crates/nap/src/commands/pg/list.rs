//! `nap pg list`

use std::path::{Path, PathBuf};

use clap::Args;
use nap_model::ids::{BranchName, Major};
use nap_server::install::{Found, Origin, Search, run_directly, survey};
use nap_store::{BranchDir, BranchRecord, Home};
use serde::Serialize;

use crate::branch_names::directories;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::output::table;
use crate::pg_install::KNOWN;
use crate::trust::trusted_bin;

/// Show the PostgreSQL versions that were found, and those that can be installed
#[derive(Debug, Args)]
pub(crate) struct List {}

#[derive(Debug, Serialize)]
struct Report {
    found: Vec<Entry>,
    /// The majors that `nap pg install` knows.
    can_be_installed: Vec<u16>,
}

#[derive(Debug, Serialize)]
struct Entry {
    major: Major,
    version: String,
    directory: PathBuf,
    from: &'static str,
    /// Another one of its major comes first.
    is_hidden: bool,
    branches: Vec<BranchName>,
    missing: Vec<&'static str>,
}

impl List {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        // With settings that cannot be read, the places that need none are still worth a look.
        let setting = context.settings().ok().and_then(|settings| settings.postgres_bin);
        let report = report(&context.home, trusted_bin(&context.home, setting.as_deref()));
        context.output.result(&report, || say(&report))
    }
}

fn report(home: &Home, setting: Option<&Path>) -> Report {
    let found = survey(Search { setting, own: &home.postgres_dir() }, &run_directly);
    let branches = branches(home);
    let first = |major| found.iter().position(|found| found.is_usable() && found.install.major == major);
    let entry = |(number, found): (usize, &Found)| {
        let is_first = first(found.install.major) == Some(number);
        let is_its = |(_, major): &&(BranchName, Major)| is_first && *major == found.install.major;
        Entry {
            major: found.install.major,
            version: found.install.version.clone(),
            directory: found.install.bin.clone(),
            from: match found.origin {
                Origin::Setting => "postgres_bin",
                Origin::System => "system",
                Origin::Home => "nap pg install",
            },
            is_hidden: found.is_usable() && !is_first,
            branches: branches.iter().filter(is_its).map(|(name, _)| name.clone()).collect(),
            missing: found.missing.clone(),
        }
    };
    let entries = found.iter().enumerate().map(entry).collect();
    Report { found: entries, can_be_installed: KNOWN.map(|(major, _)| major).to_vec() }
}

/// The branches whose records can be read, by name.
fn branches(home: &Home) -> Vec<(BranchName, Major)> {
    let record = |name: String| BranchRecord::load(&BranchDir { root: home.branches_dir().join(name) }).ok();
    directories(home).into_iter().filter_map(record).map(|record| (record.name, record.major)).collect()
}

fn say(report: &Report) -> String {
    let known: Vec<String> = report.can_be_installed.iter().map(ToString::to_string).collect();
    let offer = format!("`nap pg install MAJOR` can fetch {}.\n", known.join(", "));
    if report.found.is_empty() {
        return format!("no PostgreSQL was found\n{offer}");
    }
    let mut table = table::with_header(["PG", "VERSION", "FROM", "BRANCHES", "MISSING", "DIRECTORY"]);
    for entry in &report.found {
        let branches: Vec<&str> = entry.branches.iter().map(BranchName::as_str).collect();
        let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
        table.add_row([
            entry.major.to_string(),
            entry.version.clone(),
            entry.from.to_owned(),
            if entry.is_hidden { "(another one comes first)".to_owned() } else { dash(branches.join(", ")) },
            dash(entry.missing.join(", ")),
            entry.directory.display().to_string(),
        ]);
    }
    table::text(table) + &offer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_what_can_be_had() {
        let entry = |major, from, missing: &[&'static str], branches: &[&str]| Entry {
            major: Major(major),
            version: format!("{major}.5"),
            directory: format!("/pg/{major}/bin").into(),
            from,
            is_hidden: missing.is_empty() && branches.is_empty(),
            branches: branches.iter().map(|name| name.parse().unwrap()).collect(),
            missing: missing.to_vec(),
        };
        let found = vec![
            entry(17, "system", &[], &["main", "dev"]),
            entry(16, "system", &["initdb"], &[]),
            entry(17, "nap pg install", &[], &[]),
        ];
        insta::assert_snapshot!(say(&Report { found, can_be_installed: vec![17, 18] }));
    }
}
