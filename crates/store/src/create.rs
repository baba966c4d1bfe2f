//! Makes the skeleton of a home. Harmless to repeat: every start does.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nap_model::ids::{BranchId, BranchName};
use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::Home;
use crate::run_dir;

/// The layout that this version writes.
pub const FORMAT: u32 = 1;

/// A format file holds two short lines.
const FORMAT_FILE_MAX_BYTES: u64 = 100;

/// Its name, in the home.
pub(crate) const FORMAT_FILE: &str = "format";

/// What may lie in a directory that is to become a home: settings written beforehand, a mount point's own.
const MAY_BE_THERE: [&str; 9] = [
    "nap.toml",
    "pg_hba.conf",
    "pg_ident.conf",
    "lost+found",
    // A pool that was made first.
    "pool",
    "pool.img",
    "pool.making",
    "pool.toml",
    "lock",
];

/// Who owns what is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Owner {
    /// This process.
    pub fn current() -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    }
}

/// For root: makes the home's own directory and gives it to the user that the daemon becomes. Everything in it is made
/// by that user (`make_home`): in a directory that somebody else owns, root would make and give away what they point to.
pub fn give_home(home: &Home, owner: Owner) -> Result<(), StoreError> {
    make_root(home, Some(owner)).map(drop)
}

/// Makes what is missing of a home, and the run directory.
pub fn make_home(home: &Home) -> Result<(), StoreError> {
    let real = make_root(home, None)?;
    if read_format(home)?.is_none() {
        // First of all, so that a half-made skeleton is known for what it is.
        write_format(home, FORMAT)?;
        // The name of the home itself; we may lack the right to open what it lies in.
        if let Some(Err(error)) = real.parent().map(durable::fsync_dir) {
            tracing::debug!(home = %real.display(), %error, "could not fsync the directory above the home");
        }
    }
    for dir in
        [home.secrets_dir(), home.branches_dir(), home.templates_dir(), home.staging(), home.trash(), home.log_dir()]
    {
        make_dir(&dir, 0o700)?;
    }
    // The root certificate in it is for every client of the machine.
    make_dir(&home.tls_dir(), 0o711)?;
    make_lock_file(home)?;
    run_dir::make(home)?;
    make_dir(&home.servers_dir(), 0o700)?;
    durable::fsync_dir(home.root()).map_err(|e| StoreError::io("fsync", home.root(), e))
}

/// Makes the home's own directory and says where it really is: it may be a link, to a larger disk say, and whoever named
/// it meant where it leads.
fn make_root(home: &Home, owner: Option<Owner>) -> Result<PathBuf, StoreError> {
    let root = home.root();
    if read_format(home)?.is_none() {
        fault::point("no format");
        let refused = refuse_foreign(home);
        // Another start may just be making it: then its format came before everything else that we saw.
        if refused.is_err() && read_format(home)?.is_none() {
            refused?;
        }
    }
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent).map_err(|e| StoreError::io("make", parent, e))?;
    }
    let real = fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    make_dir_for(&real, 0o711, owner)?;
    Ok(real)
}

/// Makes the branch's socket directory for clients.
pub fn make_door_dir(home: &Home, branch: &BranchName) -> Result<(), StoreError> {
    make_dir(&home.door_dir(branch), 0o755)
}

/// Makes the socket directory of the branch's server, which nobody else may enter: there any role may log in.
pub fn make_server_socket_dir(home: &Home, id: &BranchId) -> Result<(), StoreError> {
    make_dir(&home.servers_dir(), 0o700)?;
    make_dir(&home.server_socket_dir(id), 0o700)
}

/// The format of the home; `None` if there is no such file. Newer ones are refused.
pub fn read_format(home: &Home) -> Result<Option<u32>, StoreError> {
    read_format_up_to(home, FORMAT)
}

/// Whether a home that this version knows lies there.
pub fn is_home(home: &Home) -> Result<bool, StoreError> {
    Ok(read_format(home)?.is_some())
}

/// Whether it is a home or may become one.
pub fn may_be_home(home: &Home) -> Result<bool, StoreError> {
    Ok(is_home(home)? || refuse_foreign(home).is_ok())
}

/// [`read_format`] for who knows this format and older ones.
pub(crate) fn read_format_up_to(home: &Home, known: u32) -> Result<Option<u32>, StoreError> {
    let path = home.format_file();
    let text = match durable::read_bounded(&path, FORMAT_FILE_MAX_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", &path, e)),
    };
    let mut lines = text.lines();
    match lines.next().unwrap_or_default().trim().parse::<u32>() {
        Ok(0) | Err(_) => Err(StoreError::FormatUnreadable(path)),
        Ok(found) if found > known => {
            let writer = lines.next().unwrap_or("a newer nap").to_owned();
            Err(StoreError::FormatTooNew { path, found, known, writer })
        }
        Ok(found) => Ok(Some(found)),
    }
}

