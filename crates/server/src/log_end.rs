//! The end of a server's log, since it was last spawned: what an error shows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// So much of the end is read: it travels to clients in an error message.
const END_BYTES: u64 = 4096;
/// So many lines of it are shown.
const END_LINES: usize = 12;

/// Where in the log file the present server's lines begin.
pub(crate) struct LogMark {
    path: PathBuf,
    from: AtomicU64,
}

impl LogMark {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, from: AtomicU64::new(0) }
    }

    /// Everything up to now is of earlier servers.
    pub(crate) fn set(&self) {
        let length = std::fs::metadata(&self.path).map_or(0, |file| file.len());
        self.from.store(length, Ordering::Relaxed);
    }

    /// The last lines since the mark; empty if there are none or the file cannot be read.
    pub(crate) fn end(&self) -> String {
        self.read().unwrap_or_default()
    }

    fn read(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        // A shorter file than the mark was rotated meanwhile.
        let mark = Some(self.from.load(Ordering::Relaxed)).filter(|mark| *mark <= length).unwrap_or(0);
        file.seek(SeekFrom::Start(mark.max(length.saturating_sub(END_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(END_BYTES).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = text.trim_end().lines().collect();
        let skip = lines.len().saturating_sub(END_LINES);
        Ok(lines.into_iter().skip(skip).collect::<Vec<_>>().join("\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods)]
    fn shows_only_what_came_after_the_mark() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "old\n").unwrap();
        let mark = LogMark::new(path.clone());
        mark.set();
        assert_eq!(mark.end(), "");
        std::fs::write(&path, "old\nLOG:  starting\nFATAL:  no\n").unwrap();
        assert_eq!(mark.end(), "LOG:  starting\nFATAL:  no");
    }
}
