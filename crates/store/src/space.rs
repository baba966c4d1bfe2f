//! What the file system below a path has left, and whether it can be written.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

/// The room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that we may still write.
    pub free_bytes: u64,
    /// Its size.
    pub total_bytes: u64,
    /// Mounted read-only.
    pub read_only: bool,
}

/// Looks at the file system that holds `path`.
pub fn space(path: &Path) -> std::io::Result<Space> {
    let stat = statvfs(path)?;
    Ok(Space {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}
