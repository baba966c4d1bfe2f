//! Something of a branch on its way out of the home: made beside its destination under a name of ours, made durable, renamed.
//! Dropped before that, it goes. What is at the destination already is never replaced.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::clone::{clone_data, empty_dir};
use crate::draft::Draft;
use crate::durable;
use crate::error::StoreError;
use crate::home::Home;
use crate::store::entries;
use crate::tablespaces;

/// What the note of one is called, in staging.
const NOTE_PREFIX: &str = "departure-";
/// A path is shorter (`PATH_MAX` is 4,096).
const NOTE_MAX_BYTES: u64 = 16 * 1024;

/// It.
#[derive(Debug)]
pub struct Departure {
    place: Place,
    to: PathBuf,
}

/// A directory of ours beside the destination. Nobody else can put anything there, wherever that is.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    /// In staging, with the path: what a daemon that was killed has left outside the home is found by that.
    note: PathBuf,
}

impl Place {
    fn make(home: &Home, parent: &Path) -> Result<Self, StoreError> {
        let staging = home.staging();
        let note = tempfile::Builder::new().prefix(NOTE_PREFIX).tempfile_in(&staging);
        let note = note.map_err(|e| StoreError::io("make a file in", &staging, e))?;
        let number = note.path().file_name().and_then(|name| name.to_str()).and_then(|n| n.strip_prefix(NOTE_PREFIX));
        let path = parent.join(format!("{}{}", durable::TEMPORARY_PREFIX, number.unwrap_or_default()));
        let written = note.as_file().write_all(path.as_os_str().as_bytes()).and_then(|()| note.as_file().sync_all());
        written.map_err(|e| StoreError::io("write", note.path(), e))?;
        let (_, note) = note.keep().map_err(|e| StoreError::io("make", &staging, e.error))?;
        let made = durable::fsync_dir(&staging).and_then(|()| DirBuilder::new().mode(0o700).create(&path));
        if let Err(error) = made {
            // It may be somebody else's.
            let _ = durable::remove_tree(&note);
            return Err(StoreError::io("make a directory in", parent, error));
        }
        Ok(Self { path, note })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = remove_place(&self.path, &self.note);
    }
}

/// The note goes last: as long as there is one, the next start tries again.
fn remove_place(path: &Path, note: &Path) -> io::Result<()> {
    durable::remove_tree(path)?;
    durable::remove_tree(note)
}

fn is_note(staged: &Path) -> bool {
    let is_called_so = staged.file_name().is_some_and(|name| name.as_bytes().starts_with(NOTE_PREFIX.as_bytes()));
    is_called_so && fs::symlink_metadata(staged).is_ok_and(|found| found.is_file())
}

/// Where the departure is made that this is the note of.
fn noted(note: &Path) -> Option<PathBuf> {
    if !is_note(note) {
        return None;
    }
    let bytes = durable::read_bounded(note, NOTE_MAX_BYTES).ok()?;
    let path = PathBuf::from(OsStr::from_bytes(&bytes));
    let name = path.file_name()?.to_str()?;
    // Whatever else stands there, nothing is deleted that has not a name of ours.
    (path.is_absolute() && name.starts_with(durable::TEMPORARY_PREFIX)).then_some(path)
}

/// Removes what a daemon that was killed has left beside a destination. Whether this file in staging was the note of one.
pub(crate) fn sweep_departure(staged: &Path) -> bool {
    if !is_note(staged) {
        return false;
    }
    let removed = match noted(staged) {
        Some(place) => {
            tracing::info!(path = %place.display(), "removing what an earlier daemon left of an export");
            remove_place(&place, staged)
        }
        // It was not written to its end: nothing was made there yet.
        None => durable::remove_tree(staged),
    };
    if let Err(error) = removed {
        tracing::warn!(note = %staged.display(), %error, "it cannot be removed; the next start tries again");
    }
    true
}

/// All places where something is being made that nobody sees yet: programs that work there belong to this home's daemon.
pub fn places_of_the_half_made(home: &Home) -> Vec<PathBuf> {
    let staged = entries(&home.staging()).unwrap_or_default().into_iter().map(|name| home.staging().join(name));
    staged.map(|path| noted(&path).unwrap_or(path)).collect()
}

