//! The names of branches for a shell that completes them: read from the home, because the daemon may be down, and must
//! not be asked at every press of a key.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap_complete::CompletionCandidate;
use clap_complete::engine::{ArgValueCompleter, ValueCompleter};
use nap_store::Home;

use crate::branch_names::directories;

/// For an argument that is a branch.
pub(crate) fn branch() -> ArgValueCompleter {
    ArgValueCompleter::new(Branch)
}

/// For an argument that is `BRANCH` or `DB@BRANCH`.
pub(crate) fn target() -> ArgValueCompleter {
    ArgValueCompleter::new(Target)
}

struct Branch;
struct Target;

impl ValueCompleter for Branch {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        candidates("", &current.to_string_lossy())
    }
}

impl ValueCompleter for Target {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let current = current.to_string_lossy();
        let at = current.rfind('@').map_or(0, |at| at + 1);
        let (database, begun) = current.split_at(at);
        candidates(database, begun)
    }
}

fn candidates(before: &str, begun: &str) -> Vec<CompletionCandidate> {
    let names = directories(&home()).into_iter().filter(|name| name.starts_with(begun));
    names.map(|name| CompletionCandidate::new(format!("{before}{name}"))).collect()
}

/// The home of the command that is being typed: it stands behind the `--` of our own command line.
fn home() -> Home {
    let mut words = std::env::args_os().skip_while(|word| word != "--").skip(2);
    let mut flag: Option<PathBuf> = None;
    while let Some(word) = words.next() {
        if word == "--home" {
            flag = words.next().map(PathBuf::from);
        } else if let Some(value) = word.to_str().and_then(|word| word.strip_prefix("--home=")) {
            flag = Some(OsString::from(value).into());
        }
    }
    Home::locate(flag)
}
