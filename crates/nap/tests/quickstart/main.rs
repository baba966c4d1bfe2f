//! `./quickstart` on a newcomer's machine.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::disallowed_methods, reason = "a test")]

mod newcomer;
mod story;
