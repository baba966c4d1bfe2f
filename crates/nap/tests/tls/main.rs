//! TLS: what clients get, how it begins, and the certificates.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod certificates;
mod clients;
mod handshakes;
mod renewal;
mod support;
