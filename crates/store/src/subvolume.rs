//! Btrfs subvolumes: directories of which a snapshot is one call, however many files and fragments they have. Neither
//! making one nor its snapshot takes a privilege, and rmdir removes one that is empty.
//!
//! The one module of this room with `unsafe` in it: no library has these two calls without a C library or a C compiler's
//! help behind it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The inode of every subvolume's own directory.
const ROOT_INODE: u64 = 256;

/// Whether this directory is a subvolume.
pub(crate) fn is_subvolume(dir: &Path) -> bool {
    fs::symlink_metadata(dir).is_ok_and(|found| found.is_dir() && found.ino() == ROOT_INODE) && calls::is_btrfs(dir)
}

/// Makes an empty subvolume; `AlreadyExists` if that name is taken.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    calls::create(path)
}

/// Makes a snapshot of a subvolume. Made in a transaction of the file system, it is what a machine that lost its power at that
/// moment would find: durable, and atomic. Subvolumes and mounts below are not in it.
pub(crate) fn snapshot(of: &Path, to: &Path) -> io::Result<()> {
    calls::snapshot(of, to)
}

#[cfg(target_os = "linux")]
mod calls {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd, RawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use rustix::ioctl::{Opcode, Setter, opcode};

    const BTRFS: u64 = 0x9123_683E;
    const NAME_MAX_BYTES: usize = 255;
    const MAGIC: u8 = 0x94;
    const SNAP_CREATE_V2: Opcode = opcode::write::<Arguments>(MAGIC, 23);
    const SUBVOL_CREATE_V2: Opcode = opcode::write::<Arguments>(MAGIC, 24);

    /// `struct btrfs_ioctl_vol_args_v2`
    #[repr(C)]
    struct Arguments {
        fd: i64,
        transaction: u64,
        flags: u64,
        unused: [u64; 4],
        name: [u8; 4_040],
    }

    const _: () = assert!(size_of::<Arguments>() == 4_096, "as the kernel has it");

    impl Arguments {
        fn new(source: RawFd, path: &Path) -> io::Result<Self> {
            let mut name = [0; 4_040];
            let given =
                path.file_name().filter(|name| name.len() <= NAME_MAX_BYTES).ok_or(io::ErrorKind::InvalidInput)?;
            for (to, from) in name.iter_mut().zip(given.as_bytes()) {
                *to = *from;
            }
            Ok(Self { fd: source.into(), transaction: 0, flags: 0, unused: [0; 4], name })
        }
    }

    pub(super) fn is_btrfs(dir: &Path) -> bool {
        rustix::fs::statfs(dir).is_ok_and(|found| u64::try_from(found.f_type) == Ok(BTRFS))
    }

    pub(super) fn create(path: &Path) -> io::Result<()> {
        call::<SUBVOL_CREATE_V2>(path, Arguments::new(-1, path)?)
    }

    pub(super) fn snapshot(of: &Path, to: &Path) -> io::Result<()> {
        let of = File::open(of)?;
        call::<SNAP_CREATE_V2>(to, Arguments::new(of.as_raw_fd(), to)?)
    }

    #[allow(unsafe_code)]
    fn call<const OPCODE: Opcode>(path: &Path, arguments: Arguments) -> io::Result<()> {
        let parent = File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        // SAFETY: both codes are of calls that read one such structure and write nothing; the name in it ends with a zero.
        // On a file system that does not know them they fail.
        unsafe { rustix::ioctl::ioctl(parent, Setter::<OPCODE, Arguments>::new(arguments)) }?;
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod calls {
    use std::io;
    use std::path::Path;

    pub(super) fn is_btrfs(_dir: &Path) -> bool {
        false
    }

    pub(super) fn create(_path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn snapshot(_of: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
