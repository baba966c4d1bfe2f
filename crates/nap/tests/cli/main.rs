//! The commands as a user runs them: help, results, errors, exit codes. The daemon is played by a script.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods)]

mod completions;
mod config;
mod connect;
mod errors;
mod fake;
mod help;
mod man;
mod offline;
