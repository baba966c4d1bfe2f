//! `branch.toml`: what is known of a branch beside its data.

use std::path::Path;

use nap_model::ids::{BranchId, BranchName, Major};
use nap_model::lsn::Lsn;
use nap_model::settings::{self, BadSettings, BranchSettings};
use serde::{Deserialize, Serialize};

use crate::durable;
use crate::edit;
use crate::error::StoreError;
use crate::home::BranchDir;

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
    /// When it was made.
    pub created: jiff::Timestamp,
    /// The PostgreSQL that its data directory belongs to.
    pub major: Major,
    /// What it does otherwise than its home.
    #[serde(default)]
    pub settings: BranchSettings,
}

impl BranchRecord {
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

    /// Writes it into a directory that is made durable as a whole afterwards.
    pub(crate) fn stage(&self, dir: &BranchDir) -> Result<(), StoreError> {
        let path = dir.record();
        let text = toml::to_string(self).map_err(|e| bad(&path, e))?;
        durable::stage_file(&path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", &path, e))
    }
}

/// Changes some of the branch's own settings (`None`: the home's holds again), all of them or none, keeping the comments
/// of the file.
pub fn set_settings<V: AsRef<str>>(dir: &BranchDir, changes: &[(&str, Option<V>)]) -> Result<BranchRecord, StoreError> {
    for (name, _) in changes {
        let spec = settings::known(name)?;
        if !spec.per_branch {
            return Err(StoreError::NotPerBranch(spec.name));
        }
    }
    let current = BranchRecord::load(dir)?;
    let mut record = current.clone();
    let path = dir.record();
    let mut text = std::fs::read_to_string(&path).map_err(|e| StoreError::io("read", &path, e))?;
    for (name, value) in changes {
        let value = value.as_ref().map(AsRef::as_ref);
        (text, record) = edit::change(&text, Some("settings"), name, value, BranchRecord::parse)
            .map_err(|problem| BadSettings::Value(format!("{name}: {problem}")))?;
        // A value that smuggles in other keys would be caught here.
        if (BranchRecord { settings: current.settings.clone(), ..record.clone() }) != current {
            return Err(BadSettings::Value(format!("{name}: this is not a single value")).into());
        }
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
