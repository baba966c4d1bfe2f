//! A directory that is held: whatever its owner puts in its place meanwhile, what is done there is done in this one. Root works so
//! in homes of others.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// A directory, and a path that leads to it for as long as this lives.
pub(crate) struct Held {
    _descriptor: OwnedFd,
    /// Leads to it.
    pub(crate) path: PathBuf,
}

/// Opens it. No part of its path may be a link: it has been made canonical, and would have become one since.
#[cfg(target_os = "linux")]
pub(crate) fn hold(canonical: &Path) -> io::Result<Held> {
    use std::os::fd::AsRawFd as _;

    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptor = openat2(CWD, canonical, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()));
    Ok(Held { _descriptor: descriptor, path })
}

/// Opens it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn hold(canonical: &Path) -> io::Result<Held> {
    let descriptor = std::fs::File::open(canonical)?.into();
    Ok(Held { _descriptor: descriptor, path: canonical.to_owned() })
}
