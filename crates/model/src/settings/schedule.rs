//! Times of day in cron's syntax: when a sleeping server is woken for work.

use std::fmt;
use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use serde::{Deserialize, Serialize};

/// When something is to be done: five fields as in a crontab (minute, hour, day of the month, month, day of the week), or
/// `never`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule(Option<Cron>);

/// A text that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{text}\" is no time in cron's syntax ({problem}): write minute, hour, day of the month, month and day of the week, as in \"30 3 * * *\", or never"
)]
pub struct BadSchedule {
    text: String,
    problem: String,
}

impl Schedule {
    /// No time at all.
    pub const NEVER: Self = Self(None);

    /// Whether one of its times lies after `since`, and not after `now`. Both are of one time zone: that is the one
    /// the fields are read in.
    pub fn is_due(&self, since: &Zoned, now: &Zoned) -> bool {
        let Some(cron) = &self.0 else { return false };
        // An error means that there is none, as on the 30th of February.
        cron.find_next_occurrence(since, false).is_ok_and(|next| next <= *now)
    }
}

impl FromStr for Schedule {
    type Err = BadSchedule;

    fn from_str(text: &str) -> Result<Self, BadSchedule> {
        let trimmed = text.trim();
        if trimmed == "never" {
            return Ok(Self::NEVER);
        }
        // Seconds and years are no crontab's.
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        parser.parse(trimmed).map(|cron| Self(Some(cron))).map_err(|error| BadSchedule {
            text: text.chars().take(80).collect(),
            problem: error.to_string().trim_end_matches('.').to_owned(),
        })
    }
}

impl TryFrom<String> for Schedule {
    type Error = BadSchedule;

    fn try_from(text: String) -> Result<Self, BadSchedule> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(cron) => f.write_str(cron.as_str()),
            None => f.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    fn is_due(schedule: &str, since: &str, now: &str) -> bool {
        schedule.parse::<Schedule>().unwrap().is_due(&at(since), &at(now))
    }

    #[test]
    fn it_is_due_once_at_its_time() {
        let nightly = "30 3 * * *";
        assert!(!is_due(nightly, "2026-11-29T03:28:00[Europe/Berlin]", "2026-11-29T03:29:59[Europe/Berlin]"));
        assert!(is_due(nightly, "2026-11-29T03:29:59[Europe/Berlin]", "2026-11-29T03:30:00[Europe/Berlin]"));
        assert!(!is_due(nightly, "2026-11-29T03:30:00[Europe/Berlin]", "2026-11-29T03:31:00[Europe/Berlin]"));
        assert!(is_due(nightly, "2026-11-29T02:00:00[Europe/Berlin]", "2026-12-05T09:00:00[Europe/Berlin]"), "late");
        assert!(!is_due("never", "2026-11-29T02:00:00[UTC]", "2027-11-29T02:00:00[UTC]"));
        assert!(!is_due("0 0 30 2 *", "2026-01-01T00:00:00[UTC]", "2027-01-01T00:00:00[UTC]"));
    }

    #[test]
    fn days_of_the_week_are_those_of_crontab() {
        // The 29th of November 2026 is a Sunday.
        for sunday in ["0 12 * * 0", "0 12 * * 7", "0 12 * * SUN"] {
            assert!(is_due(sunday, "2026-11-29T11:00:00[UTC]", "2026-11-29T12:00:00[UTC]"), "{sunday}");
            assert!(!is_due(sunday, "2026-11-30T11:00:00[UTC]", "2026-11-30T12:00:00[UTC]"), "{sunday}");
        }
        // Of day of the month and day of the week either will do.
        assert!(is_due("0 12 1 * 0", "2026-12-01T11:00:00[UTC]", "2026-12-01T12:00:00[UTC]"));
        assert!(is_due("0 12 1 * 0", "2026-11-29T11:00:00[UTC]", "2026-11-29T12:00:00[UTC]"));
    }

    #[test]
    fn an_hour_that_the_clock_leaves_out_is_not_lost() {
        let spring = ("2026-03-29T01:59:00[Europe/Berlin]", "2026-03-29T04:00:00[Europe/Berlin]");
        assert!(is_due("30 2 * * *", spring.0, spring.1));
        let autumn = ("2026-10-25T02:30:00+02:00[Europe/Berlin]", "2026-10-25T02:45:00+01:00[Europe/Berlin]");
        assert!(!is_due("30 2 * * *", autumn.0, autumn.1), "an hour that comes twice is used once");
    }

    #[test]
    fn what_is_read_is_written() {
        for text in ["never", "30 3 * * *", "*/5 9-17 * * MON-FRI", "@daily"] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string().parse::<Schedule>().unwrap(), schedule, "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "3", "30 3 * *", "60 3 * * *", "0 30 3 * * *", "0 3 * * * 2027 7", "soon", "0 3 * * 9"] {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~]{0,40}") {
            if let Ok(schedule) = text.parse::<Schedule>() {
                schedule.is_due(&at("2026-11-29T03:28:00[Europe/Berlin]"), &at("2026-11-29T04:28:00[Europe/Berlin]"));
            }
        }
    }
}
