//! Changing branches.

use jiff::Timestamp;

use nap_control::{Failure, FailureKind};
use nap_model::ids::BranchName;
use nap_model::nearest::{did_you_mean, nearest};
use nap_model::settings::Fate;
use nap_server::error::SleepError;
use nap_server::procfs::is_full;
use nap_store::{BranchRecord, Changes, StoreError};

use super::{BranchSet, Entry};

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

    /// Something was made of a branch's files while that was removed, renamed, or got another state: they are not those of one
    /// branch, and what went wrong went wrong for that.
    pub(super) fn refuse_another_state(&self, entry: &Entry) -> Result<(), Failure> {
        let BranchRecord { name, id, created, .. } = &entry.record;
        let now = self.existing(name)?.record;
        if now.id == *id && now.created == *created {
            return Ok(());
        }
        let message = format!("branch \"{name}\" got another state meanwhile");
        Err(Failure::new(FailureKind::Conflict, message).hint("try again: it is another past by now"))
    }

    /// A server that would not sleep, and whose branch may have gone while somebody waited for that.
    pub(in crate::daemon) fn not_asleep(&self, entry: &Entry, error: SleepError) -> Failure {
        let failure = self.existing(&entry.record.name).map_or_else(|gone| gone, |_| sleep_failure(error));
        because_it_is_full(entry, failure)
    }

    /// Changes some of a branch's own settings, all or none; `None`: the home's holds again.
    pub(in crate::daemon) fn set(
        &self,
        branch: &BranchName,
        settings: &[(&str, Option<String>)],
    ) -> Result<(), Failure> {
        let entry = self.existing(branch)?;
        let changes = wanted(settings)?;
        self.refuse_to_lose(&entry.record, &changes)?;
        let port = changes.settings.iter().find(|(name, _)| *name == "port").map(|(_, value)| value.as_deref());
        if let (Some(doors), Some(port)) = (self.doors(), port) {
            // What is no port is refused below, with all the rest.
            let port = port.map(str::parse).transpose();
            port.map_or(Ok(()), |port| doors.set_port(branch, port))?;
        }
        let changed = self.store.change(branch, &changes).map_err(|error| {
            if let Some(doors) = self.doors() {
                let _ = doors.set_port(branch, entry.record.settings.port);
            }
            store_failure(error)
        })?;
        entry.follow(&self.config.get(), &changed);
        self.know(changed);
        Ok(())
    }

    /// Changes by which the branch would go at once, or never could.
    fn refuse_to_lose(&self, record: &BranchRecord, changes: &Changes<'_>) -> Result<(), Failure> {
        let name = &record.name;
        if changes.expires.is_some_and(|expires| expires.is_some()) && *name == self.config.get().default_branch {
            let message = format!("{name} is the branch of clients that name none: it cannot have a ttl");
            return Err(Failure::new(FailureKind::Conflict, message));
        }
        let is_over = changes.expires.unwrap_or(record.expires).is_some_and(|at| at <= Timestamp::now());
        if record.protected && changes.protected == Some(false) && is_over {
            let message = format!("the ttl of branch \"{name}\" is over: it would be removed at once");
            return Err(Failure::new(FailureKind::Conflict, message)
                .hint(format!("`nap set {name} protected=off ttl=` keeps it, another ttl gives it more time")));
        }
        Ok(())
    }

    /// A record as it is now.
    pub(super) fn know(&self, record: BranchRecord) {
        // Who waits for the next branch to go looks again.
        self.change_entries(|entries| {
            if let Some(entry) = entries.get_mut(&record.name) {
                entry.record = record;
            }
        });
    }
}

/// Names and values as they were typed; no value is the default.
pub(super) fn wanted<'a>(given: &[(&'a str, Option<String>)]) -> Result<Changes<'a>, Failure> {
    let mut changes = Changes::default();
    for (name, value) in given {
        let refused = |reason: String| {
            let message = format!("{name} cannot be \"{}\"", value.as_deref().unwrap_or_default());
            Failure::new(FailureKind::Usage, message).because(reason)
        };
        match Fate::parse(name, value.as_deref().unwrap_or_default()) {
            None => changes.settings.push((*name, value.clone())),
            Some(Ok(Fate::Protected(on))) => changes.protected = Some(on),
            Some(Ok(Fate::Ttl(span))) => {
                let at = |span| Timestamp::now().checked_add(span).map_err(|error| refused(error.to_string()));
                changes.expires = Some(span.map(at).transpose()?);
            }
            Some(Err(reason)) => return Err(refused(reason)),
        }
    }
    Ok(changes)
}

/// A failure of the store, with the kind and hint that it has.
pub(in crate::daemon) fn store_failure(error: StoreError) -> Failure {
    let kind = match &error {
        StoreError::Exists(_)
        | StoreError::SnapshotExists { .. }
        | StoreError::TooManySnapshots { .. }
        | StoreError::HasChildren { .. }
        | StoreError::HasGuest { .. }
        | StoreError::NoParent(_)
        | StoreError::OtherParent(_)
        | StoreError::NotAsleep(_) => FailureKind::Conflict,
        StoreError::NoSuchBranch { .. }
        | StoreError::NoSuchSnapshot { .. }
        | StoreError::OutsideHistory { .. }
        | StoreError::NoHistory(_) => FailureKind::NotFound,
        StoreError::BadSetting(_) | StoreError::NotPerBranch(_) => FailureKind::Usage,
        _ => FailureKind::Failed,
    };
    let mut failure = Failure::from_error(kind, &error);
    failure.hint = error.hint().map(Into::into);
    failure
}

/// A server that cannot write its log ends without a word to who is connected.
pub(super) fn because_it_is_full(entry: &Entry, failure: Failure) -> Failure {
    if is_full(&entry.dir.data()) { failure.because("its file system is full") } else { failure }
}

/// A server that would not sleep.
pub(in crate::daemon) fn sleep_failure(error: SleepError) -> Failure {
    let kind = match &error {
        SleepError::Guarded { .. } | SleepError::NotAwake { .. } => FailureKind::Conflict,
        SleepError::Failed { .. } => FailureKind::Failed,
    };
    Failure::from_error(kind, &error)
}
