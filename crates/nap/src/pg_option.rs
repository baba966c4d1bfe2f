//! What `nap up --pg` means to a home that has its clusters already.

use nap_control::{Failure, FailureKind};
use nap_model::ids::{BranchName, Major};

/// Reads it: what is too old is not to be installed either.
pub(crate) fn parse(text: &str) -> Result<Major, String> {
    let major: Major = text.parse().map_err(|_| "write a major version, such as 17".to_owned())?;
    if major < Major::OLDEST {
        return Err(format!("PostgreSQL {major} is older than {}, the oldest that Napgres runs", Major::OLDEST));
    }
    Ok(major)
}

/// `--pg` chooses the major of a cluster that is to be made: where main is there already it must name main's own. Without
/// a main, any branch will do.
pub(crate) fn check(
    wanted: Option<Major>,
    there: impl IntoIterator<Item = (BranchName, Major)>,
) -> Result<(), Failure> {
    let Some(wanted) = wanted else { return Ok(()) };
    let there: Vec<(BranchName, Major)> = there.into_iter().collect();
    let main = there.iter().find(|(name, _)| *name == BranchName::main());
    let Some((name, major)) = main.or(there.first()).filter(|(_, major)| *major != wanted) else { return Ok(()) };
    let message = format!("{name} exists already with PostgreSQL {major}; --pg is for new clusters");
    Err(Failure::new(FailureKind::Usage, message)
        .hint(format!("another home can have its own: `nap --home DIRECTORY up --pg {wanted}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_is_told_so() {
        assert_eq!(parse("17"), Ok(Major(17)));
        assert_eq!(parse("12").unwrap_err(), "PostgreSQL 12 is older than 14, the oldest that Napgres runs");
        assert!(parse("new").is_err());
    }

    #[test]
    fn only_another_major_than_mains_is_refused() {
        let there = || [("dev".parse().unwrap(), Major(17)), (BranchName::main(), Major(15))];
        assert!(check(None, there()).is_ok());
        assert!(check(Some(Major(15)), there()).is_ok());
        assert!(check(Some(Major(17)), []).is_ok());
        let failure = check(Some(Major(17)), there()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Usage);
        assert_eq!(failure.message, "main exists already with PostgreSQL 15; --pg is for new clusters");
    }
}
