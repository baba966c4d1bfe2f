//! `nap uninstall`

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use nap_control::{Failure, FailureKind};
use nap_store::Home;

use super::{down, pool, service};
use crate::branch_names::directories;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::lock_holder::lock_holder;

mod purge;
mod servers;

/// Stop everything of this home and remove its service; with --purge its data too
///
/// Without --purge the home stays as it is, and `nap up` brings it back.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Delete the home: all branches and their data, for good
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Uninstall {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let home = &context.home;
        let there = is_there(home)?;
        if self.purge && there && !self.yes {
            confirm(context)?;
        }
        refuse_pool_of_root(home, self.purge)?;
        let mut removed = service::remove_for_uninstall(home)?;
        let mut remains = Vec::new();
        if there {
            stop_daemon(home)?;
            servers::stop(home)?;
            removed.extend(pool::remove_units(home)?);
            pool::unmount_for_uninstall(home)?;
            let purged = self.purge.then(|| purge::purge(home)).transpose()?;
            match purged {
                Some(purged) => removed.extend(purged),
                None => remains.push(home.root().to_owned()),
            }
        }
        remains.extend(std::env::current_exe().ok());
        report(context, &removed, &remains, there && !self.purge)
    }
}

/// A pool that is mounted, and its units, are root's to remove.
fn refuse_pool_of_root(home: &Home, purge: bool) -> Result<(), Failure> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root || !(nap_store::pool::is_mounted(home) || pool::has_units(home)) {
        return Ok(());
    }
    let purge = if purge { " --purge" } else { "" };
    let home = crate::output::quote::shell(&home.root().to_string_lossy());
    Err(Failure::new(FailureKind::Denied, "the pool of this home is mounted, which only root can undo")
        .hint(format!("sudo nap --home {home} uninstall{purge}")))
}

/// Whether there is a home: what lies there must be one, and ours.
fn is_there(home: &Home) -> Result<bool, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let found = match std::fs::metadata(home.root()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => {
            return Err(Failure::failed(format!("cannot look into {}", home.root().display())).caused_by(&error));
        }
        Ok(found) => found,
    };
    let user = rustix::process::geteuid();
    if !user.is_root() && found.uid() != user.as_raw() {
        let message = format!("{} belongs to user {}", home.root().display(), found.uid());
        return Err(Failure::new(FailureKind::Denied, message).hint("run it as that user, or as root"));
    }
    let is_home = nap_store::create::is_home(home).map_err(|error| crate::command_error::failure_of_store(&error))?;
    if is_home {
        return Ok(true);
    }
    let message = format!("{} is not a home of Napgres: it holds no file `format`", home.root().display());
    Err(Failure::new(FailureKind::Conflict, message).hint("name the home that you mean: --home"))
}

/// A daemon has its socket where its home's path leaves room for one: of a home behind a link there are two paths.
fn stop_daemon(home: &Home) -> Result<(), CommandError> {
    let real = home.root().canonicalize().map(Home::at);
    for home in std::iter::once(home).chain(real.as_ref().ok()) {
        match down::stop(home) {
            Err(CommandError::Failed(failure)) if failure.kind == FailureKind::NotUp => {}
            stopped => stopped?,
        }
    }
    match lock_holder(home) {
        None => Ok(()),
        Some(pid) => {
            let message = format!("a daemon (PID {pid}) has this home, and does not answer");
            Err(Failure::new(FailureKind::Conflict, message).hint(format!("kill {pid} stops it")).into())
        }
    }
}

fn confirm(context: &Context) -> Result<(), Failure> {
    let root = context.home.root().display();
    let what = match nap_store::pool::check(&context.home) {
        Ok(()) => format!("{root} and all data of its {} branch(es)", directories(&context.home).len()),
        Err(_) => format!("{root} and all data in its pool, which cannot be seen now"),
    };
    if context.output.is_json() || !std::io::stdin().is_terminal() {
        return Err(CommandError::usage(format!("this deletes {what} for good")).hint("--yes confirms it"));
    }
    let mut stderr = std::io::stderr().lock();
    let mut answer = String::new();
    let asked = write!(stderr, "Delete {what} for good? Type yes: ").and_then(|()| stderr.flush());
    let asked = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if answer.trim() == "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was deleted")),
    }
}

fn report(context: &Context, removed: &[PathBuf], remains: &[PathBuf], home_remains: bool) -> Result<(), CommandError> {
    if context.output.is_quiet() {
        return Ok(());
    }
    context.output.result(&serde_json::json!({ "removed": removed, "remains": remains }), || {
        let line = |word: &str, path: &PathBuf| format!("{word} {}\n", path.display());
        let removed = removed.iter().map(|path| line("removed", path));
        let remains = remains.iter().map(|path| line("remains", path));
        let all: String = std::iter::once("nothing of it runs\n".to_owned()).chain(removed).chain(remains).collect();
        let purge = if home_remains { "`nap uninstall --purge` deletes the home too. " } else { "" };
        format!("{all}{purge}Completions and manual pages that you put somewhere are yours to remove.\n")
    })
}
