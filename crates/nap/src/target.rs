//! What a command is about: `BRANCH`, or `DB@BRANCH`.

use std::str::FromStr;

use nap_control::{Answer, ConnectionReport, Failure, FailureKind, Request};
use nap_model::ids::{BadBranchName, BranchName};

use crate::command_error::CommandError;
use crate::context::{Context, unexpected};

/// A database of a branch; what is not named is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) branch: Option<BranchName>,
    pub(crate) database: Option<String>,
}

/// A text that is no target.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTarget {
    /// What stands behind the `@` names no branch.
    #[error(transparent)]
    Branch(BadBranchName),
    /// A bare word that is no branch's name may be a database's.
    #[error("{problem}; for a database of main write {database}@main")]
    Bare { problem: BadBranchName, database: String },
}

impl FromStr for Target {
    type Err = BadTarget;

    /// A bare word is a branch; the last `@` splits, because a database's name may hold one.
    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let Some((database, branch)) = text.rsplit_once('@') else {
            let branch = text.parse().map_err(|problem| match text {
                "" => BadTarget::Branch(problem),
                database => BadTarget::Bare { problem, database: database.to_owned() },
            })?;
            return Ok(Self { branch: Some(branch), database: None });
        };
        // No branch behind the @ is refused as the gateway refuses it.
        Ok(Self { branch: Some(branch.parse().map_err(BadTarget::Branch)?), database: named(database) })
    }
}

fn named(database: &str) -> Option<String> {
    Some(database).filter(|name| !name.is_empty()).map(str::to_owned)
}

impl Target {
    /// Asks how to connect to it.
    pub(crate) fn connection(target: Option<&Target>, context: &Context) -> Result<ConnectionReport, CommandError> {
        let Target { branch, database } = target.cloned().unwrap_or_default();
        let bare = branch.clone().filter(|_| database.is_none());
        match context.ask(&Request::Connection { branch, database }) {
            Ok(Answer::Connection(report)) => Ok(report),
            Ok(other) => Err(unexpected(&other)),
            Err(CommandError::Failed(failure)) => Err(match bare {
                Some(word) => or_a_database(failure, &word, context).into(),
                None => failure.into(),
            }),
            Err(error) => Err(error),
        }
    }
}

/// A bare word that is no branch may have been meant as a database of the default one.
fn or_a_database(failure: Failure, word: &BranchName, context: &Context) -> Failure {
    if failure.kind != FailureKind::NotFound {
        return failure;
    }
    let default = context.settings().map_or_else(|_| BranchName::main(), |settings| settings.default_branch);
    let question = format!("for a database of {default}: {word}@{default}");
    let hint = failure.hint.as_ref().map_or_else(|| question.clone(), |hint| format!("{hint}; {question}"));
    failure.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<String>, Option<String>) {
        let target: Target = text.parse().unwrap();
        (target.database, target.branch.map(String::from))
    }

    #[test]
    fn a_bare_word_is_a_branch_and_the_last_at_splits() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("dev"), (None, some("dev")));
        assert_eq!(read("shop@dev"), (some("shop"), some("dev")));
        assert_eq!(read("a@b@dev"), (some("a@b"), some("dev")));
        assert_eq!(read("@dev"), (None, some("dev")));
        for bad in ["", "@", "Shop", "shop@De v", "shop@"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
        let error = "my_shop".parse::<Target>().unwrap_err().to_string();
        assert!(error.ends_with("; for a database of main write my_shop@main"), "{error}");
    }
}
