//! `nap set`

use std::str::FromStr;

use clap::Args;
use nap_control::{Answer, Request};
use nap_model::ids::{BadBranchName, BranchName};
use nap_model::nearest::{did_you_mean, nearest};
use nap_model::settings::{FATES, Fate, SPECS, Spec, on_or_off};

use crate::command_error::CommandError;
use crate::commands::config::{self, say_changes, value};
use crate::complete;
use crate::context::{Context, unexpected};

mod show;

/// Change a branch's own settings: nap set dev sleep_after=5min
///
/// Without any it shows what holds for the branch, and whether that is its own, the home's, or the default. It wakes nothing: sleep_after=never keeps a sleeping branch awake from its next wake on. An empty value takes the
/// branch's own setting away, so that the home's counts again.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The branch
    #[arg(add = complete::branch())]
    branch: BranchName,
    /// What to change; a branch has: port, sleep_after, flash, doze_after, park, answer_pings, maintenance_budget, wake_at, wake_sql, replication_guard, control_role, history, history_max_gb, and ttl (it is removed so long from now), protected (it is not), name, and default (it is the branch of clients that name none)
    #[arg(value_name = "NAME=VALUE")]
    settings: Vec<Assignment>,
}

/// `name=value`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FromStr for Assignment {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
        Ok(Self { name: name.trim().to_owned(), value: value.trim().to_owned() })
    }
}

impl Set {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        if self.settings.is_empty() {
            return show::show(context, &self.branch);
        }
        if let Some(Assignment { value, .. }) = self.alone(NAME)? {
            return rename(context, &self.branch, value);
        }
        if let Some(Assignment { value, .. }) = self.alone(DEFAULT)? {
            return make_default(context, &self.branch, value);
        }
        self.settings.iter().try_for_each(check)?;
        let settings = self.settings.into_iter().map(|set| (set.name, set.value)).collect();
        match context.ask(&Request::SetBranch { name: self.branch, settings })? {
            Answer::Config(report) => context.output.result(&report, || say_changes(&report)),
            Answer::Done => context.output.done("done"),
            other => Err(unexpected(&other)),
        }
    }

    /// What is no setting of the branch's own is changed by itself.
    fn alone(&self, name: &str) -> Result<Option<&Assignment>, CommandError> {
        match self.settings.iter().find(|set| set.name == name) {
            Some(_) if self.settings.len() > 1 => Err(CommandError::usage(format!("{name} is set alone"))
                .hint("the others in a command of their own")
                .into()),
            found => Ok(found),
        }
    }
}

/// The branch's name.
const NAME: &str = "name";
/// Whether it is the branch of clients that name none.
const DEFAULT: &str = "default";

fn rename(context: &Context, branch: &BranchName, to: &str) -> Result<(), CommandError> {
    let to: BranchName = to.parse().map_err(|error: BadBranchName| CommandError::usage(error.to_string()))?;
    match context.ask(&Request::RenameBranch { name: branch.clone(), to: to.clone() })? {
        Answer::Done | Answer::Config(_) => context.output.done(&format!("{branch} is {to} now")),
        other => Err(unexpected(&other)),
    }
}

fn make_default(context: &Context, branch: &BranchName, value: &str) -> Result<(), CommandError> {
    match on_or_off(value) {
        Ok(true) => config::set_default_branch(context, branch),
        Ok(false) => {
            let failure = CommandError::usage("there is always a default branch");
            Err(failure.hint("make another one the default: nap set NAME default=on").into())
        }
        Err(reason) => Err(CommandError::usage(format!("default cannot be \"{value}\"")).because(reason).into()),
    }
}

/// Refuses what a branch cannot have.
pub(crate) fn check(assignment: &Assignment) -> Result<(), CommandError> {
    match Fate::parse(&assignment.name, &assignment.value) {
        Some(Ok(_)) => Ok(()),
        Some(Err(reason)) => {
            let message = format!("{} cannot be \"{}\"", assignment.name, assignment.value);
            Err(CommandError::usage(message).because(reason).into())
        }
        None => Ok(value::check(known(&assignment.name)?, assignment)?),
    }
}

fn known(name: &str) -> Result<&'static Spec, CommandError> {
    if let Some(spec) = SPECS.iter().find(|spec| spec.per_branch && spec.name == name) {
        return Ok(spec);
    }
    let of_branches =
        || SPECS.iter().filter(|spec| spec.per_branch).map(|spec| spec.name).chain(FATES).chain([NAME, DEFAULT]);
    let failure = CommandError::usage(format!("a branch has no setting \"{name}\""));
    Err(if SPECS.iter().any(|spec| spec.name == name) {
        failure.hint(format!("it is a setting of the whole home: nap config set {name}=…"))
    } else {
        match did_you_mean(nearest(name, of_branches())) {
            Some(question) => failure.hint(question),
            None => failure.hint(format!("a branch has: {}", of_branches().collect::<Vec<_>>().join(", "))),
        }
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(name: &str) -> String {
        match known(name).unwrap_err() {
            CommandError::Failed(failure) => failure.hint.unwrap(),
            CommandError::ReaderGone => unreachable!(),
        }
    }

    #[test]
    fn a_slip_is_met_with_the_nearest_name() {
        assert!(known("sleep_after").is_ok());
        assert_eq!(hint("sleep_afer"), "did you mean sleep_after?");
        assert_eq!(hint("max_awake"), "it is a setting of the whole home: nap config set max_awake=…");
        assert_eq!(
            hint("x"),
            "a branch has: port, sleep_after, flash, doze_after, park, answer_pings, maintenance_budget, wake_at, wake_sql, replication_guard, control_role, history, history_max_gb, ttl, protected, name, default"
        );
    }

    #[test]
    fn only_the_first_equals_sign_splits() {
        let set: Assignment = "a = b=c".parse().unwrap();
        assert_eq!((set.name.as_str(), set.value.as_str()), ("a", "b=c"));
        assert!("a".parse::<Assignment>().is_err());
    }
}
