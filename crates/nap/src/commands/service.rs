//! `nap service`

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use nap_control::{Failure, FailureKind};
use nap_store::durable;

use crate::command_error::{CommandError, failure_of};
use crate::context::Context;
use crate::lock_holder::lock_holder;

mod launchd;
mod manager;
mod place;
mod systemd;

pub(crate) use manager::{Step, remove_for_uninstall};
pub(crate) use place::line;
use place::{Facts, Place};
pub(crate) use systemd::{argument, home_line, specifiers, word};

/// What every file of ours says of itself: files that do not are somebody else's.
const MARK: &str = "Written by `nap service install`; `nap service uninstall` removes it.";
/// A unit file is far shorter.
const FILE_MAX_BYTES: u64 = 64 * 1024;

/// Let the system start the daemon: by a systemd unit, on macOS by a launchd agent
#[derive(Debug, Args)]
pub(crate) struct Service {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Install(Install),
    Uninstall(Uninstall),
}

/// Write the unit for this home, enable it and start it
///
/// It runs `nap up --foreground`, at boot or when its user logs in. Where systemd does not run, the commands that enable
/// it are printed instead. It is harmless to repeat.
#[derive(Debug, Args)]
struct Install {
    /// A socket unit as well: systemd listens, and the first connection starts the daemon
    #[arg(long)]
    socket: bool,
    #[command(flatten)]
    place: Place,
}

/// Stop the service and remove what `nap service install` wrote; the home stays
#[derive(Debug, Args)]
struct Uninstall {
    #[command(flatten)]
    place: Place,
}

/// A file to be written.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Service {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.action {
            Action::Install(install) => install.run(context),
            Action::Uninstall(uninstall) => uninstall.run(context),
        }
    }
}

impl Install {
    fn run(self, context: &Context) -> Result<(), CommandError> {
        let manager = self.place.manager();
        let settings = context.settings()?;
        let facts = Facts::gather(&context.home, settings, self.place.is_system()?)?;
        let files = manager.files(&facts, &self.place.directory()?, self.socket)?;
        for file in &files {
            refuse_foreign(&file.path, MARK, &manager.home_line(&facts.home))?;
        }
        let starts = self.place.starts(manager);
        if starts && facts.system {
            crate::daemon::prepare_home(&context.home, &facts.settings.run_as, &facts.program)
                .map_err(|error| failure_of(&error))?;
        }
        for file in &files {
            write(file)?;
        }
        let steps = manager.enable(&facts, &files);
        let is_up = lock_holder(&context.home).filter(|_| !(starts && manager.has_started(&facts, &files)));
        let (now, later): (Vec<Step>, Vec<Step>) =
            steps.into_iter().partition(|step| starts && !(step.starts_daemon && is_up.is_some()));
        for step in &now {
            step.run()?;
        }
        report(context, &files, &now, &later, is_up, self.place.is_elsewhere())
    }
}

fn report(
    context: &Context,
    files: &[File],
    now: &[Step],
    later: &[Step],
    is_up: Option<u32>,
    elsewhere: bool,
) -> Result<(), CommandError> {
    let paths: Vec<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    let lines = |steps: &[Step]| steps.iter().map(Step::line).collect::<Vec<String>>();
    let json = serde_json::json!({ "wrote": paths, "ran": lines(now), "to_run": lines(later) });
    if context.output.is_quiet() {
        return Ok(());
    }
    context.output.result(&json, || {
        let mut text: String = paths.iter().map(|path| format!("wrote {}\n", path.display())).collect();
        if later.is_empty() {
            text.push_str("started, and from now on with the system\n");
            return text;
        }
        if let Some(pid) = is_up {
            text.push_str(&format!("the daemon that is up now (PID {pid}) makes way by `nap down`; then "));
        }
        text.push_str(if elsewhere { "where the files belong, " } else { "" });
        text.push_str("this starts it, and enables it for good:\n");
        lines(later).iter().for_each(|line| text.push_str(&format!("    {line}\n")));
        text
    })
}

impl Uninstall {
    fn run(self, context: &Context) -> Result<(), CommandError> {
        let manager = self.place.manager();
        let system = self.place.is_system()?;
        let directory = self.place.directory()?;
        let removed = manager.remove(&context.home, system, &directory, self.place.starts(manager))?;
        if context.output.is_quiet() {
            return Ok(());
        }
        context.output.result(&serde_json::json!({ "removed": removed }), || {
            if removed.is_empty() {
                return format!("there is no service of ours in {}\n", directory.display());
            }
            removed.iter().map(|path| format!("removed {}\n", path.display())).collect()
        })
    }
}

/// A file that is there must be ours, which its mark says, and for this home.
pub(crate) fn refuse_foreign(path: &Path, mark: &str, home_line: &str) -> Result<bool, Failure> {
    let bytes = match durable::read_bounded(path, FILE_MAX_BYTES) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Failure::failed(format!("cannot read {}", path.display())).caused_by(&error)),
        Ok(bytes) => bytes,
    };
    let text = String::from_utf8_lossy(&bytes);
    let refused = |message: String, hint: &str| Err(Failure::new(FailureKind::Conflict, message).hint(hint));
    if !text.contains(mark) {
        return refused(
            format!("{} was not written by nap", path.display()),
            "move it away first, if it is not needed",
        );
    }
    if !text.lines().any(|line| line.trim_start() == home_line) {
        let message = format!("{} is the service of another home", path.display());
        return refused(
            message,
            "name that home (--home) to uninstall it; there is one service per user, and one per system",
        );
    }
    Ok(true)
}

/// Writes it, and its directory if need be.
pub(crate) fn write(file: &File) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        let failure = Failure::failed(format!("cannot write {}", file.path.display())).caused_by(&error);
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                failure.hint("root installs for the system: sudo; or leave --system out")
            }
            _ => failure,
        }
    };
    if let Some(directory) = file.path.parent() {
        std::fs::create_dir_all(directory).map_err(cannot)?;
    }
    durable::write_atomic(&file.path, file.text.as_bytes(), 0o644).map_err(cannot)
}
