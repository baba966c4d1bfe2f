//! Removing branches.

use std::time::Duration;

use nap_control::{Children, Failure, FailureKind};
use nap_fault::reached;
use nap_model::ids::BranchName;
use nap_store::{BranchRecord, StoreError};
use tokio::time::Instant;

use super::change::{sleep_failure, store_failure};
use super::{BranchSet, Entry};

/// A session whose client has just gone needs a moment to notice.
const SESSION_LEAVES_WITHIN: Duration = Duration::from_millis(500);

impl BranchSet {
    /// Removes a branch and its data, and its children if those are to go too. With `force` sessions are ended; without, they are
    /// a reason to refuse. Gives back who went.
    pub(in crate::daemon) async fn remove(
        &self,
        name: &BranchName,
        force: bool,
        children: Children,
    ) -> Result<Vec<BranchName>, Failure> {
        let mut going = vec![self.existing(name)?.record.name];
        if children == Children::Remove {
            self.add_descendants(&mut going);
        }
        // Before anything is done to one of them.
        for name in &going {
            self.refuse_removal(name, force).await?;
        }
        let is_child = |entry: &Entry| entry.record.parent.as_ref() == Some(name) && entry.record.shows.is_none();
        if children == Children::Refuse && self.all().iter().any(is_child) {
            let parent = name.clone();
            self.in_store(move |store| store.refuse_parent(&parent)).await?;
        }
        for looks in self.all().into_iter().filter(|entry| entry.record.shows.is_some()) {
            // Who looks at its past does not keep it.
            if looks.record.parent.as_ref().is_some_and(|parent| going.contains(parent)) {
                self.remove_one(&looks.record.name, true, true).await?;
            }
        }
        if children == Children::Refuse {
            let parent = name.clone();
            self.in_store(move |store| store.refuse_parent(&parent)).await?;
        }
        going.reverse();
        let mut gone = Vec::new();
        for name in going {
            match self.remove_one(&name, force, children == Children::Keep).await {
                Ok(()) => gone.push(name),
                Err(failure) if gone.is_empty() => return Err(failure),
                Err(failure) => {
                    let names = gone.iter().map(BranchName::as_str).collect::<Vec<_>>().join(", ");
                    return Err(failure.because(format!("removed before: {names}")));
                }
            }
        }
        Ok(gone)
    }

    /// Children behind their parents.
    fn add_descendants(&self, going: &mut Vec<BranchName>) {
        let all = self.all();
        let mut at = 0;
        while let Some(parent) = going.get(at).cloned() {
            let children = all.iter().filter(|entry| entry.record.parent.as_ref() == Some(&parent));
            let new: Vec<BranchName> =
                children.map(|entry| entry.record.name.clone()).filter(|name| !going.contains(name)).collect();
            going.extend(new);
            at += 1;
        }
    }

    async fn refuse_removal(&self, name: &BranchName, force: bool) -> Result<(), Failure> {
        let entry = self.existing(name)?;
        if entry.record.protected {
            return Err(is_protected(name));
        }
        if *name == self.config.get().default_branch {
            let message = format!("{name} is the branch of clients that name none");
            return Err(Failure::new(FailureKind::Conflict, message)
                .hint("make another one the default first: `nap config set default_branch=NAME`"));
        }
        if force {
            return Ok(());
        }
        self.refuse_snapshots(name).await?;
        self.refuse_sessions(name, "--force ends its sessions").await
    }

    /// Who gave a name to a moment wants to keep it.
    async fn refuse_snapshots(&self, name: &BranchName) -> Result<(), Failure> {
        let named = self.history(name).await?.0.snapshots.into_iter().filter_map(|snapshot| snapshot.name);
        let named: Vec<String> = named.map(String::from).collect();
        if named.is_empty() {
            return Ok(());
        }
        let message = format!("branch \"{name}\" has snapshots with a name: {}", named.join(", "));
        Err(Failure::new(FailureKind::Conflict, message).hint("--force removes them with it"))
    }

