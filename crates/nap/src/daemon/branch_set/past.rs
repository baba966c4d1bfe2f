//! Branches of the past: the nearest snapshot, recovered to the moment before anybody can see it.

use std::time::Duration;

use nap_control::{DiskReport, Failure, FailureKind};
use nap_fault::reached;
use nap_model::access::AccessSnapshot;
use nap_model::ids::{BRANCH_NAME_MAX_BYTES, BranchId, BranchName};
use nap_model::moment::Moment;
use nap_model::snapshot_name::SnapshotName;
use nap_model::state::State;
use nap_server::recover::{NotRecovered, Past, recover};
use nap_store::{BranchRecord, Draft, History, NewSnapshot, Recovery, StoreError, Until};
use tokio::time::Instant;

use super::change::store_failure;
use super::create::{Brought, Held, TRIES, WAKES_WITHIN, cannot_be_copied};
use super::socket_dir::SocketDir;
use super::{BranchSet, Entry};
use crate::daemon::control_api::wake_failure;
use crate::daemon::secrets;

impl BranchSet {
    /// The files of a parent as they were at a moment.
    pub(super) async fn bring_past(
        &self,
        parent: &Entry,
        draft: Draft,
        id: &BranchId,
        moment: Moment,
    ) -> Result<Brought, Failure> {
        let mut draft = Held::new(draft);
        let until = match moment {
            Moment::Snapshot(name) => return self.bring_snapshot(parent, draft, name).await,
            Moment::Lsn(lsn) => Until::Lsn(lsn),
            Moment::Time(time) => Until::Time(time),
        };
        self.write_out(parent).await?;
        reached("a past is written out").await;
        let recovered = self.recover_past(parent, &mut draft, id, until).await;
        // Recovery reads the branch's log where it lies. Of another state's it may have taken something for its own.
        self.refuse_another_state(parent)?;
        let is_recovered = recovered?;
        reached("a past is recovered").await;
        if is_recovered {
            draft.try_with(Draft::find_where_it_left).await?;
        }
        self.disable_subscriptions(parent, &mut draft).await?;
        let subscriptions = subscriptions_now(parent);
        Ok(Brought { draft, parent_in_use: false, pause: None, subscriptions, has_subscriptions: false })
    }

    /// The nearest snapshot, and a server that recovers it from there. False: the snapshot is what it was like then.
    async fn recover_past(
        &self,
        parent: &Entry,
        draft: &mut Held,
        id: &BranchId,
        until: Until,
    ) -> Result<bool, Failure> {
        let recovery = self.clone_past(parent, draft, until).await?;
        reached("a past is cloned").await;
        let Some(Recovery { log, until }) = recovery else { return Ok(false) };
        let install = self.installs.of(parent.record.major).map_err(Failure::failed)?;
        let home = self.store.home();
        nap_store::create::make_server_socket_dir(home, id).map_err(store_failure)?;
        let _sockets = SocketDir::new(home.server_socket_dir(id));
        let data = draft.with(|draft| draft.data()).await?;
        let (target, inclusive) = target(until);
        let past = Past { data, socket_dir: home.server_socket_dir(id), log, target, inclusive };
        recover(&self.children, &install, &past).await.map_err(|error| not_recovered(&error))?;
        Ok(true)
    }

    /// The nearest snapshot. A busy server may have begun a segment since its log was looked at.
    async fn clone_past(&self, parent: &Entry, draft: &mut Held, until: Until) -> Result<Option<Recovery>, Failure> {
        for _ in 1..TRIES {
            let name = parent.record.name.clone();
            self.in_store(move |store| store.keep_log(&name)).await?;
            match draft.with(move |draft| draft.clone_past(until)).await? {
                Err(StoreError::LogIsGone(_)) => {}
                recovery => return recovery.map_err(store_failure),
            }
        }
        draft.try_with(move |draft| draft.clone_past(until)).await
    }

    /// The files of a snapshot that has a name.
    async fn bring_snapshot(&self, parent: &Entry, mut draft: Held, name: SnapshotName) -> Result<Brought, Failure> {
        draft.try_with(move |draft| draft.clone_snapshot(&name)).await?;
        self.disable_subscriptions(parent, &mut draft).await?;
        let subscriptions = subscriptions_now(parent);
        Ok(Brought { draft, parent_in_use: false, pause: None, subscriptions, has_subscriptions: false })
    }

    /// Makes a branch that shows another one as it was at a moment, and lets nobody write to it.
    pub(in crate::daemon) async fn show_past(
        &self,
        of: &BranchName,
        moment: Moment,
        written: String,
    ) -> Result<BranchName, Failure> {
        let _making = self.making.clone();
        let parent = self.existing(of)?;
        let holder = self.holder(parent.clone(), &moment)?.record.name;
        if holder != *of {
            // Who was let in to a branch was asked nothing by its parent.
            let message = format!("branch \"{of}\" began after that: what it was then is the past of \"{holder}\"");
            return Err(
                Failure::new(FailureKind::Usage, message).hint(format!("Connect to \"{holder}\" with this nap.at."))
            );
        }
        let id = secrets::branch_id().map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
        let (from, own_id) = (parent.record.name.clone(), id.clone());
        let name = shown_name(&from, &id)?;
        let draft = self.in_store(move |store| store.draft(&from, &name, id)).await?;
        let Brought { mut draft, .. } = self.bring_past(&parent, draft, &own_id, moment).await?;
        draft.try_with(|draft| draft.make_read_only(written)).await?;
        Ok(self.publish(draft, &parent.record.name).await?.branch.record.name)
    }

