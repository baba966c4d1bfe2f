//! What of a data directory belongs to its running server and not to its data: the lists of PostgreSQL's own base
//! backup (`src/backend/backup/basebackup.c`, the same in 14 to 18), and what makes a standby.

use std::path::Path;

/// Directories that are kept, empty.
const EMPTIED: [&str; 8] = [
    "pg_stat_tmp",
    "pg_replslot",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
    // What waits for its parent's archiver is not the clone's to archive.
    "pg_wal/archive_status",
];

/// Files left out wherever they lie.
const LEFT_OUT: [&str; 9] = [
    "postmaster.pid",
    "postmaster.opts",
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
    "backup_label",
    "tablespace_map",
    "backup_manifest",
    // A clone follows nobody.
    "standby.signal",
    "recovery.signal",
];

/// Files and directories left out whose names begin so: the cache of system catalogs, and files of running queries.
const LEFT_OUT_PREFIXES: [&str; 2] = ["pg_internal.init", "pgsql_tmp"];

/// What a backup has besides: with these, recovery begins where it must.
pub(crate) fn is_of_a_backup(relative: &Path) -> bool {
    ["backup_label", "tablespace_map"].iter().any(|name| relative == Path::new(name))
}

/// Of what is left out, that which is removed from a snapshot of the whole: what a server would go by and do its parent's work or
/// take its parent's way, and the shared memory of running queries, which may be large …
const REMOVED_BELOW: [&str; 3] = ["pg_replslot", "pg_wal/archive_status", "pg_dynshmem"];
/// … and files.
const REMOVED: [&str; 5] = ["postmaster.pid", "backup_label", "tablespace_map", "standby.signal", "recovery.signal"];

/// Whether the entry at this path, relative to the data directory, is removed from a snapshot of the whole. What is left out
/// besides a server empties, removes or writes anew when it starts, as its parent's does: it stays, because the file system counts
/// the owners of all that lies beside what is touched.
pub(crate) fn is_removed_from_whole(relative: &Path) -> bool {
    let below = |dir: &&str| relative.parent().is_some_and(|parent| parent == Path::new(dir));
    REMOVED_BELOW.iter().any(below) || REMOVED.iter().any(|name| relative == Path::new(name)) || is_temporary(relative)
}

/// Whether it is a file of a running query, as a server that starts knows them (`RemovePgTempFilesInDir`). They can be large, and
/// in a snapshot of the past no server starts.
pub(crate) fn is_temporary(relative: &Path) -> bool {
    let parent = relative.parent().and_then(Path::file_name);
    let name = relative.file_name().map(std::ffi::OsStr::as_encoded_bytes);
    parent.is_some_and(|parent| parent == "pgsql_tmp") && name.is_some_and(|name| name.starts_with(b"pgsql_tmp"))
}

/// Whether the entry at this path, relative to the data directory, is left out of a clone.
pub(crate) fn is_left_out(relative: &Path) -> bool {
    let Some(name) = relative.file_name().map(|name| name.to_string_lossy()) else { return false };
    let below_emptied =
        relative.parent().is_some_and(|parent| EMPTIED.iter().any(|emptied| parent == Path::new(emptied)));
    below_emptied || LEFT_OUT.contains(&&*name) || LEFT_OUT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mislead_goes_from_a_whole_and_what_a_server_removes_itself_stays() {
        for goes in [
            "postmaster.pid",
            "standby.signal",
            "pg_replslot/slot",
            "pg_wal/archive_status/000000010000000000000001.ready",
            "base/pgsql_tmp/pgsql_tmp7.0",
            "pg_dynshmem/mmap.1",
            "base/pgsql_tmp/pgsql_tmp7.0.fileset",
        ] {
            assert!(is_removed_from_whole(Path::new(goes)) && is_left_out(Path::new(goes)), "{goes}");
        }
        for stays in ["postmaster.opts", "global/pg_internal.init", "pg_subtrans/0000", "pg_replslot", "base/pgsql_tmp"]
        {
            assert!(!is_removed_from_whole(Path::new(stays)), "{stays}");
        }
    }
}
