//! The image of a pool, and the loop device in front of it.
//!
//! Both the image and the place where it is mounted lie in a directory that a user owns, who could put others there. So
//! root works on descriptors, having seen that only root can have made what they lead to: whoever could write an image could
//! have the kernel read a forged file system, and whoever could choose the place could cover /etc.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nap_control::{Failure, FailureKind};
use nap_store::Home;
use rustix::fs::{Mode, OFlags};

use super::program::{program, run};

/// The image, opened and locked: one command at a time changes a pool.
pub(super) struct Image {
    file: File,
    path: PathBuf,
}

impl Image {
    /// Makes the sparse file; root's own, which nobody else can read or write.
    pub(super) fn make(home: &Home, size_bytes: u64) -> Result<Self, Failure> {
        let path = home.pool_image();
        let cannot = |error: io::Error| Failure::failed(format!("cannot make {}", path.display())).caused_by(&error);
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&path).map_err(cannot)?;
        file.set_len(size_bytes).and_then(|()| file.sync_all()).map_err(cannot)?;
        Self::locked(file, path)
    }

    /// The one that is there.
    pub(super) fn open(home: &Home) -> Result<Self, Failure> {
        let path = home.pool_image();
        let no_link = OFlags::NOFOLLOW.bits().cast_signed();
        let opened = File::options().read(true).write(true).custom_flags(no_link).open(&path);
        let cannot = |error: io::Error| Failure::failed(format!("cannot open {}", path.display())).caused_by(&error);
        let file = opened.map_err(cannot)?;
        let found = file.metadata().map_err(cannot)?;
        let only_roots = found.uid() == 0 && found.mode() & 0o077 == 0 && found.nlink() == 1;
        if !found.is_file() || !only_roots {
            let message = format!("{} could have been changed by others than root", path.display());
            return Err(Failure::new(FailureKind::Denied, message)
                .because("the kernel must not be given a file system that anybody could have forged")
                .hint("if you know that it is yours, have root put a copy in its place: cp --sparse=always"));
        }
        Self::locked(file, path)
    }

    fn locked(file: File, path: PathBuf) -> Result<Self, Failure> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path }),
            Err(std::fs::TryLockError::WouldBlock) => {
                Err(Failure::new(FailureKind::Conflict, "another `nap pool` is at work on this pool").hint("try again"))
            }
            Err(std::fs::TryLockError::Error(error)) => {
                Err(Failure::failed(format!("cannot lock {}", path.display())).caused_by(&error))
            }
        }
    }

    pub(super) fn size_bytes(&self) -> Result<u64, Failure> {
        self.file.metadata().map(|found| found.len()).map_err(|error| self.failed("look at", &error))
    }

    /// Makes it longer.
    pub(super) fn lengthen(&self, size_bytes: u64) -> Result<(), Failure> {
        let done = self.file.set_len(size_bytes).and_then(|()| self.file.sync_all());
        done.map_err(|error| self.failed("lengthen", &error))
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        Failure::failed(format!("cannot {what} {}", self.path.display())).caused_by(error)
    }

    /// A loop device in front of it, for as long as the answer lives and as anything is mounted from it. It writes past the
    /// page cache of the disk below where that can be: pages would be held twice.
    pub(super) fn attach(&self) -> Result<Attached, Failure> {
        let path = descriptor_path(self.file.as_raw_fd());
        let attach =
            |direct: &[&str]| run(program("losetup").args(["--find", "--show", "--nooverlap"]).args(direct).arg(&path));
        let device = attach(&["--direct-io=on"]).or_else(|_| attach(&[]))?;
        let attached = Attached { device: PathBuf::from(device) };
        // losetup makes a path of the descriptor again, and somebody else's file may lie there by then.
        if !self.devices()?.contains(&attached.device) {
            let message = format!("{} was exchanged meanwhile", self.path.display());
            return Err(Failure::new(FailureKind::Denied, message));
        }
        Ok(attached)
    }

    /// The loop devices in front of it.
    pub(super) fn devices(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut list = program("losetup");
        list.args(["--noheadings", "--output", "NAME", "--associated"]).arg(descriptor_path(self.file.as_raw_fd()));
        Ok(run(&mut list)?.lines().map(|line| PathBuf::from(line.trim())).collect())
    }

    /// Tells its loop devices that it has become longer.
    pub(super) fn tell_devices(&self) -> Result<(), Failure> {
        self.devices()?
            .iter()
            .try_for_each(|device| run(program("losetup").arg("--set-capacity").arg(device)).map(drop))
    }
}

/// A loop device.
pub(super) struct Attached {
    device: PathBuf,
}

impl Attached {
    pub(super) fn device(&self) -> &Path {
        &self.device
    }
}

/// What is mounted keeps it until it is unmounted; then it goes by itself.
impl Drop for Attached {
    fn drop(&mut self) {
        let _ = detach(&self.device);
    }
}

pub(super) fn detach(device: &Path) -> Result<(), Failure> {
    run(program("losetup").arg("--detach").arg(device)).map(drop)
}

/// The place where the pool is mounted: a directory of root's which nobody may enter, so that nothing can come to lie
/// in it while the pool is not mounted.
pub(super) struct Place(OwnedFd);

impl Place {
    /// Makes it, if need be.
    pub(super) fn make(home: &Home) -> Result<Self, Failure> {
        let path = home.pool_dir();
        match rustix::fs::mkdir(&path, Mode::empty()) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => Self::open(home),
            Err(error) => Err(Failure::failed(format!("cannot make {}", path.display())).caused_by(&error)),
        }
    }

    fn open(home: &Home) -> Result<Self, Failure> {
        let path = home.pool_dir();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let cannot =
            |error: rustix::io::Errno| Failure::failed(format!("cannot open {}", path.display())).caused_by(&error);
        let dir = rustix::fs::open(&path, flags, Mode::empty()).map_err(cannot)?;
        let found = rustix::fs::fstat(&dir).map_err(cannot)?;
        let mode = Mode::from_raw_mode(found.st_mode);
        if found.st_uid != 0 || !mode.is_empty() {
            let message = format!("{} is not the directory that `nap pool create` made", path.display());
            return Err(Failure::new(FailureKind::Conflict, message)
                .hint("Move it away, if what is in it is not needed; it is made anew."));
        }
        Ok(Self(dir))
    }

    /// A path that leads to it and to nothing else, for other programs too, as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        descriptor_path(self.0.as_raw_fd())
    }
}

fn descriptor_path(descriptor: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{}/fd/{descriptor}", std::process::id()))
}
