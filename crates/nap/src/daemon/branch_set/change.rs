//! Making, changing and removing branches.

use std::sync::PoisonError;
use std::time::Duration;

use nap_control::{Failure, FailureKind};
use nap_model::ids::BranchName;
use nap_model::nearest::{did_you_mean, nearest};
use nap_server::error::SleepError;
use nap_store::{NewBranch, StoreError, record};
use tokio::time::Instant;

use super::{BranchSet, Entry, policy};
use crate::daemon::secrets;

/// A session whose client has just gone needs a moment to notice.
const SESSION_LEAVES_WITHIN: Duration = Duration::from_millis(500);

impl BranchSet {
    /// A branch, or a failure that names the nearest ones.
    pub(in crate::daemon) fn existing(&self, name: &BranchName) -> Result<Entry, Failure> {
        self.entry(name).ok_or_else(|| {
            let names = self.names_now();
            let question = did_you_mean(nearest(name.as_str(), names.iter().map(BranchName::as_str)));
            let failure = Failure::new(FailureKind::NotFound, format!("there is no branch \"{name}\""));
            match question {
                Some(question) => failure.hint(format!("{question} `nap ls` shows all")),
                None => failure.hint("`nap ls` shows all branches"),
            }
        })
    }

    /// Clones a sleeping branch; an awake one without sessions is put to sleep for it. Clients of the parent wait.
    pub(in crate::daemon) async fn create(&self, name: BranchName, from: &BranchName) -> Result<NewBranch, Failure> {
        let parent = self.existing(from)?;
        if self.entry(&name).is_some() {
            return Err(store_failure(StoreError::Exists(name)));
        }
        let id = secrets::branch_id().map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
        let hold = parent.server.hold_asleep().await.map_err(|error| {
            sleep_failure(error).hint("only a sleeping branch can be cloned: end its sessions, or wait for them")
        })?;
        refuse_subscriber(&parent)?;
        let (store, parent_name) = (self.store.clone(), from.clone());
        let cloned = tokio::task::spawn_blocking(move || store.clone_branch(&parent_name, &name, id)).await;
        drop(hold);
        let new = cloned.map_err(|error| Failure::failed(error.to_string()))?.map_err(store_failure)?;
        self.change_rules(|rules| rules.inherit(&new.branch.record.name, from)).await;
        self.take_on(new.branch.clone()).map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
        Ok(new)
    }

    /// Removes a branch and its data. With `force` its sessions are ended; without, they are a reason to refuse.
    pub(in crate::daemon) async fn remove(&self, name: &BranchName, force: bool) -> Result<(), Failure> {
        let entry = self.existing(name)?;
        if *name == self.config.get().default_branch {
            let message = format!("{name} is the branch of clients that name none");
            return Err(Failure::new(FailureKind::Conflict, message)
                .hint("make another one the default first: `nap config set default_branch=NAME`"));
        }
        if !force {
            self.refuse_sessions(name).await?;
        }
        // Before anything is done to its sessions.
        let (store, parent) = (self.store.clone(), name.clone());
        let refused = tokio::task::spawn_blocking(move || store.refuse_parent(&parent)).await;
        refused.map_err(|error| Failure::failed(error.to_string()))?.map_err(store_failure)?;
        let hold = if force {
            entry.server.remove().await;
            // Those that are parked would ask for a branch that is not there.
            if let Some(gateway) = self.gateway() {
                gateway.end_sessions(name);
            }
            None
        } else {
            let held = entry.server.hold_asleep().await;
            Some(held.map_err(|error| sleep_failure(error).hint("--force ends its sessions"))?)
        };
        let (store, gone) = (self.store.clone(), name.clone());
        let removed = tokio::task::spawn_blocking(move || store.remove(&gone)).await;
        let removed = removed.map_err(|error| Failure::failed(error.to_string()))?;
        if let Err(error) = removed {
            drop(hold);
            if force {
                // Its server's owner has ended, and the branch is still there.
                self.fleet.remove(name);
                let branch = nap_store::Branch { record: entry.record, dir: entry.dir };
                self.take_on(branch).map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
            }
            return Err(store_failure(error));
        }
        // As long as it is among the branches no new one of its name can take on rules, which these are not.
        self.change_rules(|rules| rules.forget(name)).await;
        self.change_entries(|entries| entries.remove(name));
        if let Some(doors) = self.doors() {
            doors.close(name);
        }
        self.fleet.remove(name);
        entry.server.remove().await;
        Ok(())
    }

