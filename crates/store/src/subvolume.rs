//! Btrfs subvolumes: directories of which a snapshot is one call, however many files and fragments they have. Neither
//! making one nor its snapshot takes a privilege, and rmdir removes one that is empty.
//!
//! The one module of this room with `unsafe` in it: no library has these calls without a C library or a C compiler's help
//! behind it.

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

/// Deletes a subvolume in one call. Its owner may do that only where the file system is mounted so (`user_subvol_rm_allowed`),
/// and nobody if another subvolume lies in it.
pub(crate) fn delete(path: &Path) -> io::Result<()> {
    calls::delete(path)
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
    const SNAP_DESTROY: Opcode = opcode::write::<Named>(MAGIC, 15);
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

    /// `struct btrfs_ioctl_vol_args`
    #[repr(C)]
    struct Named {
        fd: i64,
        name: [u8; 4_088],
    }

    const _: () = assert!(size_of::<Arguments>() == 4_096 && size_of::<Named>() == 4_096, "as the kernel has them");

    impl Arguments {
        fn new(source: RawFd, path: &Path) -> io::Result<Self> {
            Ok(Self { fd: source.into(), transaction: 0, flags: 0, unused: [0; 4], name: name_of(path)? })
        }
    }

    /// With zeros behind it.
    fn name_of<const LENGTH: usize>(path: &Path) -> io::Result<[u8; LENGTH]> {
        let given = path.file_name().filter(|name| name.len() <= NAME_MAX_BYTES).ok_or(io::ErrorKind::InvalidInput)?;
        let mut name = [0; LENGTH];
        for (to, from) in name.iter_mut().zip(given.as_bytes()) {
            *to = *from;
        }
        Ok(name)
    }

    pub(super) fn is_btrfs(dir: &Path) -> bool {
        rustix::fs::statfs(dir).is_ok_and(|found| u64::try_from(found.f_type) == Ok(BTRFS))
    }

    pub(super) fn create(path: &Path) -> io::Result<()> {
        call::<SUBVOL_CREATE_V2, _>(path, Arguments::new(-1, path)?)
    }

    pub(super) fn snapshot(of: &Path, to: &Path) -> io::Result<()> {
        let of = File::open(of)?;
        call::<SNAP_CREATE_V2, _>(to, Arguments::new(of.as_raw_fd(), to)?)
    }

    pub(super) fn delete(path: &Path) -> io::Result<()> {
        call::<SNAP_DESTROY, _>(path, Named { fd: 0, name: name_of(path)? })
    }

    #[allow(unsafe_code)]
    fn call<const OPCODE: Opcode, Given>(path: &Path, arguments: Given) -> io::Result<()> {
        let parent = File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        // SAFETY: each code is used with the structure that is in it above, which its call reads; it writes nothing, and the
        // name ends with a zero.
        // On a file system that does not know them they fail.
        unsafe { rustix::ioctl::ioctl(parent, Setter::<OPCODE, Given>::new(arguments)) }?;
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

    pub(super) fn delete(_path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_goes_in_one_call_unless_another_is_in_it() {
        let Some(disk) = nap_testkit::Disk::btrfs(300) else { return };
        let (outer, inner) = (disk.path().join("outer"), disk.path().join("outer/inner"));
        create(&outer).unwrap();
        create(&inner).unwrap();
        assert_eq!(create(&inner).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        fs::create_dir(outer.join("directory")).unwrap();
        assert_eq!([&outer, &inner, &outer.join("directory")].map(|dir| is_subvolume(dir)), [true, true, false]);
        assert_eq!(delete(&outer).unwrap_err().kind(), io::ErrorKind::DirectoryNotEmpty);
        for gone in [inner, outer] {
            delete(&gone).unwrap();
            assert!(!gone.exists());
        }
    }
}
