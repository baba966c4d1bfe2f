//! Lengths of time and amounts of data, in a few letters.

/// How long, in its largest unit, as people say it: `12 s`, `5 min`, `3 h`, `2 d`.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The time since then, by the wall clock, for showing only; the future counts as now.
pub(crate) fn since(unix_ms: i64) -> String {
    let now = jiff::Timestamp::now().as_millisecond();
    duration(u64::try_from(now.saturating_sub(unix_ms)).unwrap_or(0))
}

/// The time since an RFC 3339 text.
pub(crate) fn since_text(rfc3339: &str) -> String {
    rfc3339.parse::<jiff::Timestamp>().map_or_else(|_| "?".to_owned(), |then| since(then.as_millisecond()))
}

/// An RFC 3339 text by this machine's clock, as `--at` takes it.
pub(crate) fn here(rfc3339: &str) -> String {
    let Ok(then) = rfc3339.parse::<jiff::Timestamp>() else { return rfc3339.to_owned() };
    then.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S").to_string()
}

/// The time until an RFC 3339 text, no less than it is; `over`, if it is.
pub(crate) fn until_text(rfc3339: &str) -> String {
    let Ok(then) = rfc3339.parse::<jiff::Timestamp>() else { return "?".to_owned() };
    let seconds = then.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    match u64::try_from(seconds).unwrap_or(0) {
        0 => "over".to_owned(),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..=3_600 => format!("{} min", seconds.div_ceil(60)),
        seconds @ 3_601..=86_400 => format!("{} h", seconds.div_ceil(3_600)),
        seconds => format!("{} d", seconds.div_ceil(86_400)),
    }
}

/// How much, in binary units as PostgreSQL's pg_size_pretty counts: `42 MB`.
pub(crate) fn bytes(count: u64) -> String {
    let mut size = count;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if size < 10 * 1024 {
            return format!("{size} {unit}");
        }
        size = size.div_ceil(1024);
    }
    format!("{size} TB")
}

/// How much and in how many files, or only those where nobody looked at each of them.
pub(crate) fn size(of_all: Option<u64>, files: u64) -> String {
    let files = count(files, "file", "files");
    of_all.map_or(files.clone(), |size| format!("{} in {files}", bytes(size)))
}

/// `1 branch`, `2 branches`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// So many letters at most, the last of them an ellipsis if there were more.
pub(crate) fn cut(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    text.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect()
}

/// Without control characters, which a terminal would obey: names and logs hold what clients sent.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_unit_is_told() {
        let said: Vec<String> = [700, 59_999, 60_000, 7_200_000, 200_000_000].map(duration).into();
        assert_eq!(said, ["0 s", "59 s", "1 min", "2 h", "2 d"]);
        assert_eq!(bytes(0), "0 bytes");
        assert_eq!(bytes(10 * 1024), "10 kB");
        assert_eq!(bytes(42 << 20), "42 MB");
        assert_eq!(bytes(u64::MAX), "16777216 TB");
        assert_eq!(since_text("nonsense"), "?");
        assert_eq!(until_text("nonsense"), "?");
        assert_eq!(until_text("1999-01-01T00:00:00Z"), "over");
        let in_two_hours = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
        assert_eq!(until_text(&in_two_hours.to_string()), "2 h");
        assert!(until_text("2999-01-01T00:00:00Z").ends_with(" d"));
    }
}
