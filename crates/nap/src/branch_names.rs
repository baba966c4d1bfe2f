//! The names of branches as the home's directories tell them: for what must work without the daemon.

use nap_control::{Failure, FailureKind};
use nap_model::ids::BranchName;
use nap_model::nearest::{did_you_mean, nearest};
use nap_store::Home;

/// What helps when the branch of clients that name none is not there.
pub(crate) const DEFAULT_BRANCH_CURE: &str =
    "the setting default_branch names it: `nap config set default_branch=NAME` names one that is there";

/// The entries of `branches/`, in order. The daemon may be at work there, so nothing but looking is done.
pub(crate) fn directories(home: &Home) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(home.branches_dir())
        .map(|entries| entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

/// A failure that offers the nearest names.
pub(crate) fn no_such_branch(home: &Home, branch: &BranchName) -> Failure {
    let known = directories(home);
    let failure = Failure::new(FailureKind::NotFound, format!("there is no branch \"{branch}\""));
    match did_you_mean(nearest(branch.as_str(), known.iter().map(String::as_str))) {
        Some(question) => failure.hint(question),
        None if known.is_empty() => failure.hint(format!("is {} the home you mean?", home.root().display())),
        None => failure.hint("`nap ls` shows the branches"),
    }
}
