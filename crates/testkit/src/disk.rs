//! A small disk of a test's own: for what happens when it is full or read-only, and for file systems that can clone.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::command::Output;
use crate::home::place_of_homes;
use crate::{eventually, is_root};

/// A file system in a file, mounted. It goes when the test does, even after a panic.
#[derive(Debug)]
pub struct Disk {
    directory: TempDir,
}

impl Disk {
    /// `None`: not root, or a machine that cannot mount. In a full run as root that is a failure.
    pub fn ext4(megabytes: u64) -> Option<Self> {
        // No blocks kept back for root: full is full for everybody.
        Self::made_by(&["mkfs.ext4", "-q", "-m", "0"], megabytes)
    }

    /// The same with XFS, which can clone; no smaller than 300 MB.
    pub fn xfs(megabytes: u64) -> Option<Self> {
        Self::made_by(&["mkfs.xfs", "-q", "-m", "reflink=1"], megabytes)
    }

    /// One with a percent of its blocks for inodes: 20,000 of them in 1 GB.
    pub fn xfs_with_few_inodes(megabytes: u64) -> Option<Self> {
        Self::made_by(&["mkfs.xfs", "-q", "-m", "reflink=1", "-i", "maxpct=1"], megabytes)
    }

    /// Takes all inodes but so many, by empty files. [`Disk::free_inodes`] gives them back.
    pub fn take_inodes_but(&self, left: u64) {
        let directory = self.path().join("empty");
        std::fs::create_dir_all(&directory).expect("a directory");
        let begun = std::fs::read_dir(&directory).expect("a directory").count();
        let taken = self.free_inode_count().saturating_sub(left);
        for number in 0..taken {
            File::create(directory.join(format!("{}", begun as u64 + number))).expect("an empty file");
        }
    }

    /// Gives back what [`Disk::take_inodes_but`] took.
    pub fn free_inodes(&self) {
        std::fs::remove_dir_all(self.path().join("empty")).expect("they go");
        run(Command::new("sync").arg("-f").arg(self.path()));
    }

    /// How many can still be made.
    pub fn free_inode_count(&self) -> u64 {
        run(Command::new("sync").arg("-f").arg(self.path()));
        rustix::fs::statvfs(self.path()).expect("a file system").f_favail
    }

    /// The same with btrfs, which can clone, and has snapshots; no smaller than 300 MB.
    pub fn btrfs(megabytes: u64) -> Option<Self> {
        Self::made_by(&["mkfs.btrfs", "-q"], megabytes)
    }

    fn made_by(make: &[&str], megabytes: u64) -> Option<Self> {
        if !is_root() {
            return None;
        }
        let directory =
            tempfile::Builder::new().prefix("nap-d").tempdir_in(place_of_homes()).expect("a temporary directory");
        let disk = Self { directory };
        std::fs::set_permissions(disk.directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("a mode");
        std::fs::create_dir(disk.path()).expect("a mount point");
        let image = disk.directory.path().join("image");
        File::create(&image).expect("an image").set_len(megabytes << 20).expect("a size");
        let made = run(Command::new(make[0]).args(&make[1..]).arg(&image));
        let mounted = made && run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(disk.path()));
        // Whoever runs the servers makes homes there.
        let _ = std::fs::set_permissions(disk.path(), std::os::unix::fs::PermissionsExt::from_mode(0o1777));
        assert!(mounted || !crate::is_full_run(), "no disk can be mounted");
        mounted.then_some(disk)
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("m")
    }

    /// Takes all the space there is. [`Disk::free`] gives it back.
    pub fn fill(&self) {
        self.fill_but(0);
    }

    /// Takes all the space but this much.
    pub fn fill_but(&self, kilobytes: u64) {
        let mut files = [self.filler(0), self.filler(1)].map(|path| File::create(path).expect("a filler"));
        let zeros = vec![0_u8; 64 << 10];
        // The last blocks come one by one; what is kept free is written last and cut off again.
        while files[0].write_all(&zeros).is_ok() {}
        while files[1].write_all(&zeros[..1024]).is_ok() {}
        let length = files[0].metadata().expect("its length").len();
        files[0].set_len(length.saturating_sub(kilobytes << 10)).expect("cut it");
        for file in &files {
            let _ = file.sync_all();
        }
    }

    /// Gives back what [`Disk::fill`] took.
    pub fn free(&self) {
        for number in 0..2 {
            let _ = std::fs::remove_file(self.filler(number));
        }
        run(Command::new("sync").arg("-f").arg(self.path()));
    }

    /// `ro` or `rw`.
    pub fn remount(&self, how: &str) {
        Output::of(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path())).ok();
    }

    fn filler(&self, number: u8) -> PathBuf {
        self.path().join(format!("filler{number}"))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let target = self.path();
        let is_mounted = |path: &Path| run(Command::new("mountpoint").arg("-q").arg(path));
        if !is_mounted(&target) {
            return;
        }
        // A process that was killed a moment ago may still hold it.
        let gone = std::panic::catch_unwind(|| {
            eventually("the disk is unmounted", || run(Command::new("umount").arg(&target)).then_some(()));
        });
        if gone.is_err() {
            run(Command::new("umount").arg("--lazy").arg(&target));
        }
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
