//! `nap set`

use std::str::FromStr;

use clap::Args;
use nap_control::{Answer, Request};
use nap_model::ids::BranchName;
use nap_model::nearest::{did_you_mean, nearest};
use nap_model::settings::{FATES, Fate, SPECS, Spec};

use crate::command_error::CommandError;
use crate::commands::config::{say_changes, value};
use crate::complete;
use crate::context::{Context, unexpected};

/// Change a branch's own settings: nap set dev sleep_after=5min
///
/// It wakes nothing: sleep_after=never keeps a sleeping branch awake from its next wake on. An empty value takes the
/// branch's own setting away, so that the home's counts again.
#[derive(Debug, Args)]
pub(crate) struct Set {
    /// The branch
    #[arg(add = complete::branch())]
    branch: BranchName,
    /// What to change; a branch has: port, sleep_after, flash, doze_after, park, answer_pings, maintenance_budget, wake_at, wake_sql, replication_guard, control_role, history, history_max_gb, and ttl (it is removed so long from now) and protected (it is not)
    #[arg(required = true, value_name = "NAME=VALUE")]
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
        self.settings.iter().try_for_each(check)?;
        let settings = self.settings.into_iter().map(|set| (set.name, set.value)).collect();
        match context.ask(&Request::SetBranch { name: self.branch, settings })? {
            Answer::Config(report) => context.output.result(&report, || say_changes(&report)),
            Answer::Done => context.output.done("done"),
            other => Err(unexpected(&other)),
        }
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
    let of_branches = || SPECS.iter().filter(|spec| spec.per_branch).map(|spec| spec.name).chain(FATES);
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
            "a branch has: port, sleep_after, flash, doze_after, park, answer_pings, maintenance_budget, wake_at, wake_sql, replication_guard, control_role, history, history_max_gb, ttl, protected"
        );
    }

    #[test]
    fn only_the_first_equals_sign_splits() {
        let set: Assignment = "a = b=c".parse().unwrap();
        assert_eq!((set.name.as_str(), set.value.as_str()), ("a", "b=c"));
        assert!("a".parse::<Assignment>().is_err());
    }
}
