//! Making a branch: a clone of one that sleeps, or of one that is in use.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use nap_control::{Failure, FailureKind};
use nap_fault::reached;
use nap_model::ids::{BranchId, BranchName};
use nap_model::moment::Moment;
use nap_model::state::State;
use nap_server::error::SleepError;
use nap_server::handle::Lease;
use nap_server::initdb;
use nap_server::live::Live;
use nap_store::{Draft, NewBranch, Store, StoreError, Way};
use tokio::time::Instant;

use super::change::{because_it_is_full, store_failure, wanted};
use super::socket_dir::SocketDir;
use super::{BranchSet, Entry};
use crate::daemon::control_api::wake_failure;
use crate::daemon::secrets;

/// How long a parent may stand still before no file more is cloned. Mostly it is milliseconds.
const STANDS_STILL_AT_MOST: Duration = Duration::from_secs(5);
/// A parent may fall asleep, or wake, just when it was found to be otherwise.
pub(super) const TRIES: usize = 5;
/// How long a parent that is about to be copied may take to wake, or to thaw.
pub(super) const WAKES_WITHIN: Duration = Duration::from_secs(60);

/// A branch that was made.
pub(in crate::daemon) struct Made {
    pub(in crate::daemon) new: NewBranch,
    /// Its parent was in use …
    pub(in crate::daemon) parent_in_use: bool,
    /// … and stood still for so long.
    pub(in crate::daemon) pause: Option<Duration>,
    /// So many subscriptions were enabled, and are disabled in the branch; none: if it has any.
    pub(in crate::daemon) subscriptions_disabled: Option<u32>,
}

/// How its files came.
pub(super) struct Brought {
    pub(super) draft: Held,
    pub(super) parent_in_use: bool,
    pub(super) pause: Option<Duration>,
    /// How many subscriptions were enabled; none: that is not known.
    pub(super) subscriptions: Option<u32>,
    /// There may be some.
    pub(super) has_subscriptions: bool,
}

/// What is being made. If nothing comes of it, its files are deleted where that holds nobody up.
pub(super) struct Held<T: Send + 'static = Draft>(Option<T>);

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        if let Some(draft) = self.0.take() {
            tokio::task::spawn_blocking(move || drop(draft));
        }
    }
}

impl<D: Send + 'static> Held<D> {
    pub(super) fn new(draft: D) -> Self {
        Self(Some(draft))
    }

    /// What takes the disk its time.
    pub(super) async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut D) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let Some(mut draft) = self.0.take() else { return Err(Failure::failed("it was given up")) };
        let working = tokio::task::spawn_blocking(move || {
            let done = work(&mut draft);
            (done, draft)
        });
        let (done, draft) = working.await.map_err(|error| Failure::failed(error.to_string()))?;
        self.0 = Some(draft);
        Ok(done)
    }

    /// The same with what can go wrong.
    pub(super) async fn try_with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut D) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        self.with(work).await?.map_err(store_failure)
    }

    pub(super) fn take(mut self) -> Result<D, Failure> {
        self.0.take().ok_or_else(|| Failure::failed("it was given up"))
    }
}

impl BranchSet {
    /// Clones a branch. One that nobody uses is put to sleep for it, and its clients wait; of one that is in use the clone is
    /// what a crash at that moment would leave.
    pub(in crate::daemon) async fn create(
        &self,
        name: BranchName,
        from: &BranchName,
        at: Option<Moment>,
        settings: &[(&str, Option<String>)],
    ) -> Result<Made, Failure> {
        let _making = self.making.clone();
        let parent = match &at {
            Some(at) => self.holder(self.existing(from)?, at)?,
            None => self.existing(from)?,
        };
        let from = &parent.record.name;
        let changes = wanted(settings)?;
        if self.entry(&name).is_some() {
            return Err(store_failure(StoreError::Exists(name)));
        }
        let id = secrets::branch_id().map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
        let (parent_name, own_id) = (from.clone(), id.clone());
        let mut draft = self.in_store(move |store| store.draft(&parent_name, &name, id)).await?;
        draft.set(&changes).map_err(store_failure)?;
        reached("a branch is drafted").await;
        let Brought { draft, parent_in_use, pause, subscriptions, .. } = match at {
            None => self.bring_files(&parent, draft).await?,
            Some(moment) => self.bring_past(&parent, draft, &own_id, moment).await?,
        };
        let new = self.publish(draft, from).await?;
        Ok(Made { new, parent_in_use, pause, subscriptions_disabled: subscriptions })
    }

