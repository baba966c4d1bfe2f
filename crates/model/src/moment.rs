//! A moment of a branch's past, as people write it.

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

use crate::lsn::Lsn;
use crate::snapshot_name::SnapshotName;
use crate::span::Span;

/// A moment of the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// All that begins before this place in the log.
    Lsn(Lsn),
    /// All that had been committed by then.
    Time(Timestamp),
    /// What somebody gave this name to.
    Snapshot(SnapshotName),
}

/// A text that is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no moment: write an LSN (0/15ECF68), a time (2026-11-20T12:00, with Z or +02:00 if it is not this machine's), how long ago (-15min), or a snapshot's name"
)]
pub struct BadMoment(String);

impl Moment {
    /// What it means now. A time without a zone is one of this machine.
    pub fn parse(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Self, BadMoment> {
        let bad = || BadMoment(text.to_owned());
        let trimmed = text.trim();
        if let Ok(lsn) = trimmed.parse() {
            return Ok(Self::Lsn(lsn));
        }
        if let Some(ago) = trimmed.strip_prefix('-') {
            let Ok(Span(Some(ago))) = ago.trim().parse() else { return Err(bad()) };
            return now.checked_sub(ago).map(Self::Time).map_err(|_| bad());
        }
        if let Ok(time) = trimmed.parse::<Timestamp>() {
            return Ok(Self::Time(time));
        }
        if let Ok(local) = trimmed.parse::<civil::DateTime>() {
            return local.to_zoned(zone.clone()).map(|zoned| Self::Time(zoned.timestamp())).map_err(|_| bad());
        }
        trimmed.parse().map(Self::Snapshot).map_err(|_| bad())
    }

    /// Whether it is still to come. Clocks may differ by a second.
    pub fn is_to_come(&self, now: Timestamp) -> bool {
        matches!(self, Self::Time(time) if time.as_second() > now.as_second() + 1)
    }

    /// How long before `now` it is, if it is a time.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let Self::Time(time) = self else { return None };
        Duration::try_from(now.duration_since(*time)).ok()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lsn(lsn) => lsn.fmt(f),
            Self::Time(time) => time.fmt(f),
            Self::Snapshot(name) => name.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        let berlin = TimeZone::fixed(jiff::tz::offset(1));
        let read = |text: &str| Moment::parse(text, now, &berlin).map(|moment| moment.to_string());
        for (text, meant) in [
            ("0/15ECF68", "0/15ECF68"),
            ("-15min", "2026-11-29T11:45:00Z"),
            ("- 2h", "2026-11-29T10:00:00Z"),
            ("2026-11-20T12:00", "2026-11-20T11:00:00Z"),
            ("2026-11-20 12:00:30.5", "2026-11-20T11:00:30.5Z"),
            ("2026-11-20T12:00Z", "2026-11-20T12:00:00Z"),
            ("2026-11-20T12:00:00+02:00", "2026-11-20T10:00:00Z"),
            ("2026-11-20", "2026-11-19T23:00:00Z"),
            ("before-migration", "before-migration"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(meant), "{text}");
        }
        for text in ["", "Yesterday noon", "-", "-never", "-15 fortnights", "2026-13-01", "12:00"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
