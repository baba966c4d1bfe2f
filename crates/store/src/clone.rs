//! Clones a data directory: by reflink where the file system can, else byte by byte, and always says which.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::durable;
use crate::error::StoreError;
use crate::fault;
use crate::home::TABLESPACES;
use crate::skip;
use crate::subvolume;
use crate::tablespaces;

/// How files are cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CloneMethod {
    /// The file system makes it in one go, however many files there are.
    Snapshot,
    /// The file system shares each file's blocks until one side writes: no bytes move.
    Reflink,
    /// Every byte is copied.
    Copy,
}

/// What a clone took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cloned {
    /// How it was made.
    pub method: CloneMethod,
    /// Regular files.
    pub files: u64,
    /// Their bytes together, unless they were cloned as a whole: then nobody has looked at each.
    pub bytes: Option<u64>,
    /// How long it took, without making it durable.
    pub duration: Duration,
}

impl Cloned {
    /// One more file.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.map(|before| before + bytes);
    }
}

/// Whether files in this directory can be cloned by reflink: tried with a real one, because what file systems say of
/// themselves is not reliable.
pub fn probe_reflink(dir: &Path) -> bool {
    let probe = || -> io::Result<()> {
        let place = tempfile::Builder::new().prefix(durable::TEMPORARY_PREFIX).tempdir_in(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(place.path())?;
        file.write_all(&[0x5a; 16_384])?;
        reflink_copy::reflink(file.path(), place.path().join("clone"))
    };
    match probe() {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(dir = %dir.display(), %error, "no reflinks here");
            false
        }
    }
}

/// Whether a branch below this directory can be cloned as a whole: tried with a real one.
pub fn probe_snapshot(dir: &Path) -> bool {
    let probe = || -> io::Result<()> {
        let place = tempfile::Builder::new().prefix(durable::TEMPORARY_PREFIX).tempdir_in(dir)?;
        let (one, other) = (place.path().join("one"), place.path().join("other"));
        subvolume::create(&one)?;
        subvolume::snapshot(&one, &other)
    };
    match probe() {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(dir = %dir.display(), %error, "no snapshots here");
            false
        }
    }
}

/// Clones the data directory `from`, whose server does not run, to `to`, an empty directory of the caller's.
/// By reflink if all files can be; else everything is copied, and the answer says so. Not durable yet.
pub fn clone_data(from: &Path, to: &Path) -> Result<Cloned, StoreError> {
    clone_or_copy(from, to, How::default())
}

/// The same with what else there is to say.
pub(crate) fn clone_or_copy(from: &Path, to: &Path, how: How<'_>) -> Result<Cloned, StoreError> {
    // No probe first: it would cost more than the first file, and could not speak for all (a NOCOW file on btrfs).
    match clone_as(from, to, How { method: CloneMethod::Reflink, ..how }) {
        Err(StoreError::Io { source, path, .. }) if cannot_reflink(&source) => {
            tracing::info!(path = %path.display(), error = %source, "no reflink here: copying everything");
            empty_dir(to)?;
            clone_as(from, to, How { method: CloneMethod::Copy, ..how })
        }
        other => other,
    }
}

pub(crate) fn cannot_reflink(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::XDEV | Errno::INVAL | Errno::NOTSUP | Errno::NOTTY | Errno::NOSYS))
}

/// Clones by this method and no other.
pub fn clone_by(from: &Path, to: &Path, method: CloneMethod) -> Result<Cloned, StoreError> {
    clone_as(from, to, How { method, ..How::default() })
}

/// What else there is to say of a clone.
#[derive(Clone, Copy)]
pub(crate) struct How<'a> {
    pub(crate) method: CloneMethod,
    /// Files may go while it is made: their server runs, and its log tells of that.
    pub(crate) may_vanish: bool,
    /// Nothing is begun after this.
    pub(crate) until: Option<Instant>,
    /// Nor once somebody has said so.
    pub(crate) stop: Option<&'a AtomicBool>,
    /// What is left out besides that which always is.
    pub(crate) leaves_out: fn(&Path) -> bool,
    /// What comes along though a clone of a branch of ours would leave it out.
    pub(crate) brings: fn(&Path) -> bool,
    pub(crate) links: Links<'a>,
}

