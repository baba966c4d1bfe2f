//! Spans of time as PostgreSQL writes them in its settings: `30s`, `5min`, `never`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest span that a setting may hold: a year. Longer is `never`, or a slip.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// A length of time in a setting; `None` is `never`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Option<Duration>);

/// A text that is no span of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a span of time: {}", .meant.as_ref().map_or_else(
    || "write a whole number and one of ms, s, min, h, d (30s, 5min; a year at most), or never".to_owned(),
    |meant| format!("did you mean {meant}?"),
))]
pub struct BadSpan {
    text: String,
    /// What people write elsewhere, in our units.
    meant: Option<String>,
}

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(Some(Duration::from_secs(seconds)))
    }
}

/// How others write the units.
const OTHER_UNITS: [(&[&str], &str); 5] = [
    (&["msec", "msecs", "millisecond", "milliseconds"], "ms"),
    (&["", "sec", "secs", "second", "seconds"], "s"),
    (&["m", "mins", "minute", "minutes"], "min"),
    (&["hr", "hrs", "hour", "hours"], "h"),
    (&["day", "days"], "d"),
];

/// `5m` may have meant `5min`.
fn meant(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    if text == "never" {
        return Some(text);
    }
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim_start();
    let ours = OTHER_UNITS.iter().find(|(others, ours)| others.contains(&unit) || *ours == unit)?.1;
    let meant = format!("{number}{ours}");
    read(&meant).is_some().then_some(meant)
}

const UNITS_MS: [(&str, u64); 5] = [("ms", 1), ("min", 60_000), ("s", 1_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Span {
    type Err = BadSpan;
    fn from_str(text: &str) -> Result<Self, BadSpan> {
        read(text).ok_or_else(|| BadSpan { text: text.chars().take(40).collect(), meant: meant(text) })
    }
}

fn read(text: &str) -> Option<Span> {
    if text == "never" {
        return Some(Span(None));
    }
    let (unit, factor) = UNITS_MS.iter().find(|(unit, _)| text.ends_with(unit))?;
    let number = text.strip_suffix(unit)?.trim_end();
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = number.parse().ok()?;
    let span = count.checked_mul(*factor).map(Duration::from_millis)?;
    (span <= LONGEST).then_some(Span(Some(span)))
}

impl TryFrom<String> for Span {
    type Error = BadSpan;
    fn try_from(text: String) -> Result<Self, BadSpan> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> String {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(span) = self.0 else { return f.write_str("never") };
        let ms = span.as_millis();
        for (unit, factor) in [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)] {
            if ms >= factor && ms.is_multiple_of(factor) {
                return write!(f, "{}{unit}", ms / factor);
            }
        }
        write!(f, "{ms}ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(ms in 0u64..=31_000_000_000) {
            let span = Span(Some(Duration::from_millis(ms)));
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }

        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = text.parse::<Span>();
        }
    }

    #[test]
    fn reads_what_postgresql_reads() {
        assert_eq!("30s".parse(), Ok(Span::seconds(30)));
        assert_eq!("5 min".parse(), Ok(Span::seconds(300)));
        assert_eq!("never".parse(), Ok(Span(None)));
        for bad in ["", "30", "s", "-1s", "1.5s", "1w", "99999999999999999999s", "400d", "NEVER"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_others_write_is_met_with_ours() {
        let said = |text: &str| text.parse::<Span>().unwrap_err().to_string();
        for (text, ours) in
            [("5m", "5min"), ("30sec", "30s"), ("1hour", "1h"), ("2 days", "2d"), ("30", "30s"), ("NEVER", "never")]
        {
            assert_eq!(said(text), format!("\"{text}\" is not a span of time: did you mean {ours}?"));
        }
        for text in ["soon", "", "400d", "1.5h"] {
            assert!(said(text).ends_with("(30s, 5min; a year at most), or never"), "{text}");
        }
    }
}
