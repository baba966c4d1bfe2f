//! The branches: records that cannot be read, servers that did not start.

use nap_control::{Answer, Request};
use nap_model::ids::BranchName;
use nap_model::state::State;
use nap_model::status::ServerStatus;
use nap_store::{BranchDir, BranchRecord, rotate};

use super::{ANSWER_DEADLINE, Finding, Patient};
use crate::branch_names::{DEFAULT_BRANCH_CURE, directories};

/// How much of a failed server's log is shown.
const LOG_END_MAX_BYTES: u64 = 4 * 1024;
const LOG_END_MAX_LINES: usize = 8;

/// The branches by name.
pub(super) fn names(patient: &Patient<'_>) -> Vec<BranchName> {
    directories(&patient.context.home).into_iter().filter_map(|name| name.parse().ok()).collect()
}

pub(super) fn records(patient: &Patient<'_>) -> Vec<Finding> {
    let directories = directories(&patient.context.home);
    let broken: Vec<Finding> = directories
        .iter()
        .filter_map(|name| {
            let dir = BranchDir { root: patient.context.home.branches_dir().join(name) };
            let error = BranchRecord::load(&dir).err()?;
            let cure = error.hint().map_or_else(|| "mend or move that directory".to_owned(), Into::into);
            Some(Finding::fail(format!("{name}: {error}"), cure))
        })
        .collect();
    if broken.is_empty() && !directories.is_empty() {
        return vec![Finding::ok(directories.len().to_string())];
    }
    broken
}

/// Clients that name no branch must find one.
pub(super) fn default_branch(patient: &Patient<'_>) -> Vec<Finding> {
    let default = &patient.settings.default_branch;
    let names = names(patient);
    if names.is_empty() {
        return Vec::new();
    }
    vec![if names.contains(default) {
        Finding::ok(default.to_string())
    } else {
        Finding::fail(format!("there is no branch \"{default}\""), DEFAULT_BRANCH_CURE)
    }]
}

pub(super) fn failed(patient: &Patient<'_>) -> Vec<Finding> {
    if patient.status.is_none() {
        return Vec::new();
    }
    let answer = patient.context.ask_within(&Request::List { disk: false }, ANSWER_DEADLINE);
    let Ok(Answer::Branches(branches)) = answer else { return Vec::new() };
    let failed: Vec<Finding> = branches
        .iter()
        .filter(|branch| branch.status.state == State::Failed || foreign(&branch.status).is_some())
        .map(|branch| {
            let log = patient.context.home.branch(&branch.name).server_log();
            let end = rotate::tail(&log, LOG_END_MAX_BYTES, LOG_END_MAX_LINES).unwrap_or_default();
            let failure = branch.status.failure.clone().unwrap_or_default();
            let why = if failure.is_empty() { end } else { failure };
            let cure = match foreign(&branch.status) {
                Some(pid) => format!("stop that server, PID {pid} (pg_ctl stop), then `nap wake {}`", branch.name),
                None => format!("`nap logs {0}` shows more; `nap wake {0}` tries again", branch.name),
            };
            let what = if branch.status.state == State::Failed { "did not start" } else { "cannot start" };
            Finding::fail(format!("{} {what}\n{why}", branch.name), cure)
        })
        .collect();
    if failed.is_empty() { vec![Finding::ok("none has failed")] } else { failed }
}

/// The process of a server on this branch's data that somebody else runs.
pub(crate) fn foreign(status: &ServerStatus) -> Option<u32> {
    let line = status.failure.as_deref()?.lines().next()?;
    let (_, rest) = line.split_once("Napgres did not start")?;
    let (_, rest) = rest.split_once("(PID ")?;
    rest.split_once(')')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_server_is_known_by_its_number() {
        let error = nap_server::error::WakeError::Foreign { branch: BranchName::main(), pid: 4711 };
        let mut status = ServerStatus::asleep(0);
        status.failure = Some(error.to_string());
        assert_eq!(foreign(&status), Some(4711));
        status.failure = Some("the server of branch \"main\" did not start: it ended".into());
        assert_eq!(foreign(&status), None);
    }
}
