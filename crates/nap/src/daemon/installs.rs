//! The PostgreSQL installations that the daemon knows.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{PoisonError, RwLock};

use nap_model::ids::Major;
use nap_server::children::Children;
use nap_server::install::{self, Install, NoInstall, Search};

use super::config::Config;

/// What was found, looked for again when something is missing.
pub(super) struct Installs {
    config: Config,
    children: Children,
    found: RwLock<BTreeMap<Major, Install>>,
}

impl Installs {
    /// Looks everywhere.
    pub(super) fn find(config: &Config, children: &Children) -> Self {
        let installs = Self { config: config.clone(), children: children.clone(), found: RwLock::default() };
        installs.look_again();
        installs
    }

    /// All that are known, oldest major first.
    pub(super) fn all(&self) -> Vec<Install> {
        self.found.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The installation of this major, or the command that installs it here.
    pub(super) fn of(&self, major: Major) -> Result<Install, String> {
        let known = |installs: &Self| {
            let found = installs.found.read().unwrap_or_else(PoisonError::into_inner);
            found.get(&major).filter(|install| install.program("postgres").is_file()).cloned()
        };
        known(self)
            .or_else(|| {
                self.look_again();
                known(self)
            })
            .ok_or_else(|| install::how_to_install(Some(major)))
    }

    /// The installation for new clusters.
    pub(super) fn for_new(&self, wanted: Option<Major>) -> Result<Install, NoInstall> {
        self.choose(wanted).or_else(|_| {
            // It may have been installed a moment ago.
            self.look_again();
            self.choose(wanted)
        })
    }

    fn choose(&self, wanted: Option<Major>) -> Result<Install, NoInstall> {
        let settings = self.config.get();
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        install::choose(&found, wanted.or(settings.major()), settings.postgres_bin.as_deref()).cloned()
    }

    /// Runs some programs and waits for them.
    fn look_again(&self) {
        let run = |command: &mut Command| {
            let output = tokio::task::block_in_place(|| self.children.output(command)).ok()?;
            output.status.success().then_some(output.text)
        };
        let (settings, own) = (self.config.get(), self.config.home().postgres_dir());
        let found = install::find_all(Search { setting: settings.postgres_bin.as_deref(), own: &own }, &run);
        *self.found.write().unwrap_or_else(PoisonError::into_inner) = found;
    }
}
