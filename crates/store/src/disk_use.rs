//! What a branch takes of the disk: what is its alone, and what it shares with others. The file system knows, extent by extent.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use crate::home::BranchDir;

/// Of a block as `stat` counts them.
const BLOCK_BYTES: u64 = 512;

/// What a branch takes, with its log and its snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// What is freed if it goes.
    pub own_bytes: u64,
    /// What other branches have too, or several of its own snapshots.
    pub shared_bytes: u64,
}

/// Looks at all files of a branch. `None`: that would take longer than `until`; files in many pieces take their time.
pub fn disk_use(dir: &BranchDir, until: Instant) -> io::Result<Option<DiskUse>> {
    let mut found = DiskUse::default();
    let mut seen = HashSet::new();
    let mut dirs = vec![dir.root.clone()];
    while let Some(dir) = dirs.pop() {
        // A server that runs makes and removes files all the time.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if Instant::now() > until {
                return Ok(None);
            }
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                dirs.push(entry.path());
            } else if metadata.is_file() && metadata.blocks() > 0 {
                // The log is kept by second links.
                if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
                    add(&mut found, &entry.path(), &metadata);
                }
            }
        }
    }
    Ok(Some(found))
}

fn add(found: &mut DiskUse, path: &Path, metadata: &Metadata) {
    match shared(path) {
        Some((own, shared)) => {
            found.own_bytes += own;
            found.shared_bytes += shared;
        }
        None => found.own_bytes += metadata.blocks() * BLOCK_BYTES,
    }
}

/// Bytes of a file's extents, its own and shared ones, where the file system tells.
#[cfg(target_os = "linux")]
fn shared(path: &Path) -> Option<(u64, u64)> {
    use fiemap::FiemapExtentFlags;
    let (mut own, mut shared) = (0, 0);
    for extent in fiemap::fiemap(path).ok()? {
        let extent = extent.ok()?;
        let is_shared = extent.fe_flags.contains(FiemapExtentFlags::SHARED);
        *(if is_shared { &mut shared } else { &mut own }) += extent.fe_length;
    }
    Some((own, shared))
}

#[cfg(not(target_os = "linux"))]
fn shared(_path: &Path) -> Option<(u64, u64)> {
    None
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn used(root: &Path) -> DiskUse {
        let dir = BranchDir { root: root.to_owned() };
        disk_use(&dir, Instant::now() + Duration::from_secs(60)).unwrap().unwrap()
    }

    fn write(path: &Path, mebibytes: usize) {
        fs::write(path, vec![7; mebibytes << 20]).unwrap();
        fs::File::open(path).unwrap().sync_all().unwrap();
    }

    #[test]
    fn what_is_shared_is_told_from_what_is_not() {
        for disk in [nap_testkit::Disk::xfs(512), nap_testkit::Disk::btrfs(512)].into_iter().flatten() {
            let (one, other) = (disk.path().join("one"), disk.path().join("other"));
            fs::create_dir_all(one.join("data")).unwrap();
            fs::create_dir(&other).unwrap();
            write(&one.join("data/own"), 3);
            write(&one.join("data/shared"), 5);
            fs::hard_link(one.join("data/own"), one.join("second link")).unwrap();
            assert_eq!(used(&one), DiskUse { own_bytes: 8 * MIB, shared_bytes: 0 });
            reflink_copy::reflink(one.join("data/shared"), other.join("shared")).unwrap();
            rustix::fs::sync();
            assert_eq!(used(&one), DiskUse { own_bytes: 3 * MIB, shared_bytes: 5 * MIB });
            assert_eq!(used(&other), DiskUse { own_bytes: 0, shared_bytes: 5 * MIB });
            assert_eq!(disk_use(&BranchDir { root: one.clone() }, Instant::now()).unwrap(), None, "it is bounded");
        }
    }
}
