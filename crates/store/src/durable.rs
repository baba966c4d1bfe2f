//! The one place where files are made, replaced and moved so that they are still so after a power cut.
#![allow(clippy::disallowed_methods, reason = "the durable forms of these calls are built here")]

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use crate::fault;
use crate::subvolume;

/// Names of files that are not yet in their place begin so; whoever finds one may delete it.
pub const TEMPORARY_PREFIX: &str = ".nap-tmp-";

/// Replaces `path` by a file of these bytes and this mode: after a crash the old one or the new one is there, whole.
/// A file that root writes belongs to the owner of its directory, who must be able to replace it.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let dir = parent(path);
    let permissions = Permissions::from_mode(mode);
    let mut file =
        tempfile::Builder::new().prefix(TEMPORARY_PREFIX).permissions(permissions.clone()).tempfile_in(dir)?;
    file.write_all(bytes)?;
    // Once more, because the umask took its part.
    file.as_file().set_permissions(permissions)?;
    if rustix::process::geteuid().is_root() {
        let dir = fs::metadata(dir)?;
        std::os::unix::fs::fchown(file.as_file(), Some(dir.uid()), Some(dir.gid()))?;
    }
    file.as_file().sync_all()?;
    fault::point("written");
    file.persist(path).map_err(|e| e.error)?;
    fsync_dir(dir)
}

/// Makes what a file holds durable. Its name is not.
pub fn fsync_file(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a file of these bytes in a tree that is made durable as a whole (`fsync_tree`) before it shows: an fsync of its
/// own would only make the clone beside it wait for the disk twice.
pub fn stage_file(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    stage(fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?, bytes)
}

/// The same, over what may be there from the one that the tree is a snapshot of: where a file lies already, little is touched.
pub(crate) fn stage_over(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    stage(options.write(true).create(true).truncate(true).mode(mode).custom_flags(no_link).open(path)?, bytes)
}

fn stage(mut file: File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    fault::point("written");
    Ok(())
}

/// Moves a file or directory within a file system, replacing a file that is there.
pub fn rename_durable(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    fsync_parents(from, to)
}

/// Moves a file or directory to a name that must be free (`AlreadyExists` if it is not).
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    move_new(from, to)?;
    fsync_parents(from, to)
}

/// The same where others find it at once: that it could not be made durable is logged. An error would tell them that it has not
/// been done, and they would undo what shows, or never learn of it.
pub fn rename_new_and_go_on(from: &Path, to: &Path) -> io::Result<()> {
    move_new(from, to)?;
    if let Err(error) = fsync_parents(from, to) {
        tracing::warn!(path = %to.display(), %error, "it is in its place, but may not be after a power cut");
    }
    Ok(())
}

fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems do not know the flag. Who renames there holds the lock of the store, or made the place itself: looking first will do.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// Puts each of two directories in the other's place, at once; what is left to be made durable is their parents. Not every
/// file system can.
pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Makes `link` a symbolic link to `target`, replacing a link that is there.
pub fn replace_symlink(target: &Path, link: &Path) -> io::Result<()> {
    let staged = stage_symlink(parent(link), target, link)?;
    rename_durable(&staged.path().join("link"), link)
}

/// The same by way of another directory of this file system, for one in which nothing else may ever lie. Not durable yet.
pub fn replace_symlink_by_way_of(dir: &Path, target: &Path, link: &Path) -> io::Result<()> {
    let staged = stage_symlink(dir, target, link)?;
    fs::rename(staged.path().join("link"), link)
}

fn stage_symlink(dir: &Path, target: &Path, link: &Path) -> io::Result<tempfile::TempDir> {
    let dir = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempdir_in(dir)?;
    let staged = dir.path().join("link");
    std::os::unix::fs::symlink(target, &staged)?;
    if rustix::process::geteuid().is_root() {
        let owner = fs::metadata(parent(link))?;
        std::os::unix::fs::lchown(&staged, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(dir)
}

/// Space of a file system, taken by a file without a name: for who must come to an end behind a point of no return.
#[derive(Debug)]
pub(crate) struct Reserve(File);

impl Reserve {
    /// Takes it.
    pub(crate) fn take(dir: &Path, bytes: u64) -> io::Result<Self> {
        let file = tempfile::tempfile_in(dir)?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // Some file systems cannot tell.
            Ok(()) | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOSYS) => Ok(Self(file)),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives half of what is left back, for what is written now.
    pub(crate) fn give_half(&self) {
        let half = self.0.metadata().map_or(0, |found| found.len() / 2);
        let _ = self.0.set_len(half);
    }
}

/// Makes the names in a directory durable.
pub fn fsync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn fsync_parents(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (parent(from), parent(to));
    fsync_dir(to)?;
    if from == to { Ok(()) } else { fsync_dir(from) }
}

/// Makes a whole tree durable: one call for its file system where there is one (PostgreSQL's `syncfs` method does the
/// same), which is far cheaper than a thousand fsyncs.
#[cfg(target_os = "linux")]
pub fn fsync_tree(dir: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

/// Makes a whole tree durable, file by file.
#[cfg(not(target_os = "linux"))]
pub fn fsync_tree(dir: &Path) -> io::Result<()> {
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                dirs.push(entry.path());
            } else if kind.is_file() {
                File::open(entry.path())?.sync_all()?;
            }
        }
        fsync_dir(&dir)?;
    }
    Ok(())
}

/// Deletes a file or a tree; one that is not there is no error.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let result = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => remove_dir(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A subvolume goes in one call, if that is allowed; else as any directory does.
fn remove_dir(path: &Path) -> io::Result<()> {
    if subvolume::is_subvolume(path) && subvolume::delete(path).is_ok() { Ok(()) } else { fs::remove_dir_all(path) }
}

/// Deletes what in this directory never came to its place.
pub fn sweep(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Reads a file that should be small; a longer one is `InvalidData`, and so is a pipe or a device: nobody must wait for
/// what may never come out of it.
pub fn read_bounded(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let without_waiting = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = fs::OpenOptions::new().read(true).custom_flags(without_waiting).open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a regular file"));
    }
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is longer than {max_bytes} bytes")));
    }
    Ok(bytes)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