/// Which links may be in what is cloned.
#[derive(Clone, Copy)]
pub(crate) enum Links<'a> {
    /// Those of a data directory, whosever it is.
    Data,
    /// The same, but for those to tablespaces elsewhere, which come in another way (`cluster::clone_from_elsewhere`).
    DataWithoutTablespaces,
    /// The same of the branch in this directory: those to tablespaces of its own lead to the clone's.
    Branch(&'a Path),
    /// PostgreSQL makes none in a tablespace.
    Tablespaces,
}

impl Default for How<'_> {
    fn default() -> Self {
        Self {
            method: CloneMethod::Copy,
            may_vanish: false,
            until: None,
            stop: None,
            leaves_out: |_| false,
            brings: |_| false,
            links: Links::Data,
        }
    }
}

/// Clones in this way and no other.
pub(crate) fn clone_as(from: &Path, to: &Path, how: How<'_>) -> Result<Cloned, StoreError> {
    let started = Instant::now();
    let method = how.method;
    let mut cloned = Cloned { method, files: 0, bytes: Some(0), duration: Duration::ZERO };
    // Directories get their modes at the end: one that its owner may not write must still be filled.
    let mut modes: Vec<(PathBuf, Permissions)> = vec![(to.to_owned(), metadata(from)?.permissions())];
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        let source = from.join(&dir);
        let entries = match fs::read_dir(&source) {
            Err(error) if how.may_vanish && error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|e| StoreError::io("read", &source, e))?,
        };
        for entry in entries {
            let entry = entry.map_err(|e| StoreError::io("read", &source, e))?;
            let relative = dir.join(entry.file_name());
            if (skip::is_left_out(&relative) && !(how.brings)(&relative)) || (how.leaves_out)(&relative) {
                continue;
            }
            if how.until.is_some_and(|until| Instant::now() > until) {
                return Err(StoreError::TooSlow { after: started.elapsed() });
            }
            if how.stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
                return Err(StoreError::io("go on with", to, io::Error::from(io::ErrorKind::Interrupted)));
            }
            let (source, target) = (from.join(&relative), to.join(&relative));
            let kind = entry.file_type().map_err(|e| StoreError::io("look at", &source, e))?;
            if kind.is_dir() {
                let Some(found) = still_there(metadata(&source), how, &source)? else { continue };
                DirBuilder::new().mode(0o700).create(&target).map_err(|e| StoreError::io("make", &target, e))?;
                modes.push((target, found.permissions()));
                dirs.push(relative);
            } else if kind.is_file() {
                let Some(bytes) = still_there(clone_file(&source, &target, method), how, &source)? else { continue };
                cloned.add(bytes);
            } else if kind.is_symlink() {
                still_there(clone_link(from, &relative, &target, how.links), how, &source)?;
            }
            // Sockets and pipes belong to a running server.
            fault::point("cloning");
        }
    }
    for (dir, permissions) in modes.into_iter().rev() {
        fs::set_permissions(&dir, permissions).map_err(|e| StoreError::io("change the mode of", &dir, e))?;
    }
    cloned.duration = started.elapsed();
    Ok(cloned)
}

/// What was done, unless its source has gone meanwhile and may.
fn still_there<T>(done: Result<T, StoreError>, how: How<'_>, source: &Path) -> Result<Option<T>, StoreError> {
    match done {
        Err(_) if how.may_vanish && source.symlink_metadata().is_err() => Ok(None),
        done => done.map(Some),
    }
}

fn metadata(path: &Path) -> Result<fs::Metadata, StoreError> {
    fs::metadata(path).map_err(|e| StoreError::io("look at", path, e))
}

/// One file with its mode; returns its bytes.
fn clone_file(source: &Path, target: &Path, method: CloneMethod) -> Result<u64, StoreError> {
    match method {
        CloneMethod::Reflink => {
            reflink_copy::reflink(source, target).map_err(|e| StoreError::io("clone a file to", target, e))?;
            let length = fs::metadata(target).map_err(|e| StoreError::io("look at", target, e))?.len();
            Ok(length)
        }
        CloneMethod::Snapshot => Err(StoreError::io("clone a file to", target, io::ErrorKind::Unsupported)),
        CloneMethod::Copy => fs::copy(source, target).map_err(|e| StoreError::io("copy a file to", target, e)),
    }
}

