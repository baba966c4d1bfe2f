//! Clients that mean harm or know nothing: whatever they send, and however many they are, the daemon's memory stays flat,
//! others are served in their time, and no server is woken for who has not logged in. Loopback only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod bytes;
mod crowds;
mod deaf;
mod giants;
mod guesses;
mod halves;
mod liars;
mod orders;
mod siege;
mod veiled;
