//! Where results go: words for people, JSON for programs.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::command_error::CommandError;

pub(crate) mod connection;
pub(crate) mod quote;
pub(crate) mod table;
pub(crate) mod tree;
pub(crate) mod words;

/// How results are to be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// A result: as JSON, or in words.
    pub(crate) fn result(&self, report: &impl Serialize, words: impl FnOnce() -> String) -> Result<(), CommandError> {
        if self.json { self.json(report) } else { self.text(&words()) }
    }

    /// It is done; only people want to hear more.
    pub(crate) fn done(&self, words: &str) -> Result<(), CommandError> {
        if self.json {
            return self.json(&serde_json::json!({ "done": true }));
        }
        if self.quiet { Ok(()) } else { self.text(words) }
    }

    /// Exactly this text, and the end of its line.
    pub(crate) fn text(&self, text: &str) -> Result<(), CommandError> {
        let mut stdout = anstream::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.ends_with('\n') && !text.is_empty() {
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }

    /// A remark beside the result, on standard error, for people.
    pub(crate) fn remark(&self, text: &str) {
        if !self.quiet && !self.json {
            // A remark that nobody can read is no failure.
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet && !self.json
    }

    fn json(&self, report: &impl Serialize) -> Result<(), CommandError> {
        let line = serde_json::to_string_pretty(report).map_err(io::Error::from)?;
        self.text(&line)
    }
}
