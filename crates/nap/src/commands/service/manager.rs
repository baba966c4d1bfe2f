//! The service managers: where their files lie, and the commands that make them look.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::ValueEnum;
use nap_control::Failure;
use nap_store::{Home, durable};

use super::place::{Facts, line};
use super::{File, MARK, launchd, refuse_foreign, systemd};
use crate::output::quote;

/// What starts services here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Manager {
    Systemd,
    Launchd,
}

/// A command of a manager.
pub(crate) struct Step {
    words: Vec<String>,
    /// Whether it starts the daemon, which cannot be while another one is up.
    pub(super) starts_daemon: bool,
    /// Where more is to be read when it fails.
    more: String,
}

impl Step {
    pub(crate) fn new(words: &[&str], starts_daemon: bool, more: &str) -> Self {
        Self { words: words.iter().map(|word| (*word).to_owned()).collect(), starts_daemon, more: more.to_owned() }
    }

    /// As it is typed.
    pub(super) fn line(&self) -> String {
        self.words.iter().map(|word| quote::shell(word)).collect::<Vec<_>>().join(" ")
    }

    /// Runs it, and says why it failed.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let failed = || Failure::failed(format!("`{}` failed", self.line()));
        let Some((program, arguments)) = self.words.split_first() else { return Ok(()) };
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        let output = output.map_err(|error| failed().caused_by(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed().because(said).hint(self.more.as_str()))
    }
}

impl Manager {
    pub(super) fn of_this_platform() -> Self {
        if cfg!(target_os = "macos") { Self::Launchd } else { Self::Systemd }
    }

    pub(super) fn is_running(self) -> bool {
        match self {
            Self::Systemd => sd_notify::booted().unwrap_or(false),
            Self::Launchd => cfg!(target_os = "macos"),
        }
    }

    /// Where it looks for files.
    pub(super) fn directory(self, system: bool) -> Result<PathBuf, Failure> {
        let absolute = |path: Option<PathBuf>| path.filter(|path| path.is_absolute());
        let user_home = || absolute(std::env::home_dir());
        let found = match (self, system) {
            (Self::Systemd, true) => Some(PathBuf::from("/etc/systemd/system")),
            (Self::Systemd, false) => absolute(std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from))
                .or_else(|| user_home().map(|home| home.join(".config")))
                .map(|config| config.join("systemd/user")),
            (Self::Launchd, true) => Some(PathBuf::from("/Library/LaunchDaemons")),
            (Self::Launchd, false) => user_home().map(|home| home.join("Library/LaunchAgents")),
        };
        found.ok_or_else(|| Failure::failed("this user has no home directory").hint("name one: --directory"))
    }

    /// The files of a home's service.
    pub(super) fn files(self, facts: &Facts, directory: &Path, socket: bool) -> Result<Vec<File>, Failure> {
        let file = |name: &str, text: String| File { path: directory.join(name), text };
        Ok(match self {
            Self::Systemd => {
                let mut files = vec![file(systemd::SERVICE, systemd::service(facts, socket)?)];
                if socket {
                    files.push(file(systemd::SOCKET, systemd::socket(facts)?));
                }
                files
            }
            Self::Launchd if socket => {
                return Err(Failure::failed("launchd's sockets are not taken over").hint("leave --socket out"));
            }
            Self::Launchd => vec![file(launchd::FILE, launchd::agent(facts)?)],
        })
    }

    /// The line by which a file says which home it is for.
    pub(super) fn home_line(self, home: &str) -> String {
        match self {
            Self::Systemd => systemd::home_line(home),
            Self::Launchd => launchd::home_line(home),
        }
    }

    /// The commands that start the service, now and for good.
    pub(super) fn enable(self, facts: &Facts, files: &[File]) -> Vec<Step> {
        match self {
            Self::Systemd => systemd::enable(facts.system, files.len() > 1),
            Self::Launchd => {
                let path = files.first().map(|file| file.path.display().to_string()).unwrap_or_default();
                vec![launchd::launchctl(facts.system, &["bootstrap", &launchd::domain(facts.system), &path], true)]
            }
        }
    }

    /// Whether what [`Self::enable`] starts has been started already: then that starts no second daemon.
    pub(super) fn has_started(self, facts: &Facts, files: &[File]) -> bool {
        match self {
            Self::Systemd => systemd::is_active(facts.system, files.len() > 1).run().is_ok(),
            Self::Launchd => false,
        }
    }

    /// Stops the service of this home and removes its files.
    pub(super) fn remove(
        self,
        home: &Home,
        system: bool,
        directory: &Path,
        stop: bool,
    ) -> Result<Vec<PathBuf>, Failure> {
        let home_line = self.home_line(&line(home.root())?);
        // The socket goes first: it would start the service again.
        let names: &[&str] = match self {
            Self::Systemd => &[systemd::SOCKET, systemd::SERVICE],
            Self::Launchd => &[launchd::FILE],
        };
        let mut ours = Vec::new();
        for path in names.iter().map(|name| directory.join(name)) {
            if refuse_foreign(&path, MARK, &home_line)? {
                ours.push(path);
            }
        }
        if stop && !ours.is_empty() {
            let (stop, _) = self.steps_to_remove(system, &ours);
            stop.iter().try_for_each(Step::run)?;
        }
        for path in &ours {
            let cannot = |error| Failure::failed(format!("cannot remove {}", path.display())).caused_by(&error);
            std::fs::remove_file(path).map_err(cannot)?;
            durable::fsync_dir(directory).map_err(cannot)?;
        }
        if stop && !ours.is_empty() {
            let (_, after) = self.steps_to_remove(system, &ours);
            after.iter().try_for_each(Step::run)?;
        }
        Ok(ours)
    }

    /// Before the files go, and after.
    fn steps_to_remove(self, system: bool, ours: &[PathBuf]) -> (Vec<Step>, Vec<Step>) {
        match self {
            Self::Systemd => systemd::disable(system, ours),
            Self::Launchd => {
                (vec![launchd::launchctl(system, &["bootout", &launchd::target(system)], false)], Vec::new())
            }
        }
    }
}

/// The service of this home, if the user who asks has one: it would start again what is being taken down.
pub(crate) fn remove_for_uninstall(home: &Home) -> Result<Vec<PathBuf>, Failure> {
    let manager = Manager::of_this_platform();
    let system = rustix::process::geteuid().is_root();
    let Ok(directory) = manager.directory(system) else { return Ok(Vec::new()) };
    match manager.remove(home, system, &directory, manager.is_running()) {
        // The service of another home is none of ours.
        Err(failure) if failure.kind == nap_control::FailureKind::Conflict => Ok(Vec::new()),
        removed => removed,
    }
}
