//! Where a cluster's write-ahead log ends: crash recovery will replay so far, and no further. A clone of a running
//! cluster begins there.
//!
//! What a log of a primary's own holds is checked, which is less than recovery checks: that pages are in their place, that
//! records follow each other, and their checksums. The layout of pages and records (`src/include/access/xlog_internal.h` and `xlogrecord.h`) is the same in 14 to 18, in
//! the byte order of this machine.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISCSI, Crc};
use nap_model::lsn::Lsn;

use crate::error::StoreError;
use crate::snapshot::control_of;

/// `SizeOfXLogLongPHD`, what the first page of a segment begins with.
const LONG_HEADER_BYTES: usize = 40;
/// `SizeOfXLogShortPHD`, what all others begin with.
const SHORT_HEADER_BYTES: usize = 24;
/// `SizeOfXLogRecord`
const RECORD_HEADER_BYTES: usize = 24;
/// `XLogRecordMaxSize`
const RECORD_MAX_BYTES: usize = 1020 * 1024 * 1024;
/// Where a record has its checksum, of everything else in it.
const RECORD_CRC_AT: usize = 20;
/// `XLP_FIRST_IS_CONTRECORD`
const BEGINS_INSIDE: u16 = 1;
/// `XLP_FIRST_IS_OVERWRITE_CONTRECORD`
const BEGINS_OVER_AN_ABORTED_ONE: u16 = 8;
/// `XLP_LONG_HEADER`
const HAS_LONG_HEADER: u16 = 2;
/// `XLR_BLOCK_ID_DATA_SHORT`: one byte says how long the record's data is. Of `…_LONG` there are four.
const SHORT_DATA: u8 = 255;
const LONG_DATA: u8 = 254;
/// `XLR_BLOCK_ID_ORIGIN` and `…_TOPLEVEL_XID`, which may come before.
const ORIGIN: u8 = 253;
const TOP_TRANSACTION: u8 = 252;
/// `RM_XLOG_ID` with `XLOG_SWITCH`: the rest of the segment is empty.
const SWITCH: (u8, u8) = (0, 0x40);

const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Where the log of the cluster in this data directory ends: behind the last whole record that follows the last
/// checkpoint. The files must stand still meanwhile.
pub(crate) fn end_of_wal(data: &Path) -> Result<Lsn, StoreError> {
    let control = control_of(data)?;
    let directory = data.join("pg_wal");
    follow(&directory, control.timeline, control.checkpoint, |_| true)
}

/// Looks at one record after the other, from that at `start` on, as long as that says true. Where the last one ends.
pub(crate) fn follow(
    directory: &Path,
    timeline: u32,
    start: Lsn,
    mut look: impl FnMut(&Record) -> bool,
) -> Result<Lsn, StoreError> {
    let end = Log::open(directory, timeline).and_then(|mut log| log.end_after(start.0, &mut look));
    end.map(Lsn).map_err(|error| StoreError::io("read the log in", directory, error))
}

/// How long the segments in this directory are. Never zero.
pub(crate) fn segment_bytes(directory: &Path) -> io::Result<u64> {
    Ok(Log::open(directory, 1)?.segment_bytes)
}

/// The segments of one timeline.
struct Log {
    directory: PathBuf,
    timeline: u32,
    segment_bytes: u64,
    page_bytes: usize,
    open: Option<(u64, File)>,
}

/// A page that is in its place.
struct Page(Vec<u8>);

impl Page {
    fn flags(&self) -> u16 {
        u16_at(&self.0, 2).unwrap_or(0)
    }

    fn header_bytes(&self) -> usize {
        if self.flags() & HAS_LONG_HEADER == 0 { SHORT_HEADER_BYTES } else { LONG_HEADER_BYTES }
    }

    /// How much of a record that began before is still to come; `None`: it begins with a record.
    fn continued_bytes(&self) -> Option<usize> {
        let rest = usize::try_from(u32_at(&self.0, 16)?).ok()?;
        (self.flags() & BEGINS_INSIDE != 0).then_some(rest)
    }
}

/// A whole record, and where the next one would begin.
pub(crate) struct Record {
    pub(crate) start: u64,
    pub(crate) end: u64,
    bytes: Vec<u8>,
}

impl Record {
    /// Whose it is (`RM_…_ID`), and what it says.
    pub(crate) fn kind(&self) -> (u8, u8) {
        (self.bytes.get(17).copied().unwrap_or(0), self.bytes.get(16).map_or(0, |info| info & 0xf0))
    }

    /// Its own data, if it speaks of no page.
    pub(crate) fn only_data(&self) -> Option<&[u8]> {
        let mut at = RECORD_HEADER_BYTES;
        loop {
            at += match *self.bytes.get(at)? {
                ORIGIN => 3,
                TOP_TRANSACTION => 5,
                SHORT_DATA => return self.bytes.get(at + 2..),
                LONG_DATA => return self.bytes.get(at + 5..),
                _ => return None,
            };
        }
    }
}

