//! The daemon's log: HOME/log/nap.log, bounded; in the foreground, standard error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use nap_store::Home;
use nap_store::rotate::{LOG_FILES, LOG_MAX_BYTES, rotate_by_rename};
use tracing_subscriber::EnvFilter;

/// What is logged unless NAP_LOG says otherwise, in the syntax of tracing's EnvFilter.
const DEFAULT_FILTER: &str = "info";

/// Starts logging for this process.
pub(super) fn start(home: &Home, foreground: bool) -> io::Result<()> {
    let filter = EnvFilter::try_from_env("NAP_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_target(false);
    if foreground {
        builder.with_writer(io::stderr).init();
    } else {
        builder.with_writer(Mutex::new(Bounded::open(&home.daemon_log())?)).init();
    }
    Ok(())
}

/// A log file that is begun anew when it is too long.
struct Bounded {
    path: PathBuf,
    file: File,
    written: u64,
}

impl Bounded {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, written })
    }
}

impl Write for Bounded {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.written >= LOG_MAX_BYTES {
            // On failure the old file goes on growing: better than no log.
            let rotated = rotate_by_rename(&self.path, LOG_MAX_BYTES, LOG_FILES);
            self.written = 0;
            if matches!(rotated, Ok(true)) {
                *self = Self::open(&self.path)?;
            }
        }
        let count = self.file.write(line)?;
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
