//! `nap pg install`

use std::time::Duration;

use clap::Args;
use nap_control::Failure;
use nap_model::ids::Major;
use nap_model::span::Span;
use nap_server::install::{Search, find_all, run_directly};
use nap_store::{create, make_home};

use crate::command_error::{CommandError, failure_of};
use crate::context::Context;
use crate::daemon::privileges;
use crate::pg_install::{self, DEFAULT_BASE, Installed, Order, Source, Wanted};
use crate::trust::trusted_bin;

/// Fetch a PostgreSQL for this home, on machines that have no package of it
///
/// It is a prebuilt one of theseus-rs/postgresql-binaries, compared with its SHA-256, and lies in the home. Where the
/// system has the same major, the system's is used.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// The major version, whose newest minor is fetched, or one version: 17, 17.9
    #[arg(value_name = "MAJOR")]
    wanted: Wanted,
    /// Where archives are: URL/17.9.0/postgresql-17.9.0-TARGET.tar.gz, beside each its .sha256
    #[arg(long, value_name = "URL", env = "NAP_PG_MIRROR", default_value = DEFAULT_BASE, hide_env_values = true)]
    from: String,
    /// Give up when the server has said nothing for so long
    #[arg(long, value_name = "SPAN", default_value = "30s")]
    timeout: Span,
}

/// What `never` means: nobody waits longer.
const FOR_EVER: Duration = Duration::from_secs(24 * 60 * 60);

impl Install {
    pub(crate) fn run(self, context: &Context) -> Result<(), CommandError> {
        let settings = context.settings()?;
        become_owner(context, &settings.run_as).map_err(|error| failure_of(&error))?;
        let order = Order {
            wanted: self.wanted,
            source: Source::at(&self.from),
            patience: self.timeout.0.unwrap_or(FOR_EVER),
            show_progress: !context.output.is_json() && !context.output.is_quiet(),
        };
        let installed = pg_install::install(&context.home, &order).map_err(Failure::from)?;
        let version = format!("{}.{}", installed.version.major, installed.version.minor);
        let json = serde_json::json!({
            "version": version, "directory": installed.bin, "already_there": !installed.is_new,
        });
        context.output.result(&json, || {
            let what = if installed.is_new { "installed" } else { "was there already" };
            format!("PostgreSQL {version} {what}: {}\n", installed.bin.display())
        })?;
        remark_what_comes_first(context, settings.postgres_bin.as_deref(), &installed);
        Ok(())
    }
}

/// Nothing of the network is read by root, and what is made belongs to whom the home belongs.
fn become_owner(context: &Context, run_as: &str) -> anyhow::Result<()> {
    let owner = privileges::owner(context.home.root(), run_as)?;
    if let Some(owner) = owner {
        create::give_home(&context.home, owner)?;
    }
    privileges::become_user(owner, run_as)?;
    Ok(make_home(&context.home)?)
}

fn remark_what_comes_first(context: &Context, setting: Option<&std::path::Path>, installed: &Installed) {
    let major: Major = installed.version.major;
    let own = context.home.postgres_dir();
    let search = Search { setting: trusted_bin(&context.home, setting), own: &own };
    if let Some(first) = find_all(search, &run_directly).get(&major).filter(|first| first.bin != installed.bin) {
        context.output.remark(&format!(
            "note: PostgreSQL {} in {} comes first; to use this one: nap config set postgres_bin={}",
            first.version,
            first.bin.display(),
            installed.bin.display()
        ));
    }
}
