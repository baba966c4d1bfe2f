//! Logs that stay within bounds, and their last lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::durable;

/// A log is rotated when it is longer than this.
pub const LOG_MAX_BYTES: u64 = 10 << 20;
/// How many files of a log there are, the current one included.
pub const LOG_FILES: u32 = 5;

/// Copying goes on this often before the rest is given up: a server that writes faster than we copy must not keep us.
const CATCH_UP_ROUNDS: u32 = 100;

/// Rotates a log that is longer than `max_bytes` and that nobody has open (or whose writer opens it again): the file
/// becomes `PATH.1`, and so on up to `keep` files in all. Returns whether it did.
pub fn rotate_by_rename(path: &Path, max_bytes: u64, keep: u32) -> io::Result<bool> {
    if !is_longer(path, max_bytes)? {
        return Ok(false);
    }
    shift(path, keep)?;
    if keep > 1 {
        durable::rename_durable(path, &numbered(path, 1))?;
    } else {
        fs::remove_file(path)?;
    }
    Ok(true)
}

/// Rotates a log that a running server has open with `O_APPEND`: its bytes are copied to `PATH.1`, then the file is cut
/// to nothing, and the server goes on at its new end. What the server writes between our last look and the cut is
/// lost: at most the lines of some microseconds. If the copy fails, nothing is cut.
pub fn rotate_by_copy_truncate(path: &Path, max_bytes: u64, keep: u32) -> io::Result<bool> {
    if !is_longer(path, max_bytes)? {
        return Ok(false);
    }
    shift(path, keep)?;
    let mut log = OpenOptions::new().read(true).write(true).open(path)?;
    if keep > 1 {
        let target = numbered(path, 1);
        if let Err(e) = copy_all(&mut log, &target) {
            let _ = fs::remove_file(&target);
            return Err(e);
        }
    }
    log.set_len(0)?;
    Ok(true)
}

fn copy_all(log: &mut File, target: &Path) -> io::Result<()> {
    let mode = log.metadata()?.mode() & 0o777;
    let mut copy = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(target)?;
    for _ in 0..CATCH_UP_ROUNDS {
        if io::copy(log, &mut copy)? == 0 {
            break;
        }
    }
    Ok(())
}

/// The end of a log: at most `max_lines` lines and `max_bytes` bytes, beginning with a whole line where one fits.
/// Bytes that are not UTF-8 are shown as such. A log that is not there is empty.
pub fn tail(path: &Path, max_bytes: u64, max_lines: usize) -> io::Result<String> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(e),
    };
    let start = file.metadata()?.len().saturating_sub(max_bytes);
    // One byte more tells whether the first line is whole.
    file.seek(SeekFrom::Start(start.saturating_sub(1)))?;
    let mut bytes = Vec::new();
    file.take(max_bytes.saturating_add(u64::from(start > 0))).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    if start > 0 {
        let whole = rest.iter().position(|b| *b == b'\n').map(|at| at + 1).filter(|at| *at < rest.len());
        rest = rest.get(whole.unwrap_or(1)..).unwrap_or_default();
    }
    Ok(String::from_utf8_lossy(last_lines(rest, max_lines)).into_owned())
}

/// The last so many lines of a text, with the line break at its end if it has one.
pub fn last_lines(text: &[u8], count: usize) -> &[u8] {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let mut breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let from = match count {
        0 => text.len(),
        _ => breaks.nth(count - 1).unwrap_or(0),
    };
    text.get(from..).unwrap_or_default()
}

fn is_longer(path: &Path, max_bytes: u64) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.len() > max_bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Frees `PATH.1`: each older file gets the next number, the oldest goes.
fn shift(path: &Path, keep: u32) -> io::Result<()> {
    durable::remove_tree(&numbered(path, keep.saturating_sub(1).max(1)))?;
    for number in (1..keep.saturating_sub(1)).rev() {
        match durable::rename_durable(&numbered(path, number), &numbered(path, number + 1)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::last_lines;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 2), b"b\nc");
        assert_eq!(last_lines(b"a\n", 5), b"a\n");
        assert_eq!(last_lines(b"a\n", 0), b"");
        assert_eq!(last_lines(b"", 3), b"");
    }
}
