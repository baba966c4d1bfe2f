//! Transactions that were prepared and wait in a cluster for COMMIT PREPARED: a clone has them too, with their locks.

use std::fs;
use std::path::Path;

use nap_model::ids::Major;

use crate::durable;

/// So many are named.
const NAMED_MAX: usize = 100;
/// The file of one with many subtransactions is long; its name stands at the beginning.
const FILE_MAX_BYTES: u64 = 64 << 20;
/// `TwoPhaseFileHeader` (`src/include/access/xact.h`): where the length of the name is, and where the name. 15 has put
/// two counts before them.
const NAME_14: (usize, usize) = (46, 64);
const NAME: (usize, usize) = (54, 72);

/// The names of a sleeping cluster's, as COMMIT PREPARED wants them; of one that cannot be read, its file's name.
pub(crate) fn prepared_transactions(data: &Path, major: Major) -> Vec<String> {
    let Ok(entries) = fs::read_dir(data.join("pg_twophase")) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .take(NAMED_MAX)
        .map(|entry| {
            let bytes = durable::read_bounded(&entry.path(), FILE_MAX_BYTES).unwrap_or_default();
            name_in(&bytes, major).unwrap_or_else(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    names
}

fn name_in(bytes: &[u8], major: Major) -> Option<String> {
    let (length_at, name_at) = if major < Major(15) { NAME_14 } else { NAME };
    let length = u16::from_ne_bytes(bytes.get(length_at..length_at + 2)?.try_into().ok()?);
    // Its terminating zero counts.
    let name = bytes.get(name_at..name_at + usize::from(length).checked_sub(1)?)?;
    Some(String::from_utf8_lossy(name).into_owned()).filter(|name| !name.is_empty())
}
