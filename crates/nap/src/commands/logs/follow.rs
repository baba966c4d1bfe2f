//! The end of a log, and what comes after it: through rotation (another file under the same name) and truncation.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nap_store::rotate::last_lines;

/// How far back from its end a log is read at first.
const END_MAX_BYTES: u64 = 1024 * 1024;
/// How much is read at once.
const CHUNK_BYTES: u64 = 64 * 1024;

/// A place in a log.
pub(super) struct Follower {
    path: PathBuf,
    /// The file and how far it was read; none while there is no file.
    place: Option<(File, u64)>,
}

impl Follower {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, place: None }
    }

    /// The last lines that are there now. A log that is not there yet is empty.
    pub(super) fn end(&mut self, lines: usize) -> io::Result<Vec<u8>> {
        let Some(mut file) = self.open()? else { return Ok(Vec::new()) };
        let length = file.metadata()?.len();
        let from = length.saturating_sub(END_MAX_BYTES);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        (&file).take(length - from).read_to_end(&mut bytes)?;
        self.place = Some((file, from + bytes.len() as u64));
        Ok(last_lines(&bytes, lines).to_vec())
    }

    /// What was added since, a chunk at most; nothing if nothing was.
    pub(super) fn added(&mut self) -> io::Result<Vec<u8>> {
        let place = match self.place.take() {
            Some(place) => Some(place),
            None => self.open()?.map(|file| (file, 0)),
        };
        let Some((mut file, position)) = place else { return Ok(Vec::new()) };
        let found = file.metadata()?;
        // Cut to nothing by a rotation that copies: it begins again.
        let position = if found.len() < position { 0 } else { position };
        file.seek(SeekFrom::Start(position))?;
        let mut bytes = Vec::new();
        (&file).take(CHUNK_BYTES).read_to_end(&mut bytes)?;
        let rotated = || match std::fs::metadata(&self.path) {
            Ok(now) => (now.dev(), now.ino()) != (found.dev(), found.ino()),
            // Between a rename and the new file: the next look decides.
            Err(_) => false,
        };
        // Only an old file that was read to its end is let go.
        if !bytes.is_empty() || !rotated() {
            self.place = Some((file, position + bytes.len() as u64));
        } else {
            self.place = self.open()?.map(|file| (file, 0));
        }
        Ok(bytes)
    }

    fn open(&self) -> io::Result<Option<File>> {
        match File::open(&self.path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a log in a test needs no durability")]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn append(path: &std::path::Path, text: &str) {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn drain(follower: &mut Follower) -> String {
        let mut text = String::new();
        // Two looks with nothing new: the first may only have changed over to another file.
        for _ in 0..2 {
            loop {
                let added = follower.added().unwrap();
                if added.is_empty() {
                    break;
                }
                text.push_str(std::str::from_utf8(&added).unwrap());
            }
        }
        text
    }

    #[test]
    fn nothing_is_lost_or_told_twice_through_rotation_and_truncation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("postgres.log");
        let mut follower = Follower::new(path.clone());
        assert_eq!(follower.end(10).unwrap(), b"", "no log yet");
        assert_eq!(drain(&mut follower), "");
        append(&path, "one\n");
        assert_eq!(drain(&mut follower), "one\n");
        append(&path, "two\n");
        std::fs::rename(&path, dir.path().join("postgres.log.1")).unwrap();
        append(&path, "three\n");
        assert_eq!(drain(&mut follower), "two\nthree\n");
        std::fs::write(&path, "").unwrap();
        assert_eq!(drain(&mut follower), "");
        append(&path, "four\n");
        assert_eq!(drain(&mut follower), "four\n");
        assert_eq!(Follower::new(path).end(1).unwrap(), b"four\n");
    }

    #[test]
    fn a_large_log_is_read_from_near_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nap.log");
        append(&path, &"x".repeat(3 * 1024 * 1024));
        append(&path, "\nlast\n");
        let mut follower = Follower::new(path);
        assert!(follower.end(1000).unwrap().len() as u64 <= END_MAX_BYTES);
        assert_eq!(drain(&mut follower), "");
    }
}
