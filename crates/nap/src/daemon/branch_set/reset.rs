//! A branch becomes what its parent is.

use std::time::Duration;

use nap_control::{Failure, FailureKind};
use nap_model::ids::BranchName;
use nap_server::error::SleepError;
use nap_server::handle::AsleepHold;
use nap_store::{NewBranch, Replaced, StoreError};
use tokio::time::Instant;

use super::change::{sleep_failure, store_failure};
use super::create::{Brought, Made};
use super::{BranchSet, Entry};
use crate::daemon::secrets;

/// How long sessions may take to end. Their backends are cancelled and closed at once.
const EMPTIED_WITHIN: Duration = Duration::from_secs(10);
/// The pause before those are ended that have come meanwhile.
const AGAIN_AFTER: Duration = Duration::from_millis(50);

impl BranchSet {
    /// Makes a branch anew from its parent, and keeps what it was, if that has a name. Its sessions are ended: none sees a
    /// mixture of both.
    pub(in crate::daemon) async fn reset(
        &self,
        name: &BranchName,
        keep_as: Option<BranchName>,
    ) -> Result<Made, Failure> {
        let _making = self.making.clone();
        let entry = self.existing(name)?;
        if entry.record.protected {
            return Err(super::remove::is_protected(name));
        }
        let Some(parent) = &entry.record.parent else { return Err(store_failure(StoreError::NoParent(name.clone()))) };
        let parent = self.existing(parent)?;
        if let Some(taken) = keep_as.as_ref().filter(|name| self.entry(name).is_some()) {
            return Err(store_failure(StoreError::Exists(taken.clone())));
        }
        let keep_as = match keep_as {
            Some(name) => Some((name, secrets::branch_id().map_err(|error| Failure::failed(error.to_string()))?)),
            None => None,
        };
        let own = name.clone();
        let draft = self.in_store(move |store| store.draft_again(&own)).await?;
        let Brought { draft, parent_in_use, pause, subscriptions } = self.bring_files(&parent, draft).await?;
        // That took its time.
        if self.existing(name)?.record.protected {
            return Err(super::remove::is_protected(name));
        }
        let hold = self.empty(&entry).await?;
        let draft = draft.take()?;
        let replaced = self.in_store(move |store| store.replace(draft, keep_as)).await;
        let Replaced { branch, kept, cloned, prepared } = replaced?;
        self.know(branch.record.clone());
        drop(hold);
        if let Some(kept) = kept {
            self.change_rules(|rules| rules.inherit(&kept.record.name, name)).await;
            self.take_on(kept).map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
        }
        let new = NewBranch { branch, cloned, prepared };
        Ok(Made { new, parent_in_use, pause, subscriptions_disabled: subscriptions })
    }

    /// Ends all sessions of a branch, and keeps it asleep. Who comes meanwhile waits.
    async fn empty(&self, entry: &Entry) -> Result<AsleepHold, Failure> {
        let deadline = Instant::now() + EMPTIED_WITHIN;
        loop {
            if let Some(gateway) = self.gateway() {
                gateway.end_sessions(&entry.record.name);
            }
            match entry.server.hold_asleep().await {
                Ok(hold) => return Ok(hold),
                Err(SleepError::Guarded { .. } | SleepError::NotAwake { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
                Err(error) => return Err(sleep_failure(error)),
            }
        }
    }
}
