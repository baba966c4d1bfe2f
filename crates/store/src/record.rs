//! `branch.toml`: what is known of a branch beside its data.

use std::path::{Path, PathBuf};

use nap_model::ids::{BranchId, BranchName, Major};
use nap_model::lsn::Lsn;
use nap_model::settings::{self, BadSettings, BranchSettings};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::edit;
use crate::error::StoreError;
use crate::home::BranchDir;
use crate::store::Store;

/// Far more than a record with comments needs.
const RECORD_MAX_BYTES: u64 = 1 << 20;

/// The record of a branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchRecord {
    /// The same as the name of its directory.
    pub name: BranchName,
    /// Stays the same when the branch is renamed.
    pub id: BranchId,
    /// What it was branched from; a root has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<BranchName>,
    /// Where in its parent's log it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branched_at: Option<Lsn>,
    /// Until then its parent's past is its own, too; none: it was made of something else than its parent as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_until: Option<jiff::Timestamp>,
    /// When it was made.
    pub created: jiff::Timestamp,
    /// When it is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::Timestamp>,
    /// It shows its parent at this moment, as somebody wrote it: it is read-only, and goes with its last session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shows: Option<String>,
    /// It is not removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protected: bool,
    /// The PostgreSQL that its data directory belongs to.
    pub major: Major,
    /// What it does otherwise than its home.
    #[serde(default)]
    pub settings: BranchSettings,
}

/// So long what came with a branch and is not its own is left where it is.
const YOUNG: std::time::Duration = std::time::Duration::from_secs(60);

impl BranchRecord {
    /// Whether it was made a moment ago. One from the future is not: the clock was set.
    pub fn is_young(&self) -> bool {
        let age = std::time::Duration::try_from(jiff::Timestamp::now().duration_since(self.created));
        age.is_ok_and(|age| age < YOUNG)
    }