impl Log {
    fn open(directory: &Path, timeline: u32) -> io::Result<Self> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if !is_segment_name(&entry.file_name().to_string_lossy()) {
                continue;
            }
            let mut header = [0; LONG_HEADER_BYTES];
            // One that was made ahead may be empty still.
            if File::open(entry.path())?.read_exact_at(&mut header, 0).is_err() {
                continue;
            }
            let has_sizes = u16_at(&header, 2).is_some_and(|flags| flags & HAS_LONG_HEADER != 0);
            if let (true, Some(segment), Some(page)) = (has_sizes, u32_at(&header, 32), u32_at(&header, 36)) {
                let sizes_fit = segment.is_power_of_two() && page.is_power_of_two() && page >= 1024 && page < segment;
                if let (true, Ok(page_bytes)) = (sizes_fit, usize::try_from(page)) {
                    let (directory, segment_bytes) = (directory.to_owned(), u64::from(segment));
                    return Ok(Self { directory, timeline, segment_bytes, page_bytes, open: None });
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "no segment of a log"))
    }

    /// Where the last whole record ends, of those that follow each other from `start` on.
    fn end_after(&mut self, start: u64, look: &mut impl FnMut(&Record) -> bool) -> io::Result<u64> {
        let mut last: Option<Record> = None;
        loop {
            let at = last.as_ref().map_or(start, |record| record.end);
            let previous = last.as_ref().map(|record| record.start);
            let mut found = self.record_at(at, previous)?;
            if found.is_none()
                && let Some(behind) = self.behind_aborted(at)?
            {
                found = self.record_at(behind, previous)?;
            }
            match found {
                Some(record) if !look(&record) => return Ok(record.end),
                Some(record) => last = Some(record),
                None if last.is_some() => return Ok(at),
                None => {
                    let problem = format!("no whole record at the last checkpoint, {}", Lsn(start));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
                }
            }
        }
    }

    /// Where the log goes on, if a crash has left at `at` the beginning of a record: its pages stay, and recovery writes on where
    /// the first one would begin that is missing.
    fn behind_aborted(&mut self, at: u64) -> io::Result<Option<u64>> {
        let page_bytes = self.page_bytes as u64;
        let mut start = (at + 1).next_multiple_of(page_bytes);
        while start - at <= RECORD_MAX_BYTES as u64 {
            match self.page(start)? {
                Some(page) if page.flags() & BEGINS_OVER_AN_ABORTED_ONE != 0 => return Ok(Some(start)),
                Some(page) if page.continued_bytes().is_some() => start += page_bytes,
                _ => break,
            }
        }
        Ok(None)
    }

    /// The record at `at`, if there is one that follows the one at `previous`.
    fn record_at(&mut self, at: u64, previous: Option<u64>) -> io::Result<Option<Record>> {
        let in_page = usize::try_from(at % self.page_bytes as u64).unwrap_or(0);
        let mut page_start = at - in_page as u64;
        let Some(mut page) = self.page(page_start)? else { return Ok(None) };
        let mut offset = in_page;
        if in_page == 0 {
            if page.continued_bytes().is_some() {
                return Ok(None);
            }
            offset = page.header_bytes();
        }
        let start = page_start + offset as u64;
        let Some(length) = u32_at(&page.0, offset).and_then(|length| usize::try_from(length).ok()) else {
            return Ok(None);
        };
        if !(RECORD_HEADER_BYTES..=RECORD_MAX_BYTES).contains(&length) {
            return Ok(None);
        }
        let mut record = Vec::new();
        loop {
            let end = page.0.len().min(offset + (length - record.len()));
            record.extend_from_slice(page.0.get(offset..end).unwrap_or_default());
            offset = end;
            if record.len() == length {
                break;
            }
            page_start += self.page_bytes as u64;
            match self.page(page_start)? {
                Some(next) if next.continued_bytes() == Some(length - record.len()) => page = next,
                _ => return Ok(None),
            }
            offset = page.header_bytes();
        }
        if !follows(&record, previous) || !is_whole(&record) {
            return Ok(None);
        }
        let mut end = page_start + offset.next_multiple_of(8) as u64;
        let found = Record { start, end, bytes: record };
        if found.kind() == SWITCH {
            end = end.next_multiple_of(self.segment_bytes);
        }
        Ok(Some(Record { end, ..found }))
    }

    /// The page at `start`; none if its segment has not been made, or has something older there.
    fn page(&mut self, start: u64) -> io::Result<Option<Page>> {
        let number = start / self.segment_bytes;
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            match File::open(self.directory.join(self.name(number))) {
                Ok(file) => self.open = Some((number, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        let Some((_, file)) = &self.open else { return Ok(None) };
        let mut page = vec![0; self.page_bytes];
        match file.read_exact_at(&mut page, start % self.segment_bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let in_place = u16_at(&page, 0).is_some_and(|magic| magic != 0) && u64_at(&page, 8) == Some(start);
        Ok(in_place.then_some(Page(page)))
    }

    fn name(&self, number: u64) -> String {
        segment_name(self.timeline, number, self.segment_bytes)
    }
}

/// Whether a file is a segment, by its name.
pub(crate) fn is_segment_name(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The file of a segment.
pub(crate) fn segment_name(timeline: u32, number: u64, segment_bytes: u64) -> String {
    // Never zero, but for a length that is no segment's.
    let in_one_file_id = (1_u64 << 32).checked_div(segment_bytes).filter(|count| *count > 0).unwrap_or(1);
    format!("{timeline:08X}{:08X}{:08X}", number / in_one_file_id, number % in_one_file_id)
}

/// Whether it names the record before: what lies behind the end may be an older, whole one.
fn follows(record: &[u8], previous: Option<u64>) -> bool {
    previous.is_none_or(|previous| u64_at(record, 8) == Some(previous))
}

/// Whether its checksum is right: over its data first, then over its header.
fn is_whole(record: &[u8]) -> bool {
    let (Some(header), Some(data)) = (record.get(..RECORD_CRC_AT), record.get(RECORD_HEADER_BYTES..)) else {
        return false;
    };
    let mut digest = CRC32C.digest();
    digest.update(data);
    digest.update(header);
    u32_at(record, RECORD_CRC_AT) == Some(digest.finalize())
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_ne_bytes)
}

#[cfg(test)]
pub(crate) mod written;

#[cfg(test)]
mod tests {
    use super::written::{PAGE, SEGMENT, Written};
    use super::*;

    fn end(directory: &Path, start: u64) -> io::Result<u64> {
        Log::open(directory, 1)?.end_after(start, &mut |_| true)
    }

    #[test]
    fn the_end_is_behind_the_last_whole_record() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Written::new(5);
        let start = log.record(b"checkpoint", (0, 0x10));
        for length in [0, 1, 8_000, 300, 70_000, 24, 2_000_000, 5] {
            log.record(&vec![length as u8; length], (10, 0));
            log.save(directory.path());
            assert_eq!(end(directory.path(), start).unwrap(), log.end(), "after {length} bytes");
        }
        let whole = log.end();
        log.record(&[9; 100_000], (10, 0));
        // Its last bytes have not been written.
        log.bytes.truncate(log.bytes.len() - 50);
        log.save(directory.path());
        assert_eq!(end(directory.path(), start).unwrap(), whole);
    }

    #[test]
    fn a_record_that_does_not_follow_is_what_an_older_file_left() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Written::new(1);
        let start = log.record(b"checkpoint", (0, 0x10));
        let whole = log.end();
        log.previous = 77;
        log.record(b"whole, but of another time", (10, 0));
        log.save(directory.path());
        assert_eq!(end(directory.path(), start).unwrap(), whole);
    }

    #[test]
    fn a_switch_ends_its_segment() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Written::new(1);
        let start = log.record(b"checkpoint", (0, 0x10));
        log.record(b"", SWITCH);
        log.save(directory.path());
        assert_eq!(end(directory.path(), start).unwrap(), 2 * SEGMENT);
        log.bytes.resize(SEGMENT as usize, 0);
        log.record(b"behind it", (10, 0));
        log.save(directory.path());
        assert_eq!(end(directory.path(), start).unwrap(), log.end());
    }

    /// As recovery leaves it after a crash in the middle of a record that was to cross pages.
    #[test]
    fn a_log_goes_on_behind_an_aborted_record() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Written::new(1);
        let start = log.record(b"checkpoint", (0, 0x10));
        let last = log.previous;
        let aborted = log.end();
        log.record(&[7; 40_000], (10, 0));
        log.bytes.truncate(3 * PAGE);
        log.save(directory.path());
        assert_eq!(end(directory.path(), start).unwrap(), aborted);
        log.previous = last;
        log.header(0);
        log.bytes[3 * PAGE + 2] |= BEGINS_OVER_AN_ABORTED_ONE as u8;
        log.record(b"overwrites", (0, 0xd0));
        log.record(b"and the next", (10, 0));
        log.save(directory.path());
        assert_eq!(end(directory.path(), start).unwrap(), log.end());
        assert_eq!(end(directory.path(), aborted).unwrap(), log.end(), "from where it was aborted, too");
    }

    #[test]
    fn without_its_checkpoint_there_is_no_end() {
        let directory = tempfile::tempdir().unwrap();
        assert!(end(directory.path(), SEGMENT + 40).is_err(), "no segment at all");
        let mut log = Written::new(1);
        log.record(b"checkpoint", (0, 0x10));
        log.save(directory.path());
        assert!(end(directory.path(), SEGMENT + 48).is_err());
        assert!(end(directory.path(), 9 * SEGMENT + 40).is_err());
    }
}