/// A link is made again, if it may be.
fn clone_link(from: &Path, relative: &Path, to: &Path, links: Links<'_>) -> Result<(), StoreError> {
    let Some(target) = link_in_clone((from, from), relative, links)? else { return Ok(()) };
    std::os::unix::fs::symlink(&target, to).map_err(|e| StoreError::io("make", to, e))
}

/// Where the clone's link leads; nowhere: it has none. The link is in the second directory, and is seen from the first one.
pub(crate) fn link_in_clone(
    (from, has): (&Path, &Path),
    relative: &Path,
    links: Links<'_>,
) -> Result<Option<PathBuf>, StoreError> {
    let link = has.join(relative);
    let target = || fs::read_link(&link).map_err(|e| StoreError::io("read", &link, e));
    let is_to_tablespace = relative.parent() == Some(Path::new(tablespaces::LINKS));
    match links {
        Links::Tablespaces => {
            Err(StoreError::LeadsOutside { link: Path::new(TABLESPACES).join(relative), target: target()? })
        }
        Links::Branch(root) if is_to_tablespace => match tablespaces::link_in_clone(root, &target()?) {
            Some(own) => Ok(Some(own)),
            None => refuse_link(from, has, relative).map(Some),
        },
        Links::DataWithoutTablespaces if is_to_tablespace && !tablespaces::lies_in_data(&target()?) => Ok(None),
        Links::Branch(_) | Links::Data | Links::DataWithoutTablespaces => refuse_link(from, has, relative).map(Some),
    }
}

/// A relative link that stays inside may be in a clone. One to a file elsewhere (a certificate, say) too: PostgreSQL
/// only reads such files. One to a directory elsewhere is refused: two servers would write there. Where it leads, as
/// `has` has it and seen from `from`.
fn refuse_link(from: &Path, has: &Path, relative: &Path) -> Result<PathBuf, StoreError> {
    let link = has.join(relative);
    let target = fs::read_link(&link).map_err(|e| StoreError::io("read", &link, e))?;
    let below = relative.parent().unwrap_or(Path::new("")).join(&target);
    let leads_to_file = || fs::metadata(&link).is_ok_and(|found| found.is_file());
    let into_itself =
        || fs::canonicalize(&link).is_ok_and(|real| fs::canonicalize(from).is_ok_and(|own| real.starts_with(own)));
    if stays_inside(&below) || (!is_written(relative) && target.is_absolute() && leads_to_file() && !into_itself()) {
        return Ok(target);
    }
    Err(StoreError::LeadsOutside { link: relative.to_owned(), target })
}

/// Whether PostgreSQL writes to the file at this place, so that two servers would.
fn is_written(relative: &Path) -> bool {
    let mut parts = relative.components().map(|part| part.as_os_str().to_string_lossy());
    let (first, is_below) = (parts.next().unwrap_or_default(), parts.next().is_some());
    match is_below {
        true => first == "base" || first == "global" || first.starts_with("pg_"),
        false => first == "postgresql.auto.conf" || first == "PG_VERSION" || first.starts_with("postmaster."),
    }
}

/// Whether a path below the data directory never climbs out of it.
pub(crate) fn stays_inside(path: &Path) -> bool {
    let mut depth = 0_usize;
    for component in path.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

pub(crate) fn empty_dir(dir: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(dir).map_err(|e| StoreError::io("read", dir, e))? {
        let path = entry.map_err(|e| StoreError::io("read", dir, e))?.path();
        durable::remove_tree(&path).map_err(|e| StoreError::io("remove", &path, e))?;
    }
    Ok(())
}

/// The same of a directory that may not be there.
pub(crate) fn empty_if_there(dir: &Path) -> Result<(), StoreError> {
    if dir.is_dir() { empty_dir(dir) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_writes_to_is_no_link_out() {
        for written in ["base/5/16384", "global/pg_control", "pg_wal/1", "postgresql.auto.conf", "pg_xact/0000"] {
            assert!(is_written(Path::new(written)), "{written}");
        }
        for read in ["server.crt", "pg_hba.conf", "conf.d/own.conf", "postgresql.conf"] {
            assert!(!is_written(Path::new(read)), "{read}");
        }
    }
}
