//! A home with a small data directory that looks like a cleanly shut down cluster. For tests, here and in `tests/`.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, reason = "each test uses its part")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nap_model::ids::{BranchId, BranchName, Major};

use super::{BranchDir, Home, Store, make_home};

/// The major of the made-up clusters.
pub const MAJOR: Major = Major(17);
/// Where they were shut down.
pub const CHECKPOINT: u64 = 0x15E_CF68;
/// `DB_SHUTDOWNED`
pub const CLEAN: u32 = 1;
/// `DB_IN_PRODUCTION`
pub const RUNNING: u32 = 6;

pub fn name(text: &str) -> BranchName {
    text.parse().unwrap()
}

pub fn id(number: u8) -> BranchId {
    BranchId::from_bytes([0, 0, 0, number])
}

/// The head of a control file in this state.
pub fn pg_control(state: u32) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    bytes[0..8].copy_from_slice(&7_u64.to_ne_bytes());
    bytes[8..12].copy_from_slice(&1700_u32.to_ne_bytes());
    bytes[16..20].copy_from_slice(&state.to_ne_bytes());
    bytes[32..40].copy_from_slice(&CHECKPOINT.to_ne_bytes());
    bytes
}

/// What every data directory here holds and every clone must hold.
pub const KEPT: [&str; 4] = ["PG_VERSION", "global/pg_control", "base/5/16384", "pg_wal/000000010000000000000001"];

pub fn fill_cluster(data: &Path) -> std::io::Result<()> {
    for dir in ["global", "base/5", "pg_wal/archive_status", "pg_replslot/slot", "pg_tblspc"] {
        fs::create_dir_all(data.join(dir))?;
    }
    fs::write(data.join("PG_VERSION"), "17\n")?;
    fs::write(data.join("global/pg_control"), pg_control(CLEAN))?;
    fs::write(data.join("base/5/16384"), vec![7; 100_000])?;
    fs::write(data.join("pg_wal/000000010000000000000001"), vec![1; 1 << 16])?;
    fs::set_permissions(data.join("base/5/16384"), fs::Permissions::from_mode(0o640))?;
    for left_out in [
        "postmaster.pid",
        "postmaster.opts",
        "pg_replslot/slot/state",
        "global/pg_internal.init",
        "base/5/pg_internal.init.42",
        "backup_label",
    ] {
        fs::write(data.join(left_out), "not for clones")?;
    }
    fs::create_dir_all(data.join("base/pgsql_tmp"))?;
    fs::write(data.join("base/pgsql_tmp/pgsql_tmp1.0"), "not for clones")
}

/// Makes a home here, with a template.
pub fn home_with_template(root: &Path) -> Store {
    let home = Home::at(root.to_owned());
    make_home(&home).unwrap();
    let store = Store::open(home).unwrap();
    store.make_template(MAJOR, fill_cluster).unwrap();
    store
}

/// A file in the tablespace that `make_tablespace` makes.
pub const IN_TABLESPACE: &str = "fast/PG_17_202406281/5/16385";

/// Makes a tablespace, as PostgreSQL does it, and a file in it with these bytes.
pub fn make_tablespace(dir: &BranchDir, bytes: &[u8]) {
    let file = dir.tablespaces().join(IN_TABLESPACE);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, bytes).unwrap();
    let temporary = dir.tablespaces().join("fast/PG_17_202406281/pgsql_tmp");
    fs::create_dir(&temporary).unwrap();
    fs::write(temporary.join("pgsql_tmp7.0"), "not for clones").unwrap();
    std::os::unix::fs::symlink(dir.tablespaces().join("fast"), dir.data().join("pg_tblspc/16384")).unwrap();
}

/// What is in that file, by way of the link that a server takes, which leads to the branch's own directory.
#[track_caller]
pub fn in_tablespace(dir: &BranchDir) -> Vec<u8> {
    let link = dir.data().join("pg_tblspc/16384");
    let real = fs::canonicalize(dir.tablespaces().join("fast")).unwrap();
    assert_eq!(fs::canonicalize(&link).unwrap(), real, "of {}", dir.root.display());
    fs::read(link.join(IN_TABLESPACE.strip_prefix("fast/").unwrap())).unwrap()
}

pub fn no_fill(_data: &Path) -> std::io::Result<()> {
    Ok(())
}

pub fn count(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}
