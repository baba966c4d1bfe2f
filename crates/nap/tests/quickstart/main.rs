//! `./quickstart` on a newcomer's machine, and how the scripts install PostgreSQL.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

mod newcomer;
mod packages;
mod story;
