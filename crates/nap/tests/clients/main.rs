//! Real clients, each through every case of one list. Their programs are in `programs/`, one in each client's language;
//! what a client cannot do stands with its reason in the client's file here. docs/clients.md is made of all that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs
)]

mod asyncpg;
mod cases;
mod client;
mod django;
mod docs;
mod drizzle;
mod listeners;
mod node_postgres;
mod pg8000;
mod pgjdbc;
mod pools;
mod postgresjs;
mod postgrest;
mod program;
mod psql;
mod psycopg;
mod serve;
mod sqlalchemy;
mod sqlx;
mod stage;
mod story;
mod tokio_postgres;