    /// Reads the record of the branch in this directory.
    pub fn load(dir: &BranchDir) -> Result<Self, StoreError> {
        let path = dir.record();
        let bytes = durable::read_bounded(&path, RECORD_MAX_BYTES).map_err(|e| StoreError::io("read", &path, e))?;
        let text = String::from_utf8(bytes).map_err(|e| bad(&path, e))?;
        let record = Self::parse(&text).map_err(|problem| bad(&path, problem))?;
        if dir.root.file_name().is_none_or(|name| name != record.name.as_str()) {
            return Err(bad(
                &path,
                format!("it names the branch \"{}\", which is not its directory's name", record.name),
            ));
        }
        Ok(record)
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())
    }

    /// The record under which a state is to be kept, if there is one in this directory.
    pub(crate) fn load_kept(dir: &BranchDir) -> Result<Option<Self>, StoreError> {
        Self::load_if_there(dir.kept_record())
    }

    /// The record in a directory that has not its name.
    pub(crate) fn load_staged(dir: &BranchDir) -> Result<Option<Self>, StoreError> {
        Self::load_if_there(dir.record())
    }

    fn load_if_there(path: PathBuf) -> Result<Option<Self>, StoreError> {
        match durable::read_bounded(&path, RECORD_MAX_BYTES) {
            Ok(bytes) => Self::parse(&String::from_utf8_lossy(&bytes)).map(Some).map_err(|problem| bad(&path, problem)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("read", &path, error)),
        }
    }

    /// Writes it, so that it is there after a crash.
    pub(crate) fn save(&self, path: &Path) -> Result<(), StoreError> {
        let text = toml::to_string(self).map_err(|e| bad(path, e))?;
        durable::write_atomic(path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", path, e))
    }

    /// Writes it into a directory that is made durable as a whole afterwards.
    pub(crate) fn stage(&self, dir: &BranchDir) -> Result<(), StoreError> {
        let path = dir.record();
        let text = toml::to_string(self).map_err(|e| bad(&path, e))?;
        durable::stage_over(&path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", &path, e))
    }
}

/// What is to be changed of a branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes<'a> {
    /// Settings of its own; no value: the home's holds again.
    pub settings: Vec<(&'a str, Option<String>)>,
    /// When it is removed; `None` inside: it stays.
    pub expires: Option<Option<jiff::Timestamp>>,
    /// Whether it cannot be removed.
    pub protected: Option<bool>,
}

impl Store {
    /// Changes what is known of a branch, all of it or nothing, keeping the comments of the file.
    pub fn change(&self, name: &BranchName, changes: &Changes<'_>) -> Result<BranchRecord, StoreError> {
        let _one = self.lock_changes();
        let dir = self.branch(name)?.dir;
        let mut fields = Vec::new();
        if let Some(expires) = changes.expires {
            fields.push(("expires", expires.map(|at| at.to_string())));
        }
        if let Some(protected) = changes.protected {
            fields.push(("protected", protected.then(|| "true".to_owned())));
        }
        rewrite(&dir, &changes.settings, &fields)
    }
}

impl BranchRecord {
    /// The same with other settings of its own.
    pub(crate) fn with<V: AsRef<str>>(self, changes: &[(&str, Option<V>)]) -> Result<Self, StoreError> {
        let text = toml::to_string(&self).map_err(|e| BadSettings::Value(e.to_string()))?;
        Ok(with_settings(self, text, changes)?.1)
    }
}

/// The text of a record with these changes, and what it says.
fn with_settings<V: AsRef<str>>(
    current: BranchRecord,
    mut text: String,
    changes: &[(&str, Option<V>)],
) -> Result<(String, BranchRecord), StoreError> {
    let mut record = current.clone();
    for (name, value) in changes {
        let spec = settings::known(name)?;
        if !spec.per_branch {
            return Err(StoreError::NotPerBranch(spec.name));
        }
        let value = value.as_ref().map(AsRef::as_ref);
        (text, record) = edit::change(&text, Some("settings"), name, value, BranchRecord::parse)
            .map_err(|problem| BadSettings::Value(format!("{name}: {problem}")))?;
        // A value that smuggles in other keys would be caught here.
        if (BranchRecord { settings: current.settings.clone(), ..record.clone() }) != current {
            return Err(BadSettings::Value(format!("{name}: this is not a single value")).into());
        }
    }
    Ok((text, record))
}

/// Changes settings and what else is known of the branch in its file.
pub(crate) fn rewrite(
    dir: &BranchDir,
    settings: &[(&str, Option<String>)],
    fields: &[(&str, Option<String>)],
) -> Result<BranchRecord, StoreError> {
    let current = BranchRecord::load(dir)?;
    let path = dir.record();
    let text = std::fs::read_to_string(&path).map_err(|e| StoreError::io("read", &path, e))?;
    let (mut text, mut record) = with_settings(current, text, settings)?;
    for (name, value) in fields {
        (text, record) = edit::change(&text, None, name, value.as_deref(), BranchRecord::parse)
            .map_err(|problem| bad(&path, problem))?;
    }
    durable::write_atomic(&path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", &path, e))?;
    Ok(record)
}

fn bad(path: &Path, problem: impl ToString) -> StoreError {
    StoreError::BadRecord { path: path.to_owned(), problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nap_model::settings::{Flash, Switch};
    use nap_model::span::Span;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = BranchName> {
        "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| text.parse().unwrap())
    }

    prop_compose! {
        fn record()(
            name in name(),
            id: [u8; 4],
            parent in proptest::option::of(name()),
            lsn: Option<u64>,
            expires in proptest::option::of(0..4_000_000_000_i64),
            protected: bool,
            nanoseconds in 0..4_000_000_000_000_000_000_i128,
            major in 14..30_u16,
            seconds in proptest::option::of(0..1_000_000_u64),
            port in proptest::option::of(any::<std::num::NonZeroU16>()),
        ) -> BranchRecord {
            BranchRecord {
                name,
                id: BranchId::from_bytes(id),
                parent,
                branched_at: lsn.map(Lsn),
                created: jiff::Timestamp::from_nanosecond(nanoseconds).unwrap(),
                shared_until: expires.map(|second| jiff::Timestamp::from_second(second).unwrap()),
                shows: seconds.map(|seconds| format!("-{seconds}s")),
                expires: expires.map(|second| jiff::Timestamp::from_second(second).unwrap()),
                protected,
                major: Major(major),
                settings: BranchSettings {
                    port,
                    sleep_after: seconds.map(Span::seconds),
                    flash: port.map(|port| if port.get() > 2_000 { Flash::Auto } else { Flash::Manual }),
                    doze_after: port.map(|_| Span(seconds.map(std::time::Duration::from_secs))),
                    park: port.map(|port| Switch(port.get() > 1_000)),
                    answer_pings: seconds.map(|seconds| Switch(seconds > 10)),
                    maintenance_budget: seconds.map(Span::seconds),
                    wake_at: port.map(|port| format!("{} 3 * * *", port.get() % 60).parse().unwrap()),
                    wake_sql: seconds.map(|seconds| format!("{seconds}.sql").into()),
                    replication_guard: port.map(|port| Switch(port.get() > 3_000)),
                    control_role: seconds.map(|seconds| format!("role {seconds}")),
                    history: seconds.map(Span::seconds),
                    history_max_gb: port.map(|port| port.get().into()),
                },
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(record in record()) {
            prop_assert_eq!(BranchRecord::parse(&toml::to_string(&record).unwrap()), Ok(record));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,300}") {
            let _ = BranchRecord::parse(&text);
        }
    }
}