    /// Everybody can see it from now on.
    pub(super) async fn publish(&self, draft: Held, parent: &BranchName) -> Result<NewBranch, Failure> {
        let draft = draft.take()?;
        let sockets = self.make_sockets(draft.id())?;
        reached("a branch is about to show").await;
        let new = self.in_store(|store| store.publish(draft)).await?;
        sockets.keep();
        reached("a branch shows").await;
        self.change_rules(|rules| rules.inherit(&new.branch.record.name, parent)).await;
        self.take_on(new.branch.clone()).map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
        Ok(new)
    }

    /// The socket directory of a branch that is about to show: one that shows must not be refused for want of space for that.
    pub(super) fn make_sockets(&self, id: &BranchId) -> Result<SocketDir, Failure> {
        let home = self.store.home();
        nap_store::create::make_server_socket_dir(home, id).map_err(store_failure)?;
        Ok(SocketDir::new(home.server_socket_dir(id)))
    }

    /// The files of a parent for a branch of its own: its subscriptions are disabled before any server runs on it. A
    /// subscriber's copy would take its changes away from it.
    pub(super) async fn bring_files(&self, parent: &Entry, draft: Draft) -> Result<Brought, Failure> {
        let mut brought = self.bring(parent, draft).await?;
        if brought.has_subscriptions {
            self.disable_subscriptions(parent, &mut brought.draft).await?;
        }
        Ok(brought)
    }

    /// The files of a parent, as no server has run on them yet.
    pub(super) async fn bring(&self, parent: &Entry, draft: Draft) -> Result<Brought, Failure> {
        let brought = self.bring_now(parent, draft).await;
        if brought.is_err() {
            self.refuse_another_state(parent)?;
        }
        brought
    }

    async fn bring_now(&self, parent: &Entry, draft: Draft) -> Result<Brought, Failure> {
        let mut draft = Held::new(draft);
        let name = parent.record.name.clone();
        self.in_store(move |store| store.make_room_for_copy(&name)).await?;
        for _ in 0..TRIES {
            if is_unused(parent).await {
                match parent.server.hold_asleep().await {
                    Ok(hold) => {
                        reached("a parent is kept asleep").await;
                        draft.try_with(Draft::clone_asleep).await?;
                        drop(hold);
                        return Self::brought_asleep(parent, draft).await;
                    }
                    // Somebody has come.
                    Err(SleepError::Guarded { .. } | SleepError::NotAwake { .. }) => {}
                    Err(error) => return Err(self.not_asleep(parent, error)),
                }
            }
            let lease = parent.server.awake(Instant::now() + WAKES_WITHIN).await.map_err(wake_failure)?;
            if let Some(live) = parent.server.live(&lease).await {
                return self.bring_from_live(parent, (live, lease), draft).await;
            }
        }
        let message = format!("the server of branch \"{}\" comes and goes", parent.record.name);
        Err(Failure::new(FailureKind::Conflict, message).hint("try again"))
    }

    async fn brought_asleep(parent: &Entry, mut draft: Held) -> Result<Brought, Failure> {
        let access = nap_store::roles::load_access(&parent.dir);
        let begins_at = draft.with(|draft| draft.begins_at()).await?;
        let fresh = access.filter(|access| Some(access.checkpoint) == begins_at);
        let subscriptions = fresh.map(|access| access.enabled_subscriptions);
        let has_subscriptions = subscriptions != Some(0);
        Ok(Brought { draft, parent_in_use: false, pause: None, subscriptions, has_subscriptions })
    }

