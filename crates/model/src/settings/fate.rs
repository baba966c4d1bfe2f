//! What `nap set` can change of a branch that no home has a value for: when it goes, and whether it may.

use std::time::Duration;

use crate::span::Span;

/// The names, in the order that they are shown in.
pub const FATES: [&str; 2] = ["ttl", "protected"];

/// One of them, with its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is removed so long after this was said; `None`: it stays.
    Ttl(Option<Duration>),
    /// Whether it cannot be removed.
    Protected(bool),
}

impl Fate {
    /// `None`: it is a setting, or a slip. An empty value is the default.
    pub fn parse(name: &str, value: &str) -> Option<Result<Self, String>> {
        match name {
            "ttl" if value.is_empty() => Some(Ok(Self::Ttl(None))),
            "ttl" => Some(match value.parse::<Span>() {
                Ok(Span(Some(Duration::ZERO))) => Err("it would be gone at once: `nap rm` does that".to_owned()),
                Ok(span) => Ok(Self::Ttl(span.0)),
                Err(error) => Err(error.to_string()),
            }),
            "protected" if value.is_empty() => Some(Ok(Self::Protected(false))),
            "protected" => Some(on_or_off(value).map(Self::Protected)),
            _ => None,
        }
    }
}

/// As PostgreSQL's settings take it.
pub fn on_or_off(value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("it is on or off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        assert_eq!(Fate::parse("ttl", "2h"), Some(Ok(Fate::Ttl(Some(Duration::from_secs(7_200))))));
        assert_eq!(Fate::parse("ttl", "never"), Some(Ok(Fate::Ttl(None))));
        assert_eq!(Fate::parse("ttl", ""), Some(Ok(Fate::Ttl(None))));
        assert!(Fate::parse("ttl", "0s").unwrap().is_err());
        assert!(Fate::parse("ttl", "2 fortnights").unwrap().is_err());
        assert_eq!(Fate::parse("protected", "On"), Some(Ok(Fate::Protected(true))));
        assert!(Fate::parse("protected", "perhaps").unwrap().is_err());
        assert_eq!(Fate::parse("sleep_after", "2h"), None);
    }
}