    /// Sessions are a reason not to remove a branch, parked ones too.
    async fn refuse_sessions(&self, name: &BranchName) -> Result<(), Failure> {
        let Some(gateway) = self.gateway() else { return Ok(()) };
        match gateway.emptied_of(name, Instant::now() + SESSION_LEAVES_WITHIN).await {
            0 => Ok(()),
            count => {
                let sessions = if count == 1 { "session" } else { "sessions" };
                let message = format!("branch \"{name}\" has {count} {sessions}");
                Err(Failure::new(FailureKind::Conflict, message).hint("--force ends its sessions"))
            }
        }
    }

    /// Changes some of a branch's own settings, all or none; `None`: the home's holds again.
    pub(in crate::daemon) fn set(
        &self,
        branch: &BranchName,
        settings: &[(&str, Option<String>)],
    ) -> Result<(), Failure> {
        let entry = self.existing(branch)?;
        let port = settings.iter().find(|(name, _)| *name == "port").map(|(_, value)| value.as_deref());
        if let (Some(doors), Some(port)) = (self.doors(), port) {
            // What is no port is refused below, with all the rest.
            let port = port.map(str::parse).transpose();
            port.map_or(Ok(()), |port| doors.set_port(branch, port))?;
        }
        let changed = record::set_settings(&entry.dir, settings).map_err(|error| {
            if let Some(doors) = self.doors() {
                let _ = doors.set_port(branch, entry.record.settings.port);
            }
            store_failure(error)
        })?;
        entry.policy.send_replace(policy(&self.config.get(), &changed));
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(branch) {
            entry.record = changed;
        }
        Ok(())
    }
}

/// A copy of a subscriber would connect to the publisher as the same subscriber, and take its changes away from it.
fn refuse_subscriber(parent: &Entry) -> Result<(), Failure> {
    let enabled = nap_store::roles::load_access(&parent.dir).map_or(0, |access| access.enabled_subscriptions);
    if enabled == 0 {
        return Ok(());
    }
    let message = format!("branch \"{}\" has {enabled} enabled subscription(s)", parent.record.name);
    Err(Failure::new(FailureKind::Conflict, message)
        .because("a copy of it would take their changes from the publisher in its place")
        .hint(
            "disable them first (ALTER SUBSCRIPTION … DISABLE), and enable them again in the one that is to have them",
        ))
}

/// A failure of the store, with the kind and hint that it has.
pub(in crate::daemon) fn store_failure(error: StoreError) -> Failure {
    let kind = match &error {
        StoreError::Exists(_) | StoreError::HasChildren { .. } | StoreError::NotAsleep(_) => FailureKind::Conflict,
        StoreError::NoSuchBranch { .. } => FailureKind::NotFound,
        StoreError::BadSetting(_) | StoreError::NotPerBranch(_) => FailureKind::Usage,
        _ => FailureKind::Failed,
    };
    let mut failure = Failure::from_error(kind, &error);
    failure.hint = error.hint().map(Into::into);
    failure
}

/// A server that would not sleep.
pub(in crate::daemon) fn sleep_failure(error: SleepError) -> Failure {
    let kind = match &error {
        SleepError::Guarded { .. } | SleepError::NotAwake { .. } => FailureKind::Conflict,
        SleepError::Failed { .. } => FailureKind::Failed,
    };
    Failure::from_error(kind, &error)
}