    async fn remove_one(&self, name: &BranchName, force: bool, children_stay: bool) -> Result<(), Failure> {
        let entry = self.existing(name)?;
        if entry.record.protected {
            return Err(is_protected(name));
        }
        let hold = if force {
            entry.server.remove().await;
            // Those that are parked would ask for a branch that is not there.
            if let Some(gateway) = self.gateway() {
                gateway.end_sessions(name);
            }
            None
        } else {
            let held = entry.server.hold_asleep().await;
            let refused = |error| match self.existing(name) {
                Ok(_) => sleep_failure(error).hint("--force ends its sessions"),
                Err(gone) => gone,
            };
            Some(held.map_err(refused)?)
        };
        reached("a branch is to go").await;
        let gone = name.clone();
        let (kept, thrown_away) = match self.in_store(move |store| store.remove(&gone, children_stay)).await {
            Ok(removed) => removed,
            Err(failure) => {
                drop(hold);
                self.look_at_children(name);
                if force {
                    // Its server's owner has ended, and the branch is still there.
                    self.fleet.remove(name);
                    let branch = nap_store::Branch { record: entry.record, dir: entry.dir };
                    self.take_on(branch).map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))?;
                }
                return Err(failure);
            }
        };
        reached("a branch has gone").await;
        kept.into_iter().for_each(|child| self.know(child));
        // As long as it is among the branches no new one of its name can take on rules, which these are not.
        self.change_rules(|rules| rules.forget(name)).await;
        self.forget(name, &entry).await;
        // Nobody waits for that.
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            nap_fault::point("a branch is to be deleted");
            store.discard(&thrown_away);
        });
        Ok(())
    }

    /// Gives another name to a branch that has no sessions.
    pub(in crate::daemon) async fn rename(&self, name: &BranchName, to: BranchName) -> Result<(), Failure> {
        let _making = self.making.clone();
        let entry = self.existing(name)?;
        if self.entry(&to).is_some() {
            return Err(store_failure(StoreError::Exists(to)));
        }
        self.refuse_sessions(name, "`nap sessions` shows them, `--end` ends one").await?;
        let hold = entry.server.hold_asleep().await.map_err(|error| self.not_asleep(&entry, error))?;
        reached("a branch is to be renamed").await;
        let (from, new_name) = (name.clone(), to.clone());
        let (branch, children) = self.in_store(move |store| store.rename(&from, &new_name)).await?;
        reached("a branch is renamed").await;
        self.change_rules(|rules| {
            rules.inherit(&to, name);
            rules.forget(name);
        })
        .await;
        self.forget(name, &entry).await;
        drop(hold);
        children.into_iter().for_each(|child| self.know(child));
        self.take_on(branch).map_err(|error| Failure::from_error(FailureKind::Failed, error.as_ref()))
    }

    /// It is no more.
    async fn forget(&self, name: &BranchName, entry: &Entry) {
        self.change_entries(|entries| entries.remove(name));
        if let Some(doors) = self.doors() {
            doors.close(name);
        }
        self.fleet.remove(name);
        entry.server.remove().await;
    }

    /// Some may have been given to another parent already.
    fn look_at_children(&self, name: &BranchName) {
        for child in self.all().into_iter().filter(|entry| entry.record.parent.as_ref() == Some(name)) {
            if let Ok(record) = BranchRecord::load(&child.dir) {
                self.know(record);
            }
        }
    }

    /// Sessions are a reason not to take a branch away, parked ones too.
    async fn refuse_sessions(&self, name: &BranchName, hint: &str) -> Result<(), Failure> {
        let Some(gateway) = self.gateway() else { return Ok(()) };
        match gateway.emptied_of(name, Instant::now() + SESSION_LEAVES_WITHIN).await {
            0 => Ok(()),
            count => {
                let sessions = if count == 1 { "session" } else { "sessions" };
                let message = format!("branch \"{name}\" has {count} {sessions}");
                Err(Failure::new(FailureKind::Conflict, message).hint(hint))
            }
        }
    }
}

pub(super) fn is_protected(name: &BranchName) -> Failure {
    let message = format!("branch \"{name}\" is protected");
    Failure::new(FailureKind::Conflict, message).hint(format!("`nap set {name} protected=off`, if it is to go"))
}
