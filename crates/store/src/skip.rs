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

/// Of them, what a cluster must not find that was copied as a whole. The others its server empties, removes or writes anew when
/// it starts, as its parent's does: there they need not be touched, and each touch makes the file system count the owners of
/// what lies beside it.
const ACTS_FOR_PARENT: [&str; 2] = ["pg_replslot", "pg_wal/archive_status"];
const MISLEADS: [&str; 5] = ["postmaster.pid", "backup_label", "tablespace_map", "standby.signal", "recovery.signal"];

/// Whether the entry at this path, relative to the data directory, is removed from a snapshot of the whole.
pub(crate) fn is_left_out_of_whole(relative: &Path) -> bool {
    let below = |dir: &&str| relative.parent().is_some_and(|parent| parent == Path::new(dir));
    ACTS_FOR_PARENT.iter().any(below) || MISLEADS.iter().any(|name| relative == Path::new(name))
}

/// Whether the entry at this path, relative to the data directory, is left out of a clone.
pub(crate) fn is_left_out(relative: &Path) -> bool {
    let Some(name) = relative.file_name().map(|name| name.to_string_lossy()) else { return false };
    let below_emptied =
        relative.parent().is_some_and(|parent| EMPTIED.iter().any(|emptied| parent == Path::new(emptied)));
    below_emptied || LEFT_OUT.contains(&&*name) || LEFT_OUT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}
