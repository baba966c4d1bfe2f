//! Where a bench with many branches works: on a file system that clones without copying. Root makes one of its own, in a
//! sparse image; anybody else has what there is.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::account::run;

/// Sparse: only what is written takes room.
const IMAGE_BYTES: u64 = 70 << 30;
const SECTOR_BYTES: u64 = 512;

/// How one is made and mounted.
pub(crate) struct Made {
    by: &'static [&'static str],
    options: &'static str,
    /// What is written goes to the disk below, and not into memory a second time.
    direct: bool,
}

/// Files are cloned one by one there.
pub(crate) const XFS: Made = Made { by: &["mkfs.xfs", "-q", "-m", "reflink=1"], options: "loop", direct: false };
/// As `nap pool` has it: a branch is a snapshot, and goes in one call.
pub(crate) const BTRFS: Made = Made {
    by: &["mkfs.btrfs", "-q", "-m", "single"],
    options: "loop,noatime,nosuid,nodev,discard=async,user_subvol_rm_allowed",
    direct: true,
};

/// The directory to work in. What was mounted is unmounted and removed when this is dropped; nothing may use it then.
pub(crate) struct Ground {
    path: PathBuf,
    image: Option<PathBuf>,
}

impl Ground {
    pub(crate) fn prepare(base: &Path, made: Made) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            println!(
                "not root, so no file system of its own: branches cost what the one below {} does",
                base.display()
            );
            return Ok(Self { path: base.to_owned(), image: None });
        }
        let (path, image) = (base.join("ground"), base.join("image"));
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        let (program, arguments) = made.by.split_first().context("a program")?;
        run(Command::new(program).args(arguments).arg(&image))?;
        std::fs::create_dir(&path)?;
        run(Command::new("mount").args(["-o", made.options]).arg(&image).arg(&path))?;
        let ground = Self { path, image: Some(image) };
        if made.direct {
            run(Command::new("losetup").arg("--direct-io=on").arg(format!("/dev/{}", ground.device()?)))?;
        }
        Ok(ground)
    }

    /// The name of its device.
    fn device(&self) -> Result<String> {
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let path = self.path.to_string_lossy();
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(&*path)).context("a mount")?;
        let device = line.split(' ').next().and_then(|device| device.strip_prefix("/dev/")).context("a device")?;
        Ok(device.to_owned())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is taken of it, all that waits being written.
    pub(crate) fn used_bytes(&self) -> Result<u64> {
        run(Command::new("sync").arg("-f").arg(&self.path))?;
        let found = rustix::fs::statvfs(&self.path)?;
        Ok((found.f_blocks - found.f_bfree) * found.f_frsize)
    }

    /// What has been written to its device so far, all that waits being written; none, if it is not its alone.
    pub(crate) fn written_bytes(&self) -> Result<Option<u64>> {
        if self.image.is_none() {
            return Ok(None);
        }
        run(Command::new("sync").arg("-f").arg(&self.path))?;
        let numbers = std::fs::read_to_string(format!("/sys/class/block/{}/stat", self.device()?))?;
        let sectors: u64 = numbers.split_whitespace().nth(6).context("sectors written")?.parse()?;
        Ok(Some(sectors * SECTOR_BYTES))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let Some(image) = &self.image else { return };
        // `bench/run` tries once more, and removes what is left.
        match run(Command::new("umount").arg(&self.path)) {
            Ok(_) => drop(std::fs::remove_file(image)),
            Err(error) => eprintln!("{error:#}"),
        }
    }
}
