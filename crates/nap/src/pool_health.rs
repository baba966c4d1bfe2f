//! What is to be said of a pool before it is full, and when it is: by the daemon, the doctor and `nap status` alike.

use nap_store::pool::Usage;

use crate::output::words;

/// From here on it is time to make it larger.
pub(crate) const FILLS_UP_PERCENT: u64 = 80;
/// From here on it is high time.
const ALMOST_FULL_PERCENT: u64 = 95;
/// PostgreSQL soon stops for want of room for its log.
const FREE_LEAST_BYTES: u64 = 256 << 20;

/// Something about a pool that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    /// Which one: it is told once.
    pub(crate) kind: Kind,
    /// In words, with numbers.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) cure: &'static str,
}

/// What can be wrong with a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It grows or soon must.
    FillsUp,
    /// Writes will fail soon.
    AlmostFull,
    /// The disk below cannot hold what it may become.
    BelowIsShort,
    /// The disk below is full, or nearly so.
    BelowIsFull,
    /// Its file system has given up.
    ReadOnly,
}

impl Kind {
    /// Whether something fails now or very soon.
    pub(crate) fn is_urgent(self) -> bool {
        !matches!(self, Self::FillsUp | Self::BelowIsShort)
    }
}

/// All that is to be said of it.
pub(crate) fn complaints(usage: &Usage) -> Vec<Complaint> {
    let mut found = Vec::new();
    let mut add = |kind, what, cure| found.push(Complaint { kind, what, cure });
    let (full, free) = (usage.full_percent(), words::bytes(usage.free_bytes));
    let below = words::bytes(usage.below_free_bytes);
    if usage.read_only {
        add(
            Kind::ReadOnly,
            "the pool is read-only: its file system has met an error".to_owned(),
            "make room on the disk below if that is full, then `nap down` and, as root, `nap pool mount`",
        );
    }
    if full >= FILLS_UP_PERCENT {
        let kind = if full >= ALMOST_FULL_PERCENT { Kind::AlmostFull } else { Kind::FillsUp };
        add(kind, format!("the pool is {full} % full, {free} are free"), "`nap pool grow`, as root; or `nap rm`");
    }
    if usage.below_free_bytes < FREE_LEAST_BYTES.min(usage.free_bytes) {
        let what = format!("the disk below the pool is full: it has {below} free, the pool {free}");
        add(Kind::BelowIsFull, what, "free space on the disk below: without it, writes in the pool fail");
    } else if usage.lacks_below_bytes() > 0 {
        let lacks = words::bytes(usage.lacks_below_bytes());
        let what = format!("the disk below has {below} free, {lacks} less than the pool may still take");
        add(Kind::BelowIsShort, what, "free space on the disk below, or see that the pool does not fill up");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_is_told_before_it_is_one() {
        let gb = |number: u64| number << 30;
        let well = Usage {
            size_bytes: gb(100),
            used_bytes: gb(79),
            free_bytes: gb(21),
            read_only: false,
            image_bytes: gb(80),
            below_free_bytes: gb(20),
        };
        let kinds = |usage: &Usage| complaints(usage).into_iter().map(|found| found.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&well), []);
        assert_eq!(kinds(&Usage { used_bytes: gb(80), free_bytes: gb(20), ..well }), [Kind::FillsUp]);
        assert_eq!(kinds(&Usage { used_bytes: gb(95), free_bytes: gb(5), ..well }), [Kind::AlmostFull]);
        assert_eq!(kinds(&Usage { below_free_bytes: gb(19), ..well }), [Kind::BelowIsShort]);
        assert_eq!(kinds(&Usage { below_free_bytes: 0, ..well }), [Kind::BelowIsFull]);
        assert_eq!(kinds(&Usage { read_only: true, ..well }), [Kind::ReadOnly]);
        let filled = Usage { used_bytes: gb(100), free_bytes: 0, image_bytes: gb(100), below_free_bytes: 0, ..well };
        assert_eq!(kinds(&filled), [Kind::AlmostFull], "a full disk below does not matter to what is full itself");
    }
}
