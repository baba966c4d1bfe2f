//! How a command's failure reaches the user: words on standard error, or a JSON object, and an exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use nap_control::{CallError, Failure, FailureKind};
use nap_model::ids::BadBranchName;
use nap_server::install::NoInstall;
use nap_store::{LockError, StoreError};
use owo_colors::OwoColorize as _;

use crate::output::words::printable;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// It failed.
    Failed(Failure),
    /// Whoever read its output has seen enough (`nap ls | head`).
    ReaderGone,
}

impl CommandError {
    /// The user asked for something that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(FailureKind::Usage, message)
    }

    /// Says it on standard error.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        match self {
            CommandError::ReaderGone => ExitCode::SUCCESS,
            CommandError::Failed(failure) => {
                // Nobody is left to be told when standard error is gone too.
                let _ = if json { write_json(failure) } else { write_words(failure) };
                exit_code(failure.kind)
            }
        }
    }
}

fn exit_code(kind: FailureKind) -> ExitCode {
    ExitCode::from(match kind {
        FailureKind::Usage => 2,
        FailureKind::NotUp => 3,
        FailureKind::NotFound
        | FailureKind::Conflict
        | FailureKind::Denied
        | FailureKind::TimedOut
        | FailureKind::Failed => 1,
    })
}

fn write_words(failure: &Failure) -> io::Result<()> {
    let mut stderr = anstream::stderr().lock();
    writeln!(stderr, "{} {}", "error:".red().bold(), indent(&failure.message))?;
    for cause in &failure.cause {
        writeln!(stderr, "  {} {}", "caused by:".bold(), indent(cause))?;
    }
    if let Some(hint) = &failure.hint {
        writeln!(stderr, "{} {}", "hint:".cyan().bold(), indent(&as_phrase(hint)))?;
    }
    Ok(())
}

fn write_json(failure: &Failure) -> io::Result<()> {
    let line = serde_json::to_string(failure)?;
    writeln!(io::stderr().lock(), "{line}")
}

/// PostgreSQL's clients are given hints as sentences, with a capital and a full stop; here they follow a colon.
fn as_phrase(hint: &str) -> String {
    let mut letters = hint.chars();
    let hint = match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_ascii_uppercase() && second.is_ascii_lowercase() => {
            format!("{}{second}{}", first.to_ascii_lowercase(), letters.as_str())
        }
        _ => hint.to_owned(),
    };
    match hint.strip_suffix('.') {
        Some(phrase) if !phrase.contains(". ") => phrase.to_owned(),
        _ => hint,
    }
}

/// Later lines of one entry stand below its first.
fn indent(text: &str) -> String {
    printable(text.trim_end()).replace('\n', "\n    ")
}

/// The daemon's own failure, with the hints that its rooms give.
pub(crate) fn failure_of(error: &anyhow::Error) -> Failure {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return failure.clone();
    }
    let held = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(LockError::Held { .. })));
    let kind = if held { FailureKind::Conflict } else { FailureKind::Failed };
    let mut failure = Failure::from_error(kind, error.as_ref());
    failure.hint = error.chain().find_map(|cause| {
        let of_store = cause.downcast_ref::<StoreError>().and_then(StoreError::hint).map(Into::into);
        of_store.or_else(|| cause.downcast_ref::<NoInstall>().map(NoInstall::hint))
    });
    failure
}

/// Clap's own word: help and version are no errors, the rest is a slip of the user.
pub(crate) fn report_clap(error: &clap::Error, json: bool) -> ExitCode {
    if json && error.use_stderr() {
        let text = error.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text);
        let (message, rest) = message.split_once('\n').unwrap_or((message, ""));
        let mut failure = CommandError::usage(message);
        failure.hint = rest.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
        return CommandError::Failed(failure).report(true);
    }
    let _ = error.print();
    if error.use_stderr() { exit_code(FailureKind::Usage) } else { ExitCode::SUCCESS }
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Writing to standard output went wrong.
impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(Failure::failed("cannot write the output").caused_by(&error)),
        }
    }
}

impl From<CallError> for CommandError {
    fn from(error: CallError) -> Self {
        Self::Failed(match &error {
            CallError::NotUp => Failure::new(FailureKind::NotUp, "not up: run `nap up`"),
            CallError::Denied(_) => Failure::from_error(FailureKind::Denied, &error)
                .hint("run it as the user that owns the home, or as root"),
            CallError::TimedOut(_) => {
                Failure::from_error(FailureKind::TimedOut, &error).hint("`nap logs --daemon` shows what it is doing")
            }
            CallError::Garbled(_) => Failure::from_error(FailureKind::Failed, &error)
                .hint("if `nap` was updated, `nap down` and `nap up` start the new version"),
            CallError::Ended | CallError::Io(_) | CallError::ReplyTooLong => {
                Failure::from_error(FailureKind::Failed, &error).hint("`nap logs --daemon` shows its last words")
            }
            CallError::RequestTooLong => Failure::from_error(FailureKind::Usage, &error),
        })
    }
}

/// A failure of the store in a command that reads or writes the home's files itself.
pub(crate) fn failure_of_store(error: &StoreError) -> Failure {
    let mut failure = Failure::from_error(FailureKind::Failed, error);
    failure.hint = error.hint().map(Into::into);
    failure
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Failed(failure_of_store(&error))
    }
}

impl From<BadBranchName> for CommandError {
    fn from(error: BadBranchName) -> Self {
        Self::Failed(Failure::from_error(FailureKind::Usage, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_follow_a_colon() {
        assert_eq!(as_phrase("Remove the children first."), "remove the children first");
        assert_eq!(as_phrase("It waits. Look there."), "it waits. Look there.");
        assert_eq!(as_phrase("`nap ls` shows it"), "`nap ls` shows it");
        assert_eq!(as_phrase("SCRAM is needed"), "SCRAM is needed");
    }

    #[test]
    fn the_daemons_failure_keeps_its_hint_and_kind() {
        let held = LockError::Held { home: "/h".into(), pid: Some(7) };
        let failure = failure_of(&anyhow::Error::new(held).context("cannot start"));
        assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Conflict, "cannot start"));
        assert_eq!(failure.cause, ["/h is in use by another daemon (process 7)"]);
        let told = Failure::new(FailureKind::Usage, "no").hint("yes");
        assert_eq!(failure_of(&anyhow::Error::new(told.clone())), told);
        let none = NoInstall { wanted: None, found: Vec::new() };
        assert!(failure_of(&none.into()).hint.is_some_and(|hint| hint.contains("install")));
    }
}
