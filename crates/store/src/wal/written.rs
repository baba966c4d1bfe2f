//! A log as PostgreSQL lays it out, for tests.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::fs;
use std::path::Path;

use super::*;

pub(crate) const SEGMENT: u64 = 1 << 20;
pub(crate) const PAGE: usize = 8192;

/// A log in the making, as PostgreSQL lays it out.
pub(crate) struct Written {
    pub(crate) bytes: Vec<u8>,
    base: u64,
    pub(crate) previous: u64,
}

impl Written {
    pub(crate) fn new(segment: u64) -> Self {
        Self { bytes: Vec::new(), base: segment * SEGMENT, previous: 0 }
    }

    pub(crate) fn header(&mut self, continued: usize) {
        let at = self.base + self.bytes.len() as u64;
        let is_first = at.is_multiple_of(SEGMENT);
        let flags = u16::from(continued > 0) | if is_first { HAS_LONG_HEADER } else { 0 };
        self.bytes.extend(0xd116_u16.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(1_u32.to_ne_bytes());
        self.bytes.extend(at.to_ne_bytes());
        self.bytes.extend((continued as u32).to_ne_bytes());
        self.bytes.extend([0; 4]);
        if is_first {
            self.bytes.extend(7_u64.to_ne_bytes());
            self.bytes.extend((SEGMENT as u32).to_ne_bytes());
            self.bytes.extend((PAGE as u32).to_ne_bytes());
        }
    }

    /// Gives back where it begins.
    pub(crate) fn record(&mut self, data: &[u8], kind: (u8, u8)) -> u64 {
        if self.bytes.len().is_multiple_of(PAGE) {
            self.header(0);
        }
        let start = self.base + self.bytes.len() as u64;
        let mut record = ((RECORD_HEADER_BYTES + data.len()) as u32).to_ne_bytes().to_vec();
        record.extend(3_u32.to_ne_bytes());
        record.extend(self.previous.to_ne_bytes());
        record.extend([kind.1, kind.0, 0, 0]);
        let mut digest = CRC32C.digest();
        digest.update(data);
        digest.update(&record);
        record.extend(digest.finalize().to_ne_bytes());
        record.extend(data);
        for (written, byte) in record.iter().enumerate() {
            if self.bytes.len().is_multiple_of(PAGE) {
                self.header(record.len() - written);
            }
            self.bytes.push(*byte);
        }
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        self.previous = start;
        start
    }

    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub(crate) fn save(&self, directory: &Path) {
        for (number, segment) in self.bytes.chunks(SEGMENT as usize).enumerate() {
            let mut whole = segment.to_vec();
            whole.resize(SEGMENT as usize, 0);
            let name = segment_name(1, self.base / SEGMENT + number as u64, SEGMENT);
            fs::write(directory.join(name), whole).unwrap();
        }
    }
}
