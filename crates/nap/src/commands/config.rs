//! `nap config`

use clap::{Args, Subcommand};
use nap_control::{Answer, ConfigReport, Failure, FailureKind, Request};
use nap_model::hba::beyond_loopback;
use nap_model::ids::BranchName;
use nap_model::nearest::did_you_mean;
use nap_model::settings::{self, BadSettings, Settings};

use crate::command_error::CommandError;
use crate::commands::set::Assignment;
use crate::context::{Context, unexpected};
use crate::rules::{self, RuleBook};

mod change;
mod show;
pub(crate) mod value;

pub(crate) use show::{plain, value_text};

/// Read and change the settings of the home
#[derive(Debug, Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show a setting, or all of them
    Get {
        /// Which one [default: all]
        name: Option<String>,
    },
    /// Change settings in nap.toml, and have a running daemon read them: nap config set sleep_after=5min
    ///
    /// Comments in the file stay. An empty value takes the setting out, so that its default counts again.
    Set {
        /// What to change
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<Assignment>,
    },
    /// Check nap.toml, pg_hba.conf and pg_ident.conf without using them
    Check,
    /// Have the running daemon read nap.toml, pg_hba.conf, pg_ident.conf and the files of TLS again
    Reload,
    /// Print where nap.toml is
    Path,
}

/// Clients that name no branch are on this one from now on.
pub(crate) fn set_default_branch(context: &Context, branch: &BranchName) -> Result<(), CommandError> {
    change::set(context, &[Assignment { name: "default_branch".to_owned(), value: branch.to_string() }])
}

impl Config {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        match self.action {
            Action::Get { name } => show::get(context, name.as_deref()),
            Action::Set { settings } => change::set(context, &settings),
            Action::Check => check(context),
            Action::Reload => match context.ask(&Request::ReloadConfig)? {
                Answer::Config(report) => context.output.result(&report, || say_reloaded(&report)),
                Answer::Done => context.output.done("read again"),
                other => Err(unexpected(&other)),
            },
            Action::Path => {
                let path = context.home.nap_toml();
                context.output.result(&serde_json::json!({ "path": path }), || path.display().to_string())
            }
        }
    }
}

fn check(context: &Context) -> Result<(), CommandError> {
    let path = context.home.nap_toml();
    let text = context.settings_text()?;
    let settings = Settings::parse(&text)
        .map_err(|error| Failure::failed(format!("{} cannot be used", path.display())).caused_by(&error))?;
    // A home that was never up has no rules yet.
    if context.home.pg_hba().exists() {
        RuleBook::load(&context.home, beyond_loopback(&settings.listen_addresses))
            .map_err(|problems| rules::failure("the rules for connections cannot be used", &problems))?;
    }
    context.output.done(&format!("{} is in order, and so are the rules for connections", path.display()))
}

/// What was changed, and when it takes effect.
pub(crate) fn say_changes(report: &ConfigReport) -> String {
    if report.changes.is_empty() {
        return "nothing has changed".to_owned();
    }
    let say = |change: &nap_control::ConfigChange| {
        let value = change.value.as_deref().unwrap_or("its default");
        let when = if change.at_restart { "at the next `nap up`" } else { "now" };
        format!("{} = {value} (takes effect {when})\n", change.name)
    };
    report.changes.iter().map(say).collect()
}

/// What is in force from now on, and what waits.
fn say_reloaded(report: &ConfigReport) -> String {
    let now = "the settings, the rules for connections and the certificate were read again";
    if report.changes.is_empty() { now.to_owned() } else { format!("{now}\n{}", say_changes(report)) }
}

/// The setting of this name, or a failure that offers the nearest ones.
fn known(name: &str) -> Result<&'static settings::Spec, Failure> {
    settings::known(name).map_err(|error| {
        let BadSettings::Unknown { nearest, .. } = &error else {
            return Failure::from_error(FailureKind::Usage, &error);
        };
        let failure = CommandError::usage(format!("there is no setting \"{name}\""));
        match did_you_mean(nearest) {
            Some(question) => failure.hint(question),
            None => failure.hint("`nap config get` shows all settings"),
        }
    })
}
