//! Where recovery of a backup begins, as the first line of its `backup_label` says:
//! `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)`

use nap_model::lsn::Lsn;

use crate::wal;

/// The first line of a `backup_label`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BackupLabel {
    /// Where the log begins that is to be replayed.
    pub(crate) start: Lsn,
    /// The segment that it lies in.
    pub(crate) segment: String,
    /// The timeline of that.
    pub(crate) timeline: u32,
}

impl BackupLabel {
    /// None: it does not say it as PostgreSQL does.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.lines().next()?.split_once("LOCATION: ")?;
        let (start, file) = rest.split_once(" (file ")?;
        let segment = file.trim_end().strip_suffix(')').filter(|name| wal::is_segment_name(name))?;
        let timeline = u32::from_str_radix(segment.get(..8)?, 16).ok()?;
        Some(Self { start: start.parse().ok()?, segment: segment.to_owned(), timeline })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_says_where_a_backup_begins() {
        let text = "START WAL LOCATION: 1/2000028 (file 000000030000000100000002)\nCHECKPOINT LOCATION: 1/2000060\n";
        let segment = "000000030000000100000002".to_owned();
        assert_eq!(BackupLabel::parse(text), Some(BackupLabel { start: Lsn(0x1_0200_0028), segment, timeline: 3 }));
        for nothing in ["", "START", "START WAL LOCATION: 1/2 (file 0)", "START WAL LOCATION: 1/2 (file 00000003"] {
            assert_eq!(BackupLabel::parse(nothing), None, "{nothing}");
        }
    }
}