impl Departure {
    /// Begins it. The destination must not be there, or be an empty directory, as initdb wants it.
    pub fn begin(home: &Home, to: &Path) -> Result<Self, StoreError> {
        let taken = || StoreError::DestinationTaken(to.to_owned());
        match fs::symlink_metadata(to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("look at", to, error)),
            Ok(found) if !found.is_dir() => return Err(taken()),
            Ok(_) => {
                let mut entries = fs::read_dir(to).map_err(|e| StoreError::io("read", to, e))?;
                if entries.next().is_some() {
                    return Err(taken());
                }
            }
        }
        let parent = to.parent().filter(|_| to.file_name().is_some()).ok_or_else(taken)?;
        Ok(Self { place: Place::make(home, parent)?, to: to.to_owned() })
    }

    /// What is to be filled: a name under which nothing is.
    pub fn part(&self) -> PathBuf {
        self.place.path.join("part")
    }

    /// It is whole: it shows. Gives back its length.
    pub fn arrive(self) -> Result<u64, StoreError> {
        let part = self.part();
        let synced = if part.is_dir() { durable::fsync_tree(&part) } else { durable::fsync_file(&part) };
        synced.map_err(|e| StoreError::io("fsync", &part, e))?;
        let bytes = bytes_of(&part).map_err(|e| StoreError::io("read", &part, e))?;
        if part.is_dir() {
            // Only an empty one goes.
            fs::remove_dir(&self.to)
                .or_else(none_is_fine)
                .map_err(|_| StoreError::DestinationTaken(self.to.clone()))?;
        }
        match durable::rename_new(&part, &self.to) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(StoreError::DestinationTaken(self.to.clone()))
            }
            Err(error) => Err(StoreError::io("make", &self.to, error)),
        }
    }
}

impl Draft {
    /// Gives its data directory away, with these files put in their place, and its clone's life ended here.
    pub fn depart(&mut self, departure: &Departure, files: &[(&str, String)]) -> Result<(), StoreError> {
        let data = self.data();
        for (name, text) in files {
            let path = data.join(name);
            fs::remove_file(&path).or_else(none_is_fine).map_err(|e| StoreError::io("remove", &path, e))?;
            durable::stage_file(&path, text.as_bytes(), 0o600).map_err(|e| StoreError::io("write", &path, e))?;
        }
        tablespaces::take_in(&self.dir)?;
        let part = &departure.part();
        match durable::rename_durable(&data, part) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                DirBuilder::new().mode(0o700).create(part).map_err(|e| StoreError::io("make", part, e))?;
                clone_data(&data, part)?;
                empty_dir(&data)
            }
            moved => moved.map_err(|e| StoreError::io("make", part, e)),
        }
    }

    /// The rules for connections of the branch that it is a copy of, if that has some of its own.
    pub fn own_rules(&self) -> Option<String> {
        let bytes = durable::read_bounded(&self.source().dir.pg_hba(), 4 << 20).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A file of its data directory.
    pub fn text_of(&self, name: &str) -> Option<String> {
        let bytes = durable::read_bounded(&self.data().join(name), 16 << 20).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether it has such a file.
    pub fn has_file(&self, name: &str) -> bool {
        self.data().join(name).is_file()
    }
}

fn none_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn bytes_of(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Ok(found.len());
    }
    fs::read_dir(path)?.try_fold(0, |sum, entry| Ok(sum + bytes_of(&entry?.path())?))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use crate::fixture::{count, home_with_template};
    use crate::store::Store;

    #[test]
    fn what_a_killed_daemon_left_beside_a_destination_goes_and_nothing_else() {
        let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = home_with_template(root.path()).home().clone();
        let departure = Departure::begin(&home, &out.path().join("there")).unwrap();
        fs::create_dir(departure.part()).unwrap();
        let place = departure.part().parent().unwrap().to_owned();
        assert_eq!(places_of_the_half_made(&home), [place]);
        // It dies.
        std::mem::forget(departure);
        // Notes that lead to what is not ours, or were not written to their end.
        fs::write(home.staging().join("departure-0"), "").unwrap();
        let theirs = out.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::write(home.staging().join("departure-1"), theirs.as_os_str().as_bytes()).unwrap();
        drop(Store::open(home.clone()).unwrap());
        assert_eq!((count(&home.staging()), count(out.path())), (0, 1));
        assert!(theirs.exists());
    }

    #[test]
    fn what_is_given_up_leaves_nothing() {
        let (root, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let home = home_with_template(root.path()).home().clone();
        let departure = Departure::begin(&home, &out.path().join("there")).unwrap();
        fs::write(departure.part(), "half").unwrap();
        drop(departure);
        assert_eq!((count(&home.staging()), count(out.path())), (0, 0));
        assert!(Departure::begin(&home, &out.path().join("no/where")).is_err());
        assert_eq!(count(&home.staging()), 0, "no note of what was never begun");
    }
}
