//! pg_hba.conf and pg_ident.conf: what PostgreSQL makes of them, Napgres makes of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test"
)]

mod client;
mod compare;
mod draw;
mod names;
mod neighbours;
mod network;
mod stories;
mod tls;