    /// Takes a snapshot with a name.
    pub(in crate::daemon) async fn snapshot(
        &self,
        branch: &BranchName,
        name: SnapshotName,
    ) -> Result<(NewSnapshot, Option<Duration>), Failure> {
        let _making = self.making.clone();
        let entry = self.existing(branch)?;
        if self.names_now().iter().any(|other| other.as_str() == name.as_str()) {
            // A bare word is a branch in other commands: it may have been meant so here.
            let message = format!("the snapshot would be called as the branch \"{name}\" is");
            let hint = format!("give it another name; a snapshot of that branch is `nap snapshot NAME --from {name}`");
            return Err(Failure::new(FailureKind::Conflict, message).hint(hint));
        }
        let (of, called) = (branch.clone(), name.clone());
        let draft = self.in_store(move |store| store.draft_snapshot(&of, &called)).await?;
        let Brought { draft, pause, .. } = self.bring(&entry, draft).await?;
        let draft = draft.take()?;
        reached("a snapshot is about to show").await;
        let new = self.in_store(move |store| store.keep_snapshot(draft, name)).await?;
        reached("a snapshot shows").await;
        Ok((new, pause))
    }

    /// Removes one.
    pub(in crate::daemon) async fn remove_snapshot(
        &self,
        branch: &BranchName,
        name: SnapshotName,
    ) -> Result<(), Failure> {
        let branch = branch.clone();
        self.in_store(move |store| store.remove_snapshot(&branch, &name)).await
    }

    /// Whose past a moment belongs to: what was before a branch began was its parent's.
    pub(super) fn holder(&self, mut entry: Entry, moment: &Moment) -> Result<Entry, Failure> {
        for _ in 0..self.names_now().len() {
            let BranchRecord { parent, branched_at, shared_until, .. } = &entry.record;
            let (Some(parent), Some(until)) = (parent, shared_until) else { break };
            let is_before = match moment {
                Moment::Lsn(lsn) => branched_at.is_some_and(|begins| *lsn < begins),
                Moment::Time(time) => time < until,
                Moment::Snapshot(_) => false,
            };
            if !is_before {
                break;
            }
            entry = self.existing(parent)?;
        }
        Ok(entry)
    }

    /// What is kept of a branch's past, and whether anything can be.
    pub(in crate::daemon) async fn history(&self, name: &BranchName) -> Result<(History, bool), Failure> {
        let name = name.clone();
        self.in_store(move |store| Ok((store.history(&name)?, store.keeps_history()))).await
    }

    /// What a branch takes of the disk, if that can be found out in time.
    pub(in crate::daemon) async fn disk_use(&self, name: &BranchName, until: std::time::Instant) -> Option<DiskReport> {
        let dir = self.entry(name)?.dir;
        let found = tokio::task::spawn_blocking(move || nap_store::disk_use(&dir, until)).await.ok()?.ok()??;
        Some(DiskReport { own_bytes: found.own_bytes, shared_bytes: found.shared_bytes })
    }

    /// What a running server has in memory of its log belongs to its past too.
    async fn write_out(&self, parent: &Entry) -> Result<(), Failure> {
        if !matches!(parent.server.status().state, State::Waking | State::Awake | State::Settling | State::Dozing) {
            return Ok(());
        }
        let lease = parent.server.awake(Instant::now() + WAKES_WITHIN).await.map_err(wake_failure)?;
        if let Some(live) = parent.server.live(&lease).await {
            live.checkpoint().await.map_err(|error| cannot_be_copied(parent, &error))?;
        }
        Ok(())
    }
}

/// What a branch has now tells whether there is something to say of its past.
fn subscriptions_now(parent: &Entry) -> Option<u32> {
    let has_none = |access: AccessSnapshot| (access.enabled_subscriptions == 0).then_some(0);
    nap_store::roles::load_access(&parent.dir).and_then(has_none)
}

/// `main-at-3f2a9c1e`
fn shown_name(of: &BranchName, id: &BranchId) -> Result<BranchName, Failure> {
    let suffix = format!("-at-{id}");
    let head: String = of.as_str().chars().take(BRANCH_NAME_MAX_BYTES - suffix.len()).collect();
    format!("{head}{suffix}").parse().map_err(|error| Failure::from_error(FailureKind::Failed, &error))
}

/// As PostgreSQL calls it, and whether what stands at it belongs to it: a place in the log is between two records.
fn target(until: Until) -> ((&'static str, String), bool) {
    match until {
        Until::Lsn(lsn) => (("recovery_target_lsn", lsn.to_string()), false),
        Until::Behind(lsn) => (("recovery_target_lsn", lsn.to_string()), true),
        // This setting takes no `Z`.
        Until::Time(time) => {
            let text = time.strftime("%Y-%m-%d %H:%M:%S%.6f+00").to_string();
            (("recovery_target_time", text), true)
        }
    }
}

fn not_recovered(error: &NotRecovered) -> Failure {
    Failure::from_error(FailureKind::Failed, error)
}