/// Writes the format, and below it who wrote it: a nap that is too old for it can then say which one is needed.
pub(crate) fn write_format(home: &Home, format: u32) -> Result<(), StoreError> {
    let path = home.format_file();
    let text = format!("{format}\nnap {}\n", env!("CARGO_PKG_VERSION"));
    durable::write_atomic(&path, text.as_bytes(), 0o644).map_err(|e| StoreError::io("write", &path, e))
}

/// Without a format file only an empty directory may become a home.
fn refuse_foreign(home: &Home) -> Result<(), StoreError> {
    let root = home.root();
    let has_branches = fs::read_dir(home.branches_dir()).is_ok_and(|mut entries| entries.next().is_some());
    if has_branches {
        return Err(StoreError::FormatMissing(root.to_owned()));
    }
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StoreError::io("read", root, e)),
    };
    for entry in entries {
        let name = entry.map_err(|e| StoreError::io("read", root, e))?.file_name();
        if !may_be_there(&name.to_string_lossy()) {
            return Err(StoreError::NotAHome(root.to_owned()));
        }
    }
    Ok(())
}

fn may_be_there(name: &str) -> bool {
    MAY_BE_THERE.contains(&name) || name.starts_with(durable::TEMPORARY_PREFIX)
}

/// Makes one directory, or corrects the mode and owner of one that is there. A link in its place is refused: root would
/// give away what it leads to.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    make_dir_for(path, mode, None)
}

fn make_dir_for(path: &Path, mode: u32, owner: Option<Owner>) -> Result<(), StoreError> {
    match fs::create_dir(path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(StoreError::io("make", path, e)),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened =
        if owner.is_some() { open_without_links(path, flags) } else { rustix::fs::open(path, flags, Mode::empty()) };
    let dir = opened.map_err(|e| match e {
        rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR => StoreError::NotOurs(path.to_owned()),
        e => StoreError::io("open", path, e),
    })?;
    if let Some(owner) = owner {
        refuse_to_give(&dir, path, owner)?;
    }
    set_owner_and_mode(&dir, owner, mode).map_err(|e| StoreError::io("change owner and mode of", path, e))
}

/// No part of this path was a link when it was looked up; one that is by now is somebody's trick.
fn open_without_links(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    #[cfg(target_os = "linux")]
    return rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), rustix::fs::ResolveFlags::NO_SYMLINKS);
    #[cfg(not(target_os = "linux"))]
    rustix::fs::open(path, flags, Mode::empty())
}

/// Root gives away nothing but a home, or an empty directory of its own. Who owns what the home lies in may have put another
/// directory in its place since it was looked at, so it is this one that is asked.
fn refuse_to_give(dir: &OwnedFd, path: &Path, to: Owner) -> Result<(), StoreError> {
    let failed = |e: rustix::io::Errno| StoreError::io("look at", path, e);
    let uid = rustix::fs::fstat(dir).map_err(failed)?.st_uid;
    let has_format = rustix::fs::statat(dir, FORMAT_FILE, rustix::fs::AtFlags::SYMLINK_NOFOLLOW).is_ok();
    if uid != to.uid && uid != rustix::process::geteuid().as_raw() {
        return Err(StoreError::NotOurs(path.to_owned()));
    }
    for entry in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !has_format && name != "." && name != ".." && !may_be_there(&name) {
            return Err(StoreError::NotAHome(path.to_owned()));
        }
    }
    Ok(())
}

/// Changes only what differs, so that a read-only home that is as it should be is no error here.
fn set_owner_and_mode(file: &OwnedFd, owner: Option<Owner>, mode: u32) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(file)?;
    if let Some(owner) = owner
        && (stat.st_uid, stat.st_gid) != (owner.uid, owner.gid)
    {
        rustix::fs::fchown(file.as_fd(), Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    }
    let wanted = Mode::from_raw_mode(mode as rustix::fs::RawMode);
    if Mode::from_raw_mode(stat.st_mode) != wanted {
        rustix::fs::fchmod(file, wanted)?;
    }
    Ok(())
}

fn make_lock_file(home: &Home) -> Result<(), StoreError> {
    let path = home.lock_file();
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(&path, flags, Mode::from_raw_mode(0o600)) {
        Ok(_) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(e) => Err(StoreError::io("make", &path, e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_who_make_it_at_once_are_no_strangers_to_each_other() {
        let root = tempfile::tempdir().unwrap();
        let home = Home::at(root.path().join("home"));
        let theirs = home.clone();
        fault::meanwhile("no format", move || make_home(&theirs).unwrap());
        make_home(&home).unwrap();
    }

    #[test]
    fn root_gives_nothing_away_that_was_put_in_its_place() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let (home, victim) = (Home::at(top.path().join("home")), top.path().join("victim"));
        fs::create_dir(&victim).unwrap();
        fs::create_dir(victim.join("shadow")).unwrap();
        let (link, target) = (home.root().to_owned(), victim.clone());
        fault::meanwhile("no format", move || std::os::unix::fs::symlink(target, link).unwrap());
        let given = give_home(&home, Owner { uid: 12_345, gid: 12_345 });
        assert!(matches!(given, Err(StoreError::NotAHome(_))), "{given:?}");
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(&victim).unwrap()), 0);
    }
}
