//! From a data directory on which no server runs.

use std::path::Path;
use std::sync::Arc;

use nap_control::{Failure, FailureKind};
use nap_model::hba::Rules;
use nap_model::ids::Major;
use nap_model::pg_conf::Adopted;

use super::source::Source;
use super::{Arriving, Wanted};
use crate::daemon::branch_set::BranchSet;

impl BranchSet {
    pub(super) async fn import_directory(&self, path: &Path, wanted: Wanted) -> Result<Arriving, Failure> {
        if !path.is_absolute() {
            return Err(Failure::new(FailureKind::Usage, format!("{} is no whole path", path.display())));
        }
        let path = path.to_owned();
        let source = look(move || Source::of_directory(&path)).await?;
        if let Some(pid) = source.server {
            return Err(source.is_in_use(pid));
        }
        self.copy(source, wanted).await
    }

    /// One that runs is copied through its socket.
    pub(super) async fn import_debian(
        &self,
        version: Major,
        cluster: &str,
        wanted: Wanted,
    ) -> Result<Arriving, Failure> {
        let cluster = cluster.to_owned();
        let source = look(move || Source::of_debian(version, &cluster)).await?;
        let Some(pid) = source.server else { return self.copy(source, wanted).await };
        let Some(url) = source.url() else { return Err(source.is_in_use(pid)) };
        let rules = self.rules_of(&source, &wanted)?;
        self.basebackup(&url, &[], (wanted, rules), source.conf).await
    }

    async fn copy(&self, source: Source, wanted: Wanted) -> Result<Arriving, Failure> {
        let install = self.install_of(source.major)?;
        let rules = self.rules_of(&source, &wanted)?;
        let mut arriving = self.arriving(&wanted, install).await?;
        arriving.notes.was_copied = true;
        let data = source.data.clone();
        let waiting = arriving.arrival.with(|arrival| arrival.waiting()).await?;
        arriving.arrival.try_with(move |arrival| arrival.copy(&data)).await?;
        drop(waiting);
        // Somebody may have started it meanwhile.
        source.refuse_running()?;
        if source.conf.is_none() {
            arriving.remark("no postgresql.conf was found: PostgreSQL's defaults hold");
        }
        arriving.configure(source.conf.unwrap_or_default()).await?;
        if let Some((text, rules)) = rules {
            arriving.take_rules(text, rules).await?;
        }
        Ok(arriving)
    }

    fn rules_of(&self, source: &Source, wanted: &Wanted) -> Result<Option<(String, Arc<Rules>)>, Failure> {
        if wanted.ignore_hba {
            return Ok(None);
        }
        let Some(text) = source.rules()? else { return Ok(None) };
        let rules = self.check_rules(&text, &source.hba, wanted)?;
        Ok(Some((text, rules)))
    }
}

/// A look into files of others, which may be anywhere.
async fn look(look: impl FnOnce() -> Result<Source, Failure> + Send + 'static) -> Result<Source, Failure> {
    tokio::task::spawn_blocking(look).await.map_err(|error| Failure::failed(error.to_string()))?
}

/// A configuration of which nothing is known.
pub(super) fn none() -> Adopted {
    Adopted::default()
}
