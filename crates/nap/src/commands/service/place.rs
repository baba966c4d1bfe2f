//! For whom a service is, and what its files are made of.

use std::path::{Path, PathBuf};

use clap::Args;
use nap_control::{Failure, FailureKind};
use nap_model::settings::Settings;
use nap_store::Home;

use super::manager::Manager;
use crate::command_error::CommandError;

/// For whom.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// For this user [default, but for root]
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// For the whole system [default for root]
    #[arg(long)]
    system: bool,
    /// The directory of the files, in place of the manager's own; nothing is started or stopped
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// The service manager [default: this platform's]
    #[arg(long, hide = true, value_enum)]
    manager: Option<Manager>,
}

impl Place {
    pub(super) fn manager(&self) -> Manager {
        self.manager.unwrap_or_else(Manager::of_this_platform)
    }

    /// Root's daemon becomes another user, which only the system's manager lets it do.
    pub(super) fn is_system(&self) -> Result<bool, Failure> {
        let is_root = rustix::process::geteuid().is_root();
        if self.directory.is_some() {
            return Ok(self.system || (is_root && !self.user));
        }
        match (is_root, self.user, self.system) {
            (true, true, _) => Err(CommandError::usage("root installs for the system")
                .hint("leave --user out; or run it as the user that it is for")),
            (false, _, true) => Err(Failure::new(FailureKind::Denied, "only root installs for the system")
                .hint("sudo nap service install; or leave --system out")),
            (is_root, _, _) => Ok(is_root),
        }
    }

    pub(super) fn directory(&self) -> Result<PathBuf, Failure> {
        match &self.directory {
            Some(directory) => Ok(std::path::absolute(directory).unwrap_or_else(|_| directory.clone())),
            None => self.manager().directory(self.is_system()?),
        }
    }

    /// Whether the files go where the manager does not look for them.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.directory.is_some()
    }

    /// Whether anything is to be started or stopped now.
    pub(super) fn starts(&self, manager: Manager) -> bool {
        self.directory.is_none() && manager.is_running()
    }
}

/// What the files are made of.
pub(super) struct Facts {
    pub(super) home: String,
    pub(super) program: PathBuf,
    pub(super) run_dir: PathBuf,
    pub(super) pool_dir: String,
    pub(super) settings: Settings,
    pub(super) system: bool,
}

impl Facts {
    pub(super) fn gather(home: &Home, settings: Settings, system: bool) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::failed("cannot find out which program this is").caused_by(&error))?;
        let (run_dir, pool_dir) = (home.run_dir(), line(&home.pool_dir())?);
        Ok(Self { home: line(home.root())?, program, run_dir, pool_dir, settings, system })
    }
}

/// A path as it can stand in a line of text.
pub(crate) fn line(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        Failure::failed(format!("{path:?} cannot stand in a unit file"))
            .because("it holds a control character or is not UTF-8")
            .hint("choose another home: --home")
    })
}
