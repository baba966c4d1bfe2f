//! The branches: records that cannot be read, servers that did not start.

use nap_control::{Answer, Request};
use nap_model::ids::BranchName;
use nap_model::state::State;
use nap_store::{BranchDir, BranchRecord, rotate};

use super::{ANSWER_DEADLINE, Finding, Patient};
use crate::output::words;

/// How much of a failed server's log is shown.
const LOG_END_MAX_BYTES: u64 = 4 * 1024;
const LOG_END_MAX_LINES: usize = 8;

/// The entries of `branches/`. The daemon may be at work there, so nothing but looking is done.
fn directories(patient: &Patient<'_>) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(patient.context.home.branches_dir())
        .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// The branches by name.
pub(super) fn names(patient: &Patient<'_>) -> Vec<BranchName> {
    directories(patient).into_iter().filter_map(|name| name.parse().ok()).collect()
}

pub(super) fn records(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "branches";
    let directories = directories(patient);
    let broken: Vec<Finding> = directories
        .iter()
        .filter_map(|name| {
            let dir = BranchDir { root: patient.context.home.branches_dir().join(name) };
            let error = BranchRecord::load(&dir).err()?;
            let cure = error.hint().map_or_else(|| "mend or move that directory".to_owned(), Into::into);
            Some(Finding::fail(NAME, format!("{name}: {error}"), cure))
        })
        .collect();
    if broken.is_empty() && !directories.is_empty() {
        return vec![Finding::ok(NAME, words::count(directories.len() as u64, "branch", "branches"))];
    }
    broken
}

pub(super) fn failed(patient: &Patient<'_>) -> Vec<Finding> {
    const NAME: &str = "servers";
    if patient.status.is_none() {
        return Vec::new();
    }
    let answer = patient.context.ask_within(&Request::List, ANSWER_DEADLINE);
    let Ok(Answer::Branches(branches)) = answer else { return Vec::new() };
    let failed: Vec<Finding> = branches
        .iter()
        .filter(|branch| branch.status.state == State::Failed)
        .map(|branch| {
            let log = patient.context.home.branch(&branch.name).server_log();
            let end = rotate::tail(&log, LOG_END_MAX_BYTES, LOG_END_MAX_LINES).unwrap_or_default();
            let failure = branch.status.failure.clone().unwrap_or_default();
            let why = if failure.is_empty() { end } else { failure };
            let cure = format!("`nap logs {0}` shows more; `nap wake {0}` tries again", branch.name);
            Finding::fail(NAME, format!("{} did not start\n{why}", branch.name), cure)
        })
        .collect();
    if failed.is_empty() { vec![Finding::ok(NAME, "none has failed")] } else { failed }
}
