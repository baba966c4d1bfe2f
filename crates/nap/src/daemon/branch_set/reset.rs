//! A branch becomes what its parent is, or what it was itself.

use std::time::Duration;

use nap_control::{Failure, FailureKind};
use nap_fault::reached;
use nap_model::ids::{BranchId, BranchName};
use nap_model::moment::Moment;
use nap_server::error::SleepError;
use nap_server::handle::AsleepHold;
use nap_store::{NewBranch, Replaced, StoreError};
use tokio::time::Instant;

use super::change::store_failure;
use super::create::{Brought, Made};
use super::socket_dir::SocketDir;
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
        let entry = self.changeable(name)?;
        let Some(parent) = &entry.record.parent else { return Err(store_failure(StoreError::NoParent(name.clone()))) };
        let parent = self.existing(parent)?;
        let keep_as = self.free_name(keep_as)?;
        let own = name.clone();
        let draft = self.in_store(move |store| store.draft_again(&own)).await?;
        let brought = self.bring_files(&parent, draft).await?;
        self.put_in_its_place(&entry, brought, keep_as).await
    }

    /// Makes a branch what it was at a moment, and keeps what it has been since. Its sessions are ended.
    pub(in crate::daemon) async fn restore(
        &self,
        name: &BranchName,
        moment: Moment,
        keep_as: BranchName,
    ) -> Result<Made, Failure> {
        let _making = self.making.clone();
        let entry = self.changeable(name)?;
        let keep_as = self.free_name(Some(keep_as))?;
        let own = name.clone();
        let draft = self.in_store(move |store| store.draft_of_itself(&own)).await?;
        // The socket of its recovery is not that of its server, which may run.
        let id = secrets::branch_id().map_err(|error| Failure::failed(error.to_string()))?;
        let brought = self.bring_past(&entry, draft, &id, moment).await?;
        self.put_in_its_place(&entry, brought, keep_as).await
    }

    fn changeable(&self, name: &BranchName) -> Result<Entry, Failure> {
        let entry = self.existing(name)?;
        if entry.record.protected { Err(super::remove::is_protected(name)) } else { Ok(entry) }
    }

    fn free_name(&self, keep_as: Option<BranchName>) -> Result<Option<(BranchName, BranchId)>, Failure> {
        let Some(name) = keep_as else { return Ok(None) };
        if self.entry(&name).is_some() {
            let failure = store_failure(StoreError::Exists(name));
            return Err(failure.hint("choose another name for what it has been so far"));
        }
        Ok(Some((name, secrets::branch_id().map_err(|error| Failure::failed(error.to_string()))?)))
    }

    async fn put_in_its_place(
        &self,
        entry: &Entry,
        brought: Brought,
        keep_as: Option<(BranchName, BranchId)>,
    ) -> Result<Made, Failure> {
        let Brought { draft, parent_in_use, pause, subscriptions, .. } = brought;
        let name = &entry.record.name;
        reached("another state is brought").await;
        // That took its time.
        self.changeable(name)?;
        let hold = self.empty(entry).await?;
        let draft = draft.take()?;
        let sockets = keep_as.as_ref().map(|(_, id)| self.make_sockets(id)).transpose()?;
        reached("a branch is emptied").await;
        let replaced = self.in_store(move |store| store.replace(draft, keep_as)).await;
        let Replaced { branch, kept, children, cloned, prepared } = replaced?;
        sockets.into_iter().for_each(SocketDir::keep);
        reached("a branch has another state").await;
        self.know(branch.record.clone());
        children.into_iter().for_each(|child| self.know(child));
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
                Err(error) => return Err(self.not_asleep(entry, error)),
            }
        }
    }
}