    /// From a server that is in use.
    async fn bring_from_live(
        &self,
        parent: &Entry,
        (live, _lease): (Live, Lease),
        mut draft: Held,
    ) -> Result<Brought, Failure> {
        let failed = |error: &(dyn Error + 'static)| cannot_be_copied(parent, error);
        let before = live.inherited().await.map_err(|error| failed(&error))?;
        let mut pause = None;
        let mut is_cloned = false;
        let way = draft.with(|draft| draft.way()).await?;
        if way != Way::Copy {
            (is_cloned, pause) = self.clone_standing(parent, &live, &mut draft, way).await?;
        }
        if !is_cloned {
            self.copy_in_backup(parent, &live, &mut draft).await?;
        }
        // Some may have come in between, on either side of the moment that it was.
        let after = live.inherited().await.map_err(|error| failed(&error))?;
        let prepared = after.prepared_transactions;
        draft.with(|draft| draft.set_prepared_transactions(prepared)).await?;
        let has_subscriptions = before.subscriptions.0 > 0 || after.subscriptions.0 > 0;
        let enabled = before.subscriptions.1.max(after.subscriptions.1);
        Ok(Brought { draft, parent_in_use: true, pause, subscriptions: Some(enabled), has_subscriptions })
    }

    /// The parent stands still for the clone. Whether all its files can be cloned, and how long it took.
    async fn clone_standing(
        &self,
        parent: &Entry,
        live: &Live,
        draft: &mut Held,
        way: Way,
    ) -> Result<(bool, Option<Duration>), Failure> {
        live.checkpoint().await.map_err(|error| cannot_be_copied(parent, &error))?;
        reached("a parent has written out").await;
        if way == Way::Snapshot {
            // What waits to be written would be written while it stands still.
            draft.try_with(|draft| draft.write_out()).await?;
        }
        let still = live.stand_still().await.map_err(|error| cannot_be_copied(parent, &error))?;
        reached("a parent stands still").await;
        let until = still.since() + STANDS_STILL_AT_MOST;
        let cloned = draft.with(move |draft| {
            let at_once = way == Way::Snapshot && draft.clone_at_once()?;
            if at_once { Ok(true) } else { draft.clone_standing(until) }
        });
        let cloned = cloned.await;
        reached("a parent was cloned standing").await;
        let pause = still.go_on().map_err(|error| cannot_be_copied(parent, &error))?;
        reached("a parent goes on").await;
        let is_cloned = cloned?.map_err(store_failure)?;
        if is_cloned {
            draft.try_with(Draft::find_its_beginning).await?;
        }
        Ok((is_cloned, Some(pause)))
    }

    /// The parent goes on.
    async fn copy_in_backup(&self, parent: &Entry, live: &Live, draft: &mut Held) -> Result<(), Failure> {
        let backup = live.begin_backup().await.map_err(|error| {
            cannot_be_copied(parent, &error).hint(
                "copying a server in use takes wal_level = replica and a free replication slot; a sleeping one is \
                 copied without",
            )
        })?;
        reached("a parent is in backup mode").await;
        draft.try_with(Draft::copy_in_backup).await?;
        let (stop, label) = backup.end().await.map_err(|error| cannot_be_copied(parent, &error))?;
        reached("a parent left backup mode").await;
        draft.try_with(move |draft| draft.end_backup(stop, &label)).await
    }

    /// Before any server runs on it: a subscriber's copy would take its changes away from it.
    pub(super) async fn disable_subscriptions(&self, parent: &Entry, draft: &mut Held) -> Result<(), Failure> {
        let install = self.installs.of(parent.record.major).map_err(Failure::failed)?;
        let children = self.children.clone();
        let disabled = draft.with(move |draft| {
            initdb::disable_subscriptions(&children, &install, &draft.data())?;
            draft.forget_roles();
            Ok::<_, initdb::InitError>(())
        });
        disabled.await?.map_err(|error| Failure::from_error(FailureKind::Failed, &error))?;
        reached("subscriptions are disabled").await;
        Ok(())
    }

    /// What takes the disk its time.
    pub(super) async fn in_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let store: Arc<Store> = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|error| Failure::failed(error.to_string()))?.map_err(store_failure)
    }
}

/// Whether nobody would notice that it sleeps for a moment.
async fn is_unused(parent: &Entry) -> bool {
    match parent.server.status().state {
        State::Asleep | State::Stopping | State::Failed => true,
        State::Waking => false,
        State::Awake | State::Settling | State::Dozing => parent.server.guards().await.is_empty(),
    }
}

pub(super) fn cannot_be_copied(parent: &Entry, error: &(dyn Error + 'static)) -> Failure {
    let message = format!("branch \"{}\" is in use and cannot be copied now", parent.record.name);
    because_it_is_full(parent, Failure::new(FailureKind::Failed, message).caused_by(error))
}
