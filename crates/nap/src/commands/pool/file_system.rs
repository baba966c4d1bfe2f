//! The two file systems that a pool can have: how each is made, mounted and grown.

use std::path::Path;

use clap::ValueEnum;
use nap_control::Failure;
use nap_store::pool::FileSystem;

use super::program::{program, run};

/// `--filesystem`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Btrfs,
    Xfs,
}

impl From<Kind> for FileSystem {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Btrfs => Self::Btrfs,
            Kind::Xfs => Self::Xfs,
        }
    }
}

/// What belongs to the home's user must give nobody else's rights: nosuid, nodev. What is deleted is given back to the
/// disk below: discard.
pub(super) fn mount_options(kind: FileSystem) -> &'static str {
    match kind {
        FileSystem::Btrfs => "noatime,nosuid,nodev,discard=async,user_subvol_rm_allowed",
        FileSystem::Xfs => "noatime,nosuid,nodev,discard",
    }
}

/// Makes it. The image is new and full of holes: there is nothing to discard.
pub(super) fn make(kind: FileSystem, device: &Path) -> Result<(), Failure> {
    let mut make = match kind {
        FileSystem::Btrfs => {
            let mut make = program("mkfs.btrfs");
            // A second copy of the metadata would lie on the same disk, and be written each time.
            make.args(["--quiet", "--nodiscard", "--metadata", "single", "--label", "napgres"]);
            make
        }
        FileSystem::Xfs => {
            let mut make = program("mkfs.xfs");
            make.args(["-q", "-K", "-L", "napgres", "-m", "reflink=1"]);
            make
        }
    };
    run(make.arg(device)).map(drop)
}

/// Mounts it.
pub(super) fn mount(kind: FileSystem, device: &Path, at: &Path) -> Result<(), Failure> {
    let mut mount = program("mount");
    // The place is a descriptor that was looked at, and no path that could lead elsewhere by now.
    mount.args(["--no-canonicalize", "--types", kind.name(), "--options", mount_options(kind)]);
    run(mount.arg(device).arg(at)).map(drop)
}

/// Grows it to the end of its device, while it is mounted.
pub(super) fn grow(kind: FileSystem, at: &Path) -> Result<(), Failure> {
    match kind {
        FileSystem::Btrfs => run(program("btrfs").args(["filesystem", "resize", "max"]).arg(at)),
        FileSystem::Xfs => run(program("xfs_growfs").arg(at)),
    }
    .map(drop)
}
