//! What comes from elsewhere, and what goes there.

use std::path::PathBuf;

use nap_control::{Answer, ExportFormat, ExportReport, Failure, FailureKind, ImportReport, ImportSource, Reply};
use nap_model::ids::{BranchName, Major};
use tokio::time::Instant;

use super::{ControlApi, method};
use crate::daemon::branch_set::export::Exported;
use crate::daemon::branch_set::import::{Imported, Wanted};
use crate::invoker::name_of;

impl ControlApi {
    pub(super) async fn import(
        &self,
        source: ImportSource,
        name: String,
        ignore_hba: bool,
        pg: Option<Major>,
    ) -> Reply {
        let begun = Instant::now();
        let name: BranchName = name.parse().map_err(|error| Failure::from_error(FailureKind::Usage, &error))?;
        let Imported { new, notes } = self.branches.import(source, Wanted { name, ignore_hba, pg }).await?;
        self.tls.take_on_branch().await;
        let record = new.branch.record;
        Ok(Answer::Imported(ImportReport {
            major: record.major,
            method: notes.was_copied.then(|| method(new.cloned.method)),
            bytes: new.cloned.bytes,
            files: new.cloned.files,
            duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            recovered: notes.recovered && notes.was_copied,
            own_rules: notes.own_rules,
            settings_turned_off: notes.settings_turned_off,
            md5_roles: notes.md5_roles,
            prepared_transactions: new.prepared,
            subscriptions_disabled: notes.subscriptions_disabled,
            remarks: notes.remarks,
            connection: self.connection(Some(record.name.clone()), None, false).await?,
            name: record.name,
        }))
    }

    pub(super) async fn export(
        &self,
        branch: Option<BranchName>,
        database: Option<String>,
        to: PathBuf,
        format: ExportFormat,
    ) -> Reply {
        let record = self.named(branch)?.record;
        let (exported, database) = match format {
            ExportFormat::Directory => (self.branches.export_cluster(&record.name, &to).await?, None),
            format => {
                let database = match database {
                    Some(database) => database,
                    None => self.connection(Some(record.name.clone()), None, false).await?.database,
                };
                let exported = self.branches.export_database(&record.name, &database, &to, format).await?;
                (exported, Some(database))
            }
        };
        let Exported { bytes, subscriptions_disabled } = exported;
        let uid = rustix::process::geteuid().as_raw();
        Ok(Answer::Exported(ExportReport {
            branch: record.name,
            database,
            path: to,
            bytes,
            major: record.major,
            owner: name_of(uid).unwrap_or_else(|| uid.to_string()),
            subscriptions_disabled,
        }))
    }
}
