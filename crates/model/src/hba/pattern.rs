//! Regular expressions in rules and maps. They are of another dialect than PostgreSQL's: docs/authentication.md names
//! the differences.

use regex::{Captures, Regex, RegexBuilder};

/// What one expression may cost in memory.
const COMPILED_MAX_BYTES: usize = 256 << 10;

/// A compiled expression. It may match anywhere in a name, as with PostgreSQL.
#[derive(Debug, Clone)]
pub(super) struct Pattern(Regex);

impl Pattern {
    /// Of a token, if it is one: it begins with a slash, in quotes or not.
    pub(super) fn of(token: &str) -> Option<Result<Self, String>> {
        let expression = token.strip_prefix('/')?;
        let compiled = RegexBuilder::new(expression)
            .size_limit(COMPILED_MAX_BYTES)
            .dfa_size_limit(COMPILED_MAX_BYTES)
            .dot_matches_new_line(true)
            .build();
        Some(compiled.map(Self).map_err(|error| {
            // The crate draws the expression and an arrow first; what is wrong stands in the last line.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("invalid regular expression \"{expression}\": {why}")
        }))
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    pub(super) fn captures<'n>(&self, name: &'n str) -> Option<Captures<'n>> {
        self.0.captures(name)
    }

    /// As it was written.
    pub(super) fn expression(&self) -> &str {
        self.0.as_str()
    }
}
