//! What a command is about: `BRANCH`, or `DB@BRANCH`.

use std::str::FromStr;

use nap_control::Request;
use nap_model::ids::{BadBranchName, BranchName};

/// A database of a branch; what is not named is the default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) branch: Option<BranchName>,
    pub(crate) database: Option<String>,
}

impl FromStr for Target {
    type Err = BadBranchName;

    /// A bare word is a branch; the last `@` splits, because a database's name may hold one.
    fn from_str(text: &str) -> Result<Self, BadBranchName> {
        let (database, branch) = match text.rsplit_once('@') {
            None => ("", text),
            Some((database, "")) if !database.is_empty() => {
                return Ok(Self { branch: None, database: named(database) });
            }
            Some(split) => split,
        };
        Ok(Self { branch: Some(branch.parse()?), database: named(database) })
    }
}

fn named(database: &str) -> Option<String> {
    Some(database).filter(|name| !name.is_empty()).map(str::to_owned)
}

impl Target {
    /// The question how to connect to it.
    pub(crate) fn connection(target: Option<&Target>) -> Request {
        let Target { branch, database } = target.cloned().unwrap_or_default();
        Request::Connection { branch, database }
    }
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
        assert_eq!(read("shop@"), (some("shop"), None));
        for bad in ["", "@", "Shop", "shop@De v"] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }
}
